/* What happens when a state of a client has lasted too long. */
#include "base/clock.h"
#include "proxy/client_private.h"

/* A head that has begun has its time from its first byte on; a connection without one may idle. */
static void on_waiting_for_head(struct client *c)
{
    const struct worker_limits *l = &c->ctx->options->limits;
    int64_t now_ms = clock_mono_ms(), started_ms = h1_leg_started_ms(c->leg);
    int64_t head_ms = c->state == CLIENT_PROXY ? l->connect_head_ms : l->head_ms;
    int64_t idle_ms;
    if (c->ctx->draining)
        idle_ms = client_drain_idle_ms(c->ctx);
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

void client_on_deadline(void *arg)
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
