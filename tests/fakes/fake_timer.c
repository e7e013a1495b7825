/* Stands in for net/timer.c: no libev timer, time is fake_mono_ms. */
#include "tests/fakes/fake_timer.h"

#include <assert.h>
#include <stddef.h>

#include "net/timer.h"
#include "tests/fakes/fake_clock.h"

#define TIMERS 4096

static struct timer *set[TIMERS];
static int used; /* entries from here on were never used */

static int find(const struct timer *t)
{
    for (int i = 0; i < used; i++)
        if (set[i] == t)
            return i;
    return -1;
}

void timer_init(struct timer *t, timer_fn *fn, void *arg)
{
    assert(find(t) < 0); /* the real one would leave a running timer behind */
    *t = (struct timer){ .fn = fn, .arg = arg };
}

void timer_set(struct timer *t, int64_t ms)
{
    int at = find(t) >= 0 ? find(t) : find(NULL);
    if (at < 0)
        at = used++;
    assert(at < TIMERS);
    set[at] = t;
    t->set = true;
    t->at_ms = fake_mono_ms + (ms > 0 ? ms : 0);
}

void timer_stop(struct timer *t)
{
    if (find(t) >= 0)
        set[find(t)] = NULL;
    t->set = false;
}

static struct timer *first_until(int64_t until_ms)
{
    struct timer *first = NULL;
    for (int i = 0; i < used; i++)
        if (set[i] && set[i]->at_ms <= until_ms && (!first || set[i]->at_ms < first->at_ms))
            first = set[i];
    return first;
}

bool fake_timer_next(int64_t ms)
{
    int64_t until_ms = fake_mono_ms + ms;
    struct timer *first = first_until(until_ms);
    int64_t to_ms = first ? first->at_ms : until_ms;
    if (to_ms > fake_mono_ms) {
        fake_wall_ms += to_ms - fake_mono_ms;
        fake_mono_ms = to_ms;
    }
    if (!first)
        return false;
    timer_stop(first);
    first->fn(first->arg);
    return true;
}

void fake_timer_run(int64_t ms)
{
    int64_t until_ms = fake_mono_ms + ms;
    while (fake_timer_next(until_ms - fake_mono_ms))
        ;
}

int fake_timer_count(void)
{
    int n = 0;
    for (int i = 0; i < used; i++)
        n += set[i] != NULL;
    return n;
}
