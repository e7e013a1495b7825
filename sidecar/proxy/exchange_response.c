/* The response: from the upstream to the client. */
#include "http/rules.h"
#include "http/websocket.h"
#include "proxy/exchange_private.h"
#include "proxy/gateway.h"
#include "proxy/grpc.h"
#include "proxy/in_band.h"

/* Returns true when the client must not see it: it has had its 100. */
static bool is_late_100(struct exchange *x, const struct message *head)
{
    bool late = head->status == 100 && x->continued;
    if (head->status == 100 || head->status >= 200)
        timer_stop(&x->continue_timer);
    x->continued = x->continued || head->status == 100;
    return late;
}

static enum in_band is_unauthorized(const struct exchange *x, const struct message *head)
{
    if (!x->credential || !x->generation)
        return IN_BAND_NO;
    if (grpc_refuses(x->rule, x->request, head))
        return IN_BAND_YES;
    for (const int *s = x->rule->unauthorized; *s; s++)
        if (*s == head->status)
            return IN_BAND_YES;
    return x->rule->also_count ? in_band_head(x->rule, head) : IN_BAND_NO;
}

/* For the client, and where it stands. */
static struct rules_verdict make_fit(const struct exchange *x, struct message *head)
{
    struct rules_verdict v = rules_forward_response(head, x->ctx->options->via);
    if (v.status == 0 && x->base && gateway_rewrite(head, &x->a0, x->base) != 0)
        v = (struct rules_verdict){ 502, "response_head" };
    return v;
}

static void frame_response(struct exchange *x, struct message *head)
{
    bool bodiless = head->framing == FRAMING_NONE;
    bool streamed = head->framing == FRAMING_EOF || head->framing == FRAMING_CHUNKED;
    head->keep_alive = x->client_keeps && x->request_done && !x->ctx->draining;
    head->minor = x->client_minor; /* a 1.0 client that keeps the connection must be told so */
    if (streamed && x->client_minor == 0) {
        head->framing = FRAMING_EOF;
        head->keep_alive = false;
    } else if (streamed) {
        head->framing = FRAMING_CHUNKED;
    }
    x->response_eof = !bodiless && head->framing == FRAMING_EOF;
    x->client_keeps = head->keep_alive;
}

void exchange_forward(struct exchange *x, struct message *head)
{
    bool head_only = x->head_only || head->status == 304;
    struct rules_verdict v = make_fit(x, head);
    if (!x->resending)
        replay_done(&x->replay); /* long answers are many: the memory is for those that may be sent again */
    frame_response(x, head);
    rules_add_date(head, (time_t)ev_now(loop_get()));
    if (v.status || leg_head(x->client_leg, head, head_only) != 0) {
        exchange_fail(x, &(struct problem){ .status = 502,
                                            .error = "http_response_header_section_size",
                                            .reason = "response_head",
                                            .detail = "the upstream's response has a head that cannot be forwarded" });
        return;
    }
    x->status = head->status;
    x->response = head;
    exchange_progress(x);
    leg_want(exchange_up(x), true);
}

/* NULL: it is the answer to what was asked. */
static const char *refuse_switch(const struct exchange *x, struct message *head)
{
    struct slice asked = message_get(x->request, SLICE("upgrade"), NULL);
    if (!x->request->upgrade)
        return "a 101 response to a request without Upgrade";
    if (x->request->framing != FRAMING_NONE && (!x->request_done || x->resending))
        return "a 101 response before the end of the request";
    if (make_fit(x, head).status || !slice_ieq(message_get(head, SLICE("upgrade"), NULL), asked))
        return "the 101 response names a protocol that the request did not ask for";
    if (slice_ieq(asked, SLICE("websocket")) && !websocket_accepted(x->request, head))
        return "the 101 response does not match the Sec-WebSocket-Key of the request";
    return NULL;
}

static void switch_protocols(struct exchange *x, struct message *head)
{
    const char *refused = refuse_switch(x, head);
    if (refused) {
        exchange_upstream_gone(x,
                               &(struct leg_fault){ .status = 502, .label = "http_upgrade_failed", .text = refused });
        return;
    }
    if (leg_head(x->client_leg, head, false) != 0) {
        exchange_abort_client(x);
        return;
    }
    x->status = 101;
    exchange_finish(x, EXCHANGE_UPGRADED);
}

static void on_response_head(void *owner, struct message *head)
{
    struct exchange *x = owner;
    if (x->state != EXCHANGE_RELAY)
        return;
    exchange_progress(x);
    if (head->status == 101) {
        switch_protocols(x, head);
        return;
    }
    bool late = is_late_100(x, head);
    if (head->status < 200) {
        if (!late && make_fit(x, head).status == 0 && x->client_minor > 0 && leg_head(x->client_leg, head, false) != 0)
            exchange_abort_client(x);
        return;
    }
    enum in_band refused = is_unauthorized(x, head);
    x->inspecting = refused == IN_BAND_BODY && !x->head_only;
    if (x->inspecting)
        x->held = head;
    else if (refused != IN_BAND_YES || !exchange_hold(x, head))
        exchange_forward(x, head);
}

static void inspect(struct exchange *x, struct slice data)
{
    if (buf_add(&x->inspected, data) != 0)
        exchange_upstream_gone(x, &(struct leg_fault){ .status = 502,
                                                       .label = "proxy_internal_error",
                                                       .text = "out of memory for the body of the response" });
    else
        exchange_progress(x);
}

static void on_response_data(void *owner, struct slice data)
{
    struct exchange *x = owner;
    if (x->state == EXCHANGE_RELAY && x->inspecting)
        inspect(x, data);
    if (x->state != EXCHANGE_RELAY || !x->status)
        return;
    if (leg_data(x->client_leg, data) != 0) {
        exchange_abort_client(x);
        return;
    }
    exchange_progress(x);
    if (leg_space(x->client_leg) < LEG_READ_BYTES)
        leg_want(exchange_up(x), false);
}

static void end_response(struct exchange *x, struct message *trailers)
{
    bool reuse = x->client_keeps && x->request_done && !x->response_eof;
    if (trailers)
        rules_filter_trailers(trailers, x->response, NULL);
    if (leg_end(x->client_leg, trailers) != 0) {
        exchange_abort_client(x);
        return;
    }
    if (x->request_done)
        upstream_give_back(x->up);
    else
        upstream_drop(x->up, CLOSE_EARLY_ANSWER);
    x->up = NULL;
    exchange_finish(x, reuse ? EXCHANGE_REUSE : EXCHANGE_CLOSE);
}

void exchange_forward_inspected(struct exchange *x, struct message *head)
{
    exchange_forward(x, head);
    if (x->state != EXCHANGE_RELAY)
        return;
    if (leg_data(x->client_leg, buf_slice(&x->inspected)) != 0)
        exchange_abort_client(x);
    else
        end_response(x, NULL);
}

static void end_inspect(struct exchange *x)
{
    struct message *head = x->held;
    x->held = NULL;
    x->inspecting = false;
    x->inspected_whole = true;
    if (!in_band_body(x->rule, head, buf_slice(&x->inspected)) || !exchange_hold(x, head))
        exchange_forward_inspected(x, head);
}

static void on_response_end(void *owner, struct message *trailers)
{
    struct exchange *x = owner;
    if (x->state != EXCHANGE_RELAY)
        return;
    if (x->inspecting)
        end_inspect(x);
    else if (x->status < 200) /* that was a 1xx: the answer is still to come */
        leg_next(exchange_up(x));
    else
        end_response(x, trailers);
}

static void on_up_space(void *owner)
{
    struct exchange *x = owner;
    if (x->state != EXCHANGE_RELAY)
        return;
    if (x->resending)
        exchange_push_replay(x);
    else
        leg_want(x->client_leg, true);
}

#define UNPROCESSED_MAX 3

/* RFC 9113 §8.7: whatever the method, since nothing was done. */
static bool is_unprocessed(struct exchange *x, const struct leg_fault *fault)
{
    if (!fault->unprocessed || x->status || !x->replay.whole || x->unprocessed++ >= UNPROCESSED_MAX)
        return false;
    x->sends--;
    return true;
}

static bool may_try_fresh_connection(const struct exchange *x, const struct leg_fault *fault)
{
    return !fault->reset && x->up && upstream_reused(x->up) && !x->status && x->sends < 2
           && !leg_started(upstream_leg(x->up)) && x->replay.whole && exchange_idempotent(x);
}

static void on_up_gone(void *owner, const struct leg_fault *fault)
{
    struct exchange *x = owner;
    if (x->state != EXCHANGE_RELAY || !(may_try_fresh_connection(x, fault) || is_unprocessed(x, fault))) {
        exchange_upstream_gone(x, fault);
        return;
    }
    upstream_drop(x->up, close_reason_of_fault(fault));
    x->up = NULL;
    exchange_resend(x);
}

const struct leg_events exchange_up_events = { on_response_head, on_response_data, on_response_end, on_up_space,
                                               on_up_gone };
