/* Stands in for refresh/alarm.c. */
#include "refresh/alarm.h"

#include "tests/fakes/fake_alarm.h"
#include "tests/fakes/fake_clock.h"

#define ALARMS 64

static struct {
    struct alarm *alarm;
    int64_t at_ms;
} set[ALARMS];

static int find(const struct alarm *a)
{
    for (int i = 0; i < ALARMS; i++)
        if (set[i].alarm == a)
            return i;
    return -1;
}

void alarm_init(struct alarm *a, void (*run)(void *arg), void *arg)
{
    a->run = run;
    a->arg = arg;
}

void alarm_set(struct alarm *a, int64_t delay_ms)
{
    int at = find(a) >= 0 ? find(a) : find(NULL);
    set[at].alarm = a;
    set[at].at_ms = fake_mono_ms + (delay_ms > 0 ? delay_ms : 0);
}

void alarm_stop(struct alarm *a)
{
    if (find(a) >= 0)
        set[find(a)].alarm = NULL;
}

bool fake_alarm_next(int64_t ms)
{
    int64_t until_ms = fake_mono_ms + ms;
    int first = -1;
    for (int i = 0; i < ALARMS; i++)
        if (set[i].alarm && set[i].at_ms <= until_ms && (first < 0 || set[i].at_ms < set[first].at_ms))
            first = i;
    int64_t to_ms = first < 0 ? until_ms : set[first].at_ms;
    if (to_ms > fake_mono_ms) {
        fake_wall_ms += to_ms - fake_mono_ms;
        fake_mono_ms = to_ms;
    }
    if (first < 0)
        return false;
    struct alarm *a = set[first].alarm;
    set[first].alarm = NULL;
    a->run(a->arg);
    return true;
}

void fake_alarm_run(int64_t ms)
{
    int64_t until_ms = fake_mono_ms + ms;
    while (fake_alarm_next(until_ms - fake_mono_ms))
        ;
}

int fake_alarm_count(void)
{
    int n = 0;
    for (int i = 0; i < ALARMS; i++)
        n += set[i].alarm != NULL;
    return n;
}
