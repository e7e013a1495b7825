/* What becomes of the outcome: a good answer is committed until the store takes it, a refused token gets a second look
 * before the credential is marked dead. */
#include "refresh/flight/flight_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define COMMIT_FIRST_MS 200
#define COMMIT_LAST_MS 10000
#define MARK_DEAD_TRIES 3

/* The journal's part is done. */
void flight_clear_journal(struct flight *f)
{
    int failed = journal_clear(f->env->journal, f->spec->name);
    if (failed)
        log_warn(log_msg("journal not cleared"), log_str("credential", f->spec->name),
                 log_str("reason", strerror(-failed)));
}

void flight_journal_failed(struct flight *f, const char *outcome, int failed)
{
    bool full = failed == -ENOSPC || failed == -EDQUOT || failed == -EFBIG;
    char why[512];
    snprintf(why, sizeof why, "%s: cannot write to %s: %s: %s", outcome, journal_path(f->env->journal),
             strerror(-failed), full ? "make room there" : "this user must be able to write there");
    flight_note(f, FLIGHT_JOURNAL_FAILED, f->base.generation, why);
}

/* ---- commit ---- */

bool flight_overrules(const struct state *ours, const struct state *stored)
{
    return stored->dead_fp[0] && strcmp(stored->dead_fp, ours->refresh_fp) == 0 && !secret_empty(&ours->refresh_token);
}

enum step flight_commit(struct flight *f)
{
    flight_stop_renewal(f); /* one operation at a time */
    return flight_op(f, store_commit(f->env->store, f->spec->name, &f->owner, f->base.generation, &f->fresh,
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

static void report_death(struct flight *f)
{
    char detail[sizeof f->text];
    snprintf(detail, sizeof detail, "%s", f->text);
    if (f->outcome_unknown)
        snprintf(f->text, sizeof f->text, "%.80s; rotation probably lost in flight%s%.100s", detail,
                 f->first[0] ? ", when the first request ended with: " : "", f->first);
    if (f->foreign)
        flight_note(f, FLIGHT_FOREIGN_ROTATION, f->base.generation,
                    "another program holds a copy of it: give each its own grant");
    bool known = strcmp(f->base.dead_fp, f->fresh.dead_fp) == 0; /* one more try of many */
    LOG_AT(known ? LOG_WARN : LOG_ERROR, log_msg(known ? "refresh token still refused" : "reauthorisation required"),
           log_str("credential", f->spec->name), log_int("generation", (int64_t)f->fresh.generation),
           log_str("refresh_token", f->fresh.dead_fp), log_str("class", "dead"), log_str("reason", f->text));
}

static enum step stored(struct flight *f, uint64_t generation)
{
    f->leased = false; /* the commit has released it */
    if ((f->double_spend || generation != f->fresh.generation) && f->spec->grant != GRANT_STATIC) {
        f->fresh.generation = generation;
        f->hooks.on_state(f->hooks.arg, &f->fresh);
    }
    if (grant_of(f->spec->grant)->spends_refresh_token)
        flight_clear_journal(f);
    if (f->double_spend)
        return flight_end_as(f, FLIGHT_ADOPTED, "double_spend: the stored token won");
    if (f->kept_short && f->fresh.dead_fp[0])
        report_death(f);
    if (f->kept_short)
        return flight_end_as(f, FLIGHT_FAILED, f->text);
    return flight_end_as(f, f->asked || f->spec->grant == GRANT_STATIC ? FLIGHT_REFRESHED : FLIGHT_ADOPTED, "stored");
}

/* Somebody else's child of the same parent is stored: it wins; ours is kept beside it for one fallback try (rules 2.5c
 * and 2.5d). */
static enum step lost_race(struct flight *f, const struct state *winner)
{
    struct secret ours = f->fresh.refresh_token;
    f->fresh.refresh_token = (struct secret){ NULL, 0, 0 };
    f->leased = false;
    /* Further on than our own number: ours was stored, its child is there already, and the answer to our commit came
     * too late; or the winner's line lives. */
    bool differs = winner->generation == f->fresh.generation && !secret_empty(&ours)
                   && !slice_eq_secret(secret_peek(&ours), secret_peek(&winner->refresh_token));
    int failed = flight_adopt_state(f, winner) || state_copy(&f->fresh, winner)
                 || secret_set(&f->fresh.alt_refresh, secret_peek(&ours));
    secret_done(&ours);
    differs = differs && grant_of(f->spec->grant)->spends_refresh_token;
    if (differs && !f->double_spend)
        flight_note(f, FLIGHT_DOUBLE_SPEND, winner->generation,
                    "one refresh token was redeemed twice: the stored child is used, ours is kept beside it");
    if (failed || !differs || f->alt_kept) {
        if (!failed && grant_of(f->spec->grant)->spends_refresh_token)
            flight_clear_journal(f);
        return flight_end_as(f, FLIGHT_ADOPTED,
                             differs || f->double_spend ? "double_spend: the stored token won"
                                                        : "another owner's token was stored first");
    }
    f->double_spend = f->alt_kept = true;
    f->fresh.generation = winner->generation + 1;
    return flight_enter(f, FLIGHT_COMMIT);
}

enum step flight_committed(struct flight *f, const struct store_answer *answer)
{
    f->marked = f->marked && answer->result == STORE_ERROR; /* the commit has taken it away */
    if (answer->result == STORE_OK)
        return stored(f, answer->generation);
    if (answer->result == STORE_STALE && is_ours(f, answer->state))
        return stored(f, answer->state->generation);
    /* another replica has read another version of the secret: look again */
    if (answer->result == STORE_STALE && f->spec->grant == GRANT_STATIC) {
        f->leased = false;
        return flight_adopt_state(f, answer->state) == 0 && clock_mono_ms() < f->hold_end_ms
                   ? flight_enter(f, FLIGHT_BEGIN)
                   : flight_fail(f, MSG_STORE, "the store keeps changing");
    }
    if (answer->result == STORE_STALE && flight_overrules(&f->fresh, answer->state)) {
        f->leased = false;
        f->fresh.generation = answer->state->generation + 1;
        return state_copy(&f->base, answer->state) == 0 ? flight_enter(f, FLIGHT_COMMIT)
                                                        : flight_enter(f, FLIGHT_COMMIT_WAIT);
    }
    if (answer->result == STORE_STALE)
        return lost_race(f, answer->state);
    flight_note(f, FLIGHT_PERSIST_FAILED, f->fresh.generation, answer->error);
    return flight_enter(f, FLIGHT_COMMIT_WAIT);
}

/* The lease is kept as while a request is out. */
static void renew_in_time(struct flight *f)
{
    int64_t due_ms = f->lease_end_ms - f->env->lease_ms * 2 / 3 - clock_mono_ms();
    if (f->leased)
        timer_set(&f->renewal, due_ms > 0 ? due_ms : 0);
}

enum step flight_commit_wait(struct flight *f)
{
    if (f->pause_ms < COMMIT_FIRST_MS || f->pause_ms > COMMIT_LAST_MS)
        f->pause_ms = COMMIT_FIRST_MS;
    timer_set(&f->deadline, f->pause_ms / 2 + (int64_t)rand_below((uint64_t)f->pause_ms));
    renew_in_time(f);
    f->pause_ms = f->pause_ms * 2 < COMMIT_LAST_MS ? f->pause_ms * 2 : COMMIT_LAST_MS;
    return STEP_WAIT;
}

enum step flight_commit_again(struct flight *f)
{
    return flight_enter(f, FLIGHT_COMMIT);
}

/* ---- recover: refused, or no answer ---- */

enum step flight_recover(struct flight *f)
{
    return flight_op(f, store_load(f->env->store, f->spec->name, flight_store_answer, f));
}

/* Another owner's answer to the same token may still be on its way to the store. */
static bool others_may_store(const struct flight *f)
{
    return (!f->leased || f->lease_lost) && clock_mono_ms() < f->hold_end_ms;
}

static enum step after_ambiguous(struct flight *f)
{
    if (f->resent || f->draining) {
        f->result.retry_after_ms = 0;
        /* the intent stays in the journal: it says what may have been lost */
        return flight_end_as(f, FLIGHT_FAILED, f->text);
    }
    f->resent = true;
    return flight_enter(f, FLIGHT_SLOT);
}

static enum step after_refusal(struct flight *f)
{
    /* a token that our own response has taken the place of is spent: that is stored at once, for all to know */
    bool early = others_may_store(f) && !f->unread;
    if (early && !f->draining)
        return flight_enter(f, FLIGHT_RECOVER_WAIT);
    if (early)
        return flight_end_as(f, FLIGHT_FAILED, f->text);
    if (!f->unread && !f->alt_tried && !f->seeded && !secret_empty(&f->base.alt_refresh) && !f->draining) {
        f->alt_tried = true;
        if (secret_set(&f->spent, secret_peek(&f->base.alt_refresh)) != 0)
            return flight_fail(f, MSG_TRANSIENT, "out of memory");
        return flight_enter(f, FLIGHT_SLOT);
    }
    /* The server may have been busy still with the request that we gave up, or somebody in between has spoken. */
    if ((f->outcome_unknown || f->look_again) && !f->paused && !f->unread)
        return f->draining ? flight_end_as(f, FLIGHT_FAILED, f->text) : flight_enter(f, FLIGHT_PAUSE);
    return flight_enter(f, f->seeded && flight_stored_lives(f) ? FLIGHT_AMEND : FLIGHT_MARK_DEAD);
}

enum step flight_pause(struct flight *f)
{
    timer_set(&f->deadline, FLIGHT_PAUSE_MS);
    renew_in_time(f);
    return STEP_WAIT;
}

enum step flight_pause_over(struct flight *f)
{
    flight_stop_renewal(f);
    f->paused = true;
    return f->draining ? flight_end_as(f, FLIGHT_FAILED, f->text) : flight_enter(f, FLIGHT_SLOT);
}

static enum step adopt_newer(struct flight *f, const struct state *winner)
{
    flight_note(f, FLIGHT_RACE_RECOVERED, winner->generation, "another owner's token is stored");
    if (flight_adopt_state(f, winner) != 0)
        return flight_fail(f, MSG_TRANSIENT, "out of memory");
    flight_clear_journal(f);
    return flight_end_as(f, FLIGHT_ADOPTED, "race recovered");
}

enum step flight_recovered(struct flight *f, const struct store_answer *answer)
{
    if (answer->result == STORE_OK && answer->state->generation > f->base.generation)
        return adopt_newer(f, answer->state);
    if (answer->result == STORE_OK)
        return f->result.failure == MSG_DEAD ? after_refusal(f) : after_ambiguous(f);
    flight_note(f, FLIGHT_REREAD_FAILED, f->base.generation, answer->error);
    if (!f->draining && clock_mono_ms() < f->hold_end_ms)
        return flight_enter(f, FLIGHT_RECOVER_WAIT);
    /* No verdict without a look at the store (rule 2.9c). */
    if (f->unread)
        return flight_fail_text(f, MSG_STORE);
    return flight_fail(f, MSG_STORE,
                       f->result.failure == MSG_DEAD
                           ? "the refresh token was refused, and the stored state cannot be read"
                           : "the outcome is unknown, and the stored state cannot be read");
}

enum step flight_recover_wait(struct flight *f)
{
    timer_set(&f->deadline, FLIGHT_POLL_LAST_MS);
    return STEP_WAIT;
}

enum step flight_recover_again(struct flight *f)
{
    return flight_enter(f, FLIGHT_RECOVER);
}

/* ---- throttle (rule 3.4b): told to those who share the store before the lease is free ---- */

enum step flight_throttle(struct flight *f)
{
    f->result.told = true;
    if (f->result.retry_after_ms == 0)
        f->result.retry_after_ms = FLIGHT_THROTTLE_MS;
    return flight_op(f, store_throttle(f->env->store, f->spec->name, f->result.retry_after_ms, flight_store_answer, f));
}

enum step flight_throttled(struct flight *f, const struct store_answer *answer)
{
    if (answer->result == STORE_ERROR)
        flight_note(f, FLIGHT_THROTTLE_UNSHARED, f->base.generation, answer->error);
    return flight_end_as(f, FLIGHT_FAILED, f->text);
}

enum step flight_fail_throttled(struct flight *f)
{
    f->result.retry_after_ms = f->throttled_ms - clock_mono_ms();
    return flight_fail(f, MSG_THROTTLE, "the token endpoint has asked for fewer requests");
}

/* ---- mark dead ---- */

void flight_note_seed(struct flight *f)
{
    if (!f->seeded)
        return;
    state_add_tried(&f->fresh, f->base.seed_fp);
    state_add_tried(&f->fresh, f->spent_fp);
    memcpy(f->fresh.seed_fp, f->spent_fp, sizeof f->fresh.seed_fp);
    f->result.looked = true;
}

static int make_verdict(struct flight *f)
{
    char stored_fp[9];
    if (state_copy(&f->fresh, &f->base) != 0)
        return -1;
    /* With the alternative or the configured one refused as well, both are dead: the stored one is what the next flight
     * would spend. */
    const char *fp = secret_empty(&f->base.refresh_token) || (!f->alt_tried && !f->seeded)
                         ? f->spent_fp
                         : seal_fingerprint(f->env->ring, secret_peek(&f->base.refresh_token), stored_fp);
    snprintf(f->fresh.dead_fp, sizeof f->fresh.dead_fp, "%s", fp);
    snprintf(f->fresh.unread_fp, sizeof f->fresh.unread_fp, "%s",
             f->unread || f->lost || strcmp(fp, f->base.unread_fp) == 0 ? fp : "");
    f->fresh.dead_wall_ms = clock_wall_ms() + token_clock_skew_ms(f->clock);
    flight_note_seed(f);
    secret_done(&f->fresh.alt_refresh);
    f->fresh.generation = f->base.generation + 1;
    return 0;
}

enum step flight_mark_dead(struct flight *f)
{
    if (make_verdict(f) != 0)
        return flight_fail(f, MSG_TRANSIENT, "out of memory");
    f->mark_dead_tries++;
    return flight_op(f, store_commit(f->env->store, f->spec->name, &f->owner, f->base.generation, &f->fresh,
                                     flight_store_answer, f));
}

enum step flight_marked_dead(struct flight *f, const struct store_answer *answer)
{
    f->marked = f->marked && answer->result == STORE_ERROR;
    if (answer->result == STORE_STALE && strcmp(answer->state->dead_fp, f->fresh.dead_fp) != 0) {
        f->leased = false;
        return adopt_newer(f, answer->state); /* a dead verdict never overwrites a newer generation (rule 2.9b) */
    }
    if (answer->result == STORE_ERROR && f->mark_dead_tries < MARK_DEAD_TRIES)
        return flight_enter(f, FLIGHT_MARK_DEAD);
    if (answer->result == STORE_ERROR)
        flight_note(f, FLIGHT_PERSIST_FAILED, f->fresh.generation, answer->error);
    else
        f->leased = false;
    if (answer->result == STORE_OK)
        f->fresh.generation = answer->generation;
    report_death(f);
    f->hooks.on_state(f->hooks.arg, &f->fresh);
    flight_clear_journal(f);
    if (f->lost && answer->result != STORE_ERROR) /* from here on the verdict says it */
        (void)!journal_lost_forget(f->env->journal, f->spec->name);
    return flight_end_as(f, FLIGHT_FAILED, f->text);
}

/* ---- amend: the state stays, what is known of tokens changes ---- */

static int make_amended(struct flight *f)
{
    if (state_copy(&f->fresh, &f->base) != 0)
        return -1;
    if (f->reset) {
        bool dead = f->base.dead_fp[0];
        f->fresh.tried[0] = f->fresh.dead_fp[0] = '\0';
        f->fresh.dead_wall_ms = 0;
        if (dead || secret_empty(&f->base.refresh_token)) /* else it began a chain that lives: it is spent */
            f->fresh.seed_fp[0] = '\0';
    } else {
        state_add_tried(&f->fresh, f->base.seed_fp);
        state_add_tried(&f->fresh, f->spent_fp);
    }
    f->fresh.generation = f->base.generation + 1;
    return 0;
}

enum step flight_amend(struct flight *f)
{
    if (make_amended(f) != 0)
        return flight_fail(f, MSG_TRANSIENT, "out of memory");
    return flight_op(f, store_commit(f->env->store, f->spec->name, &f->owner, f->base.generation, &f->fresh,
                                     flight_store_answer, f));
}

static void report_amended(struct flight *f)
{
    if (f->reset)
        log_info(log_msg("verdicts forgotten"), log_str("credential", f->spec->name));
    else
        log_error(log_msg("configured refresh token refused, the stored one is used"),
                  log_str("credential", f->spec->name), log_str("refresh_token", f->spent_fp),
                  log_str("reason", f->text));
}

enum step flight_amended(struct flight *f, const struct store_answer *answer)
{
    f->marked = f->marked && answer->result == STORE_ERROR;
    if (answer->result == STORE_ERROR) {
        flight_note(f, FLIGHT_PERSIST_FAILED, f->fresh.generation, answer->error);
        return flight_fail(f, MSG_STORE, "the store has not taken what is known of the refresh tokens");
    }
    f->leased = false;
    if (answer->result == STORE_OK) {
        f->fresh.generation = answer->generation;
        report_amended(f);
        if (!f->reset)
            flight_clear_journal(f);
        f->look = f->reset;
        f->result.reset = f->result.reset || f->reset;
        f->result.looked = !f->look;
        f->reset = f->outcome_unknown = f->paused = f->resent = false;
    }
    f->seed_looked = !f->look && answer->result == STORE_OK;
    int failed = flight_adopt_state(f, answer->result == STORE_OK ? &f->fresh : answer->state);
    if (failed || clock_mono_ms() >= f->hold_end_ms)
        return flight_fail(f, MSG_STORE, failed ? "out of memory" : "the store keeps changing");
    return flight_enter(f, FLIGHT_BEGIN);
}
