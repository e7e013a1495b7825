/* What a failed token request means: docs/refresh-rules.md §3 as a table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "refresh/flight/classify.h"

static void test_every_failure_has_its_class(void **s)
{
    static const struct {
        int status;
        const char *code;
        bool html, sent;
        enum msg_class failure;
    } rows[] = {
        { 0, "", false, false, MSG_TRANSIENT }, /* DNS, connect, TLS: nothing was sent */
        { 0, "", false, true, MSG_AMBIGUOUS },  /* reset or timeout after sending */
        { 400, "invalid_grant", false, true, MSG_DEAD },
        { 500, "invalid_grant", false, true, MSG_DEAD }, /* the code first, the status second */
        { 200, "bad_refresh_token", false, true, MSG_DEAD },
        { 200, "invalid_refresh_token", false, true, MSG_DEAD },
        { 200, "token_revoked", false, true, MSG_DEAD },
        { 401, "refresh_token_expired", false, true, MSG_DEAD },
        { 401, "refresh_token_reused", false, true, MSG_DEAD },
        { 401, "refresh_token_invalidated", false, true, MSG_DEAD },
        { 400, "login_required", false, true, MSG_DEAD },
        { 400, "interaction_required", false, true, MSG_DEAD },
        { 400, "consent_required", false, true, MSG_DEAD },
        { 401, "invalid_client", false, true, MSG_CONFIG_ERROR },
        { 400, "unauthorized_client", false, true, MSG_CONFIG_ERROR },
        { 400, "unsupported_grant_type", false, true, MSG_CONFIG_ERROR },
        { 400, "invalid_scope", false, true, MSG_CONFIG_ERROR },
        { 400, "invalid_request", false, true, MSG_CONFIG_ERROR },
        { 400, "invalid_target", false, true, MSG_CONFIG_ERROR },
        { 200, "incorrect_client_credentials", false, true, MSG_CONFIG_ERROR },
        { 403, "access_denied", false, true, MSG_CONFIG_ERROR },
        { 400, "something_new", false, true, MSG_CONFIG_ERROR },
        { 502, "something_new", false, true, MSG_AMBIGUOUS },
        { 429, "", false, true, MSG_THROTTLE },
        { 429, "invalid_grant", false, true, MSG_THROTTLE }, /* too many requests is no verdict on the token */
        { 400, "slow_down", false, true, MSG_THROTTLE },
        { 400, "temporarily_unavailable", false, true, MSG_TRANSIENT },
        { 500, "server_error", false, true, MSG_AMBIGUOUS },
        { 301, "", true, true, MSG_TRANSIENT },
        { 302, "", false, true, MSG_TRANSIENT },
        { 401, "", false, true, MSG_TRANSIENT }, /* no OAuth code: a gateway */
        { 403, "", true, true, MSG_TRANSIENT },
        { 403, "", false, true, MSG_TRANSIENT },
        { 404, "", true, true, MSG_TRANSIENT }, /* a web page is nobody's verdict */
        { 404, "", false, true, MSG_CONFIG_ERROR },
        { 405, "", false, true, MSG_CONFIG_ERROR },
        { 408, "", true, true, MSG_AMBIGUOUS },
        { 500, "", false, true, MSG_AMBIGUOUS },
        { 502, "", true, true, MSG_AMBIGUOUS },
        { 503, "", false, true, MSG_AMBIGUOUS },
        { 504, "", false, true, MSG_AMBIGUOUS },
        { 200, "", false, true, MSG_AMBIGUOUS }, /* empty or broken */
        { 200, "", true, true, MSG_AMBIGUOUS },
        { 101, "", false, true, MSG_AMBIGUOUS }, /* nonsense */
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct classify_input in = { rows[i].sent, rows[i].status, slice_str(rows[i].code), rows[i].html, true };
        if (classify(&in) != rows[i].failure)
            fail_msg("row %zu: HTTP %d \"%s\" is %s", i, rows[i].status, rows[i].code, msg_class_name(classify(&in)));
    }
}

static void test_without_a_refresh_token_in_the_request_none_can_be_dead(void **s)
{
    (void)s;
    struct classify_input in = { true, 400, SLICE("invalid_grant"), false, false };
    assert_int_equal(classify(&in), MSG_CONFIG_ERROR);
}

static void test_only_a_reused_token_is_reused(void **s)
{
    (void)s;
    assert_true(classify_reused(SLICE("refresh_token_reused")));
    assert_false(classify_reused(SLICE("refresh_token_expired")));
    assert_false(classify_reused(SLICE("")));
    assert_false(classify_reused(SLICE("invalid_grant")));
}

static void test_retry_after_is_seconds_or_a_date_within_limits(void **s)
{
    const int64_t date = 784111777; /* Sun, 06 Nov 1994 08:49:37 GMT */
    static const struct {
        const char *value;
        int64_t ms;
    } rows[] = {
        { "", 0 },
        { "60", 60000 },
        { " 7 ", 7000 },
        { "0", 1000 },
        { "301", 300000 },
        { "99999999999999999999999999", 300000 },
        { "-1", 0 },
        { "1.5", 0 },
        { "soon", 0 },
        { "Sun, 06 Nov 1994 08:49:47 GMT", 10000 },
        { "Sun, 06 Nov 1994 08:40:00 GMT", 1000 },
        { "Sun, 06 Nov 1994 09:49:37 GMT", 300000 },
        { "Sun, 06 Nov 1994 08:49:47 GMT and more than anybody would ever read", 0 },
        { "Sun, 06 Nov 1994", 0 },
        { "Sunday, 06-Nov-94 08:49:47 GMT", 10000 }, /* the two old forms */
        { "Sun Nov  6 08:49:47 1994", 10000 },
        { "Sun Nov  6 08:49:47 1994 and more", 0 },
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (classify_retry_after_ms(slice_str(rows[i].value), date, 1700000000) != rows[i].ms)
            fail_msg("\"%s\" is %d ms", rows[i].value,
                     (int)classify_retry_after_ms(slice_str(rows[i].value), date, 1700000000));
    /* our clock when there is no other */
    assert_int_equal(classify_retry_after_ms(SLICE("Sun, 06 Nov 1994 08:49:47 GMT"), 0, date), 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_failure_has_its_class),
        cmocka_unit_test(test_without_a_refresh_token_in_the_request_none_can_be_dead),
        cmocka_unit_test(test_only_a_reused_token_is_reused),
        cmocka_unit_test(test_retry_after_is_seconds_or_a_date_within_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
