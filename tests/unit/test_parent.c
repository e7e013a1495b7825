/* Unit tests of net/parent and net/parent_talk, and of net/dial by way of a parent: the parent is the other end of a
 * socket pair, or a listener here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/dial/dial.h"
#include "net/dial/parent_talk.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define LOGIN "\5\2\0\2"
#define NO_LOGIN "\5\1\0"

/* --- who is the parent, and for whom --- */

static struct authority target(const char *text)
{
    struct authority a;
    if (authority_parse(slice_str(text), SCHEME_HTTPS, 443, &a) != 0)
        fail_msg("%s is no authority", text);
    return a;
}

static void a_url_names_kind_and_place(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        enum parent_kind kind;
        const char *key;
    } rows[] = {
        { "http://p.test:3128", PARENT_CONNECT, "p.test:3128" },
        { "HTTP://P.test:80/", PARENT_CONNECT, "p.test:80" },
        { "socks5h://[::1]:1080", PARENT_SOCKS5, "[::1]:1080" },
        { "socks5h://10.0.0.1:9", PARENT_SOCKS5, "10.0.0.1:9" },
        { "http://p.test", PARENT_NONE, "" },
        { "p.test:3128", PARENT_NONE, "" },
        { "http://u@p.test:1", PARENT_NONE, "" },
        { "socks5://p.test:1", PARENT_NONE, "" },
        { "https://p.test:1", PARENT_NONE, "" },
        { "http://:1", PARENT_NONE, "" },
        { "", PARENT_NONE, "" },
        { "http://p.test:1//", PARENT_NONE, "" },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        enum parent_kind kind = PARENT_NONE;
        struct authority at;
        char key[AUTHORITY_TEXT_MAX] = "";
        const char *wrong = parent_parse(slice_str(rows[i].url), &kind, &at);
        if (!wrong)
            authority_key(&at, key);
        if (!wrong != (rows[i].kind != PARENT_NONE) || kind != rows[i].kind || strcmp(key, rows[i].key) != 0)
            fail_msg("%s: %s (%s)", rows[i].url, wrong ? wrong : "taken", key);
    }
}

static void no_proxy_names_hosts_suffixes_and_networks(void **state)
{
    (void)state;
    static const struct {
        const char *entry, *to;
        bool serves;
    } rows[] = {
        { "a.test", "a.test", false },
        { "a.test", "b.a.test", true },
        { ".a.test", "b.a.test", false },
        { ".a.test", "c.b.a.test", false },
        { ".a.test", "a.test", true },
        { ".a.test", "ba.test", true },
        { "*", "a.test", false },
        { "*", "8.8.8.8", false },
        { "10.0.0.0/8", "10.1.2.3", false },
        { "10.0.0.0/8", "11.1.2.3", true },
        { "10.0.0.0/8", "a.test", true },
        { "8.8.8.8", "8.8.8.8", false },
        { "fd00::/8", "[fd01::1]", false },
        { "fd00::/8", "[fe01::1]", true },
        { "::/0", "8.8.8.8", true },
        { "2001:db8::1", "[2001:db8::1]", false },
        { "a.test", "localhost", false },
        { "a.test", "x.localhost", false },
        { "a.test", "127.8.8.8", false },
        { "a.test", "[::1]", false },
        { "a.test", "[::ffff:127.0.0.1]", false },
        { "a.test", "notlocalhost", true },
        { "a.test", "10.1.2.3", true },
    };
    char url[] = "http://p.test:1";
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *entry = strdup(rows[i].entry), *list[] = { entry, NULL };
        struct parent_options o = { .url = url, .no_proxy = list }, none = { .no_proxy = list };
        struct authority to = target(rows[i].to);
        if (parent_check_bypass(&list[0]))
            fail_msg("%s is no entry", rows[i].entry);
        if (parent_serves(&o, &to) != rows[i].serves)
            fail_msg("no_proxy %s and %s", rows[i].entry, rows[i].to);
        assert_false(parent_serves(&none, &to) || parent_serves(NULL, &to));
        free(list[0]);
    }
}

static void a_password_that_cannot_be_had_is_an_error(void **state)
{
    (void)state;
    char url[] = "socks5h://p.test:1", user[] = "u", variable[] = "TEST_PARENT_PASSWORD", text[300];
    struct parent_options o = { .url = url, .username = user, .password = { SECRET_REF_ENV, variable, NULL } };
    struct parent p;
    struct err e;
    unsetenv(variable);
    assert_int_equal(parent_init(&p, &o, &e), -1);
    assert_non_null(strstr(e.text, "network.parent_proxy: "));
    assert_int_equal(p.kind, PARENT_NONE);
    memset(text, 'x', 256);
    text[256] = '\0';
    setenv(variable, text, 1);
    assert_int_equal(parent_init(&p, &o, &e), -1);
    assert_null(strstr(e.text, "xxx"));
    setenv(variable, text + 1, 1);
    assert_int_equal(parent_init(&p, &o, &e), 0);
    assert_string_equal(p.name, "socks5h://p.test:1");
    parent_done(&p);
    assert_int_equal(parent_init(&p, NULL, &e), 0);
    assert_int_equal(p.kind, PARENT_NONE);
}

/* --- the talk --- */

struct told {
    int calls, error;
    char text[512];
};

static void on_talk(void *arg, int error, const char *text)
{
    struct told *t = arg;
    t->calls++;
    t->error = error;
    snprintf(t->text, sizeof t->text, "%s", text);
}

static struct parent parent_of(const char *url, bool login)
{
    static char text[2][64], user[] = "me", password[] = "pa:ss";
    static struct parent_options options[2];
    bool socks = url[0] == 's';
    struct parent p;
    struct err e;
    snprintf(text[socks], sizeof text[socks], "%s", url);
    options[socks] =
        (struct parent_options){ .url = text[socks],
                                 .username = login ? user : NULL,
                                 .password = { login ? SECRET_REF_INLINE : SECRET_REF_NONE, password, NULL } };
    if (parent_init(&p, &options[socks], &e) != 0)
        fail_msg("%s", e.text);
    return p;
}

static void turns(int n)
{
    while (n--)
        ev_run(loop_get(), EVRUN_NOWAIT);
}

/* What it says, in turn, each piece after what it must hear first. */
struct line {
    struct slice hears, says;
};

static void hear(int fd, struct slice wanted)
{
    char got[1024];
    ssize_t n = recv(fd, got, sizeof got, MSG_DONTWAIT);
    if (n < 0)
        n = 0;
    if (!slice_eq(slice_of(got, (size_t)n), wanted))
        fail_msg("%zu bytes were sent, wanted %zu: \"%.*s\"", (size_t)n, wanted.len, (int)n, got);
}

static void say(int fd, struct slice bytes, bool one_by_one)
{
    for (size_t done = 0; done < bytes.len;) {
        size_t n = one_by_one ? 1 : bytes.len;
        assert_int_equal(send(fd, bytes.ptr + done, n, MSG_NOSIGNAL), n);
        done += n;
        turns(2);
    }
}

/* One talk from its first byte to its end; then fds[0] is ours, for what is left in it. */
static struct told talk(const struct parent *p, const char *to, const struct line *lines, bool one_by_one,
                        int ret_fds[2])
{
    struct told t = { 0 };
    struct authority a = target(to);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ret_fds), 0);
    assert_non_null(parent_talk_start(p, ret_fds[0], &a, on_talk, &t));
    assert_int_equal(t.calls, 0);
    turns(2);
    for (; lines->hears.len; lines++) {
        hear(ret_fds[1], lines->hears);
        say(ret_fds[1], lines->says, one_by_one);
    }
    if (t.calls == 0) {
        shutdown(ret_fds[1], SHUT_WR);
        turns(2);
    }
    assert_int_equal(t.calls, 1);
    return t;
}

static void hang_up(int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

#define ASKS "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n"

static void connect_is_asked_with_the_login_and_for_addresses_in_brackets(void **state)
{
    (void)state;
    static const struct {
        const char *to, *asks;
        bool login;
    } rows[] = {
        { "a.test", ASKS "\r\n", false },
        { "a.test", ASKS "Proxy-Authorization: Basic bWU6cGE6c3M=\r\n\r\n", true },
        { "[2001:db8::1]:8443", "CONNECT [2001:db8::1]:8443 HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\n\r\n", false },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct parent p = parent_of("http://p.test:3128", rows[i].login);
        struct line lines[] = { { slice_str(rows[i].asks), SLICE("HTTP/1.1 200 OK\r\n\r\n") },
                                { { NULL, 0 }, { NULL, 0 } } };
        int fds[2];
        assert_int_equal(talk(&p, rows[i].to, lines, false, fds).error, 0);
        hang_up(fds);
        parent_done(&p);
    }
}

static void answers_to_connect_are_judged(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        int error;
        const char *text, *left; /* what is still in the socket */
    } rows[] = {
        { "HTTP/1.1 200 Connection established\r\n\r\n", 0, "", "" },
        { "HTTP/1.0 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\nafter", 0, "", "after" },
        { "HTTP/1.1 299\n\n\r\n\r\n", 0, "", "\r\n\r\n" },
        { "HTTP/1.1 200 OK\nVia: x\n\nrest", 0, "", "rest" },
        { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx", 0, "", "x" },
        { "HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", -ECONNREFUSED,
          "it requires a login (407)", NULL },
        { "HTTP/1.1 403 No\r\n\r\nbecause", -ECONNREFUSED, "it answered CONNECT with status 403", NULL },
        { "HTTP/1.1 502 Bad\r\n\r\n", -ECONNREFUSED, "status 502", NULL },
        { "HTTP/1.1 504 Late\r\n\r\n", -ETIMEDOUT, "status 504", NULL },
        { "HTTP/1.1 302 There\r\nLocation: x\r\n\r\n", -ECONNREFUSED, "status 302", NULL },
        { "HTTP/1.1 101 Switch\r\n\r\n", -ECONNREFUSED, "status 101", NULL },
        { "HTTP/2 200\r\n\r\n", -EPROTO, "is not HTTP", NULL },
        { "HTTP/1.1 2000 OK\r\n\r\n", -EPROTO, "is not HTTP", NULL },
        { "SSH-2.0-x\r\n\r\n", -EPROTO, "is not HTTP", NULL },
        { "\n\n", -EPROTO, "is not HTTP", NULL },
        { "HTTP/1.1 200 OK\r\nVia", -EPROTO, "it closed the connection", NULL },
        { "", -EPROTO, "it closed the connection", NULL },
    };
    struct parent p = parent_of("http://p.test:3128", false);
    for (size_t i = 0; i < 2 * COUNT(rows); i++) {
        struct line lines[] = { { SLICE(ASKS "\r\n"), slice_str(rows[i / 2].answer) }, { { NULL, 0 }, { NULL, 0 } } };
        char left[64] = "";
        int fds[2];
        struct told t = talk(&p, "a.test", lines, i % 2, fds);
        if (t.error != rows[i / 2].error || !strstr(t.text, rows[i / 2].text))
            fail_msg("\"%s\": %d \"%s\"", rows[i / 2].answer, t.error, t.text);
        (void)!recv(fds[0], left, sizeof left - 1, 0);
        if (rows[i / 2].left && strcmp(left, rows[i / 2].left) != 0)
            fail_msg("\"%s\" left \"%s\"", rows[i / 2].answer, left);
        hang_up(fds);
    }
    parent_done(&p);
}

static void a_refused_login_is_told_from_a_missing_one(void **state)
{
    (void)state;
    struct parent p = parent_of("http://p.test:3128", true);
    struct line lines[] = { { SLICE(ASKS "Proxy-Authorization: Basic bWU6cGE6c3M=\r\n\r\n"),
                              SLICE("HTTP/1.1 407 No\r\n\r\n") },
                            { { NULL, 0 }, { NULL, 0 } } };
    int fds[2];
    struct told t = talk(&p, "a.test", lines, false, fds);
    assert_int_equal(t.error, -ECONNREFUSED);
    assert_non_null(strstr(t.text, "it refused the login (407)"));
    hang_up(fds);
    parent_done(&p);
}

static void a_head_without_end_and_answers_without_end_are_cut(void **state)
{
    (void)state;
    static const char interim[] = "HTTP/1.1 103 Hints\r\n\r\n";
    static char endless[PARENT_HEAD_MAX + 4096], many[16 * sizeof interim];
    struct parent p = parent_of("http://p.test:3128", false);
    int fds[2];
    memset(endless, 'x', sizeof endless);
    for (size_t i = 0; i < 16; i++)
        strcat(many, interim);
    struct line lines[] = { { SLICE(ASKS "\r\n"), slice_of(endless, sizeof endless) }, { { NULL, 0 }, { NULL, 0 } } };
    struct told t = talk(&p, "a.test", lines, false, fds);
    assert_int_equal(t.error, -EPROTO);
    assert_non_null(strstr(t.text, "longer than 16 KiB"));
    hang_up(fds);
    lines[0].says = slice_str(many);
    t = talk(&p, "a.test", lines, false, fds);
    assert_int_equal(t.error, -ECONNREFUSED);
    hang_up(fds);
    parent_done(&p);
}

#define NAME "\5\1\0\3\6a.test\1\273"
#define OPEN "\5\0\0\1\1\2\3\4\0\120"

static void socks5_is_spoken_to_the_byte(void **state)
{
    (void)state;
    const struct {
        bool login;
        const char *to;
        struct line lines[4];
        int error;
        const char *text, *left;
    } rows[] = {
        { false,
          "a.test",
          { { SLICE(NO_LOGIN), SLICE("\5\0") }, { SLICE(NAME), SLICE(OPEN "after") } },
          0,
          "",
          "after" },
        { false,
          "1.2.3.4:80",
          { { SLICE(NO_LOGIN), SLICE("\5\0") }, { SLICE("\5\1\0\1\1\2\3\4\0\120"), SLICE("\5\0\0\3\2ab\0\0x") } },
          0,
          "",
          "x" },
        { false,
          "[::2]:80",
          { { SLICE(NO_LOGIN), SLICE("\5\0") },
            { SLICE("\5\1\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2\0\120"), SLICE("\5\0\0\4"
                                                                             "0123456789abcdef"
                                                                             "\0\0") } },
          0,
          "",
          "" },
        { true,
          "a.test",
          { { SLICE(LOGIN), SLICE("\5\2") }, { SLICE("\1\2me\5pa:ss"), SLICE("\1\0") }, { SLICE(NAME), SLICE(OPEN) } },
          0,
          "",
          "" },
        { true, "a.test", { { SLICE(LOGIN), SLICE("\5\0") }, { SLICE(NAME), SLICE(OPEN) } }, 0, "", "" },
        { true,
          "a.test",
          { { SLICE(LOGIN), SLICE("\5\2") }, { SLICE("\1\2me\5pa:ss"), SLICE("\1\1") } },
          -ECONNREFUSED,
          "it refused the login",
          NULL },
        { true, "a.test", { { SLICE(LOGIN), SLICE("\5\377") } }, -ECONNREFUSED, "does not accept a user name", NULL },
        { false, "a.test", { { SLICE(NO_LOGIN), SLICE("\5\377") } }, -ECONNREFUSED, "requires a login", NULL },
        { false, "a.test", { { SLICE(NO_LOGIN), SLICE("\5\2") } }, -ECONNREFUSED, "requires a login", NULL },
        { false, "a.test", { { SLICE(NO_LOGIN), SLICE("HT") } }, -EPROTO, "is not SOCKS5", NULL },
        { false,
          "a.test",
          { { SLICE(NO_LOGIN), SLICE("\5\0") }, { SLICE(NAME), SLICE("\5\2\0\1\0\0\0\0\0\0") } },
          -ECONNREFUSED,
          "rules",
          NULL },
        { false,
          "a.test",
          { { SLICE(NO_LOGIN), SLICE("\5\0") }, { SLICE(NAME), SLICE("\5\4\0\1\0\0\0\0\0\0") } },
          -EHOSTUNREACH,
          "cannot reach the target",
          NULL },
        { false,
          "a.test",
          { { SLICE(NO_LOGIN), SLICE("\5\0") }, { SLICE(NAME), SLICE("\5\5\0\1\0\0\0\0\0\0") } },
          -ECONNREFUSED,
          "target refused",
          NULL },
        { false,
          "a.test",
          { { SLICE(NO_LOGIN), SLICE("\5\0") }, { SLICE(NAME), SLICE("\5\6\0\1\0\0\0\0\0\0") } },
          -ETIMEDOUT,
          "did not answer",
          NULL },
        { false,
          "a.test",
          { { SLICE(NO_LOGIN), SLICE("\5\0") }, { SLICE(NAME), SLICE("\5\77\0\1\0\0\0\0\0\0") } },
          -ECONNREFUSED,
          "does not define",
          NULL },
        { false,
          "a.test",
          { { SLICE(NO_LOGIN), SLICE("\5\0") }, { SLICE(NAME), SLICE("\5\0\0\2\0") } },
          -EPROTO,
          "is not SOCKS5",
          NULL },
        { false,
          "a.test",
          { { SLICE(NO_LOGIN), SLICE("\5\0") }, { SLICE(NAME), SLICE("\4\0\0\1\0") } },
          -EPROTO,
          "is not SOCKS5",
          NULL },
        { false,
          "a.test",
          { { SLICE(NO_LOGIN), SLICE("\5\0") }, { SLICE(NAME), SLICE("\5\0\0\1\1\2") } },
          -EPROTO,
          "closed the connection",
          NULL },
    };
    for (size_t i = 0; i < 2 * COUNT(rows); i++) {
        struct parent p = parent_of("socks5h://p.test:1080", rows[i / 2].login);
        char left[64] = "";
        int fds[2];
        struct told t = talk(&p, rows[i / 2].to, rows[i / 2].lines, i % 2, fds);
        if (t.error != rows[i / 2].error || !strstr(t.text, rows[i / 2].text))
            fail_msg("row %zu: %d \"%s\"", i / 2, t.error, t.text);
        (void)!recv(fds[0], left, sizeof left - 1, 0);
        if (rows[i / 2].left && strcmp(left, rows[i / 2].left) != 0)
            fail_msg("row %zu left \"%s\"", i / 2, left);
        hang_up(fds);
        parent_done(&p);
    }
}

static void a_cancelled_talk_says_nothing(void **state)
{
    (void)state;
    struct parent p = parent_of("http://p.test:3128", true);
    struct told t = { 0 };
    struct authority a = target("a.test");
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    struct parent_talk *talking = parent_talk_start(&p, fds[0], &a, on_talk, &t);
    turns(2);
    parent_talk_cancel(talking);
    say(fds[1], SLICE("HTTP/1.1 200 OK\r\n\r\n"), false);
    assert_int_equal(t.calls, 0);
    parent_talk_cancel(NULL);
    hang_up(fds);
    parent_done(&p);
}

/* --- by way of net/dial --- */

struct world {
    struct dial_override overrides[2];
    struct parent_options parent;
    struct dialer *dialer;
    int listener;
    char url[64], text[512];
    int calls, fd;
    enum dial_error error;
};

static int listening(uint16_t *ret_port)
{
    struct address a;
    socklen_t len = sizeof a.sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(address_parse(SLICE("127.0.0.1"), 0, &a), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a.sa, a.len), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a.sa, &len), 0);
    *ret_port = ntohs(((struct sockaddr_in *)(void *)&a.sa)->sin_port);
    return fd;
}

/* Nothing private is allowed; the parent listens on loopback all the same. */
static void open_world(struct world *w, const char *host, int64_t timeout_ms)
{
    static char parent[] = "parent.test", direct[] = "direct.test";
    struct err e = { "" };
    uint16_t port;
    *w = (struct world){ .listener = listening(&port), .fd = -1 };
    snprintf(w->url, sizeof w->url, "http://%s:%u", host, port);
    w->parent.url = w->url;
    w->overrides[0] = (struct dial_override){ parent, 0, { .len = 0 } };
    w->overrides[1] = (struct dial_override){ direct, 0, { .len = 0 } };
    assert_int_equal(address_parse(SLICE("127.0.0.1"), 0, &w->overrides[0].to), 0);
    assert_int_equal(address_parse(SLICE("127.0.0.1"), port, &w->overrides[1].to), 0);
    struct dial_options o = {
        .overrides = w->overrides, .override_count = 2, .parent = &w->parent, .timeout_ms = timeout_ms
    };
    if (!(w->dialer = dialer_new(&o, &e)))
        fail_msg("%s", e.text);
}

static void close_world(struct world *w)
{
    close(w->listener);
    if (w->fd >= 0)
        close(w->fd);
    dialer_free(w->dialer);
}

static void on_dial(void *arg, int fd, enum dial_error error, const char *text)
{
    struct world *w = arg;
    w->calls++;
    w->fd = fd;
    w->error = error;
    snprintf(w->text, sizeof w->text, "%s", text);
}

static void on_too_late(struct ev_loop *loop, ev_timer *timer, int revents)
{
    (void)loop, (void)timer, (void)revents;
    fail_msg("no end within 60 s");
}

static struct dial *begin(struct world *w, const char *to)
{
    struct authority a = target(to);
    struct dial *d = dial_start(w->dialer, &a, on_dial, w);
    assert_non_null(d);
    assert_int_equal(w->calls, 0);
    return d;
}

static void wait_for(const struct world *w)
{
    ev_timer guard;
    ev_now_update(loop_get());
    ev_timer_init(&guard, on_too_late, 60., 0.);
    ev_timer_start(loop_get(), &guard);
    for (ev_run(loop_get(), EVRUN_NOWAIT); w->calls == 0;)
        ev_run(loop_get(), EVRUN_ONCE);
    ev_timer_stop(loop_get(), &guard);
}

/* Hears the request for a.test and says this. */
static void answer(struct world *w, const char *text, int *ret_fd)
{
    char request[512];
    int fd = -1;
    assert_int_equal(fcntl(w->listener, F_SETFL, O_NONBLOCK), 0);
    for (int i = 0; i < 2000 && fd < 0; i++) {
        ev_run(loop_get(), EVRUN_NOWAIT);
        fd = accept(w->listener, NULL, NULL);
    }
    assert_true(fd >= 0);
    turns(3);
    ssize_t n = recv(fd, request, sizeof request, 0);
    if (!slice_eq(slice_of(request, n > 0 ? (size_t)n : 0), SLICE(ASKS "\r\n")))
        fail_msg("\"%.*s\"", (int)n, request);
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    *ret_fd = fd;
}

static void a_name_is_dialled_by_the_parent_and_its_bytes_begin_after_the_head(void **state)
{
    (void)state;
    static const char *const hosts[] = { "parent.test", "127.0.0.1" }; /* by network.resolve, and as it is */
    for (size_t i = 0; i < COUNT(hosts); i++) {
        struct world w;
        char bytes[16] = "";
        int peer;
        open_world(&w, hosts[i], 0);
        (void)begin(&w, "a.test");
        answer(&w, "HTTP/1.1 200 OK\r\n\r\nfirst", &peer);
        wait_for(&w);
        assert_int_equal(w.error, DIAL_OK);
        assert_int_equal(recv(w.fd, bytes, sizeof bytes, 0), 5);
        assert_string_equal(bytes, "first");
        close(peer);
        close_world(&w);
    }
}

static void a_refusal_names_the_parent(void **state)
{
    (void)state;
    struct world w;
    char wanted[256];
    int peer;
    open_world(&w, "parent.test", 0);
    (void)begin(&w, "a.test");
    answer(&w, "HTTP/1.1 407 No\r\n\r\n", &peer);
    wait_for(&w);
    snprintf(wanted, sizeof wanted,
             "a.test:443: parent proxy %s: it requires a login (407): set network.parent_proxy.username and password",
             w.url);
    assert_int_equal(w.error, DIAL_REFUSED);
    assert_string_equal(w.text, wanted);
    assert_int_equal(w.fd, -1);
    assert_int_equal(recv(peer, wanted, sizeof wanted, 0), 0); /* closed */
    close(peer);
    close_world(&w);
}

static void a_parent_that_is_down_or_silent_is_named(void **state)
{
    (void)state;
    struct world w;
    char wanted[256];
    open_world(&w, "127.0.0.1", 60);
    (void)begin(&w, "a.test"); /* connected by the kernel, never answered */
    wait_for(&w);
    snprintf(wanted, sizeof wanted, "a.test:443: parent proxy %s: no response to our request within 0.06 s", w.url);
    assert_int_equal(w.error, DIAL_TIMEOUT);
    assert_string_equal(w.text, wanted);
    w.calls = 0;
    close(w.listener);
    w.listener = -1;
    (void)begin(&w, "a.test");
    wait_for(&w);
    snprintf(wanted, sizeof wanted, "a.test:443: parent proxy %s: connection refused (%s)", w.url,
             strstr(w.url, "127"));
    assert_int_equal(w.error, DIAL_REFUSED);
    assert_string_equal(w.text, wanted);
    close_world(&w);
}

static void what_the_operator_resolves_and_what_no_proxy_names_goes_directly(void **state)
{
    (void)state;
    struct world w;
    char bypass[] = "*", *list[] = { bypass, NULL }, byte;
    open_world(&w, "parent.test", 0);
    (void)begin(&w, "direct.test");
    wait_for(&w);
    assert_int_equal(w.error, DIAL_OK);
    int peer = accept(w.listener, NULL, NULL);
    assert_int_equal(recv(peer, &byte, 1, MSG_DONTWAIT), -1);
    close(peer);
    close(w.fd);
    w.calls = 0;
    w.parent.no_proxy = list;
    (void)begin(&w, "10.0.0.1");
    wait_for(&w);
    assert_int_equal(w.error, DIAL_FORBIDDEN);
    assert_null(strstr(w.text, "parent"));
    close_world(&w);
}

static void addresses_are_judged_although_the_parent_would_dial_them(void **state)
{
    (void)state;
    static const char *const rows[] = { "10.0.0.1",  "169.254.169.254", "[::ffff:169.254.169.254]",
                                        "127.0.0.1", "[fd00::1]",       "0.0.0.0",
                                        "localhost" };
    struct world w;
    open_world(&w, "127.0.0.1", 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        w.calls = 0;
        (void)begin(&w, rows[i]);
        wait_for(&w);
        if (w.error != DIAL_FORBIDDEN || strstr(w.text, "parent"))
            fail_msg("%s: %s", rows[i], w.text);
    }
    assert_int_equal(fcntl(w.listener, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(accept(w.listener, NULL, NULL), -1);
    close_world(&w);
}

static void a_dial_is_cancelled_while_the_parent_thinks(void **state)
{
    (void)state;
    struct world w;
    char text[512];
    open_world(&w, "127.0.0.1", 0);
    struct dial *d = begin(&w, "a.test");
    turns(4);
    int peer = accept(w.listener, NULL, NULL);
    turns(4);
    dial_cancel(d);
    assert_true(recv(peer, text, sizeof text, 0) > 0);
    assert_int_equal(recv(peer, text, sizeof text, 0), 0);
    assert_int_equal(w.calls, 0);
    close(peer);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_url_names_kind_and_place),
        cmocka_unit_test(no_proxy_names_hosts_suffixes_and_networks),
        cmocka_unit_test(a_password_that_cannot_be_had_is_an_error),
        cmocka_unit_test(connect_is_asked_with_the_login_and_for_addresses_in_brackets),
        cmocka_unit_test(answers_to_connect_are_judged),
        cmocka_unit_test(a_refused_login_is_told_from_a_missing_one),
        cmocka_unit_test(a_head_without_end_and_answers_without_end_are_cut),
        cmocka_unit_test(socks5_is_spoken_to_the_byte),
        cmocka_unit_test(a_cancelled_talk_says_nothing),
        cmocka_unit_test(a_name_is_dialled_by_the_parent_and_its_bytes_begin_after_the_head),
        cmocka_unit_test(a_refusal_names_the_parent),
        cmocka_unit_test(a_parent_that_is_down_or_silent_is_named),
        cmocka_unit_test(what_the_operator_resolves_and_what_no_proxy_names_goes_directly),
        cmocka_unit_test(addresses_are_judged_although_the_parent_would_dial_them),
        cmocka_unit_test(a_dial_is_cancelled_while_the_parent_thinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
