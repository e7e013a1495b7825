/* problem.c: an answer of our own is valid HTTP, valid JSON, and says why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>

#include "proxy/problem.h"

static struct message m;
static struct buf body;

static int up(void **state)
{
    (void)state;
    message_init(&m);
    buf_init(&body, 16 * 1024);
    return 0;
}

static int down(void **state)
{
    (void)state;
    message_done(&m);
    buf_done(&body);
    return 0;
}

static json_t *build(const struct problem *p, bool keep)
{
    buf_clear(&body);
    assert_int_equal(problem_build(p, keep, &m, &body), 0);
    assert_true(m.framing == FRAMING_LENGTH && m.length == body.len && m.keep_alive == keep && m.status == p->status);
    json_t *json = json_loadb(buf_slice(&body).ptr, body.len, 0, NULL);
    assert_non_null(json);
    return json;
}

static bool field_is(const char *name, const char *value)
{
    size_t count;
    struct slice got = message_get(&m, slice_str(name), &count);
    return value ? count == 1 && slice_eq(got, slice_str(value)) : count == 0;
}

static void everything_that_is_known_is_told(void **state)
{
    (void)state;
    json_t *json = build(&(struct problem){ .status = 503,
                                            .error = "dns_error",
                                            .reason = "why",
                                            .detail = "in words",
                                            .hint = "way out",
                                            .credential = "crm",
                                            .retry_after_s = 7,
                                            .field_name = "X-More",
                                            .field_value = "yes" },
                         true);
    static const char *const members[][2] = { { "title", "Service Unavailable" },
                                              { "reason", "why" },
                                              { "detail", "in words" },
                                              { "hint", "way out" },
                                              { "credential", "crm" } };
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(json_string_value(json_object_get(json, members[i][0])), members[i][1]);
    assert_int_equal(json_integer_value(json_object_get(json, "status")), 503);
    json_decref(json);
    assert_true(field_is("content-type", "application/problem+json") && field_is("cache-control", "no-store")
                && field_is("retry-after", "7"));
    assert_true(field_is("x-more", "yes")
                && field_is("proxy-status", "sidekey; error=dns_error; details=\"in words\""));
}

static void what_is_not_known_is_left_out(void **state)
{
    (void)state;
    json_t *json = build(&(struct problem){ .status = 400, .reason = "why" }, false);
    assert_int_equal(json_object_size(json), 4);
    json_decref(json);
    assert_true(field_is("retry-after", NULL) && field_is("proxy-status", "sidekey; error=http_request_error"));
    json_decref(build(&(struct problem){ .status = 500, .reason = "why" }, false));
    assert_true(field_is("proxy-status", "sidekey; error=proxy_internal_error"));
}

static void text_of_a_peer_breaks_neither_the_head_nor_the_json(void **state)
{
    (void)state;
    json_t *json =
        build(&(struct problem){ .status = 502, .reason = "why", .detail = "a \"b\" \\ c\r\nd\x01 \xc3\xa9" }, false);
    assert_string_equal(json_string_value(json_object_get(json, "detail")), "a \"b\" \\ c\r\nd\x01 \xc3\xa9");
    json_decref(json);
    assert_true(field_is("proxy-status", "sidekey; error=proxy_internal_error; details=\"a \\\"b\\\" \\\\ c??d? ??\""));
}

static void bytes_that_are_no_utf8_do_not_break_the_json(void **state)
{
    (void)state;
    json_decref(
        build(&(struct problem){ .status = 502, .reason = "why", .detail = "issuer \xff\xfe\x80 x \xc3" }, false));
}

static void each_status_that_we_give_has_its_phrase(void **state)
{
    static const int statuses[] = { 200, 400, 403, 404, 405, 407, 408, 413, 414,
                                    421, 431, 500, 501, 502, 503, 504, 505, 508 };
    (void)state;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        assert_string_not_equal(problem_phrase(statuses[i]), "Error");
    assert_string_equal(problem_phrase(299), "Error");
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(everything_that_is_known_is_told),
        T(what_is_not_known_is_left_out),
        T(text_of_a_peer_breaks_neither_the_head_nor_the_json),
        T(bytes_that_are_no_utf8_do_not_break_the_json),
        T(each_status_that_we_give_has_its_phrase),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
