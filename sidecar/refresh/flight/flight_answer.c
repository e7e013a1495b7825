/* What follows from a 2xx response to a refresh: what cannot be had again is kept first, and nothing is asked again
 * with a refresh token that it has taken the place of. */
#include "refresh/flight/flight_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "refresh/flight/state_from_answer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- what there is to keep ---- */

/* A commit that is not all that was asked for: the flight ends with this once it is stored. */
static void end_short(struct flight *f, enum msg_class failure, const char *text)
{
    f->attempt.kept_short = true;
    f->result.failure = failure;
    snprintf(f->text, sizeof f->text, "%s", text);
}

/* An access token that was refused serves nobody. */
static void drop_refused(struct flight *f)
{
    if (!schedule_need_forced(&f->need) || f->need.rejected < f->base.generation)
        return;
    secret_done(&f->fresh.access_token);
    f->fresh.expires_wall_ms = f->fresh.obtained_wall_ms = 0;
}

static int make_fresh(struct flight *f, const struct grant_answer *answer, struct slice spent, int64_t wall_ms,
                      const char *text)
{
    bool spends = grant_of(f->spec->grant)->spends_refresh_token;
    state_done(&f->fresh);
    state_init(&f->fresh);
    if (state_from_answer(&f->base, answer, spent, spends ? f->intent.spent_fp : "", f->spec->default_lifetime_ms,
                          wall_ms, &f->fresh)
        != 0)
        return -1;
    flight_note_seed(f);
    f->attempt.kept_short = false;
    if (secret_empty(&answer->access_token)) {
        drop_refused(f);
        end_short(f, MSG_CONFIG_ERROR, text);
    } else if (answer->refresh_unfit && spends && flight_rotates(f)) {
        snprintf(f->fresh.dead_fp, sizeof f->fresh.dead_fp, "%s", f->intent.spent_fp);
        snprintf(f->fresh.unread_fp, sizeof f->fresh.unread_fp, "%s", f->intent.spent_fp);
        f->fresh.dead_wall_ms = clock_wall_ms() + token_clock_skew_ms(f->clock);
        end_short(f, MSG_DEAD, text);
    }
    return 0;
}

/* On disk, to the workers, and on its way to the store. */
static enum flight_step keep_fresh(struct flight *f)
{
    bool spends = grant_of(f->spec->grant)->spends_refresh_token;
    int failed =
        spends ? journal_answer(f->env->journal, f->spec->name, f->base.generation, &f->fresh, clock_mono_ms()) : 0;
    if (failed)
        flight_journal_failed(f, "the response is in memory only until the store has it", failed);
    else if (spends && !f->fresh.dead_fp[0])
        flight_forget_response(f);
    f->hooks.on_state(f->hooks.arg, &f->fresh);
    return flight_enter(f, FLIGHT_COMMIT);
}

enum flight_step flight_keep(struct flight *f, const struct grant_answer *answer, const char *text)
{
    if (make_fresh(f, answer, secret_peek(&f->intent.spent), flight_asked_wall_ms(f), text) != 0)
        /* what was sealed is read again when there is memory */
        return flight_fail(f, MSG_TRANSIENT, "out of memory after the response arrived");
    return keep_fresh(f);
}

/* ---- what nobody understands ---- */

/* Nothing was found in it, and yet it was a success for the server: the refresh token is spent. */
enum flight_step flight_not_understood(struct flight *f, const char *text)
{
    snprintf(f->text, sizeof f->text, "%.200s%s", text,
             f->attempt.sealed ? "; the response is kept sealed in the journal" : "");
    if (!flight_rotates(f)) { /* this server has never taken a refresh token for spent: later, once more */
        if (!f->intent.outcome_unknown)
            flight_clear_journal(f);
        return flight_fail_text(f, MSG_CONFIG_ERROR);
    }
    f->attempt.unread = true;
    f->result.failure = MSG_DEAD;
    return flight_enter(f, FLIGHT_RECOVER);
}

/* ---- a response that an earlier flight has left ---- */

static bool same_fp(const char *a, const char *b)
{
    return a[0] && strcmp(a, b) == 0;
}

/* The verdict on the token that was spent for this response stands: nothing that it brought was ever stored. */
static bool was_judged(const struct flight *f, const struct journal_response *r)
{
    bool at_once = f->base.generation == r->parent_gen + 1; /* a configured one is remembered for longer than that */
    /* the stored token went on: see FLIGHT_AMEND */
    bool noted = r->seeded && at_once && strcmp(f->base.seed_fp, r->refresh_fp) != 0;
    return (f->base.dead_fp[0]
            && (same_fp(f->base.dead_fp, r->refresh_fp)
                || (r->seeded && at_once && same_fp(f->base.seed_fp, r->refresh_fp))))
           || (noted && state_has_tried(&f->base, r->refresh_fp));
}

/* A token that does not rotate is spent by many responses: an old one of them is no news after a verdict. */
static bool is_old(const struct flight *f, const struct journal_response *r, const struct grant_answer *answer)
{
    char fp[9];
    struct slice refresh = secret_peek(&answer->refresh_token);
    return f->base.generation > r->parent_gen + 1
           && (refresh.len == 0 || strcmp(seal_fingerprint(f->env->ring, refresh, fp), r->refresh_fp) == 0);
}

/* Now it can be read: the configuration says where, or this release knows how. */
static enum flight_step take_response(struct flight *f, const struct journal_response *r,
                                      const struct grant_answer *answer, const char *why)
{
    char fp[9];
    struct slice stored = secret_peek(&f->base.refresh_token);
    bool was_stored = stored.len && strcmp(seal_fingerprint(f->env->ring, stored, fp), r->refresh_fp) == 0;
    memcpy(f->intent.spent_fp, r->refresh_fp, sizeof f->intent.spent_fp);
    f->intent.seeded = r->seeded;
    if (make_fresh(f, answer, was_stored ? stored : SLICE(""), r->asked_wall_ms, why) != 0)
        return flight_fail(f, MSG_TRANSIENT, "out of memory");
    if (r->seeded && secret_empty(&f->fresh.refresh_token)) { /* nothing has taken its place */
        f->fresh.seed_fp[0] = '\0';
        memcpy(f->fresh.tried, f->base.tried, sizeof f->fresh.tried);
    }
    log_info(log_msg("response taken from the journal"), log_str("credential", f->spec->name),
             log_int("generation", (int64_t)f->fresh.generation));
    return keep_fresh(f);
}

static bool weigh_response(struct flight *f, const struct journal_response *r, enum flight_step *ret)
{
    char why[GRANT_WHY_BYTES] = "", text[256];
    struct grant_answer answer = { .lifetime_ms = 0 };
    const struct grant_input in = { r->status, buf_slice(&r->body), r->cut, f->spec };
    bool judged = was_judged(f, r), done = true;
    enum grant_result result = grant_answer_parse(&in, &answer, why);
    bool whole = !r->cut || answer.whole, found = !secret_empty(&answer.refresh_token);
    snprintf(text, sizeof text, "token endpoint: HTTP %d, %s", r->status, why);
    bool takes = found || (result == GRANT_TOKEN && whole && !(judged && answer.refresh_unfit));
    if (answer.no_memory)
        *ret = flight_fail(f, MSG_TRANSIENT, "out of memory after the response arrived");
    else if (takes && !is_old(f, r, &answer))
        *ret = take_response(f, r, &answer, text);
    else if (whole && result != GRANT_ERROR && !judged && flight_rotates(f)) {
        memcpy(f->intent.spent_fp, r->refresh_fp, sizeof f->intent.spent_fp);
        f->intent.seeded = r->seeded;
        f->attempt.sealed = true;
        *ret = flight_not_understood(f, text);
    } else {
        if (judged)
            snprintf(f->first, sizeof f->first, "%.190s; the response is kept sealed in the journal", text);
        done = false;
    }
    grant_answer_done(&answer);
    return done;
}

bool flight_reread(struct flight *f, enum flight_step *ret)
{
    struct journal_response r = { 0 };
    struct err e;
    int failed = journal_response_read(f->env->journal, f->spec->name, &r, &e);
    if (failed)
        log_warn(log_msg("cannot read the journal"), log_str("credential", f->spec->name), log_str("reason", e.text));
    if ((failed == -EBADMSG || failed == -ENOKEY) && flight_read_lost(f)) /* put aside, and noted as lost */
        return false;
    if (failed) {
        *ret = flight_fail(f, MSG_STORE, "cannot read the journal: the refresh token is not sent");
        return true;
    }
    bool done = false;
    if (r.status && (r.parent_gen == f->base.generation || was_judged(f, &r)))
        done = weigh_response(f, &r, ret);
    else if (r.status && r.parent_gen < f->base.generation && !f->base.dead_fp[0])
        flight_forget_response(f); /* its answer is stored, or has lost against a newer one */
    journal_response_done(&r);
    return done;
}
