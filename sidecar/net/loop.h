/* net/loop.h: the process's one event loop (libev), and work that must not run inside the call that asked for it.
 * One loop per process, one thread.  ev_now() is the time of the wake-up. */
#ifndef SIDEKEY_NET_LOOP_H
#define SIDEKEY_NET_LOOP_H

#include <ev.h>

#include "base/list.h"

/* A callback for the end of this turn of the loop (before it sleeps).  Embedded in its owner; single-shot. */
struct later {
    struct list node;
    void (*run)(struct later *);
};

/* The loop, made at the first call in this process; SIGPIPE is ignored from then on.  After fork() call loop_forked()
 * in the child first. */
struct ev_loop *loop_get(void);
void loop_forked(void);
/* Initialises; must be called before the others. */
void loop_later_init(struct later *l, void (*run)(struct later *));
/* Runs l->run once at the end of this turn; asking again before that changes nothing. */
void loop_later_ask(struct later *l);
void loop_later_cancel(struct later *l);

/* The version of libev that is loaded: 4 and 33. */
void loop_library(int *ret_major, int *ret_minor);

#endif
