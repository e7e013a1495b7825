/* The keepers of the simulation: real accounts and flights; programs that ask them; and what happens to them. */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

#define WAITERS 64

struct sim_keeper sim_keepers[SIM_KEEPERS];
static const struct credential_spec *spec;
static const struct seal_ring *ring;
static int64_t next_pid, changed_ms;        /* the store's last change */
static int64_t wall_least_ms, wall_most_ms; /* of all wall clocks so far: how wrong a stored time may be */

static struct waiter {
    bool open;
    int keeper;
    int64_t asked_ms, stopped_ms;
    uint64_t rejected;
} waiters[WAITERS];

/* ---- what programs see ---- */

/* Twice, since whoever joins late may ask once more: the longest hold, two requests with their grace, the store's own
 * limits. */
int64_t sim_patience_ms(void)
{
    return 2 * (5 * sim_plan.lease_ms + 2 * (sim_plan.request_ms + 5000) + 90000);
}

static void close_waiter(struct waiter *w)
{
    int64_t waited_ms = sim_now_ms - w->asked_ms - (sim_keepers[w->keeper].stopped_ms - w->stopped_ms);
    w->open = false;
    if (waited_ms > sim_patience_ms())
        sim_break("P7: a program waited %d ms at keeper %d", (int)waited_ms, w->keeper);
}

static void on_publish(void *arg, const struct account *a)
{
    struct sim_keeper *k = arg;
    int me = (int)(k - sim_keepers), access = sim_token_number(&a->state.access_token);
    if (k->dying)
        return;
    sim_trace("publishes generation %d (at-%d)%s", (int)a->state.generation, access,
              account_usable(a) ? "" : ", not usable");
    if (!account_usable(a))
        return;
    int64_t late_ms = sim_now_ms - sim_access_end_ms(access),
            may_ms = access == k->own_access ? 0 : wall_most_ms - wall_least_ms;
    if (late_ms >= 0 && late_ms >= may_ms)
        sim_break("P4: keeper %d hands out at-%d, which ended %d ms ago", me, access, (int)late_ms);
    for (int i = 0; i < WAITERS; i++)
        if (waiters[i].open && waiters[i].keeper == me && a->state.generation > waiters[i].rejected)
            close_waiter(&waiters[i]);
}

static void on_refuse(void *arg, const struct account *a, enum msg_class failure, int64_t retry_after_ms,
                      const char *text)
{
    struct sim_keeper *k = arg;
    (void)a;
    if (k->dying)
        return;
    sim_trace("refuses: %s, again in %d ms: %s", msg_class_name(failure), (int)retry_after_ms, text ? text : "");
    for (int i = 0; i < WAITERS; i++)
        if (waiters[i].open && waiters[i].keeper == k - sim_keepers)
            close_waiter(&waiters[i]);
}

static void on_throttled(void *arg, const char *host, int64_t until_ms, bool told)
{
    struct sim_keeper *k = arg;
    (void)host;
    account_hold(&k->account, until_ms, told);
}

static void on_idle(void *arg)
{
    (void)arg;
}

static void want(int keeper, enum msg_reason reason, uint64_t rejected)
{
    struct sim_keeper *k = &sim_keepers[keeper];
    struct waiter *w = waiters;
    if (!k->up || k->stopped)
        return;
    while (w < waiters + WAITERS - 1 && w->open)
        w++;
    *w = (struct waiter){ reason != MSG_EXPIRING, keeper, sim_now_ms, k->stopped_ms,
                          reason == MSG_REJECTED ? rejected : 0 };
    sim_counts[SIM_WAITERS] += w->open;
    sim_running = keeper;
    sim_trace("a program wants a token, reason %d, generation %d", (int)reason, (int)rejected);
    account_want(&k->account, &(struct schedule_need){ reason, rejected, reason == MSG_EXPIRING });
    sim_running = SIM_WORLD;
}

/* ---- life and death ---- */

const char *sim_journal_path(int keeper)
{
    static const char *const paths[] = { "0", "1", "2", "3", "4", "5" };
    return paths[sim_plan.one_machine ? 0 : keeper];
}

static void start(void *arg)
{
    struct sim_keeper *k = arg;
    struct err e;
    int64_t wall_ms = k->wall_ms;
    int me = (int)(k - sim_keepers);
    if (k->up)
        return;
    *k = (struct sim_keeper){ .up = true, .pid = ++next_pid, .wall_ms = wall_ms, .own_access = -1 };
    sim_running = me;
    sim_trace("starts");
    k->journal = journal_open(sim_journal_path(me), ring, &e);
    k->metrics = metrics_new();
    k->clocks = token_clocks_new();
    k->flights = (struct flight_env){ sim_store_of(me),
                                      k->journal,
                                      NULL,
                                      ring,
                                      sim_plan.policy,
                                      sim_plan.lease_ms,
                                      sim_plan.request_ms,
                                      (unsigned)sim_between(0, SCHEDULE_JITTER_MAX),
                                      k->clocks,
                                      { .held = 0 },
                                      NULL,
                                      NULL };
    k->env = (struct account_env){ &k->flights, k->metrics, on_publish, on_refuse, on_throttled, on_idle, k, false };
    if (!k->journal || !k->metrics || account_init(&k->account, spec, &k->env) != 0)
        abort();
    account_start(&k->account);
    sim_running = SIM_WORLD;
}

static void end(int keeper)
{
    struct sim_keeper *k = &sim_keepers[keeper];
    if (!k->up)
        return;
    k->dying = true;
    sim_running = keeper;
    account_done(&k->account);
    sim_drop_events(keeper);
    journal_close(k->journal);
    metrics_free(k->metrics);
    token_clocks_free(k->clocks);
    sim_running = SIM_WORLD;
    k->up = k->stopped = k->dying = false;
    for (int i = 0; i < WAITERS; i++)
        waiters[i].open = waiters[i].open && waiters[i].keeper != keeper;
}

bool sim_effect(void)
{
    struct sim_keeper *k = &sim_keepers[sim_running < 0 ? 0 : sim_running];
    if (sim_running < 0)
        return true;
    if (k->dying || !sim_fault(sim_plan.crash))
        return !k->dying;
    k->dying = true;
    bool before = sim_chance(500);
    sim_trace("dies, %s", before ? "just before it does this" : "having done this");
    return !before;
}

/* A machine may be away for longer than the others wait for the outcome of its request. */
static int64_t away_ms(int64_t least, int64_t most)
{
    bool longer = !sim_plan.one_machine && sim_chance(250);
    return longer ? sim_between(4 * sim_plan.lease_ms, 12 * sim_plan.lease_ms) : sim_between(least, most);
}

void sim_keepers_free(void)
{
    for (int i = 0; i < sim_plan.keepers; i++)
        if (sim_keepers[i].dying) {
            sim_counts[SIM_CRASHES]++;
            end(i);
            if (sim_fault(sim_plan.damage))
                sim_server_damage(i);
            sim_after(away_ms(5, 4000), SIM_WORLD, start, &sim_keepers[i]);
        }
}

static void crash(void *arg)
{
    struct sim_keeper *k = arg;
    if (k->up)
        sim_trace("keeper %d is killed", (int)(k - sim_keepers));
    k->dying = k->up;
}

static void go_on(void *arg)
{
    struct sim_keeper *k = arg;
    if (!k->up || !k->stopped)
        return;
    k->stopped = false;
    k->stopped_ms += sim_now_ms - k->stopped_at_ms;
    sim_trace("keeper %d goes on", (int)(k - sim_keepers));
    sim_hold_events((int)(k - sim_keepers), false);
}

static void stop(void *arg)
{
    struct sim_keeper *k = arg;
    if (!k->up || k->stopped)
        return;
    k->stopped = true;
    k->stopped_at_ms = sim_now_ms;
    sim_counts[SIM_STOPS]++;
    sim_trace("keeper %d is stopped", (int)(k - sim_keepers));
    sim_hold_events((int)(k - sim_keepers), true);
    sim_after(sim_chance(400) ? sim_between(1, 1000) : away_ms(1, 4 * sim_plan.lease_ms), SIM_WORLD, go_on, k);
}

static void jump(void *arg)
{
    struct sim_keeper *k = arg;
    k->wall_ms += sim_between(-3600000, 3600000);
    for (int i = 0; i < sim_plan.keepers && sim_plan.one_machine; i++) /* one machine has one clock */
        sim_keepers[i].wall_ms = k->wall_ms;
    wall_least_ms = k->wall_ms < wall_least_ms ? k->wall_ms : wall_least_ms;
    wall_most_ms = k->wall_ms > wall_most_ms ? k->wall_ms : wall_most_ms;
    sim_trace("keeper %d's wall clock jumps to %+d ms", (int)(k - sim_keepers), (int)k->wall_ms);
}

static void store_down(void *arg)
{
    (void)arg;
    sim_store_outage(sim_chance(500) ? sim_between(1, 2000) : sim_between(1, 3 * sim_plan.lease_ms));
}

static void roll_back(void *arg)
{
    (void)arg;
    sim_store_roll_back();
}

static void changed(void *arg)
{
    struct sim_keeper *k = arg;
    account_changed(&k->account);
}

void sim_keepers_changed(void)
{
    changed_ms = sim_now_ms;
    for (int i = 0; i < sim_plan.keepers; i++)
        if (sim_keepers[i].up)
            sim_after(sim_between(0, 500), i, changed, &sim_keepers[i]);
}

/* ---- the plan ---- */

static void some_want(void *arg)
{
    (void)arg;
    int n = (int)sim_between(1, 5), one = (int)sim_between(0, sim_plan.keepers - 1);
    bool everybody = sim_chance(500);
    uint64_t g = sim_stored()->generation;
    for (int i = 0; i < n; i++) {
        int keeper = everybody ? i % sim_plan.keepers : one;
        unsigned dice = (unsigned)sim_between(0, 9);
        if (sim_plan.storm) {
            if (g >= 1)
                want(keeper, MSG_REJECTED, 1);
        } else if (dice < 2)
            want(keeper, MSG_EXPIRING, 0);
        else if (dice < 7)
            want(keeper, MSG_MISSING, 0);
        else
            want(keeper, MSG_REJECTED, dice == 9 && g ? g - 1 : g);
    }
}

static void plan(sim_fn *fn, int most, bool of_keepers)
{
    int n = (int)sim_between(most ? 1 : 0, most);
    for (int i = 0; i < n; i++)
        sim_after(sim_between(0, sim_plan.calm_ms - sim_now_ms - 1), SIM_WORLD, fn,
                  of_keepers ? &sim_keepers[sim_between(0, sim_plan.keepers - 1)] : NULL);
}

void sim_keepers_plan(void)
{
    plan(some_want, 12, false);
    plan(crash, sim_plan.crash ? 4 : 0, true);
    plan(stop, sim_plan.stop ? 6 : 0, true);
    plan(jump, sim_plan.clocks ? 3 : 0, true);
    plan(store_down, sim_plan.store_error ? 3 : 0, false);
    plan(roll_back, sim_plan.rollback ? 6 : 0, false);
}

void sim_keepers_start(const struct credential_spec *s, const struct seal_ring *r)
{
    spec = s;
    ring = r;
    next_pid = 100;
    changed_ms = 0;
    wall_least_ms = wall_most_ms = 0;
    memset(waiters, 0, sizeof waiters);
    memset(sim_keepers, 0, sizeof sim_keepers);
    for (int i = 0; i < sim_plan.keepers; i++) {
        sim_keepers[i].flights.ring = ring;
        if (sim_plan.clocks && sim_chance(500))
            jump(&sim_keepers[i]);
        start(&sim_keepers[i]);
    }
}

void sim_keepers_end(void)
{
    for (int i = 0; i < sim_plan.keepers; i++)
        end(i);
}

void sim_keepers_calm(void)
{
    sim_trace("calm");
    sim_store_outage(0);
    for (int i = 0; i < sim_plan.keepers; i++) {
        go_on(&sim_keepers[i]);
        start(&sim_keepers[i]);
    }
}

void sim_keepers_ask(void)
{
    for (int i = 0; i < sim_plan.keepers; i++)
        want(i, MSG_MISSING, 0);
}

void sim_keepers_judge(void)
{
    for (int i = 0; i < WAITERS; i++)
        if (waiters[i].open)
            sim_break("P7: a program at keeper %d is not answered at all", waiters[i].keeper);
    /* By a clock that is ahead of the others what they store has ended: that keeper has to ask itself, five seconds
     * after it found the lease taken. */
    int64_t usable_ms = sim_plan.clocks ? 6000 : 1000;
    for (int i = 0; i < sim_plan.keepers; i++) {
        const struct account *a = &sim_keepers[i].account;
        /* a moment ago somebody has stored something */
        bool settled = sim_server_healthy() && sim_now_ms - changed_ms > 1000;
        if (sim_server_healthy() && a->state.dead_fp[0])
            sim_break("rest: keeper %d calls the credential dead although the server would give a token", i);
        if (settled && sim_now_ms - changed_ms > usable_ms && !account_usable(a))
            sim_break("rest: keeper %d has no token although the server would give one (%s)", i, a->last_error);
        if (settled && a->state.generation < sim_stored()->generation)
            sim_break("rest: keeper %d has generation %d, the store %d", i, (int)a->state.generation,
                      (int)sim_stored()->generation);
    }
    /* "proceed" costs nothing where no token is spent, so then it does */
    bool forks = !sim_plan.rotates && sim_plan.store_error;
    if (sim_plan.storm && !forks && !sim_something_lost() && sim_plan.one_machine && sim_redeemed() > 2)
        sim_break("P5: %u refreshes, and 401 was reported for one generation only", sim_redeemed() - 1);
}
