/* Refused, or no answer: what is stored now, and is there another try? */
#include "refresh/flight/flight_private.h"

#include "base/clock.h"

enum flight_step flight_recover(struct flight *f)
{
    return flight_op(f, store_load(f->env->store, f->spec->name, flight_store_answer, f));
}

/* Another owner's answer to the same token may still be on its way to the store. */
static bool others_may_store(const struct flight *f)
{
    return (!f->lease.held || f->lease.lost) && clock_mono_ms() < f->lease.hold_end_ms;
}

static enum flight_step after_ambiguous(struct flight *f)
{
    if (f->attempt.resent || f->order.draining) {
        f->result.retry_after_ms = 0;
        /* the intent stays in the journal: it says what may have been lost */
        return flight_end_as(f, FLIGHT_FAILED, f->text);
    }
    f->attempt.resent = true;
    return flight_enter(f, FLIGHT_SLOT);
}

static enum flight_step after_refusal(struct flight *f)
{
    /* a token that our own response has taken the place of is spent: that is stored at once, for all to know */
    bool early = others_may_store(f) && !f->attempt.unread;
    if (early && !f->order.draining)
        return flight_enter(f, FLIGHT_RECOVER_WAIT);
    if (early)
        return flight_end_as(f, FLIGHT_FAILED, f->text);
    if (!f->attempt.unread && !f->attempt.alt_tried && !f->intent.seeded && !secret_empty(&f->base.alt_refresh)
        && !f->order.draining) {
        f->attempt.alt_tried = true;
        if (secret_set(&f->intent.spent, secret_peek(&f->base.alt_refresh)) != 0)
            return flight_fail(f, MSG_TRANSIENT, "out of memory");
        return flight_enter(f, FLIGHT_SLOT);
    }
    /* The server may have been busy still with the request that we gave up, or somebody in between has spoken. */
    if ((f->intent.outcome_unknown || f->attempt.look_again) && !f->attempt.paused && !f->attempt.unread)
        return f->order.draining ? flight_end_as(f, FLIGHT_FAILED, f->text) : flight_enter(f, FLIGHT_PAUSE);
    return flight_enter(f, f->intent.seeded && flight_stored_lives(f) ? FLIGHT_AMEND : FLIGHT_MARK_DEAD);
}

enum flight_step flight_pause(struct flight *f)
{
    timer_set(&f->deadline, FLIGHT_PAUSE_MS);
    flight_renew_in_time(f);
    return STEP_WAIT;
}

enum flight_step flight_pause_over(struct flight *f)
{
    flight_stop_renewal(f);
    f->attempt.paused = true;
    return f->order.draining ? flight_end_as(f, FLIGHT_FAILED, f->text) : flight_enter(f, FLIGHT_SLOT);
}

enum flight_step flight_recovered(struct flight *f, const struct store_answer *answer)
{
    if (answer->result == STORE_OK && answer->state->generation > f->base.generation)
        return flight_adopt_newer(f, answer->state);
    if (answer->result == STORE_OK)
        return f->result.failure == MSG_DEAD ? after_refusal(f) : after_ambiguous(f);
    flight_note(f, FLIGHT_REREAD_FAILED, f->base.generation, answer->error);
    if (!f->order.draining && clock_mono_ms() < f->lease.hold_end_ms)
        return flight_enter(f, FLIGHT_RECOVER_WAIT);
    /* No verdict without a look at the store (rule 2.9c). */
    if (f->attempt.unread)
        return flight_fail_text(f, MSG_STORE);
    return flight_fail(f, MSG_STORE,
                       f->result.failure == MSG_DEAD
                           ? "the refresh token was refused, and the stored state cannot be read"
                           : "the outcome is unknown, and the stored state cannot be read");
}

enum flight_step flight_recover_wait(struct flight *f)
{
    timer_set(&f->deadline, FLIGHT_POLL_LAST_MS);
    return STEP_WAIT;
}

enum flight_step flight_recover_again(struct flight *f)
{
    return flight_enter(f, FLIGHT_RECOVER);
}

/* ---- throttle (rule 3.4b): told to those who share the store before the lease is free ---- */

enum flight_step flight_throttle(struct flight *f)
{
    f->result.told = true;
    if (f->result.retry_after_ms == 0)
        f->result.retry_after_ms = FLIGHT_THROTTLE_MS;
    return flight_op(f, store_throttle(f->env->store, f->spec->name, f->result.retry_after_ms, flight_store_answer, f));
}

enum flight_step flight_throttled(struct flight *f, const struct store_answer *answer)
{
    if (answer->result == STORE_ERROR)
        flight_note(f, FLIGHT_THROTTLE_UNSHARED, f->base.generation, answer->error);
    return flight_end_as(f, FLIGHT_FAILED, f->text);
}
