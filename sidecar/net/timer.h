/* net/timer.h: one single-shot timer in milliseconds, cheap to push back.   Any process with a loop.
 * Setting a later time touches no libev timer: the one that runs finds out when it fires.  Time is clock_mono_ms(), so
 * a clock on the wall that jumps changes nothing.  tests/fakes/fake_timer.c takes its place: there time is a number.
 * Owner  the struct that embeds it; timer_stop() before the memory is freed. */
#ifndef SIDEKEY_NET_TIMER_H
#define SIDEKEY_NET_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "net/loop.h"

typedef void timer_fn(void *arg);

struct timer {
    ev_timer watcher;
    int64_t at_ms; /* clock_mono_ms(); meaningless unless set */
    bool set;
    timer_fn *fn;
    void *arg;
};

/* Not set.  Must not be called on a timer that is set. */
void timer_init(struct timer *t, timer_fn *fn, void *arg);
/* Runs fn(arg) once, ms from now (below 0 counts as 0), never from inside this call; replaces an earlier time. */
void timer_set(struct timer *t, int64_t ms);
/* It will not run.  May be called at any time after timer_init(). */
void timer_stop(struct timer *t);
/* It will run. */
static inline bool timer_is_set(const struct timer *t)
{
    return t->set;
}

#endif
