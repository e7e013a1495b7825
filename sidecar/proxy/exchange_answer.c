/* A token request of the client's own, which its rule answers (proxy/answer.h): read whole, then answered here,
 * refused, or forwarded as it came. */
#include "proxy/answer.h"
#include "proxy/exchange_private.h"

#include <stdlib.h>
#include <time.h>

void exchange_answer_read(struct exchange *x)
{
    exchange_enter(x, EXCHANGE_READ);
    replay_init(&x->replay, &x->ctx->replay, x->client ? x->client->replays : NULL, ANSWER_BODY_MAX);
    x->replay.pinned = true;
    if (x->request->expect_100 && !x->request_done)
        exchange_continue(x);
    leg_want(x->client_leg, true);
}

bool exchange_answer_fits(struct exchange *x)
{
    if (x->replay.whole)
        return true;
    exchange_fail(x, &(struct problem){ .status = 413,
                                        .error = "http_request_denied",
                                        .reason = "token_request_too_large",
                                        .credential = x->rule->credential,
                                        .detail = "sidekey answers token requests of at most 64 KiB" });
    return false;
}

static void respond(struct exchange *x, struct message *m, const struct buf *body, int failed)
{
    m->keep_alive = exchange_may_reuse(x);
    if (failed)
        exchange_fail(x, &(struct problem){ .status = 503, .reason = "out_of_memory" });
    else
        exchange_respond(x, m, buf_slice(body));
}

static void refuse(struct exchange *x, const struct answer_error *error, int64_t retry_after_s)
{
    struct message m;
    struct buf body;
    message_init(&m);
    buf_init(&body, 16 * 1024);
    x->reason = "token_request_refused";
    meter_refused(x->ctx->meter, x->reason);
    respond(x, &m, &body, answer_build_error(error, retry_after_s, &m, &body));
    buf_done(&body);
    message_done(&m);
}

void exchange_answer_give(struct exchange *x)
{
    struct message m;
    struct buf body;
    const struct token *token = tokens_get(x->ctx->tokens, x->credential, clock_mono_ms());
    message_init(&m);
    buf_init_secret(&body, 64 * 1024);
    x->reason = "token_request_answered";
    respond(x, &m, &body, answer_build(x->rule, token, (int64_t)time(NULL), &m, &body));
    buf_done(&body);
    message_done(&m);
}

/* A grant that is dead is the program's own, as far as it knows (RFC 6749 §5.2).  What may pass is no error of that
 * section: programs try again after a 503. */
void exchange_answer_without(struct exchange *x, const struct token_refusal *refusal)
{
    struct answer_error error = { 400, "invalid_grant", refusal->text };
    int64_t wait_s = (refusal->retry_after_ms + 999) / 1000;
    if (refusal->failure == MSG_CONFIG_ERROR) {
        error.code = "unauthorized_client";
    } else if (refusal->failure != MSG_DEAD) {
        error.status = 503;
        error.code = "temporarily_unavailable";
        wait_s = wait_s ? wait_s : 1;
    }
    refuse(x, &error, wait_s);
}

static bool is_stray(void *arg, struct slice text)
{
    const struct exchange *x = arg;
    return access_stray_text(x->ctx->access, text);
}

static void refuse_rule(struct exchange *x, const char *reason, const char *detail)
{
    exchange_fail(x, &(struct problem){ .status = 403,
                                        .error = "http_request_denied",
                                        .reason = reason,
                                        .credential = x->rule->credential,
                                        .detail = detail,
                                        .hint = "sidekey why METHOD URL shows which rule applies" });
}

/* As it came, except for what was for us. */
static enum exchange_answered pass(struct exchange *x)
{
    x->untouched = true;
    x->request->expect_100 = false;
    (void)message_remove(x->request, SLICE("expect"));
    return EXCHANGE_ANSWER_FORWARD;
}

static enum exchange_answered judge(struct exchange *x, const struct rule *const *rules, size_t count)
{
    struct answer_error error;
    const struct rule *ours = NULL;
    const struct worker_options *o = x->ctx->options;
    const struct answer_asked asked = { .request = x->request,
                                        .body = buf_slice(&x->replay.bytes),
                                        .rules = rules,
                                        .count = count,
                                        .throwaway_der = slice_of(o->throwaway_der, o->throwaway_len),
                                        .now_s = (int64_t)time(NULL),
                                        .is_stray = is_stray,
                                        .arg = x };
    enum answer_verdict verdict = answer_judge(&asked, &ours, &error);
    if (verdict == ANSWER_OTHERS && access_stray_placeholder(x->ctx->access, NULL, x->request))
        verdict = ANSWER_STRAY;
    switch (verdict) {
    case ANSWER_OURS: x->rule = ours; return EXCHANGE_ANSWER_TOKEN;
    case ANSWER_ERROR: refuse(x, &error, 0); return EXCHANGE_ANSWER_DONE;
    case ANSWER_STRAY:
        refuse_rule(x, "placeholder_stray", "the token request has a placeholder that no rule answers here");
        return EXCHANGE_ANSWER_DONE;
    case ANSWER_OTHERS: break;
    }
    if (x->rule->others == OTHERS_PASS)
        return pass(x);
    refuse_rule(x, "placeholder_missing",
                "the rules of this token endpoint need a placeholder, and the request has none of them");
    return EXCHANGE_ANSWER_DONE;
}

enum exchange_answered exchange_answer_judge(struct exchange *x)
{
    size_t count = access_answering(x->ctx->access, x->client, &x->a0, x->request, NULL, 0);
    const struct rule **rules = calloc(count + 1, sizeof *rules);
    if (!rules) {
        exchange_fail(x, &(struct problem){ .status = 503, .reason = "out_of_memory" });
        return EXCHANGE_ANSWER_DONE;
    }
    (void)access_answering(x->ctx->access, x->client, &x->a0, x->request, rules, count);
    enum exchange_answered answered = judge(x, rules, count);
    free(rules);
    return answered;
}
