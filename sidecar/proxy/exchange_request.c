/* The request: from the client to a token, to an upstream connection, and out, once or twice. */
#include "http/rules.h"
#include "proxy/exchange_private.h"
#include "proxy/grpc.h"
#include "proxy/inject.h"

#include <errno.h>

#define LATE_TOKENS_MAX 2 /* tokens that may run out between being had and being used */

#define CONTINUE_AFTER_MS 1000

static void need_upstream(struct exchange *x);

/* --- out to the upstream --- */

static void end_upload(struct exchange *x)
{
    if (leg_end(exchange_up(x), x->trailers.field_count ? &x->trailers : NULL) != 0)
        exchange_upstream_gone(x, &(struct leg_fault){ .status = 502,
                                                       .label = "proxy_internal_error",
                                                       .text = "the request body does not match its framing" });
}

/* The second send: first what was kept, as the upstream takes it, then whatever still comes from the client. */
void exchange_push_replay(struct exchange *x)
{
    struct slice kept = slice_skip(buf_slice(&x->replay.bytes), x->replayed);
    while (kept.len && leg_space(exchange_up(x)) >= LEG_READ_BYTES) {
        struct slice part = slice_of(kept.ptr, kept.len < LEG_READ_BYTES ? kept.len : LEG_READ_BYTES);
        if (leg_data(exchange_up(x), part) != 0) {
            exchange_upstream_gone(
                x, &(struct leg_fault){ .status = 502,
                                        .label = "proxy_internal_error",
                                        .text = "the request body that is sent again does not match its framing" });
            return;
        }
        x->replayed += part.len;
        kept = slice_skip(kept, part.len);
    }
    x->resending = kept.len > 0;
    exchange_progress(x);
    if (kept.len)
        return;
    if (x->request_done)
        end_upload(x);
    leg_want(x->client_leg, true);
}

static void on_token(void *arg, enum token_verdict verdict, const struct token_refusal *refusal)
{
    struct exchange *x = arg;
    bool answers = x->rule && x->rule->answer && !x->untouched;
    if (verdict == TOKEN_OK && answers)
        exchange_answer_give(x);
    else if (verdict == TOKEN_OK)
        need_upstream(x);
    else if (answers)
        exchange_answer_without(x, refusal);
    else
        exchange_fail_token(x, refusal);
}

static void wait_token(struct exchange *x)
{
    exchange_enter(x, EXCHANGE_TOKEN);
    tokens_wait(x->ctx->tokens, x->credential, &x->token_wait, MSG_MISSING, 0, exchange_deadline_ms(x), on_token, x);
}

/* A rule may also change a head without adding a credential. */
static bool put_fixed(struct exchange *x)
{
    if (!x->rule || x->untouched || inject_active(x->rule)
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
            wait_token(x);
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
    if ((x->state != EXCHANGE_RELAY && x->state != EXCHANGE_READ) || x->status)
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

/* A call that is sent again has less time. */
static bool shorten_timeout(struct exchange *x)
{
    int64_t elapsed_ms = clock_mono_ms() - x->started_ms - x->shortened_ms;
    x->shortened_ms += elapsed_ms;
    return grpc_shorten(x->request, elapsed_ms) == 0;
}

static void send_request(struct exchange *x)
{
    if (x->sends && !x->replay.whole) {
        exchange_upstream_gone(
            x, &(struct leg_fault){ .status = 502,
                                    .label = "proxy_internal_error",
                                    .text = "the request body was not kept, so the request cannot be sent again" });
        return;
    }
    if (!put_credential(x))
        return;
    if (x->sends && !shorten_timeout(x)) {
        exchange_fail_inject(x, true);
        return;
    }
    if (x->sends++ == 0)
        meter_overhead(x->ctx->meter, ev_time() - x->started);
    exchange_enter(x, EXCHANGE_RELAY);
    x->request->keep_alive = true;
    x->replayed = 0;
    leg_own(exchange_up(x), &exchange_up_events, x);
    leg_expect(exchange_up(x), message_method(x->request));
    if (leg_head(exchange_up(x), x->request, false) != 0) {
        exchange_fail_inject(x, true);
        return;
    }
    leg_want(exchange_up(x), true);
    x->resending = x->replay.bytes.len > 0;
    if (x->resending) {
        leg_want(x->client_leg, false);
        exchange_push_replay(x);
        return;
    }
    if (x->request->expect_100 && !x->continued && !x->request_done)
        timer_set(&x->continue_timer, CONTINUE_AFTER_MS);
    if (x->request_done)
        end_upload(x);
    /* Also when the request is whole: a client that hangs up is heard.  A head may have filled the queue: then
     * on_up_space() goes on. */
    if (x->request_done || (x->up && leg_space(exchange_up(x)) >= LEG_READ_BYTES))
        leg_want(x->client_leg, true);
}

/* --- the upstream connection --- */

/* RFC 9110 §9.2.2: idempotent methods. */
bool exchange_idempotent(const struct exchange *x)
{
    static const char *const methods[] = { "GET", "HEAD", "OPTIONS", "PUT", "DELETE" };
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (slice_eq(message_method(x->request), slice_str(methods[i])))
            return true;
    return false;
}

static void on_upstream(void *arg, struct upstream *u, const struct leg_fault *fault)
{
    struct exchange *x = arg;
    if (!u) {
        exchange_fail_upstream(x, fault);
        return;
    }
    x->up = u;
    send_request(x);
}

/* Over a stale connection: see may_try_fresh_connection().  The body must have room in its copy. */
static bool may_be_repeated(struct exchange *x)
{
    const struct message *m = x->request;
    bool body_fits =
        x->request_done || exchange_has_no_body(x)
        || (m->framing == FRAMING_LENGTH && m->length <= replay_space(&x->replay, (size_t)m->length, clock_mono_ms()));
    return x->sends == 0 && x->replay.whole && body_fits && exchange_idempotent(x);
}

/* Also the second send comes by here: the token is read anew at the last moment. */
static void need_upstream(struct exchange *x)
{
    struct pool_target target = {
        .a0 = &x->a0, .rule = x->rule, .once = !may_be_repeated(x), .sharer = x->client_leg->sharer
    };
    exchange_enter(x, EXCHANGE_CONNECT);
    timer_stop(&x->continue_timer);
    if (!x->request_done) /* the body waits for the connection; the hang-up of a client without one is heard */
        leg_want(x->client_leg, exchange_has_no_body(x));
    struct upstream *u = pool_take(x->ctx->pool, &target, &x->upstream_wait, on_upstream, x);
    if (u) {
        x->up = u;
        send_request(x);
    }
}

void exchange_resend(struct exchange *x)
{
    x->replay.pinned = true;
    need_upstream(x);
}

/* --- from the client --- */

static void on_request_head(void *owner, struct message *head)
{
    (void)owner;
    (void)head; /* the leg gives no second head before leg_next() */
}

/* --- a token request that may be answered here --- */

/* Its token, now or later; then what the rule does with it. */
static void take_token(struct exchange *x)
{
    x->credential = tokens_credential(x->ctx->tokens, x->rule->credential);
    if (!x->credential)
        exchange_fail(x, &(struct problem){ .status = 500, .reason = "out_of_memory" });
    else if (!tokens_get(x->ctx->tokens, x->credential, clock_mono_ms()))
        wait_token(x);
    else if (x->rule->answer)
        exchange_answer_give(x);
    else
        need_upstream(x);
}

static void judge_token_request(struct exchange *x)
{
    switch (exchange_answer_judge(x)) {
    case EXCHANGE_ANSWER_TOKEN: take_token(x); break;
    case EXCHANGE_ANSWER_FORWARD: need_upstream(x); break;
    case EXCHANGE_ANSWER_DONE: break;
    }
}

static void on_request_data(void *owner, struct slice data)
{
    struct exchange *x = owner;
    timer_stop(&x->continue_timer);
    if (x->upload_cut)
        return;
    replay_add(&x->replay, data, clock_mono_ms());
    if (x->state == EXCHANGE_READ) {
        (void)exchange_answer_fits(x);
        return;
    }
    if (x->state == EXCHANGE_HELD || x->state == EXCHANGE_CONNECT) { /* it goes out with the second send */
        if (replay_space(&x->replay, LEG_READ_BYTES, clock_mono_ms()) < LEG_READ_BYTES)
            leg_want(x->client_leg, false);
        return;
    }
    if (x->state != EXCHANGE_RELAY || !x->up)
        return; /* what nobody wants any more */
    if (leg_data(exchange_up(x), data) != 0) {
        exchange_upstream_gone(x, &(struct leg_fault){ .status = 502,
                                                       .label = "proxy_internal_error",
                                                       .text = "the request body does not match its framing" });
        return;
    }
    exchange_progress(x);
    if (leg_space(exchange_up(x)) < LEG_READ_BYTES)
        leg_want(x->client_leg, false);
}

static void filter_trailers(struct exchange *x, struct message *trailers)
{
    const struct rule *r = x->rule;
    rules_filter_trailers(trailers, x->request, NULL);
    for (size_t i = 0; r && i < r->inject_count; i++)
        if (r->inject[i].in == INJECT_HEADER)
            message_remove_alike(trailers, slice_str(r->inject[i].name));
    for (char **name = r ? r->strip : NULL; name && *name; name++)
        message_remove_alike(trailers, slice_str(*name));
    if (access_stray_placeholder(x->ctx->access, NULL, trailers)) /* RFC 9110 §6.5.1: they may be left out */
        message_clear(trailers);
}

static void on_request_end(void *owner, struct message *trailers)
{
    struct exchange *x = owner;
    x->request_done = true;
    if (x->state == EXCHANGE_READ) {
        judge_token_request(x);
        return;
    }
    if (trailers && trailers->field_count && x->request->framing == FRAMING_CHUNKED) {
        filter_trailers(x, trailers);
        if (message_copy(&x->trailers, trailers) != 0)
            message_clear(&x->trailers);
    }
    if (x->state == EXCHANGE_RELAY && x->up && !x->resending && !x->upload_cut) {
        exchange_progress(x);
        end_upload(x);
    }
}

static void on_client_space(void *owner)
{
    struct exchange *x = owner;
    if (x->state == EXCHANGE_RELAY && x->up)
        leg_want(exchange_up(x), true);
}

static void on_client_gone(void *owner, const struct leg_fault *fault)
{
    struct exchange *x = owner;
    bool request_broken = !fault->clean && fault->status && fault->status != 502;
    if (x->state == EXCHANGE_OVER)
        return;
    if (request_broken) {
        x->client_keeps = false;
        exchange_fail(x, &(struct problem){ .status = fault->status,
                                            .error = "http_request_error",
                                            .reason = fault->label,
                                            .detail = fault->text });
        return;
    }
    if (x->up && fault->reset)
        exchange_up(x)->reset_code = fault->reset_code;
    x->reason = "client_gone";
    x->status = x->status ? x->status : 499;
    leg_free(x->client_leg);
    exchange_finish(x, EXCHANGE_LEFT);
}

static const struct leg_events client_events = { on_request_head, on_request_data, on_request_end, on_client_space,
                                                 on_client_gone };

void exchange_start(struct exchange *x)
{
    leg_own(x->client_leg, &client_events, x);
    leg_want(x->client_leg, exchange_has_no_body(x)); /* its end comes now; a body waits until it can go on */
    if (!exchange_admit(x))
        return;
    if (x->rule && x->rule->answer && !x->untouched) {
        exchange_answer_read(x);
        if (x->request_done)
            judge_token_request(x);
        return;
    }
    replay_init(&x->replay, &x->ctx->replay, x->client ? x->client->replays : NULL,
                exchange_injects(x) && x->rule->replay ? x->rule->replay_max_bytes : LEG_READ_BYTES);
    if (exchange_injects(x) && inject_is_preflight(x->request)) {
        x->untouched = true;
        if (inject_strip(x->rule, x->request) != 0) {
            exchange_fail_inject(x, true);
            return;
        }
    }
    if (!exchange_injects(x) || !inject_wanted(x->rule, x->request)) {
        need_upstream(x);
        return;
    }
    take_token(x);
}
