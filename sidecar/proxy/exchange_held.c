/* A response that refused the token is held: a newer token sends the request again, once; else the client gets it. */
#include "base/clock.h"
#include "base/log.h"
#include "proxy/exchange_private.h"

/* The program gets a refusal that it cannot explain, so the log does. */
static void explain(struct exchange *x, const char *reason, const char *hint)
{
    char host[AUTHORITY_TEXT_MAX];
    x->reason = "unauthorized";
    log_warn(log_msg("the upstream refused the token, and the program gets its response"),
             log_str("rule", x->rule->name), log_str("credential", x->rule->credential),
             log_str("host", authority_key(&x->a0, host)), log_int("gen", (int64_t)x->generation),
             log_str("reason", reason), log_str("hint", hint));
}

static void explain_size(struct exchange *x)
{
    explain(x, "the body of the request is too large to be kept and sent again",
            "the next request gets a newer token; limits.replay_body and on_unauthorized.max_body set the size");
}

static void explain_refusal(struct exchange *x, const struct token_refusal *refusal)
{
    explain(x, refusal->text, exchange_token_hint(refusal));
}

static void pass_held(struct exchange *x, const char *action)
{
    struct message *head = x->held;
    x->held = NULL;
    exchange_enter(x, EXCHANGE_RELAY);
    x->upload_cut = true; /* what came meanwhile was not sent on */
    meter_unauthorized(x->ctx->meter, x->rule, action);
    if (!x->up) { /* its connection broke meanwhile: the head is gone with it */
        exchange_fail(x,
                      &(struct problem){
                          .status = 502,
                          .error = "connection_terminated",
                          .reason = "unauthorized_lost",
                          .credential = x->rule->credential,
                          .detail = "the upstream answered 401 and closed the connection; there was no newer token" });
        return;
    }
    if (x->inspected_whole) {
        exchange_forward_inspected(x, head);
        return;
    }
    exchange_forward(x, head);
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
    if (verdict == TOKEN_OK && x->replay.whole) {
        send_again(x, "refreshed");
    } else if (verdict == TOKEN_OK) {
        explain_size(x);
        pass_held(x, "too_large");
    } else {
        explain_refusal(x, refusal);
        pass_held(x, "passed");
    }
}

/* The response goes on at once: there is nothing to wait for. */
static bool refuse_to_hold(struct exchange *x)
{
    if (x->replay.whole)
        explain(x, "it refused a newer token too",
                "the token is fresh: check its scope and audience, and what the account may do there");
    else
        explain_size(x);
    meter_unauthorized(x->ctx->meter, x->rule, x->replay.whole ? "passed" : "too_large");
    return false;
}

bool exchange_hold(struct exchange *x, struct message *head)
{
    const struct token *token;
    if (!x->rule->replay) {
        tokens_reject(x->ctx->tokens, x->credential, x->generation,
                      clock_mono_ms() + x->ctx->options->limits.token_wait_ms);
        meter_unauthorized(x->ctx->meter, x->rule, "passed");
        return false;
    }
    if (x->sends >= 2 || !x->replay.whole)
        return refuse_to_hold(x);
    leg_want(exchange_up(x), false);
    x->held = head;
    exchange_enter(x, EXCHANGE_HELD);
    x->replay.pinned = true;
    token = tokens_get(x->ctx->tokens, x->credential, clock_mono_ms());
    if (token && token->generation > x->generation) {
        send_again(x, "replayed");
        return true;
    }
    tokens_wait(x->ctx->tokens, x->credential, &x->token_wait, MSG_REJECTED, x->generation, exchange_deadline_ms(x),
                on_newer_token, x);
    if (!x->request_done && replay_space(&x->replay, LEG_READ_BYTES, clock_mono_ms()) >= LEG_READ_BYTES)
        leg_want(x->client_leg, true); /* go on reading the upload into the buffer */
    return true;
}
