#include "proxy/exchange_private.h"

#include "http/rules.h"
#include "proxy/in_band.h"
#include "proxy/inject.h"

#include <errno.h>

#define LATE_TOKENS_MAX 2 /* tokens that may run out between being had and being used */

#define CONTINUE_AFTER_MS 1000

static void answer(struct exchange *x, struct message *head);
static void answer_inspected(struct exchange *x, struct message *head);

/* Every step of the exchange pushes its deadline back. */
void exchange_progress(struct exchange *x)
{
    const struct worker_limits *limits = &x->ctx->options->limits;
    timer_set(&x->deadline, x->status || x->inspecting ? limits->idle_ms : limits->first_byte_ms);
}

void exchange_filter_trailers(struct exchange *x, struct message *trailers)
{
    const struct rule *r = x->rule;
    rules_filter_trailers(trailers, x->request, NULL);
    for (size_t i = 0; r && i < r->inject_count; i++)
        if (r->inject[i].in == INJECT_HEADER)
            message_remove_alike(trailers, slice_str(r->inject[i].name));
    for (char **name = r ? r->strip : NULL; name && *name; name++)
        message_remove_alike(trailers, slice_str(*name));
}

/* --- sending --- */

void exchange_end_upload(struct exchange *x)
{
    if (leg_end(exchange_up(x), x->trailers.field_count ? &x->trailers : NULL) != 0)
        exchange_upstream_gone(x, &(struct leg_fault){ .status = 502,
                                                       .label = "proxy_internal_error",
                                                       .text = "request body does not fit its framing" });
}

/* The second send: first what was kept, as the upstream takes it, then whatever still comes from the client. */
static void push_replay(struct exchange *x)
{
    struct slice kept = slice_skip(buf_slice(&x->replay.bytes), x->replayed);
    while (kept.len && leg_space(exchange_up(x)) >= LEG_READ_BYTES) {
        struct slice part = slice_of(kept.ptr, kept.len < LEG_READ_BYTES ? kept.len : LEG_READ_BYTES);
        if (leg_data(exchange_up(x), part) != 0) {
            exchange_upstream_gone(x, &(struct leg_fault){ .status = 502,
                                                           .label = "proxy_internal_error",
                                                           .text = "replayed body does not fit its framing" });
            return;
        }
        x->replayed += part.len;
        kept = slice_skip(kept, part.len);
    }
    exchange_progress(x);
    if (kept.len)
        return;
    x->resending = false;
    if (x->request_done)
        exchange_end_upload(x);
    leg_want(x->client_leg, true);
}

/* A rule may also change a head without adding a credential. */
static bool put_fixed(struct exchange *x)
{
    if (!x->rule || inject_active(x->rule)
        || inject_request(x->rule, NULL, x->request, x->sends > 0) != INJECT_TOO_LARGE)
        return true;
    exchange_fail_inject(x, true);
    return false;
}

static bool put_credential(struct exchange *x)
{
    const struct token *token;
    if (!x->credential)
        return put_fixed(x);
    token = tokens_get(x->ctx->tokens, x->credential, clock_mono_ms());
    if (!token) { /* it ran out while the connection was made */
        static const struct token_refusal late = { MSG_TRANSIENT, 1000, "the token expired before it could be used" };
        upstream_drop(x->up, CLOSE_TOKEN_EXPIRED);
        x->up = NULL;
        if (x->late_tokens++ < LATE_TOKENS_MAX)
            exchange_wait_token(x);
        else
            exchange_fail_token(x, &late);
        return false;
    }
    switch (inject_request(x->rule, token, x->request, x->injected)) {
    case INJECT_DONE:
        x->injected = true;
        x->generation = token->generation;
        return true;
    case INJECT_SKIPPED: x->credential = NULL; return true;
    case INJECT_NO_VALUE: exchange_fail_inject(x, false); return false;
    case INJECT_TOO_LARGE: break;
    }
    exchange_fail_inject(x, true);
    return false;
}

/* RFC 9110 §10.1.1: an upstream that knows nothing of Expect waits for the body, and many a client for the 100. */
void exchange_continue(void *exchange)
{
    struct exchange *x = exchange;
    struct message go;
    if (x->state != EXCHANGE_RELAY || x->status)
        return;
    message_init(&go);
    int failed = message_start_response(&go, 100, SLICE("Continue"));
    go.minor = 1;
    if (failed == 0)
        failed = leg_head(x->client_leg, &go, false);
    message_done(&go);
    x->continued = true;
    if (failed)
        exchange_abort_client(x);
}

/* Returns true when the client must not see it: it has had its 100. */
static bool is_late_100(struct exchange *x, const struct message *head)
{
    bool late = head->status == 100 && x->continued;
    if (head->status == 100 || head->status >= 200)
        timer_stop(&x->continue_timer);
    x->continued = x->continued || head->status == 100;
    return late;
}

static const struct leg_events up_events;

void exchange_send(struct exchange *x)
{
    if (x->sends && !x->replay.whole) {
        exchange_upstream_gone(x, &(struct leg_fault){ .status = 502,
                                                       .label = "proxy_internal_error",
                                                       .text = "the body could not be kept for a second send" });
        return;
    }
    if (!put_credential(x))
        return;
    if (x->sends++ == 0)
        meter_overhead(x->ctx->meter, ev_time() - x->started);
    exchange_enter(x, EXCHANGE_RELAY);
    x->request->keep_alive = true;
    x->replayed = 0;
    leg_own(exchange_up(x), &up_events, x);
    leg_expect(exchange_up(x), message_method(x->request));
    if (leg_head(exchange_up(x), x->request, false) != 0) {
        exchange_fail_inject(x, true);
        return;
    }
    leg_want(exchange_up(x), true);
    x->resending = x->replay.bytes.len > 0;
    if (x->resending) {
        leg_want(x->client_leg, false);
        push_replay(x);
        return;
    }
    exchange_progress(x);
    if (x->request->expect_100 && !x->continued && !x->request_done)
        timer_set(&x->continue_timer, CONTINUE_AFTER_MS);
    if (x->request_done)
        exchange_end_upload(x);
    /* Also when the request is whole: a client that hangs up is heard.  A head may have filled the queue: then
     * up_space() goes on. */
    if (x->request_done || (x->up && leg_space(exchange_up(x)) >= LEG_READ_BYTES))
        leg_want(x->client_leg, true);
}

/* --- 401 --- */

static enum in_band is_unauthorized(const struct exchange *x, const struct message *head)
{
    if (!x->credential || !x->generation)
        return IN_BAND_NO;
    for (const int *s = x->rule->unauthorized; *s; s++)
        if (*s == head->status)
            return IN_BAND_YES;
    return x->rule->also_count ? in_band_head(x->rule, head) : IN_BAND_NO;
}

static void pass_held(struct exchange *x, const char *action)
{
    struct message *head = x->held;
    x->held = NULL;
    exchange_enter(x, EXCHANGE_RELAY);
    x->upload_cut = true; /* what came meanwhile was not sent on */
    meter_unauthorized(x->ctx->meter, x->rule, action);
    if (!x->up) { /* its connection broke meanwhile: the head is gone with it */
        exchange_fail(
            x, &(struct problem){ .status = 502,
                                  .error = "connection_terminated",
                                  .reason = "unauthorized_lost",
                                  .credential = x->rule->credential,
                                  .detail = "the upstream answered 401 and closed; no newer token could be had" });
        return;
    }
    if (x->inspected_whole) {
        answer_inspected(x, head);
        return;
    }
    answer(x, head);
    if (!x->request_done)
        leg_want(x->client_leg, true); /* it is dropped, so that the client gets to reading the answer */
}

static void send_again(struct exchange *x, const char *action)
{
    meter_unauthorized(x->ctx->meter, x->rule, action);
    x->held = NULL;
    x->inspected_whole = false;
    buf_done(&x->inspected);
    if (x->up) {
        if (x->request_done)
            upstream_give_back_unread(x->up);
        else
            upstream_drop(x->up, CLOSE_EARLY_ANSWER);
        x->up = NULL;
    }
    exchange_resend(x);
}

static void on_newer_token(void *arg, enum token_verdict verdict, const struct token_refusal *refusal)
{
    struct exchange *x = arg;
    (void)refusal;
    if (verdict == TOKEN_OK && x->replay.whole)
        send_again(x, "refreshed");
    else
        pass_held(x, verdict == TOKEN_OK ? "too_large" : "passed");
}

/* The answer refused the token.  True: it is held and the client sees nothing of it yet. */
static bool hold(struct exchange *x, struct message *head)
{
    const struct token *token;
    if (!x->rule->replay) {
        tokens_reject(x->ctx->tokens, x->credential, x->generation,
                      clock_mono_ms() + x->ctx->options->limits.token_wait_ms);
        meter_unauthorized(x->ctx->meter, x->rule, "passed");
        return false;
    }
    if (x->sends >= 2 || !x->replay.whole) {
        meter_unauthorized(x->ctx->meter, x->rule, x->replay.whole ? "passed" : "too_large");
        return false;
    }
    leg_want(exchange_up(x), false);
    x->held = head;
    exchange_enter(x, EXCHANGE_HELD);
    x->replay.pinned = true;
    token = tokens_get(x->ctx->tokens, x->credential, clock_mono_ms());
    if (token && token->generation > x->generation) {
        send_again(x, "replayed");
        return true;
    }
    tokens_wait(x->ctx->tokens, x->credential, &x->token_wait, MSG_REJECTED, x->generation,
                x->ctx->options->limits.token_wait_ms, on_newer_token, x);
    if (!x->request_done && replay_space(&x->replay, LEG_READ_BYTES, clock_mono_ms()) >= LEG_READ_BYTES)
        leg_want(x->client_leg, true); /* go on reading the upload into the buffer */
    return true;
}

/* --- the answer --- */

static void frame_answer(struct exchange *x, struct message *head)
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
    x->answer_eof = !bodiless && head->framing == FRAMING_EOF;
    x->client_keeps = head->keep_alive;
}

static void answer(struct exchange *x, struct message *head)
{
    bool head_only = x->head_only || head->status == 304;
    struct rules_verdict v = rules_forward_response(head, x->ctx->options->via);
    if (!x->resending)
        replay_done(&x->replay); /* long answers are many: the memory is for those that may be sent again */
    frame_answer(x, head);
    rules_add_date(head, (time_t)ev_now(loop_get()));
    if (v.status || leg_head(x->client_leg, head, head_only) != 0) {
        exchange_fail(x, &(struct problem){ .status = 502,
                                            .error = "http_response_header_section_size",
                                            .reason = "response_head",
                                            .detail = "the upstream's answer has a head that cannot be forwarded" });
        return;
    }
    x->status = head->status;
    x->answer = head;
    exchange_progress(x);
    leg_want(exchange_up(x), true);
}

static void up_head(void *owner, struct message *head)
{
    struct exchange *x = owner;
    if (x->state != EXCHANGE_RELAY)
        return;
    exchange_progress(x);
    if (head->status == 101) {
        exchange_switch(x, head);
        return;
    }
    bool late = is_late_100(x, head);
    if (head->status < 200) {
        if (!late && rules_forward_response(head, x->ctx->options->via).status == 0 && x->client_minor > 0
            && leg_head(x->client_leg, head, false) != 0)
            exchange_abort_client(x);
        return;
    }
    enum in_band refused = is_unauthorized(x, head);
    x->inspecting = refused == IN_BAND_BODY && !x->head_only;
    if (x->inspecting)
        x->held = head;
    else if (refused != IN_BAND_YES || !hold(x, head))
        answer(x, head);
}

static void look(struct exchange *x, struct slice data)
{
    if (buf_add(&x->inspected, data) != 0)
        exchange_upstream_gone(x, &(struct leg_fault){ .status = 502,
                                                       .label = "proxy_internal_error",
                                                       .text = "no memory to look into the answer" });
    else
        exchange_progress(x);
}

static void up_data(void *owner, struct slice data)
{
    struct exchange *x = owner;
    if (x->state == EXCHANGE_RELAY && x->inspecting)
        look(x, data);
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

static void end_answer(struct exchange *x, struct message *trailers)
{
    bool reuse = x->client_keeps && x->request_done && !x->answer_eof;
    if (trailers)
        rules_filter_trailers(trailers, x->answer, NULL);
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

/* The body was kept back whole: it follows its head at once. */
static void answer_inspected(struct exchange *x, struct message *head)
{
    answer(x, head);
    if (x->state != EXCHANGE_RELAY)
        return;
    if (leg_data(x->client_leg, buf_slice(&x->inspected)) != 0)
        exchange_abort_client(x);
    else
        end_answer(x, NULL);
}

static void end_look(struct exchange *x)
{
    struct message *head = x->held;
    x->held = NULL;
    x->inspecting = false;
    x->inspected_whole = true;
    if (!in_band_body(x->rule, head, buf_slice(&x->inspected)) || !hold(x, head))
        answer_inspected(x, head);
}

static void up_end(void *owner, struct message *trailers)
{
    struct exchange *x = owner;
    if (x->state != EXCHANGE_RELAY)
        return;
    if (x->inspecting)
        end_look(x);
    else if (x->status < 200) /* that was a 1xx: the answer is still to come */
        leg_next(exchange_up(x));
    else
        end_answer(x, trailers);
}

static void up_space(void *owner)
{
    struct exchange *x = owner;
    if (x->state != EXCHANGE_RELAY)
        return;
    if (x->resending)
        push_replay(x);
    else
        leg_want(x->client_leg, true);
}

/* RFC 9110 §9.2.2: idempotent methods. */
bool exchange_idempotent(const struct exchange *x)
{
    static const char *const methods[] = { "GET", "HEAD", "OPTIONS", "PUT", "DELETE" };
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (slice_eq(message_method(x->request), slice_str(methods[i])))
            return true;
    return false;
}

static bool may_try_fresh_connection(const struct exchange *x)
{
    return x->up && upstream_reused(x->up) && !x->status && x->sends < 2 && !leg_started(upstream_leg(x->up))
           && x->replay.whole && exchange_idempotent(x);
}

void exchange_upstream_gone(struct exchange *x, const struct leg_fault *fault)
{
    struct upstream *up = x->up;
    enum close_reason reason = close_reason_of_fault(fault);
    if (x->state == EXCHANGE_OVER)
        return;
    x->up = NULL;
    if (x->state == EXCHANGE_HELD) {
        /* the token decides; pass_held() knows what to say */
    } else if (x->status && !exchange_retract(x)) {
        x->reason = fault->label;
        exchange_abort_client(x);
    } else {
        exchange_fail_upstream(x, fault);
    }
    if (up)
        upstream_drop(up, reason); /* last: the fault's text may be its own */
}

static void up_gone(void *owner, const struct leg_fault *fault)
{
    struct exchange *x = owner;
    if (x->state != EXCHANGE_RELAY || !may_try_fresh_connection(x)) {
        exchange_upstream_gone(x, fault);
        return;
    }
    upstream_drop(x->up, close_reason_of_fault(fault));
    x->up = NULL;
    exchange_resend(x);
}

static const struct leg_events up_events = { up_head, up_data, up_end, up_space, up_gone };
