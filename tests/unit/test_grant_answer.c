/* Token responses as broken servers, proxies and frameworks send them: what cannot be had again is found where it is,
 * and nothing that somebody chose as a value is taken for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "refresh/grant/grant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))
#define BOTH "\"access_token\":\"at\",\"refresh_token\":\"rt\",\"expires_in\":600"
#define GOOD "{" BOTH "}"

static enum grant_result read_as(const struct grant_input *in, struct grant_answer *ret, char *why)
{
    *ret = (struct grant_answer){ .lifetime_ms = 0 };
    why[0] = '\0';
    return grant_answer_parse(in, ret, why);
}

/* What was read, as text: "at rt 600", with - for what is missing; or the reason. */
static const char *seen(const struct grant_input *in)
{
    static char text[512];
    struct grant_answer a;
    char why[GRANT_WHY_BYTES];
    enum grant_result result = read_as(in, &a, why);
    struct slice access = secret_peek(&a.access_token), refresh = secret_peek(&a.refresh_token);
    int64_t seconds = a.lifetime_ms / 1000;
    snprintf(text, sizeof text, "%.*s %.*s %d%s", access.len ? (int)access.len : 1, access.len ? access.ptr : "-",
             refresh.len ? (int)refresh.len : 1, refresh.len ? refresh.ptr : "-", (int)seconds,
             a.refresh_unfit ? " unfit" : "");
    if (result != GRANT_TOKEN)
        snprintf(text, sizeof text, "%s%.*s", why, (int)refresh.len, refresh.len ? refresh.ptr : "");
    grant_answer_done(&a);
    return text;
}

static const char *seen_text(const char *body)
{
    return seen(&(struct grant_input){ .status = 200, .body = slice_str(body) });
}

static void what_is_almost_json_is_read(void **state)
{
    static const char *const bodies[] = {
        GOOD,
        " \r\n" GOOD "\r\n",
        "\xef\xbb\xbf" GOOD,
        GOOD "<!-- 0.02 s -->",
        GOOD "\n// generated in 3 ms",
        GOOD " trailing words, \"quoted\" and not",
        "<br />\n<b>Notice</b>:  Undefined variable: refresh_token in <b>/srv/token.php</b> on line <b>3</b><br "
        "/>\n" GOOD,
        "<html><style>a{b:c}</style><pre>" GOOD "</pre></html>",
        ")]}',\n" GOOD,
        "while(1);" GOOD,
        "callback(" GOOD ");",
        "[" GOOD "]",
        "{" BOTH ",}",
        "{" BOTH " ",
        "{\"name\":\"Ren\xe9\"," BOTH "}",
        "{\"name\":\"a\\u0000b\"," BOTH "}",
        "{\"name\":\"\\ud800\"," BOTH "}",
        "{\"name\":\"tab\there\"," BOTH "}",
        "{\"name\":\"it\\'s\"," BOTH "}",
        "{\"id\":99999999999999999999," BOTH "}",
        "{\"id\":18446744073709551615," BOTH "}",
        "{\"id\":1e999," BOTH "}",
        "{\"id\":NaN," BOTH "}",
        "{\"x\":[[[[[[[[[[[[[[[[[[[[{\"access_token\":\"no\"}]]]]]]]]]]]]]]]]]]]]," BOTH "}",
        "{" BOTH "," BOTH "}", /* twice, and the same */
        "{\"\\u0061ccess_token\":\"at\",\"refresh_token\":\"\\u0072t\",\"expires_in\":\"600\",\"bad\":\"\xff\"}",
        "{\"accessToken\":\"at\",\"refreshToken\":\"rt\",\"expiresIn\":600}",
        "{\"accessToken\":\"at\",\"refreshToken\":\"rt\",\"expiresIn\":600,\"n\":\"\xe9\"}",
        "{\"data\":" GOOD "}",
        "{\"code\":0,\"data\":" GOOD ",\"msg\":\"\xe9\"}",
        "{\"result\":[" GOOD "]}",
        "access_token=at&refresh_token=rt&expires_in=600",
        "access_token=at&refresh_token=rt&expires_in=600&name=Ren%e9&percent=100%&flag\r\n",
        "name=%7B%22access_token%22%3A%22evil%22%7D&access_token=at&refresh_token=rt&expires_in=600",
        "name={\"access_token\":\"evil\"}&access_token=at&refresh_token=rt&expires_in=600",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(bodies); i++)
        if (strcmp(seen_text(bodies[i]), "at rt 600") != 0)
            fail_msg("%s: %s", bodies[i], seen_text(bodies[i]));
    static const char nuls[] = GOOD "\0\0\0";
    assert_string_equal(seen(&(struct grant_input){ .status = 200, .body = slice_of(nuls, sizeof nuls) }), "at rt 600");
}

static void what_may_be_a_value_is_not_a_token(void **state)
{
    static const char *const bodies[] = {
        GOOD "\n{\"x\":1}",
        GOOD GOOD,
        "[" GOOD "," GOOD "]",
        "[" GOOD ",1]",
        "{\"name\":\"a\"b\"," BOTH "}",
        "{\"name\":\"a," BOTH "}",
        "{'access_token':'at'}",
        "<answer><name>" GOOD "</name><access_token>real</access_token></answer>",
        "name: " GOOD "\naccess_token: real\n",
        "\"{\\\"access_token\\\":\\\"at\\\"}\"",
        "hello",
        "x",
        "%",
        "=",
        "\x1f\x8b",
        "\xff\xfe",
        "{",
        "[",
        "\"",
        "[[" GOOD "]]",
        "Notice: no user {\"access_token\":\"evil\",\"refresh_token\":\"evil\",\"x\":\n" GOOD, /* text before it */
        "Notice: no user {\"refresh_token\":\"evil\",\"x\":[\n" GOOD,
        "<b>{\"AccessToken\":\"evil\",\"RefreshToken\":\"evil\",\"x\":</b>" GOOD,
    };
    (void)state;
    for (size_t i = 0; i < COUNT(bodies); i++)
        if (!strstr(seen_text(bodies[i]), "neither one JSON object nor a form")
            && !strstr(seen_text(bodies[i]), "web page") && !strstr(seen_text(bodies[i]), "no access_token")
            && !strstr(seen_text(bodies[i]), "empty"))
            fail_msg("%s: %s", bodies[i], seen_text(bodies[i]));
}

static void names_are_read_however_they_are_spelled(void **state)
{
    static const struct {
        const char *body, *seen;
    } rows[] = {
        { "{\"accessToken\":\"at\",\"refreshToken\":\"rt\",\"expiresIn\":600}", "at rt 600" },
        { "{\"AccessToken\":\"at\",\"RefreshToken\":\"rt\",\"ExpiresIn\":600}", "at rt 600" },
        { "{\"access-token\":\"at\",\"refresh-token\":\"rt\",\"expires-in\":600}", "at rt 600" },
        { "{\"ACCESS_TOKEN\":\"at\",\"REFRESH_TOKEN\":\"rt\",\"EXPIRES_IN\":600}", "at rt 600" },
        { "{\"accesstoken\":\"at\",\"refreshtoken\":\"rt\",\"expiresin\":600}", "at rt 600" },
        { "{\"access_token\":\"at\",\"RefreshToken\":\"rt\"}", "at rt 0" },
        { "{\"access_token\":\"at\",\"refresh_token\":null,\"refreshToken\":\"rt\"}", "at rt 0" },
        { "{\"access_token\":\"at\",\"accessToken\":\"other\",\"refresh_token\":\"rt\"}", "at rt 0" },
        { "{\"error\":null,\"data\":{\"accessToken\":\"at\",\"refreshToken\":\"rt\"}}", "at rt 0" },
        { "access_token=at&amp;refresh_token=rt&amp;expires_in=600", "at rt 600" },
        { "?access_token=at&refresh_token=rt", "at rt 0" },
        { "access-token=at&Refresh-Token=rt", "at rt 0" },
        /* one that nobody takes is lost, and known as that */
        { "{\"access_token\":\"at\",\"data\":{\"refresh_token\":\"rt\"}}", "at - 0 unfit" },
        { "{\"access_token\":\"at\",\"tokens\":[{\"x\":{\"refreshToken\":\"rt\"}}]}", "at - 0 unfit" },
        { "{\"access_token\":\"at\",\"refresh_token\":{\"value\":\"rt\"}}", "at - 0 unfit" },
        { "{\"access_token\":\"at\",\"grant_type\":\"refresh_token\",\"refresh_token_expires_in\":9}", "at - 0" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        if (strcmp(seen_text(rows[i].body), rows[i].seen) != 0)
            fail_msg("%s: %s", rows[i].body, seen_text(rows[i].body));
}

/* What a script has printed around a token, in strict and in almost JSON, and in a form. */
static void line_ends_around_a_token_are_none_of_it(void **state)
{
    static const struct {
        const char *body, *seen;
    } rows[] = {
        { "{\"access_token\":\"at\\n\",\"refresh_token\":\"rt\\r\\n\"}", "at rt 0" },
        { "{\"access_token\":\" \\n at\",\"refresh_token\":\"\\n\\trt \\n \"}", "at rt 0" },
        { "{\"access_token\":\"at\n\",\"refresh_token\":\"\r\nrt\n\"}", "at rt 0" },
        { "{\"access_token\":\"at\\n\",\"refresh_token\":\"rt\\n\",}", "at rt 0" },
        { "access_token=at%0a&refresh_token=rt%0D%0A", "at rt 0" },
        { "{\"access_token\":\"at\",\"refresh_token\":\"\\n\"}", "at - 0" }, /* says nothing */
        { "{\"access_token\":\"at\",\"refresh_token\":\" \"}", "at - 0" },
        { "{\"access_token\":\"at\",\"refresh_token\":\"r\\nt\"}", "at - 0 unfit" },
        { "{\"access_token\":\"at\",\"refresh_token\":\"rt\\u0000\\n\"}", "at - 0 unfit" },
        { "{\"access_token\":\"at\",\"refresh_token\":\"rt \"}", "at rt  0" }, /* RFC 6749 A.17 allows it */
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        if (strcmp(seen_text(rows[i].body), rows[i].seen) != 0)
            fail_msg("%s: %s", rows[i].body, seen_text(rows[i].body));
}

/* The server has made the tokens, and something went wrong behind it. */
static void tokens_under_a_wrong_status_are_read(void **state)
{
    static const struct {
        int status;
        const char *body, *seen;
    } rows[] = {
        { 500, GOOD, "at rt 600" },
        { 502, "Notice: x\n" GOOD, "at rt 600" },
        { 400, GOOD, "at rt 600" },
        { 302, GOOD, "at rt 600" },
        { 500, "{\"access_token\":\"at\"}", "refused without an error code" },
        { 400, "{\"refresh_token\":\"rt\"}", "refused without an error code" }, /* the one that was sent */
        { 400, "{\"error\":\"invalid_grant\",\"refresh_token\":\"rt\"}", "error invalid_grant" },
        { 500, "<html><pre>" GOOD "</pre></html>", "refused without an error code" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *text = seen(&(struct grant_input){ .status = rows[i].status, .body = slice_str(rows[i].body) });
        if (strcmp(text, rows[i].seen) != 0)
            fail_msg("%d %s: %s", rows[i].status, rows[i].body, text);
    }
}

static void a_refresh_token_is_found_whatever_the_rest_is_worth(void **state)
{
    static const struct {
        const char *body, *seen;
    } rows[] = {
        { "{\"refresh_token\":\"rt\"}", "no access_token in the response (members: refresh_token)rt" },
        { "{\"access_token\":\"a b\",\"refresh_token\":\"rt\"}",
          "the access token contains bytes that are not allowed in a headerrt" },
        { "{\"access_token\":\"\xe9\",\"refresh_token\":\"rt\"}",
          "the access token contains bytes that are not allowed in a headerrt" },
        { "{\"access_token\":\"a\",\"access_token\":\"b\",\"refresh_token\":\"rt\"}",
          "the access token contains bytes that are not allowed in a headerrt" },
        { "{\"error\":\"x\",\"refresh_token\":\"rt\"}", "error xrt" },
        { "{\"data\":{\"refresh_token\":\"rt\"}}", "no access_token in the response (members: refresh_token)rt" },
        { "{\"access_token\":\"at\",\"refresh_token\":\"a\",\"refresh_token\":\"b\"}", "at - 0 unfit" },
        { "{\"access_token\":\"at\",\"refresh_token\":\"a\\u0000\"}", "at - 0 unfit" },
        { "{\"access_token\":\"at\",\"refresh_token\":7}", "at - 0 unfit" },
        { "{\"access_token\":\"at\"", "at - 0 unfit" }, /* it may have been in what is missing */
        { "{\"access_token\":\"at\"}", "at - 0" },
        { "{\"access_token\":\"at\",\"refresh_token\":null}", "at - 0" },
        { "{\"access_token\":\"at\",\"refresh_token\":\"\"}", "at - 0" },
        { "access_token=at&refresh_token=a%00b", "at - 0 unfit" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        if (strcmp(seen_text(rows[i].body), rows[i].seen) != 0)
            fail_msg("%s: %s", rows[i].body, seen_text(rows[i].body));
    /* a refusal brings none */
    assert_string_equal(seen(&(struct grant_input){ .status = 400, .body = SLICE("{\"refresh_token\":\"rt\"}") }),
                        "refused without an error code");
}

static void an_error_is_known_whatever_its_description_is(void **state)
{
    static const char *const bodies[] = {
        "{\"error\":\"invalid_grant\",\"error_description\":\"Jeton expir\xe9\"}",
        "{\"error_description\":\"a\\u0000\",\"error\":\"invalid_grant\"}",
        "<b>Warning</b>: x\n{\"error\":\"invalid_grant\"}",
        "{\"error\":\"invalid_grant\"} <!-- -->",
        "{\"error\":\"invalid_grant\",\"at\":99999999999999999999999}",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(bodies); i++) {
        struct grant_answer a;
        char why[GRANT_WHY_BYTES];
        assert_int_equal(read_as(&(struct grant_input){ .status = 400, .body = slice_str(bodies[i]) }, &a, why),
                         GRANT_ERROR);
        assert_string_equal(a.code, "invalid_grant");
        grant_answer_done(&a);
    }
}

static void members_of_a_cut_response_are_read_up_to_the_cut(void **state)
{
    static const struct {
        const char *body, *seen;
        bool whole;
    } rows[] = {
        { GOOD, "at rt 600", true },
        { "{\"access_token\":\"at\",\"refresh_token\":\"rt\",\"expires_in\":60", "at rt 0", false },
        { "{\"access_token\":\"at\",\"refresh_token\":\"rt\"", "at rt 0", false },
        { "{\"access_token\":\"at\",\"refresh_token\":\"r", "at - 0 unfit", false },
        { "{\"data\":{\"access_token\":\"at\",\"refresh_token\":\"rt\",\"name\":\"a", "at rt 0", false },
        { "{\"refresh_token\":\"rt\",\"access_tok", "no access_token in the response (members: refresh_token)rt",
          false },
        { "access_token=at&refresh_token=rt&expires_in=60", "at rt 0", false },
        { "access_token=at&refresh_token=r", "at - 0 unfit", false },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct grant_input in = { .status = 200, .body = slice_str(rows[i].body), .cut = true };
        struct grant_answer a;
        char why[GRANT_WHY_BYTES];
        if (strcmp(seen(&in), rows[i].seen) != 0)
            fail_msg("%s: %s", rows[i].body, seen(&in));
        (void)read_as(&in, &a, why);
        assert_int_equal(a.whole, rows[i].whole);
        grant_answer_done(&a);
    }
}

/* ---- large ---- */

static char *filled(const char *before, size_t count, const char *piece, const char *behind)
{
    size_t len = strlen(piece);
    char *text = malloc(strlen(before) + count * len + strlen(behind) + 1);
    assert_non_null(text);
    char *at = stpcpy(text, before);
    for (size_t i = 0; i < count; i++)
        at = stpcpy(at, piece);
    strcpy(at, behind);
    return text;
}

static void what_is_large_is_read_and_not_kept(void **state)
{
    static const struct {
        const char *before, *piece, *behind;
        size_t count;
    } rows[] = {
        { "{\"picture\":\"", "x", "\"," BOTH "}", 1536 * 1024 },
        { "{" BOTH ",\"picture\":\"", "x", "\"}", 1536 * 1024 },
        { "{\"picture\":\"\xe9", "x", "\"," BOTH "}", 1536 * 1024 },
        { "{\"list\":[0", ",1", "]," BOTH "}", 1000000 },
        { "{\"deep\":", "[", "", 100000 },
        { "{\"a\":1", ",\"b\":1", "," BOTH "}", 100000 },
        { "", "\n", GOOD, 1000000 },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *text = filled(rows[i].before, rows[i].count, rows[i].piece, rows[i].behind);
        if (*rows[i].behind && strcmp(seen_text(text), "at rt 600") != 0)
            fail_msg("row %zu: %s", i, seen_text(text));
        struct grant_answer a;
        char why[GRANT_WHY_BYTES];
        (void)read_as(&(struct grant_input){ .status = 200, .body = slice_str(text) }, &a, why);
        assert_true(!a.extra || json_dumpb(a.extra, NULL, 0, 0) < 300000);
        grant_answer_done(&a);
        free(text);
    }
    char *nested = filled("{\"deep\":", 100000, "[", "");
    char *text = filled(nested, 100000, "]", "," BOTH "}");
    assert_string_equal(seen_text(text), "at rt 600");
    free(nested);
    free(text);
}

static void a_token_that_no_header_holds_leaves_the_refresh_token(void **state)
{
    (void)state;
    char *text = filled("{\"access_token\":\"", 20000, "x", "\",\"refresh_token\":\"rt\"}");
    assert_string_equal(seen_text(text), "the access token is longer than 16 KiBrt");
    free(text);
    text = filled("{\"access_token\":\"at\",\"refresh_token\":\"", GRANT_REFRESH_MAX + 1, "x", "\"}");
    assert_string_equal(seen_text(text), "at - 0 unfit");
    free(text);
}

/* ---- compressed, and in UTF-16 ---- */

static struct slice packed(struct slice text, int bits, unsigned char *out, size_t size)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)text.ptr, .avail_in = (uInt)text.len };
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_out = out;
    z.avail_out = (uInt)size;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return slice_of(out, size - z.avail_out);
}

static void what_comes_compressed_is_read(void **state)
{
    static const int bits[] = { 15 + 16, 15, -15 }; /* gzip, zlib, raw */
    static const char *const texts[] = { GOOD, " " GOOD "\n", "{\"name\":\"Ren\xe9 Ren\xe9 Ren\xe9\"," BOTH "}" };
    unsigned char one[1024], two[1024];
    (void)state;
    for (size_t b = 0; b < COUNT(bits); b++)
        for (size_t t = 0; t < COUNT(texts); t++) {
            struct slice body = packed(slice_str(texts[t]), bits[b], one, sizeof one);
            if (strcmp(seen(&(struct grant_input){ .status = 200, .body = body }), "at rt 600") != 0)
                fail_msg("%d %s: %s", bits[b], texts[t], seen(&(struct grant_input){ .status = 200, .body = body }));
            body = packed(body, 15 + 16, two, sizeof two);
            assert_string_equal(seen(&(struct grant_input){ .status = 200, .body = body }), "at rt 600");
            body.len -= 12; /* cut: what came out is read */
            assert_non_null(seen(&(struct grant_input){ .status = 200, .body = body, .cut = true }));
        }
}

static void a_bomb_ends_at_the_limit(void **state)
{
    (void)state;
    char *text = filled("{" BOTH ",\"x\":\"", 64 * 1024 * 1024, "x", "\"}");
    unsigned char *out = malloc(1024 * 1024);
    assert_non_null(out);
    struct slice body = packed(slice_str(text), 15 + 16, out, 1024 * 1024);
    assert_string_equal(seen(&(struct grant_input){ .status = 200, .body = body }), "at rt 600");
    free(out);
    free(text);
}

static void utf_16_is_read(void **state)
{
    char text[1024];
    (void)state;
    for (int big = 0; big < 2; big++)
        for (int mark = 0; mark < 2; mark++) {
            size_t n = 0;
            if (mark) {
                text[n++] = (char)(big ? 0xfe : 0xff);
                text[n++] = (char)(big ? 0xff : 0xfe);
            }
            for (const char *c = GOOD; *c; c++) {
                text[n++] = big ? '\0' : *c;
                text[n++] = big ? *c : '\0';
            }
            assert_string_equal(seen(&(struct grant_input){ .status = 200, .body = slice_of(text, n) }), "at rt 600");
        }
}

/* ---- what the configuration says ---- */

static void pointers_say_where_the_tokens_are(void **state)
{
    static const struct {
        struct credential_spec_response at;
        const char *body, *seen;
    } rows[] = {
        { { (char *)(uintptr_t)"/p/at", (char *)(uintptr_t)"/p/rt", (char *)(uintptr_t)"/p/for" },
          "{\"p\":{\"at\":\"at\",\"rt\":\"rt\",\"for\":600},\"access_token\":\"no\"}",
          "at rt 600" },
        { { (char *)(uintptr_t)"/p/access_token", NULL, NULL }, "{\"p\":" GOOD "}", "at rt 600" },
        { { (char *)(uintptr_t)"/p/access_token", NULL, NULL }, "{\"n\":\"\xe9\",\"p\":" GOOD "}", "at rt 600" },
        { { (char *)(uintptr_t)"/l/1/t", NULL, NULL },
          "{\"l\":[0,{\"t\":\"at\",\"refresh_token\":\"rt\"}]}",
          "at rt 0" },
        { { (char *)(uintptr_t)"/a~1b/at", NULL, NULL }, "{\"a/b\":{\"at\":\"at\"}}", "at - 0" },
        { { (char *)(uintptr_t)"/p/at", NULL, NULL },
          GOOD,
          "no access_token in the response (members: access_token, "
          "refresh_token, expires_in)rt" },
        { { NULL, (char *)(uintptr_t)"/r", NULL },
          "{\"access_token\":\"at\",\"r\":\"rt\",\"refresh_token\":\"no\"}",
          "at rt 0" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct credential_spec spec = { .response = rows[i].at };
        const struct grant_input in = { .status = 200, .body = slice_str(rows[i].body), .spec = &spec };
        if (strcmp(seen(&in), rows[i].seen) != 0)
            fail_msg("row %zu: %s", i, seen(&in));
    }
}

static void an_id_token_is_the_token_where_it_is_asked_for(void **state)
{
    static const char jwt[] = "eyJhbGciOiJub25lIn0.eyJleHAiOjE4OTM1NTM0NDV9.sig"; /* {"exp":1893553445} */
    const struct credential_spec spec = { .id_token = true };
    char body[256], why[GRANT_WHY_BYTES];
    struct grant_answer a;
    (void)state;
    snprintf(body, sizeof body,
             "{\"access_token\":\"at\",\"expires_in\":600,\"refresh_token\":\"rt\",\"id_token\":\"%s\"}", jwt);
    assert_int_equal(read_as(&(struct grant_input){ .status = 200, .body = slice_str(body), .spec = &spec }, &a, why),
                     GRANT_TOKEN);
    assert_true(slice_eq(secret_peek(&a.access_token), slice_str(jwt)));
    assert_true(slice_eq(secret_peek(&a.refresh_token), SLICE("rt")));
    assert_int_equal(a.lifetime_ms, 0);
    assert_true(a.expires_wall_ms == INT64_C(1893553445000)); /* its own end, not the access token's */
    grant_answer_done(&a);
    assert_string_equal(seen(&(struct grant_input){ .status = 200, .body = SLICE(GOOD), .spec = &spec }),
                        "no id_token in the response (members: access_token, refresh_token, expires_in)rt");
    assert_string_equal(seen_text("{\"id_token\":\"x\"}"),
                        "no access_token in the response, but an id_token: to use it, set token: id_token");
}

static void what_is_missing_is_told_by_names_and_never_by_values(void **state)
{
    (void)state;
    assert_string_equal(seen_text("{\"ticket\":\"secret\",\"n\\u0007\":1,\"user\":{\"x\":\"secret\"}}"),
                        "no access_token in the response (members: ticket, n?, user)");
    assert_string_equal(seen_text("{}"), "no access_token in the response (members: none)");
    const char *text = seen_text("{\"a2345678901234567890123456789\":1,\"b2345678901234567890123456789\":1,"
                                 "\"c2345678901234567890123456789\":1,\"d2345678901234567890123456789\":1}");
    assert_non_null(strstr(text, "b2345678901234567890, c2345678901234567890, …"));
}

/* ---- ends ---- */

static void ends_have_many_names_and_forms(void **state)
{
    static const struct {
        const char *member;
        int64_t lifetime_ms, expires_wall_ms;
    } rows[] = {
        { "\"expiresIn\":600", 600000, 0 },
        { "\"expireIn\":\"600\"", 600000, 0 },
        { "\"expire_in\":600", 600000, 0 },
        { "\"expires\":600", 600000, 0 },
        { "\"expires\":1893553445", 0, 1893553445000 },
        { "\"expires\":1893553445000", 0, 1893553445000 },
        { "\"expires\":\"Wed, 02 Jan 2030 03:04:05 GMT\"", 0, 1893553445000 },
        { "\"expires_at\":\"Wed, 02 Jan 2030 03:04:05 GMT\"", 0, 1893553445000 },
        { "\"expires_at\":\"Wed, 02 Jan 2030 04:04:05 +0100\"", 0, 1893553445000 },
        { "\"expires_at\":\"2 Jan 2030 03:04:05 GMT\"", 0, 1893553445000 },
        { "\"expires_at\":\"2030-01-02T03:04:05\"", 0, 1893553445000 },
        { "\"expires_at\":\"2030-01-02 03:04:05\"", 0, 1893553445000 },
        { "\"expires_at\":\"2030-01-02 03:04:05 UTC\"", 0, 1893553445000 },
        { "\"expires_at\":\"2030-01-02T03:04:05+0000\"", 0, 1893553445000 },
        { "\"expires_at\":\"2030-01-02T03:04:05.123456\"", 0, 1893553445000 },
        { "\"expiry\":\"2030-01-02T03:04:05Z\"", 0, 1893553445000 },
        { "\"expire\":1893553445", 0, 1893553445000 },
        { "\"expiry_date\":1893553445000", 0, 1893553445000 },
        { "\"expiration\":\"2030-01-02T03:04:05Z\"", 0, 1893553445000 },
        { "\"expires_in\":\"2030-01-02T03:04:05Z\"", 0, 1893553445000 },
        { "\"expires_in\":99999999999999999999999999999999999999", 2147483647000, 0 },
        { "\"expires_in\":600,\"expires\":\"2030-01-02T03:04:05Z\"", 600000, 0 },
        { "\"expires\":\"Wed, 02 Foo 2030 03:04:05 GMT\"", 0, 0 },
        { "\"expires\":\"2030-01-02T03:04:05 CEST\"", 0, 0 },
        { "\"expires\":-1", 0, 0 },
        { "\"expires\":true", 0, 0 },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char body[256], why[GRANT_WHY_BYTES];
        struct grant_answer a;
        snprintf(body, sizeof body, "{\"access_token\":\"at\",%s}", rows[i].member);
        assert_int_equal(read_as(&(struct grant_input){ .status = 200, .body = slice_str(body) }, &a, why),
                         GRANT_TOKEN);
        if (a.lifetime_ms != rows[i].lifetime_ms || a.expires_wall_ms != rows[i].expires_wall_ms)
            fail_msg("%s: %lld %lld", rows[i].member, (long long)a.lifetime_ms, (long long)a.expires_wall_ms);
        grant_answer_done(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_almost_json_is_read),
        cmocka_unit_test(what_may_be_a_value_is_not_a_token),
        cmocka_unit_test(names_are_read_however_they_are_spelled),
        cmocka_unit_test(line_ends_around_a_token_are_none_of_it),
        cmocka_unit_test(tokens_under_a_wrong_status_are_read),
        cmocka_unit_test(a_refresh_token_is_found_whatever_the_rest_is_worth),
        cmocka_unit_test(an_error_is_known_whatever_its_description_is),
        cmocka_unit_test(members_of_a_cut_response_are_read_up_to_the_cut),
        cmocka_unit_test(what_is_large_is_read_and_not_kept),
        cmocka_unit_test(a_token_that_no_header_holds_leaves_the_refresh_token),
        cmocka_unit_test(what_comes_compressed_is_read),
        cmocka_unit_test(a_bomb_ends_at_the_limit),
        cmocka_unit_test(utf_16_is_read),
        cmocka_unit_test(pointers_say_where_the_tokens_are),
        cmocka_unit_test(an_id_token_is_the_token_where_it_is_asked_for),
        cmocka_unit_test(what_is_missing_is_told_by_names_and_never_by_values),
        cmocka_unit_test(ends_have_many_names_and_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
