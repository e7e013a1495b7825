/* links: tests/fakes/proxy_world.c tests/fakes/fake_timer.c tests/fakes/fake_dial.c tests/fakes/fake_clock.c */
/* The exchange and the response: streams, tunnels, upstreams that fail, time, the flow of bytes, ends. */
#include "tests/fakes/exchange_text.h"

static bool eof;
static char get[] = "GET", *only_get[] = { get, NULL };

/* --- the answer --- */

static void answers_without_a_body_leave_the_connection_usable(void **state)
{
    static const struct {
        const char *method, *answer;
    } table[] = {
        { "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" },
        { "GET", "HTTP/1.1 204 No Content\r\n\r\n" },
        { "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n" },
        { "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" },
    };
    (void)state;
    int c = world_client(), up = sent(c, GET("/"));
    say(up, OK);
    hear(c, NULL);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char request[256];
        snprintf(request, sizeof request, "%s http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", table[i].method);
        say(c, request);
        assert_true(has(hear(up, NULL), table[i].method));
        say(up, table[i].answer);
        const char *answer = hear(c, &eof);
        assert_true(strlen(answer) > 30 && strcmp(answer + strlen(answer) - 4, "\r\n\r\n") == 0 && !eof);
    }
    assert_int_equal(fake_dial_pending(), 0);
}

static void an_answer_that_ends_with_its_connection_becomes_chunks(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, GET("/"));
    say(up, "HTTP/1.1 200 OK\r\n\r\nabc");
    say(up, "de");
    shutdown(up, SHUT_WR);
    world_turn();
    const char *answer = hear(c, &eof);
    assert_true(has(answer, "Transfer-Encoding: chunked") && has(answer, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") && !eof);
}

static void a_client_of_http_1_0_gets_streams_until_the_end_of_the_connection(void **state)
{
    (void)state;
    int c = world_client();
    world_token(1, "token-1", 60000);
    say(c, "GET http://127.0.0.1/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    int up = world_upstream();
    hear(up, NULL);
    say(up, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    const char *answer = hear(c, &eof);
    assert_true(!has(answer, "chunked") && has(answer, "Connection: close") && has(answer, "\r\n\r\nabc") && eof);
}

static void a_client_of_http_1_0_that_keeps_the_connection_is_told_so(void **state)
{
    (void)state;
    int c = world_client();
    world_token(1, "token-1", 60000);
    say(c, "GET http://127.0.0.1/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    int up = world_upstream();
    hear(up, NULL);
    say(up, OK);
    assert_true(has(hear(c, &eof), "Connection: keep-alive") && !eof);
}

static void every_piece_of_a_stream_reaches_the_client_at_once(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, GET("/"));
    say(up, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_true(has(hear(c, NULL), "text/event-stream"));
    for (int i = 0; i < 5; i++) {
        send(up, "8\r\ndata: x\n\r\n", 13, 0);
        ev_run(loop_get(), EVRUN_NOWAIT);
        assert_true(has(hear(c, NULL), "data: x\n"));
    }
}

static void interim_answers_pass_and_the_final_one_follows(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, POST("Content-Length: 2\r\nExpect: 100-continue\r\n", ""));
    say(up, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_true(has(hear(c, NULL), "HTTP/1.1 100 Continue\r\n"));
    say(c, "ab");
    assert_string_equal(hear(up, NULL), "ab");
    say(up, "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" OK);
    const char *answer = hear(c, NULL);
    assert_true(has(answer, "103 Early Hints") && has(answer, "Link: <a>") && has(answer, "200 OK")
                && has(answer, "hi"));
}

static void an_early_answer_is_passed_while_the_upload_still_runs(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, POST("Content-Length: 100\r\n", "abc"));
    say(up, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
    const char *answer = hear(c, &eof);
    assert_true(has(answer, "413 ") && has(answer, "Connection: close") && has(answer, "\r\n\r\nno") && eof);
    assert_true(world_closed(up));
}

static void trailers_pass_but_not_those_that_we_manage(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, GET("/"));
    say(up, OK);
    hear(c, NULL);
    say(c, POST("Transfer-Encoding: chunked\r\n", "1\r\na\r\n0\r\nX-Sum: 1\r\nAuthorization: mine\r\n\r\n"));
    const char *request = hear(up, NULL);
    assert_true(has(request, "0\r\nX-Sum: 1\r\n\r\n") && !has(request, "mine"));
    say(up, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 2\r\nSet-Cookie: a\r\n\r\n");
    const char *answer = hear(c, NULL);
    assert_true(has(answer, "0\r\nX-Sum: 2\r\n\r\n") && !has(answer, "Cookie"));
}

#define WS_KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" /* RFC 6455 §1.3 */
#define WS_ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

static void a_websocket_becomes_a_tunnel(void **state)
{
    (void)state;
    int c = world_client();
    world_token(1, "token-1", 60000);
    say(c, "GET http://127.0.0.1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" WS_KEY
           "\r\n");
    int up = world_upstream();
    assert_true(has(hear(up, NULL), "Upgrade: websocket"));
    say(up, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" WS_ACCEPT "\r\nfirst");
    const char *answer = hear(c, NULL);
    assert_true(has(answer, "101 Switching") && has(answer, "Connection: upgrade") && has(answer, "\r\n\r\nfirst"));
    assert_true(world_count("sidekey_tunnels") == 1);
    say(c, "ping");
    assert_string_equal(hear(up, NULL), "ping");
    say(up, "pong");
    assert_string_equal(hear(c, NULL), "pong");
    shutdown(c, SHUT_WR);
    world_turn();
    hear(up, &eof);
    assert_true(eof);
    say(up, "last");
    shutdown(up, SHUT_WR);
    world_turn();
    assert_string_equal(hear(c, &eof), "last");
    assert_true(eof && world_count("sidekey_tunnels") == 0);
}

static void a_101_that_was_not_asked_for_or_is_for_something_else_is_refused(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n" WS_ACCEPT "\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" WS_ACCEPT "\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    };
    (void)state;
    world_token(1, "token-1", 60000);
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        int c = world_client();
        say(c, "GET http://127.0.0.1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: "
               "websocket\r\n" WS_KEY "\r\n");
        say(world_upstream(), answers[i]);
        assert_true(has(hear(c, NULL), "502 Bad Gateway"));
    }
    int c = world_client(), up = sent(c, GET("/"));
    say(up, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_true(has(hear(c, NULL), "502 Bad Gateway"));
}

/* --- upstreams that fail --- */

static void a_failed_dial_is_told(void **state)
{
    static const struct {
        enum dial_error error;
        const char *status, *label;
    } table[] = {
        { DIAL_REFUSED, "502 Bad Gateway", "error=connection_refused" },
        { DIAL_TIMEOUT, "504 Gateway Timeout", "error=connection_timeout" },
        { DIAL_FORBIDDEN, "403 Forbidden", "error=destination_ip_prohibited" },
        { DIAL_DNS, "502 Bad Gateway", "error=dns_error" },
    };
    (void)state;
    world_token(1, "token-1", 60000);
    int c = world_client();
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        say(c, GET("/"));
        fake_dial_fail(table[i].error, "told why");
        world_turn();
        const char *answer = hear(c, &eof);
        assert_true(has(answer, table[i].status) && has(answer, table[i].label) && has(answer, "told why") && !eof);
    }
}

static void a_refused_head_is_told_with_its_own_way_out(void **state)
{
    static const struct {
        const char *request, *status, *label, *reason, *hint;
    } table[] = {
        { "GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\nVia: 1.1 sidekey\r\n\r\n", "508 Loop Detected",
          "error=proxy_loop_detected", "\"reason\":\"loop\"", "must not forward to this sidekey" },
        { "GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: 127.0.0.1\r\n\r\n", "400 Bad Request",
          "error=http_request_error", "\"reason\":\"host_repeated\"", "Host, SNI and CONNECT" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        int c = world_client();
        say(c, table[i].request);
        const char *answer = hear(c, &eof);
        if (!has(answer, table[i].status) || !has(answer, table[i].label) || !has(answer, table[i].reason)
            || !has(answer, table[i].hint) || !eof)
            fail_msg("row %zu: %s", i, answer);
        assert_int_equal(fake_dial_pending(), 0);
    }
}

static void an_upstream_that_leaves_before_it_answers_is_a_502(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, GET("/"));
    shutdown(up, SHUT_RDWR);
    world_turn();
    assert_true(has(hear(c, &eof), "502 Bad Gateway") && !eof);
    assert_int_equal(fake_dial_pending(), 0);
}

static void an_answer_cut_short_never_looks_whole(void **state)
{
    static const char *const halves[] = { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
                                          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab" };
    (void)state;
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++) {
        int c = world_client(), up = sent(c, GET("/"));
        say(up, halves[i]);
        shutdown(up, SHUT_RDWR);
        world_turn();
        const char *answer = hear(c, NULL);
        assert_true(has(answer, "200 OK") && !has(answer, "0\r\n\r\n"));
        assert_true(world_closed(c));
    }
}

static void an_answer_that_is_none_is_a_502(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, GET("/"));
    say(up, "SSH-2.0-OpenSSH\r\n\r\n");
    assert_true(has(hear(c, NULL), "error=http_protocol_error"));
    assert_true(world_closed(up));
}

/* A pooled connection that had served once and is closed by the upstream as the next request goes out. */
static int stale(int c)
{
    int up = sent(c, GET("/"));
    say(up, OK);
    hear(c, NULL);
    return up;
}

static void a_stale_connection_costs_an_idempotent_request_nothing(void **state)
{
    (void)state;
    int c = world_client(), up = stale(c);
    send(c, GET("/second"), strlen(GET("/second")), 0);
    shutdown(up, SHUT_RDWR);
    world_turn();
    up = world_upstream();
    assert_true(has(hear(up, NULL), "GET /second"));
    say(up, OK);
    assert_true(has(hear(c, NULL), "200 OK"));
}

static void a_post_is_never_sent_twice_over_a_stale_connection(void **state)
{
    (void)state;
    int c = world_client(), up = stale(c);
    say(c, POST("Content-Length: 1\r\n", "x"));
    assert_true(has(hear(up, NULL), "POST /p"));
    shutdown(up, SHUT_RDWR);
    world_turn();
    assert_int_equal(fake_dial_pending(), 0);
    assert_true(has(hear(c, NULL), "502 Bad Gateway"));
}

static void a_get_is_not_sent_again_once_an_answer_has_begun_or_its_time_is_over(void **state)
{
    (void)state;
    int c = world_client(), up = stale(c);
    say(c, GET("/"));
    say(up, "HTTP/1.1 200");
    shutdown(up, SHUT_RDWR);
    world_turn();
    assert_int_equal(fake_dial_pending(), 0);
    assert_true(has(hear(c, NULL), "502 Bad Gateway"));
    c = world_client();
    up = stale(c);
    say(c, GET("/"));
    fake_timer_run(600000);
    world_turn();
    assert_int_equal(fake_dial_pending(), 0);
    assert_true(has(hear(c, NULL), "504 Gateway Timeout"));
}

/* --- time --- */

static void every_wait_has_an_end_that_is_told(void **state)
{
    (void)state;
    world_token(1, "token-1", 3600000);
    int c = world_client(); /* no connection */
    say(c, GET("/"));
    fake_timer_run(20000);
    world_turn();
    assert_true(has(hear(c, NULL), "504 Gateway Timeout"));
    say(c, GET("/")); /* no answer */
    int up = world_upstream();
    hear(up, NULL);
    fake_timer_run(600000);
    world_turn();
    assert_true(has(hear(c, NULL), "error=http_response_timeout"));
    world_token(2, "token-2", 3600000);
    say(c, GET("/")); /* half an answer */
    up = world_upstream();
    say(up, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
    fake_timer_run(599000);
    say(up, "c");
    fake_timer_run(599000);
    world_turn();
    assert_false(has(hear(c, NULL), "502"));
    assert_false(world_closed(c));
    fake_timer_run(1000);
    world_turn();
    assert_true(world_closed(c));
}

static void a_client_that_does_not_send_its_body_is_told_so(void **state)
{
    (void)state;
    int c = world_client();
    world_token(1, "token-1", 3600000);
    say(c, POST("Content-Length: 5\r\n", "ab"));
    world_upstream();
    fake_timer_run(600000);
    world_turn();
    assert_true(has(hear(c, &eof), "408 Request Timeout") && eof);
}

/* Rules 7.6 and 7.7: the time between two bytes while a body comes, then the time of the first byte of the answer. */
static void an_upload_has_the_time_between_two_bytes_and_then_that_of_the_first_byte(void **state)
{
    (void)state;
    world_options.limits.idle_ms = 60000;
    world_options.limits.first_byte_ms = 20000;
    world_token(1, "token-1", 3600000);
    int c = world_client();
    say(c, POST("Content-Length: 5\r\n", "ab"));
    int up = world_upstream();
    fake_timer_run(50000);
    say(c, "cde");
    assert_true(has(hear(up, NULL), "abcde"));
    fake_timer_run(19000);
    world_turn();
    assert_string_equal(hear(c, NULL), "");
    fake_timer_run(1000);
    world_turn();
    assert_true(has(hear(c, NULL), "error=http_response_timeout"));
    c = world_client();
    say(c, POST("Content-Length: 5\r\n", "ab"));
    world_upstream();
    fake_timer_run(60000);
    world_turn();
    assert_true(has(hear(c, NULL), "408 Request Timeout"));
}

/* --- the flow of bytes --- */

static size_t pour(int fd, size_t most)
{
    static char bytes[65536];
    size_t done = 0;
    for (int idle = 0; done < most && idle < 3;) {
        ssize_t put =
            send(fd, bytes, most - done < sizeof bytes ? most - done : sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        idle = put > 0 ? 0 : idle + 1;
        done += put > 0 ? (size_t)put : 0;
        world_turn();
    }
    return done;
}

static size_t drain(int fd)
{
    static char bytes[65536];
    size_t done = 0;
    for (int idle = 0; idle < 3;) {
        ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        idle = got > 0 ? 0 : idle + 1;
        done += got > 0 ? (size_t)got : 0;
        world_turn();
    }
    return done;
}

static void a_slow_reader_stops_the_writer_in_both_directions(void **state)
{
    enum { ALL = 20 << 20, MOST = 1 << 20 };
    (void)state;
    int c = world_client(), up = sent(c, POST("Content-Length: 20971520\r\n", ""));
    size_t taken = pour(c, ALL);
    assert_in_range(taken, 1, MOST);
    size_t arrived = 0;
    while (taken < ALL || arrived < ALL) {
        size_t now = drain(up);
        arrived += now;
        if (taken < ALL)
            taken += pour(c, ALL - taken);
        else if (!now)
            break;
    }
    assert_int_equal(arrived, ALL);
    assert_int_equal(world.replay.used, 0);

    say(up, "HTTP/1.1 200 OK\r\nContent-Length: 20971520\r\n\r\n");
    taken = pour(up, ALL);
    assert_in_range(taken, 1, MOST);
    for (arrived = 0; taken < ALL;) {
        arrived += drain(c);
        taken += pour(up, ALL - taken);
    }
    arrived += drain(c);
    assert_true(arrived > ALL && arrived < ALL + 1000); /* and the head */
    say(c, GET("/next"));
    assert_true(has(hear(up, NULL), "GET /next")); /* both connections live on */
}

static void a_replayed_body_larger_than_the_queue_arrives_whole(void **state)
{
    enum { ALL = 900 * 1024 };
    (void)state;
    int c = world_client(), up = sent(c, POST("Content-Length: 921600\r\n", ""));
    size_t taken = 0;
    while (taken < ALL) {
        taken += pour(c, ALL - taken);
        drain(up);
    }
    assert_int_equal(world.replay.used, ALL);
    say(up, UNAUTHORIZED);
    world_token(2, "token-2", 60000);
    up = fake_dial_pending() ? world_upstream() : up;
    size_t arrived = drain(up);
    assert_true(arrived > ALL && arrived < ALL + 1000);
    say(up, OK);
    assert_true(has(hear(c, NULL), "200 OK"));
    assert_int_equal(world.replay.used, 0);
}

static void the_copy_of_the_body_is_given_back_when_the_answer_begins(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, POST("Content-Length: 5\r\n", "hello"));
    assert_int_equal(world.replay.used, 5);
    say(up, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_true(has(hear(c, NULL), "200 OK"));
    assert_int_equal(world.replay.used, 0);
}

static void an_early_answer_to_the_second_send_does_not_cut_the_replay(void **state)
{
    enum { ALL = 900 * 1024 };
    (void)state;
    int c = world_client(), up = sent(c, POST("Content-Length: 921600\r\n", ""));
    for (size_t taken = 0; taken < ALL; drain(up))
        taken += pour(c, ALL - taken);
    say(up, UNAUTHORIZED);
    world_token(2, "token-2", 60000);
    up = fake_dial_pending() ? world_upstream() : up;
    say(up, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    size_t arrived = drain(up);
    assert_true(arrived > ALL && arrived < ALL + 1000);
    say(up, "0\r\n\r\n");
    assert_true(has(hear(c, NULL), "0\r\n\r\n"));
}

static void pipelined_requests_are_served_one_after_the_other(void **state)
{
    (void)state;
    int c = world_client();
    world_token(1, "token-1", 60000);
    say(c, GET("/1") GET("/2") GET("/3"));
    int up = world_upstream();
    for (int i = 1; i <= 3; i++) {
        char path[32];
        snprintf(path, sizeof path, "GET /%d ", i);
        const char *request = hear(up, NULL);
        assert_true(has(request, path));
        assert_null(strstr(request + 1, "GET "));
        say(up, OK);
        assert_true(has(hear(c, NULL), "200 OK"));
    }
}

static void who_pipelines_and_does_not_read_is_made_to_wait(void **state)
{
    static const char request[] = "DELETE http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"; /* answered by us */
    (void)state;
    world_rule.methods = only_get;
    int c = world_client(), small = 4096;
    setsockopt(c, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    size_t asked = 0, answered = 0;
    for (int i = 0; i < 20000; i++) {
        if (send(c, request, sizeof request - 1, MSG_DONTWAIT) != (ssize_t)sizeof request - 1)
            break;
        asked++;
        if (i % 50 == 0)
            world_turn();
    }
    world_turn();
    assert_in_range(asked, 100, 19999);
    for (int idle = 0; idle < 3;) {
        const char *text = hear(c, &eof);
        idle = *text ? 0 : idle + 1;
        for (const char *at = text; (at = strstr(at, "HTTP/1.1 ")); at++)
            answered++;
        world_turn();
    }
    assert_false(eof);
    assert_true(world.client_count == 1 && answered > 100);
}

/* --- ends --- */

static void a_draining_worker_ends_connections_with_their_answer(void **state)
{
    (void)state;
    int c = world_client(), up = sent(c, GET("/"));
    world.draining = true;
    clients_drain(&world);
    say(up, OK);
    const char *answer = hear(c, &eof);
    assert_true(has(answer, "Connection: close") && has(answer, "hi") && eof);
}

static void a_method_that_no_rule_allows_is_refused_and_the_next_request_served(void **state)
{
    (void)state;
    world_rule.methods = only_get;
    int c = world_client();
    say(c, "DELETE http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    const char *answer = hear(c, &eof);
    assert_true(has(answer, "403 Forbidden") && has(answer, "method_or_path_not_allowed") && !eof);
    say(sent(c, GET("/")), OK);
    assert_true(has(hear(c, NULL), "200 OK"));
}

static void a_rule_without_a_credential_still_strips_and_sets(void **state)
{
    static char secret_field[] = "x-secret", name[] = "x-team", value[] = "blue";
    static char *strip[] = { secret_field, NULL };
    static struct name_value set[] = { { name, value } };
    (void)state;
    world_rule.credential = NULL;
    world_rule.inject_count = 0;
    world_rule.strip = strip;
    world_rule.set_if_absent = set;
    world_rule.set_if_absent_count = 1;
    int c = world_client();
    say(c, "GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Secret: s\r\n\r\n");
    const char *request = hear(world_upstream(), NULL);
    assert_true(has(request, "x-team: blue\r\n") && !has(request, "X-Secret"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_up, world_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(answers_without_a_body_leave_the_connection_usable),
        T(an_answer_that_ends_with_its_connection_becomes_chunks),
        T(a_client_of_http_1_0_gets_streams_until_the_end_of_the_connection),
        T(a_client_of_http_1_0_that_keeps_the_connection_is_told_so),
        T(every_piece_of_a_stream_reaches_the_client_at_once),
        T(interim_answers_pass_and_the_final_one_follows),
        T(an_early_answer_is_passed_while_the_upload_still_runs),
        T(trailers_pass_but_not_those_that_we_manage),
        T(a_websocket_becomes_a_tunnel),
        T(a_101_that_was_not_asked_for_or_is_for_something_else_is_refused),
        T(a_failed_dial_is_told),
        T(a_refused_head_is_told_with_its_own_way_out),
        T(an_upstream_that_leaves_before_it_answers_is_a_502),
        T(an_answer_cut_short_never_looks_whole),
        T(an_answer_that_is_none_is_a_502),
        T(a_stale_connection_costs_an_idempotent_request_nothing),
        T(a_post_is_never_sent_twice_over_a_stale_connection),
        T(a_get_is_not_sent_again_once_an_answer_has_begun_or_its_time_is_over),
        T(every_wait_has_an_end_that_is_told),
        T(a_client_that_does_not_send_its_body_is_told_so),
        T(an_upload_has_the_time_between_two_bytes_and_then_that_of_the_first_byte),
        T(a_slow_reader_stops_the_writer_in_both_directions),
        T(a_replayed_body_larger_than_the_queue_arrives_whole),
        T(the_copy_of_the_body_is_given_back_when_the_answer_begins),
        T(an_early_answer_to_the_second_send_does_not_cut_the_replay),
        T(pipelined_requests_are_served_one_after_the_other),
        T(who_pipelines_and_does_not_read_is_made_to_wait),
        T(a_draining_worker_ends_connections_with_their_answer),
        T(a_method_that_no_rule_allows_is_refused_and_the_next_request_served),
        T(a_rule_without_a_credential_still_strips_and_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
