#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/grpc.h"

#define COUNT(table) (sizeof(table) / sizeof *(table))

static void make_call(struct message *m, const char *type, const char *timeout)
{
    message_init(m);
    m->http2 = true;
    assert_int_equal(message_add(m, SLICE("content-type"), slice_str(type)), 0);
    if (timeout)
        assert_int_equal(message_add(m, SLICE("grpc-timeout"), slice_str(timeout)), 0);
}

static void a_call_is_told_by_its_type_and_its_protocol(void **state)
{
    static const struct {
        const char *type;
        bool http2, call;
    } rows[] = {
        { "application/grpc", true, true },
        { "application/grpc+proto", true, true },
        { "application/json", true, false },
        { "application/grpc", false, false },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct message m;
        make_call(&m, rows[i].type, NULL);
        m.http2 = rows[i].http2;
        assert_int_equal(grpc_is_call(&m), rows[i].call);
        message_done(&m);
    }
}

static void a_refusal_has_the_status_of_its_kind(void **state)
{
    static const struct {
        struct problem problem;
        int status;
        const char *message;
    } rows[] = {
        { { .status = 503, .reason = "token_unavailable", .detail = "no answer", .hint = "wait" },
          14,
          "sidekey: token_unavailable: no answer; wait" },
        { { .status = 502, .reason = "upstream_unreachable" }, 14, "sidekey: upstream_unreachable" },
        { { .status = 503, .reason = "credential_dead" }, 16, "sidekey: credential_dead" },
        { { .status = 403, .reason = "host_not_allowed" }, 7, "sidekey: host_not_allowed" },
        { { .status = 405, .reason = "trace_refused" }, 7, "sidekey: trace_refused" },
        { { .status = 431, .reason = "head_too_large" }, 8, "sidekey: head_too_large" },
        { { .status = 408, .reason = "body_timeout" }, 8, "sidekey: body_timeout" },
        { { .status = 421, .reason = "host_differs", .detail = "100% \xc3\xa4\n" },
          13,
          "sidekey: host_differs: 100%25 %C3%A4%0A" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct message m;
        message_init(&m);
        assert_int_equal(grpc_build(&rows[i].problem, &m), 0);
        assert_int_equal(m.status, 200);
        assert_int_equal(m.framing, FRAMING_NONE);
        assert_int_equal(grpc_status(&m), rows[i].status);
        assert_true(slice_eq(message_get(&m, SLICE("grpc-message"), NULL), slice_str(rows[i].message)));
        message_done(&m);
    }
}

static void an_answer_of_trailers_alone_refuses_the_token_where_the_rule_says_so(void **state)
{
    static const struct rule usual = { .grpc_unauthorized = { 16 } }, none = { .grpc_unauthorized = { 0 } };
    static const struct {
        const struct rule *rule;
        const char *type, *status;
        enum framing framing;
        bool refuses;
    } rows[] = {
        { &usual, "application/grpc", "16", FRAMING_NONE, true },
        { &usual, "application/grpc", "7", FRAMING_NONE, false },
        { &usual, "application/grpc", "0", FRAMING_NONE, false },
        { &none, "application/grpc", "16", FRAMING_NONE, false },
        { &none, "application/grpc", "0", FRAMING_NONE, false },
        { &usual, "application/grpc", "16", FRAMING_CHUNKED, false },
        { &usual, "application/json", "16", FRAMING_NONE, false },
        { &usual, "application/grpc", "x", FRAMING_NONE, false },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct message call, head;
        make_call(&call, rows[i].type, NULL);
        message_init(&head);
        assert_int_equal(message_start_response(&head, 200, SLICE("")), 0);
        assert_int_equal(message_add(&head, SLICE("grpc-status"), slice_str(rows[i].status)), 0);
        head.framing = rows[i].framing;
        if (grpc_refuses(rows[i].rule, &call, &head) != rows[i].refuses)
            fail_msg("row %zu", i);
        message_done(&call);
        message_done(&head);
    }
}

static void the_second_send_has_what_is_left_of_the_time(void **state)
{
    static const struct {
        const char *before;
        int64_t elapsed_ms;
        const char *after;
    } rows[] = {
        { "10S", 2500, "7500m" }, { "1M", 1000, "59000m" },
        { "5000m", 1, "4999m" },  { "2000000u", 500, "1500m" },
        { "1S", 5000, "1m" },     { "99999999H", 1000, "99999998H" },
        { "100n", 5, "100n" },    { "soon", 5, "soon" },
        { "S", 5, "S" },          { "123456789S", 5, "123456789S" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct message m;
        make_call(&m, "application/grpc", rows[i].before);
        assert_int_equal(grpc_shorten(&m, rows[i].elapsed_ms), 0);
        struct slice got = message_get(&m, SLICE("grpc-timeout"), NULL);
        if (!slice_eq(got, slice_str(rows[i].after)))
            fail_msg("%s after %d ms: %.*s", rows[i].before, (int)rows[i].elapsed_ms, (int)got.len, got.ptr);
        message_done(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_told_by_its_type_and_its_protocol),
        cmocka_unit_test(a_refusal_has_the_status_of_its_kind),
        cmocka_unit_test(an_answer_of_trailers_alone_refuses_the_token_where_the_rule_says_so),
        cmocka_unit_test(the_second_send_has_what_is_left_of_the_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
