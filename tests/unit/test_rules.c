/* What must be checked and changed in heads before they go on (docs/http.md §1, §3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "http/rules.h"
#include "tests/fuzz/h1_transcript.h"

static struct message read_head(enum h1_role role, const char *raw)
{
    struct slice in = slice_str(raw), data;
    struct message copy;
    struct h1 *p = h1_new(role);
    assert_non_null(p);
    if (h1_next(p, &in, &data) != H1_HEAD)
        fail_msg("%s: %s", h1_reason(p), raw);
    message_init(&copy);
    assert_int_equal(message_copy(&copy, h1_head(p)), 0);
    h1_free(p);
    return copy;
}

static struct authority authority_of(const char *text)
{
    struct authority a;
    assert_int_equal(authority_parse(slice_str(text), SCHEME_HTTPS, 443, &a), 0);
    return a;
}

/* Without the word for framing, which is tested elsewhere. */
static void demand_says(const char *name, const struct message *m, const char *wanted)
{
    struct transcript t = { .in_data = false };
    buf_init(&t.text, SIZE_MAX / 2);
    say_head(&t, m);
    if (!slice_eq(buf_slice(&t.text), slice_str(wanted)))
        fail_msg("%s\n  wanted: %s\n  got:    %.*s", name, wanted, (int)t.text.len, buf_slice(&t.text).ptr);
    buf_done(&t.text);
}

static void demand_verdict(const char *name, struct rules_verdict got, int status, const char *reason)
{
    if (got.status != status || (status && strcmp(got.reason, reason) != 0))
        fail_msg("%s: wanted %d %s, got %d %s", name, status, reason, got.status, got.reason ? got.reason : "");
}

/* --- authority --- */

#define G "GET / HTTP/1.1\r\n"

static const struct {
    const char *name, *a0, *raw;
    int status;
    const char *reason, *says; /* says: what goes on (NULL: as it came) */
} authorities[] = {
    { "the same host goes on", "a.b", G "Host: a.b\r\n\r\n", 0, "", NULL },
    { "the same host in other letters goes on", "a.b", G "Host: A.B\r\n\r\n", 0, "", NULL },
    { "the same host with a trailing dot goes on", "a.b", G "Host: a.b.\r\n\r\n", 0, "", NULL },
    { "the default port may be written", "a.b", G "Host: a.b:443\r\n\r\n", 0, "", NULL },
    { "another port is written", "a.b:8443", G "Host: a.b:8443\r\n\r\n", 0, "", NULL },
    { "an IPv6 host in another spelling goes on", "[::1]", G "Host: [0:0::1]\r\n\r\n", 0, "", NULL },
    { "OPTIONS * goes on", "a.b", "OPTIONS * HTTP/1.1\r\nHost: a.b\r\n\r\n", 0, "", NULL },
    { "another host is misdirected", "a.b", G "Host: evil\r\n\r\n", 421, "host_differs", NULL },
    { "a host below ours is misdirected", "a.b", G "Host: x.a.b\r\n\r\n", 421, "host_differs", NULL },
    { "another port is misdirected", "a.b", G "Host: a.b:8443\r\n\r\n", 421, "host_differs", NULL },
    { "a missing port is the default port and misdirected", "a.b:8443", G "Host: a.b\r\n\r\n", 421, "host_differs",
      NULL },
    { "port 80 inside of TLS is misdirected", "a.b", G "Host: a.b:80\r\n\r\n", 421, "host_differs", NULL },
    { "an address for a name is misdirected", "a.b", G "Host: 127.0.0.1\r\n\r\n", 421, "host_differs", NULL },
    { "OPTIONS * for another host is misdirected", "a.b", "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n", 421, "host_differs",
      NULL },
    { "no Host is refused", "a.b", G "\r\n", 400, "host_missing", NULL },
    { "no Host in HTTP/1.0 is refused", "a.b", "GET / HTTP/1.0\r\n\r\n", 400, "host_missing", NULL },
    { "an empty Host is refused", "a.b", G "Host:\r\n\r\n", 400, "host_malformed", NULL },
    { "two Hosts are refused", "a.b", G "Host: a.b\r\nHost: evil\r\n\r\n", 400, "host_repeated", NULL },
    { "two Hosts that agree are refused", "a.b", G "Host: a.b\r\nhost: a.b\r\n\r\n", 400, "host_repeated", NULL },
    { "a list of hosts is refused", "a.b", G "Host: a.b, evil\r\n\r\n", 400, "host_malformed", NULL },
    { "userinfo in Host is refused", "a.b", G "Host: a.b@evil\r\n\r\n", 400, "host_malformed", NULL },
    { "a path in Host is refused", "a.b", G "Host: a.b/x\r\n\r\n", 400, "host_malformed", NULL },
    { "a short IPv4 in Host is refused", "127.0.0.1", G "Host: 127.1\r\n\r\n", 400, "host_malformed", NULL },
    { "absolute-form becomes origin-form", "a.b", "GET https://A.b:443/x?y HTTP/1.1\r\nHost: a.b\r\nx: y\r\n\r\n", 0,
      "", "GET /x?y 1.1 none {Host: a.b} {x: y}" },
    { "absolute-form rules over Host", "a.b", "GET https://a.b/ HTTP/1.1\r\nx: y\r\nHost: evil\r\n\r\n", 0, "",
      "GET / 1.1 none {x: y} {Host: a.b}" },
    { "absolute-form keeps a port that is not the default", "a.b:1", "GET https://a.b:1/ HTTP/1.1\r\nHost: a.b\r\n\r\n",
      0, "", "GET / 1.1 none {Host: a.b:1}" },
    { "absolute-form without a path gets one", "a.b", "GET https://a.b HTTP/1.1\r\nHost: a.b\r\n\r\n", 0, "",
      "GET / 1.1 none {Host: a.b}" },
    { "absolute-form with a query alone gets a path", "a.b", "GET https://a.b?q=/ HTTP/1.1\r\nHost: a.b\r\n\r\n", 0, "",
      "GET /?q=/ 1.1 none {Host: a.b}" },
    { "OPTIONS in absolute-form without a path is for the server", "a.b",
      "OPTIONS https://a.b HTTP/1.1\r\nHost: a.b\r\n\r\n", 0, "", "OPTIONS * 1.1 none {Host: a.b}" },
    { "absolute-form in HTTP/1.0 needs no Host", "a.b", "GET https://a.b/ HTTP/1.0\r\n\r\n", 0, "",
      "GET / 1.0 none close {Host: a.b}" },
    { "absolute-form without Host is refused", "a.b", "GET https://a.b/ HTTP/1.1\r\n\r\n", 400, "host_missing", NULL },
    { "absolute-form with two Hosts is refused", "a.b", "GET https://a.b/ HTTP/1.1\r\nHost: a.b\r\nHost: a.b\r\n\r\n",
      400, "host_repeated", NULL },
    { "absolute-form to another host is misdirected", "a.b", "GET https://evil/ HTTP/1.1\r\nHost: a.b\r\n\r\n", 421,
      "target_differs", NULL },
    { "absolute-form to another port is misdirected", "a.b", "GET https://a.b:8443/ HTTP/1.1\r\nHost: a.b\r\n\r\n", 421,
      "target_differs", NULL },
    { "absolute-form with another scheme is misdirected", "a.b", "GET http://a.b:443/ HTTP/1.1\r\nHost: a.b\r\n\r\n",
      421, "target_differs", NULL },
    { "absolute-form with userinfo is refused", "a.b", "GET https://a.b@evil/ HTTP/1.1\r\nHost: a.b\r\n\r\n", 400,
      "target_malformed", NULL },
    { "absolute-form with ftp is refused", "a.b", "GET ftp://a.b/ HTTP/1.1\r\nHost: a.b\r\n\r\n", 400,
      "target_malformed", NULL },
    { "CONNECT inside of a tunnel is refused", "a.b", "CONNECT a.b:443 HTTP/1.1\r\nHost: a.b\r\n\r\n", 405,
      "connect_inside", NULL },
};

static void a_request_goes_only_where_its_tunnel_goes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof authorities / sizeof *authorities; i++) {
        struct authority a0 = authority_of(authorities[i].a0);
        struct message m = read_head(H1_REQUESTS, authorities[i].raw);
        demand_verdict(authorities[i].name, rules_check_authority(&m, &a0), authorities[i].status,
                       authorities[i].reason);
        if (authorities[i].says)
            demand_says(authorities[i].name, &m, authorities[i].says);
        message_done(&m);
    }
}

static void a_star_is_only_for_options(void **state)
{
    (void)state;
    struct authority a0 = authority_of("a");
    struct message m;
    message_init(&m); /* as from another codec */
    assert_int_equal(message_start_request(&m, SLICE("GET"), SLICE("*")), 0);
    assert_int_equal(message_add(&m, SLICE("host"), SLICE("a")), 0);
    demand_verdict("GET *", rules_check_authority(&m, &a0), 400, "target_malformed");
    message_done(&m);
}

/* --- forwarding --- */

#define A "Host: a\r\n"

struct forward_row {
    const char *name, *raw, *says;
    int status;
    const char *reason;
};

static const struct forward_row requests[] = {
    { "a plain request goes on as it is", G A "Accept-Encoding: br\r\nX: 1\r\nx: 2\r\n\r\n",
      "GET / 1.1 none {Host: a} {Accept-Encoding: br} {X: 1} {x: 2}", 0, "" },
    { "Host is written without its default port, at its place", G "b: c\r\nhOst: A:443\r\nd: e\r\n\r\n",
      "GET / 1.1 none {b: c} {hOst: a} {d: e}", 0, "" },
    { "hop-by-hop fields are dropped",
      G A "Connection: keep-alive\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\nUpgrade: "
          "h2c\r\nHTTP2-Settings: x\r\n\r\n",
      "GET / 1.1 none {Host: a}", 0, "" },
    { "Transfer-Encoding is left to the codec", "POST / HTTP/1.1\r\n" A "Transfer-Encoding: chunked\r\n\r\n",
      "POST / 1.1 chunked {Host: a}", 0, "" },
    { "Proxy-Authorization is consumed", G A "proxy-authorization: Basic x\r\n\r\n", "GET / 1.1 none {Host: a}", 0,
      "" },
    { "fields that Connection names are dropped, every copy",
      G A "X-a: 1\r\nConnection: x-A , close\r\nx-A: 2\r\nx-b: 3\r\n\r\n", "GET / 1.1 none close {Host: a} {x-b: 3}", 0,
      "" },
    { "fields that a second Connection names are dropped", G A "a: 1\r\nConnection: close\r\nConnection: a\r\n\r\n",
      "GET / 1.1 none close {Host: a}", 0, "" },
    { "Connection cannot drop host, authorization or cookie",
      G A "Authorization: x\r\nCookie: y\r\nConnection: host, authorization, cookie, close\r\n\r\n",
      "GET / 1.1 none close {Host: a} {Authorization: x} {Cookie: y}", 0, "" },
    { "Connection cannot drop a length",
      "POST / HTTP/1.1\r\n" A "Content-Length: 1\r\nConnection: content-length, transfer-encoding\r\n\r\nx",
      "POST / 1.1 length=1 {Host: a} {Content-Length: 1}", 0, "" },
    { "TE: trailers is written anew", G A "TE: gzip;q=0.5, Trailers\r\nConnection: TE\r\n\r\n",
      "GET / 1.1 none {Host: a} {TE: trailers}", 0, "" },
    { "Trailer and Expect go on",
      "POST / HTTP/1.1\r\n" A "Trailer: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
      "POST / 1.1 length=1 expect {Host: a} {Trailer: x} {Expect: 100-continue} {Content-Length: 1}", 0, "" },
    { "an upgrade to websocket goes on",
      G A "Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: x\r\n\r\n",
      "GET / 1.1 none upgrade {Host: a} {Upgrade: WebSocket} {Sec-WebSocket-Key: x}", 0, "" },
    { "of several protocols only websocket goes on",
      G A "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c, websocket\r\nHTTP2-Settings: x\r\nSec-WebSocket-Key: "
          "x\r\n\r\n",
      "GET / 1.1 none upgrade {Host: a} {Sec-WebSocket-Key: x} {Upgrade: websocket}", 0, "" },
    { "an upgrade without a key is dropped", G A "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
      "GET / 1.1 none {Host: a}", 0, "" },
    { "an upgrade with two keys is dropped",
      G A "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Key: y\r\n\r\n",
      "GET / 1.1 none {Host: a} {Sec-WebSocket-Key: x} {Sec-WebSocket-Key: y}", 0, "" },
    { "an upgrade to h2c is dropped",
      G A "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
      "GET / 1.1 none {Host: a}", 0, "" },
    { "an upgrade that Connection does not name is dropped", G A "Upgrade: websocket\r\n\r\n",
      "GET / 1.1 none {Host: a}", 0, "" },
    { "an upgrade of a request with a body is dropped",
      "POST / HTTP/1.1\r\n" A "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
      "POST / 1.1 length=1 {Host: a} {Content-Length: 1}", 0, "" },
    { "the Via of others goes on", G A "Via: 1.0 fred, 1.1 sidekey2 (sidekey), 1.1 x.sidekey\r\n\r\n",
      "GET / 1.1 none {Host: a} {Via: 1.0 fred, 1.1 sidekey2 (sidekey), 1.1 x.sidekey}", 0, "" },
    { "our own name in Via is a loop", G A "Via: 1.1 sidekey\r\n\r\n", NULL, 508, "loop" },
    { "our own name in the middle of Via is a loop",
      G A "Via: 1.0 a\r\nVia: 1.1 b (c, d) ,HTTP/1.1\tSideKey (v1)\r\n\r\n", NULL, 508, "loop" },
};

static const struct forward_row responses[] = {
    { "a plain response goes on as it is",
      "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: 0\r\n\r\n",
      "200 OK 1.1 length=0 {Set-Cookie: a} {set-cookie: b} {Content-Length: 0}", 0, "" },
    { "hop-by-hop fields are dropped",
      "HTTP/1.1 200 OK\r\nConnection: x-a, keep-alive\r\nKeep-Alive: timeout=5\r\nX-A: 1\r\nUpgrade: "
      "h2c\r\nTransfer-Encoding: chunked\r\n\r\n",
      "200 OK 1.1 chunked", 0, "" },
    { "what an upstream asks of proxies is dropped",
      "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nProxy-Authentication-Info: x\r\nContent-Length: 0\r\n\r\n",
      "407 No 1.1 length=0 {Content-Length: 0}", 0, "" },
    { "Alt-Svc is dropped", "HTTP/1.1 200 OK\r\nalt-svc: h3=\":443\"\r\nAlt-Svc: clear\r\nContent-Length: 0\r\n\r\n",
      "200 OK 1.1 length=0 {Content-Length: 0}", 0, "" },
    { "WWW-Authenticate goes on", "HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n",
      "401 No 1.1 length=0 {WWW-Authenticate: Bearer} {Content-Length: 0}", 0, "" },
    { "the Proxy-Status of others goes on",
      "HTTP/1.1 204 No\r\nProxy-Status: cdn; error=x, sidekey2; a=\"b, sidekey\"\r\n\r\n",
      "204 No 1.1 none {Proxy-Status: cdn; error=x, sidekey2; a=\"b, sidekey\"}", 0, "" },
    { "a forged Proxy-Status is dropped", "HTTP/1.1 204 No\r\nProxy-Status: SideKey; error=x\r\n\r\n",
      "204 No 1.1 none", 0, "" },
    { "a forged member of Proxy-Status is dropped",
      "HTTP/1.1 204 No\r\nProxy-Status: a;b=\"c,d\", \"sidekey\"; error=x, e\r\nproxy-status: sidekey\r\nx: y\r\n\r\n",
      "204 No 1.1 none {Proxy-Status: a;b=\"c,d\", e} {x: y}", 0, "" },
    { "a forged first member of Proxy-Status is dropped",
      "HTTP/1.1 204 No\r\nProxy-Status: sidekey,a, sidekey ,b\r\n\r\n", "204 No 1.1 none {Proxy-Status: a,b}", 0, "" },
    { "no space is left where a forged member was", "HTTP/1.1 204 No\r\nProxy-Status: a ,sidekey\r\n\r\n",
      "204 No 1.1 none {Proxy-Status: a}", 0, "" },
    { "a Proxy-Status that could be read in two ways is dropped",
      "HTTP/1.1 204 No\r\nProxy-Status: a; b=\"c, sidekey; error=x\r\n\r\n", "204 No 1.1 none", 0, "" },
    { "a 101 to websocket keeps its upgrade",
      "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nKeep-Alive: 1\r\n\r\n",
      "101 S 1.1 none upgrade {Upgrade: websocket}", 0, "" },
    { "a 101 to another protocol keeps it too: the exchange compares",
      "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n",
      "101 S 1.1 none upgrade {Upgrade: SPDY/3.1}", 0, "" },
    { "a 101 to two protocols is refused",
      "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: tcp\r\n\r\n", NULL, 502,
      "upgrade_invalid" },
    { "a 101 without Upgrade is refused", "HTTP/1.1 101 S\r\nConnection: Upgrade\r\n\r\n", NULL, 502,
      "upgrade_invalid" },
    { "a 101 whose Connection names nothing is refused", "HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n", NULL, 502,
      "upgrade_invalid" },
    { "our own name in the Via of an answer is no loop", "HTTP/1.1 204 No\r\nVia: 1.1 sidekey\r\n\r\n",
      "204 No 1.1 none {Via: 1.1 sidekey}", 0, "" },
};

static void demand_forward(const struct forward_row *row, enum h1_role role, bool via)
{
    struct authority a0 = authority_of("a");
    struct message m = read_head(role, row->raw);
    struct rules_verdict verdict =
        role == H1_REQUESTS ? rules_forward_request(&m, &a0, via, NULL) : rules_forward_response(&m, via);
    demand_verdict(row->name, verdict, row->status, row->reason);
    if (via && row->says) {
        if (!slice_eq(message_value_at(&m, m.field_count - 1), SLICE("1.1 sidekey")))
            fail_msg("%s: no Via", row->name);
        message_remove_at(&m, m.field_count - 1);
    }
    if (row->says)
        demand_says(row->name, &m, row->says);
    message_done(&m);
}

static void requests_are_made_fit_for_the_next_hop(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        demand_forward(&requests[i], H1_REQUESTS, false);
        demand_forward(&requests[i], H1_REQUESTS, true);
    }
}

/* What a rule lets through, whatever else is offered: the first one of the client's. */
static void an_upgrade_goes_on_when_the_rule_allows_it(void **state)
{
    (void)state;
    static const char *const none[] = { NULL }, *const kubectl[] = { "spdy/3.1", "websocket", NULL },
                             *const docker[] = { "tcp", NULL };
    static const struct {
        const char *raw;
        const char *const *allowed;
        const char *sent; /* NULL: none */
    } rows[] = {
        { G A "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n", kubectl, "SPDY/3.1" },
        { G A "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n", NULL, NULL },
        { G A "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n", docker, NULL },
        { G A "Connection: Upgrade\r\nUpgrade: SPDY/3\r\n\r\n", kubectl, NULL },
        { G A "Connection: Upgrade\r\nUpgrade: h2c, spdy/3.1, websocket\r\nSec-WebSocket-Key: x\r\n\r\n", kubectl,
          "spdy/3.1" },
        { G A "Connection: Upgrade\r\nUpgrade: websocket, spdy/3.1\r\n\r\n", kubectl, "spdy/3.1" },
        { G A "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: spdy/3.1\r\n\r\n", kubectl, "spdy/3.1" },
        { G A "Upgrade: spdy/3.1\r\n\r\n", kubectl, NULL },
        { G A "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n", none, NULL },
        { G A "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n", docker, NULL },
        { "POST / HTTP/1.1\r\n" A "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n", docker, "tcp" },
        { "POST / HTTP/1.1\r\n" A "Connection: Upgrade\r\nUpgrade: tcp\r\nTransfer-Encoding: chunked\r\n\r\n", docker,
          NULL },
        { "POST / HTTP/1.0\r\n" A "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n", docker, NULL },
    };
    struct authority a0 = authority_of("a");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t count = 0;
        struct message m = read_head(H1_REQUESTS, rows[i].raw);
        assert_int_equal(rules_forward_request(&m, &a0, false, rows[i].allowed).status, 0);
        struct slice sent = message_get(&m, SLICE("upgrade"), &count);
        if (m.upgrade != !!rows[i].sent || count != !!rows[i].sent
            || (rows[i].sent && !slice_eq(sent, slice_str(rows[i].sent))))
            fail_msg("row %zu: %.*s", i, (int)sent.len, sent.len ? sent.ptr : "");
        message_done(&m);
    }
}

static void via_says_the_version_in_which_the_message_came(void **state)
{
    (void)state;
    struct authority a0 = authority_of("a");
    struct message old = read_head(H1_REQUESTS, "GET / HTTP/1.0\r\n" A "\r\n"),
                   newer = read_head(H1_REQUESTS, "GET / HTTP/1.2\r\n" A "\r\n"),
                   answer = read_head(H1_RESPONSES, "HTTP/1.0 204 No\r\n\r\n");
    assert_int_equal(rules_forward_request(&old, &a0, true, NULL).status, 0);
    assert_int_equal(rules_forward_request(&newer, &a0, true, NULL).status, 0);
    assert_int_equal(rules_forward_response(&answer, true).status, 0);
    assert_true(slice_eq(message_get(&old, SLICE("via"), NULL), SLICE("1.0 sidekey")));
    assert_true(slice_eq(message_get(&newer, SLICE("via"), NULL), SLICE("1.1 sidekey")));
    assert_true(slice_eq(message_get(&answer, SLICE("via"), NULL), SLICE("1.0 sidekey")));
    message_done(&old);
    message_done(&newer);
    message_done(&answer);
}

static void an_answer_without_a_date_gets_one(void **state)
{
    (void)state;
    struct message without = read_head(H1_RESPONSES, "HTTP/1.1 204 No\r\n\r\n"),
                   with = read_head(H1_RESPONSES, "HTTP/1.1 204 No\r\ndate: x\r\n\r\n"),
                   empty = read_head(H1_RESPONSES, "HTTP/1.1 204 No\r\nDate:\r\n\r\n"),
                   full = read_head(H1_RESPONSES, "HTTP/1.1 204 No\r\n\r\n");
    while (full.field_count < MESSAGE_FIELDS_MAX)
        assert_int_equal(message_add(&full, SLICE("x"), SLICE("y")), 0);
    rules_add_date(&without, 784111777);
    rules_add_date(&with, 784111777);
    rules_add_date(&empty, 784111777);
    rules_add_date(&full, 784111777);
    assert_true(slice_eq(message_get(&without, SLICE("date"), NULL), SLICE("Sun, 06 Nov 1994 08:49:37 GMT")));
    assert_true(slice_eq(message_get(&with, SLICE("date"), NULL), SLICE("x")));
    assert_int_equal(empty.field_count, 1);
    assert_int_equal(full.field_count, MESSAGE_FIELDS_MAX);
    message_clear(&without);
    assert_int_equal(message_start_response(&without, 200, SLICE("OK")), 0);
    rules_add_date(&without, 951782400);
    assert_true(slice_eq(message_get(&without, SLICE("date"), NULL), SLICE("Tue, 29 Feb 2000 00:00:00 GMT")));
    message_done(&without);
    message_done(&with);
    message_done(&empty);
    message_done(&full);
}

static void max_forwards_is_counted_down(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        int64_t left;
        bool bad;
        const char *then; /* NULL: none */
    } rows[] = {
        { "OPTIONS / HTTP/1.1\r\n" A "\r\n", -1, false, NULL },
        { "OPTIONS / HTTP/1.1\r\n" A "Max-Forwards: 0\r\n\r\n", 0, false, "0" },
        { "OPTIONS * HTTP/1.1\r\n" A "Max-Forwards: 0\r\n\r\n", 0, false, "0" },
        { "OPTIONS / HTTP/1.1\r\n" A "Max-Forwards: 1\r\n\r\n", 1, false, "0" },
        { "TRACE / HTTP/1.1\r\n" A "max-forwards: 10\r\n\r\n", 10, false, "9" },
        { "OPTIONS / HTTP/1.1\r\n" A "Max-Forwards: 00\r\n\r\n", 0, false, "00" },
        { "OPTIONS / HTTP/1.1\r\n" A "Max-Forwards: x\r\n\r\n", -1, true, "x" },
        { "OPTIONS / HTTP/1.1\r\n" A "Max-Forwards: -1\r\n\r\n", -1, true, "-1" },
        { "OPTIONS / HTTP/1.1\r\n" A "Max-Forwards: 1\r\nMax-Forwards: 0\r\n\r\n", -1, true, "1" },
        { G A "Max-Forwards: 0\r\n\r\n", -1, false, "0" },
        { G A "Max-Forwards: x\r\n\r\n", -1, false, "x" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct message m = read_head(H1_REQUESTS, rows[i].raw);
        bool bad = true;
        if (rules_hops_left(&m, &bad) != rows[i].left || bad != rows[i].bad)
            fail_msg("row %zu", i);
        struct slice then = message_get(&m, SLICE("max-forwards"), NULL);
        if (!slice_eq(then, rows[i].then ? slice_str(rows[i].then) : (struct slice){ NULL, 0 }))
            fail_msg("row %zu: %.*s", i, (int)then.len, then.ptr);
        message_done(&m);
    }
}

static void responses_are_made_fit_for_the_client(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof responses / sizeof *responses; i++) {
        demand_forward(&responses[i], H1_RESPONSES, false);
        demand_forward(&responses[i], H1_RESPONSES, true);
    }
}

static void a_head_without_room_for_via_is_refused(void **state)
{
    (void)state;
    struct authority a0 = authority_of("a");
    struct message request = read_head(H1_REQUESTS, G A "\r\n"),
                   response = read_head(H1_RESPONSES, "HTTP/1.1 200 OK\r\n\r\n");
    while (request.field_count < MESSAGE_FIELDS_MAX)
        assert_int_equal(message_add(&request, SLICE("x"), SLICE("y")), 0);
    while (response.field_count < MESSAGE_FIELDS_MAX)
        assert_int_equal(message_add(&response, SLICE("x"), SLICE("y")), 0);
    demand_verdict("request", rules_forward_request(&request, &a0, true, NULL), 431, "head_too_large");
    demand_verdict("response", rules_forward_response(&response, true), 502, "head_too_large");
    message_done(&request);
    message_done(&response);
}

static void every_field_of_a_full_head_is_judged(void **state)
{
    (void)state;
    struct authority a0 = authority_of("a");
    struct message m = read_head(H1_REQUESTS, G A "Connection: x\r\n\r\n");
    while (m.field_count < MESSAGE_FIELDS_MAX)
        assert_int_equal(message_add(&m, m.field_count % 2 ? SLICE("x") : SLICE("y"), SLICE("z")), 0);
    demand_verdict("full", rules_forward_request(&m, &a0, false, NULL), 0, "");
    assert_int_equal(m.field_count, MESSAGE_FIELDS_MAX / 2);
    assert_int_equal(message_remove(&m, SLICE("y")), MESSAGE_FIELDS_MAX / 2 - 1);
    message_done(&m);
}

/* --- trailers and names --- */

static void trailers_cannot_frame_route_or_authenticate(void **state)
{
    (void)state;
    static const char *const injected[] = { "x-api-key", NULL };
    static const struct {
        const char *name;
        bool stays;
    } rows[] = {
        { "grpc-status", true },
        { "Grpc-Message", true },
        { "Server-Timing", true },
        { "Digest", true },
        { "x-api-keys", true },
        { "X-Api-Key", false },
        { "Content-Length", false },
        { "transfer-encoding", false },
        { "HOST", false },
        { "Authorization", false },
        { "Cookie", false },
        { "Set-Cookie", false },
        { "Connection", false },
        { "Keep-Alive", false },
        { "TE", false },
        { "Trailer", false },
        { "Upgrade", false },
        { "Content-Type", false },
        { "Content-Encoding", false },
        { "Content-Range", false },
        { "Cache-Control", false },
        { "Proxy-Authorization", false },
        { "Proxy-Status", false },
        { "WWW-Authenticate", false },
        { "Via", false },
        { "Location", false },
        { "Expect", false },
        { "Alt-Svc", false },
        { "Proxy-Foo", false },
    };
    struct message m;
    message_init(&m);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(message_add(&m, slice_str(rows[i].name), SLICE("x")), 0);
    struct message head = read_head(H1_REQUESTS, G A "\r\n");
    rules_filter_trailers(&m, &head, injected);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t count;
        message_get(&m, slice_str(rows[i].name), &count);
        if ((count == 1) != rows[i].stays)
            fail_msg("%s", rows[i].name);
    }
    assert_int_equal(message_add(&m, SLICE("X-Api-Key"), SLICE("x")), 0);
    rules_filter_trailers(&m, &head, NULL); /* nothing is managed */
    assert_true(message_get(&m, SLICE("x-api-key"), NULL).len == 1);
    message_done(&m);
    message_done(&head);
}

static void trailers_lose_what_connection_named_in_their_head(void **state)
{
    (void)state;
    struct authority a0 = authority_of("a");
    static const char *const fields =
        "Connection: X-One, close\r\nX-One: 1\r\nConnection: x-two\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (int response = 0; response < 2; response++) {
        char text[256];
        struct message trailers;
        snprintf(text, sizeof text, "%s%s", response ? "HTTP/1.1 200 OK\r\n" : "POST / HTTP/1.1\r\n" A, fields);
        struct message head = read_head(response ? H1_RESPONSES : H1_REQUESTS, text);
        demand_verdict("head",
                       response ? rules_forward_response(&head, true) : rules_forward_request(&head, &a0, true, NULL),
                       0, "");
        message_init(&trailers);
        static const char *const names[] = { "x-one", "X-Two", "X-Three", "x-on" };
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(message_add(&trailers, slice_str(names[i]), SLICE("1")), 0);
        rules_filter_trailers(&trailers, &head, NULL);
        assert_int_equal(trailers.field_count, 2);
        assert_true(slice_eq(message_name_at(&trailers, 0), SLICE("X-Three"))
                    && slice_eq(message_name_at(&trailers, 1), SLICE("x-on")));
        message_done(&trailers);
        message_done(&head);
    }
}

static void a_rule_may_not_set_what_frames_or_routes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool forbidden;
    } rows[] = {
        { "Host", true },
        { "content-length", true },
        { "Transfer-Encoding", true },
        { "Connection", true },
        { "keep-alive", true },
        { "TE", true },
        { "Trailer", true },
        { "Upgrade", true },
        { "HTTP2-Settings", true },
        { "Proxy-Authorization", true },
        { "proxy-anything", true },
        { "Proxy-Status", true },
        { "Authorization", false },
        { "X-Api-Key", false },
        { "Private-Token", false },
        { "Cookie", false },
        { "Hosts", false },
        { "Proxy", false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rules_name_forbidden(slice_str(rows[i].name)) != rows[i].forbidden)
            fail_msg("%s", rows[i].name);
}

static bool among(int c, const char *set)
{
    return c > 0 && c < 0x80 && strchr(set, c);
}

static void tokens_and_values_are_judged_byte_by_byte(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool token = alnum || among(c, "!#$%&'*+-.^_`|~");
        bool value = c == '\t' || (c >= ' ' && c != 0x7f);
        if (rules_is_token(slice_of(&byte, 1)) != token || rules_is_value(slice_of(&byte, 1)) != value)
            fail_msg("byte %d", c);
    }
    assert_false(rules_is_token(SLICE("")));
    assert_true(rules_is_value(SLICE("")));
    assert_false(rules_is_token(SLICE("a b")));
    assert_false(rules_is_value(SLICE("a\r\nb")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_goes_only_where_its_tunnel_goes),
        cmocka_unit_test(a_star_is_only_for_options),
        cmocka_unit_test(requests_are_made_fit_for_the_next_hop),
        cmocka_unit_test(responses_are_made_fit_for_the_client),
        cmocka_unit_test(an_upgrade_goes_on_when_the_rule_allows_it),
        cmocka_unit_test(via_says_the_version_in_which_the_message_came),
        cmocka_unit_test(an_answer_without_a_date_gets_one),
        cmocka_unit_test(max_forwards_is_counted_down),
        cmocka_unit_test(a_head_without_room_for_via_is_refused),
        cmocka_unit_test(every_field_of_a_full_head_is_judged),
        cmocka_unit_test(trailers_cannot_frame_route_or_authenticate),
        cmocka_unit_test(trailers_lose_what_connection_named_in_their_head),
        cmocka_unit_test(a_rule_may_not_set_what_frames_or_routes),
        cmocka_unit_test(tokens_and_values_are_judged_byte_by_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
