/* A good answer is committed until the store takes it. */
#include "refresh/flight/flight_private.h"

#include "base/clock.h"
#include "base/rand.h"

#include <string.h>

#define COMMIT_FIRST_MS 200
#define COMMIT_LAST_MS 10000

enum flight_step flight_commit(struct flight *f)
{
    flight_stop_renewal(f); /* one operation at a time */
    return flight_op(f, store_commit(f->env->store, f->spec->name, &f->lease.owner, f->base.generation, &f->fresh,
                                     flight_store_answer, f));
}

/* Ours arrived although the answer to the commit did not. */
static bool is_ours(const struct flight *f, const struct state *stored)
{
    return f->spec->grant == GRANT_STATIC
               ? strcmp(stored->refresh_fp, f->fresh.refresh_fp) == 0
               : slice_eq_secret(secret_peek(&stored->access_token), secret_peek(&f->fresh.access_token))
                     && slice_eq_secret(secret_peek(&stored->refresh_token), secret_peek(&f->fresh.refresh_token));
}

static enum flight_step stored(struct flight *f, uint64_t generation)
{
    f->lease.held = false; /* the commit has released it */
    if ((f->attempt.double_spend || generation != f->fresh.generation) && f->spec->grant != GRANT_STATIC) {
        f->fresh.generation = generation;
        f->hooks.on_state(f->hooks.arg, &f->fresh);
    }
    if (grant_of(f->spec->grant)->spends_refresh_token)
        flight_clear_journal(f);
    if (f->attempt.double_spend)
        return flight_end_as(f, FLIGHT_ADOPTED, "double_spend: sidekey uses the stored token");
    if (f->attempt.kept_short && f->fresh.dead_fp[0])
        flight_report_death(f);
    if (f->attempt.kept_short)
        return flight_end_as(f, FLIGHT_FAILED, f->text);
    return flight_end_as(f, f->attempt.asked || f->spec->grant == GRANT_STATIC ? FLIGHT_REFRESHED : FLIGHT_ADOPTED,
                         "stored");
}

/* Somebody else's child of the same parent is stored: it wins; ours is kept beside it for one fallback try (rules 2.5c
 * and 2.5d). */
static enum flight_step lost_race(struct flight *f, const struct state *winner)
{
    struct secret ours = f->fresh.refresh_token;
    f->fresh.refresh_token = (struct secret){ NULL, 0, 0 };
    f->lease.held = false;
    /* Further on than our own number: ours was stored, its child is there already, and the answer to our commit came
     * too late; or the winner's line lives. */
    bool differs = winner->generation == f->fresh.generation && !secret_empty(&ours)
                   && !slice_eq_secret(secret_peek(&ours), secret_peek(&winner->refresh_token));
    int failed = flight_adopt_state(f, winner) || state_copy(&f->fresh, winner)
                 || secret_set(&f->fresh.alt_refresh, secret_peek(&ours));
    secret_done(&ours);
    differs = differs && grant_of(f->spec->grant)->spends_refresh_token;
    if (differs && !f->attempt.double_spend)
        flight_note(f, FLIGHT_DOUBLE_SPEND, winner->generation,
                    "one refresh token was redeemed twice: sidekey uses the stored result and keeps its own beside it");
    if (failed || !differs || f->attempt.alt_kept) {
        if (!failed && grant_of(f->spec->grant)->spends_refresh_token)
            flight_clear_journal(f);
        return flight_end_as(f, FLIGHT_ADOPTED,
                             differs || f->attempt.double_spend ? "double_spend: sidekey uses the stored token"
                                                                : "another owner's token was stored first");
    }
    f->attempt.double_spend = f->attempt.alt_kept = true;
    f->fresh.generation = winner->generation + 1;
    return flight_enter(f, FLIGHT_COMMIT);
}

enum flight_step flight_committed(struct flight *f, const struct store_answer *answer)
{
    f->intent.marked = f->intent.marked && answer->result == STORE_ERROR; /* the commit has taken it away */
    if (answer->result == STORE_OK)
        return stored(f, answer->generation);
    if (answer->result == STORE_STALE && is_ours(f, answer->state))
        return stored(f, answer->state->generation);
    /* another replica has read another version of the secret: look again */
    if (answer->result == STORE_STALE && f->spec->grant == GRANT_STATIC) {
        f->lease.held = false;
        return flight_adopt_state(f, answer->state) == 0 && clock_mono_ms() < f->lease.hold_end_ms
                   ? flight_enter(f, FLIGHT_BEGIN)
                   : flight_fail(f, MSG_STORE, "the store keeps changing");
    }
    if (answer->result == STORE_STALE && flight_overrules(&f->fresh, answer->state)) {
        f->lease.held = false;
        f->fresh.generation = answer->state->generation + 1;
        return state_copy(&f->base, answer->state) == 0 ? flight_enter(f, FLIGHT_COMMIT)
                                                        : flight_enter(f, FLIGHT_COMMIT_WAIT);
    }
    if (answer->result == STORE_STALE)
        return lost_race(f, answer->state);
    flight_note(f, FLIGHT_PERSIST_FAILED, f->fresh.generation, answer->error);
    return flight_enter(f, FLIGHT_COMMIT_WAIT);
}

enum flight_step flight_commit_wait(struct flight *f)
{
    if (f->pause_ms < COMMIT_FIRST_MS || f->pause_ms > COMMIT_LAST_MS)
        f->pause_ms = COMMIT_FIRST_MS;
    timer_set(&f->deadline, f->pause_ms / 2 + (int64_t)rand_below((uint64_t)f->pause_ms));
    flight_renew_in_time(f);
    f->pause_ms = f->pause_ms * 2 < COMMIT_LAST_MS ? f->pause_ms * 2 : COMMIT_LAST_MS;
    return STEP_WAIT;
}

enum flight_step flight_commit_again(struct flight *f)
{
    return flight_enter(f, FLIGHT_COMMIT);
}
