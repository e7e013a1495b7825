/* links: tests/fakes/proxy_world.c tests/fakes/fake_timer.c tests/fakes/fake_dial.c tests/fakes/fake_clock.c */
/* The exchange when a client leaves or ends its side, and when a fault comes after bytes that were read before it. */
#include "tests/fakes/exchange_text.h"

static bool eof;

/* --- clients that leave --- */

static void a_client_that_leaves_takes_its_request_along_in_every_state(void **state)
{
    (void)state;
    int c = world_client(); /* waits for a token */
    say(c, GET("/"));
    assert_int_equal(tokens_waiting(world.tokens), 1);
    shutdown(c, SHUT_RDWR);
    world_turn();
    assert_int_equal(tokens_waiting(world.tokens), 0);
    assert_int_equal(world.client_count, 0);

    world_token(1, "token-1", 60000);
    c = world_client(); /* waits for a connection */
    say(c, GET("/"));
    shutdown(c, SHUT_RDWR);
    world_turn();
    assert_int_equal(world.client_count, 0);
    assert_int_equal(fake_dial_pending(), 0);
    c = world_client();
    say(c, GET("/x"));
    int up = world_upstream();
    assert_true(has(hear(up, NULL), "GET /x"));
    shutdown(c, SHUT_RDWR); /* waits for an answer */
    world_turn();
    assert_true(world_closed(up));

    c = world_client(); /* the 401 is held */
    up = sent(c, GET("/"));
    say(up, UNAUTHORIZED);
    assert_int_equal(tokens_waiting(world.tokens), 1);
    shutdown(c, SHUT_RDWR);
    world_turn();
    assert_int_equal(tokens_waiting(world.tokens), 0);
    assert_true(world_closed(up));
}

/* RFC 9112 §9.6 */
static void a_client_that_ends_its_side_is_answered_in_every_state(void **state)
{
    (void)state;
    world_rule.half_close = true;
    int c = world_client(); /* waits for a token */
    say(c, GET("/"));
    shutdown(c, SHUT_WR);
    world_turn();
    assert_int_equal(tokens_waiting(world.tokens), 1);
    world_token(1, "token-1", 60000);
    int up = world_upstream(); /* waited for a connection */
    assert_true(has(hear(up, NULL), "Bearer token-1\r\n"));
    say(up, UNAUTHORIZED); /* a 401 is held */
    assert_int_equal(tokens_waiting(world.tokens), 1);
    world_token(2, "token-2", 60000);
    assert_true(has(hear(up, NULL), "Bearer token-2\r\n"));
    say(up, OK);
    const char *answer = hear(c, &eof);
    assert_true(has(answer, "200 OK") && has(answer, "hi") && eof);
    assert_int_equal(world.client_count, 0);
    assert_false(world_closed(up)); /* in the pool */
    assert_true(world_count("sidekey_requests_total{rule=\"crm\",code_class=\"2xx\",injected=\"yes\"}") == 1);
}

static void an_upload_that_was_whole_is_answered_and_replayed_after_its_end(void **state)
{
    (void)state;
    world_rule.half_close = true;
    int c = world_client();
    world_token(1, "token-1", 60000);
    say(c, POST("Content-Length: 5\r\n", "whole"));
    shutdown(c, SHUT_WR);
    world_turn();
    int up = world_upstream();
    assert_true(has(hear(up, NULL), "whole"));
    say(up, UNAUTHORIZED);
    world_token(2, "token-2", 60000);
    const char *second = hear(up, NULL);
    assert_true(has(second, "Bearer token-2") && has(second, "\r\n\r\nwhole"));
    say(up, OK);
    assert_true(has(hear(c, &eof), "200 OK") && eof);
}

static void requests_in_a_pipeline_that_has_ended_are_all_answered(void **state)
{
    (void)state;
    world_rule.half_close = true;
    int c = world_client();
    world_token(1, "token-1", 60000);
    say(c, GET("/1") GET("/2"));
    shutdown(c, SHUT_WR);
    world_turn();
    int up = world_upstream();
    assert_true(has(hear(up, NULL), "GET /1"));
    say(up, OK);
    assert_true(has(hear(c, &eof), "200 OK") && !eof);
    assert_true(has(hear(up, NULL), "GET /2"));
    say(up, OK);
    assert_true(has(hear(c, &eof), "200 OK") && eof);
}

static void a_stream_to_a_client_that_has_ended_its_side_goes_on_until_it_closes(void **state)
{
    (void)state;
    world_rule.half_close = true;
    int c = world_client(), up = sent(c, GET("/"));
    shutdown(c, SHUT_WR);
    say(up, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n6\r\ndata:1\r\n");
    assert_true(has(hear(c, &eof), "data:1") && !eof);
    say(up, "6\r\ndata:2\r\n");
    assert_true(has(hear(c, &eof), "data:2") && !eof);
    shutdown(c, SHUT_RD);
    world_turn();
    assert_true(world_closed(up));
    assert_int_equal(world.client_count, 0);
}

static void a_slow_reader_that_has_ended_its_side_gets_all_of_its_answer(void **state)
{
    static char bytes[700000];
    (void)state;
    world_rule.half_close = true;
    size_t got = 0;
    int c = world_client(), up = sent(c, GET("/"));
    shutdown(c, SHUT_WR);
    memset(bytes, 'x', sizeof bytes - 1);
    say(up, "HTTP/1.1 200 OK\r\nContent-Length: 700000\r\n\r\n");
    for (size_t sent_bytes = 0; sent_bytes < sizeof bytes;) {
        ssize_t put = send(up, bytes + sent_bytes, sizeof bytes - sent_bytes, MSG_NOSIGNAL);
        sent_bytes += put > 0 ? (size_t)put : 0;
        world_turn();
        if (put < 0)
            got += strlen(hear(c, &eof));
    }
    for (int i = 0; i < 50 && !eof; i++)
        got += strlen(hear(c, &eof));
    assert_true(eof && got > sizeof bytes); /* and the head */
}

/* Each way to give up, in each state that an exchange waits in. */
static void give_up(int c, int how)
{
    if (how == 0)
        shutdown(c, SHUT_WR);
    else
        shutdown(c, SHUT_RDWR);
    world_turn();
}

static void a_client_that_gives_up_ends_its_request_in_every_state(void **state)
{
    (void)state;
    for (int how = 0; how < 2; how++) {
        for (int body = 0; body < 2; body++) { /* a body is not read while it has nowhere to go */
            const char *request = body ? POST("Content-Length: 9\r\n", "a part") : GET("/");
            tokens_message(world.tokens, &(struct msg){ .type = MSG_TOKEN, .name = SLICE("crm"), .state = MSG_NONE });
            int c = world_client(); /* waits for a token */
            say(c, request);
            assert_int_equal(tokens_waiting(world.tokens), 1);
            give_up(c, how);
            assert_int_equal(tokens_waiting(world.tokens), 0);
            assert_int_equal(world.client_count, 0);

            world_token(1, "token-1", 60000);
            c = world_client(); /* waits for a connection */
            say(c, request);
            assert_int_equal(fake_dial_pending(), 1);
            give_up(c, how);
            assert_int_equal(world.client_count, 0);
            assert_int_equal(fake_dial_pending(), 0);

            c = world_client(); /* in its upload, or waits for an answer */
            say(c, request);
            int up = world_upstream();
            give_up(c, how);
            assert_true(world_closed(up) || (hear(up, &eof) && eof));
            assert_int_equal(world.client_count, 0);

            c = world_client(); /* the 401 is held */
            say(c, request);
            up = world_upstream();
            say(up, UNAUTHORIZED);
            give_up(c, how);
            assert_int_equal(tokens_waiting(world.tokens), 0);
            assert_int_equal(world.client_count, 0);
            assert_int_equal(pool_open(world.pool), 0);
        }
        int c = world_client(), up = sent(c, GET("/")); /* in the body */
        say(up, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na part");
        give_up(c, how);
        hear(up, &eof);
        assert_true(eof);
        assert_int_equal(world.client_count, 0);
    }
}

/* Nothing is read from it meanwhile: the upstream takes no more. */
static void a_client_that_gives_up_while_its_upload_is_stuck_is_noticed(void **state)
{
    static char much[200000];
    (void)state;
    memset(much, 'x', sizeof much - 1);
    int c = world_client(), up = sent(c, POST("Content-Length: 90000000\r\n", ""));
    for (int i = 0; i < 100; i++) {
        (void)!send(c, much, sizeof much - 1, MSG_NOSIGNAL);
        world_turn();
    }
    shutdown(c, SHUT_WR);
    world_turn();
    assert_int_equal(world.client_count, 0);
    assert_int_equal(pool_open(world.pool), 0);
    (void)up;
}

/* --- a fault and what was read before it --- */

static void a_fault_that_comes_with_the_head_is_a_status_and_no_bare_end(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\nzz\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    };
    (void)state;
    int c = world_client(), up = sent(c, GET("/first"));
    say(up, OK);
    hear(c, NULL);
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        say(c, POST("Content-Length: 4\r\n", "body"));
        up = fake_dial_pending() ? world_upstream() : up;
        hear(up, NULL);
        say(up, answers[i]);
        const char *answer = hear(c, &eof);
        assert_true(has(answer, "502 Bad Gateway") && !has(answer, "200 OK") && !eof);
        assert_true(has(answer, "103 Early") == (i == 2));
        assert_true(world_closed(up));
    }
}

static void a_fault_behind_a_part_that_has_gone_out_is_an_abort_behind_that_part(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, POST("Content-Length: 4\r\n", "body"));
    say(up, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n");
    say(up, "zz\r\n");
    const char *answer = hear(c, &eof);
    assert_true(has(answer, "200 OK") && has(answer, "good") && !has(answer, "502") && !has(answer, "\r\n0\r\n")
                && eof);
}

static void a_fault_waits_until_a_slow_reader_has_what_was_read_before_it(void **state)
{
    static char bytes[700000];
    (void)state;
    size_t got = 0;
    int c = world_client(), up = sent(c, GET("/"));
    memset(bytes, 'x', sizeof bytes - 1);
    bytes[sizeof bytes - 1] = 'Z';
    eof = false;
    say(up, "HTTP/1.1 200 OK\r\nContent-Length: 700000\r\n\r\n");
    for (size_t sent_bytes = 0; sent_bytes < sizeof bytes;) {
        ssize_t put = send(up, bytes + sent_bytes, sizeof bytes - sent_bytes, MSG_NOSIGNAL);
        sent_bytes += put > 0 ? (size_t)put : 0;
        world_turn();
        if (put < 0) {
            const char *text = hear(c, &eof);
            got += strlen(text);
        }
    }
    shutdown(up, SHUT_RDWR);
    world_turn();
    const char *last = NULL;
    for (int i = 0; i < 50 && !eof; i++) {
        last = hear(c, &eof);
        got += strlen(last);
        if (has(last, "Z"))
            break;
    }
    assert_true(got > sizeof bytes && has(last, "Z"));
    say(c, GET("/next")); /* that connection is as good as before */
    assert_true(has(hear(world_upstream(), NULL), "GET /next"));
}

static void a_client_that_is_cut_off_at_the_end_of_sidekey_gets_a_status(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, GET("/"));
    clients_close(&world);
    assert_true(has(hear(c, &eof), "503 Service Unavailable") && eof);
    assert_true(world_closed(up));
}

static void a_client_that_leaves_during_its_upload_makes_no_whole_request(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, POST("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n"));
    shutdown(c, SHUT_RDWR);
    world_turn();
    assert_false(has(hear(up, &eof), "0\r\n\r\n"));
    assert_true(world_closed(up));
}

static void a_broken_upload_is_a_400_and_no_whole_request(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, POST("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n"));
    say(c, "zz\r\n");
    assert_true(has(hear(c, &eof), "400 Bad Request") && eof);
    assert_false(has(hear(up, NULL), "0\r\n\r\n"));
    assert_true(world_closed(up));
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_client_that_leaves_takes_its_request_along_in_every_state),
        T(a_client_that_ends_its_side_is_answered_in_every_state),
        T(an_upload_that_was_whole_is_answered_and_replayed_after_its_end),
        T(requests_in_a_pipeline_that_has_ended_are_all_answered),
        T(a_stream_to_a_client_that_has_ended_its_side_goes_on_until_it_closes),
        T(a_slow_reader_that_has_ended_its_side_gets_all_of_its_answer),
        T(a_client_that_gives_up_ends_its_request_in_every_state),
        T(a_client_that_gives_up_while_its_upload_is_stuck_is_noticed),
        T(a_fault_that_comes_with_the_head_is_a_status_and_no_bare_end),
        T(a_fault_behind_a_part_that_has_gone_out_is_an_abort_behind_that_part),
        T(a_fault_waits_until_a_slow_reader_has_what_was_read_before_it),
        T(a_client_that_is_cut_off_at_the_end_of_sidekey_gets_a_status),
        T(a_client_that_leaves_during_its_upload_makes_no_whole_request),
        T(a_broken_upload_is_a_400_and_no_whole_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
