/* Unit tests of proxy/answer and crypto/throwaway: whose a token request is, and what it gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_safe.h"
#include "crypto/jws.h"
#include "crypto/throwaway.h"
#include "proxy/answer.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define TEXT(text) ((char *)(uintptr_t)(text))
#define ONE "sk-one-Zm9vYmFyMDEyMzQ1Njc4"
#define TWO "sk-two-QmFyZm9vMDEyMzQ1Njc4"
#define FAR "sk-far-RmFyZm9vMDEyMzQ1Njc4"
#define NOW 1700000000
#define FORM "application/x-www-form-urlencoded"
#define JSON "application/json"

static const struct rule one = { .credential = TEXT("one"),
                                 .answered = { .any = TEXT(ONE) },
                                 .answer_client_id = TEXT("app-1"),
                                 .answer = RULE_ANSWERS_TOKEN };
static const struct rule two = { .credential = TEXT("two"),
                                 .answered = { .any = TEXT(TWO) },
                                 .answer = RULE_ANSWERS_TOKEN };
static const struct rule github = { .credential = TEXT("gh"),
                                    .answered = { .any = TEXT(ONE) },
                                    .answer = RULE_ANSWERS_TOKEN,
                                    .answers_installation = true };
static const struct rule *const both[] = { &one, &two };

static bool is_stray(void *arg, struct slice text)
{
    (void)arg;
    return memmem(text.ptr, text.len, ONE + 7, strlen(ONE) - 7) || memmem(text.ptr, text.len, TWO + 7, strlen(TWO) - 7)
           || memmem(text.ptr, text.len, FAR + 7, strlen(FAR) - 7);
}

static void build(struct message *m, const char *type, const char *authorization)
{
    message_init(m);
    assert_int_equal(message_start_request(m, SLICE("POST"), SLICE("/token")), 0);
    if (type)
        assert_int_equal(message_add(m, SLICE("Content-Type"), slice_str(type)), 0);
    if (authorization)
        assert_int_equal(message_add(m, SLICE("Authorization"), slice_str(authorization)), 0);
}

static const struct {
    const char *type, *body, *authorization;
    enum answer_verdict verdict;
    const struct rule *whose;
    const char *code;
} requests[] = {
    { FORM, "grant_type=refresh_token&refresh_token=" ONE, NULL, ANSWER_OURS, &one, NULL },
    { FORM "; charset=UTF-8", "refresh_token=" TWO "&grant_type=refresh%5Ftoken", NULL, ANSWER_OURS, &two, NULL },
    { JSON, "{\"grant_type\":\"client_credentials\",\"client_secret\":\"" TWO "\"}", NULL, ANSWER_OURS, &two, NULL },
    { FORM, "grant_type=client_credentials&client_id=" ONE, NULL, ANSWER_OURS, &one, NULL },
    /* me:sk-one-Zm9vYmFyMDEyMzQ1Njc4 */
    { FORM, "grant_type=client_credentials", "Basic bWU6c2stb25lLVptOXZZbUZ5TURFeU16UTFOamM0", ANSWER_OURS, &one,
      NULL },
    { FORM, "grant_type=refresh_token&refresh_token=real&client_secret=" ONE, NULL, ANSWER_OURS, &one, NULL },
    { FORM, "grant_type=refresh_token&refresh_token=" ONE "&client_secret=" TWO, NULL, ANSWER_STRAY, NULL, NULL },
    { FORM, "grant_type=refresh_token&refresh_token=" FAR, NULL, ANSWER_STRAY, NULL, NULL },
    { FORM, "grant_type=refresh_token&refresh_token=x" ONE, NULL, ANSWER_STRAY, NULL, NULL },
    { FORM, "code=" ONE, NULL, ANSWER_STRAY, NULL, NULL },
    { JSON, "{\"a\":[{\"b\":\"" FAR "\"}]}", NULL, ANSWER_STRAY, NULL, NULL },
    { FORM, "grant_type=refresh_token&refresh_token=real", NULL, ANSWER_OTHERS, NULL, NULL },
    { FORM, "", NULL, ANSWER_OTHERS, NULL, NULL },
    { NULL, "", NULL, ANSWER_OTHERS, NULL, NULL },
    { FORM, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c", NULL, ANSWER_OTHERS,
      NULL, NULL },
    { FORM, "grant_type=password&client_secret=" ONE, NULL, ANSWER_ERROR, NULL, "unsupported_grant_type" },
    { FORM, "client_secret=" ONE, NULL, ANSWER_ERROR, NULL, "invalid_request" },
    { FORM, "a=1&a=2", NULL, ANSWER_ERROR, NULL, "invalid_request" },
    { FORM, "a%00b=1", NULL, ANSWER_ERROR, NULL, "invalid_request" },
    { FORM, "a=%ff", NULL, ANSWER_ERROR, NULL, "invalid_request" },
    { "text/plain", "grant_type=refresh_token", NULL, ANSWER_ERROR, NULL, "invalid_request" },
    { JSON, "[]", NULL, ANSWER_ERROR, NULL, "invalid_request" },
    { JSON, "{\"a\":1", NULL, ANSWER_ERROR, NULL, "invalid_request" },
    { JSON, "{\"a\":1,\"a\":2}", NULL, ANSWER_ERROR, NULL, "invalid_request" },
};

static void each_request_is_ours_or_anothers_or_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(requests); i++) {
        struct message m;
        struct answer_error e = { 0 };
        const struct rule *whose = NULL;
        build(&m, requests[i].type, requests[i].authorization);
        enum answer_verdict verdict = answer_judge(&(struct answer_asked){ .request = &m,
                                                                           .body = slice_str(requests[i].body),
                                                                           .rules = both,
                                                                           .count = 2,
                                                                           .now_s = NOW,
                                                                           .is_stray = is_stray },
                                                   &whose, &e);
        if (verdict != requests[i].verdict || (verdict == ANSWER_OURS && whose != requests[i].whose)
            || (requests[i].code && strcmp(e.code, requests[i].code) != 0))
            fail_msg("%s: verdict %d, %s", requests[i].body, verdict, e.code ? e.code : "");
        message_done(&m);
    }
}

static void many_parameters_are_refused(void **state)
{
    char body[4096] = "";
    struct message m;
    struct answer_error e;
    const struct rule *whose;
    (void)state;
    for (int i = 0; i < 100; i++)
        snprintf(body + strlen(body), sizeof body - strlen(body), "a%d=1&", i);
    build(&m, FORM, NULL);
    assert_int_equal(answer_judge(
                         &(struct answer_asked){
                             .request = &m, .body = slice_str(body), .rules = both, .count = 2, .is_stray = is_stray },
                         &whose, &e),
                     ANSWER_ERROR);
    message_done(&m);
}

struct throwaway {
    struct buf pem, der;
};

static void make_key(struct throwaway *t, unsigned char first)
{
    unsigned char seed[THROWAWAY_SEED_BYTES] = { 0 };
    for (size_t i = 0; i < sizeof seed; i++)
        seed[i] = (unsigned char)(first + i * 37);
    buf_init(&t->pem, 8192);
    buf_init(&t->der, 8192);
    assert_int_equal(throwaway_key(seed, &t->pem, &t->der), 0);
}

static void forget_key(struct throwaway *t)
{
    buf_done(&t->pem);
    buf_done(&t->der);
}

static void the_throwaway_key_follows_from_its_seed(void **state)
{
    struct throwaway a, again, other;
    struct buf cert;
    (void)state;
    make_key(&a, 1);
    make_key(&again, 1);
    make_key(&other, 2);
    assert_true(slice_eq(buf_slice(&a.pem), buf_slice(&again.pem)));
    assert_true(slice_eq(buf_slice(&a.der), buf_slice(&again.der)));
    assert_false(slice_eq(buf_slice(&a.der), buf_slice(&other.der)));
    buf_init(&cert, 8192);
    assert_int_equal(throwaway_certificate(buf_slice(&a.pem), &cert), 0);
    assert_true(slice_starts(buf_slice(&cert), SLICE("-----BEGIN CERTIFICATE-----")));
    assert_int_equal(throwaway_certificate(SLICE("no key"), &cert), -22);
    buf_done(&cert);
    forget_key(&a);
    forget_key(&again);
    forget_key(&other);
}

static enum answer_verdict ask_jwt(const struct throwaway *signs, enum jws_alg alg, const char *claims,
                                   const struct throwaway *known, const struct rule *const *rules, size_t count,
                                   const struct rule **ret, const char **ret_code)
{
    struct buf jwt, body;
    struct message m;
    struct err err;
    struct answer_error e = { 0 };
    buf_init(&jwt, 8192);
    buf_init(&body, 16384);
    assert_int_equal(
        jws_sign(&(struct jws_key){ .pem = buf_slice(&signs->pem), .alg = alg }, slice_str(claims), &jwt, &err), 0);
    bool installation = rules[0]->answers_installation;
    int failed = installation ? buf_printf(&body, "Bearer %.*s", (int)jwt.len, buf_slice(&jwt).ptr)
                              : buf_printf(&body, "grant_type=client_credentials&client_assertion=%.*s", (int)jwt.len,
                                           buf_slice(&jwt).ptr);
    assert_int_equal(failed, 0);
    assert_int_equal(buf_add(&body, slice_of("", 1)), 0);
    build(&m, installation ? NULL : FORM, installation ? buf_slice(&body).ptr : NULL);
    struct slice text = installation ? SLICE("") : slice_of(buf_slice(&body).ptr, body.len - 1);
    enum answer_verdict verdict = answer_judge(&(struct answer_asked){ .request = &m,
                                                                       .body = text,
                                                                       .rules = rules,
                                                                       .count = count,
                                                                       .throwaway_der = buf_slice(&known->der),
                                                                       .now_s = NOW,
                                                                       .is_stray = is_stray },
                                               ret, &e);
    *ret_code = e.code;
    message_done(&m);
    buf_done(&jwt);
    buf_done(&body);
    return verdict;
}

static void an_assertion_counts_by_its_signature_and_its_issuer(void **state)
{
    static const struct {
        const char *claims;
        bool own;
        enum jws_alg alg;
        enum answer_verdict verdict;
        const struct rule *whose;
        const char *code;
    } rows[] = {
        { "{\"iss\":\"app-1\",\"exp\":1700000600}", true, JWS_RS256, ANSWER_OURS, &one, NULL },
        { "{\"iss\":\"app-1\",\"exp\":1700000600}", true, JWS_PS256, ANSWER_OURS, &one, NULL },
        { "{\"iss\":\"two@sidekey.iam.gserviceaccount.com\",\"exp\":1700000600}", true, JWS_RS256, ANSWER_OURS, &two,
          NULL },
        { "{\"iss\":\"nobody\",\"exp\":1700000600}", true, JWS_RS256, ANSWER_ERROR, NULL, "invalid_client" },
        { "{\"iss\":\"app-1\",\"exp\":1699999000}", true, JWS_RS256, ANSWER_ERROR, NULL, "invalid_grant" },
        { "{\"iss\":\"app-1\"}", true, JWS_RS256, ANSWER_ERROR, NULL, "invalid_grant" },
        { "{\"iss\":\"app-1\",\"exp\":1700000600,\"target_audience\":\"x\"}", true, JWS_RS256, ANSWER_ERROR, NULL,
          "invalid_request" },
        { "{\"iss\":\"app-1\",\"exp\":1700000600}", false, JWS_RS256, ANSWER_OTHERS, NULL, NULL },
        { "{\"iss\":\"one@sidekey.iam.gserviceaccount.com\",\"exp\":1700000600}", false, JWS_RS256, ANSWER_ERROR, NULL,
          "invalid_grant" },
    };
    struct throwaway own, other;
    (void)state;
    make_key(&own, 1);
    make_key(&other, 2);
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct rule *whose = NULL;
        const char *code;
        enum answer_verdict verdict =
            ask_jwt(rows[i].own ? &own : &other, rows[i].alg, rows[i].claims, &own, both, 2, &whose, &code);
        if (verdict != rows[i].verdict || (verdict == ANSWER_OURS && whose != rows[i].whose)
            || (rows[i].code && (!code || strcmp(code, rows[i].code) != 0)))
            fail_msg("%s: verdict %d, %s", rows[i].claims, verdict, code ? code : "");
    }
    const struct rule *const app[] = { &github }, *whose = NULL;
    const char *code;
    assert_int_equal(ask_jwt(&own, JWS_RS256, "{\"iss\":4711,\"exp\":1700000600}", &own, app, 1, &whose, &code),
                     ANSWER_OURS);
    assert_ptr_equal(whose, &github);
    forget_key(&own);
    forget_key(&other);
}

static void answers_have_the_shape_that_programs_want(void **state)
{
    struct token token = { .extras = { { TEXT("instance_url"), TEXT("https://x\"y") },
                                       { TEXT("ok"), TEXT("no") },
                                       { TEXT("a\"b"), TEXT("no") } },
                           .extra_count = 3 };
    struct message m;
    struct buf body;
    (void)state;
    message_init(&m);
    buf_init(&body, 8192);
    assert_int_equal(answer_build(&one, &token, NOW, &m, &body), 0);
    json_t *said = json_safe_load(buf_slice(&body), 0, NULL);
    assert_int_equal(m.status, 200);
    assert_string_equal(json_string_value(json_object_get(said, "access_token")), ONE);
    assert_string_equal(json_string_value(json_object_get(said, "instance_url")), "https://x\"y");
    assert_true(json_is_true(json_object_get(said, "ok")));
    assert_int_equal(json_integer_value(json_object_get(said, "expires_in")), ANSWER_LIFETIME_S);
    assert_true((int64_t)ANSWER_LIFETIME_S * 1000 < INT32_MAX);
    assert_int_equal(json_object_size(said), 5);
    json_decref(said);
    buf_clear(&body);
    assert_int_equal(answer_build(&github, NULL, NOW, &m, &body), 0);
    said = json_safe_load(buf_slice(&body), 0, NULL);
    assert_int_equal(m.status, 201);
    assert_string_equal(json_string_value(json_object_get(said, "token")), ONE);
    assert_string_equal(json_string_value(json_object_get(said, "expires_at")), "2023-12-04T22:13:20Z");
    json_decref(said);
    buf_clear(&body);
    assert_int_equal(answer_build_error(&(struct answer_error){ 401, "invalid_client", "why" }, 7, &m, &body), 0);
    assert_true(slice_eq(message_get(&m, SLICE("retry-after"), NULL), SLICE("7")));
    assert_true(slice_starts(message_get(&m, SLICE("www-authenticate"), NULL), SLICE("Basic")));
    buf_done(&body);
    message_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_is_ours_or_anothers_or_refused),
        cmocka_unit_test(many_parameters_are_refused),
        cmocka_unit_test(the_throwaway_key_follows_from_its_seed),
        cmocka_unit_test(an_assertion_counts_by_its_signature_and_its_issuer),
        cmocka_unit_test(answers_have_the_shape_that_programs_want),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
