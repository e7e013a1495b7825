#include "proxy/client_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "http/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PROBLEM_BODY_MAX (16 * 1024)
#define NEWCOMER_MS 1000
#define PARK_MS 2000 /* whoever asks for nothing that long needs no buffers */

static const struct leg_events client_events;
static void on_deadline(void *arg);

static int64_t before_parking(int64_t ms)
{
    return ms < PARK_MS ? ms : PARK_MS;
}

/* Every state has a deadline: one place that sets it. */
void client_enter(struct client *c, enum client_state next)
{
    const struct worker_limits *l = &c->ctx->options->limits;
    const int64_t ms[] = {
        [CLIENT_PROXY] = before_parking(l->connect_head_ms),
        [CLIENT_DIAL] = l->dial_ms + 1000,
        [CLIENT_SNIFF] = l->connect_head_ms,
        [CLIENT_LOOKUP] = l->dial_ms + 1000,
        [CLIENT_ALPN] = l->dial_ms + l->tls_ms + 1000,
        [CLIENT_LEAF] = l->tls_ms,
        [CLIENT_TLS] = l->tls_ms,
        [CLIENT_SERVE] = before_parking(l->head_ms),
        [CLIENT_EXCHANGE] = 0,
        [CLIENT_OVER] = 0,
    };
    c->state = next;
    c->since_ms = clock_mono_ms();
    if (ms[next])
        timer_set(&c->deadline, ms[next]);
    else
        timer_stop(&c->deadline);
}

static void on_deferred_free(struct later *later)
{
    struct client *c = LIST_ENTRY(later, struct client, deferred_free);
    buf_done(&c->early);
    free(c->base);
    free(c);
}

static void report_end(const struct client *c, enum close_reason reason)
{
    char host[AUTHORITY_TEXT_MAX];
    meter_close(c->ctx->meter, METER_CLIENT, reason);
    log_debug(log_msg("client connection closed"), log_str("reason", close_reason_word(reason)),
              log_str("host", c->a0.port ? authority_key(&c->a0, host) : ""),
              log_str("client", c->who ? c->who->name : ""));
}

static void end(struct client *c, enum close_reason reason, void (*free_leg)(struct h1_leg *))
{
    struct context *ctx = c->ctx;
    if (c->state == CLIENT_OVER)
        return;
    client_enter(c, CLIENT_OVER);
    report_end(c, reason);
    dial_cancel(c->dial);
    dial_lookup_cancel(c->lookup);
    leaf_wait_cancel(&c->leaf_wait);
    protocol_wait_cancel(&c->protocol_wait);
    h2_server_free(c->h2);
    if (c->exchange)
        exchange_cancel(c->exchange);
    tunnel_free(c->tunnel);
    if (c->counted)
        meter_gauge_add(ctx->meter, METER_TUNNEL, -1);
    if (c->up_fd >= 0)
        close(c->up_fd);
    pool_release(c->reserved);
    upstream_warm_cancel(&c->warm);
    stream_free(c->stream);
    free_leg(c->leg);
    client_slot_leave(c);
    list_remove(&c->node);
    ctx->client_count--;
    meter_gauge(ctx->meter, METER_CLIENT, ctx->client_count);
    later_ask(&c->deferred_free);
    ctx->on_client_end(ctx);
}

void client_end(struct client *c, enum close_reason reason)
{
    end(c, reason, h1_leg_free);
}

void client_end_gently(struct client *c, enum close_reason reason)
{
    end(c, reason, h1_leg_free_gently);
}

void client_refuse(struct client *c, const struct problem *p, bool keep)
{
    struct message m;
    struct buf body;
    char host[AUTHORITY_TEXT_MAX];
    meter_refused(c->ctx->meter, p->reason);
    log_warn(log_msg("refused"), log_str("reason", p->reason), log_int("status", p->status),
             log_str("detail", p->detail ? p->detail : ""),
             log_str("host", c->a0.port ? authority_key(&c->a0, host) : ""),
             log_str("client", c->who ? c->who->name : ""));
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
        client_end_gently(c, CLOSE_REFUSED);
}

/* --- exchanges --- */

/* Who sends requests and does not read the answers waits until the answers are out. */
static void serve(struct client *c)
{
    client_enter(c, c->in_tunnel ? CLIENT_SERVE : CLIENT_PROXY);
    if (c->ctx->leaving)
        timer_set(&c->deadline, NEWCOMER_MS);
    leg_want(h1_leg_base(c->leg), leg_space(h1_leg_base(c->leg)) >= LEG_READ_BYTES);
}

static void upgraded(struct client *c, struct exchange *x)
{
    struct buf from_up;
    buf_init(&from_up, CLIENT_EARLY_MAX);
    struct stream *up = exchange_upgrade(x, &from_up);
    c->stream = h1_leg_detach(c->leg, &c->early);
    c->leg = NULL;
    if (up && c->stream)
        client_start_tunnel(c, up, buf_slice(&from_up));
    else {
        stream_free(up);
        client_end(c, CLOSE_OUT_OF_MEMORY);
    }
    buf_done(&from_up);
}

static void on_exchange_done(void *owner, enum exchange_end how)
{
    struct client *c = owner;
    struct exchange *x = c->exchange;
    c->exchange = NULL;
    c->served = true;
    switch (how) {
    case EXCHANGE_REUSE:
        if (c->ctx->leaving) {
            client_end_gently(c, CLOSE_DRAINING);
            return;
        } /* after a reload: it was promised one more request */
        leg_own(h1_leg_base(c->leg), &client_events, c);
        leg_next(h1_leg_base(c->leg));
        serve(c);
        return;
    case EXCHANGE_CLOSE: client_end_gently(c, CLOSE_ANSWERED); return;
    case EXCHANGE_ABORTED:
    case EXCHANGE_LEFT:
        c->leg = NULL; /* the exchange has freed it */
        client_end(c, how == EXCHANGE_LEFT ? CLOSE_PEER_CLOSED : CLOSE_ABORTED);
        return;
    case EXCHANGE_UPGRADED: upgraded(c, x); return;
    }
}

static void start_exchange(struct client *c, struct message *head, const struct authority *a0)
{
    client_enter(c, CLIENT_EXCHANGE);
    (void)!client_slot_settle(c, NULL);
    c->exchange = exchange_new(c->ctx, h1_leg_base(c->leg), head, a0, c->who, c->base, on_exchange_done, c);
    if (!c->exchange)
        client_end(c, CLOSE_OUT_OF_MEMORY);
}

/* --- inside the tunnel --- */

void client_enter_http(struct client *c)
{
    struct stream *s = c->stream;
    c->stream = NULL;
    c->leg = h1_leg_new(s, H1_REQUESTS, &client_events, c);
    if (!c->leg) {
        stream_free(s);
        client_end(c, CLOSE_OUT_OF_MEMORY);
        return;
    }
    h1_leg_limit(c->leg, c->ctx->options->limits.fields, (unsigned)c->ctx->options->limits.request_line_bytes);
    if (h1_leg_preload(c->leg, buf_slice(&c->early)) != 0) {
        client_end(c, CLOSE_OUT_OF_MEMORY);
        return;
    }
    buf_done(&c->early);
    if (c->in_tunnel)
        (void)!client_slot_settle(c, NULL); /* a handshake was made */
    serve(c);
}

/* --- requests to the proxy itself --- */

/* A name, a known uid or a password is an identity.  false: refused. */
static bool take_slot(struct client *c)
{
    bool shown = c->who || (!c->peer.local && c->ctx->options->proxy_password);
    if (!shown || client_slot_settle(c, c->who))
        return true;
    client_refuse(c,
                  &(struct problem){ .status = 503,
                                     .error = "proxy_internal_response",
                                     .reason = "client_share",
                                     .detail = "this client already has its share of limits.connections",
                                     .retry_after_s = 1 },
                  false);
    return false;
}

/* false: refused. */
static bool is_admitted(struct client *c, const struct message *head)
{
    char detail[96];
    switch (access_check(c->ctx->access, head, &c->peer, &c->who)) {
    case ACCESS_GRANTED: return take_slot(c);
    case ACCESS_ASK:
        client_refuse(
            c,
            &(struct problem){ .status = 407,
                               .reason = "proxy_auth",
                               .detail = "this proxy requires a password",
                               .field_name = "Proxy-Authenticate",
                               .field_value = "Basic realm=\"sidekey\"",
                               .hint = "use a proxy URL with user and password: http://USER:PASSWORD@HOST:PORT" },
            /* the parser takes what follows a CONNECT for a tunnel */
            head->framing == FRAMING_NONE && !slice_eq(message_method(head), SLICE("CONNECT")));
        return false;
    case ACCESS_STRANGER: break;
    }
    snprintf(detail, sizeof detail, "uid %u is not allowed to use this proxy", (unsigned)c->peer.uid);
    client_refuse(
        c,
        &(struct problem){ .status = 403,
                           .error = "http_request_denied",
                           .reason = "peer_not_allowed",
                           .detail = detail,
                           .hint = "list the uid under clients.NAME.uids, or send a client's name and password" },
        false);
    return false;
}

/* Anybody who reaches an open TCP port could use a credential with one plain request, a web page too; CONNECT demands a
 * TLS client at least. */
static bool takes_absolute_https(const struct client *c)
{
    const struct worker_options *o = c->ctx->options;
    return c->peer.local || o->client_count || o->proxy_password || o->absolute_https;
}

/* "GET https://host/path" to the proxy itself, as some clients send it: we speak TLS for them.  false: refused. */
static bool admit_absolute_https(struct client *c, const struct message *head)
{
    struct rules_verdict v = rules_check_absolute_https(head, &c->a0);
    struct problem p = { .status = 403, .error = "http_request_denied", .reason = v.reason };
    c->rule = access_first_rule(c->ctx->access, c->who, &c->a0);
    if (!takes_absolute_https(c)) {
        p.reason = "absolute_https";
        p.detail = "an https:// URL in the request line is not accepted on an open port";
        p.hint = "use CONNECT, listen.socket or a client's password; or set clients.absolute_https: true";
    } else if (v.status) {
        p.detail = "Host differs from the URL, or a browser sent this for a web page";
        p.hint = "use CONNECT for https, as browsers do";
    } else if (client_may_reach(c)) {
        client_report_unmatched(c);
        return true;
    } else {
        return false; /* it was refused */
    }
    client_refuse(c, &p, false);
    return false;
}

static void proxy_head(struct client *c, struct message *head)
{
    struct authority a0;
    struct slice path;
    if (!is_admitted(c, head))
        return;
    if (slice_eq(message_method(head), SLICE("CONNECT"))) {
        leg_want(h1_leg_base(c->leg), false);
        client_connect(c, head);
        return;
    }
    if (authority_parse_uri(message_target(head), &a0, &path) != 0) {
        client_refuse(
            c,
            &(struct problem){ .status = 400,
                               .reason = "not_a_proxy_request",
                               .detail = "this is a proxy: it accepts CONNECT, http:// and https:// requests",
                               .hint = "set HTTPS_PROXY and HTTP_PROXY to this address instead of calling it" },
            false);
        return;
    }
    c->a0 = a0;
    h1_leg_ends_with_request(c->leg, a0.scheme != SCHEME_HTTP);
    if (!client_probe(c, head) && (a0.scheme == SCHEME_HTTP || admit_absolute_https(c, head)))
        start_exchange(c, head, &a0);
}

static void client_head(void *owner, struct message *head)
{
    struct client *c = owner;
    if ((c->gateway && !client_gateway(c, head)) || (c->in_tunnel && client_probe(c, head)))
        return;
    if (c->in_tunnel || c->gateway)
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
    /* of a refused request that keeps the connection (407, 421) */
    if (c->state == CLIENT_PROXY || c->state == CLIENT_SERVE) {
        leg_next(h1_leg_base(c->leg));
        serve(c);
    }
}

static void client_space(void *owner)
{
    struct client *c = owner;
    if (c->state == CLIENT_PROXY || c->state == CLIENT_SERVE)
        leg_want(h1_leg_base(c->leg), true);
}

static void client_gone(void *owner, const struct leg_fault *fault)
{
    struct client *c = owner;
    bool speak = !fault->clean && fault->status >= 400 && fault->status != 502;
    if (!speak) {
        /* it may have ended its side only, and read slowly */
        if (fault->clean && !stream_drained(h1_leg_stream(c->leg)))
            client_end_gently(c, CLOSE_PEER_CLOSED);
        else
            client_end(c, CLOSE_PEER_CLOSED);
        return;
    }
    client_refuse(
        c,
        &(struct problem){
            .status = fault->status, .error = "http_request_error", .reason = fault->label, .detail = fault->text },
        false);
}

static const struct leg_events client_events = { client_head, client_data, client_message_end, client_space,
                                                 client_gone };

static int64_t drain_idle_ms(const struct context *ctx)
{
    return ctx->drain_idle_ms > NEWCOMER_MS ? ctx->drain_idle_ms : NEWCOMER_MS;
}

/* A head that has begun has its time from its first byte on; a connection without one may idle. */
static void on_waiting_for_head(struct client *c)
{
    const struct worker_limits *l = &c->ctx->options->limits;
    int64_t now_ms = clock_mono_ms(), started_ms = h1_leg_started_ms(c->leg);
    int64_t head_ms = c->state == CLIENT_PROXY ? l->connect_head_ms : l->head_ms;
    int64_t idle_ms;
    if (c->ctx->draining)
        idle_ms = drain_idle_ms(c->ctx);
    else if (c->in_tunnel || c->served)
        idle_ms = l->idle_ms;
    else
        idle_ms = l->connect_head_ms;
    int64_t left_ms = started_ms ? started_ms + head_ms - now_ms : c->since_ms + idle_ms - now_ms;
    h1_leg_park(c->leg);
    if (left_ms > 0)
        timer_set(&c->deadline, left_ms < head_ms ? left_ms : head_ms);
    else if (started_ms)
        client_refuse(c,
                      &(struct problem){ .status = 408,
                                         .reason = "head_timeout",
                                         .detail = "the request head did not arrive in time" },
                      false);
    else if (c->ctx->draining)
        client_end_gently(c, CLOSE_DRAINING); /* with close_notify: whoever comes next must not take it for alive */
    else
        client_end(c, CLOSE_IDLE);
}

static void on_deadline(void *arg)
{
    struct client *c = arg;
    if (c->state == CLIENT_SERVE || c->state == CLIENT_PROXY) {
        on_waiting_for_head(c);
        return;
    }
    if (c->state == CLIENT_DIAL && !c->transparent) {
        client_connect_refused(c, DIAL_TIMEOUT, "no connection to the upstream in time");
        return;
    }
    if (c->state == CLIENT_SNIFF && !c->rule && !c->early.len && c->up_fd >= 0) {
        client_tunnel(c); /* its server speaks first */
        return;
    }
    /* what is kept while the first bytes are awaited is a part of a ClientHello */
    bool tls = c->state == CLIENT_TLS || (c->state == CLIENT_SNIFF && c->early.len);
    meter_refused(c->ctx->meter, tls ? "client_tls_timeout" : "client_timeout");
    client_end(c, CLOSE_TIMEOUT);
}

/* --- birth --- */

struct client *client_new(struct context *ctx, int fd)
{
    struct client *c = calloc(1, sizeof *c);
    struct stream *s = c ? stream_new(fd, client_ignore_event, c) : NULL;
    if (!s) {
        close(fd);
        free(c);
        return NULL;
    }
    c->ctx = ctx;
    c->stream = s;
    c->up_fd = -1;
    buf_init(&c->early, CLIENT_EARLY_MAX);
    later_init(&c->deferred_free, on_deferred_free);
    timer_init(&c->deadline, on_deadline, c);
    list_init(&c->newcomer);
    list_push(&ctx->clients, &c->node);
    ctx->client_count++;
    meter_gauge(ctx->meter, METER_CLIENT, ctx->client_count);
    struct client *oldest = client_slot_arrive(c);
    if (oldest)
        client_end(oldest, CLOSE_CROWDED_OUT);
    return c;
}

void clients_drain(struct context *ctx)
{
    for (struct list *n = ctx->clients.next, *next; n != &ctx->clients; n = next) {
        struct client *c = LIST_ENTRY(n, struct client, node);
        next = n->next;
        h2_server_drain(c->h2);
        if ((c->state != CLIENT_SERVE && c->state != CLIENT_PROXY) || leg_started(h1_leg_base(c->leg)))
            continue;
        if (c->served && ctx->drain_idle_ms == 0) {
            client_end(c, CLOSE_DRAINING);
            continue;
        }
        c->since_ms = clock_mono_ms(); /* its request may be on the way */
        timer_set(&c->deadline, before_parking(drain_idle_ms(ctx)));
    }
}

void clients_hurry(struct context *ctx)
{
    for (struct list *n = ctx->clients.next, *next; n != &ctx->clients; n = next) {
        struct client *c = LIST_ENTRY(n, struct client, node);
        bool between = c->state == CLIENT_SERVE || c->state == CLIENT_PROXY;
        next = n->next;
        if (c->tunnel || (c->h2 && h2_server_idle(c->h2)) || (between && !leg_started(h1_leg_base(c->leg))))
            client_end_gently(c, CLOSE_DRAINING);
    }
}

void clients_close(struct context *ctx)
{
    while (!list_empty(&ctx->clients)) {
        struct client *c = LIST_ENTRY(ctx->clients.next, struct client, node);
        if (c->exchange)
            exchange_interrupt(c->exchange);
        h2_server_interrupt(c->h2);
        client_end(c, CLOSE_SHUTTING_DOWN);
    }
}
