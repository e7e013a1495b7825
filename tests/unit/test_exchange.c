/* links: tests/fakes/proxy_world.c tests/fakes/fake_timer.c tests/fakes/fake_dial.c tests/fakes/fake_clock.c */
#include "tests/fakes/proxy_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET(path)                                                                                                      \
    "GET http://127.0.0.1" path " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer placeholder\r\n\r\n"
#define POST(fields, body) "POST http://127.0.0.1/p HTTP/1.1\r\nHost: 127.0.0.1\r\n" fields "\r\n" body
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define UNAUTHORIZED "HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\nWWW-Authenticate: Bearer\r\n\r\nnope"
#define UNAUTHORIZED_TOTAL(action) "sidekey_unauthorized_total{rule=\"crm\",action=\"" action "\"}"

static bool eof;
static char get[] = "GET", *only_get[] = { get, NULL };

/* A client whose request has gone out with token-1; returns the upstream's end. */
static int sent(int client, const char *request)
{
    world_token(1, "token-1", 60000);
    say(client, request);
    int up = world_upstream();
    assert_true(has(hear(up, NULL), "Bearer token-1\r\n"));
    return up;
}

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
