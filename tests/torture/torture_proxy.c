/* links: tests/fakes/proxy_world.c tests/fakes/fake_timer.c tests/fakes/fake_dial.c tests/fakes/fake_clock.c */
/* A worker's inside: a request through client, rule, token, pool and exchange; the token table; the admin listener.
 * Whatever fails, no token goes astray, nobody waits for ever, and with memory back everything works again. */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/admin.h"
#include "tests/fakes/proxy_world.h"
#include "tests/torture/torture.h"

#define POST                                                                                                           \
    "POST http://127.0.0.1/p HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer placeholder\r\nContent-Length: "     \
    "5\r\n\r\nhello"
#define GET "GET http://127.0.0.1/p HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define UNAUTHORIZED "HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nnope"

static void up(void)
{
    torture_pause();
    CHECK(world_up(NULL) == 0);
    torture_go_on();
}

static void down(void)
{
    torture_pause();
    CHECK(world_down(NULL) == 0); /* no timer, no wait, no client is left, and the log holds no token */
    world_turn();                 /* the peers have hung up: what lingered goes */
    torture_go_on();
}

/* A request that is sent while there is memory. */
static void a_request_works(void)
{
    torture_pause();
    fake_timer_run(700000); /* whatever is still open from before ends */
    world_turn();
    int c = world_client();
    world_token(9, "token-9", 60000);
    say(c, GET);
    int upstream = world_upstream();
    CHECK(has(hear(upstream, NULL), "Bearer token-9\r\n"));
    say(upstream, OK);
    CHECK(has(hear(c, NULL), "\r\n\r\nhi"));
    torture_go_on();
}

/* What the client sees: an answer from the upstream, one of ours, or the end of its connection. */
static void is_answered(int c, const char *expected)
{
    bool eof = false;
    const char *text = hear(c, &eof);
    bool good = has(text, expected), ours = has(text, "Proxy-Status: sidekey");
    CHECK(good || (torture_struck() && (ours || eof)));
}

static void send_request(int c, const char *request)
{
    CHECK(send(c, request, strlen(request), MSG_NOSIGNAL) > 0 || torture_struck());
    world_turn();
}

static void a_request_is_answered_or_ended(void)
{
    up();
    int c = world_client();
    world_token(1, "token-1", 60000);
    send_request(c, POST);
    if (fake_dial_pending()) {
        int upstream = world_upstream();
        const char *seen = hear(upstream, NULL);
        CHECK(!has(seen, "placeholder") && (!*seen || has(seen, "Bearer token-") || torture_struck()));
        send_request(upstream, OK);
    } else
        world_token(2, "token-2", 60000); /* it may wait for one that there was no memory to take */
    while (fake_dial_pending())
        send_request(world_upstream(), OK);
    fake_timer_run(20000);
    world_turn();
    is_answered(c, "\r\n\r\nhi");
    a_request_works();
    down();
}

static void a_refused_token_is_replaced_or_the_refusal_passed_on(void)
{
    up();
    int c = world_client();
    world_token(1, "token-1", 60000);
    send_request(c, POST);
    int upstream = fake_dial_pending() ? world_upstream() : -1;
    if (upstream >= 0 && *hear(upstream, NULL))
        send_request(upstream, UNAUTHORIZED);
    world_token(2, "token-2", 60000);
    if (upstream >= 0 && has(hear(upstream, NULL), "Bearer token-2"))
        send_request(upstream, OK);
    while (fake_dial_pending())
        send_request(world_upstream(), OK);
    fake_timer_run(20000);
    world_turn();
    bool eof = false;
    const char *text = hear(c, &eof);
    CHECK(has(text, "hi") || has(text, "401 Unauthorized")
          || (torture_struck() && (eof || has(text, "Proxy-Status: sidekey"))));
    a_request_works();
    down();
}

static void who_waits_for_a_token_gets_it_or_is_refused(void)
{
    up();
    int c = world_client();
    send_request(c, GET);
    world_refuse(MSG_TRANSIENT, 2000, "later");
    fake_timer_run(2100);
    world_token(3, "token-3", 60000);
    while (fake_dial_pending())
        send_request(world_upstream(), OK);
    fake_timer_run(20000);
    world_turn();
    is_answered(c, "\r\n\r\nhi");
    a_request_works();
    down();
}

static void a_tunnel_carries_bytes_or_is_refused(void)
{
    up();
    int c = world_client();
    send_request(c, "CONNECT open.test:443 HTTP/1.1\r\nHost: open.test:443\r\n\r\n");
    if (fake_dial_pending()) {
        int upstream = world_upstream();
        bool eof = false;
        if (has(hear(c, &eof), "200 ")) {
            send_request(c, "ping");
            const char *seen = hear(upstream, NULL);
            CHECK(strcmp(seen, "ping") == 0 || torture_struck());
        }
    }
    fake_timer_run(20000);
    world_turn();
    a_request_works();
    down();
}

/* ---- admin ---- */

static struct msg asked;

static void on_ask(struct context *ctx, const struct msg *question)
{
    (void)ctx;
    asked = *question;
}

static void a_question_is_answered_or_ended(void)
{
    static char part[60000];
    int pair[2];
    up();
    world.ask = on_ask;
    memset(&asked, 0, sizeof asked);
    memset(part, 'm', sizeof part);
    struct admin *admin = admin_new(&world);
    CHECK((admin || torture_struck()) && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    if (admin) {
        admin_accept(admin, pair[0], ADMIN_SOCKET);
        send_request(pair[1], "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        for (uint64_t i = 0; i < 3; i++)
            admin_answer(admin, &(struct msg){ .type = MSG_ANSWER,
                                               .tag = asked.tag,
                                               .ok = true,
                                               .text = slice_of(part, sizeof part),
                                               .offset = i * sizeof part,
                                               .more = i < 2 });
        world_turn();
        fake_timer_run(20000);
        bool eof = false;
        const char *text = hear(pair[1], &eof), *body = strstr(text, "\r\n\r\nm");
        CHECK(body ? strspn(body + 4, "m") == 3 * sizeof part || torture_struck()
                   : torture_struck() && (eof || has(text, "503 ")));
    } else
        close(pair[0]);
    admin_free(admin);
    world_turn();
    close(pair[1]);
    down();
}

int main(int argc, char **argv)
{
    static const struct torture list[] = {
        { "a_request_is_answered_or_ended", a_request_is_answered_or_ended },
        { "a_refused_token_is_replaced_or_the_refusal_passed_on",
          a_refused_token_is_replaced_or_the_refusal_passed_on },
        { "who_waits_for_a_token_gets_it_or_is_refused", who_waits_for_a_token_gets_it_or_is_refused },
        { "a_tunnel_carries_bytes_or_is_refused", a_tunnel_carries_bytes_or_is_refused },
        { "a_question_is_answered_or_ended", a_question_is_answered_or_ended },
    };
    return torture_main(argc, argv, list, sizeof list / sizeof *list);
}
