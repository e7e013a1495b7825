/* The journal of a flight: its intent and its response are written, given up, or found damaged (rule 2.1e). */
#include "refresh/flight/flight_private.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void flight_clear_journal(struct flight *f)
{
    int failed = journal_clear(f->env->journal, f->spec->name);
    if (failed)
        log_warn(log_msg("cannot clear the journal"), log_str("credential", f->spec->name),
                 log_str("reason", strerror(-failed)));
}

void flight_journal_failed(struct flight *f, const char *outcome, int failed)
{
    bool full = failed == -ENOSPC || failed == -EDQUOT || failed == -EFBIG;
    char why[512];
    snprintf(why, sizeof why, "%s: cannot write to %s: %s: %s", outcome, journal_dir(f->env->journal)->path,
             strerror(-failed), full ? "free space there" : "give this user permission to write there");
    flight_note(f, FLIGHT_JOURNAL_FAILED, f->base.generation, why);
}

void flight_drop_intent(struct flight *f)
{
    if (grant_of(f->spec->grant)->spends_refresh_token && !f->intent.outcome_unknown)
        flight_clear_journal(f);
}

int64_t flight_asked_wall_ms(const struct flight *f)
{
    return clock_wall_ms() + token_clock_skew_ms(f->clock) - (clock_mono_ms() - f->attempt.asked_ms);
}

void flight_seal_response(struct flight *f, const struct fetch_answer *a)
{
    struct journal_response r = { .parent_gen = f->base.generation,
                                  .seeded = f->intent.seeded,
                                  .cut = a->cut && !a->capped,
                                  .status = a->status,
                                  .asked_wall_ms = flight_asked_wall_ms(f) };
    memcpy(r.refresh_fp, f->intent.spent_fp, sizeof r.refresh_fp);
    buf_init_secret(&r.body, a->body.len);
    int failed = buf_add(&r.body, a->body);
    if (failed == 0)
        failed = journal_response(f->env->journal, f->spec->name, &r, clock_mono_ms());
    if (failed)
        flight_journal_failed(f, "the response is in memory only", failed);
    f->attempt.sealed = failed == 0;
    journal_response_done(&r);
}

void flight_forget_response(struct flight *f)
{
    int failed = journal_response_forget(f->env->journal, f->spec->name);
    if (failed)
        log_warn(log_msg("cannot clear the journal"), log_str("credential", f->spec->name),
                 log_str("reason", strerror(-failed)));
}

void flight_name_mark(int64_t pid, int64_t at_ms, char mark[48])
{
    snprintf(mark, 48, "%" PRId64 ".%" PRId64, pid, at_ms);
}

/* ---- a refresh token whose response came and was damaged on disk: it is spent, and what replaced it is gone ---- */

void flight_note_lost(struct flight *f, const struct journal_entry *entry)
{
    f->lost.noted = true;
    f->lost.parent_gen = entry->parent_gen;
    memcpy(f->lost.fp, entry->refresh_fp, sizeof f->lost.fp);
}

bool flight_read_lost(struct flight *f)
{
    struct journal_entry entry;
    struct err e;
    if (journal_read(f->env->journal, f->spec->name, &entry, &e) != 0)
        return false;
    if (entry.kind == JOURNAL_LOST)
        flight_note_lost(f, &entry);
    journal_entry_done(&entry);
    return f->lost.noted;
}

static void forget_lost(struct flight *f)
{
    int failed = journal_lost_forget(f->env->journal, f->spec->name);
    f->lost.noted = false;
    if (failed)
        log_warn(log_msg("cannot clear the journal"), log_str("credential", f->spec->name),
                 log_str("reason", strerror(-failed)));
}

/* Is the token that is about to be spent the one whose answer is lost?  Where the record's own facts may be damaged,
 * the generation counts as well. */
static bool is_lost(const struct flight *f, const char *fp)
{
    return !f->lost.fp[0] || strcmp(f->lost.fp, fp) == 0
           || (!f->intent.seeded && f->lost.parent_gen >= f->base.generation);
}

bool flight_lost_forbids(struct flight *f, const char *fp, bool rotates)
{
    if (!f->lost.noted)
        return false;
    if (!is_lost(f, fp) || !rotates) {
        f->intent.outcome_unknown = f->intent.outcome_unknown || is_lost(f, fp);
        forget_lost(f);
        return false;
    }
    snprintf(f->text, sizeof f->text,
             "the record of the last token response in %s is damaged: the refresh token was used, and the one that "
             "replaced it is lost",
             journal_dir(f->env->journal)->path);
    f->result.failure = MSG_DEAD;
    return true;
}
