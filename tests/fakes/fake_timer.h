/* tests/fakes/fake_timer.h: net/timer.h on the fake clock: time moves when a test says so. */
#ifndef SIDEKEY_TESTS_FAKE_TIMER_H
#define SIDEKEY_TESTS_FAKE_TIMER_H

#include <stdbool.h>
#include <stdint.h>

/* Goes to the next timer that is due within ms (both clocks move) and runs it.  false: none, and the clocks have moved
 * by ms. */
bool fake_timer_next(int64_t ms);
/* Lets ms pass: runs everything that falls due, in order and at its time. */
void fake_timer_run(int64_t ms);
/* Timers that are set. */
int fake_timer_count(void);

#endif
