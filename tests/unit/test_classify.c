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
        { 301, "", true, true, MSG_CONFIG_ERROR }, /* redirects are not followed */
        { 302, "", false, true, MSG_CONFIG_ERROR },
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
        struct classify_input in = { .sent = rows[i].sent,
                                     .status = rows[i].status,
                                     .code = slice_str(rows[i].code),
                                     .html = rows[i].html,
                                     .spends_token = true };
        enum msg_class failure = classify(&in).failure;
        if (failure != rows[i].failure)
            fail_msg("row %zu: HTTP %d \"%s\" is %s", i, rows[i].status, rows[i].code, msg_class_name(failure));
    }
}

static void test_without_a_refresh_token_in_the_request_none_can_be_dead(void **s)
{
    static const char *const codes[] = { "invalid_grant", "invalid_token", "something_new", "" };
    (void)s;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct classify_input in = { .sent = true, .status = 400, .code = slice_str(codes[i]) };
        assert_int_equal(classify(&in).failure, MSG_CONFIG_ERROR);
        assert_false(classify(&in).counts);
    }
}

static struct classify_verdict meaning(int status, const char *code, const char *said)
{
    struct classify_input in = {
        .sent = true, .status = status, .code = slice_str(code), .said = slice_str(said), .spends_token = true
    };
    return classify(&in);
}

static void test_only_a_reused_token_is_reused(void **s)
{
    (void)s;
    assert_true(meaning(401, "refresh_token_reused", "").reused);
    assert_true(meaning(400, "invalid_request", "The refresh token has already been used.").reused);
    assert_false(meaning(401, "refresh_token_expired", "").reused);
    assert_false(meaning(400, "", "").reused);
    assert_false(meaning(400, "invalid_grant", "").reused);
}

static void test_what_providers_say_of_a_dead_refresh_token(void **s)
{
    static const struct {
        int status;
        const char *code, *said;
        enum msg_class failure;
        bool look_again;
    } rows[] = {
        { 400, "BAD_REFRESH_TOKEN", "missing or unknown refresh token", MSG_DEAD, false },     /* HubSpot */
        { 400, "invalid", "Bad Request RefreshToken refresh_token invalid", MSG_DEAD, false }, /* Strava */
        { 400, "invalid_grant", "Refresh token invalid: abc", MSG_DEAD, false },               /* Fitbit */
        { 401, "token_not_valid", "Token is blacklisted", MSG_DEAD, false },                   /* Django */
        { 400, "INVALID_ARGUMENT", "TOKEN_EXPIRED", MSG_DEAD, false },                         /* Firebase */
        { 400, "INVALID_ARGUMENT", "USER_DISABLED", MSG_DEAD, false },
        { 400, "OAuthException", "Session has expired", MSG_DEAD, false },           /* Meta */
        { 400, "invalid_request", "Invalid Token!", MSG_DEAD, true },                /* Zoom */
        { 200, "20037", "refresh token expired", MSG_DEAD, false },                  /* Feishu */
        { 200, "IllegalRefreshToken", "", MSG_DEAD, false },                         /* Lazada */
        { 401, "", "Refresh token expired", MSG_DEAD, false },                       /* a plain text */
        { 400, "", "Invalid refresh token", MSG_DEAD, false },                       /* Twitch */
        { 403, "unauthorized_client", "refresh_token is invalid", MSG_DEAD, false }, /* Atlassian */
        { 400, "invalid_request", "The provided authorization grant or refresh token is invalid, expired or revoked.",
          MSG_DEAD, false }, /* LinkedIn */
        { 401, "invalid_token", "The token expired, was revoked, or the token ID is incorrect.", MSG_DEAD,
          false },                                                                          /* UAA */
        { 400, "invalid_request", "Token has been revoked", MSG_DEAD, false },              /* @jmondi/oauth2-server */
        { 400, "invalid_request", "Cannot verify the refresh token", MSG_DEAD, false },     /* the same */
        { 400, "invalid_request", "Check the `scope` parameter", MSG_CONFIG_ERROR, false }, /* the same */
        { 400, "NotAuthorizedException", "Refresh Token has been revoked", MSG_DEAD, false }, /* Cognito */
        { 400, "invalid_grant", "AADSTS70008: The refresh token has expired due to inactivity.", MSG_DEAD, false },
        { 200, "42002", "refresh_token expired", MSG_DEAD, false },                        /* WeChat */
        { 200, "invalid_grant", "Refresh token is invalid or expired.", MSG_DEAD, false }, /* TikTok */
        { 400, "BXNIM0408E", "Provided refresh_token is expired", MSG_DEAD, false },       /* IBM */
        { 400, "INVALID_REFRESH_TOKEN", "", MSG_DEAD, false },                             /* Yahoo */
        { 400, "invalidGrant", "", MSG_DEAD, false },
        { 400, "invalid_token", "", MSG_DEAD, true }, /* a gateway may say so as well */
        { 401, "token_inactive", "", MSG_DEAD, true },
        /* and what is none */
        { 400, "invalid_grant",
          "AADSTS50196: The server terminated an operation because it encountered a client request "
          "loop.",
          MSG_THROTTLE, false },
        { 400, "Access_Denied", "You have made too many requests continuously.", MSG_THROTTLE, false }, /* Zoho */
        { 403, "RESOURCE_EXHAUSTED", "", MSG_THROTTLE, false },
        { 401, "invalid_client", "refresh token is invalid", MSG_CONFIG_ERROR, false },
        { 400, "unauthorized_client", "AADSTS700016: Application with identifier 'x' was not found", MSG_CONFIG_ERROR,
          false },
        { 401, "unauthorized", "Bad credentials", MSG_CONFIG_ERROR, false }, /* UAA: the client */
        { 400, "invalid_scope", "the consent has changed", MSG_CONFIG_ERROR, false },
        { 400, "invalid_request", "refresh_token is required", MSG_CONFIG_ERROR, false },
        { 503, "", "refresh token is invalid", MSG_AMBIGUOUS, false },
        { 400, "invalid_request", "please try again later", MSG_TRANSIENT, false },
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct classify_verdict v = meaning(rows[i].status, rows[i].code, rows[i].said);
        if (v.failure != rows[i].failure || v.look_again != rows[i].look_again)
            fail_msg("row %zu: HTTP %d %s \"%s\" is %s", i, rows[i].status, rows[i].code, rows[i].said,
                     msg_class_name(v.failure));
    }
}

static void test_what_nobody_knows_counts_when_it_may_mean_the_token(void **s)
{
    static const struct {
        int status;
        const char *code;
        bool counts;
    } rows[] = {
        { 400, "", true }, /* glewlwyd: an empty body */
        { 400, "invalid_request", true },
        { 400, "unauthorized_client", true },
        { 400, "something_new", true },
        { 400, "access_denied", true },
        { 401, "something_new", true },
        { 403, "something_new", true },
        { 422, "something_new", true },
        { 200, "something_new", true },
        { 401, "server_error", true }, /* ServiceNow */
        { 401, "", false },            /* a gateway */
        { 403, "", false },
        { 401, "unauthorized", false }, /* the phrase of the status */
        { 403, "Forbidden", false },
        { 401, "access_denied", false }, /* Auth0, Atlassian: the client's secret */
        { 400, "invalid_client", false },
        { 401, "invalid_client", false },
        { 400, "invalid_scope", false },
        { 400, "unsupported_grant_type", false },
        { 400, "temporarily_unavailable", false },
        { 403, "slow_down", false },
        { 404, "not_found", false },
        { 405, "", false },
        { 429, "something_new", false },
        { 500, "server_error", false },
        { 500, "something_new", false },
        { 302, "", false },
        { 200, "", false },
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (meaning(rows[i].status, rows[i].code, "").counts != rows[i].counts)
            fail_msg("row %zu: HTTP %d %s", i, rows[i].status, rows[i].code);
}

static void test_five_refusals_over_ten_minutes_are_a_verdict(void **s)
{
    struct refusals r = { .count = 0 };
    const int64_t minute = 60000;
    (void)s;
    for (int i = 0; i < 20; i++) /* a burst is none */
        assert_false(classify_refusals_add(&r, "aaaaaaaa", false, 1000 + i));
    assert_false(classify_refusals_add(&r, "aaaaaaaa", false, 999 + 10 * minute));
    assert_true(classify_refusals_add(&r, "aaaaaaaa", false, 1000 + 10 * minute));
    assert_false(classify_refusals_add(&r, "bbbbbbbb", false, 1000 + 10 * minute)); /* another token */
    assert_false(classify_refusals_add(&r, "bbbbbbbb", false, 1000 + 30 * minute));
    assert_false(classify_refusals_add(&r, "bbbbbbbb", false, 1000 + 31 * minute));
    assert_false(classify_refusals_add(&r, "bbbbbbbb", false, 1000 + 32 * minute));
    assert_true(classify_refusals_add(&r, "bbbbbbbb", false, 1000 + 33 * minute));
    assert_false(classify_refusals_add(&r, "bbbbbbbb", true, 1000 + 34 * minute)); /* a web page needs an hour */
    assert_true(classify_refusals_add(&r, "bbbbbbbb", true, 1000 + 70 * minute));
}

static void test_a_server_that_says_when_to_come_again_is_asked_then(void **s)
{
    static const int statuses[] = { 500, 502, 503, 504 };
    (void)s;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        struct classify_input in = { .sent = true, .status = statuses[i], .spends_token = true, .retry_after = true };
        assert_int_equal(classify(&in).failure, MSG_THROTTLE);
        in.code = SLICE("invalid_grant");
        assert_int_equal(classify(&in).failure, MSG_DEAD);
    }
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
        cmocka_unit_test(test_what_providers_say_of_a_dead_refresh_token),
        cmocka_unit_test(test_what_nobody_knows_counts_when_it_may_mean_the_token),
        cmocka_unit_test(test_five_refusals_over_ten_minutes_are_a_verdict),
        cmocka_unit_test(test_a_server_that_says_when_to_come_again_is_asked_then),
        cmocka_unit_test(test_retry_after_is_seconds_or_a_date_within_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
