/* Token requests as bytes, token answers as the wild has them, and the state that follows from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"
#include "refresh/grant/grant.h"
#include "refresh/grant/refusal.h"
#include "refresh/flight/state_from_answer.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

#define WALL INT64_C(1700000000000)

/* ---- requests ---- */

#define NOW_S INT64_C(1700000000)

static const struct grant_secrets both = { .client_secret = { "s p/c=t", 7 },
                                           .refresh_token = { "rt+1&x", 6 },
                                           .now_wall_s = NOW_S };

static void check(const struct credential_spec *spec, const char *body, const char *authorization, const char *type)
{
    struct grant_request r = { 0 };
    struct err e;
    assert_int_equal(grant_build(spec, &both, &r, &e), 0);
    struct slice b = buf_slice(&r.body), a = buf_slice(&r.authorization);
    if (!slice_eq(b, slice_str(body)))
        fail_msg("body: %.*s", (int)b.len, b.ptr);
    if (!slice_eq(a, slice_str(authorization)))
        fail_msg("authorization: %.*s", (int)a.len, a.ptr);
    assert_string_equal(r.content_type, type);
    grant_request_done(&r);
}

#define FORM "application/x-www-form-urlencoded"

static void test_refresh_requests_by_client_authentication_and_body(void **s)
{
    struct credential_spec spec = {
        .name = "x", .grant = GRANT_REFRESH_TOKEN, .client_id = "id:1", .client_auth = CLIENT_AUTH_BASIC
    };
    (void)s;
    /* id%3A1:s+p%2Fc%3Dt: form-encoded before base64 (RFC 6749 §2.3.1) */
    check(&spec, "grant_type=refresh_token&refresh_token=rt%2B1%26x", "Basic aWQlM0ExOnMrcCUyRmMlM0R0", FORM);
    assert_true(grant_encodes_client(&spec, &both));
    spec.client_id = "id";
    assert_true(grant_encodes_client(&spec, &both));
    spec.client_auth = CLIENT_AUTH_BASIC_RAW; /* id:s p/c=t */
    check(&spec, "grant_type=refresh_token&refresh_token=rt%2B1%26x", "Basic aWQ6cyBwL2M9dA==", FORM);
    assert_false(grant_encodes_client(&spec, &both));
    spec.client_auth = CLIENT_AUTH_BASIC;
    assert_false(grant_encodes_client(&spec, &(struct grant_secrets){ .client_secret = { "aZ09-_.*", 8 } }));
    spec.client_id = "id:1";
    spec.client_auth = CLIENT_AUTH_BODY;
    assert_false(grant_encodes_client(&spec, &both));
    check(&spec, "grant_type=refresh_token&refresh_token=rt%2B1%26x&client_id=id%3A1&client_secret=s+p%2Fc%3Dt", "",
          FORM);
    spec.client_auth = CLIENT_AUTH_NONE;
    check(&spec, "grant_type=refresh_token&refresh_token=rt%2B1%26x&client_id=id%3A1", "", FORM);
    spec.body = GRANT_BODY_JSON;
    spec.client_auth = CLIENT_AUTH_BODY;
    check(&spec,
          "{\"grant_type\":\"refresh_token\",\"refresh_token\":\"rt+1&x\",\"client_id\":\"id:1\",\"client_secret\":\"s "
          "p/c=t\"}",
          "", "application/json");
}

static void test_client_credentials_carry_scope_audience_and_params(void **s)
{
    struct credential_spec_param params[] = { { "resource", "https://api.test/" }, { "empty", "" } };
    struct credential_spec spec = { .name = "x",
                                    .grant = GRANT_CLIENT_CREDENTIALS,
                                    .client_id = "id",
                                    .client_auth = CLIENT_AUTH_NONE,
                                    .scope = "a b",
                                    .audience = "aud",
                                    .params = params,
                                    .param_count = 2 };
    (void)s;
    check(&spec, "grant_type=client_credentials&client_id=id&scope=a+b&audience=aud&resource=https%3A%2F%2Fapi.test%2F",
          "", FORM);
}

static void test_what_cannot_be_asked_is_an_error(void **s)
{
    struct credential_spec spec = { .name = "x", .grant = GRANT_REFRESH_TOKEN };
    const struct grant_secrets none = { .now_wall_s = NOW_S };
    struct grant_request r = { 0 };
    struct err e;
    (void)s;
    assert_int_equal(grant_build(&spec, &none, &r, &e), -1);
    spec.grant = GRANT_STATIC;
    assert_int_equal(grant_build(&spec, &both, &r, &e), -1);
    char *huge = malloc(GRANT_REQUEST_MAX);
    assert_non_null(huge);
    memset(huge, '%', GRANT_REQUEST_MAX);
    spec.grant = GRANT_REFRESH_TOKEN;
    const struct grant_secrets large = { .refresh_token = { huge, GRANT_REQUEST_MAX } };
    assert_int_equal(grant_build(&spec, &large, &r, &e), -1);
    assert_null(r.body.data);
    free(huge);
}

/* ---- assertions ---- */

static char pem[1024]; /* a P-256 key of this run */

static int make_key(void **state)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    (void)state;
    assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_true(BIO_read(bio, pem, sizeof pem - 1) > 100);
    BIO_free(bio);
    EVP_PKEY_free(key);
    return 0;
}

#define SIGNER                                                                                                         \
    {                                                                                                                  \
        .key = {.kind = SECRET_REF_FILE }                                                                              \
    }

static struct grant_secrets signing(const char *key)
{
    return (struct grant_secrets){ .signing_key = slice_str(key), .now_wall_s = NOW_S };
}

/* The value of a member of a form body. */
static struct slice member(struct slice body, const char *name)
{
    while (body.len) {
        struct slice value, pair = slice_cut(body, '&', &body);
        if (slice_eq(slice_cut(pair, '=', &value), slice_str(name)))
            return value;
    }
    return SLICE("");
}

/* Part 0 or 1 of a JWT as JSON. */
static json_t *part_of(struct slice jwt, int part)
{
    struct slice rest, text = slice_cut(jwt, '.', &rest);
    struct buf plain;
    if (part)
        text = slice_cut(rest, '.', &rest);
    assert_true(rest.len > 60); /* there is a signature behind */
    buf_init(&plain, 65536);
    assert_int_equal(str_add_unbase64(&plain, text), 0);
    json_t *json = json_loadb(buf_slice(&plain).ptr, plain.len, 0, NULL);
    assert_non_null(json);
    buf_done(&plain);
    return json;
}

/* expected: JSON; a jti is checked for its length and taken out. */
static void claims_are(struct slice jwt, const char *expected)
{
    json_t *claims = part_of(jwt, 1), *wanted = json_loads(expected, 0, NULL);
    assert_non_null(wanted);
    if (json_object_get(claims, "jti"))
        assert_int_equal(json_string_length(json_object_get(claims, "jti")), 22);
    if (!json_object_get(wanted, "jti"))
        (void)json_object_del(claims, "jti");
    char *text = json_dumps(claims, JSON_SORT_KEYS);
    if (!json_equal(claims, wanted))
        fail_msg("claims: %s", text);
    free(text);
    json_decref(claims);
    json_decref(wanted);
}

static struct grant_request built(const struct credential_spec *spec, const struct grant_secrets *secrets)
{
    struct grant_request r = { 0 };
    struct err e = { "" };
    if (grant_build(spec, secrets, &r, &e) != 0)
        fail_msg("%s", e.text);
    return r;
}

static void test_a_bearer_assertion_says_who_for_whom_to_whom_and_how_long(void **s)
{
    struct credential_spec_param claims[] = { { "tenant", "t1" } };
    struct credential_spec spec = { .name = "x",
                                    .grant = GRANT_JWT_BEARER,
                                    .client_auth = CLIENT_AUTH_NONE,
                                    .token_url = "https://as.test/token",
                                    .scope = "a b",
                                    .client_id = "client",
                                    .assertion = SIGNER };
    struct grant_secrets secrets = signing(pem);
    (void)s;
    struct grant_request r = built(&spec, &secrets);
    struct slice body = buf_slice(&r.body);
    assert_true(slice_eq(member(body, "grant_type"), SLICE("urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer")));
    assert_true(slice_eq(member(body, "scope"), SLICE("a+b")));
    assert_true(slice_eq(member(body, "client_id"), SLICE("client")));
    /* iat is a minute ago, exp an hour after it */
    claims_are(member(body, "assertion"), "{\"iss\":\"client\",\"sub\":\"client\",\"aud\":\"https://as.test/"
                                          "token\",\"iat\":1699999940,\"exp\":1700003540}");
    grant_request_done(&r);
    spec.assertion = (struct credential_spec_assertion){ .key = { .kind = SECRET_REF_FILE },
                                                         .issuer = "iss",
                                                         .subject = "who",
                                                         .audience = "aud",
                                                         .kid = "k1",
                                                         .lifetime_ms = 120000,
                                                         .claims = claims,
                                                         .claim_count = 1 };
    r = built(&spec, &secrets);
    claims_are(
        member(buf_slice(&r.body), "assertion"),
        "{\"iss\":\"iss\",\"sub\":\"who\",\"aud\":\"aud\",\"iat\":1699999940,\"exp\":1700000060,\"tenant\":\"t1\"}");
    json_t *header = part_of(member(buf_slice(&r.body), "assertion"), 0);
    assert_string_equal(json_string_value(json_object_get(header, "kid")), "k1");
    json_decref(header);
    grant_request_done(&r);
}

static void test_each_assertion_is_a_new_one(void **s)
{
    struct credential_spec spec = { .name = "x",
                                    .grant = GRANT_JWT_BEARER,
                                    .client_auth = CLIENT_AUTH_NONE,
                                    .token_url = "https://as.test/token",
                                    .client_id = "c",
                                    .assertion = SIGNER };
    struct grant_secrets secrets = signing(pem);
    (void)s;
    struct grant_request a = built(&spec, &secrets), b = built(&spec, &secrets);
    json_t *first = part_of(member(buf_slice(&a.body), "assertion"), 1),
           *second = part_of(member(buf_slice(&b.body), "assertion"), 1);
    assert_non_null(json_object_get(first, "jti"));
    assert_false(json_equal(json_object_get(first, "jti"), json_object_get(second, "jti")));
    json_decref(first);
    json_decref(second);
    grant_request_done(&a);
    grant_request_done(&b);
}

static void test_googles_key_file_brings_issuer_and_key_id_and_scope_becomes_a_claim(void **s)
{
    struct credential_spec spec = { .name = "x",
                                    .grant = GRANT_JWT_BEARER,
                                    .client_auth = CLIENT_AUTH_NONE,
                                    .token_url = "https://g.test/token",
                                    .scope = "cloud",
                                    .assertion = SIGNER };
    json_t *file = json_pack("{s:s,s:s,s:s,s:s}", "type", "service_account", "private_key", pem, "private_key_id",
                             "kid7", "client_email", "sa@p.test");
    char *text = json_dumps(file, JSON_INDENT(2));
    struct grant_secrets secrets = signing(text);
    (void)s;
    struct grant_request r = built(&spec, &secrets);
    struct slice jwt = member(buf_slice(&r.body), "assertion");
    assert_int_equal(member(buf_slice(&r.body), "scope").len, 0);
    claims_are(jwt, "{\"iss\":\"sa@p.test\",\"aud\":\"https://g.test/"
                    "token\",\"iat\":1699999940,\"exp\":1700003540,\"scope\":\"cloud\"}");
    json_t *header = part_of(jwt, 0);
    assert_string_equal(json_string_value(json_object_get(header, "kid")), "kid7");
    json_decref(header);
    grant_request_done(&r);
    spec.assertion.subject = "user@p.test"; /* delegation */
    r = built(&spec, &secrets);
    json_t *claims = part_of(member(buf_slice(&r.body), "assertion"), 1);
    assert_string_equal(json_string_value(json_object_get(claims, "sub")), "user@p.test");
    json_decref(claims);
    grant_request_done(&r);
    free(text);
    json_decref(file);
}

static void test_a_client_proves_itself_with_an_assertion_in_every_oauth_grant(void **s)
{
    static const enum grant_kind kinds[] = { GRANT_REFRESH_TOKEN, GRANT_CLIENT_CREDENTIALS, GRANT_TOKEN_EXCHANGE,
                                             GRANT_JWT_BEARER };
    (void)s;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct credential_spec spec = { .name = "x",
                                        .grant = kinds[i],
                                        .client_auth = CLIENT_AUTH_PRIVATE_KEY_JWT,
                                        .token_url = "https://as.test/token",
                                        .client_id = "me",
                                        .assertion = SIGNER };
        struct grant_secrets secrets = signing(pem);
        secrets.refresh_token = SLICE("rt");
        secrets.subject_token = SLICE("st");
        spec.assertion.issuer = "for-the-grant-only";
        struct grant_request r = built(&spec, &secrets);
        struct slice body = buf_slice(&r.body);
        assert_true(slice_eq(member(body, "client_assertion_type"),
                             SLICE("urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer")));
        assert_true(slice_eq(member(body, "client_id"), SLICE("me")));
        assert_int_equal(r.authorization.len, 0);
        claims_are(
            member(body, "client_assertion"),
            "{\"iss\":\"me\",\"sub\":\"me\",\"aud\":\"https://as.test/token\",\"iat\":1699999940,\"exp\":1700000240}");
        grant_request_done(&r);
    }
}

static void test_a_ready_made_assertion_is_sent_as_it_is(void **s)
{
    struct credential_spec spec = { .name = "x",
                                    .grant = GRANT_CLIENT_CREDENTIALS,
                                    .client_auth = CLIENT_AUTH_PRIVATE_KEY_JWT,
                                    .client_id = "me",
                                    .assertion = { .token = { .kind = SECRET_REF_FILE } } };
    struct grant_secrets secrets = { .assertion = SLICE("a.b.c"), .now_wall_s = NOW_S };
    (void)s;
    struct grant_request r = built(&spec, &secrets);
    assert_true(slice_eq(member(buf_slice(&r.body), "client_assertion"), SLICE("a.b.c")));
    grant_request_done(&r);
    spec.grant = GRANT_JWT_BEARER;
    spec.client_auth = CLIENT_AUTH_NONE;
    spec.body = GRANT_BODY_JSON;
    r = built(&spec, &secrets);
    assert_true(
        slice_eq(buf_slice(&r.body),
                 SLICE("{\"grant_type\":\"urn:ietf:params:oauth:grant-type:jwt-bearer\",\"assertion\":\"a.b.c\","
                       "\"client_id\":\"me\"}")));
    grant_request_done(&r);
}

static void test_a_github_app_asks_with_its_jwt_as_bearer(void **s)
{
    struct credential_spec_param params[] = { { "scope", "nothing" } };
    struct credential_spec spec = { .name = "x",
                                    .grant = GRANT_GITHUB_APP,
                                    .client_auth = CLIENT_AUTH_NONE,
                                    .client_id = "Iv1.app",
                                    .assertion = SIGNER,
                                    .token_url = "https://api.github.com/app/installations/1/access_tokens",
                                    .params = params,
                                    .param_count = 1,
                                    .scope = "no" };
    struct grant_secrets secrets = signing(pem);
    (void)s;
    struct grant_request r = built(&spec, &secrets);
    struct slice authorization = buf_slice(&r.authorization);
    assert_true(slice_eq(buf_slice(&r.body), SLICE("{}")));
    assert_string_equal(r.content_type, "application/json");
    assert_true(slice_starts(authorization, SLICE("Bearer ")));
    /* 9 min from now: GitHub takes 10 at most */
    claims_are(slice_skip(authorization, 7), "{\"iss\":\"Iv1.app\",\"iat\":1699999940,\"exp\":1700000540}");
    grant_request_done(&r);
}

static void test_a_key_that_cannot_sign_is_an_error_and_leaves_nothing(void **s)
{
    static const char *const keys[] = {
        "", "x", "{}", "{\"private_key\":\"x\"}", "{\"private_key\":\"x\",\"client_email\":\"a@b\"}", "{"
    };
    struct credential_spec spec = {
        .name = "x", .grant = GRANT_JWT_BEARER, .client_auth = CLIENT_AUTH_NONE, .client_id = "c", .assertion = SIGNER
    };
    (void)s;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct grant_secrets secrets = signing(keys[i]);
        struct grant_request r = { 0 };
        struct err e = { "" };
        assert_int_equal(grant_build(&spec, &secrets, &r, &e), -1);
        assert_non_null(strstr(e.text, "the signing key"));
        assert_null(r.body.data);
        assert_null(r.authorization.data);
    }
}

/* ---- token exchange, metadata, impersonation ---- */

static void test_a_token_exchange_names_tokens_and_types(void **s)
{
    struct credential_spec spec = { .name = "x",
                                    .grant = GRANT_TOKEN_EXCHANGE,
                                    .client_auth = CLIENT_AUTH_NONE,
                                    .audience = "//iam",
                                    .scope = "cloud" };
    struct grant_secrets secrets = { .subject_token = SLICE("s.t") };
    (void)s;
    struct grant_request r = built(&spec, &secrets);
    assert_true(slice_eq(
        buf_slice(&r.body),
        SLICE(
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=s.t&subject_token_type="
            "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&scope=cloud&audience=%2F%2Fiam")));
    assert_int_equal(r.authorization.len, 0);
    grant_request_done(&r);
    spec = (struct credential_spec){ .name = "x",
                                     .grant = GRANT_TOKEN_EXCHANGE,
                                     .client_auth = CLIENT_AUTH_NONE,
                                     .body = GRANT_BODY_JSON,
                                     .subject_token_type = "st",
                                     .actor_token_type = "at",
                                     .requested_token_type = "rt",
                                     .resource = "https://r.test" };
    secrets.actor_token = SLICE("a\"t");
    r = built(&spec, &secrets);
    assert_true(
        slice_eq(buf_slice(&r.body),
                 SLICE("{\"grant_type\":\"urn:ietf:params:oauth:grant-type:token-exchange\",\"subject_token\":\"s.t\","
                       "\"subject_token_type\":\"st\",\"actor_token\":\"a\\\"t\",\"actor_token_type\":\"at\","
                       "\"requested_token_type\":\"rt\",\"resource\":\"https://r.test\"}")));
    grant_request_done(&r);
    struct grant_secrets none = { .now_wall_s = NOW_S };
    struct err e;
    assert_int_equal(grant_build(&spec, &none, &r, &e), -1);
    assert_string_equal(e.text, "there is no subject token");
}

static void test_a_metadata_server_is_asked_with_its_own_field(void **s)
{
    struct credential_spec_param azure[] = { { "metadata", "true" } };
    struct credential_spec spec = { .name = "x", .grant = GRANT_METADATA, .client_auth = CLIENT_AUTH_NONE };
    struct grant_secrets secrets = { .now_wall_s = NOW_S };
    (void)s;
    struct grant_request r = built(&spec, &secrets);
    assert_null(r.content_type);
    assert_int_equal(r.body.len, 0);
    assert_int_equal(r.field_count, 1);
    assert_string_equal(r.fields[0].name, "Metadata-Flavor");
    assert_string_equal(r.fields[0].value, "Google");
    grant_request_done(&r);
    spec.headers = azure;
    spec.header_count = 1;
    r = built(&spec, &secrets);
    assert_int_equal(r.field_count, 1);
    assert_string_equal(r.fields[0].name, "metadata");
    grant_request_done(&r);
}

static void test_the_second_step_carries_the_first_token(void **s)
{
    struct credential_spec spec = { .name = "x",
                                    .grant = GRANT_TOKEN_EXCHANGE,
                                    .impersonate = {
                                        .url = "https://i.test/", .scope = "a  b", .lifetime_ms = 3600000 } };
    struct grant_request r = { 0 };
    struct err e;
    (void)s;
    assert_int_equal(grant_build_impersonation(&spec, SLICE("first"), &r, &e), 0);
    assert_true(slice_eq(buf_slice(&r.body), SLICE("{\"scope\":[\"a\",\"b\"],\"lifetime\":\"3600s\"}")));
    assert_true(slice_eq(buf_slice(&r.authorization), SLICE("Bearer first")));
    grant_request_done(&r);
    spec.impersonate = (struct credential_spec_impersonate){ .url = "https://i.test/" };
    assert_int_equal(grant_build_impersonation(&spec, SLICE("first"), &r, &e), 0);
    assert_true(slice_eq(buf_slice(&r.body), SLICE("{}")));
    grant_request_done(&r);
}

/* ---- answers ---- */

static enum grant_result parse(int status, struct slice body, struct grant_answer *ret, char *why)
{
    const struct grant_input in = { .status = status, .body = body };
    return grant_answer_parse(&in, ret, why);
}

#define AT "\"access_token\":\"at\""

static void test_lifetimes_as_the_wild_has_them(void **s)
{
    static const struct {
        const char *body;
        int64_t lifetime_ms, expires_wall_ms;
    } rows[] = {
        { "{" AT ",\"expires_in\":3600}", 3600000, 0 },
        { "{" AT ",\"expires_in\":\"3600\"}", 3600000, 0 },
        { "{" AT ",\"expires_in\":3599.5}", 3599500, 0 },
        { "{" AT ",\"expires_in\":\" 3599.5 \"}", 3599500, 0 },
        { "{" AT "}", 0, 0 },
        { "{" AT ",\"expires_in\":0}", 0, 0 },
        { "{" AT ",\"expires_in\":-5}", 0, 0 },
        { "{" AT ",\"expires_in\":null}", 0, 0 },
        { "{" AT ",\"expires_in\":true}", 0, 0 },
        { "{" AT ",\"expires_in\":\"soon\"}", 0, 0 },
        { "{" AT ",\"expires_in\":\"nan\"}", 0, 0 },
        { "{" AT ",\"expires_in\":\"1e400\"}", 2147483647000, 0 },
        { "{" AT ",\"expires_in\":1e300}", 2147483647000, 0 },
        { "{" AT ",\"expires_at\":\"2030-01-02T03:04:05Z\"}", 0, 1893553445000 },
        { "{\"token\":\"at\",\"expires_at\":\"2030-01-02T03:04:05Z\"}", 0, 1893553445000 },
        { "{\"accessToken\":\"at\",\"expireTime\":\"2030-01-02T04:04:05.123456+01:00\"}", 0, 1893553445000 },
        { "{" AT ",\"expires_at\":\"2030-01-01T22:04:05-05:00\"}", 0, 1893553445000 },
        { "{" AT ",\"expires_at\":\"2030-01-02\"}", 0, 0 },
        { "{" AT ",\"expires_at\":\"2030-01-02T03:04:05+25:00\"}", 0, 0 },
        { "{" AT ",\"expires_at\":\"tomorrow\"}", 0, 0 },
        { "{" AT ",\"expires_on\":\"1893553445\"}", 0, 1893553445000 },
        { "{" AT ",\"expires_at\":1893553445000}", 0, 1893553445000 },
        { "{" AT ",\"expires_at\":\"1893553445.5\"}", 0, 1893553445500 },
        /* who counts in milliseconds says so beside it */
        { "{" AT ",\"expires_in\":3600000,\"expires_in_sec\":3600}", 3600000, 0 },
        { "{" AT ",\"expires_in\":60,\"expires_at\":\"2030-01-02T03:04:05Z\"}", 60000, 0 },
        { "access_token=at&expires_in=28800&token_type=bearer", 28800000, 0 },
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct grant_answer a = { 0 };
        char why[128] = "";
        if (parse(200, slice_str(rows[i].body), &a, why) != GRANT_TOKEN || a.lifetime_ms != rows[i].lifetime_ms
            || a.expires_wall_ms != rows[i].expires_wall_ms)
            fail_msg("%s: %lld %lld %s", rows[i].body, (long long)a.lifetime_ms, (long long)a.expires_wall_ms, why);
        assert_true(slice_eq(secret_peek(&a.access_token), SLICE("at")));
        grant_answer_done(&a);
    }
}

static void test_what_is_no_token(void **s)
{
    static const struct {
        int status;
        const char *body;
        enum grant_result result;
        const char *code;
    } rows[] = {
        { 200, "", GRANT_BROKEN, "" },
        { 200, " \r\n", GRANT_BROKEN, "" },
        { 200, "<html>hello</html>", GRANT_BROKEN, "" },
        { 200, "[]", GRANT_BROKEN, "" },
        { 200, "null", GRANT_BROKEN, "" },
        { 200, "{}", GRANT_BROKEN, "" },
        { 200, "{\"access_token\":\"\"}", GRANT_BROKEN, "" },
        { 200, "{\"access_token\":5}", GRANT_BROKEN, "" },
        { 200, "{\"access_token\":\"a b\"}", GRANT_BROKEN, "" },
        { 200, "{\"access_token\":\"a\\r\\nX: y\"}", GRANT_BROKEN, "" },
        { 200, "{\"access_token\":\"a\\u007f\"}", GRANT_BROKEN, "" },
        { 200, "{\"access_token\":\"a\\u00e9\"}", GRANT_BROKEN, "" },
        { 200, "access_token=a%0d%0ab", GRANT_BROKEN, "" },
        { 200, "access_token=a%zz", GRANT_BROKEN, "" },
        { 200, "access_token=a%4", GRANT_BROKEN, "" },
        { 200, "access_token", GRANT_BROKEN, "" },
        { 200, "access_token=at&a%00b=c", GRANT_BROKEN, "" },
        { 200, "=at", GRANT_BROKEN, "" },
        { 200, "{\"error\":\"bad_refresh_token\",\"error_description\":\"x\"}", GRANT_ERROR, "bad_refresh_token" },
        { 200, "{" AT ",\"error\":\"invalid_grant\"}", GRANT_ERROR, "invalid_grant" },
        { 200, "{\"ok\":false,\"error\":\"token_revoked\"}", GRANT_ERROR, "token_revoked" },
        { 200, "{\"ok\":false}", GRANT_ERROR, "not_ok" },
        { 200, "error=bad_refresh_token&error_description=The+token", GRANT_ERROR, "bad_refresh_token" },
        { 401, "{\"error\":{\"code\":\"refresh_token_reused\",\"message\":\"m\"}}", GRANT_ERROR,
          "refresh_token_reused" },
        { 401, "{\"error\":{\"type\":\"authentication_error\"}}", GRANT_ERROR, "authentication_error" },
        { 401, "{\"error\":{}}", GRANT_ERROR, "unknown_error" },
        { 400, "{\"error\":\"a b\\n\\\"c\"}", GRANT_ERROR, "a_b__c" },
        { 400,
          "{\"error\":\"invalid_request\",\"error_description\":\"invalid_grant: the refresh token has been revoked\"}",
          GRANT_ERROR, "invalid_request" },
        { 400, "<html><body>invalid_grant</body></html>", GRANT_BROKEN, "" }, /* words are nobody's code */
        { 400, "invalid_grant", GRANT_BROKEN, "" },
        { 400, "{" AT "}", GRANT_BROKEN, "" }, /* a refusal is a refusal */
        { 500, "{\"message\":\"oops\"}", GRANT_BROKEN, "" },
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct grant_answer a = { 0 };
        char why[128] = "";
        enum grant_result result = parse(rows[i].status, slice_str(rows[i].body), &a, why);
        if (result != rows[i].result || strcmp(a.code, rows[i].code) != 0 || why[0] == '\0')
            fail_msg("%s: %d \"%s\" %s", rows[i].body, result, a.code, why);
        assert_true(secret_empty(&a.access_token));
        grant_answer_done(&a);
    }
}

static void test_a_token_of_16_kib_is_taken_and_a_longer_one_is_not(void **s)
{
    (void)s;
    for (size_t extra = 0; extra < 2; extra++) {
        struct grant_answer a = { 0 };
        struct buf body;
        char why[128] = "", *token = malloc(GRANT_TOKEN_MAX + extra);
        assert_non_null(token);
        memset(token, 'x', GRANT_TOKEN_MAX + extra);
        buf_init(&body, 65536);
        assert_int_equal(buf_add_str(&body, "{\"access_token\":\"")
                             | buf_add(&body, slice_of(token, GRANT_TOKEN_MAX + extra)) | buf_add_str(&body, "\"}"),
                         0);
        assert_int_equal(parse(200, buf_slice(&body), &a, why), extra ? GRANT_BROKEN : GRANT_TOKEN);
        grant_answer_done(&a);
        buf_done(&body);
        free(token);
    }
}

static void test_other_members_are_kept_and_secrets_are_not_among_them(void **s)
{
    struct grant_answer a = { 0 };
    char why[128];
    (void)s;
    assert_int_equal(
        parse(200,
              SLICE("{" AT
                    ",\"refresh_token\":\"rt\",\"id_token\":\"jwt\",\"instance_url\":\"https://x.test\",\"scope\":\"\","
                    "\"token_type\":\"Bearer\",\"refresh_in\":\"1800\",\"n\":5}"),
              &a, why),
        GRANT_TOKEN);
    assert_int_equal(json_object_size(a.extra), 3);
    assert_string_equal(json_string_value(json_object_get(a.extra, "instance_url")), "https://x.test");
    assert_true(slice_eq(secret_peek(&a.refresh_token), SLICE("rt")));
    assert_int_equal(a.refresh_in_ms, 1800000);
    grant_answer_done(&a);
}

static void test_what_programs_print_is_understood(void **s)
{
    static const struct {
        const char *body;
        int64_t expires_wall_ms;
    } rows[] = {
        { "{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\",\"spec\":{},"
          "\"status\":{\"token\":\"at\",\"expirationTimestamp\":\"2030-01-02T03:04:05Z\"}}",
          1893553445000 },
        { "{\"kind\":\"ExecCredential\",\"status\":{\"token\":\"at\"}}", 0 },
        { "{\"configuration\":{},\"credential\":{\"access_token\":\"at\",\"token_expiry\":\"2030-01-02T03:04:05Z\"}}",
          1893553445000 },
        { "{\"accessToken\":\"at\",\"expiresOn\":\"2030-01-02 03:04:05.000000\",\"expires_on\":1893553445}",
          1893553445000 },
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct grant_answer a = { 0 };
        char why[128] = "";
        if (parse(200, slice_str(rows[i].body), &a, why) != GRANT_TOKEN)
            fail_msg("row %zu: %s", i, why);
        assert_true(slice_eq(secret_peek(&a.access_token), SLICE("at")));
        assert_true(a.expires_wall_ms == rows[i].expires_wall_ms);
        grant_answer_done(&a);
    }
}

static void test_github_answers_have_a_status_and_no_code(void **s)
{
    static const char wrong_key[] =
        "{\"message\":\"A JSON web token could not be "
        "decoded\",\"documentation_url\":\"https://docs.github.com/rest\",\"status\":\"401\"}";
    struct grant_answer a = { 0 };
    char why[128];
    (void)s;
    assert_int_equal(parse(201,
                           SLICE("{\"token\":\"ghs_1\",\"expires_at\":\"2030-01-02T03:04:05Z\",\"permissions\":{"
                                 "\"contents\":\"read\"}}"),
                           &a, why),
                     GRANT_TOKEN);
    assert_true(a.expires_wall_ms == INT64_C(1893553445000));
    grant_answer_done(&a);
    a = (struct grant_answer){ 0 };
    assert_int_equal(parse(401, slice_str(wrong_key), &a, why), GRANT_ERROR);
    assert_string_equal(a.code, "bad_credentials");
    grant_answer_done(&a);
    a = (struct grant_answer){ 0 };
    /* a gateway's */
    assert_int_equal(parse(401, SLICE("{\"message\":\"Unauthorized\"}"), &a, why), GRANT_BROKEN);
    grant_answer_done(&a);
}

static void test_refusals_as_the_wild_has_them(void **s)
{
    static const struct {
        int status;
        const char *body, *code, *said;
    } rows[] = {
        { 400, "{\"error\":\"invalid_grant\",\"error_description\":\"expired\"}", "invalid_grant", "expired" },
        /* HubSpot */
        { 400, "{\"status\":\"BAD_REFRESH_TOKEN\",\"message\":\"missing or unknown refresh token\"}",
          "BAD_REFRESH_TOKEN", "missing or unknown refresh token" },
        /* Strava */
        { 400,
          "{\"message\":\"Bad "
          "Request\",\"errors\":[{\"resource\":\"RefreshToken\",\"field\":\"refresh_token\",\"code\":"
          "\"invalid\"}]}",
          "invalid", "Bad Request RefreshToken refresh_token invalid" },
        /* Fitbit */
        { 400,
          "{\"errors\":[{\"errorType\":\"invalid_grant\",\"message\":\"Refresh token invalid\"}],\"success\":false}",
          "invalid_grant", "Refresh token invalid" },
        /* Twitch */
        { 400, "{\"status\":400,\"message\":\"Invalid refresh token\"}", "", "Invalid refresh token" },
        /* Reddit */
        { 400, "{\"message\":\"Bad Request\",\"error\":400}", "400", "Bad Request" },
        /* Zoom */
        { 401, "{\"reason\":\"Invalid Token!\",\"error\":\"invalid_request\"}", "invalid_request", "Invalid Token!" },
        /* Meta */
        { 400, "{\"error\":{\"message\":\"Session has expired\",\"type\":\"OAuthException\",\"code\":190}}",
          "OAuthException", "Session has expired" },
        /* Yahoo */
        { 400, "{\"error\":{\"errorId\":\"INVALID_REFRESH_TOKEN\",\"message\":\"\"}}", "INVALID_REFRESH_TOKEN", "" },
        /* IBM */
        { 400, "{\"errorCode\":\"BXNIM0407E\",\"errorMessage\":\"Provided refresh_token is invalid\"}", "BXNIM0407E",
          "Provided refresh_token is invalid" },
        /* Cognito */
        { 400, "{\"__type\":\"NotAuthorizedException\",\"message\":\"Refresh Token has been revoked\"}",
          "NotAuthorizedException", "Refresh Token has been revoked" },
        /* Apigee */
        { 401, "{\"fault\":{\"faultstring\":\"Invalid\",\"detail\":{\"errorcode\":\"keymanagement.service.x\"}}}",
          "keymanagement.service.x", "" },
        /* WeChat */
        { 200, "{\"errcode\":42002,\"errmsg\":\"refresh_token expired\"}", "42002", "refresh_token expired" },
        /* Withings */
        { 200, "{\"status\":503,\"body\":{},\"error\":\"Invalid Params: invalid refresh_token\"}",
          "Invalid_Params__invalid_refresh_token", "Invalid Params: invalid refresh_token" },
        /* Feishu, Lazada, AliExpress: with HTTP 200 */
        { 200, "{\"code\":20037,\"msg\":\"refresh token expired\",\"data\":{}}", "20037", "refresh token expired" },
        { 200, "{\"code\":\"IllegalRefreshToken\",\"type\":\"ISP\",\"message\":\"no\"}", "IllegalRefreshToken", "no" },
        { 200, "{\"error_response\":{\"code\":15,\"msg\":\"Remote service error\"}}", "15", "Remote service error" },
        /* what may be a success with tokens that nobody has found is no error */
        { 200, "{\"code\":1,\"message\":\"ok\",\"at\":\"x\"}", "", "" },
        { 200, "{\"code\":10000,\"message\":\"done\",\"payload\":{\"at\":\"x\"}}", "", "" },
        { 200, "{\"code\":200,\"message\":\"fine\",\"at\":\"x\"}", "", "" },
        { 200, "{\"code\":7,\"message\":\"no\",\"payload\":{\"refreshToken\":\"x\"}}", "", "" },
        /* Firebase */
        { 400, "{\"error\":{\"code\":400,\"message\":\"TOKEN_EXPIRED\",\"status\":\"INVALID_ARGUMENT\"}}",
          "INVALID_ARGUMENT", "TOKEN_EXPIRED" },
        { 401, "{\"detail\":\"Token is blacklisted\",\"code\":\"token_not_valid\"}", "token_not_valid",
          "Token is blacklisted" }, /* Django REST framework */
        { 400, "{\"error\":{\"error\":\"invalid_grant\",\"error_description\":\"x\"}}", "invalid_grant", "x" },
        { 400, "{\"errors\":[\"The refresh token is no longer valid\"]}", "The_refresh_token_is_no_longer_valid",
          "The refresh token is no longer valid" },
        { 400, "{\"type\":\"https://x.test/e\",\"title\":\"Invalid refresh token\"}", "", "Invalid refresh token" },
        { 400, "invalid_grant\r\n", "", "invalid_grant" },
        { 401, "Refresh token expired", "", "Refresh token expired" },
        { 400, "Jeton expir\xe9", "", "" },
        { 200, "{\"ok\":false}", "not_ok", "" },
        { 400, "{\"status\":\"error\",\"message\":\"no\"}", "", "no" },
        { 400, "{}", "", "" },
        { 400, "error=invalid_grant&error_description=gone", "invalid_grant", "gone" },
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct grant_answer a = { 0 };
        char why[128] = "";
        enum grant_result result = parse(rows[i].status, slice_str(rows[i].body), &a, why);
        if (result == GRANT_TOKEN || strcmp(a.code, rows[i].code) != 0 || strcmp(a.said, rows[i].said) != 0)
            fail_msg("row %zu: code \"%s\", said \"%s\"", i, a.code, a.said);
        assert_int_equal(result == GRANT_ERROR, rows[i].code[0] != '\0');
        grant_answer_done(&a);
    }
    /* a good answer stays one, whatever stands beside it */
    struct grant_answer a = { 0 };
    char why[128] = "";
    assert_int_equal(
        parse(200, SLICE("{\"access_token\":\"at\",\"errors\":[],\"code\":7,\"status\":\"fine\",\"message\":\"m\"}"),
              &a, why),
        GRANT_TOKEN);
    assert_string_equal(a.said, "");
    grant_answer_done(&a);
}

static void test_what_a_server_says_is_shown_without_secrets(void **s)
{
    static const struct {
        const char *said, *secret, *shown;
    } rows[] = {
        { "the refresh token rt-12 is unknown", "rt-12", "the refresh token ***** is unknown" },
        { "token 1//0eXyZabcdefgh is bad", "1//0eXyZabcdefghijkl", "token **************** is bad" }, /* cut */
        { "got 'abcdefgh", "xxabcdefghyy", "got '********" },
        { "AADSTS70008: expired. Trace ID: 0e1f2a3b-1111-2222-3333-444455556666", "rt",
          "AADSTS70008: expired. Trace ID: ************************************" },
        { "invalid_refresh_token_was_provided_here", "rt-1", "invalid_refresh_token_was_provided_here" },
        { "INVALID_REFRESH_TOKEN_GIVEN", "rt-1", "INVALID_REFRESH_TOKEN_GIVEN" },
        { "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2ln", "", "*********************************************" },
        { "", "rt-1", "" },
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char said[GRANT_SAID_MAX + 1];
        snprintf(said, sizeof said, "%s", rows[i].said);
        refusal_hide(said, slice_str(rows[i].secret));
        assert_string_equal(said, rows[i].shown);
    }
    struct grant_answer a = { 0 };
    char why[128] = "", body[600], big[400];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    snprintf(body, sizeof body, "{\"error\":\"e\",\"error_description\":\"a\\u0007\\n\\\"\\u00e9%s\"}", big);
    assert_int_equal(parse(400, slice_str(body), &a, why), GRANT_ERROR);
    assert_int_equal(strlen(a.said), GRANT_SAID_MAX);
    for (const char *c = a.said; *c; c++)
        assert_true(*c >= ' ' && *c < 0x7f && *c != '"');
    grant_answer_done(&a);
}

static void test_the_end_of_a_refresh_token_is_read_and_kept(void **s)
{
    static const struct {
        const char *members;
        int64_t lifetime_ms;
    } rows[] = {
        { "\"refresh_expires_in\":1800", 1800000 },
        { "\"refresh_token_expires_in\":\"86400\"", 86400000 },
        { "\"x_refresh_token_expires_in\":8726400", 8726400000 },
        { "\"refresh_expires_in\":0", 0 }, /* Keycloak: offline */
        { "\"refresh_expires_in\":-1", 0 },
        { "\"refresh_in\":60", 0 },
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct grant_answer a = { 0 };
        char why[128] = "", body[200];
        snprintf(body, sizeof body, "{\"access_token\":\"at\",\"refresh_token\":\"rt\",%s}", rows[i].members);
        assert_int_equal(parse(200, slice_str(body), &a, why), GRANT_TOKEN);
        assert_int_equal(a.refresh_lifetime_ms, rows[i].lifetime_ms);
        struct state parent, next;
        state_init(&parent);
        state_init(&next);
        parent.refresh_expires_wall_ms = 5000;
        assert_int_equal(secret_set(&parent.refresh_token, SLICE("rt")), 0);
        assert_int_equal(state_from_answer(&parent, &a, SLICE("rt"), "", 0, 1000, &next), 0);
        /* the same token keeps its end */
        assert_int_equal(next.refresh_expires_wall_ms, rows[i].lifetime_ms ? 1000 + rows[i].lifetime_ms : 5000);
        assert_int_equal(state_from_answer(&parent, &a, SLICE("rt"), "", 0, 6000, &next), 0);
        assert_int_equal(next.refresh_expires_wall_ms, rows[i].lifetime_ms ? 6000 + rows[i].lifetime_ms : 0);
        state_done(&parent);
        state_done(&next);
        grant_answer_done(&a);
    }
}

static void test_nested_user_tokens_are_found(void **s)
{
    struct grant_answer a = { 0 };
    char why[128];
    (void)s;
    assert_int_equal(parse(200,
                           SLICE("{\"ok\":true,\"authed_user\":{\"access_token\":\"xoxe\",\"refresh_token\":"
                                 "\"r\",\"expires_in\":43200}}"),
                           &a, why),
                     GRANT_TOKEN);
    assert_true(slice_eq(secret_peek(&a.access_token), SLICE("xoxe")));
    assert_int_equal(a.lifetime_ms, 43200000);
    grant_answer_done(&a);
}

static void test_the_end_of_a_jwt_is_read_and_of_anything_else_is_not(void **s)
{
    static const struct {
        const char *token;
        int64_t at_ms;
    } rows[] = {
        { "eyJhbGciOiJub25lIn0.eyJleHAiOjE4OTM1NTM0NDV9.sig", 1893553445000 }, /* {"exp":1893553445} */
        { "eyJhbGciOiJub25lIn0.eyJleHAiOjE4OTM1NTM0NDV9", 0 },                 /* two parts */
        { "a.b.c", 0 },
        { "opaque", 0 },
        { "..", 0 },
        { "a.!!!!.c", 0 },
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(grant_answer_jwt_expiry(slice_str(rows[i].token)), rows[i].at_ms);
}

/* ---- the state that follows ---- */

static struct state follow(const struct state *parent, const char *body, int64_t default_ms)
{
    struct grant_answer a = { 0 };
    struct state next;
    char why[128];
    state_init(&next);
    assert_int_equal(parse(200, slice_str(body), &a, why), GRANT_TOKEN);
    assert_int_equal(state_from_answer(parent, &a, SLICE("rt-old"), "0badcafe", default_ms, WALL, &next), 0);
    grant_answer_done(&a);
    return next;
}

static void test_a_lifetime_that_is_not_given_is_found(void **s)
{
    static const struct {
        const char *body;
        int64_t last_ms, default_ms, expires_ms;
    } rows[] = {
        { "{" AT ",\"expires_in\":60}", 3600000, 5000, 60000 },
        { "{" AT "}", 3600000, 5000, 3600000 }, /* the last known length, never the last end */
        { "{" AT "}", 0, 5000, 5000 },
        { "{" AT "}", 0, 0, -WALL }, /* unknown: 0 */
        { "{" AT ",\"expires_at\":\"2023-11-14T23:13:20Z\"}", 0, 0, 3600000 },
        { "{" AT ",\"expires_at\":\"2001-01-01T00:00:00Z\"}", 0, 5000, 5000 }, /* past already: nonsense */
        { "{\"access_token\":\"eyJhbGciOiJub25lIn0.eyJleHAiOjE4OTM1NTM0NDV9.sig\"}", 0, 5000, 1893553445000 - WALL },
        { "{\"access_token\":\"eyJhbGciOiJub25lIn0.eyJleHAiOjE4OTM1NTM0NDV9.sig\"}", 3600000, 5000, 3600000 },
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct state parent = { .generation = 4,
                                .obtained_wall_ms = WALL - 9000000,
                                .expires_wall_ms = WALL - 9000000 + rows[i].last_ms };
        if (rows[i].last_ms == 0)
            parent.expires_wall_ms = 0;
        struct state next = follow(&parent, rows[i].body, rows[i].default_ms);
        if (next.expires_wall_ms != WALL + rows[i].expires_ms)
            fail_msg("row %zu: %lld", i, (long long)(next.expires_wall_ms - WALL));
        assert_int_equal(next.generation, 5);
        assert_string_equal(next.refresh_fp, "0badcafe");
        state_done(&next);
    }
}

static void test_unknown_members_survive_and_new_values_win(void **s)
{
    struct state parent;
    (void)s;
    state_init(&parent);
    parent.extra = json_pack("{s:s, s:s, s:i}", "scope", "a", "kept", "yes", "n", 1);
    struct state next = follow(&parent, "{" AT ",\"scope\":\"b\",\"fresh\":true}", 0);
    assert_string_equal(json_string_value(json_object_get(next.extra, "scope")), "b");
    assert_string_equal(json_string_value(json_object_get(next.extra, "kept")), "yes");
    assert_int_equal(json_object_size(next.extra), 4);
    state_done(&next);
    next = follow(&parent, "{" AT ",\"scope\":\"\"}", 0); /* scope is stored only when non-empty */
    assert_string_equal(json_string_value(json_object_get(next.extra, "scope")), "a");
    assert_true(slice_eq(secret_peek(&next.refresh_token), SLICE("rt-old")));
    state_done(&next);
    state_done(&parent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_bearer_assertion_says_who_for_whom_to_whom_and_how_long),
        cmocka_unit_test(test_each_assertion_is_a_new_one),
        cmocka_unit_test(test_googles_key_file_brings_issuer_and_key_id_and_scope_becomes_a_claim),
        cmocka_unit_test(test_a_client_proves_itself_with_an_assertion_in_every_oauth_grant),
        cmocka_unit_test(test_a_ready_made_assertion_is_sent_as_it_is),
        cmocka_unit_test(test_a_github_app_asks_with_its_jwt_as_bearer),
        cmocka_unit_test(test_a_key_that_cannot_sign_is_an_error_and_leaves_nothing),
        cmocka_unit_test(test_a_token_exchange_names_tokens_and_types),
        cmocka_unit_test(test_a_metadata_server_is_asked_with_its_own_field),
        cmocka_unit_test(test_the_second_step_carries_the_first_token),
        cmocka_unit_test(test_refresh_requests_by_client_authentication_and_body),
        cmocka_unit_test(test_client_credentials_carry_scope_audience_and_params),
        cmocka_unit_test(test_what_cannot_be_asked_is_an_error),
        cmocka_unit_test(test_lifetimes_as_the_wild_has_them),
        cmocka_unit_test(test_what_is_no_token),
        cmocka_unit_test(test_a_token_of_16_kib_is_taken_and_a_longer_one_is_not),
        cmocka_unit_test(test_other_members_are_kept_and_secrets_are_not_among_them),
        cmocka_unit_test(test_what_programs_print_is_understood),
        cmocka_unit_test(test_github_answers_have_a_status_and_no_code),
        cmocka_unit_test(test_refusals_as_the_wild_has_them),
        cmocka_unit_test(test_what_a_server_says_is_shown_without_secrets),
        cmocka_unit_test(test_the_end_of_a_refresh_token_is_read_and_kept),
        cmocka_unit_test(test_nested_user_tokens_are_found),
        cmocka_unit_test(test_the_end_of_a_jwt_is_read_and_of_anything_else_is_not),
        cmocka_unit_test(test_a_lifetime_that_is_not_given_is_found),
        cmocka_unit_test(test_unknown_members_survive_and_new_values_win),
    };
    return cmocka_run_group_tests(tests, make_key, NULL);
}
