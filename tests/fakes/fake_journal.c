/* Stands in for refresh/store/journal.c. */
#include "tests/fakes/fake_journal.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

struct fake_journal fake_journal;

void fake_journal_reset(void)
{
    state_done(&fake_journal.state);
    journal_response_done(&fake_journal.response);
    memset(&fake_journal, 0, sizeof fake_journal);
    state_init(&fake_journal.state);
}

int journal_intent(struct journal *j, const char *cred, uint64_t parent_gen, const char *refresh_fp, int64_t at_ms)
{
    (void)j;
    (void)cred;
    if (fake_journal.fail_intent)
        return -fake_journal.fail_intent;
    fake_journal.intents++;
    fake_journal.kind = JOURNAL_INTENT;
    fake_journal.parent_gen = parent_gen;
    fake_journal.at_ms = at_ms;
    fake_journal.pid = getpid();
    snprintf(fake_journal.refresh_fp, sizeof fake_journal.refresh_fp, "%s", refresh_fp);
    return 0;
}

int journal_answer(struct journal *j, const char *cred, uint64_t parent_gen, const struct state *state, int64_t at_ms)
{
    (void)j;
    (void)cred;
    (void)at_ms;
    if (fake_journal.fail_answer)
        return -fake_journal.fail_answer;
    fake_journal.answers++;
    fake_journal.kind = JOURNAL_ANSWER;
    fake_journal.parent_gen = parent_gen;
    return state_copy(&fake_journal.state, state);
}

const struct state_dir *journal_dir(const struct journal *j)
{
    static char path[] = "/state/journal";
    static const struct state_dir dir = { .fd = -1, .path = path };
    (void)j;
    return &dir;
}

int journal_clear(struct journal *j, const char *cred)
{
    (void)j;
    (void)cred;
    fake_journal.clears++;
    fake_journal.kind = JOURNAL_NONE;
    return 0;
}

int journal_read(struct journal *j, const char *cred, struct journal_entry *ret, struct err *e)
{
    (void)j;
    (void)cred;
    state_init(&ret->state);
    if (fake_journal.fail_read) {
        err_set(e, "unreadable");
        return -fake_journal.fail_read;
    }
    ret->kind = fake_journal.kind;
    ret->parent_gen = fake_journal.parent_gen;
    ret->at_ms = fake_journal.at_ms;
    ret->pid = fake_journal.pid;
    memcpy(ret->refresh_fp, fake_journal.refresh_fp, sizeof ret->refresh_fp);
    return state_copy(&ret->state, &fake_journal.state);
}

int journal_lost_forget(struct journal *j, const char *cred)
{
    (void)j;
    (void)cred;
    fake_journal.lost_forgotten++;
    if (fake_journal.kind == JOURNAL_LOST)
        fake_journal.kind = JOURNAL_NONE;
    return 0;
}

void journal_entry_done(struct journal_entry *entry)
{
    state_done(&entry->state);
}

static int copy_response(struct journal_response *to, const struct journal_response *from)
{
    journal_response_done(to);
    *to = *from;
    buf_init_secret(&to->body, from->body.len);
    return buf_add(&to->body, buf_slice(&from->body));
}

int journal_response(struct journal *j, const char *cred, const struct journal_response *r, int64_t at_ms)
{
    (void)j;
    (void)cred;
    (void)at_ms;
    if (fake_journal.fail_response)
        return -fake_journal.fail_response;
    fake_journal.responses++;
    return copy_response(&fake_journal.response, r);
}

int journal_response_read(struct journal *j, const char *cred, struct journal_response *ret, struct err *e)
{
    (void)j;
    (void)cred;
    (void)e;
    return copy_response(ret, &fake_journal.response);
}

int journal_response_forget(struct journal *j, const char *cred)
{
    (void)j;
    (void)cred;
    fake_journal.forgotten++;
    journal_response_done(&fake_journal.response);
    return 0;
}

void journal_response_done(struct journal_response *r)
{
    buf_done(&r->body);
    *r = (struct journal_response){ 0 };
}
