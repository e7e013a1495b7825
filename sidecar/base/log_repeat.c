#include "base/log_repeat.h"

static struct log_repeat seen[LOG_REPEAT_PLACES];
static size_t waiting; /* of seen: with lines that are not reported */

bool log_repeat_key_field(const char *name, bool number)
{
    static const char *const texts[] = { "detail", "hint", "method", "trace_id" }; /* clients choose what is in them */
    if (number)
        return strcmp(name, "status") == 0 || strcmp(name, "slot") == 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(name, texts[i]) == 0)
            return false;
    return true;
}

static void report_one(struct log_repeat *r, log_repeat_report *report)
{
    struct log_repeat copy = *r; /* reporting may come back here */
    if (!r->held)
        return;
    r->held = 0;
    waiting--;
    report(&copy);
}

/* The line's place, or the one that was used longest ago. */
static struct log_repeat *place_of(int level, struct slice key)
{
    struct log_repeat *oldest = &seen[0];
    for (size_t i = 0; i < sizeof seen / sizeof *seen; i++) {
        if (seen[i].level == level && slice_eq(slice_of(seen[i].key, seen[i].len), key))
            return &seen[i];
        if (seen[i].len == 0 || (oldest->len && seen[i].since_ms < oldest->since_ms))
            oldest = &seen[i];
    }
    return oldest;
}

bool log_repeat_held(int level, struct slice key, int64_t now_ms, log_repeat_report *report)
{
    if (key.len == 0 || key.len > LOG_REPEAT_KEY_MAX)
        return false;
    struct log_repeat *r = place_of(level, key);
    bool same = r->level == level && slice_eq(slice_of(r->key, r->len), key);
    if (same && now_ms - r->since_ms < LOG_REPEAT_MS) {
        waiting += r->held == 0;
        r->held++;
        return true;
    }
    report_one(r, report);
    r->since_ms = now_ms;
    r->level = level;
    r->len = key.len;
    memcpy(r->key, key.ptr, key.len);
    return false;
}

void log_repeat_flush(int64_t now_ms, bool all, log_repeat_report *report)
{
    for (size_t i = 0; i < sizeof seen / sizeof *seen && waiting; i++)
        if (all || now_ms - seen[i].since_ms >= LOG_REPEAT_MS)
            report_one(&seen[i], report);
}

bool log_repeat_waits(void)
{
    return waiting != 0;
}

void log_repeat_forget(void)
{
    for (size_t i = 0; i < sizeof seen / sizeof *seen; i++)
        seen[i].len = seen[i].held = 0;
    waiting = 0;
}
