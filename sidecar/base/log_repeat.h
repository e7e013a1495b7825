/* base/log_repeat.h: warnings and errors that repeat: one line a second for each, then how often it came.   Any
 * process. Lines are the same when their level and the fields are that log_repeat_key_field() names: message, reason,
 * host and other texts that no client chooses; of numbers the status. */
#ifndef SIDEKEY_BASE_LOG_REPEAT_H
#define SIDEKEY_BASE_LOG_REPEAT_H

#include "base/slice.h"

#define LOG_REPEAT_MS 1000
#define LOG_REPEAT_PLACES 32
#define LOG_REPEAT_KEY_MAX 1000

struct log_repeat {
    int64_t since_ms;
    uint64_t held; /* lines since then that were not written */
    int level;
    size_t len; /* of key: the fields as they stand in the line; 0: unused */
    char key[LOG_REPEAT_KEY_MAX];
};

/* Called with lines that were held back, when their second is over. */
typedef void log_repeat_report(const struct log_repeat *r);

/* Does a field of this name make two lines different? */
bool log_repeat_key_field(const char *name, bool number);
/* true: the line was written less than a second ago, and is counted. */
MUST_CHECK bool log_repeat_held(int level, struct slice key, int64_t now_ms, log_repeat_report *report);
/* Reports whatever second is over; all: also what is not. */
void log_repeat_flush(int64_t now_ms, bool all, log_repeat_report *report);
/* There are lines to report. */
bool log_repeat_waits(void);
/* Nothing was written yet, and nothing is to be reported. */
void log_repeat_forget(void);

#endif
