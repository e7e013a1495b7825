#include "proxy/deadline.h"

#include "base/clock.h"

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct deadline *d = w->data;
    int64_t left_ms = d->at_ms - clock_mono_ms();
    (void)revents;
    if (d->at_ms == 0)
        return;
    if (left_ms > 0) { /* pushed back meanwhile */
        ev_timer_set(w, (ev_tstamp)left_ms / 1000, 0);
        ev_timer_start(loop, w);
        return;
    }
    d->at_ms = 0;
    d->fn(d->arg);
}

void deadline_init(struct deadline *d, deadline_fn *fn, void *arg)
{
    ev_timer_init(&d->timer, on_timer, 0, 0);
    d->timer.data = d;
    d->at_ms = 0;
    d->fn = fn;
    d->arg = arg;
}

void deadline_set(struct deadline *d, int64_t ms)
{
    struct ev_loop *loop = loop_get();
    int64_t at_ms = clock_mono_ms() + ms;
    bool sooner = d->at_ms == 0 || at_ms < d->at_ms;
    d->at_ms = at_ms;
    if (ev_is_active(&d->timer) && !sooner)
        return;
    ev_timer_stop(loop, &d->timer);
    ev_timer_set(&d->timer, (ev_tstamp)ms / 1000, 0);
    ev_timer_start(loop, &d->timer);
}

void deadline_stop(struct deadline *d)
{
    d->at_ms = 0;
    ev_timer_stop(loop_get(), &d->timer);
}
