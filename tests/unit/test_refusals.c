/* links: tests/fakes/proxy_world.c tests/fakes/fake_timer.c tests/fakes/fake_dial.c tests/fakes/fake_clock.c */
#include "tests/fakes/proxy_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

/* Every way in which a request is refused (docs/http.md) moves sidekey_refused_total once, under a label that
 * docs/metrics.md names. */

#define HOST "Host: 127.0.0.1\r\n"
#define HEAD(method, fields) method " http://127.0.0.1/ HTTP/1.1\r\n" HOST fields "\r\n"
#define GET(fields) HEAD("GET", fields)
#define CONNECT(target) "CONNECT " target " HTTP/1.1\r\nHost: " target "\r\n\r\n"
#define INSIDE CONNECT("127.0.0.1:80")
#define CHUNKED(body) HEAD("POST", "Transfer-Encoding: chunked\r\n") body
#define F "X: 1\r\n"
#define F10 F F F F F F F F F F
#define F100 F10 F10 F10 F10 F10 F10 F10 F10 F10 F10
#define PAD "" /* stands for as many x as .pad says */

static char *only_get[] = { (char[]){ "GET" }, NULL };
static const uint16_t no_port[] = { 0 };
static char guest[] = "guest";
static char *no_rules[] = { NULL };
static uid_t nobody = 4000000;
static struct client_spec spec = { .name = guest, .rules = no_rules, .uids = &nobody, .uid_count = 1 };

/* What the world must be like, or what must happen after the request. */
static void deny(int c)
{
    (void)c;
    world_options.unmatched = UNMATCHED_DENY;
    world_rule.port = 81;
}

static void deny_methods(int c)
{
    (void)c;
    world_rule.methods = only_get;
}

static void close_ports(int c)
{
    (void)c;
    world_options.connect_ports = no_port;
}

static void be_elsewhere(int c)
{
    (void)c;
    static char elsewhere[] = "plain.test";
    world_rule.host = elsewhere;
}

static void know_clients(int c)
{
    (void)c;
    world_options.clients = &spec;
    world_options.client_count = 1;
}

static void want_more_of_the_token(int c)
{
    (void)c;
    static char name[] = "x", format[] = "{not_there}";
    static struct inject_item item = { INJECT_HEADER, name, format };
    world_rule.inject = &item;
    world_rule.inject_count = 1;
}

static void accept_upstream(int c)
{
    (void)c;
    world_upstream();
}

static void fail_dial(enum dial_error error)
{
    assert_int_equal(fake_dial_pending(), 1);
    fake_dial_fail(error, "as the test wants it");
    world_turn();
}

static void refuse_dial(int c)
{
    (void)c;
    fail_dial(DIAL_REFUSED);
}

static void forbid_dial(int c)
{
    (void)c;
    fail_dial(DIAL_FORBIDDEN);
}

static void dial_too_long(int c)
{
    (void)c;
    fail_dial(DIAL_TIMEOUT);
}

static void answer(const char *text)
{
    int up = world_upstream();
    hear(up, NULL);
    say(up, text);
}

static void answer_nonsense(int c)
{
    (void)c;
    answer("nonsense\r\n\r\n");
}

static void answer_in_two_ways(int c)
{
    (void)c;
    answer("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
}

static void answer_101(int c)
{
    (void)c;
    answer("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
}

static void answer_begun_then_cut(int c)
{
    int up = world_upstream();
    say(up, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"); /* in the middle of the upload */
    say(c, "zz\r\n");
}

static void hang_up(int c)
{
    (void)c;
    int up = world_upstream();
    hear(up, NULL);
    shutdown(up, SHUT_RDWR);
    world_turn();
}

static void wait_for_ever(int c)
{
    (void)c;
    hear(world_upstream(), NULL);
    fake_timer_run(600000);
    world_turn();
}

static void wait_for_the_head(int c)
{
    (void)c;
    fake_timer_run(30000);
    world_turn();
}

static void wait_in_the_tunnel(int c)
{
    world_upstream();
    hear(c, NULL);
    fake_timer_run(10000);
    world_turn();
}

#define REFUSE(name, class)                                                                                            \
    static void name(int c)                                                                                            \
    {                                                                                                                  \
        (void)c;                                                                                                       \
        world_refuse(class, 0, "as the test wants it");                                                                \
    }
REFUSE(no_token_now, MSG_TRANSIENT)
REFUSE(no_token_so_often, MSG_THROTTLE)
REFUSE(no_token_by_the_clock, MSG_CLOCK)
REFUSE(no_token_so_configured, MSG_CONFIG_ERROR)
REFUSE(no_token_ever, MSG_DEAD)
REFUSE(no_store, MSG_STORE)
REFUSE(no_such_credential, MSG_UNKNOWN_CREDENTIAL)

enum way { TCP, LOCAL };
static const struct {
    const char *reason;
    int status; /* 0: no answer */
    const char *request;
    const char *inside; /* … and then, in the tunnel that the first has opened */
    void (*before)(int);
    void (*after)(int);
    bool token;
    enum way way;
    size_t pad;
} rows[] = {
    /* §1 authority */
    { .reason = "host_missing", .status = 400, .request = "GET http://127.0.0.1/ HTTP/1.1\r\n\r\n", .token = true },
    { .reason = "host_repeated", .status = 400, .request = GET(HOST), .token = true },
    { .reason = "host_malformed", .status = 400, .request = INSIDE, .inside = "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n" },
    { .reason = "host_differs",
      .status = 421,
      .request = INSIDE,
      .inside = "GET / HTTP/1.1\r\nHost: 127.0.0.2\r\n\r\n" },
    { .reason = "target_differs",
      .status = 421,
      .request = INSIDE,
      .inside = "GET http://127.0.0.2/ HTTP/1.1\r\n" HOST "\r\n" },
    { .reason = "target_malformed",
      .status = 400,
      .request = INSIDE,
      .inside = "GET http://a@127.0.0.1/ HTTP/1.1\r\n" HOST "\r\n" },
    { .reason = "connect_inside", .status = 405, .request = INSIDE, .inside = CONNECT("127.0.0.1:80") },
    { .reason = "connect_target", .status = 400, .request = CONNECT("0x7f.1:443") },
    { .reason = "host_not_allowed", .status = 403, .request = GET(""), .before = deny },
    { .reason = "host_not_allowed", .status = 403, .request = CONNECT("127.0.0.1:443"), .before = deny },
    { .reason = "method_or_path_not_allowed", .status = 403, .request = HEAD("DELETE", ""), .before = deny_methods },
    { .reason = "port_not_allowed", .status = 403, .request = CONNECT("127.0.0.1:25"), .before = close_ports },
    { .reason = "plain_http",
      .status = 403,
      .request = "GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\n\r\n",
      .before = be_elsewhere },
    { .reason = "trace_refused", .status = 405, .request = HEAD("TRACE", "") },
    { .reason = "trace_refused", .status = 405, .request = HEAD("trace", "") },
    { .reason = "target_escape", .status = 400, .request = "GET http://127.0.0.1/a%zz HTTP/1.1\r\n" HOST "\r\n" },
    { .reason = "max_forwards_invalid", .status = 400, .request = HEAD("OPTIONS", "Max-Forwards: x\r\n") },
    { .reason = "host_missing", .status = 400, .request = "CONNECT 127.0.0.1:443 HTTP/1.1\r\n\r\n" },
    { .reason = "host_repeated",
      .status = 400,
      .request = "CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: 127.0.0.1:443\r\nHost: 127.0.0.1:443\r\n\r\n" },
    { .reason = "host_differs", .status = 400, .request = "CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: 127.0.0.2\r\n\r\n" },
    { .reason = "absolute_https", .status = 403, .request = "GET https://127.0.0.1/ HTTP/1.1\r\n" HOST "\r\n" },
    { .reason = "browser_request",
      .status = 403,
      .request = "GET https://127.0.0.1/ HTTP/1.1\r\n" HOST "Origin: https://evil.test\r\n\r\n",
      .way = LOCAL },
    { .reason = "host_differs",
      .status = 403,
      .request = "GET https://127.0.0.1/ HTTP/1.1\r\nHost: evil.test\r\n\r\n",
      .way = LOCAL },
    { .reason = "not_a_proxy_request", .status = 400, .request = "GET / HTTP/1.1\r\n" HOST "\r\n" },
    { .reason = "proxy_auth", .status = 407, .request = GET(""), .before = know_clients },
    { .reason = "peer_not_allowed", .status = 403, .request = GET(""), .before = know_clients, .way = LOCAL },
    /* §2 framing */
    { .reason = "length_with_transfer_encoding",
      .status = 400,
      .request = GET("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n") },
    { .reason = "content_length_repeated",
      .status = 400,
      .request = GET("Content-Length: 1\r\nContent-Length: 1\r\n") },
    { .reason = "content_length_invalid", .status = 400, .request = GET("Content-Length: +1\r\n") },
    { .reason = "transfer_encoding_invalid", .status = 400, .request = GET("Transfer-Encoding: gzip\r\n") },
    { .reason = "connect_with_body",
      .status = 400,
      .request = "CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: 127.0.0.1:443\r\nContent-Length: 1\r\n\r\n" },
    { .reason = "bare_lf", .status = 400, .request = "GET http://127.0.0.1/ HTTP/1.1\nHost: 127.0.0.1\r\n\r\n" },
    { .reason = "bare_cr", .status = 400, .request = "GET http://127.0.0.1/ HTTP/1.1\rHost: 127.0.0.1\r\n\r\n" },
    { .reason = "folded_line", .status = 400, .request = GET("X: a\r\n b\r\n") },
    { .reason = "field_name_invalid", .status = 400, .request = GET("X : a\r\n") },
    { .reason = "control_character", .status = 400, .request = GET("X: a\001b\r\n") },
    { .reason = "start_line_invalid", .status = 400, .request = "GET http://127.0.0.1/ HTTP\r\n\r\n" },
    { .reason = "version_unsupported", .status = 400, .request = "GET http://127.0.0.1/ HTTP/2.0\r\n" HOST "\r\n" },
    { .reason = "method_unknown", .status = 501, .request = HEAD("PRI", "") },
    { .reason = "target_invalid", .status = 400, .request = "GET * HTTP/1.1\r\n" HOST "\r\n" },
    { .reason = "request_line_too_long",
      .status = 414,
      .request = "GET http://127.0.0.1/" PAD " HTTP/1.1\r\n" HOST "\r\n",
      .pad = 17000 },
    { .reason = "too_many_fields", .status = 431, .request = GET(F100 F100) },
    { .reason = "head_too_large", .status = 431, .request = GET("X: " PAD "\r\n"), .pad = 66000 },
    { .reason = "chunk_size_invalid",
      .status = 400,
      .request = CHUNKED("x\r\n"),
      .after = accept_upstream,
      .token = true },
    { .reason = "chunk_size_overflow",
      .status = 400,
      .request = CHUNKED("fffffffffffffffff\r\n"),
      .after = accept_upstream,
      .token = true },
    { .reason = "chunk_extension_invalid",
      .status = 400,
      .request = CHUNKED("1;=\r\n"),
      .after = accept_upstream,
      .token = true },
    { .reason = "chunk_extensions_too_long",
      .status = 413,
      .request = CHUNKED("1;" PAD "\r\n"),
      .pad = 9000,
      .after = accept_upstream,
      .token = true },
    { .reason = "chunk_end_invalid",
      .status = 400,
      .request = CHUNKED("1\r\nab\r\n"),
      .after = accept_upstream,
      .token = true },
    { .reason = "chunk_size_invalid",
      .status = 200,
      .request = CHUNKED(""),
      .after = answer_begun_then_cut,
      .token = true },
    /* §3 forwarding */
    { .reason = "loop", .status = 508, .request = GET("Via: 1.1 sidekey\r\n"), .token = true },
    { .reason = "upstream_protocol", .status = 502, .request = GET(""), .after = answer_nonsense, .token = true },
    { .reason = "upstream_protocol", .status = 502, .request = GET(""), .after = answer_in_two_ways, .token = true },
    { .reason = "upstream_protocol", .status = 502, .request = GET(""), .after = answer_101, .token = true },
    /* §4 tokens */
    { .reason = "token_unavailable", .status = 503, .request = GET(""), .after = no_token_now },
    { .reason = "token_throttled", .status = 503, .request = GET(""), .after = no_token_so_often },
    { .reason = "token_clock", .status = 503, .request = GET(""), .after = no_token_by_the_clock },
    { .reason = "credential_misconfigured", .status = 503, .request = GET(""), .after = no_token_so_configured },
    { .reason = "credential_dead", .status = 503, .request = GET(""), .after = no_token_ever },
    { .reason = "store_unavailable", .status = 503, .request = GET(""), .after = no_store },
    { .reason = "credential_unknown", .status = 503, .request = GET(""), .after = no_such_credential },
    { .reason = "token_incomplete",
      .status = 503,
      .request = GET(""),
      .before = want_more_of_the_token,
      .after = accept_upstream,
      .token = true },
    /* §6 reaching upstream */
    { .reason = "upstream_unreachable", .status = 502, .request = GET(""), .after = refuse_dial, .token = true },
    { .reason = "upstream_unreachable", .status = 502, .request = CONNECT("127.0.0.1:443"), .after = refuse_dial },
    { .reason = "upstream_unreachable", .status = 502, .request = GET(""), .after = hang_up, .token = true },
    { .reason = "address_not_allowed", .status = 403, .request = GET(""), .after = forbid_dial, .token = true },
    { .reason = "address_not_allowed", .status = 403, .request = CONNECT("127.0.0.1:443"), .after = forbid_dial },
    { .reason = "upstream_timeout", .status = 504, .request = GET(""), .after = dial_too_long, .token = true },
    { .reason = "upstream_timeout", .status = 504, .request = CONNECT("127.0.0.1:443"), .after = dial_too_long },
    /* §7 time */
    { .reason = "head_timeout", .status = 408, .request = "GET http://127.0.0.1/ HT", .after = wait_for_the_head },
    { .reason = "upstream_timeout", .status = 504, .request = GET(""), .after = wait_for_ever, .token = true },
    { .reason = "body_timeout",
      .status = 408,
      .request = HEAD("POST", "Content-Length: 5\r\n") "ab",
      .after = wait_for_ever,
      .token = true },
    { .reason = "client_timeout", .status = 0, .request = CONNECT("127.0.0.1:80"), .after = wait_in_the_tunnel },
};

/* All reasons together, and the last one that is not zero. */
static double refusals(char reason[64])
{
    static const char series[] = "sidekey_refused_total{reason=\"";
    struct buf text;
    double sum = 0;
    buf_init(&text, 1 << 20);
    assert_int_equal(metrics_write(meter_metrics(world.meter), false, &text) | buf_add(&text, slice_of("", 1)), 0);
    for (const char *at = buf_slice(&text).ptr; (at = strstr(at, series)); at++) {
        double value = strtod(strchr(at, ' '), NULL);
        sum += value;
        if (value > 0)
            sscanf(at + sizeof series - 1, "%63[^\"]", reason);
    }
    buf_done(&text);
    return sum;
}

static void send_padded(int fd, const char *request, size_t pad)
{
    static char text[80000];
    size_t len = 0;
    for (const char *at = request; *at; at++) {
        size_t n = *at == *PAD ? pad : 1;
        assert_true(len + n < sizeof text);
        memset(text + len, *at == *PAD ? 'x' : *at, n);
        len += n;
    }
    assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), (ssize_t)len);
    world_turn();
}

/* false: said what is wrong. */
static bool refuse(size_t i)
{
    char reason[64] = "none", status[32];
    struct err e;
    void *state = NULL;
    bool eof;
    assert_int_equal(world_up(&state), 0);
    if (rows[i].before)
        rows[i].before(-1);
    access_free(world.access);
    world.access = access_new(&world_options, &e);
    assert_non_null(world.access);
    if (rows[i].token)
        world_token(1, "token-1", 3600000);
    int c = rows[i].way == LOCAL ? world_local_client() : world_client();
    send_padded(c, rows[i].request, rows[i].pad);
    if (rows[i].inside) {
        world_upstream();
        hear(c, NULL);
        send_padded(c, rows[i].inside, 0);
    }
    if (rows[i].after)
        rows[i].after(c);
    snprintf(status, sizeof status, "HTTP/1.1 %d ", rows[i].status);
    const char *heard = hear(c, &eof);
    double count = refusals(reason);
    bool good = count == 1 && strcmp(reason, rows[i].reason) == 0 && (!rows[i].status || has(heard, status));
    if (!good)
        print_error("row %zu, %.60s: not %d and %s once, but %g, the last for %s, and %.100s\n", i, rows[i].request,
                    rows[i].status, rows[i].reason, count, reason, heard);
    assert_int_equal(world_down(&state), 0);
    return good;
}

static void every_refusal_is_counted_once_under_its_reason(void **state)
{
    (void)state;
    size_t wrong = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        wrong += !refuse(i);
    assert_int_equal(wrong, 0);
}

static void every_reason_stands_in_the_documents(void **state)
{
    static char text[64 * 1024];
    char quoted[80];
    (void)state;
    FILE *f = fopen("docs/metrics.md", "r");
    if (!f)
        fail_msg("docs/metrics.md is not here: run the tests from the top of the tree");
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(quoted, sizeof quoted, "`%s`", rows[i].reason);
        if (!has(text, quoted))
            fail_msg("%s is not in docs/metrics.md", rows[i].reason);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_is_counted_once_under_its_reason),
        cmocka_unit_test(every_reason_stands_in_the_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
