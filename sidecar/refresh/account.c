#include "refresh/account_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"

#include <errno.h>
#include <stdio.h>

#define RELOAD_FIRST_MS 500 /* a state that could not be read is read again: 0.5 → 30 s */
#define RELOAD_LAST_MS 30000

static int64_t wall_ms(const struct account *a)
{
    return clock_wall_ms() + token_clock_skew_ms(a->clock);
}

enum msg_state account_state(const struct account *a)
{
    if (a->state.dead_fp[0])
        return MSG_REAUTH;
    return account_usable(a) ? MSG_USABLE : MSG_NONE;
}

bool account_usable(const struct account *a)
{
    return !secret_empty(&a->state.access_token) && clock_mono_ms() < a->times.expires_ms;
}

int64_t account_next_ms(const struct account *a)
{
    if (a->spec->grant == GRANT_STATIC && !secret_empty(&a->state.access_token))
        return MSG_NEVER;
    bool has_token = !secret_empty(&a->state.access_token) && !a->look && !a->reset;
    return schedule_next_ms(&a->tries, &a->times, has_token, clock_mono_ms());
}

void account_schedule(struct account *a)
{
    int64_t next_ms = account_next_ms(a);
    timer_stop(&a->timer);
    if (next_ms != MSG_NEVER && !a->flight && !a->held && !a->draining && a->loaded)
        timer_set(&a->timer, next_ms - clock_mono_ms());
}

int64_t account_forced_floor(const struct account *a)
{
    return schedule_pace(&a->times, a->spec->forced_floor_ms, clock_mono_ms());
}

/* ---- what is known ---- */

static struct schedule_life life_of(const struct state *s)
{
    return (struct schedule_life){ s->obtained_wall_ms, s->expires_wall_ms, s->refresh_in_ms,
                                   s->refresh_expires_wall_ms };
}

/* old: the life of a token that we have already; NULL: this is another one. */
static void recompute(struct account *a, const struct schedule_life *old, bool first)
{
    const struct schedule_life life = life_of(&a->state);
    /* The end of a token that we have already is known by the monotonic clock: the wall clock may have jumped since. */
    if (!old || life.expires_wall_ms != old->expires_wall_ms
        || life.refresh_expires_wall_ms != old->refresh_expires_wall_ms)
        a->times = schedule_times(&life, a->env->flights->jitter, clock_mono_ms(), wall_ms(a));
    /* what a process finds at its start is of any age; what comes later is new when it comes */
    if (first && schedule_age_unknown(&life, wall_ms(a))) {
        log_warn(log_msg("the stored token has a time in the future: this machine's clock is wrong"),
                 log_str("credential", a->spec->name));
        schedule_times_end(&a->times, clock_mono_ms());
    }
    /* an answer, not a note about its refresh token */
    if (old && life.expires_wall_ms <= old->expires_wall_ms && life.obtained_wall_ms != old->obtained_wall_ms)
        schedule_times_same(&a->times, clock_mono_ms());
}

void account_unstick(struct account *a)
{
    schedule_unstick(&a->tries);
    schedule_hold(&a->tries, a->throttled_ms); /* another secret, the same host */
}

/* A newer state, or another token under the same number (a provisional one that lost its race). */
void account_take(struct account *a, const struct state *state)
{
    bool same = slice_eq_secret(secret_peek(&state->access_token), secret_peek(&a->state.access_token));
    bool was_dead = a->state.dead_fp[0], first = a->state.generation == 0;
    const struct schedule_life old = life_of(&a->state);
    if (state->generation < a->state.generation || (state->generation == a->state.generation && same && a->loaded))
        return;
    if (state_copy(&a->state, state) != 0) {
        log_error(log_msg("cannot use the stored token"), log_str("credential", a->spec->name),
                  log_str("reason", "out of memory"));
        return;
    }
    if (!same || first || state->obtained_wall_ms != old.obtained_wall_ms)
        a->token_gen = state->generation;
    recompute(a, same && !secret_empty(&state->access_token) ? &old : NULL, first);
    /* another access token: somebody's request has worked, so what failed here is worth a try (rule 3.2f) */
    if ((was_dead && !a->state.dead_fp[0]) || (!same && !secret_empty(&state->access_token)))
        account_unstick(a);
    account_publish(a);
}

static void load(struct account *a);

static void on_reload(void *arg)
{
    load(arg);
}

/* Nobody tells a change twice. */
static void load_later(struct account *a)
{
    a->reload_ms = a->reload_ms ? a->reload_ms * 2 : RELOAD_FIRST_MS;
    if (a->reload_ms > RELOAD_LAST_MS)
        a->reload_ms = RELOAD_LAST_MS;
    if (!a->draining)
        timer_set(&a->reload, a->reload_ms / 2 + (int64_t)rand_below((uint64_t)a->reload_ms));
}

static void on_loaded(void *arg, const struct store_answer *answer)
{
    struct account *a = arg;
    a->load = NULL;
    a->loaded = true;
    if (answer->result == STORE_OK) {
        a->reload_ms = 0;
        account_take(a, answer->state);
        if (a->flight)
            flight_state_changed(a->flight, answer->state);
        if (!a->started) /* the configuration may hold a newer refresh token than the one that began what is stored */
            a->look = a->state.generation && account_seed_may_be_new(a);
        a->started = true;
    } else {
        log_warn(log_msg("cannot read the stored state"), log_str("credential", a->spec->name),
                 log_str("reason", answer->error ? answer->error : "unknown"));
        load_later(a);
    }
    if (a->load_again) {
        a->load_again = false;
        account_changed(a);
    }
    account_schedule(a);
}

static void load(struct account *a)
{
    if (a->load) {
        a->load_again = true;
        return;
    }
    timer_stop(&a->reload);
    a->load = store_load(a->env->flights->store, a->spec->name, on_loaded, a);
    if (!a->load) {
        a->loaded = true;
        account_schedule(a);
    }
}

void account_changed(struct account *a)
{
    if (a->flight)
        flight_wake(a->flight);
    if (a->spec->grant != GRANT_STATIC)
        load(a);
}

/* ---- time and files ---- */

static void on_time(void *arg)
{
    struct account *a = arg;
    struct schedule_need need = { secret_empty(&a->state.access_token) ? MSG_MISSING : MSG_EXPIRING, 0, true };
    bool dead = a->state.dead_fp[0];
    if (dead) /* the hourly look at a verdict, also while the old access token still serves */
        need = (struct schedule_need){ MSG_FORCED, a->state.generation, true };
    if (a->flight || a->held || a->draining)
        return;
    if ((account_needed(a, &need) || a->look || a->reset)
        && schedule_may(&a->tries, &need, dead ? 0 : account_forced_floor(a), clock_mono_ms()) == SCHEDULE_GO)
        account_fly(a, &need);
    else
        account_schedule(a);
}

/* ---- life ---- */

int account_init(struct account *a, const struct credential_spec *spec, const struct account_env *env)
{
    memset(a, 0, sizeof *a);
    a->spec = spec;
    a->env = env;
    a->clock = token_clocks_at(env->flights->clocks, spec->token_url);
    state_init(&a->state);
    recompute(a, NULL, false);
    timer_init(&a->timer, on_time, a);
    timer_init(&a->reload, on_reload, a);
    if (spec->token_url && fetch_url_host(spec->token_url, a->host, sizeof a->host) != 0)
        a->host[0] = '\0';
    account_meet_counters(a);
    return account_watch_secrets(a);
}

void account_done(struct account *a)
{
    flight_free(a->flight);
    a->flight = NULL;
    if (a->load)
        store_cancel(a->env->flights->store, a->load);
    a->load = NULL;
    store_cancel(a->env->flights->store, a->sharing);
    a->sharing = NULL;
    timer_stop(&a->timer);
    timer_stop(&a->reload);
    account_unwatch_secrets(a);
    state_done(&a->state);
}

static bool journal_has_answer(struct account *a)
{
    struct journal_entry entry;
    struct journal_response response = { 0 };
    struct err e = { "" };
    int failed = journal_read(a->env->flights->journal, a->spec->name, &entry, &e);
    bool answer = failed == 0 && entry.kind == JOURNAL_ANSWER;
    journal_entry_done(&entry);
    if (failed == 0)
        failed = journal_response_read(a->env->flights->journal, a->spec->name, &response, &e);
    answer = answer || response.status;
    journal_response_done(&response);
    if (failed != 0)
        log_warn(log_msg("cannot read the journal"), log_str("credential", a->spec->name), log_str("reason", e.text));
    return answer;
}

void account_start(struct account *a)
{
    a->replay = a->spec->grant == GRANT_REFRESH_TOKEN && journal_has_answer(a);
    if (a->replay || a->spec->grant == GRANT_STATIC)
        account_fly(a, &(struct schedule_need){ MSG_MISSING, 0, false });
    else
        load(a);
}

static void on_shared(void *arg, const struct store_answer *answer)
{
    struct account *a = arg;
    a->sharing = NULL;
    if (answer->result != STORE_ERROR)
        return;
    log_warn(log_msg("cannot store the throttle for other replicas"), log_str("credential", a->spec->name),
             log_str("reason", answer->error ? answer->error : "unknown"));
    account_event(a, FLIGHT_THROTTLE_UNSHARED);
}

void account_hold(struct account *a, int64_t until_ms, bool share)
{
    int64_t left_ms = until_ms - clock_mono_ms();
    share = share && until_ms > a->throttled_ms; /* else it is known there */
    a->throttled_ms = until_ms > a->throttled_ms ? until_ms : a->throttled_ms;
    schedule_hold(&a->tries, until_ms);
    if (a->flight)
        flight_hold(a->flight, until_ms);
    /* in as many ms from now: what comes there late ends late, by what the store takes at most */
    if (share && left_ms > 0) {
        store_cancel(a->env->flights->store, a->sharing);
        a->sharing = store_throttle(a->env->flights->store, a->spec->name, left_ms, on_shared, a);
    }
    account_schedule(a);
}

void account_drain(struct account *a)
{
    a->draining = true;
    timer_stop(&a->timer);
    timer_stop(&a->reload);
    account_chain_drain(a);
    if (a->flight)
        flight_drain(a->flight);
}

bool account_busy(const struct account *a)
{
    return a->flight != NULL;
}

/* What has no end has no series: 0 would be an end long ago. */
static void gauge_of_end(struct metrics *m, const char *name, const char *credential, int64_t end_wall_ms)
{
    if (end_wall_ms > 0)
        *metrics_at(m, "%s{credential=\"%s\"}", name, credential) = (double)(end_wall_ms / 1000);
    else
        metrics_drop(m, "%s{credential=\"%s\"}", name, credential);
}

void account_gauges(const struct account *a)
{
    struct metrics *m = a->env->metrics;
    const char *name = a->spec->name;
    for (enum msg_state s = MSG_NONE; s <= MSG_REAUTH; s++)
        *metrics_at(m, "sidekey_credential_state{credential=\"%s\",state=\"%s\"}", name, msg_state_name(s)) =
            account_state(a) == s;
    *metrics_at(m, "sidekey_token_generation{credential=\"%s\"}", name) = (double)a->state.generation;
    gauge_of_end(m, "sidekey_token_expiry_timestamp_seconds", name, a->state.expires_wall_ms);
    gauge_of_end(m, "sidekey_refresh_token_expiry_timestamp_seconds", name, a->state.refresh_expires_wall_ms);
    *metrics_at(m, "sidekey_refresh_waiters{credential=\"%s\"}", name) = a->waiters;
}
