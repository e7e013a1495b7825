/* links: tests/fakes/proxy_world.c tests/fakes/fake_timer.c tests/fakes/fake_dial.c tests/fakes/fake_clock.c */
/* The exchange and its token: fresh, waited for, refused, expired; and the response 401. */
#include "tests/fakes/exchange_text.h"

static bool eof;

/* --- the token --- */

static void a_fresh_token_goes_out_at_once_and_nobody_is_asked(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, GET("/a?query-1"));
    assert_int_equal(world_wants, 0);
    say(up, OK);
    const char *answer = hear(c, &eof);
    assert_true(has(answer, "200 OK\r\n") && has(answer, "\r\n\r\nhi") && has(answer, "Via: 1.1 sidekey\r\n") && !eof);
    assert_true(world_count("sidekey_requests_total{rule=\"crm\",code_class=\"2xx\",injected=\"yes\"}") == 1);
}

static void the_client_copy_of_the_field_never_goes_out(void **state)
{
    (void)state;
    int c = world_client();
    world_token(1, "token-1", 60000);
    say(c, "GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAUTHORIZATION: a\r\nauthorization: b\r\nConnection: "
           "authorization\r\n\r\n");
    const char *request = hear(world_upstream(), NULL);
    assert_true(has(request, "authorization: Bearer token-1\r\n"));
    assert_false(has(request, "AUTHORIZATION") || has(request, ": b\r\n") || has(request, "Connection"));
}

static void a_request_without_a_token_waits_for_one(void **state)
{
    (void)state;
    int c = world_client();
    say(c, GET("/"));
    assert_int_equal(world_wants, 1);
    assert_int_equal(world_want_reason, MSG_MISSING);
    assert_int_equal(fake_dial_pending(), 0);
    world_token(7, "token-7", 60000);
    assert_true(has(hear(world_upstream(), NULL), "Bearer token-7\r\n"));
}

static void an_expired_token_is_none(void **state)
{
    (void)state;
    int c = world_client();
    world_token(1, "token-1", 1000);
    fake_mono_ms += 1000;
    say(c, GET("/"));
    assert_int_equal(fake_dial_pending(), 0);
    assert_int_equal(world_want_reason, MSG_MISSING);
}

static void a_token_that_runs_out_while_the_connection_is_made_is_not_sent_but_waited_for(void **state)
{
    (void)state;
    int c = world_client();
    world_token(1, "token-1", 1000);
    say(c, GET("/"));
    fake_mono_ms += 1000;
    int wants = world_wants, up = world_upstream();
    assert_string_equal(hear(up, NULL), "");
    assert_int_equal(world_wants, wants + 1);
    assert_int_equal(world_want_reason, MSG_MISSING);
    world_token(2, "token-2", 60000);
    assert_true(has(hear(world_upstream(), NULL), "Bearer token-2\r\n"));
}

static void tokens_that_always_run_out_too_soon_end_in_503(void **state)
{
    (void)state;
    int c = world_client();
    world_token(1, "token-1", 1000);
    say(c, GET("/"));
    for (uint64_t n = 2; n < 5; n++) {
        fake_mono_ms += 1000;
        assert_string_equal(hear(world_upstream(), NULL), "");
        if (n < 4)
            world_token(n, "token-n", 1000);
    }
    assert_true(has(hear(c, NULL), "503 Service Unavailable"));
}

static void each_refusal_is_told_with_its_class_and_the_connection_lives_on(void **state)
{
    static const struct {
        enum msg_class failure;
        int64_t after_ms;
        const char *reason, *retry;
    } table[] = {
        { MSG_TRANSIENT, 20500, "token_unavailable", "Retry-After: 21\r\n" },
        { MSG_TRANSIENT, 0, "token_unavailable", "Retry-After: 1\r\n" },
        { MSG_AMBIGUOUS, 0, "token_unavailable", "Retry-After: 1\r\n" },
        { MSG_THROTTLE, 60000, "token_throttled", "Retry-After: 60\r\n" },
        { MSG_CLOCK, 0, "token_clock", "Retry-After: 1\r\n" },
        { MSG_CONFIG_ERROR, 0, "credential_misconfigured", "Retry-After: 300\r\n" },
        { MSG_DEAD, 0, "credential_dead", "Retry-After: 300\r\n" },
        { MSG_STORE, 0, "store_unavailable", "Retry-After: 1\r\n" },
        { MSG_UNKNOWN_CREDENTIAL, 0, "credential_unknown", "Retry-After: 1\r\n" },
    };
    (void)state;
    int c = world_client();
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char reason[64];
        snprintf(reason, sizeof reason, "\"reason\":\"%s\"", table[i].reason);
        say(c, GET("/"));
        world_refuse(table[i].failure, table[i].after_ms, "why \"so\"");
        const char *answer = hear(c, &eof);
        assert_true(has(answer, "HTTP/1.1 503 ") && has(answer, reason) && has(answer, "\"credential\":\"crm\"")
                    && has(answer, table[i].retry));
        assert_true(has(answer, "why \\\"so\\\"") && has(answer, "application/problem+json")
                    && has(answer, "Proxy-Status: sidekey; error="));
        assert_false(eof);
    }
}

static void a_passing_refusal_is_waited_out_when_there_is_time(void **state)
{
    (void)state;
    int c = world_client();
    say(c, GET("/"));
    world_refuse(MSG_TRANSIENT, 2000, "later");
    assert_string_equal(hear(c, NULL), "");
    fake_timer_run(2100);
    assert_int_equal(world_wants, 2);
    world_token(1, "token-1", 60000);
    say(world_upstream(), OK);
    assert_true(has(hear(c, NULL), "200 OK"));
}

static void nobody_waits_longer_than_allowed(void **state)
{
    (void)state;
    int c = world_client();
    say(c, GET("/"));
    fake_timer_run(9999);
    assert_string_equal(hear(c, NULL), "");
    fake_timer_run(1);
    world_turn();
    assert_true(has(hear(c, NULL), "503 Service Unavailable"));
}

static void after_a_refusal_the_next_request_of_the_connection_is_served(void **state)
{
    (void)state;
    int c = world_client();
    say(c, GET("/"));
    world_refuse(MSG_DEAD, 0, "gone");
    hear(c, NULL);
    say(sent(c, GET("/again")), OK);
    assert_true(has(hear(c, NULL), "200 OK"));
}

static void a_request_without_the_placeholder_goes_as_it_is_and_needs_no_token(void **state)
{
    static char field[] = "authorization", value[] = "Bearer placeholder";
    (void)state;
    world_rule.only_if_header = field;
    world_rule.only_if_equals = value;
    int c = world_client();
    say(c, "GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer my-own\r\n\r\n");
    assert_int_equal(world_wants, 0);
    int up = world_upstream();
    assert_true(has(hear(up, NULL), "Authorization: Bearer my-own\r\n"));
    say(up, UNAUTHORIZED);
    assert_true(has(hear(c, NULL), "401 Unauthorized"));
    say(c, GET("/"));
    assert_int_equal(world_want_reason, MSG_MISSING);
}

/* --- 401 --- */

static void after_a_401_the_client_sees_the_second_answer_alone(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, POST("Content-Length: 5\r\n", "hello"));
    say(up, UNAUTHORIZED);
    assert_int_equal(world_want_reason, MSG_REJECTED);
    assert_int_equal(world_want_generation, 1);
    assert_string_equal(hear(c, NULL), "");
    world_token(2, "token-2", 60000);
    up = fake_dial_pending() ? world_upstream() : up;
    const char *request = hear(up, NULL);
    assert_true(has(request, "Bearer token-2\r\n") && has(request, "\r\n\r\nhello") && !has(request, "token-1"));
    say(up, OK);
    const char *answer = hear(c, NULL);
    assert_true(has(answer, "200 OK") && !has(answer, "401"));
    assert_true(world_count(UNAUTHORIZED_TOTAL("refreshed")) == 1);
}

static void a_401_to_an_old_token_is_answered_with_the_newer_one_at_hand(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, GET("/"));
    world_token(2, "token-2", 60000);
    say(up, UNAUTHORIZED);
    assert_int_equal(world_wants, 0);
    up = fake_dial_pending() ? world_upstream() : up;
    assert_true(has(hear(up, NULL), "Bearer token-2\r\n"));
    say(up, OK);
    assert_true(has(hear(c, NULL), "200 OK") && world_count(UNAUTHORIZED_TOTAL("replayed")) == 1);
}

static void a_token_of_the_same_generation_is_not_a_newer_one(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, GET("/"));
    say(up, UNAUTHORIZED);
    world_token(1, "token-1", 60000);
    assert_int_equal(fake_dial_pending(), 0);
    world_refuse(MSG_RECENT, 0, "a moment ago");
    const char *answer = hear(c, &eof);
    assert_true(has(answer, "401 Unauthorized") && has(answer, "nope") && has(answer, "WWW-Authenticate: Bearer")
                && !eof);
    assert_true(world_count(UNAUTHORIZED_TOTAL("passed")) == 1);
    say(c, GET("/next"));
    assert_true(has(hear(up, NULL), "GET /next"));
}

static void a_401_is_passed_when_no_newer_token_comes_in_time(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, GET("/"));
    say(up, UNAUTHORIZED);
    fake_timer_run(10000);
    world_turn();
    assert_true(has(hear(c, NULL), "401 Unauthorized"));
}

static void the_second_401_is_passed_and_there_is_no_third_send(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, GET("/"));
    say(up, UNAUTHORIZED);
    world_token(2, "token-2", 60000);
    up = fake_dial_pending() ? world_upstream() : up;
    hear(up, NULL);
    say(up, UNAUTHORIZED);
    world_token(3, "token-3", 60000);
    assert_int_equal(fake_dial_pending(), 0);
    assert_true(has(hear(c, NULL), "401 Unauthorized"));
    assert_string_equal(hear(up, NULL), "");
}

static void a_body_beyond_the_cap_lets_the_401_pass(void **state)
{
    (void)state;
    world_rule.replay_max_bytes = 4;
    int c = world_client(), up = sent(c, POST("Content-Length: 5\r\n", "hello"));
    say(up, UNAUTHORIZED);
    assert_true(has(hear(c, NULL), "401 Unauthorized"));
    assert_int_equal(world_wants, 0);
    assert_true(world_count(UNAUTHORIZED_TOTAL("too_large")) == 1 && world.replay.used == 0);
}

static void an_upload_goes_on_while_its_401_is_held_and_arrives_whole(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, POST("Content-Length: 9\r\n", "abc"));
    say(up, UNAUTHORIZED);
    say(c, "def");
    world_token(2, "token-2", 60000);
    up = world_upstream();
    assert_true(has(hear(up, NULL), "\r\n\r\nabcdef"));
    say(c, "ghi");
    assert_string_equal(hear(up, NULL), "ghi");
    say(up, OK);
    assert_true(has(hear(c, NULL), "200 OK"));
}

static void an_upload_behind_a_passed_401_never_reaches_the_upstream_with_a_hole(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, POST("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n"));
    say(up, UNAUTHORIZED);
    say(c, "3\r\ndef\r\n");
    world_refuse(MSG_DEAD, 0, "gone");
    say(c, "3\r\nghi\r\n0\r\n\r\n");
    assert_false(has(hear(up, NULL), "ghi"));
    const char *answer = hear(c, &eof);
    assert_true(has(answer, "401 Unauthorized") && has(answer, "Connection: close") && has(answer, "nope") && eof);
}

static void an_upload_that_ended_while_its_401_was_held_is_not_ended_twice(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, POST("Content-Length: 6\r\n", "abc"));
    say(up, UNAUTHORIZED);
    say(c, "def");
    world_refuse(MSG_DEAD, 0, "gone");
    assert_true(has(hear(c, &eof), "nope") && !eof);
    assert_true(world_closed(up)); /* half a request was written to it */
    say(c, GET("/next"));
    assert_true(has(hear(world_upstream(), NULL), "GET /next"));
}

static void an_upstream_that_leaves_while_its_401_is_held_is_no_loss_when_a_token_comes(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, GET("/"));
    say(up, UNAUTHORIZED);
    shutdown(up, SHUT_RDWR);
    world_turn();
    world_token(2, "token-2", 60000);
    up = world_upstream();
    assert_true(has(hear(up, NULL), "token-2"));
    say(up, OK);
    assert_true(has(hear(c, NULL), "200 OK"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_fresh_token_goes_out_at_once_and_nobody_is_asked),
        T(the_client_copy_of_the_field_never_goes_out),
        T(a_request_without_a_token_waits_for_one),
        T(an_expired_token_is_none),
        T(a_token_that_runs_out_while_the_connection_is_made_is_not_sent_but_waited_for),
        T(tokens_that_always_run_out_too_soon_end_in_503),
        T(each_refusal_is_told_with_its_class_and_the_connection_lives_on),
        T(a_passing_refusal_is_waited_out_when_there_is_time),
        T(nobody_waits_longer_than_allowed),
        T(after_a_refusal_the_next_request_of_the_connection_is_served),
        T(a_request_without_the_placeholder_goes_as_it_is_and_needs_no_token),
        T(after_a_401_the_client_sees_the_second_answer_alone),
        T(a_401_to_an_old_token_is_answered_with_the_newer_one_at_hand),
        T(a_token_of_the_same_generation_is_not_a_newer_one),
        T(a_401_is_passed_when_no_newer_token_comes_in_time),
        T(the_second_401_is_passed_and_there_is_no_third_send),
        T(a_body_beyond_the_cap_lets_the_401_pass),
        T(an_upload_goes_on_while_its_401_is_held_and_arrives_whole),
        T(an_upload_behind_a_passed_401_never_reaches_the_upstream_with_a_hole),
        T(an_upload_that_ended_while_its_401_was_held_is_not_ended_twice),
        T(an_upstream_that_leaves_while_its_401_is_held_is_no_loss_when_a_token_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
