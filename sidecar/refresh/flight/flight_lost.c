/* A refresh token whose answer came and was damaged on disk: it is spent, and what replaced it is gone (rule 2.1e). */
#include "refresh/flight/flight_private.h"

#include "base/log.h"

#include <stdio.h>

void flight_note_lost(struct flight *f, const struct journal_entry *entry)
{
    f->lost = true;
    f->lost_parent = entry->parent_gen;
    memcpy(f->lost_fp, entry->refresh_fp, sizeof f->lost_fp);
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
    return f->lost;
}

static void forget_lost(struct flight *f)
{
    int failed = journal_lost_forget(f->env->journal, f->spec->name);
    f->lost = false;
    if (failed)
        log_warn(log_msg("journal not cleared"), log_str("credential", f->spec->name),
                 log_str("reason", strerror(-failed)));
}

/* Is the token that is about to be spent the one whose answer is lost?  Where the record's own facts may be damaged,
 * the generation counts as well. */
static bool is_lost(const struct flight *f, const char *fp)
{
    return !f->lost_fp[0] || strcmp(f->lost_fp, fp) == 0 || (!f->seeded && f->lost_parent >= f->base.generation);
}

bool flight_lost_forbids(struct flight *f, const char *fp, bool rotates)
{
    if (!f->lost)
        return false;
    if (!is_lost(f, fp) || !rotates) {
        f->outcome_unknown = f->outcome_unknown || is_lost(f, fp);
        forget_lost(f);
        return false;
    }
    snprintf(f->text, sizeof f->text,
             "the record of the last token answer in %s is damaged: the refresh token is "
             "spent, and the one that replaced it is lost",
             journal_path(f->env->journal));
    f->result.failure = MSG_DEAD;
    return true;
}
