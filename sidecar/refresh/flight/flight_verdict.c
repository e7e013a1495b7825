/* What is known of tokens goes to the store: one is dead, or was tried. */
#include "refresh/flight/flight_private.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

#define MARK_DEAD_TRIES 3

/* The way out, where there is a short one. */
static void advise_login(struct flight *f)
{
    char advice[96];
    if (!credential_spec_has_login(f->spec))
        return;
    snprintf(advice, sizeof advice, "; run sidekey login %s", f->spec->name);
    size_t len = strlen(f->text), most = sizeof f->text - 1 - strlen(advice);
    len = len < most ? len : most;
    snprintf(f->text + len, sizeof f->text - len, "%s", advice);
}

void flight_report_death(struct flight *f)
{
    char detail[sizeof f->text];
    snprintf(detail, sizeof detail, "%s", f->text);
    if (f->intent.outcome_unknown)
        snprintf(f->text, sizeof f->text, "%.80s; rotation probably lost in flight%s%.100s", detail,
                 f->first[0] ? ", when the first request ended with: " : "", f->first);
    if (f->attempt.foreign)
        flight_note(f, FLIGHT_FOREIGN_ROTATION, f->base.generation,
                    "another program has a copy of it: give each program its own grant");
    advise_login(f);
    bool known = strcmp(f->base.dead_fp, f->fresh.dead_fp) == 0; /* one more try of many */
    LOG_AT(known ? LOG_WARN : LOG_ERROR, log_msg(known ? "refresh token still refused" : "reauthorisation required"),
           log_str("credential", f->spec->name), log_int("generation", (int64_t)f->fresh.generation),
           log_str("refresh_token", f->fresh.dead_fp), log_str("class", "dead"), log_str("reason", f->text));
}

static int make_verdict(struct flight *f)
{
    char stored_fp[9];
    if (state_copy(&f->fresh, &f->base) != 0)
        return -1;
    /* With the alternative or the configured one refused as well, both are dead: the stored one is what the next flight
     * would spend. */
    const char *fp = secret_empty(&f->base.refresh_token) || (!f->attempt.alt_tried && !f->intent.seeded)
                         ? f->intent.spent_fp
                         : seal_fingerprint(f->env->ring, secret_peek(&f->base.refresh_token), stored_fp);
    snprintf(f->fresh.dead_fp, sizeof f->fresh.dead_fp, "%s", fp);
    snprintf(f->fresh.unread_fp, sizeof f->fresh.unread_fp, "%s",
             f->attempt.unread || f->lost.noted || strcmp(fp, f->base.unread_fp) == 0 ? fp : "");
    f->fresh.dead_wall_ms = clock_wall_ms() + token_clock_skew_ms(f->clock);
    flight_note_seed(f);
    secret_done(&f->fresh.alt_refresh);
    f->fresh.generation = f->base.generation + 1;
    return 0;
}

enum flight_step flight_mark_dead(struct flight *f)
{
    if (make_verdict(f) != 0)
        return flight_fail(f, MSG_TRANSIENT, "out of memory");
    f->attempt.mark_dead_tries++;
    return flight_op(f, store_commit(f->env->store, f->spec->name, &f->lease.owner, f->base.generation, &f->fresh,
                                     flight_store_answer, f));
}

enum flight_step flight_marked_dead(struct flight *f, const struct store_answer *answer)
{
    f->intent.marked = f->intent.marked && answer->result == STORE_ERROR;
    if (answer->result == STORE_STALE && strcmp(answer->state->dead_fp, f->fresh.dead_fp) != 0) {
        f->lease.held = false;
        return flight_adopt_newer(f,
                                  answer->state); /* a dead verdict never overwrites a newer generation (rule 2.9b) */
    }
    if (answer->result == STORE_ERROR && f->attempt.mark_dead_tries < MARK_DEAD_TRIES)
        return flight_enter(f, FLIGHT_MARK_DEAD);
    if (answer->result == STORE_ERROR)
        flight_note(f, FLIGHT_PERSIST_FAILED, f->fresh.generation, answer->error);
    else
        f->lease.held = false;
    if (answer->result == STORE_OK)
        f->fresh.generation = answer->generation;
    flight_report_death(f);
    f->hooks.on_state(f->hooks.arg, &f->fresh);
    flight_clear_journal(f);
    if (f->lost.noted && answer->result != STORE_ERROR) /* from here on the verdict says it */
        (void)!journal_lost_forget(f->env->journal, f->spec->name);
    return flight_end_as(f, FLIGHT_FAILED, f->text);
}

/* ---- amend: the state stays, what is known of tokens changes ---- */

static int make_amended(struct flight *f)
{
    if (state_copy(&f->fresh, &f->base) != 0)
        return -1;
    if (f->order.reset) {
        bool dead = f->base.dead_fp[0];
        f->fresh.tried[0] = f->fresh.dead_fp[0] = '\0';
        f->fresh.dead_wall_ms = 0;
        if (dead || secret_empty(&f->base.refresh_token)) /* else it began a chain that lives: it is spent */
            f->fresh.seed_fp[0] = '\0';
    } else {
        state_add_tried(&f->fresh, f->base.seed_fp);
        state_add_tried(&f->fresh, f->intent.spent_fp);
    }
    f->fresh.generation = f->base.generation + 1;
    return 0;
}

enum flight_step flight_amend(struct flight *f)
{
    if (make_amended(f) != 0)
        return flight_fail(f, MSG_TRANSIENT, "out of memory");
    return flight_op(f, store_commit(f->env->store, f->spec->name, &f->lease.owner, f->base.generation, &f->fresh,
                                     flight_store_answer, f));
}

static void report_amended(struct flight *f)
{
    if (f->order.reset)
        log_info(log_msg("refusals forgotten"), log_str("credential", f->spec->name));
    else
        log_error(log_msg("the configured refresh token was refused: sidekey uses the stored one"),
                  log_str("credential", f->spec->name), log_str("refresh_token", f->intent.spent_fp),
                  log_str("reason", f->text));
}

enum flight_step flight_amended(struct flight *f, const struct store_answer *answer)
{
    f->intent.marked = f->intent.marked && answer->result == STORE_ERROR;
    if (answer->result == STORE_ERROR) {
        flight_note(f, FLIGHT_PERSIST_FAILED, f->fresh.generation, answer->error);
        return flight_fail(f, MSG_STORE, "cannot store which refresh tokens were refused");
    }
    f->lease.held = false;
    if (answer->result == STORE_OK) {
        f->fresh.generation = answer->generation;
        report_amended(f);
        if (!f->order.reset)
            flight_clear_journal(f);
        f->order.look = f->order.reset;
        f->result.reset = f->result.reset || f->order.reset;
        f->result.looked = !f->order.look;
        f->order.reset = f->intent.outcome_unknown = f->attempt.paused = f->attempt.resent = false;
    }
    f->attempt.seed_looked = !f->order.look && answer->result == STORE_OK;
    int failed = flight_adopt_state(f, answer->result == STORE_OK ? &f->fresh : answer->state);
    if (failed || clock_mono_ms() >= f->lease.hold_end_ms)
        return flight_fail(f, MSG_STORE, failed ? "out of memory" : "the store keeps changing");
    return flight_enter(f, FLIGHT_BEGIN);
}
