/* base/log.h: one event = one line on a file descriptor, JSON or logfmt.   Any process; one write a line, so lines
 * never mix. A stalled reader does not block the process: lines are dropped and counted (base/log_out). Warnings and
 * errors that repeat are one line a second, and one with "repeated" (base/log_repeat). Never given a token, header
 * value, query string or body: there is no redaction to rely on, only fields by name. log_warn(log_msg("refresh
 * failed"), log_str("credential", name), log_int("status", 503));  */
#ifndef SIDEKEY_BASE_LOG_H
#define SIDEKEY_BASE_LOG_H

#include "base/slice.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_JSON, LOG_LOGFMT };

struct log_field {
    const char *key; /* NULL ends the list */
    struct slice text;
    int64_t number;
    enum { LOG_FIELD_TEXT = 1, LOG_FIELD_NUMBER } kind;
};

/* proc: name of this process in each line ("keeper"), borrowed for ever.  Before this call: info level, JSON, stderr.
 */
void log_setup(const char *proc, enum log_level least, enum log_format format, int fd);
/* Changes the process name, after a fork: what waits is the parent's. */
void log_proc(const char *proc);
/* true: lines below warn wait in memory until log_flush(), a warning or 32 KiB: one write a turn of the loop instead of
 * one a line. */
void log_buffer(bool on);
/* Writes what waits, and the repeats whose second is over.  Once a turn of each loop. */
void log_flush(void);
/* The same before the process ends: repeats are reported at once. */
void log_close(void);
/* Lines that this process has dropped. */
uint64_t log_dropped(void);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const struct log_field *fields);

static inline struct log_field log_slice(const char *key, struct slice value)
{
    return (struct log_field){ key, value, 0, LOG_FIELD_TEXT };
}
static inline struct log_field log_str(const char *key, const char *value)
{
    return log_slice(key, slice_str(value));
}
static inline struct log_field log_int(const char *key, int64_t value)
{
    return (struct log_field){ key, { NULL, 0 }, value, LOG_FIELD_NUMBER };
}
static inline struct log_field log_msg(const char *value)
{
    return log_str("msg", value);
}

#define LOG_AT(level, ...)                                                                                             \
    do {                                                                                                               \
        if (log_enabled(level))                                                                                        \
            log_write((level), (const struct log_field[]){ __VA_ARGS__, { NULL, { NULL, 0 }, 0, 0 } });                \
    } while (0)
#define log_debug(...) LOG_AT(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) LOG_AT(LOG_INFO, __VA_ARGS__)
#define log_warn(...) LOG_AT(LOG_WARN, __VA_ARGS__)
#define log_error(...) LOG_AT(LOG_ERROR, __VA_ARGS__)

#endif
