#include "proxy/deadline.h"

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct deadline *d = w->data;
    ev_tstamp left = d->at - ev_now(loop);
    (void)revents;
    if (d->at == 0)
        return;
    if (left > 0.0005) { /* pushed back meanwhile */
        ev_timer_set(w, left, 0);
        ev_timer_start(loop, w);
        return;
    }
    d->at = 0;
    d->fn(d->arg);
}

void deadline_init(struct deadline *d, deadline_fn *fn, void *arg)
{
    ev_timer_init(&d->timer, on_timer, 0, 0);
    d->timer.data = d;
    d->at = 0;
    d->fn = fn;
    d->arg = arg;
}

void deadline_set(struct deadline *d, int64_t ms)
{
    struct ev_loop *loop = loop_get();
    ev_tstamp now = ev_now(loop), at = now + (ev_tstamp)ms / 1000;
    bool sooner = d->at == 0 || at < d->at;
    d->at = at;
    if (ev_is_active(&d->timer) && !sooner)
        return;
    ev_timer_stop(loop, &d->timer);
    ev_timer_set(&d->timer, at - now, 0);
    ev_timer_start(loop, &d->timer);
}

void deadline_stop(struct deadline *d)
{
    d->at = 0;
    ev_timer_stop(loop_get(), &d->timer);
}
