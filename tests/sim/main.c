/* sim [SCHEDULES]: runs that many schedules (seeds 1, 2, 3 …) and ends with 1 at the first that breaks a property,
 * having shown its seed and its trace. SEED=n runs that one alone, with its trace.  FROM=n: the first seed.
 * docs/refresh.md says what is simulated and what is judged. */
#include "tests/sim/sim.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct sim_plan sim_plan;

static unsigned maybe(unsigned one_in, int least, int most)
{
    return sim_chance(1000 / one_in) ? (unsigned)sim_between(least, most) : 0;
}

static void draw_plan(void)
{
    static const int64_t leases[] = { 6000, 20000, 60000 }, lives[] = { 20000, 60000, 120000, 300000, 3600000 };
    sim_plan = (struct sim_plan){ .calm_ms = INT64_MAX };
    sim_plan.keepers = (int)sim_between(2, SIM_KEEPERS);
    sim_plan.one_machine = sim_chance(600);
    sim_plan.reuse_detection = sim_chance(700);
    sim_plan.rotates = sim_chance(900);
    sim_plan.storm = sim_chance(150);
    sim_plan.lease_ms = leases[sim_between(0, 2)];
    sim_plan.request_ms = sim_plan.lease_ms / 2;
    sim_plan.lifetime_ms = lives[sim_plan.storm ? 4 : sim_between(0, 4)];
    sim_plan.policy = (enum on_lock_error)sim_between(0, 2);
    sim_plan.clocks = !sim_plan.storm && maybe(5, 1, 1);
    sim_plan.lost = maybe(4, 20, 300);
    sim_plan.slow = maybe(3, 20, 300);
    sim_plan.refused = maybe(4, 20, 300);
    sim_plan.throttled = maybe(6, 20, 200);
    sim_plan.crash = maybe(3, 5, 80);
    sim_plan.stop = maybe(3, 1, 1);
    sim_plan.store_error = maybe(4, 5, 150);
    sim_plan.store_slow = maybe(4, 5, 150);
    sim_plan.disk_full = maybe(12, 5, 200);
    /* without rotation nothing is spent by such a response; in a storm it is a reason to ask again */
    sim_plan.odd = sim_plan.rotates && !sim_plan.storm ? maybe(3, 20, 200) : 0;
    sim_plan.damage = sim_plan.rotates && sim_plan.crash ? maybe(3, 200, 1000) : 0;
    sim_plan.rollback = sim_plan.rotates && !sim_plan.one_machine ? maybe(3, 1, 1) : 0;
    sim_plan.calm_ms = sim_now_ms + sim_between(20000, 300000);
}

static void run_until(int64_t until_ms)
{
    while (!sim_broken[0] && sim_step(until_ms))
        sim_keepers_free();
}

static bool run(uint64_t seed, const struct credential_spec *spec, const struct seal_ring *ring)
{
    sim_world_reset(seed);
    draw_plan();
    sim_disk_reset();
    sim_store_reset();
    sim_server_reset();
    sim_trace("seed %" PRIu64 ": %d keepers on %s, lease %d ms, tokens live %d ms%s%s%s", seed, sim_plan.keepers,
              sim_plan.one_machine ? "one machine" : "many machines", (int)sim_plan.lease_ms, (int)sim_plan.lifetime_ms,
              sim_plan.reuse_detection ? ", reuse detection" : "", sim_plan.rotates ? "" : ", no rotation",
              sim_plan.storm ? ", storm of 401s" : "");
    sim_keepers_start(spec, ring);
    sim_keepers_plan();
    run_until(sim_plan.calm_ms);
    if (!sim_broken[0])
        sim_keepers_calm();
    run_until(sim_now_ms + 5 * sim_plan.lease_ms + 330000);
    if (!sim_broken[0])
        sim_keepers_ask();
    run_until(sim_now_ms + sim_patience_ms());
    if (!sim_broken[0])
        sim_keepers_judge();
    sim_keepers_end();
    sim_store_reset();
    sim_server_done();
    sim_disk_reset();
    return !sim_broken[0];
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void summary(uint64_t done, double took)
{
    static const char *const names[] = {
        "tokens redeemed",    "answers lost",    "answers late",     "crashes",        "stops",
        "store errors",       "leases run out",  "tokens reused",    "grants revoked", "verdicts",
        "races lost",         "programs waited", "pauses asked for", "odd responses",  "answers damaged",
        "states rolled back", "states healed"
    };
    printf("sim: %" PRIu64 " schedules in %.1f s:", done, took);
    for (int i = 0; i < SIM_COUNTS; i++)
        printf("%s %s %" PRIu64, i ? "," : "", names[i], sim_counts[i]);
    printf("\n");
}

int main(int argc, char **argv)
{
    const char *alone = getenv("SEED"), *from = getenv("FROM");
    uint64_t count = alone ? 1 : argc > 1 ? strtoull(argv[1], NULL, 10) : 1000;
    uint64_t first = alone ? strtoull(alone, NULL, 10) : from ? strtoull(from, NULL, 10) : 1, done = 0;
    char seed_token[] = "rt-0", host[] = "https://login.test/token", name[] = SIM_CRED, id[] = "id";
    struct credential_spec spec = { .name = name,
                                    .grant = GRANT_REFRESH_TOKEN,
                                    .token_url = host,
                                    .client_id = id,
                                    .client_auth = CLIENT_AUTH_NONE,
                                    .forced_floor_ms = 30000,
                                    .refresh_token = { SECRET_REF_INLINE, seed_token, NULL } };
    struct err e;
    struct seal_ring *ring = seal_ring_new(SLICE("0123456789abcdef0123456789abcdef"), SLICE(""), &e);
    double began = seconds();
    bool good = ring != NULL;
    sim_tracing = alone != NULL;
    log_setup("sim", alone ? LOG_DEBUG : LOG_ERROR + 1, LOG_LOGFMT, 2);
    for (; good && done < count; done++)
        good = run(first + done, &spec, ring);
    if (!good && !alone) {
        char why[sizeof sim_broken];
        uint64_t seed = first + done - 1;
        memcpy(why, sim_broken, sizeof why);
        sim_tracing = true;
        log_setup("sim", LOG_WARN, LOG_LOGFMT, 2);
        (void)run(seed, &spec, ring);
        printf("sim: FAILED at seed %" PRIu64 ": %s\nsim: SEED=%" PRIu64 " runs this schedule again\n", seed, why,
               seed);
    } else if (!good)
        printf("sim: FAILED: %s\n", sim_broken);
    summary(done, seconds() - began);
    seal_ring_free(ring);
    return good ? 0 : 1;
}
