/* tests/fakes/fake_alarm.h: time that moves when a test says so.   Works with fake_clock.c. */
#ifndef SIDEKEY_TESTS_FAKE_ALARM_H
#define SIDEKEY_TESTS_FAKE_ALARM_H

#include <stdbool.h>
#include <stdint.h>

/* Goes to the next alarm that is due within ms (both clocks move) and runs it.  false: none, and the clocks have moved
 * by ms. */
bool fake_alarm_next(int64_t ms);
/* Runs everything that is due within ms, in order. */
void fake_alarm_run(int64_t ms);
/* Alarms that are set. */
int fake_alarm_count(void);

#endif
