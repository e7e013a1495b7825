/* Time, chance, events and verdicts; and what stands in for clock, alarm, rand, secret and the process table. */
#include "tests/sim/sim.h"

#include "base/clock.h"
#include "base/rand.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EVENTS 1024
#define HELD (UINT64_C(1) << 63)
#define SEQUENCE_BITS 22
#define WALL_MS INT64_C(1700000000000)

int64_t sim_now_ms;
int sim_running;
char sim_broken[256];
bool sim_tracing;
uint64_t sim_counts[SIM_COUNTS];
static uint64_t random_state;

static struct {
    uint64_t keys[EVENTS]; /* due << SEQUENCE_BITS | sequence; UINT64_MAX: free */
    struct {
        int keeper;
        sim_fn *fn;
        void *arg;
    } slots[EVENTS];
    size_t used;
    uint64_t sequence;
} events;

void sim_world_reset(uint64_t seed)
{
    random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    sim_now_ms = 1000000;
    sim_running = SIM_WORLD;
    sim_broken[0] = '\0';
    events.used = 0;
    events.sequence = 1;
}

/* splitmix64 (Steele, Lea, Flood 2014): every 64-bit seed is a good one. */
uint64_t sim_random(void)
{
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

int64_t sim_between(int64_t least, int64_t most)
{
    return least + (int64_t)(sim_random() % (uint64_t)(most - least + 1));
}

bool sim_chance(unsigned per_mille)
{
    return per_mille && sim_random() % 1000 < per_mille;
}

bool sim_fault(unsigned per_mille)
{
    return sim_now_ms < sim_plan.calm_ms && sim_chance(per_mille);
}

/* ---- events ---- */

uint64_t sim_after(int64_t delay_ms, int keeper, sim_fn *fn, void *arg)
{
    size_t at = 0;
    while (at < events.used && events.keys[at] != UINT64_MAX)
        at++;
    if (at == EVENTS)
        abort();
    if (at == events.used)
        events.used++;
    uint64_t due = (uint64_t)(sim_now_ms + (delay_ms > 0 ? delay_ms : 0));
    events.keys[at] = due << SEQUENCE_BITS | events.sequence;
    if (keeper >= 0 && sim_keepers[keeper].stopped)
        events.keys[at] |= HELD;
    events.slots[at].keeper = keeper;
    events.slots[at].fn = fn;
    events.slots[at].arg = arg;
    return events.sequence++ << 10 | at;
}

static bool is(size_t at, uint64_t event)
{
    uint64_t mask = (UINT64_C(1) << SEQUENCE_BITS) - 1;
    return at < events.used && events.keys[at] != UINT64_MAX && (events.keys[at] & mask) == event >> 10;
}

void sim_forget(uint64_t event)
{
    if (event && is(event % EVENTS, event))
        events.keys[event % EVENTS] = UINT64_MAX;
}

void sim_hold_events(int keeper, bool held)
{
    for (size_t i = 0; i < events.used; i++)
        if (events.keys[i] != UINT64_MAX && events.slots[i].keeper == keeper)
            events.keys[i] = held ? events.keys[i] | HELD : events.keys[i] & ~HELD;
}

void sim_drop_events(int keeper)
{
    for (size_t i = 0; i < events.used; i++)
        if (events.slots[i].keeper == keeper)
            events.keys[i] = UINT64_MAX;
}

bool sim_step(int64_t until_ms)
{
    size_t first = 0;
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < events.used; i++)
        if (events.keys[i] < least) {
            least = events.keys[i];
            first = i;
        }
    int64_t due = (int64_t)(least >> SEQUENCE_BITS);
    if (least >= HELD || due > until_ms) {
        sim_now_ms = until_ms;
        return false;
    }
    if (due > sim_now_ms)
        sim_now_ms = due;
    events.keys[first] = UINT64_MAX;
    while (events.used && events.keys[events.used - 1] == UINT64_MAX)
        events.used--;
    sim_running = events.slots[first].keeper;
    events.slots[first].fn(events.slots[first].arg);
    sim_running = SIM_WORLD;
    return true;
}

/* ---- verdicts ---- */

void sim_break(const char *format, ...)
{
    va_list args;
    if (sim_broken[0])
        return;
    va_start(args, format);
    vsnprintf(sim_broken, sizeof sim_broken, format, args);
    va_end(args);
    sim_trace("BROKEN: %s", sim_broken);
}

void sim_trace(const char *format, ...)
{
    va_list args;
    if (!sim_tracing)
        return;
    fprintf(stderr, "%9.3f ", (double)(sim_now_ms - 1000000) / 1000);
    fprintf(stderr, sim_running >= 0 ? "keeper %d  " : "          ", sim_running);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

/* ---- in place of base/clock.c, net/timer.c, base/rand.c, base/secret.c ---- */

int64_t clock_mono_ms(void)
{
    return sim_now_ms;
}

int64_t clock_wall_ms(void)
{
    return WALL_MS + sim_now_ms + (sim_running >= 0 ? sim_keepers[sim_running].wall_ms : 0);
}

static void fire(void *arg)
{
    struct timer *t = arg;
    t->watcher.data = NULL;
    t->set = false;
    t->fn(t->arg);
}

void timer_init(struct timer *t, timer_fn *fn, void *arg)
{
    *t = (struct timer){ .fn = fn, .arg = arg };
}

void timer_set(struct timer *t, int64_t ms)
{
    timer_stop(t);
    t->set = true;
    t->watcher.data = (void *)(uintptr_t)sim_after(ms, sim_running, fire, t);
}

void timer_stop(struct timer *t)
{
    sim_forget((uintptr_t)t->watcher.data);
    t->watcher.data = NULL;
    t->set = false;
}

void rand_bytes(void *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)out)[i] = (unsigned char)sim_random();
}

uint64_t rand_below(uint64_t bound)
{
    return sim_random() % bound;
}

int secret_set(struct secret *s, struct slice bytes)
{
    char *copy = bytes.len ? malloc(bytes.len) : NULL;
    if (bytes.len)
        memcpy(copy, bytes.ptr, bytes.len);
    free(s->ptr);
    *s = (struct secret){ copy, bytes.len, bytes.len };
    return 0;
}

void secret_done(struct secret *s)
{
    free(s->ptr);
    *s = (struct secret){ NULL, 0, 0 };
}

/* ---- in place of base/metrics.c: nobody reads them, and writing their names was a third of the time ---- */

struct metrics *metrics_new(void)
{
    return calloc(1, 1);
}

void metrics_free(struct metrics *m)
{
    free(m);
}

double *metrics_at(struct metrics *m, const char *format, ...)
{
    static double nowhere;
    (void)m, (void)format;
    return &nowhere;
}

void metrics_drop(struct metrics *m, const char *format, ...)
{
    (void)m;
    (void)format;
}

struct histogram metrics_histogram(struct metrics *m, const char *name, const char *labels, const double *bounds,
                                   size_t count)
{
    (void)m, (void)name, (void)labels, (void)bounds, (void)count;
    return (struct histogram){ .bound_count = 0 };
}

void metrics_observe(struct histogram *h, double value)
{
    (void)h, (void)value;
}

/* ---- in place of the kernel's process table: the journal asks whose entry it is, and whether that keeper lives ----
 */

pid_t getpid(void)
{
    return sim_running >= 0 ? (pid_t)sim_keepers[sim_running].pid : 1;
}

int kill(pid_t pid, int sig)
{
    (void)sig;
    for (int i = 0; i < SIM_KEEPERS; i++)
        if (sim_keepers[i].up && !sim_keepers[i].dying && sim_keepers[i].pid == pid)
            return 0;
    errno = ESRCH;
    return -1;
}
