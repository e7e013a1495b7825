#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/in_band.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static char name[] = "x-token", value[] = "expired";

static struct message answer(int status, const char *field, const char *text, uint64_t length)
{
    struct message m;
    message_init(&m);
    assert_int_equal(message_start_response(&m, status, SLICE("OK")), 0);
    assert_int_equal(message_add(&m, slice_str(field), slice_str(text)), 0);
    m.framing = FRAMING_LENGTH;
    m.length = length;
    return m;
}

static bool says(const char *pointer, const char *equals, const char *body)
{
    struct in_band_mark mark = {
        .status = 200, .pointer = (char *)(uintptr_t)pointer, .equals = (char *)(uintptr_t)equals, .max_body = 1024
    };
    struct rule r = { .also = &mark, .also_count = 1 };
    struct message head = answer(200, "content-type", "application/json", strlen(body));
    bool said = in_band_body(&r, &head, slice_str(body));
    message_done(&head);
    return said;
}

static void a_field_with_the_value_and_the_status_refuses(void **state)
{
    static const struct {
        int status;
        const char *field, *text;
        enum in_band verdict;
    } rows[] = {
        { 200, "X-Token", "expired", IN_BAND_YES }, { 200, "x-token", "expired soon", IN_BAND_NO },
        { 200, "x-token", "Expired", IN_BAND_NO },  { 201, "x-token", "expired", IN_BAND_NO },
        { 200, "x-tokens", "expired", IN_BAND_NO },
    };
    struct in_band_mark mark = { .status = 200, .header = name, .header_equals = value };
    struct rule r = { .also = &mark, .also_count = 1 };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct message head = answer(rows[i].status, rows[i].field, rows[i].text, 10);
        assert_int_equal(in_band_head(&r, &head), rows[i].verdict);
        message_done(&head);
    }
}

static void a_body_is_looked_into_only_when_it_is_small_plain_json_of_known_length(void **state)
{
    static const struct {
        int status;
        const char *type;
        enum framing framing;
        uint64_t length;
        bool coded;
        enum in_band verdict;
    } rows[] = {
        { 200, "application/json", FRAMING_LENGTH, 100, false, IN_BAND_BODY },
        { 200, "Application/Problem+JSON ; charset=utf-8", FRAMING_LENGTH, 1, false, IN_BAND_BODY },
        { 200, "application/json", FRAMING_LENGTH, 101, false, IN_BAND_NO },
        { 200, "application/json", FRAMING_LENGTH, 0, false, IN_BAND_NO },
        { 200, "application/json", FRAMING_CHUNKED, 0, false, IN_BAND_NO },
        { 200, "application/json", FRAMING_EOF, 0, false, IN_BAND_NO },
        { 200, "application/jsonx", FRAMING_LENGTH, 10, false, IN_BAND_NO },
        { 200, "text/event-stream", FRAMING_LENGTH, 10, false, IN_BAND_NO },
        { 200, "application/json", FRAMING_LENGTH, 10, true, IN_BAND_NO },
        { 400, "application/json", FRAMING_LENGTH, 10, false, IN_BAND_NO },
    };
    struct in_band_mark mark = { .status = 200, .pointer = name, .equals = value, .max_body = 100 };
    struct rule r = { .also = &mark, .also_count = 1 };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct message head = answer(rows[i].status, "Content-Type", rows[i].type, rows[i].length);
        head.framing = rows[i].framing;
        if (rows[i].coded)
            assert_int_equal(message_add(&head, SLICE("Content-Encoding"), SLICE("gzip")), 0);
        assert_int_equal(in_band_head(&r, &head), rows[i].verdict);
        message_done(&head);
    }
}

static void a_pointer_finds_its_value(void **state)
{
    static const struct {
        const char *pointer, *equals, *body;
        bool said;
    } rows[] = {
        { "/error", "invalid_token", "{\"error\":\"invalid_token\"}", true },
        { "/error", "invalid_token", "{\"error\":\"invalid_tokens\"}", false },
        { "/error", "invalid_token", "{\"errors\":\"invalid_token\"}", false },
        { "/error", "invalid_token", "{\"error\":\"invalid_token\\u0000\"}", false },
        { "/error/code", "190", "{\"error\":{\"code\":190}}", true },
        { "/error/code", "19", "{\"error\":{\"code\":190}}", false },
        { "/ok", "false", "{\"ok\":false}", true },
        { "/ok", "false", "{\"ok\":true}", false },
        { "/ok", "", "{\"ok\":null}", false },
        { "/ok", "{}", "{\"ok\":{}}", false },
        { "/0/1", "x", "[[0,\"x\"]]", true },
        { "/00/1", "x", "[[0,\"x\"]]", false },
        { "/0/2", "x", "[[0,\"x\"]]", false },
        { "/0/-", "x", "[[0,\"x\"]]", false },
        { "", "x", "\"x\"", true },
        { "/", "x", "{\"\":\"x\"}", true },
        { "//", "x", "{\"\":{\"\":\"x\"}}", true },
        { "/a~1b/m~0n", "x", "{\"a/b\":{\"m~n\":\"x\"}}", true },
        { "/~01", "x", "{\"~1\":\"x\"}", true },
        { "/a/b", "x", "{\"a\":\"x\"}", false },
        { "/error", "x", "{\"error\":\"x\"", false },
        { "/error", "x", "", false },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        if (says(rows[i].pointer, rows[i].equals, rows[i].body) != rows[i].said)
            fail_msg("row %zu: %s in %s", i, rows[i].pointer, rows[i].body);
}

static void what_is_no_pointer_is_told(void **state)
{
    (void)state;
    assert_null(in_band_pointer_fault(""));
    assert_null(in_band_pointer_fault("/a~0/~1/"));
    assert_non_null(in_band_pointer_fault("error"));
    assert_non_null(in_band_pointer_fault("$.error"));
    assert_non_null(in_band_pointer_fault("/a~"));
    assert_non_null(in_band_pointer_fault("/a~2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_field_with_the_value_and_the_status_refuses),
        cmocka_unit_test(a_body_is_looked_into_only_when_it_is_small_plain_json_of_known_length),
        cmocka_unit_test(a_pointer_finds_its_value),
        cmocka_unit_test(what_is_no_pointer_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
