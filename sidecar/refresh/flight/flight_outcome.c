/* The outcome of a token request: the first look at what came, and what it means. */
#include "refresh/flight/flight_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "refresh/flight/classify.h"

#include <stdio.h>
#include <stdlib.h>

#define CLOCK_OFF_MS                                                                                                   \
    30000 /* an assertion whose times are off by more than this was refused for them; iat has 60 s to spare */

/* The configured token was refused while the stored one lives: that one is what counts. */
static bool seed_was_judged(const struct flight *f, enum msg_class failure, bool counts)
{
    return f->intent.seeded && !secret_empty(&f->base.refresh_token) && (failure == MSG_DEAD || counts);
}

enum flight_step flight_outcome_failed(struct flight *f, enum msg_class failure, bool counts, const char *text)
{
    bool spends = grant_of(f->spec->grant)->spends_refresh_token;
    snprintf(f->text, sizeof f->text, "%s", text);
    f->result.failure = failure;
    if (spends && failure == MSG_AMBIGUOUS && !f->intent.outcome_unknown)
        snprintf(f->first, sizeof f->first, "%s", text); /* the second try's reason is only what follows from it */
    if (spends && failure == MSG_AMBIGUOUS)
        f->intent.outcome_unknown = true;
    if (seed_was_judged(f, failure, counts) && failure != MSG_AMBIGUOUS)
        f->result.failure = MSG_DEAD;
    if (spends && (f->result.failure == MSG_AMBIGUOUS || f->result.failure == MSG_DEAD))
        return flight_enter(f, FLIGHT_RECOVER);
    flight_drop_intent(f);
    return failure == MSG_THROTTLE ? flight_enter(f, FLIGHT_THROTTLE) : flight_end_as(f, FLIGHT_FAILED, f->text);
}

/* Google's second step: the first token is the right to ask for the one that is wanted. */
static enum flight_step impersonate(struct flight *f, const struct grant_answer *answer)
{
    struct err e;
    if (grant_build_impersonation(f->spec, secret_peek(&answer->access_token), &f->request, &e) != 0)
        return flight_fail(f, MSG_TRANSIENT, e.text);
    f->attempt.impersonating = true;
    return flight_enter(f, FLIGHT_SLOT);
}

/* Refused, and the times in the assertion were not the server's: one more with its time (rule 3.3a). */
static bool clock_was_off(struct flight *f, const struct fetch_answer *a)
{
    return (a->status == 400 || a->status == 401) && grant_signs(f->spec) && !f->attempt.impersonating
           && !f->attempt.signed_again && !f->order.draining
           && llabs(token_clock_skew_ms(f->clock) - f->attempt.signed_skew_ms) >= CLOCK_OFF_MS;
}

static enum flight_step sign_again(struct flight *f)
{
    log_warn(log_msg("this machine's clock is wrong: sidekey signs the assertion again with the server's time"),
             log_str("credential", f->spec->name), log_int("skew_ms", token_clock_skew_ms(f->clock)));
    f->attempt.signed_again = true;
    return flight_enter(f, FLIGHT_SLOT);
}

/* A refusal that nobody knows: so many of them are a verdict. */
static enum msg_class count_refusal(struct flight *f, const struct classify_verdict *v, bool page)
{
    return v->counts && f->refusals && classify_refusals_add(f->refusals, f->intent.spent_fp, page, clock_mono_ms())
               ? MSG_DEAD
               : v->failure;
}

static enum flight_step refused(struct flight *f, const struct fetch_answer *a, struct grant_answer *answer, char *why)
{
    char text[sizeof f->text];
    f->result.retry_after_ms = classify_retry_after_ms(a->retry_after, a->date_s, clock_wall_ms() / 1000);
    struct classify_input in = { .sent = a->sent,
                                 .status = a->status,
                                 .code = slice_str(answer->code),
                                 .said = slice_str(answer->said),
                                 .html = answer->html,
                                 .retry_after = f->result.retry_after_ms > 0,
                                 .spends_token = grant_of(f->spec->grant)->spends_refresh_token };
    if (clock_was_off(f, a))
        return sign_again(f);
    struct classify_verdict v = classify(&in);
    f->attempt.foreign = v.reused && !f->intent.outcome_unknown;
    f->attempt.look_again = v.look_again;
    /* told to come later by a server that may have acted before it said so */
    f->intent.outcome_unknown =
        f->intent.outcome_unknown
        || (in.spends_token && v.failure == MSG_THROTTLE && (a->status >= 500 || a->status == 408));
    flight_explain(f, a, answer, f->attempt.foreign, why, text, sizeof text);
    enum msg_class failure = count_refusal(f, &v, answer->html);
    /* an error that came whole, as a success: the server knows what it did, and we know that it has said no */
    bool known = failure == MSG_AMBIGUOUS && a->status >= 200 && a->status < 300 && in.spends_token;
    return flight_outcome_failed(f, known ? MSG_TRANSIENT : failure, v.counts, text);
}

/* The body's end is missing, and so may be what was in it: asked again, the server may say it whole. */
static bool end_is_lost(const struct fetch_answer *a, const struct grant_answer *answer)
{
    return a->cut && !a->capped && !answer->whole;
}

/* A 2xx response to a refresh has an outcome, whatever is in it. */
static enum flight_step look_at_success(struct flight *f, const struct fetch_answer *a, struct grant_answer *answer,
                                        enum grant_result result, char *why)
{
    char text[256];
    if (answer->no_memory) /* what was sealed is read again when there is some */
        return flight_fail(f, MSG_TRANSIENT, "out of memory after the response arrived");
    flight_explain(f, a, answer, false, why, text, sizeof text);
    if (!secret_empty(&answer->refresh_token) || (result == GRANT_TOKEN && !end_is_lost(a, answer)))
        return flight_keep(f, answer, text);
    if (end_is_lost(a, answer))
        return flight_outcome_failed(f, MSG_AMBIGUOUS, false, text);
    if (result == GRANT_ERROR && !answer->refresh_unfit) {
        flight_forget_response(f);
        return refused(f, a, answer, why);
    }
    return flight_not_understood(f, text);
}

enum flight_step flight_outcome(struct flight *f, const struct fetch_answer *a)
{
    char why[GRANT_WHY_BYTES] = "";
    bool success = a->status >= 200 && a->status < 300, spends = grant_of(f->spec->grant)->spends_refresh_token;
    struct grant_answer answer = { .lifetime_ms = 0 };
    struct fetch_answer heard = *a;
    if (a->status && !f->attempt.impersonating) /* the second step has a host of its own */
        token_clock_learn(f->clock, a->date_s, clock_mono_ms() - f->attempt.asked_ms);
    if (success && spends)
        flight_seal_response(f, a);
    const struct grant_input in = { a->status, a->body, a->cut, f->attempt.impersonating ? NULL : f->spec };
    enum grant_result result = a->status ? grant_answer_parse(&in, &answer, why) : GRANT_BROKEN;
    if (!success && spends && !secret_empty(&answer.refresh_token)) { /* a fault that came after the tokens */
        flight_seal_response(f, a);
        success = true;
    }
    if (!success && end_is_lost(a, &answer))
        heard.status = 0;
    enum flight_step step;
    if (success && spends)
        step = look_at_success(f, a, &answer, result, why);
    else if (!success || result != GRANT_TOKEN)
        step = refused(f, &heard, &answer, why);
    else if (f->spec->impersonate.url && !f->attempt.impersonating)
        step = impersonate(f, &answer);
    else
        step = flight_keep(f, &answer, why);
    grant_answer_done(&answer);
    return step;
}
