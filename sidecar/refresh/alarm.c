#include "refresh/alarm.h"

#define LONGEST_MS (24 * 3600 * 1000) /* a token that lasts for years does not need one timer for years */

static void on_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
    struct alarm *a = timer->data;
    (void)loop;
    (void)revents;
    a->run(a->arg);
}

void alarm_init(struct alarm *a, void (*run)(void *arg), void *arg)
{
    ev_init(&a->timer, on_timer);
    a->timer.data = a;
    a->run = run;
    a->arg = arg;
}

void alarm_set(struct alarm *a, int64_t delay_ms)
{
    struct ev_loop *loop = loop_get();
    ev_timer_stop(loop, &a->timer);
    ev_now_update(loop); /* file and secret reads block for a while: count from now, not from the wake-up */
    ev_timer_set(&a->timer, (double)(delay_ms < LONGEST_MS ? delay_ms : LONGEST_MS) / 1000.0, 0.);
    ev_timer_start(loop, &a->timer);
}

void alarm_stop(struct alarm *a)
{
    ev_timer_stop(loop_get(), &a->timer);
}
