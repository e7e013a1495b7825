/* proxy/deadline.h: a timeout that is cheap to push back.   Worker process.
 * Setting a later time touches no timer; the timer finds out when it fires.  Owner  whoever embeds it; deadline_stop()
 * before freeing. */
#ifndef SIDEKEY_PROXY_DEADLINE_H
#define SIDEKEY_PROXY_DEADLINE_H

#include <stdint.h>

#include "net/loop.h"

typedef void deadline_fn(void *arg);

struct deadline {
    ev_timer timer;
    int64_t at_ms; /* clock_mono_ms(): the clock on the wall may jump; 0: not set */
    deadline_fn *fn;
    void *arg;
};

void deadline_init(struct deadline *d, deadline_fn *fn, void *arg);
/* fn runs once, ms from now, unless set again or stopped. */
void deadline_set(struct deadline *d, int64_t ms);
void deadline_stop(struct deadline *d);

#endif
