#include "proxy/h2_server.h"

#include "base/clock.h"
#include "base/log.h"
#include "net/timer.h"
#include "proxy/exchange.h"
#include "proxy/grpc.h"
#include "proxy/h2_conn.h"

#include <stdio.h>
#include <stdlib.h>

#define BODY_MAX (16 * 1024)
#define PARK_MS 2000
#define RESETS_MAX 100 /* of a client, in RESETS_MS, before its requests get upstream connections of their own */
#define RESETS_MS 10000

struct h2_server {
    struct context *ctx;
    struct authority a0;
    const struct access_client *who;
    struct h2_conn *conn;
    h2_server_done_fn *done;
    void *owner;
    struct list requests; /* struct request.node */
    struct timer idle, sweep;
    struct later deferred_free;
    int64_t idle_since_ms, resets_since_ms;
    unsigned resets;
    bool over, leaving, falls_back;
    char sharer[H2_SHARER_TEXT], alone[H2_SHARER_TEXT];
};

struct request {
    struct list node;
    struct h2_server *server;
    struct leg *leg;
    struct exchange *exchange;
};

/* --- the connection --- */

static void on_deferred_free(struct later *later)
{
    free(LIST_ENTRY(later, struct h2_server, deferred_free));
}

static void finish(struct h2_server *s, enum close_reason reason)
{
    if (s->over)
        return;
    s->over = true;
    s->done(s->owner, reason);
}

static void on_idle(void *arg)
{
    struct h2_server *s = arg;
    int64_t idle_ms = s->ctx->options->limits.idle_ms, left_ms = s->idle_since_ms + idle_ms - clock_mono_ms();
    if (h2_conn_open(s->conn) || left_ms > 0) {
        h2_conn_park(s->conn);
        timer_set(&s->idle, left_ms > PARK_MS ? left_ms : PARK_MS);
        return;
    }
    h2_conn_go_away(s->conn, H2_NO_ERROR);
    finish(s, CLOSE_IDLE);
}

/* Answers that are over for us, and that the client does not take: their memory is everybody's. */
static void on_sweep(void *arg)
{
    struct h2_server *s = arg;
    int64_t idle_ms = s->ctx->options->limits.idle_ms;
    h2_conn_sweep(s->conn, idle_ms);
    timer_set(&s->sweep, idle_ms / 2);
}

static void rest(struct h2_server *s)
{
    if (!list_empty(&s->requests))
        return;
    s->idle_since_ms = clock_mono_ms();
    timer_set(&s->idle, PARK_MS);
}

/* --- requests --- */

static void forget(struct request *r)
{
    struct h2_server *s = r->server;
    list_remove(&r->node);
    free(r);
    meter_streams(s->ctx->meter, METER_CLIENT, -1);
    rest(s);
}

/* A client whose resets would end the connection of others is alone with what it does. */
static void count_reset(struct h2_server *s)
{
    int64_t now_ms = clock_mono_ms();
    if (now_ms - s->resets_since_ms > RESETS_MS) {
        s->resets_since_ms = now_ms;
        s->resets = 0;
    }
    s->resets++;
}

static const char *sharer_of(struct h2_server *s)
{
    bool many = s->resets > RESETS_MAX && clock_mono_ms() - s->resets_since_ms <= RESETS_MS;
    return many ? s->alone : s->sharer;
}

static void on_done(void *owner, enum exchange_end end)
{
    struct request *r = owner;
    struct h2_server *s = r->server;
    if (end == EXCHANGE_LEFT)
        count_reset(s);
    if (end != EXCHANGE_LEFT && end != EXCHANGE_ABORTED) /* else the exchange has freed it */
        leg_free(r->leg);
    forget(r);
    if (s->falls_back) /* the next connection of the program is HTTP/1.1 */
        h2_server_drain(s);
}

static void answer(struct h2_server *s, struct leg *leg, const struct message *head, const struct problem *p)
{
    struct message m;
    struct buf body;
    char host[AUTHORITY_TEXT_MAX];
    meter_refused(s->ctx->meter, p->reason);
    log_warn(log_msg("refused"), log_str("reason", p->reason), log_int("status", p->status),
             log_str("detail", p->detail ? p->detail : ""), log_str("host", authority_key(&s->a0, host)),
             log_str("client", s->who ? s->who->name : ""));
    message_init(&m);
    buf_init(&body, BODY_MAX);
    int failed = grpc_is_call(head) ? grpc_build(p, &m) : problem_build(p, true, &m, &body);
    if (failed == 0 && (failed = leg_head(leg, &m, false)) == 0 && (failed = leg_data(leg, buf_slice(&body))) == 0)
        failed = leg_end(leg, NULL);
    buf_done(&body);
    message_done(&m);
    if (failed)
        leg_abort(leg);
    else
        leg_free(leg);
}

static void ignore_head(void *owner, struct message *head)
{
    (void)owner;
    (void)head;
}

static void ignore_data(void *owner, struct slice data)
{
    (void)owner;
    (void)data;
}

static void ignore_space(void *owner)
{
    (void)owner;
}

static void ignore_gone(void *owner, const struct leg_fault *fault)
{
    (void)owner;
    (void)fault;
}

static const struct leg_events no_events = { ignore_head, ignore_data, ignore_head, ignore_space, ignore_gone };

static void begin(struct h2_server *s, struct leg *leg, struct message *head)
{
    struct request *r = calloc(1, sizeof *r);
    if (!r) {
        leg_abort(leg);
        return;
    }
    *r = (struct request){ .server = s, .leg = leg };
    list_init(&r->node);
    leg->sharer = sharer_of(s);
    leg->falls_back = &s->falls_back;
    timer_stop(&s->idle);
    list_push(&s->requests, &r->node);
    meter_streams(s->ctx->meter, METER_CLIENT, 1);
    r->exchange = exchange_new(s->ctx, leg, head, &s->a0, s->who, NULL, on_done, r);
    if (r->exchange)
        return;
    leg_abort(leg);
    forget(r);
}

static void on_opened(void *owner, struct leg *leg, struct message *head, int status, const char *reason)
{
    struct h2_server *s = owner;
    leg_own(leg, &no_events, NULL);
    if (!status)
        begin(s, leg, head);
    else
        answer(
            s, leg, head,
            &(struct problem){ .status = status,
                               .reason = reason,
                               .detail = "the request's head is not acceptable",
                               .hint = ":authority, SNI and CONNECT must name the same host, and :scheme is https" });
}

static void on_ended(void *owner, const struct leg_fault *fault)
{
    struct h2_server *s = owner;
    char host[AUTHORITY_TEXT_MAX];
    if (!fault->clean && strcmp(fault->label, "http_protocol_error") == 0) {
        meter_refused(s->ctx->meter, "http2_protocol");
        log_warn(log_msg("an HTTP/2 client broke the protocol, or exceeded a limit: sidekey closed its connection"),
                 log_str("reason", fault->text), log_str("host", authority_key(&s->a0, host)),
                 log_str("client", s->who ? s->who->name : ""));
    }
    finish(s, s->leaving ? CLOSE_DRAINING : CLOSE_PEER_CLOSED);
}

static const struct h2_conn_events conn_events = { on_opened, NULL, NULL, on_ended };

const char *h2_server_sharer(const struct access_client *who, const struct access_peer *peer, char text[H2_SHARER_TEXT])
{
    text[0] = '\0';
    if (who)
        snprintf(text, H2_SHARER_TEXT, "c:%s", who->name);
    else if (peer->local)
        snprintf(text, H2_SHARER_TEXT, "u:%u", (unsigned)peer->uid);
    return text;
}

static void name_sharers(struct h2_server *s, const struct access_peer *peer)
{
    static unsigned long long serial;
    (void)h2_server_sharer(s->who, peer, s->sharer);
    snprintf(s->alone, sizeof s->alone, "#%llu", ++serial);
}

struct h2_server *h2_server_new(struct stream *stream, const struct h2_server_options *o, h2_server_done_fn *done,
                                void *owner)
{
    const struct worker_limits *limits = &o->ctx->options->limits;
    const struct h2_options options = { H2_SERVER, pool_budget(o->ctx->pool), limits->fields,
                                        (size_t)limits->request_line_bytes };
    struct h2_server *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->ctx = o->ctx;
    s->a0 = *o->a0;
    s->who = o->who;
    s->done = done;
    s->owner = owner;
    list_init(&s->requests);
    timer_init(&s->idle, on_idle, s);
    timer_init(&s->sweep, on_sweep, s);
    loop_later_init(&s->deferred_free, on_deferred_free);
    name_sharers(s, o->peer);
    s->conn = h2_conn_new(stream, &options, &conn_events, s);
    if (!s->conn) {
        free(s);
        return NULL;
    }
    timer_set(&s->sweep, limits->idle_ms / 2);
    rest(s);
    return s;
}

void h2_server_free(struct h2_server *s)
{
    if (!s)
        return;
    s->over = true;
    while (!list_empty(&s->requests)) {
        struct request *r = LIST_ENTRY(s->requests.next, struct request, node);
        exchange_cancel(r->exchange);
        leg_free(r->leg);
        forget(r);
    }
    timer_stop(&s->idle);
    timer_stop(&s->sweep);
    h2_conn_free(s->conn);
    loop_later_ask(&s->deferred_free); /* an event of the connection may be under way */
}

void h2_server_drain(struct h2_server *s)
{
    if (!s || s->leaving)
        return;
    s->leaving = true;
    h2_conn_go_away(s->conn, H2_NO_ERROR);
}

bool h2_server_idle(const struct h2_server *s)
{
    return list_empty(&s->requests);
}

void h2_server_interrupt(struct h2_server *s)
{
    if (!s)
        return;
    for (struct list *n = s->requests.next, *next; n != &s->requests; n = next) {
        next = n->next;
        exchange_interrupt(LIST_ENTRY(n, struct request, node)->exchange);
    }
}
