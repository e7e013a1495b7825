/* links: tests/fakes/proxy_world.c tests/fakes/fake_timer.c tests/fakes/fake_dial.c tests/fakes/fake_clock.c */
#include "tests/fakes/proxy_world.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/admin.h"

#define ASK(method, path) method " " path " HTTP/1.1\r\nHost: a\r\n\r\n"

static struct admin *admin;
static struct msg asked;
static int questions, peer;
static int asked_live;
static bool eof;

static void on_ask(struct context *ctx, const struct msg *question)
{
    (void)ctx;
    if (question->ask == MSG_ASK_LIVE) { /* on the way, by a probe that does not wait for it */
        asked_live++;
        return;
    }
    asked = *question;
    questions++;
}

static int connect_by(enum admin_way way)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    admin_accept(admin, pair[0], way);
    world_turn();
    return pair[1];
}

static int connect_admin(void)
{
    return connect_by(ADMIN_SOCKET);
}

static int up(void **state)
{
    world_up(state);
    world.ask = on_ask;
    questions = 0;
    admin = admin_new(&world);
    peer = connect_admin();
    return admin ? 0 : -1;
}

static int down(void **state)
{
    admin_free(admin);
    world_turn();
    close(peer);
    return world_down(state);
}

static void answer(uint64_t tag, bool ok, const char *text)
{
    admin_answer(admin, &(struct msg){ .type = MSG_ANSWER, .tag = tag, .ok = ok, .text = slice_str(text) });
    world_turn();
}

static void questions_go_to_the_keeper_and_its_answer_back(void **state)
{
    static const struct {
        const char *path;
        enum msg_ask ask;
        bool ok;
        const char *status, *type;
    } table[] = {
        { "/readyz", MSG_ASK_READY, true, "200 OK", "text/plain" },
        { "/readyz", MSG_ASK_READY, false, "503 Service Unavailable", "text/plain" },
        { "/status", MSG_ASK_STATUS, true, "200 OK", "application/json" },
        { "/ca.pem", MSG_ASK_CA, true, "200 OK", "application/x-pem-file" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char request[128];
        snprintf(request, sizeof request, ASK("GET", "%s"), table[i].path);
        say(peer, request);
        assert_true(questions == (int)i + 1 && asked.ask == table[i].ask);
        assert_string_equal(hear(peer, &eof), "");
        answer(asked.tag, table[i].ok, "the answer");
        const char *text = hear(peer, &eof);
        assert_true(has(text, table[i].status) && has(text, table[i].type) && has(text, "\r\n\r\nthe answer") && !eof);
    }
}

/* The keeper brings its gauges up to date, then the supervisor sums up; without a keeper the counters are told all the
 * same. */
static void metrics_are_asked_for_in_two_steps_and_a_silent_keeper_keeps_nobody(void **state)
{
    static const enum { ANSWERS, SILENT, AWAY } keepers[] = { ANSWERS, SILENT, AWAY };
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        questions = 0;
        world.unlinked_ms = keepers[i] == AWAY ? 1 : 0;
        say(peer, "GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text\r\n\r\n");
        assert_true(questions == 1 && asked.ask == (keepers[i] == AWAY ? MSG_ASK_METRICS : MSG_ASK_GAUGES));
        uint64_t first = asked.tag;
        if (keepers[i] == ANSWERS)
            admin_answer(admin, &(struct msg){ .type = MSG_ANSWER, .ask = MSG_ASK_GAUGES, .tag = first, .ok = true });
        else if (keepers[i] == SILENT)
            fake_timer_run(1000);
        assert_true(asked.ask == MSG_ASK_METRICS && asked.ok);
        assert_string_equal(hear(peer, &eof), "");
        answer(asked.tag, true, "x 1");
        const char *text = hear(peer, &eof);
        assert_true(has(text, "200 OK") && has(text, "version=1.0.0") && has(text, "\r\n\r\nx 1") && !eof);
    }
    world.unlinked_ms = 0;
}

/* A probe never waits: it has what the supervisor said after the one before. */
static void livez_says_what_was_found_last_and_asks_again(void **state)
{
    static const struct {
        bool ok;
        const char *text, *status, *body;
    } table[] = {
        { true, "", "200 OK", "\r\n\r\nok\n" },
        { true, "keeper 0 has not answered for 12 s\n", "200 OK", "\r\n\r\nkeeper 0 has not answered for 12 s\n" },
        { false, "worker 1 has not answered for 61 s\n", "503 ", "\r\n\r\nworker 1 has not answered for 61 s\n" },
        { true, "", "200 OK", "\r\n\r\nok\n" }
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        admin_answer(
            admin, &(struct msg){
                       .type = MSG_ANSWER, .ask = MSG_ASK_LIVE, .ok = table[i].ok, .text = slice_str(table[i].text) });
        asked_live = 0;
        say(peer, ASK("GET", "/livez"));
        assert_int_equal(asked_live, 1);
        const char *text = hear(peer, &eof);
        assert_true(has(text, table[i].status) && has(text, table[i].body) && !eof);
    }
}

/* Larger than a packet, and than what a connection takes at once. */
static void an_answer_in_parts_goes_out_whole(void **state)
{
    static char part[50000];
    (void)state;
    memset(part, 'm', sizeof part);
    say(peer, ASK("GET", "/status") ASK("GET", "/livez"));
    uint64_t tag = asked.tag;
    for (uint64_t i = 0; i < 12; i++) {
        assert_string_equal(hear(peer, &eof), "");
        admin_answer(admin, &(struct msg){ .type = MSG_ANSWER,
                                           .tag = tag,
                                           .ok = true,
                                           .text = slice_of(part, sizeof part),
                                           .offset = i * sizeof part,
                                           .more = i < 11 });
    }
    world_turn();
    const char *text = hear(peer, &eof), *body = strstr(text, "\r\n\r\n");
    assert_true(has(text, "200 OK") && has(text, "Content-Length: 600000\r\n") && body && !eof);
    assert_int_equal(strspn(body + 4, "m"), 600000);
    /* the next one came after it */
    assert_true(has(body + 4 + 600000, "HTTP/1.1 200 OK") && has(body + 4 + 600000, "\r\n\r\nok\n"));
}

static void who_does_not_take_its_answer_is_ended_in_time(void **state)
{
    static char part[3000000];
    (void)state;
    say(peer, ASK("GET", "/status"));
    answer(asked.tag, true, memset(part, 'm', sizeof part - 1));
    assert_false(world_closed(peer));
    fake_timer_run(30000);
    world_turn();
    (void)hear(peer, &eof);
    assert_true(eof);
}

static void half_an_answer_is_none(void **state)
{
    (void)state;
    say(peer, ASK("GET", "/status"));
    admin_answer(admin,
                 &(struct msg){ .type = MSG_ANSWER, .tag = asked.tag, .ok = true, .text = SLICE("abc"), .more = true });
    admin_answer(admin,
                 &(struct msg){ .type = MSG_ANSWER, .tag = asked.tag, .ok = true, .text = SLICE("xyz"), .offset = 6 });
    world_turn();
    const char *text = hear(peer, &eof);
    assert_true(has(text, "503 Service Unavailable") && !has(text, "abc") && !has(text, "xyz") && !eof);
    say(peer, ASK("GET", "/status"));
    admin_answer(admin,
                 &(struct msg){ .type = MSG_ANSWER, .tag = asked.tag, .ok = true, .text = SLICE("abc"), .more = true });
    fake_timer_run(2000);
    world_turn();
    text = hear(peer, &eof);
    assert_true(has(text, "503 Service Unavailable") && !has(text, "abc"));
}

static void what_needs_nobody_is_answered_at_once(void **state)
{
    (void)state;
    say(peer, ASK("GET", "/livez") ASK("HEAD", "/livez") ASK("GET", "/nothing") ASK("DELETE", "/livez"));
    const char *text = hear(peer, &eof), *head = strstr(text + 1, "HTTP/1.1 200");
    assert_true(has(text, "\r\n\r\nok\n") && head && has(head, "\r\n\r\nHTTP/1.1 404") && has(text, "HTTP/1.1 405")
                && !eof);
    assert_int_equal(questions, 0);
}

static void who_drains_for_good_is_alive_and_not_ready(void **state)
{
    (void)state;
    world.draining = true;
    say(peer, ASK("GET", "/readyz")); /* another worker takes over: the keeper knows */
    assert_int_equal(questions, 1);
    answer(asked.tag, true, "ready");
    assert_true(has(hear(peer, &eof), "200 OK"));
    world.leaving = true;
    say(peer, ASK("GET", "/readyz?verbose") ASK("GET", "/healthz") ASK("GET", "/livez"));
    const char *text = hear(peer, &eof), *second = strstr(text + 1, "HTTP/1.1 503"),
               *third = strstr(text, "HTTP/1.1 200 OK");
    assert_true(has(text, "HTTP/1.1 503") && has(text, "[-]draining") && second && third > second && !eof);
    assert_int_equal(questions, 1);
}

static int heard_of_ends;

static void on_end(struct context *ctx)
{
    (void)ctx;
    heard_of_ends++;
}

static void who_waits_for_an_answer_keeps_it_busy(void **state)
{
    (void)state;
    void (*before)(struct context *) = world.on_client_end;
    world.on_client_end = on_end;
    heard_of_ends = 0;
    assert_true(admin_busy(admin)); /* somebody has come, and will ask */
    say(peer, ASK("GET", "/status"));
    assert_true(admin_busy(admin) && heard_of_ends == 0);
    answer(asked.tag, true, "fine");
    assert_false(admin_busy(admin));
    assert_true(heard_of_ends > 0);
    heard_of_ends = 0;
    hear(peer, &eof);
    say(peer, ASK("GET", "/status"));
    assert_true(admin_busy(admin));
    shutdown(peer, SHUT_RDWR);
    answer(asked.tag, true, "fine");
    assert_true(!admin_busy(admin) && heard_of_ends > 0);
    world.on_client_end = before;
}

static void pipelined_questions_are_asked_one_after_the_other(void **state)
{
    (void)state;
    say(peer, ASK("GET", "/status") ASK("GET", "/readyz"));
    assert_true(questions == 1 && asked.ask == MSG_ASK_STATUS);
    uint64_t first = asked.tag;
    answer(first, true, "one");
    assert_true(questions == 2 && asked.ask == MSG_ASK_READY);
    answer(first, true, "late"); /* nobody waits for it any more */
    assert_false(has(hear(peer, &eof), "late"));
    answer(asked.tag, true, "two");
    assert_true(has(hear(peer, &eof), "two"));
}

static void a_keeper_that_is_silent_is_told(void **state)
{
    (void)state;
    say(peer, ASK("GET", "/readyz"));
    fake_timer_run(2000);
    world_turn();
    assert_true(has(hear(peer, &eof), "503 Service Unavailable") && !eof);
}

static void who_left_while_its_question_was_out_harms_nobody(void **state)
{
    (void)state;
    say(peer, ASK("GET", "/readyz"));
    uint64_t tag = asked.tag;
    shutdown(peer, SHUT_RDWR);
    world_turn();
    answer(tag, true, "x");
    answer(0, true, "x");
    close(peer);
    peer = connect_admin();
    say(peer, ASK("POST", "/refresh/crm"));
    assert_int_equal(tokens_waiting(world.tokens), 1);
    admin_free(admin);
    admin = admin_new(&world);
    assert_int_equal(tokens_waiting(world.tokens), 0);
}

static void a_refresh_is_forced_and_its_end_told(void **state)
{
    (void)state;
    world_token(4, "token-4", 60000);
    say(peer, ASK("POST", "/refresh/crm"));
    assert_true(world_want_reason == MSG_FORCED && world_want_generation == 4);
    world_token(5, "token-5", 60000);
    const char *text = hear(peer, &eof);
    assert_true(has(text, "200 OK") && has(text, "refreshed") && !has(text, "token-5"));
    say(peer, ASK("POST", "/refresh/crm"));
    world_refuse(MSG_RECENT, 1000, "one ran a moment ago");
    assert_true(has(hear(peer, &eof), "one ran a moment ago"));
    say(peer, ASK("POST", "/refresh/other"));
    assert_true(has(hear(peer, &eof), "404 Not Found"));
    say(peer, ASK("GET", "/refresh/crm"));
    assert_true(has(hear(peer, &eof), "404 Not Found") && !eof);
}

static void a_body_is_not_read_and_ends_the_connection(void **state)
{
    (void)state;
    say(peer, "POST /refresh/crm HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nGET /status HTTP/1.1\r\n");
    world_token(1, "token-1", 60000);
    const char *text = hear(peer, &eof);
    assert_true(has(text, "200 OK") && has(text, "Connection: close") && eof && questions == 0);
}

static void what_is_no_request_is_told_so(void **state)
{
    (void)state;
    say(peer, "nonsense\r\n\r\n");
    const char *text = hear(peer, &eof);
    assert_true(has(text, "HTTP/1.1 ") && has(text, "Connection: close") && eof);
}

static void the_longest_idle_connection_makes_room_and_the_rest_end_in_time(void **state)
{
    enum { MANY = 80, MOST = 64 };
    int more[MANY], open = 0;
    (void)state;
    say(peer, ASK("GET", "/readyz")); /* waits for the keeper: it is not idle */
    for (int i = 0; i < MANY; i++)
        more[i] = connect_admin();
    for (int i = 0; i < MANY; i++) {
        bool closed = world_closed(more[i]);
        assert_int_equal(closed, i < MANY - (MOST - 1));
        open += !closed;
    }
    assert_int_equal(open, MOST - 1);
    say(more[MANY - 1], ASK("GET", "/livez"));
    assert_true(has(hear(more[MANY - 1], &eof), "200 OK"));
    answer(asked.tag, true, "ready");
    assert_true(has(hear(peer, &eof), "200 OK"));
    fake_timer_run(5000); /* the time for a head */
    world_turn();
    for (int i = 0; i < MANY; i++) {
        if (i < MANY - 1)
            assert_true(world_closed(more[i]));
        close(more[i]);
    }
}

static void what_changes_something_is_for_operators_of_this_machine(void **state)
{
#define CHANGE(path, fields) "POST " path " HTTP/1.1\r\n" fields "\r\n"
    static const struct {
        enum admin_way way;
        const char *request;
        bool asked;
    } rows[] = {
        { ADMIN_SOCKET, CHANGE("/reload", "Host: anything\r\nOrigin: http://a\r\n"), true },
        { ADMIN_LOOPBACK, CHANGE("/reload", "Host: 127.0.0.1:9118\r\n"), true },
        { ADMIN_LOOPBACK, CHANGE("/reload", "Host: localhost\r\n"), true },
        { ADMIN_LOOPBACK, CHANGE("/ca/rotate?now", "Host: [::1]:9118\r\n"), true },
        { ADMIN_LOOPBACK, CHANGE("/reload", "Host: evil.test:9118\r\n"), false },
        { ADMIN_LOOPBACK, CHANGE("/reload", "Host: localhost.evil.test\r\n"), false },
        { ADMIN_LOOPBACK, CHANGE("/reload", ""), false },
        { ADMIN_LOOPBACK, CHANGE("/reload", "Host: localhost\r\nHost: localhost\r\n"), false },
        { ADMIN_LOOPBACK, CHANGE("/reload", "Host: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n"), false },
        { ADMIN_LOOPBACK, CHANGE("/reload", "Host: 127.0.0.1\r\nOrigin: null\r\n"), false },
        { ADMIN_LOOPBACK, CHANGE("/reload", "Host: 127.0.0.1\r\nSec-Fetch-Site: none\r\n"), false },
        { ADMIN_LOOPBACK, CHANGE("/refresh/crm", "Host: evil.test\r\n"), false },
        { ADMIN_LOOPBACK, CHANGE("/ca/rotate", "Host: evil.test\r\n"), false },
        { ADMIN_REMOTE, CHANGE("/reload", "Host: 127.0.0.1\r\n"), false },
        { ADMIN_REMOTE, CHANGE("/refresh/crm", "Host: 127.0.0.1\r\n"), false },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int fd = connect_by(rows[i].way), before = questions;
        say(fd, rows[i].request);
        bool refused = has(hear(fd, &eof), "HTTP/1.1 403 ");
        if ((questions == before + 1) != rows[i].asked || refused == rows[i].asked)
            fail_msg("row %zu: %d asked, refused %d", i, questions - before, refused);
        close(fd);
        world_turn();
    }
    int fd = connect_by(ADMIN_REMOTE); /* who only looks is not asked for anything */
    say(fd, "GET /livez HTTP/1.1\r\nHost: evil.test\r\nOrigin: x\r\n\r\n");
    assert_true(has(hear(fd, &eof), "200 OK"));
    close(fd);
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(questions_go_to_the_keeper_and_its_answer_back),
        T(metrics_are_asked_for_in_two_steps_and_a_silent_keeper_keeps_nobody),
        T(livez_says_what_was_found_last_and_asks_again),
        T(an_answer_in_parts_goes_out_whole),
        T(who_does_not_take_its_answer_is_ended_in_time),
        T(half_an_answer_is_none),
        T(what_needs_nobody_is_answered_at_once),
        T(who_waits_for_an_answer_keeps_it_busy),
        T(who_drains_for_good_is_alive_and_not_ready),
        T(pipelined_questions_are_asked_one_after_the_other),
        T(a_keeper_that_is_silent_is_told),
        T(who_left_while_its_question_was_out_harms_nobody),
        T(a_refresh_is_forced_and_its_end_told),
        T(a_body_is_not_read_and_ends_the_connection),
        T(what_is_no_request_is_told_so),
        T(the_longest_idle_connection_makes_room_and_the_rest_end_in_time),
        T(what_changes_something_is_for_operators_of_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
