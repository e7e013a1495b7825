/* refresh/alarm.h: one single-shot timer in milliseconds.   tests/fakes/fake_alarm.c takes its place: there time is a
 * number. Owner  whoever embeds it; alarm_stop() before the memory goes. */
#ifndef SIDEKEY_REFRESH_ALARM_H
#define SIDEKEY_REFRESH_ALARM_H

#include <stdint.h>

#include "net/loop.h"

struct alarm {
    ev_timer timer;
    void (*run)(void *arg);
    void *arg;
};

void alarm_init(struct alarm *a, void (*run)(void *arg), void *arg);
/* Runs run(arg) once, delay_ms (>= 0) from now, never from inside this call; replaces an earlier time. */
void alarm_set(struct alarm *a, int64_t delay_ms);
/* Stops; may be called at any time after alarm_init(). */
void alarm_stop(struct alarm *a);

#endif
