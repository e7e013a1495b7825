#include "proxy/exchange.h"

#include "proxy/exchange_private.h"
#include "proxy/grpc.h"

#include <stdlib.h>

void exchange_interrupt(struct exchange *x)
{
    if (x->state != EXCHANGE_OVER)
        exchange_fail(x,
                      &(struct problem){ .status = 503,
                                         .error = "proxy_internal_response",
                                         .reason = "shutting_down",
                                         .detail = "sidekey is stopping, and the time for requests in flight is over",
                                         .hint = "limits.drain sets that time" });
}

struct stream *exchange_upgrade(struct exchange *x, struct buf *leftover)
{
    struct upstream *u = x->up;
    x->up = NULL;
    return upstream_detach(u, leftover);
}

/* HTTP/2: a quiet stream is not a dead one, and calls may be quiet in both directions from the start; whether the peers
 * are there is asked of their connections.  Who does not take what is there has the time of everybody. */
static bool may_be_quiet(struct exchange *x)
{
    return x->client_leg->sharer && x->state == EXCHANGE_RELAY && x->up && (x->status || grpc_is_call(x->request))
           && !leg_stalled(x->client_leg) && !leg_stalled(exchange_up(x));
}

static void on_deadline(void *arg)
{
    struct exchange *x = arg;
    if (may_be_quiet(x)) {
        exchange_progress(x);
        return;
    }
    bool waits_for_body = x->up && !x->request_done && leg_space(exchange_up(x)) >= LEG_READ_BYTES;
    if (x->state == EXCHANGE_READ || (!x->status && waits_for_body)) {
        exchange_fail(x, &(struct problem){ .status = 408,
                                            .reason = "body_timeout",
                                            .detail = "the request body did not arrive in time" });
        return;
    }
    exchange_upstream_gone(
        x, &(struct leg_fault){ .status = 504,
                                .label = x->status ? "connection_read_timeout" : "http_response_timeout",
                                .text = "the upstream did not answer in time" });
}

struct exchange *exchange_new(struct context *ctx, struct leg *client_leg, struct message *request,
                              const struct authority *a0, const struct access_client *client, const char *base,
                              exchange_done_fn *done, void *owner)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    *x = (struct exchange){ .ctx = ctx,
                            .client_leg = client_leg,
                            .request = request,
                            .a0 = *a0,
                            .client = client,
                            .base = base,
                            .done = done,
                            .owner = owner,
                            .started_ms = clock_mono_ms(),
                            .started = ev_now(loop_get()),
                            .client_keeps = request->keep_alive,
                            .client_minor = request->minor,
                            .head_only = slice_eq(message_method(request), SLICE("HEAD")) };
    exchange_end_init(x);
    timer_init(&x->deadline, on_deadline, x);
    timer_init(&x->continue_timer, exchange_continue, x);
    message_init(&x->trailers);
    buf_init(&x->inspected, EXCHANGE_INSPECT_MAX);
    exchange_start(x);
    return x;
}
