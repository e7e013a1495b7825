/* The life of a client: its states, its end, and the end of all of them. */
#include "proxy/client_private.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>
#include <unistd.h>

#define PROBLEM_BODY_MAX (16 * 1024)
#define PARK_MS 2000 /* whoever asks for nothing that long needs no buffers */

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
    leaves_wait_cancel(&c->leaf_wait);
    pool_protocol_cancel(&c->protocol_wait);
    h2_server_free(c->h2);
    if (c->exchange)
        exchange_cancel(c->exchange);
    tunnel_free(c->tunnel);
    if (c->counted)
        meter_gauge_add(ctx->meter, METER_TUNNEL, -1);
    if (c->up_fd >= 0)
        close(c->up_fd);
    pool_release(c->reserved);
    pool_warm_cancel(&c->warm);
    stream_free(c->stream);
    free_leg(c->leg);
    client_slot_leave(c);
    list_remove(&c->node);
    ctx->client_count--;
    meter_gauge(ctx->meter, METER_CLIENT, ctx->client_count);
    loop_later_ask(&c->deferred_free);
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

int64_t client_drain_idle_ms(const struct context *ctx)
{
    return ctx->drain_idle_ms > CLIENT_NEWCOMER_MS ? ctx->drain_idle_ms : CLIENT_NEWCOMER_MS;
}

/* --- birth --- */

void client_ignore_event(void *owner, enum stream_event event)
{
    (void)owner;
    (void)event;
}

struct client *client_new(struct context *ctx, int fd, timer_fn *on_deadline)
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
    loop_later_init(&c->deferred_free, on_deferred_free);
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
        timer_set(&c->deadline, before_parking(client_drain_idle_ms(ctx)));
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
