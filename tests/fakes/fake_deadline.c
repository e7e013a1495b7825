/* Stands in for proxy/deadline.c: no timer, time is fake_mono_ms. */
#include "tests/fakes/fake_deadline.h"

#include <assert.h>

#include "tests/fakes/fake_clock.h"

#define DEADLINES 4096

static struct deadline *set[DEADLINES];

static int find(const struct deadline *d)
{
    for (int i = 0; i < DEADLINES; i++)
        if (set[i] == d)
            return i;
    return -1;
}

void deadline_init(struct deadline *d, deadline_fn *fn, void *arg)
{
    assert(find(d) < 0); /* the real one would leave a running timer behind */
    d->at_ms = 0;
    d->fn = fn;
    d->arg = arg;
}

void deadline_set(struct deadline *d, int64_t ms)
{
    int at = find(d) >= 0 ? find(d) : find(NULL);
    assert(at >= 0);
    set[at] = d;
    d->at_ms = fake_mono_ms + ms;
}

void deadline_stop(struct deadline *d)
{
    if (find(d) >= 0)
        set[find(d)] = NULL;
    d->at_ms = 0;
}

void fake_deadline_run(int64_t ms)
{
    int64_t until_ms = fake_mono_ms + ms;
    for (;;) {
        int first = -1;
        for (int i = 0; i < DEADLINES; i++)
            if (set[i] && set[i]->at_ms <= until_ms && (first < 0 || set[i]->at_ms < set[first]->at_ms))
                first = i;
        if (first < 0)
            break;
        struct deadline *d = set[first];
        set[first] = NULL;
        if (d->at_ms > fake_mono_ms)
            fake_mono_ms = d->at_ms;
        d->at_ms = 0;
        d->fn(d->arg);
    }
    fake_mono_ms = until_ms;
}

int fake_deadline_count(void)
{
    int n = 0;
    for (int i = 0; i < DEADLINES; i++)
        n += set[i] != NULL;
    return n;
}
