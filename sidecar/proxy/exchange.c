#include "proxy/exchange.h"

#include "base/log.h"
#include "http/rules.h"
#include "proxy/exchange_private.h"
#include "proxy/inject.h"
#include "proxy/rule_path.h"

#include <errno.h>
#include <stdlib.h>

static void on_deferred_free(struct later *later)
{
    free(LIST_ENTRY(later, struct exchange, deferred_free));
}

/* Every state has a deadline: its own, or that of the wait that it begins. */
static const struct {
    const char *name;
    bool own_deadline; /* x->deadline, which exchange_progress() pushes back */
} states[] = {
    [EXCHANGE_TOKEN] = { "token", false },     /* token_wait: limits.token_wait */
    [EXCHANGE_CONNECT] = { "connect", false }, /* upstream_wait: limits.dial and limits.tls */
    [EXCHANGE_RELAY] = { "relay", true },      /* limits.first_byte, then limits.idle */
    [EXCHANGE_HELD] = { "held", false },       /* token_wait */
    [EXCHANGE_OVER] = { "over", false },
};

void exchange_enter(struct exchange *x, enum exchange_state next)
{
    log_debug(log_msg("exchange"), log_str("from", states[x->state].name), log_str("to", states[next].name));
    x->state = next;
    if (!states[next].own_deadline)
        timer_stop(&x->deadline);
}

/* Nothing that it waits for comes any more. */
static void settle(struct exchange *x)
{
    exchange_enter(x, EXCHANGE_OVER);
    timer_stop(&x->continue_timer);
    token_wait_cancel(&x->token_wait);
    upstream_wait_cancel(&x->upstream_wait);
}

static void release(struct exchange *x)
{
    settle(x);
    later_cancel(&x->finish);
    if (x->up)
        upstream_drop(x->up, x->end == EXCHANGE_LEFT ? CLOSE_CLIENT_LEFT : CLOSE_UNFINISHED);
    x->up = NULL;
    replay_done(&x->replay);
    buf_done(&x->inspected);
    message_done(&x->trailers);
}

void exchange_cancel(struct exchange *x)
{
    if (x->state != EXCHANGE_OVER)
        exchange_account(x, 499);
    release(x);
    later_ask(&x->deferred_free); /* an event of a leg may be under way */
}

static void on_finish(struct later *later)
{
    struct exchange *x = LIST_ENTRY(later, struct exchange, finish);
    x->done(x->owner, x->end);
    release(x);
    free(x); /* nobody further up: a burial would cost the loop one more turn */
}

/* The one way to the end: what is still open upstream is closed, the owner learns of it at the end of this turn. */
void exchange_finish(struct exchange *x, enum exchange_end end)
{
    if (x->state == EXCHANGE_OVER)
        return;
    settle(x);
    x->end = end;
    exchange_account(x, x->status);
    later_ask(&x->finish);
}

void exchange_interrupt(struct exchange *x)
{
    if (x->state != EXCHANGE_OVER)
        exchange_fail(x, &(struct problem){ .status = 503,
                                            .error = "proxy_internal_response",
                                            .reason = "shutting_down",
                                            .detail = "sidekey ends, and the time for requests in flight is over",
                                            .hint = "limits.drain is that time" });
}

struct stream *exchange_upgrade(struct exchange *x, struct buf *leftover)
{
    struct upstream *u = x->up;
    x->up = NULL;
    return upstream_detach(u, leftover);
}

static bool has_no_body(const struct message *request)
{
    return request->framing == FRAMING_NONE || (request->framing == FRAMING_LENGTH && request->length == 0);
}

static bool body_left(const struct exchange *x)
{
    return !x->request_done && !has_no_body(x->request);
}

/* An answer of our own: the end of the exchange. */
void exchange_respond(struct exchange *x, struct message *m, struct slice body)
{
    m->minor = x->client_minor;
    rules_add_date(m, (time_t)ev_now(loop_get()));
    int failed = leg_head(x->client_leg, m, x->head_only);
    if (failed == 0 && !x->head_only)
        failed = leg_data(x->client_leg, body);
    if (failed == 0)
        failed = leg_end(x->client_leg, NULL);
    x->status = m->status;
    exchange_finish(x, failed || !m->keep_alive ? EXCHANGE_CLOSE : EXCHANGE_REUSE);
}

bool exchange_may_reuse(const struct exchange *x)
{
    return !body_left(x) && x->client_keeps && !x->ctx->draining;
}

void exchange_fail(struct exchange *x, const struct problem *p)
{
    struct message m;
    struct buf body;
    bool reuse = exchange_may_reuse(x) && p->status != 400;
    meter_refused(x->ctx->meter, p->reason);
    x->reason = p->reason;
    if (x->status && !exchange_retract(x)) { /* an answer is under way: all that is left is to make its end visible */
        exchange_abort_client(x);
        return;
    }
    message_init(&m);
    buf_init(&body, 16 * 1024);
    if (problem_build(p, reuse, &m, &body) == 0) {
        exchange_respond(x, &m, buf_slice(&body));
    } else {
        x->status = p->status;
        exchange_finish(x, EXCHANGE_CLOSE);
    }
    buf_done(&body);
    message_done(&m);
}

/* A status is better than half an answer, and a client connection that closes without a byte looks stale: many programs
 * send the request again.  False: some of the answer has gone out. */
bool exchange_retract(struct exchange *x)
{
    if (!leg_retract(x->client_leg))
        return false;
    x->status = 0;
    x->answer = NULL;
    x->answer_eof = false;
    return true;
}

void exchange_abort_client(struct exchange *x)
{
    leg_abort(x->client_leg);
    exchange_finish(x, EXCHANGE_ABORTED);
}

/* --- from the client --- */

static void client_head(void *owner, struct message *head)
{
    (void)owner;
    (void)head; /* the leg gives no second head before leg_next() */
}

static void client_data(void *owner, struct slice data)
{
    struct exchange *x = owner;
    timer_stop(&x->continue_timer);
    if (x->upload_cut)
        return;
    replay_add(&x->replay, data, clock_mono_ms());
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
                                                       .text = "request body does not fit its framing" });
        return;
    }
    exchange_progress(x);
    if (leg_space(exchange_up(x)) < LEG_READ_BYTES)
        leg_want(x->client_leg, false);
}

static void client_end(void *owner, struct message *trailers)
{
    struct exchange *x = owner;
    x->request_done = true;
    if (trailers && trailers->field_count && x->request->framing == FRAMING_CHUNKED) {
        exchange_filter_trailers(x, trailers);
        if (message_copy(&x->trailers, trailers) != 0)
            message_clear(&x->trailers);
    }
    if (x->state == EXCHANGE_RELAY && x->up && !x->resending && !x->upload_cut)
        exchange_end_upload(x);
}

static void client_space(void *owner)
{
    struct exchange *x = owner;
    if (x->state == EXCHANGE_RELAY && x->up)
        leg_want(exchange_up(x), true);
}

static void client_gone(void *owner, const struct leg_fault *fault)
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
    x->reason = "client_gone";
    x->status = x->status ? x->status : 499;
    leg_free(x->client_leg);
    exchange_finish(x, EXCHANGE_LEFT);
}

static const struct leg_events client_events = { client_head, client_data, client_end, client_space, client_gone };

/* --- the way up --- */

static void need_upstream(struct exchange *x);

static void on_token(void *arg, enum token_verdict verdict, const struct token_refusal *refusal)
{
    struct exchange *x = arg;
    if (verdict == TOKEN_OK)
        need_upstream(x);
    else
        exchange_fail_token(x, refusal);
}

void exchange_wait_token(struct exchange *x)
{
    exchange_enter(x, EXCHANGE_TOKEN);
    tokens_wait(x->ctx->tokens, x->credential, &x->token_wait, MSG_MISSING, 0, x->ctx->options->limits.token_wait_ms,
                on_token, x);
}

static void on_upstream(void *arg, struct upstream *u, const struct leg_fault *fault)
{
    struct exchange *x = arg;
    if (!u) {
        exchange_fail_upstream(x, fault);
        return;
    }
    x->up = u;
    exchange_send(x);
}

/* Over a stale connection: see exchange_up.c.  The body must have room in its copy. */
static bool may_be_repeated(struct exchange *x)
{
    const struct message *m = x->request;
    bool body_fits =
        x->request_done || has_no_body(m)
        || (m->framing == FRAMING_LENGTH && m->length <= replay_space(&x->replay, (size_t)m->length, clock_mono_ms()));
    return x->sends == 0 && x->replay.whole && body_fits && exchange_idempotent(x);
}

/* Also the second send comes by here: the token is read anew at the last moment. */
static void need_upstream(struct exchange *x)
{
    struct upstream_target target = { .a0 = &x->a0, .rule = x->rule, .once = !may_be_repeated(x) };
    exchange_enter(x, EXCHANGE_CONNECT);
    timer_stop(&x->continue_timer);
    if (!x->request_done) /* the body waits for the connection; the hang-up of a client without one is heard */
        leg_want(x->client_leg, has_no_body(x->request));
    struct upstream *u = pool_take(x->ctx->pool, &target, &x->upstream_wait, on_upstream, x);
    if (u) {
        x->up = u;
        exchange_send(x);
    }
}

void exchange_resend(struct exchange *x)
{
    x->replay.pinned = true;
    need_upstream(x);
}

static bool injects(const struct exchange *x)
{
    return x->rule && inject_active(x->rule);
}

static bool is_loopback(const struct authority *a0)
{
    return slice_eq(slice_str(a0->host), SLICE("localhost")) || slice_eq(slice_str(a0->host), SLICE("::1"))
           || (a0->kind == HOST_IPV4 && slice_starts(slice_str(a0->host), SLICE("127.")));
}

static void refuse_head(struct exchange *x, struct rules_verdict v)
{
    struct problem p = { .status = v.status,
                         .reason = v.reason,
                         .detail = "the request's authority or framing is not acceptable",
                         .hint = "Host, SNI and CONNECT must name the same host and port" };
    if (v.status == 508) {
        p.error = "proxy_loop_detected"; /* RFC 9209 §2.3.32 */
        p.detail = "the request has come through sidekey before";
        p.hint = "its upstream, or a proxy on the way, must not lead back here";
    }
    x->client_keeps = x->client_keeps && v.status == 421;
    exchange_fail(x, &p);
}

static bool refuse_rule(struct exchange *x, const char *reason, const char *detail)
{
    exchange_fail(x, &(struct problem){ .status = 403,
                                        .error = "http_request_denied",
                                        .reason = reason,
                                        .detail = detail,
                                        .hint = "sidekey why METHOD URL shows which rule is tried" });
    return false;
}

/* What a credential demands of the request that carries it. */
static bool admit_credential(struct exchange *x)
{
    if (!injects(x))
        return true;
    if (slice_ieq(message_method(x->request), SLICE("TRACE"))) {
        exchange_fail(x, &(struct problem){ .status = 405,
                                            .error = "http_request_denied",
                                            .reason = "trace_refused",
                                            .detail = "TRACE would echo the credential" });
        return false;
    }
    if (!rule_path_escapes_valid(message_target(x->request))) {
        exchange_fail(x, &(struct problem){ .status = 400,
                                            .reason = "target_escape",
                                            .detail = "the path has a percent sign without two hex digits behind it",
                                            .hint = "write a percent sign as %25" });
        return false;
    }
    if (x->a0.scheme == SCHEME_HTTP && !x->rule->allow_http && !is_loopback(&x->a0)) {
        exchange_fail(x, &(struct problem){ .status = 403,
                                            .error = "http_request_denied",
                                            .reason = "plain_http",
                                            .credential = x->rule->credential,
                                            .detail = "a credential is not sent over plain http",
                                            .hint = "use https, or set allow_http: true in the rule" });
        return false;
    }
    return true;
}

/* Which rule is it, and does it take this method, path and what may stand for the method? */
static bool admit_rule(struct exchange *x)
{
    const struct worker_options *o = x->ctx->options;
    switch (access_find_rule(x->ctx->access, x->client, &x->a0, message_method(x->request), message_target(x->request),
                             &x->rule)) {
    case RULE_REFUSED:
        return refuse_rule(x, "method_or_path_not_allowed",
                           "rules know this host, but none allows this method and path");
    case RULE_NONE:
        if (o->unmatched == UNMATCHED_DENY)
            return refuse_rule(x, "host_not_allowed", "no rule knows this host, and unmatched is deny");
        return true;
    case RULE_FOUND: break;
    }
    if (rule_overrides_allowed(x->rule, x->request))
        return true;
    return refuse_rule(x, "method_or_path_not_allowed",
                       "the request asks by a field or _method for a method or path that its rule does not allow");
}

/* Returns true when the request may go on. */
static bool admit(struct exchange *x)
{
    struct rules_verdict v = rules_check_authority(x->request, &x->a0);
    bool bad_hops;
    if (v.status == 0) {
        if (!admit_rule(x))
            return false;
        leg_half_close(x->client_leg, x->rule && x->rule->half_close);
        v = rules_forward_request(x->request, &x->a0, x->ctx->options->via,
                                  x->rule ? (const char *const *)x->rule->upgrades : NULL);
    }
    if (v.status) {
        refuse_head(x, v);
        return false;
    }
    if (!admit_credential(x))
        return false;
    if (rules_hops_left(x->request, &bad_hops) != 0 && !bad_hops)
        return true;
    if (bad_hops)
        exchange_fail(x, &(struct problem){ .status = 400,
                                            .reason = "max_forwards_invalid",
                                            .detail = "Max-Forwards is one whole number" });
    else
        exchange_last_hop(x);
    return false;
}

static void start(struct exchange *x)
{
    if (!admit(x))
        return;
    replay_init(&x->replay, &x->ctx->replay, x->client ? x->client->replays : NULL,
                injects(x) && x->rule->replay ? x->rule->replay_max_bytes : LEG_READ_BYTES);
    if (!injects(x) || !inject_wanted(x->rule, x->request)) {
        need_upstream(x);
        return;
    }
    x->credential = tokens_credential(x->ctx->tokens, x->rule->credential);
    if (!x->credential) {
        exchange_fail(x, &(struct problem){ .status = 500, .reason = "out_of_memory" });
        return;
    }
    if (tokens_get(x->ctx->tokens, x->credential, clock_mono_ms())) {
        need_upstream(x);
        return;
    }
    exchange_wait_token(x);
}

static void on_deadline(void *arg)
{
    struct exchange *x = arg;
    if (!x->status && x->up && !x->request_done && leg_space(exchange_up(x)) >= LEG_READ_BYTES) {
        exchange_fail(x, &(struct problem){ .status = 408,
                                            .reason = "body_timeout",
                                            .detail = "the request's body did not come in time" });
        return;
    }
    exchange_upstream_gone(
        x, &(struct leg_fault){ .status = 504,
                                .label = x->status ? "connection_read_timeout" : "http_response_timeout",
                                .text = "the upstream did not answer in time" });
}

struct exchange *exchange_new(struct context *ctx, struct leg *client_leg, struct message *request,
                              const struct authority *a0, const struct access_client *client, exchange_done_fn *done,
                              void *owner)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    *x = (struct exchange){ .ctx = ctx,
                            .client_leg = client_leg,
                            .request = request,
                            .a0 = *a0,
                            .client = client,
                            .done = done,
                            .owner = owner,
                            .started_ms = clock_mono_ms(),
                            .started = ev_now(loop_get()),
                            .client_keeps = request->keep_alive,
                            .client_minor = request->minor,
                            .head_only = slice_eq(message_method(request), SLICE("HEAD")) };
    later_init(&x->finish, on_finish);
    later_init(&x->deferred_free, on_deferred_free);
    timer_init(&x->deadline, on_deadline, x);
    timer_init(&x->continue_timer, exchange_continue, x);
    message_init(&x->trailers);
    buf_init(&x->inspected, EXCHANGE_INSPECT_MAX);
    leg_own(client_leg, &client_events, x);
    leg_want(x->client_leg, has_no_body(request)); /* its end comes now; a body waits until it can go on */
    start(x);
    return x;
}
