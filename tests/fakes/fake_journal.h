/* tests/fakes/fake_journal.h: a journal in memory, with the order of what was written. */
#ifndef SIDEKEY_TESTS_FAKE_JOURNAL_H
#define SIDEKEY_TESTS_FAKE_JOURNAL_H

#include "refresh/store/journal.h"

struct fake_journal {
    enum journal_kind kind;
    uint64_t parent_gen;
    char refresh_fp[9];
    int64_t at_ms, pid;
    struct state state;
    struct journal_response response;
    int intents, answers, clears, responses, forgotten, lost_forgotten;
    int fail_intent, fail_answer, fail_response, fail_read; /* errno to fail with */
};

extern struct fake_journal fake_journal;

void fake_journal_reset(void);

#endif
