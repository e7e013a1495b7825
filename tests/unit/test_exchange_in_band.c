/* links: tests/fakes/proxy_world.c tests/fakes/fake_timer.c tests/fakes/fake_dial.c tests/fakes/fake_clock.c */
#include "tests/fakes/proxy_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define GET "GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
#define JSON_HEAD(length) "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " length "\r\n\r\n"
#define EXPIRED "{\"error\":\"expired\"}"
#define OK JSON_HEAD("11") "{\"data\":42}"
#define IN_BAND JSON_HEAD("19") EXPIRED
#define UNAUTHORIZED "HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nnope"
#define TOTAL(action) "sidekey_unauthorized_total{rule=\"crm\",action=\"" action "\"}"

static char header[] = "x-token", gone[] = "gone", pointer[] = "/error", expired[] = "expired";
static struct in_band_mark marks[] = {
    { .status = 200, .header = header, .header_equals = gone },
    { .status = 200, .pointer = pointer, .equals = expired, .max_body = 64 << 10 },
};
static bool eof;

static int up_with_marks(void **state)
{
    int failed = world_up(state);
    world_rule.also = marks;
    world_rule.also_count = 2;
    return failed;
}

static void hang_up(int fd)
{
    assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
    world_turn();
}

static int sent(int client)
{
    world_token(1, "token-1", 60000);
    say(client, GET);
    int up = world_upstream();
    assert_true(has(hear(up, NULL), "Bearer token-1\r\n"));
    return up;
}

static int next_send(int up, const char *token)
{
    char field[64];
    up = fake_dial_pending() ? world_upstream() : up;
    snprintf(field, sizeof field, "Bearer %s\r\n", token);
    assert_true(has(hear(up, NULL), field));
    return up;
}

static void a_refusal_in_the_body_is_refreshed_and_only_the_second_answer_is_seen(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c);
    say(up, IN_BAND);
    assert_int_equal(world_want_reason, MSG_REJECTED);
    assert_int_equal(world_want_generation, 1);
    world_token(2, "token-2", 60000);
    say(next_send(up, "token-2"), OK);
    const char *answer = hear(c, &eof);
    assert_true(has(answer, "{\"data\":42}") && !has(answer, "expired") && !eof);
    assert_true(world_count(TOTAL("refreshed")) == 1);
}

static void a_newer_token_at_hand_is_sent_at_once_over_the_same_connection(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c);
    world_token(2, "token-2", 60000);
    say(up, IN_BAND);
    assert_int_equal(world_wants, 0);
    assert_int_equal(fake_dial_pending(), 0);
    say(next_send(up, "token-2"), OK);
    assert_true(has(hear(c, NULL), "{\"data\":42}") && world_count(TOTAL("replayed")) == 1);
}

static void a_refusal_in_a_field_needs_no_body(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c);
    say(up, "HTTP/1.1 200 OK\r\nX-Token: gone\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_int_equal(world_want_reason, MSG_REJECTED);
    assert_string_equal(hear(c, NULL), "");
    world_token(2, "token-2", 60000);
    say(next_send(up, "token-2"), OK);
    assert_true(has(hear(c, NULL), "{\"data\":42}"));
}

static void a_body_that_comes_in_pieces_is_held_until_it_is_whole(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c);
    say(up, JSON_HEAD("11") "{\"data");
    assert_string_equal(hear(c, NULL), "");
    say(up, "\":42}");
    const char *answer = hear(c, &eof);
    assert_true(has(answer, "Content-Length: 11\r\n") && has(answer, "\r\n\r\n{\"data\":42}") && !eof);
    assert_int_equal(world_wants, 0);
    say(c, GET); /* both connections live on */
    say(next_send(up, "token-1"), OK);
    assert_true(has(hear(c, NULL), "{\"data\":42}"));
}

static void a_body_that_may_be_long_or_is_none_of_json_is_not_delayed(void **state)
{
    static const char *const heads[] = {
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"er\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 99\r\n\r\n{\"er",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 65537\r\n\r\n{\"er",
        "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{\"er",
    };
    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        int c = world_client(), up = sent(c);
        say(up, heads[i]);
        assert_true(has(hear(c, NULL), "{\"er"));
    }
}

static void without_a_newer_token_the_kept_answer_is_passed_on_whole(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c);
    say(up, IN_BAND);
    world_refuse(MSG_RECENT, 0, "a moment ago");
    const char *answer = hear(c, &eof);
    assert_true(has(answer, "200 OK") && has(answer, "\r\n\r\n" EXPIRED) && !eof);
    assert_true(world_count(TOTAL("passed")) == 1);
}

static void the_second_refusal_is_passed_on_and_there_is_no_third_send(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c);
    say(up, IN_BAND);
    world_token(2, "token-2", 60000);
    up = next_send(up, "token-2");
    say(up, IN_BAND);
    world_token(3, "token-3", 60000);
    assert_true(has(hear(c, NULL), EXPIRED));
    assert_string_equal(hear(up, NULL), "");
}

static void the_largest_body_that_is_looked_into_arrives_whole(void **state)
{
    static char text[(64 << 10) + 1];
    (void)state;
    memset(text, ' ', sizeof text - 1);
    text[0] = '[';
    text[sizeof text - 2] = ']';
    int c = world_client(), up = sent(c);
    say(up, JSON_HEAD("65536"));
    for (size_t at = 0; at < sizeof text - 1; at += 4096) {
        char part[4097] = "";
        memcpy(part, text + at, 4096);
        say(up, part);
    }
    const char *answer = hear(c, &eof);
    assert_non_null(strstr(answer, "\r\n\r\n"));
    assert_string_equal(strstr(answer, "\r\n\r\n") + 4, text);
}

static void an_upstream_that_leaves_in_the_middle_is_a_502(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c);
    say(up, JSON_HEAD("19") "{\"err");
    hang_up(up);
    assert_true(has(hear(c, NULL), "502 Bad Gateway"));
}

static void a_client_that_leaves_while_an_answer_is_kept_back_leaves_nothing(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c);
    say(up, JSON_HEAD("19") "{\"err");
    hang_up(c);
    assert_true(world_closed(up));
}

static void a_request_without_the_token_is_not_looked_after(void **state)
{
    (void)state;
    world_rule.credential = NULL;
    world_rule.inject_count = 0;
    int c = world_client();
    say(c, GET);
    int up = world_upstream();
    say(up, JSON_HEAD("19") "{\"err");
    assert_true(has(hear(c, NULL), "{\"err"));
}

static void who_opts_out_gets_the_401_and_the_next_request_a_new_token(void **state)
{
    (void)state;
    world_rule.replay = false;
    int c = world_client(), up = sent(c);
    say(up, UNAUTHORIZED);
    assert_true(has(hear(c, NULL), "401 Unauthorized"));
    assert_int_equal(world_want_reason, MSG_REJECTED);
    assert_int_equal(world_want_generation, 1);
    assert_int_equal(tokens_waiting(world.tokens), 0);
    world_token(2, "token-2", 60000);
    say(c, GET);
    up = next_send(up, "token-2");
    int wants = world_wants;
    world_token(3, "token-3", 60000);
    say(up, IN_BAND);
    assert_true(has(hear(c, NULL), EXPIRED));
    assert_int_equal(world_wants, wants); /* a newer one is there: nobody is asked */
    assert_true(world_count(TOTAL("passed")) == 2);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, up_with_marks, world_down)
    const struct CMUnitTest tests[] = {
        T(a_refusal_in_the_body_is_refreshed_and_only_the_second_answer_is_seen),
        T(a_newer_token_at_hand_is_sent_at_once_over_the_same_connection),
        T(a_refusal_in_a_field_needs_no_body),
        T(a_body_that_comes_in_pieces_is_held_until_it_is_whole),
        T(a_body_that_may_be_long_or_is_none_of_json_is_not_delayed),
        T(without_a_newer_token_the_kept_answer_is_passed_on_whole),
        T(the_second_refusal_is_passed_on_and_there_is_no_third_send),
        T(the_largest_body_that_is_looked_into_arrives_whole),
        T(an_upstream_that_leaves_in_the_middle_is_a_502),
        T(a_client_that_leaves_while_an_answer_is_kept_back_leaves_nothing),
        T(a_request_without_the_token_is_not_looked_after),
        T(who_opts_out_gets_the_401_and_the_next_request_a_new_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
