/* tests/fakes/loop_turn.h: one turn of the real loop, for tests that wait for something outside of it. */
#ifndef SIDEKEY_TESTS_LOOP_TURN_H
#define SIDEKEY_TESTS_LOOP_TURN_H

#include "net/loop.h"

static inline void loop_turn_on_tick(struct ev_loop *loop, ev_timer *tick, int revents)
{
    (void)loop, (void)tick, (void)revents;
}

/* At most 5 ms long. */
static inline void loop_turn(void)
{
    ev_timer tick;
    ev_timer_init(&tick, loop_turn_on_tick, 0.005, 0);
    ev_now_update(loop_get());
    ev_timer_start(loop_get(), &tick);
    ev_run(loop_get(), EVRUN_ONCE);
    ev_timer_stop(loop_get(), &tick);
}

#endif
