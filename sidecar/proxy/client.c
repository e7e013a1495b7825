#include "proxy/client.h"

#include "base/log.h"
#include "base/str.h"
#include "http/rules.h"
#include "proxy/exchange.h"
#include "proxy/problem.h"
#include "proxy/tunnel.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum client_state {
    CLIENT_PROXY,    /* reads CONNECT or absolute-form requests */
    CLIENT_DIAL,     /* CONNECT: waits for the upstream's TCP connection */
    CLIENT_SNIFF,    /* tunnel is open: the first byte tells TLS from plain HTTP */
    CLIENT_LEAF,     /* waits for the leaf certificate */
    CLIENT_TLS,      /* handshake with the client */
    CLIENT_SERVE,    /* between requests inside the tunnel */
    CLIENT_EXCHANGE, /* an exchange or a tunnel has the streams; they have deadlines of their own */
    CLIENT_OVER,
};

enum client_look { LOOK_NONE, LOOK_IDLE, LOOK_PARTIAL };

struct client {
    struct list node;
    struct context *ctx;
    enum client_state state;
    struct stream *stream; /* while there is no leg */
    struct h1_leg *leg;
    struct exchange *exchange;
    struct tunnel *tunnel;
    struct authority a0;   /* fixed by CONNECT or by the hint */
    const struct rule *rule; /* the first that knows a0's host: its TLS identity warms the upstream; NULL: not intercepted */
    bool transparent, in_tunnel;
    struct dial *dial;
    int up_fd;             /* dialled, not yet used */
    struct leaf_wait leaf_wait;
    struct buf early;      /* read before it was known what it is */
    struct deadline deadline;
    struct later burial;
    enum client_look look; /* what the last deadline saw */
};

#define EARLY_MAX (128 * 1024)
#define PROBLEM_BODY_MAX (16 * 1024)

static const struct leg_events client_events;
static void on_deadline(void *arg);

/* Every state has a deadline: one place that sets it. */
static void enter(struct client *c, enum client_state next)
{
    const struct worker_limits *l = &c->ctx->options->limits;
    const int64_t ms[] = {
        [CLIENT_PROXY] = l->connect_head_ms, [CLIENT_DIAL] = l->dial_ms + 1000, [CLIENT_SNIFF] = l->connect_head_ms,
        [CLIENT_LEAF] = l->tls_ms,           [CLIENT_TLS] = l->tls_ms,          [CLIENT_SERVE] = l->head_ms,
        [CLIENT_EXCHANGE] = 0,               [CLIENT_OVER] = 0,
    };
    c->state = next;
    c->look = LOOK_NONE;
    if (ms[next])
        deadline_set(&c->deadline, ms[next]);
    else
        deadline_stop(&c->deadline);
}

static void on_burial(struct later *later)
{
    struct client *c = LIST_ENTRY(later, struct client, burial);
    buf_done(&c->early);
    free(c);
}

/* The one place that ends a client.  gently: the last answer must arrive. */
static void end(struct client *c, bool gently)
{
    struct context *ctx = c->ctx;
    if (c->state == CLIENT_OVER)
        return;
    enter(c, CLIENT_OVER);
    dial_cancel(c->dial);
    leaf_wait_cancel(&c->leaf_wait);
    if (c->exchange)
        exchange_cancel(c->exchange);
    tunnel_free(c->tunnel);
    if (c->up_fd >= 0)
        close(c->up_fd);
    stream_free(c->stream);
    if (gently)
        h1_leg_free_gently(c->leg);
    else
        h1_leg_free(c->leg);
    list_remove(&c->node);
    ctx->client_count--;
    meter_gauge(ctx->meter, METER_CLIENT, ctx->client_count);
    later_ask(&c->burial);
    ctx->on_client_end(ctx);
}

static void refuse(struct client *c, const struct problem *p, bool keep)
{
    struct message m;
    struct buf body;
    char host[AUTHORITY_TEXT_MAX];
    meter_refused(c->ctx->meter, p->reason);
    log_warn(log_msg("refused"), log_str("reason", p->reason), log_int("status", p->status), log_str("detail", p->detail ? p->detail : ""),
             log_str("host", c->a0.port ? authority_key(&c->a0, host) : ""));
    message_init(&m);
    buf_init(&body, PROBLEM_BODY_MAX);
    int failed = problem_build(p, keep, &m, &body);
    if (failed == 0)
        failed = leg_head(h1_leg_base(c->leg), &m, false);
    if (failed == 0)
        failed = leg_data(h1_leg_base(c->leg), buf_slice(&body));
    if (failed == 0)
        failed = leg_end(h1_leg_base(c->leg), NULL);
    buf_done(&body);
    message_done(&m);
    if (failed || !keep)
        end(c, true);
}

static const struct rule *first_rule(const struct context *ctx, const struct authority *a0)
{
    for (size_t i = 0; i < ctx->options->rule_count; i++)
        if (rule_known_host(&ctx->options->rules[i], 1, a0))
            return &ctx->options->rules[i];
    return NULL;
}

/* --- tunnels --- */

static void on_tunnel_done(void *owner)
{
    struct client *c = owner;
    c->tunnel = NULL;
    end(c, false);
}

static void start_tunnel(struct client *c, struct stream *up, struct slice from_up)
{
    struct stream *s = c->stream;
    c->stream = NULL;
    enter(c, CLIENT_EXCHANGE);
    c->tunnel = tunnel_new(s, up, buf_slice(&c->early), from_up, c->ctx->options->limits.tunnel_idle_ms, on_tunnel_done, c);
    buf_done(&c->early);
    if (!c->tunnel)
        end(c, false);
}

static void ignore_event(void *owner, enum stream_event event)
{
    (void)owner;
    (void)event;
}

static void tunnel_to_dialled(struct client *c)
{
    struct stream *up = stream_new(c->up_fd, ignore_event, NULL);
    if (!up) {
        end(c, false);
        return;
    }
    c->up_fd = -1;
    start_tunnel(c, up, (struct slice){ NULL, 0 });
}

/* --- exchanges --- */

static void serve(struct client *c)
{
    enter(c, c->in_tunnel ? CLIENT_SERVE : CLIENT_PROXY);
    leg_want(h1_leg_base(c->leg), true);
}

static void upgraded(struct client *c, struct exchange *x)
{
    struct buf from_up;
    buf_init(&from_up, EARLY_MAX);
    struct stream *up = exchange_upgrade(x, &from_up);
    c->stream = h1_leg_detach(c->leg, &c->early);
    c->leg = NULL;
    if (up && c->stream)
        start_tunnel(c, up, buf_slice(&from_up));
    else {
        stream_free(up);
        end(c, false);
    }
    buf_done(&from_up);
}

static void on_exchange_done(void *owner, enum exchange_end how)
{
    struct client *c = owner;
    struct exchange *x = c->exchange;
    c->exchange = NULL;
    switch (how) {
    case EXCHANGE_REUSE:
        if (c->ctx->draining) {
            end(c, true);
            return;
        }
        h1_leg_own(c->leg, &client_events, c);
        leg_next(h1_leg_base(c->leg));
        serve(c);
        return;
    case EXCHANGE_CLOSE: end(c, true); return;
    case EXCHANGE_ABORTED:
        c->leg = NULL; /* the exchange has freed it */
        end(c, false);
        return;
    case EXCHANGE_UPGRADED: upgraded(c, x); return;
    }
}

static void start_exchange(struct client *c, struct message *head, const struct authority *a0)
{
    enter(c, CLIENT_EXCHANGE);
    c->exchange = exchange_new(c->ctx, c->leg, head, a0, on_exchange_done, c);
    if (!c->exchange)
        end(c, false);
}

/* --- inside the tunnel --- */

static void enter_http(struct client *c)
{
    struct stream *s = c->stream;
    c->stream = NULL;
    c->leg = h1_leg_new(s, H1_REQUESTS, &client_events, c);
    if (!c->leg) {
        stream_free(s);
        end(c, false);
        return;
    }
    if (h1_leg_preload(c->leg, buf_slice(&c->early)) != 0) {
        end(c, false);
        return;
    }
    buf_done(&c->early);
    serve(c);
}

static void on_client_tls(void *owner, enum stream_event event)
{
    struct client *c = owner;
    char host[AUTHORITY_TEXT_MAX];
    if (event == STREAM_SECURED) {
        enter_http(c);
        return;
    }
    if (event != STREAM_FAILED)
        return;
    meter_refused(c->ctx->meter, "client_tls");
    log_warn(log_msg("TLS handshake with the client failed"), log_str("host", authority_key(&c->a0, host)), log_str("reason", stream_error(c->stream)),
             log_str("hint", "does the program trust ca.pem, and does its SNI name the host of its CONNECT?"));
    end(c, false);
}

static bool any_credential(const struct client *c)
{
    const struct worker_options *o = c->ctx->options;
    for (size_t i = 0; i < o->rule_count; i++)
        if (o->rules[i].credential && rule_known_host(&o->rules[i], 1, &c->a0))
            return true;
    return false;
}

static void accept_tls(struct client *c, struct tls_leaf *leaf)
{
    bool sni_optional = c->a0.kind != HOST_NAME || !any_credential(c);
    enter(c, CLIENT_TLS);
    stream_own(c->stream, on_client_tls, c);
    int failed = stream_accept_tls(c->stream, c->ctx->tls, leaf, c->a0.host, sni_optional, buf_slice(&c->early));
    tls_leaf_free(leaf);
    buf_done(&c->early);
    if (failed)
        end(c, false);
}

static void on_leaf(void *arg, struct tls_leaf *leaf, const char *error)
{
    struct client *c = arg;
    char host[AUTHORITY_TEXT_MAX];
    if (leaf) {
        accept_tls(c, leaf);
        return;
    }
    meter_refused(c->ctx->meter, "no_leaf");
    log_error(log_msg("no certificate for host"), log_str("host", authority_key(&c->a0, host)), log_str("reason", error));
    end(c, false);
}

/* The connection that CONNECT waited for goes to the pool: the first exchange will find it there. */
static void warm_upstream(struct client *c)
{
    struct upstream_target target = { &c->a0, c->rule };
    if (c->up_fd < 0)
        return;
    int fd = c->up_fd;
    c->up_fd = -1;
    pool_adopt(c->ctx->pool, &target, fd);
}

static void judge_first_byte(struct client *c)
{
    bool tls = buf_slice(&c->early).ptr[0] == 0x16; /* RFC 8446 §5.1: handshake record */
    stream_want_read(c->stream, false);
    c->a0.scheme = tls ? SCHEME_HTTPS : SCHEME_HTTP;
    if (!c->rule && c->transparent) {
        tunnel_to_dialled(c);
        return;
    }
    warm_upstream(c);
    if (!tls) {
        enter_http(c);
        return;
    }
    struct tls_leaf *leaf = leaves_get(c->ctx->leaves, c->a0.host);
    if (leaf) {
        accept_tls(c, leaf);
        return;
    }
    enter(c, CLIENT_LEAF);
    if (leaves_wait(c->ctx->leaves, c->a0.host, &c->leaf_wait, c->ctx->options->limits.tls_ms, on_leaf, c) != 0)
        end(c, false);
}

static void on_sniff(void *owner, enum stream_event event)
{
    struct client *c = owner;
    size_t got = 0;
    char *at;
    if (event == STREAM_FAILED) {
        end(c, false);
        return;
    }
    if (event != STREAM_READABLE || c->state != CLIENT_SNIFF)
        return;
    if (!(at = buf_reserve(&c->early, LEG_READ_BYTES))) {
        end(c, false);
        return;
    }
    switch (stream_read(c->stream, at, LEG_READ_BYTES, &got)) {
    case STREAM_AGAIN: return;
    case STREAM_EOF:
    case STREAM_ERROR: end(c, false); return;
    case STREAM_OK: break;
    }
    buf_grow(&c->early, got);
    judge_first_byte(c);
}

static void sniff(struct client *c)
{
    enter(c, CLIENT_SNIFF);
    c->in_tunnel = true;
    stream_own(c->stream, on_sniff, c);
    if (c->early.len)
        judge_first_byte(c);
    else
        stream_want_read(c->stream, true);
}

/* --- CONNECT --- */

static void connect_refused(struct client *c, enum dial_error error, const char *text)
{
    int status = error == DIAL_FORBIDDEN ? 403 : error == DIAL_TIMEOUT ? 504 : 502;
    if (c->transparent) {
        meter_refused(c->ctx->meter, "upstream_unreachable");
        log_warn(log_msg("upstream not reached"), log_str("reason", text));
        end(c, false);
        return;
    }
    refuse(c, &(struct problem){ .status = status, .error = dial_error_label(error), .detail = text,
                                 .reason = error == DIAL_FORBIDDEN ? "address_not_allowed" : "upstream_unreachable",
                                 .hint = error == DIAL_FORBIDDEN ? "private and loopback addresses are listed in network.allow_private" : NULL },
           false);
}

static void connect_ready(struct client *c)
{
    if (!c->transparent) {
        c->stream = h1_leg_detach(c->leg, &c->early);
        c->leg = NULL;
        if (!c->stream || stream_write(c->stream, SLICE("HTTP/1.1 200 Connection established\r\n\r\n")) != 0) {
            end(c, false);
            return;
        }
    }
    if (c->rule || c->transparent)
        sniff(c);
    else
        tunnel_to_dialled(c);
}

static void on_dialled(void *arg, int fd, enum dial_error error, const char *text)
{
    struct client *c = arg;
    c->dial = NULL;
    c->up_fd = fd;
    if (error == DIAL_OK)
        connect_ready(c);
    else
        connect_refused(c, error, text);
}

/* a0 is fixed.  Dial first: who asked learns at once when the upstream is down. */
static void reach(struct client *c)
{
    struct upstream_target target = { &c->a0, c->rule };
    enter(c, CLIENT_DIAL);
    if (c->rule && pool_has(c->ctx->pool, &target)) {
        connect_ready(c);
        return;
    }
    c->dial = dial_start(c->ctx->dialer, &c->a0, on_dialled, c);
    if (!c->dial)
        end(c, false);
}

static void on_connect(struct client *c, const struct message *head)
{
    const struct worker_options *o = c->ctx->options;
    if (authority_parse(message_target(head), SCHEME_HTTPS, 0, &c->a0) != 0) {
        refuse(c, &(struct problem){ .status = 400, .reason = "connect_target", .detail = "CONNECT needs host:port",
                                     .hint = "names are lower-case letters, digits, '-', '_' and '.'; addresses are dotted quads or [v6]" },
               false);
        return;
    }
    c->rule = first_rule(c->ctx, &c->a0);
    if (!c->rule && o->unmatched == UNMATCHED_DENY) {
        refuse(c, &(struct problem){ .status = 403, .error = "http_request_denied", .reason = "host_not_allowed",
                                     .detail = "no rule knows this host and port, and unmatched is deny", .hint = "sidekey why GET https://HOST/ explains" },
               false);
        return;
    }
    reach(c);
}

/* --- requests to the proxy itself --- */

static bool password_fits(const struct client *c, const struct message *head)
{
    struct slice value = message_get(head, SLICE("proxy-authorization"), NULL), scheme, rest, password;
    struct buf plain;
    scheme = slice_cut(value, ' ', &rest);
    if (!slice_ieq(scheme, SLICE("Basic")))
        return false;
    buf_init_secret(&plain, 4096);
    bool fits = false;
    if (str_add_unbase64(&plain, slice_trim(rest)) == 0) {
        slice_cut(buf_slice(&plain), ':', &password);
        fits = slice_eq_secret(password, slice_str(c->ctx->options->proxy_password));
    }
    buf_done(&plain);
    return fits;
}

static void proxy_head(struct client *c, struct message *head)
{
    struct authority a0;
    struct slice path;
    if (c->ctx->options->proxy_password && !password_fits(c, head)) {
        refuse(c, &(struct problem){ .status = 407, .reason = "proxy_auth", .detail = "this proxy wants a password", .field_name = "Proxy-Authenticate",
                                     .field_value = "Basic realm=\"sidekey\"", .hint = "use the proxy URL with its user and password" },
               head->framing == FRAMING_NONE);
        return;
    }
    if (slice_eq(message_method(head), SLICE("CONNECT"))) {
        leg_want(h1_leg_base(c->leg), false);
        on_connect(c, head);
        return;
    }
    if (authority_parse_uri(message_target(head), &a0, &path) != 0 || a0.scheme != SCHEME_HTTP) {
        refuse(c, &(struct problem){ .status = 400, .reason = "not_a_proxy_request", .detail = "this is a proxy: it takes CONNECT and http:// requests",
                                     .hint = "set HTTPS_PROXY and HTTP_PROXY to this address instead of calling it" },
               false);
        return;
    }
    c->a0 = a0;
    start_exchange(c, head, &a0);
}

static void client_head(void *owner, struct message *head)
{
    struct client *c = owner;
    if (c->in_tunnel)
        start_exchange(c, head, &c->a0);
    else
        proxy_head(c, head);
}

static void client_data(void *owner, struct slice data)
{
    (void)owner;
    (void)data; /* the body of a refused request */
}

static void client_message_end(void *owner, struct message *trailers)
{
    struct client *c = owner;
    (void)trailers;
    if (c->state == CLIENT_PROXY) { /* a refused request that keeps the connection (407) */
        leg_next(h1_leg_base(c->leg));
        serve(c);
    }
}

static void client_room(void *owner)
{
    (void)owner;
}

static void client_gone(void *owner, const struct leg_fault *fault)
{
    struct client *c = owner;
    bool speak = !fault->clean && fault->status >= 400 && fault->status != 502;
    if (!speak) {
        end(c, false);
        return;
    }
    refuse(c, &(struct problem){ .status = fault->status, .error = "http_request_error", .reason = fault->label, .detail = fault->text }, false);
}

static const struct leg_events client_events = { client_head, client_data, client_message_end, client_room, client_gone };

/* A head that was incomplete at the last look and still is has had its time; a connection without one may idle. */
static void on_waiting_for_head(struct client *c)
{
    const struct worker_limits *l = &c->ctx->options->limits;
    enum client_look last = c->look;
    c->look = h1_leg_started(c->leg) ? LOOK_PARTIAL : LOOK_IDLE;
    if (c->look == LOOK_PARTIAL && (last == LOOK_PARTIAL || c->state == CLIENT_PROXY))
        refuse(c, &(struct problem){ .status = 408, .reason = "head_timeout", .detail = "the request's head did not come in time" }, false);
    else if (c->look == LOOK_IDLE && last == LOOK_IDLE)
        end(c, false); /* idle for long enough */
    else
        deadline_set(&c->deadline, c->look == LOOK_PARTIAL ? l->head_ms : l->idle_ms);
}

static void on_deadline(void *arg)
{
    struct client *c = arg;
    if (c->state == CLIENT_SERVE || c->state == CLIENT_PROXY) {
        on_waiting_for_head(c);
        return;
    }
    if (c->state == CLIENT_DIAL && !c->transparent) {
        connect_refused(c, DIAL_TIMEOUT, "the upstream was not reached in time");
        return;
    }
    meter_refused(c->ctx->meter, c->state == CLIENT_TLS ? "client_tls_timeout" : "client_timeout");
    end(c, false);
}

/* --- birth --- */

static struct client *client_new(struct context *ctx, int fd)
{
    struct client *c = calloc(1, sizeof *c);
    struct stream *s = c ? stream_new(fd, ignore_event, c) : NULL;
    if (!s) {
        close(fd);
        free(c);
        return NULL;
    }
    c->ctx = ctx;
    c->stream = s;
    c->up_fd = -1;
    buf_init(&c->early, EARLY_MAX);
    later_init(&c->burial, on_burial);
    deadline_init(&c->deadline, on_deadline, c);
    list_push(&ctx->clients, &c->node);
    ctx->client_count++;
    meter_gauge(ctx->meter, METER_CLIENT, ctx->client_count);
    return c;
}

void client_accept(struct context *ctx, int fd)
{
    struct client *c = client_new(ctx, fd);
    if (c)
        enter_http(c);
}

void client_accept_transparent(struct context *ctx, int fd)
{
    struct sockaddr_storage local;
    socklen_t len = sizeof local;
    struct client *c = client_new(ctx, fd);
    char host[AUTHORITY_HOST_MAX + 1];
    uint16_t port;
    if (!c)
        return;
    c->transparent = true;
    if (!ctx->hints || getsockname(fd, (struct sockaddr *)&local, &len) != 0 || hints_lookup(ctx->hints, (struct sockaddr *)&local, host, &port) != 0 ||
        authority_parse(slice_str(host), SCHEME_HTTPS, port, &c->a0) != 0) {
        meter_refused(ctx->meter, "no_hint");
        log_warn(log_msg("transparent connection without a valid hint"));
        end(c, false);
        return;
    }
    c->a0.port = port;
    c->rule = first_rule(ctx, &c->a0);
    if (!c->rule && ctx->options->unmatched == UNMATCHED_DENY) {
        meter_refused(ctx->meter, "host_not_allowed");
        end(c, false);
        return;
    }
    reach(c);
}

void clients_drain(struct context *ctx)
{
    for (struct list *n = ctx->clients.next, *next; n != &ctx->clients; n = next) {
        struct client *c = LIST_ENTRY(n, struct client, node);
        next = n->next;
        if ((c->state == CLIENT_SERVE || c->state == CLIENT_PROXY) && !h1_leg_started(c->leg))
            end(c, false);
    }
}

void clients_close(struct context *ctx)
{
    while (!list_empty(&ctx->clients))
        end(LIST_ENTRY(ctx->clients.next, struct client, node), false);
}
