#include "net/timer.h"

#include "base/clock.h"

#define SLEEP_MAX_MS (24 * 3600 * 1000) /* a timer of years needs no libev timer of years */

/* libev counts from the start of this turn of the loop, which may be a while ago: it may fire early, and the callback
 * sleeps on for what is left. */
static void sleep_for(struct timer *t, int64_t ms)
{
    ev_timer_set(&t->watcher, (ev_tstamp)(ms < SLEEP_MAX_MS ? ms : SLEEP_MAX_MS) / 1000, 0.);
    ev_timer_start(loop_get(), &t->watcher);
}

static void on_timer(struct ev_loop *loop, ev_timer *watcher, int revents)
{
    struct timer *t = watcher->data;
    int64_t left_ms = t->at_ms - clock_mono_ms();
    (void)loop;
    (void)revents;
    if (!t->set)
        return;
    if (left_ms > 0) {
        sleep_for(t, left_ms);
        return;
    }
    t->set = false;
    t->fn(t->arg);
}

void timer_init(struct timer *t, timer_fn *fn, void *arg)
{
    ev_init(&t->watcher, on_timer);
    t->watcher.data = t;
    t->set = false;
    t->fn = fn;
    t->arg = arg;
}

void timer_set(struct timer *t, int64_t ms)
{
    int64_t now_ms = clock_mono_ms(), most_ms = INT64_MAX - now_ms;
    int64_t after_ms = ms < 0 ? 0 : ms;
    int64_t at_ms = now_ms + (after_ms < most_ms ? after_ms : most_ms);
    bool later = t->set && at_ms >= t->at_ms;
    t->at_ms = at_ms;
    t->set = true;
    if (later && ev_is_active(&t->watcher))
        return;
    ev_timer_stop(loop_get(), &t->watcher);
    sleep_for(t, at_ms - now_ms);
}

void timer_stop(struct timer *t)
{
    t->set = false;
    ev_timer_stop(loop_get(), &t->watcher);
}
