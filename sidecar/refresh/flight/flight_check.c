/* Is a request still needed?  And what does the journal know of earlier ones? */
#include "refresh/flight/flight_private.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

static bool other_keeper_lives(int64_t pid)
{
    return pid > 0 && pid != getpid() && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

/* An answer that never reached the store is worth more than any request: it goes there now. */
static bool take_journalled(struct flight *f, struct journal_entry *entry)
{
    /* it did reach the store, or has lost against a newer one */
    if (entry->parent_gen < f->base.generation && !flight_overrules(&entry->state, &f->base)) {
        flight_clear_journal(f);
        return false;
    }
    if (state_copy(&f->fresh, &entry->state) != 0)
        return false;
    f->fresh.generation = f->base.generation + 1;
    log_info(log_msg("response taken from the journal"), log_str("credential", f->spec->name),
             log_int("generation", (int64_t)f->fresh.generation));
    f->hooks.on_state(f->hooks.arg, &f->fresh);
    return true;
}

enum past { PAST_NOTHING, PAST_ANSWER, PAST_UNDER_WAY, PAST_UNREADABLE };

/* An older intent says that an answer may have been lost, or, when its keeper lives and it is young, that one may still
 * come. */
static enum past weigh_intent(struct flight *f, const struct journal_entry *entry)
{
    if (entry->parent_gen != f->base.generation)
        return PAST_NOTHING;
    int64_t age_ms = clock_mono_ms() - entry->at_ms; /* below 0: another boot's */
    if (other_keeper_lives(entry->pid) && age_ms >= 0 && age_ms < FLIGHT_HOLDS * f->env->lease_ms)
        return PAST_UNDER_WAY;
    f->intent.outcome_unknown = true;
    memcpy(f->intent.spent_fp, entry->refresh_fp, sizeof f->intent.spent_fp);
    flight_name_mark(entry->pid, entry->at_ms, f->intent.past_mark);
    return PAST_NOTHING;
}

static enum past ask_journal(struct flight *f)
{
    struct journal_entry entry;
    struct err e;
    enum past past = PAST_NOTHING;
    int failed = journal_read(f->env->journal, f->spec->name, &entry, &e);
    if (failed)
        log_warn(log_msg("cannot read the journal"), log_str("credential", f->spec->name), log_str("reason", e.text));
    if (failed == -EBADMSG || failed == -ENOKEY) /* put aside: what it knew of is told by the next read */
        failed = journal_read(f->env->journal, f->spec->name, &entry, &e);
    if (failed)
        return PAST_UNREADABLE;
    if (entry.kind == JOURNAL_ANSWER)
        past = take_journalled(f, &entry) ? PAST_ANSWER : PAST_NOTHING;
    else if (entry.kind == JOURNAL_INTENT)
        past = weigh_intent(f, &entry);
    else if (entry.kind == JOURNAL_LOST)
        flight_note_lost(f, &entry);
    journal_entry_done(&entry);
    return past;
}

enum flight_step flight_check(struct flight *f)
{
    if (f->spec->grant == GRANT_STATIC)
        return flight_enter(f, FLIGHT_SEED);
    /* The store has forgotten what we know (a failover, a restored disk): its refresh token is an old one and must not
     * come back from the dead. The parent for the compare-and-swap stays what is stored. */
    if (f->base.generation < f->known.generation && f->learned) { /* no: what it told us is only older than the news */
        f->learned = false;
        return flight_enter(f, FLIGHT_LOAD);
    }
    if (f->base.generation < f->known.generation) {
        uint64_t stored = f->base.generation;
        log_warn(log_msg("the store has lost a write"), log_str("credential", f->spec->name),
                 log_int("generation", (int64_t)f->known.generation));
        if (state_copy(&f->base, &f->known) != 0)
            return flight_fail(f, MSG_TRANSIENT, "out of memory");
        f->base.generation = stored;
    }
    enum past past = grant_of(f->spec->grant)->spends_refresh_token ? ask_journal(f) : PAST_NOTHING;
    enum flight_step step;
    if (past == PAST_ANSWER)
        return flight_enter(f, FLIGHT_COMMIT);
    if (past == PAST_NOTHING && grant_of(f->spec->grant)->spends_refresh_token && flight_reread(f, &step))
        return step;
    if (f->order.replay || (!f->order.look && !f->order.reset && !flight_needed(f, &f->base)))
        return flight_end_as(f, FLIGHT_ADOPTED, "the token is still fresh");
    if (f->order.draining)
        return flight_end_as(f, FLIGHT_SKIPPED, "draining");
    if (f->order.reset)
        return flight_enter(f, FLIGHT_AMEND);
    /* a keeper that was stopped for longer than its lease: spending the token again would look like theft */
    if (past == PAST_UNREADABLE)
        return flight_fail(f, MSG_STORE, "cannot read the journal: the refresh token is not sent");
    if (past == PAST_UNDER_WAY)
        return flight_fail(f, MSG_TRANSIENT, "another keeper's request with the same refresh token is in flight");
    if (clock_mono_ms() < f->throttled_ms)
        return flight_fail_throttled(f);
    return grant_of(f->spec->grant)->spends_refresh_token ? flight_choose_token(f) : flight_enter(f, FLIGHT_SLOT);
}
