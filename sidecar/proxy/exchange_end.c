/* How an exchange ends, and what is written to the client on the way there. */
#include "base/log.h"
#include "http/rules.h"
#include "proxy/exchange_private.h"

#include <stdlib.h>
#include <string.h>

#define METHOD_SHOWN 32
#define TRACE_ID_DIGITS 32
#define TRACEPARENT_BYTES 55 /* of version 00; later ones may be longer */

static bool is_hex(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!strchr("0123456789abcdef", text.ptr[i]) || !text.ptr[i])
            return false;
    return true;
}

/* The trace that the request belongs to, for its line in the log; the field itself goes on as it came.  Empty: none, or
 * not one (W3C Trace Context §3.2.2.3: 32 lower-case hex digits, not all 0). */
static struct slice trace_id(const struct message *request)
{
    size_t count;
    struct slice field = message_get(request, SLICE("traceparent"), &count), none = SLICE("");
    if (count != 1 || field.len < TRACEPARENT_BYTES || field.ptr[2] != '-' || field.ptr[35] != '-')
        return none;
    struct slice id = slice_of(field.ptr + 3, TRACE_ID_DIGITS);
    if (!is_hex(slice_of(field.ptr, 2)) || !is_hex(id))
        return none;
    return strspn(id.ptr, "0") >= TRACE_ID_DIGITS ? none : id;
}

static void account(struct exchange *x, int status)
{
    char host[AUTHORITY_TEXT_MAX];
    struct slice method = message_method(x->request); /* any token, as long as a line may be */
    enum log_level level = x->reason || status >= 500 ? LOG_WARN : LOG_INFO;
    meter_request(x->ctx->meter, x->rule, status, x->injected ? METER_YES : METER_NO, ev_now(loop_get()) - x->started);
    LOG_AT(level, log_msg("request"), log_str("rule", x->rule ? x->rule->name : "none"),
           log_str("credential", x->credential ? tokens_credential_name(x->credential) : ""),
           log_slice("method", slice_of(method.ptr, method.len < METHOD_SHOWN ? method.len : METHOD_SHOWN)),
           log_str("host", authority_key(&x->a0, host)), log_int("status", status),
           log_int("dur_ms", clock_mono_ms() - x->started_ms), log_int("gen", (int64_t)x->generation),
           log_int("sends", x->sends), log_str("reason", x->reason ? x->reason : ""),
           log_str("client", x->client ? x->client->name : ""), log_slice("trace_id", trace_id(x->request)));
}

/* Nothing that it waits for comes any more. */
static void settle(struct exchange *x)
{
    exchange_enter(x, EXCHANGE_OVER);
    timer_stop(&x->continue_timer);
    tokens_wait_cancel(&x->token_wait);
    pool_wait_cancel(&x->upstream_wait);
}

static void release(struct exchange *x)
{
    settle(x);
    loop_later_cancel(&x->finish);
    if (x->up)
        upstream_drop(x->up, x->end == EXCHANGE_LEFT ? CLOSE_CLIENT_LEFT : CLOSE_UNFINISHED);
    x->up = NULL;
    replay_done(&x->replay);
    buf_done(&x->inspected);
    message_done(&x->trailers);
}

static void on_finish(struct later *later)
{
    struct exchange *x = LIST_ENTRY(later, struct exchange, finish);
    x->done(x->owner, x->end);
    release(x);
    free(x); /* Safe to free here: no caller on the stack still uses x. */
}

static void on_deferred_free(struct later *later)
{
    free(LIST_ENTRY(later, struct exchange, deferred_free));
}

void exchange_end_init(struct exchange *x)
{
    loop_later_init(&x->finish, on_finish);
    loop_later_init(&x->deferred_free, on_deferred_free);
}

void exchange_finish(struct exchange *x, enum exchange_end end)
{
    if (x->state == EXCHANGE_OVER)
        return;
    settle(x);
    x->end = end;
    account(x, x->status);
    loop_later_ask(&x->finish);
}

void exchange_cancel(struct exchange *x)
{
    if (x->state != EXCHANGE_OVER)
        account(x, 499);
    release(x);
    loop_later_ask(&x->deferred_free); /* an event of a leg may be under way */
}

static bool body_left(const struct exchange *x)
{
    return !x->request_done && !exchange_has_no_body(x);
}

bool exchange_may_reuse(const struct exchange *x)
{
    return !body_left(x) && x->client_keeps && !x->ctx->draining;
}

void exchange_respond(struct exchange *x, struct message *m, struct slice body)
{
    m->minor = x->client_minor;
    rules_add_date(m, (time_t)ev_now(loop_get()));
    int failed = leg_head(x->client_leg, m, x->head_only);
    if (failed == 0 && !x->head_only)
        failed = leg_data(x->client_leg, body);
    if (failed == 0)
        failed = leg_end(x->client_leg, NULL);
    x->status = x->refused_status ? x->refused_status : m->status;
    exchange_finish(x, failed || !m->keep_alive ? EXCHANGE_CLOSE : EXCHANGE_REUSE);
}

/* A status is better than half an answer, and a client connection that closes without a byte looks stale: many programs
 * send the request again.  False: some of the answer has gone out. */
bool exchange_retract(struct exchange *x)
{
    if (!leg_retract(x->client_leg))
        return false;
    x->status = 0;
    x->response = NULL;
    x->response_eof = false;
    return true;
}

void exchange_abort_client(struct exchange *x)
{
    leg_abort(x->client_leg);
    exchange_finish(x, EXCHANGE_ABORTED);
}
