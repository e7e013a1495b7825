#include "refresh/account.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"

#include <errno.h>
#include <stdio.h>

#define RELOAD_FIRST_MS 500 /* a state that could not be read is read again: 0.5 → 30 s */
#define RELOAD_LAST_MS 30000

static const double seconds[] = { .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60 };

static int64_t wall_ms(const struct account *a)
{
    return clock_wall_ms() + a->env->flights->skew_ms;
}

enum msg_state account_state(const struct account *a)
{
    return a->state.dead_fp[0] ? MSG_REAUTH : account_usable(a) ? MSG_USABLE : MSG_NONE;
}

bool account_usable(const struct account *a)
{
    return !secret_empty(&a->state.access_token) && clock_mono_ms() < a->times.expires_ms;
}

int64_t account_next_ms(const struct account *a)
{
    if (a->spec->grant == GRANT_STATIC && !secret_empty(&a->state.access_token))
        return MSG_NEVER;
    return schedule_next_ms(&a->tries, &a->times, !secret_empty(&a->state.access_token), clock_mono_ms());
}

static void schedule(struct account *a)
{
    int64_t next_ms = account_next_ms(a);
    alarm_stop(&a->timer);
    if (next_ms != MSG_NEVER && !a->flight && !a->draining && a->loaded)
        alarm_set(&a->timer, next_ms - clock_mono_ms());
}

static int64_t forced_floor(const struct account *a)
{
    return schedule_pace(&a->times, a->spec->forced_floor_ms, clock_mono_ms());
}

/* ---- what is known ---- */

static void recompute(struct account *a, bool same_token, int64_t old_end_wall_ms, bool first)
{
    const struct schedule_life life = { a->state.obtained_wall_ms, a->state.expires_wall_ms, a->state.refresh_in_ms };
    /* The end of a token that we have already is known by the monotonic clock: the wall clock may have jumped since. */
    if (!same_token || a->state.expires_wall_ms != old_end_wall_ms)
        a->times = schedule_times(&life, a->env->flights->jitter, clock_mono_ms(), wall_ms(a));
    /* what a process finds at its start is of any age; what comes later is new when it comes */
    if (first && schedule_age_unknown(&life, wall_ms(a))) {
        log_warn(log_msg("the stored token is from the future: the clock is wrong"),
                 log_str("credential", a->spec->name));
        schedule_times_end(&a->times, clock_mono_ms());
    }
    if (same_token && a->state.expires_wall_ms <= old_end_wall_ms)
        schedule_times_same(&a->times, clock_mono_ms());
}

static void unstick(struct account *a)
{
    schedule_unstick(&a->tries);
    schedule_hold(&a->tries, a->throttled_ms); /* another secret, the same host */
}

/* A newer state, or another token under the same number (a provisional one that lost its race). */
static void take(struct account *a, const struct state *state)
{
    bool same = slice_eq_secret(secret_peek(&state->access_token), secret_peek(&a->state.access_token));
    bool was_dead = a->state.dead_fp[0], first = a->state.generation == 0;
    int64_t old_end = a->state.expires_wall_ms;
    if (state->generation < a->state.generation || (state->generation == a->state.generation && same && a->loaded))
        return;
    if (state_copy(&a->state, state) != 0) {
        log_error(log_msg("token not taken"), log_str("credential", a->spec->name), log_str("reason", "out of memory"));
        return;
    }
    recompute(a, same && !secret_empty(&state->access_token), old_end, first);
    if (was_dead && !a->state.dead_fp[0])
        unstick(a);
    a->env->publish(a->env->arg, a);
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
        alarm_set(&a->reload, a->reload_ms / 2 + (int64_t)rand_below((uint64_t)a->reload_ms));
}

static void on_loaded(void *arg, const struct store_answer *answer)
{
    struct account *a = arg;
    a->load = NULL;
    a->loaded = true;
    if (answer->result == STORE_OK) {
        a->reload_ms = 0;
        take(a, answer->state);
        if (a->flight)
            flight_state_changed(a->flight, answer->state);
    } else {
        log_warn(log_msg("state not read"), log_str("credential", a->spec->name),
                 log_str("reason", answer->error ? answer->error : "unknown"));
        load_later(a);
    }
    if (a->load_again) {
        a->load_again = false;
        account_changed(a);
    }
    schedule(a);
}

static void load(struct account *a)
{
    if (a->load) {
        a->load_again = true;
        return;
    }
    alarm_stop(&a->reload);
    a->load = store_load(a->env->flights->store, a->spec->name, on_loaded, a);
    if (!a->load) {
        a->loaded = true;
        schedule(a);
    }
}

void account_changed(struct account *a)
{
    if (a->flight)
        flight_wake(a->flight);
    if (a->spec->grant != GRANT_STATIC)
        load(a);
}

/* ---- a flight ---- */

static const char *trigger_name(const struct account *a)
{
    static const char *const names[] = {
        [MSG_EXPIRING] = "expiring", [MSG_MISSING] = "missing", [MSG_REJECTED] = "rejected", [MSG_FORCED] = "forced"
    };
    return a->need.background ? "background" : names[a->need.reason];
}

static void count_end(struct account *a, const struct flight_result *r)
{
    static const char *const ends[] = {
        [FLIGHT_REFRESHED] = "refreshed", [FLIGHT_ADOPTED] = "adopted", [FLIGHT_SKIPPED] = "skipped"
    };
    char labels[128];
    double took = (double)(clock_mono_ms() - a->flight_ms) / 1000;
    (*metrics_at(a->env->metrics, "sidekey_refreshes_total{credential=\"%s\",trigger=\"%s\",result=\"%s\"}",
                 a->spec->name, trigger_name(a),
                 r->end == FLIGHT_FAILED ? msg_class_name(r->failure) : ends[r->end]))++;
    snprintf(labels, sizeof labels, "credential=\"%s\"", a->spec->name);
    struct histogram h = metrics_histogram(a->env->metrics, "sidekey_refresh_duration_seconds", labels, seconds,
                                           sizeof seconds / sizeof *seconds);
    if (r->requested)
        histogram_observe(&h, took);
}

static void log_end(const struct account *a, const struct flight_result *r)
{
    if (r->end == FLIGHT_FAILED)
        log_warn(log_msg("refresh failed"), log_str("credential", a->spec->name),
                 log_int("generation", (int64_t)a->state.generation), log_str("class", msg_class_name(r->failure)),
                 log_str("trigger", trigger_name(a)), log_str("reason", r->text),
                 log_int("dur_ms", clock_mono_ms() - a->flight_ms));
    else if (r->end == FLIGHT_REFRESHED)
        log_info(log_msg("refreshed"), log_str("credential", a->spec->name),
                 log_int("generation", (int64_t)a->state.generation), log_str("trigger", trigger_name(a)),
                 log_int("dur_ms", clock_mono_ms() - a->flight_ms));
    else
        log_debug(log_msg("refresh not needed"), log_str("credential", a->spec->name),
                  log_str("trigger", trigger_name(a)), log_str("reason", r->text));
}

static void on_state(void *arg, const struct state *state)
{
    struct account *a = arg;
    a->loaded = true;
    take(a, state);
}

static void on_lease(void *arg, enum store_result result)
{
    static const char *const names[] = {
        [STORE_FRESH] = "fresh", [STORE_WON] = "won",   [STORE_BUSY] = "busy",  [STORE_OK] = "ok",
        [STORE_STALE] = "stale", [STORE_LOST] = "lost", [STORE_ERROR] = "error"
    };
    struct account *a = arg;
    (*metrics_at(a->env->metrics, "sidekey_lease_total{result=\"%s\"}", names[result]))++;
}

static void on_event(void *arg, enum flight_event event)
{
    struct account *a = arg;
    (*metrics_at(a->env->metrics, "sidekey_refresh_events_total{credential=\"%s\",event=\"%s\"}", a->spec->name,
                 flight_event_name(event)))++;
}

static bool needed(const struct account *a, const struct schedule_need *need)
{
    return schedule_needs(&a->times, !secret_empty(&a->state.access_token), a->state.generation, need, clock_mono_ms());
}

static int64_t left_ms(int64_t until_ms)
{
    int64_t left = until_ms - clock_mono_ms();
    return left > 1 ? left : 1;
}

/* Every refusal says when it makes sense to ask again. */
static void refuse(struct account *a, enum msg_class failure, const char *text)
{
    int64_t after_ms = failure == MSG_DEAD     ? 0
                       : failure == MSG_RECENT ? left_ms(a->tries.forced_ms + forced_floor(a))
                                               : left_ms(a->tries.urgent_ms);
    a->env->refuse(a->env->arg, a, failure, after_ms, text);
}

static void note_failure(struct account *a, const struct flight_result *r)
{
    int64_t now_ms = clock_mono_ms();
    bool counts =
        r->requested && r->failure != MSG_TRANSIENT && r->failure != MSG_STORE && schedule_need_forced(&a->need);
    uint64_t random;
    rand_bytes(&random, sizeof random);
    if (r->failure == MSG_THROTTLE && !r->told)
        schedule_throttled(&a->tries, now_ms + r->retry_after_ms);
    else
        schedule_failed(&a->tries, r->failure, r->retry_after_ms, counts, random, now_ms);
    if (r->failure == MSG_THROTTLE)
        a->throttled_ms = now_ms + r->retry_after_ms; /* the flight has told the store, or was told by it */
    snprintf(a->last_error, sizeof a->last_error, "%s", r->text ? r->text : "");
    if (r->failure == MSG_THROTTLE && a->host[0])
        a->env->throttled(a->env->arg, a->host, a->tries.urgent_ms, r->told);
    if (!a->need.background)
        refuse(a, r->failure, a->last_error);
}

static void note_success(struct account *a, const struct flight_result *r)
{
    struct schedule_need need = a->need;
    bool still = !need.background && needed(a, &need);
    schedule_succeeded(&a->tries, r->requested && schedule_need_forced(&need), clock_mono_ms());
    schedule_hurry(&a->tries, a->times.lifetime_ms / 4, clock_mono_ms());
    a->last_error[0] = '\0';
    if (need.background)
        return;
    if (!still)
        a->env->publish(a->env->arg, a); /* whoever joined late has not seen the first one */
    else if (r->requested) {
        schedule_failed(&a->tries, MSG_TRANSIENT, 1000, false, 0, clock_mono_ms());
        refuse(a, MSG_TRANSIENT,
               schedule_need_forced(&need) ? "the new token was refused already" : "the new token has expired already");
    } else
        account_want(a, &need); /* what was adopted is not what the late ones need: they may ask once more (rule 2.6) */
}

static void on_secret_changed(void *arg);

static void on_end(void *arg, const struct flight_result *r)
{
    struct account *a = arg;
    struct flight *f = a->flight;
    a->flight = NULL;
    count_end(a, r);
    log_end(a, r);
    a->waiters = 0;
    a->replay = a->replay && r->end != FLIGHT_ADOPTED && r->end != FLIGHT_REFRESHED;
    if (r->end == FLIGHT_FAILED)
        note_failure(a, r);
    else if (r->end == FLIGHT_SKIPPED) {
        schedule_skipped(&a->tries, clock_mono_ms());
        if (!a->need.background)
            a->env->refuse(a->env->arg, a, MSG_TRANSIENT, 200, r->text);
    } else
        note_success(a, r);
    flight_free(f); /* r->text lived in it */
    if (a->draining)
        a->env->idle(a->env->arg);
    else if (a->changed && !a->flight)
        on_secret_changed(a);
    schedule(a);
}

/* The flight judges by stored, absolute times. After a jump of the wall clock it would call a token fresh that is due,
 * or has ended, again and again. */
static void tell_due(struct account *a, const struct schedule_need *need)
{
    if (needed(a, need))
        flight_expire_generation(a->flight, a->state.generation);
}

static void fly(struct account *a, const struct schedule_need *need)
{
    const struct flight_hooks hooks = { on_state, on_lease, on_event, on_end, a };
    a->need = *need;
    a->flight_ms = clock_mono_ms();
    a->waiters = !need->background;
    alarm_stop(&a->timer);
    a->flight = flight_start(a->env->flights, a->spec, &a->state, need, a->replay, &hooks);
    if (a->flight) {
        tell_due(a, need);
        return;
    }
    log_error(log_msg("refresh not started"), log_str("credential", a->spec->name), log_str("reason", "out of memory"));
    schedule_failed(&a->tries, MSG_TRANSIENT, 0, false, 0, clock_mono_ms());
    schedule(a);
}

static void refuse_later(struct account *a)
{
    if (clock_mono_ms() < a->throttled_ms)
        refuse(a, MSG_THROTTLE, "the token endpoint has asked for fewer requests");
    else
        refuse(a, a->tries.failed ? a->tries.failure : MSG_TRANSIENT, a->last_error);
}

void account_want(struct account *a, const struct schedule_need *want)
{
    struct schedule_need need = *want;
    if (need.reason == MSG_FORCED)
        need.rejected = a->state.generation;
    if (!needed(a, &need)) {
        a->env->publish(a->env->arg, a);
        return;
    }
    if (a->flight) {
        schedule_need_merge(&a->need, &need);
        flight_join(a->flight, &need);
        tell_due(a, &need);
        a->waiters++;
        return;
    }
    switch (a->draining ? SCHEDULE_LATER : schedule_may(&a->tries, &need, forced_floor(a), clock_mono_ms())) {
    case SCHEDULE_SATISFIED: a->env->publish(a->env->arg, a); break;
    case SCHEDULE_GO: fly(a, &need); break;
    case SCHEDULE_LATER:
        if (need.reason != MSG_EXPIRING && !need.background)
            refuse_later(a);
        break;
    case SCHEDULE_RECENT: refuse(a, MSG_RECENT, "a forced refresh ran a moment ago"); break;
    case SCHEDULE_STUCK: refuse(a, MSG_DEAD, a->last_error[0] ? a->last_error : "the refresh token is dead"); break;
    }
}

/* ---- time and files ---- */

static void on_time(void *arg)
{
    struct account *a = arg;
    struct schedule_need need = { secret_empty(&a->state.access_token) ? MSG_MISSING : MSG_EXPIRING, 0, true };
    if (a->flight || a->draining)
        return;
    if (needed(a, &need) && schedule_may(&a->tries, &need, forced_floor(a), clock_mono_ms()) == SCHEDULE_GO)
        fly(a, &need);
    else
        schedule(a);
}

static void on_secret_changed(void *arg)
{
    struct account *a = arg;
    bool dead = a->state.dead_fp[0], was_well = !a->tries.failed && !dead;
    /* After a dead verdict the new secret is tried at once, also while the old access token still serves. */
    struct schedule_need need = { dead ? MSG_FORCED : MSG_MISSING, a->state.generation, false };
    a->changed = false;
    if (a->draining)
        return;
    unstick(a);
    if (a->flight)
        a->changed = a->spec->grant == GRANT_STATIC || !was_well;
    else if (a->spec->grant == GRANT_STATIC || !was_well || needed(a, &need)) {
        log_info(log_msg("secret file changed"), log_str("credential", a->spec->name));
        fly(a, &need);
    }
}

static int watch_file(struct account *a, const struct secret_ref *ref, size_t i)
{
    if (ref->kind != SECRET_REF_FILE)
        return 0;
    a->watches[i] = secret_watch_new(ref->name, on_secret_changed, a);
    return a->watches[i] ? 0 : -ENOMEM;
}

/* ---- life ---- */

int account_init(struct account *a, const struct credential_spec *spec, const struct account_env *env)
{
    memset(a, 0, sizeof *a);
    a->spec = spec;
    a->env = env;
    state_init(&a->state);
    recompute(a, false, 0, false);
    alarm_init(&a->timer, on_time, a);
    alarm_init(&a->reload, on_reload, a);
    if (spec->token_url && fetch_host(spec->token_url, a->host, sizeof a->host) != 0)
        a->host[0] = '\0';
    const struct secret_ref *const files[] = { &spec->token,         &spec->refresh_token,   &spec->client_secret,
                                               &spec->assertion.key, &spec->assertion.token, &spec->subject_token,
                                               &spec->actor_token };
    int failed = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files && failed == 0; i++)
        failed = watch_file(a, files[i], i);
    return failed;
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
    alarm_stop(&a->timer);
    alarm_stop(&a->reload);
    for (size_t i = 0; i < sizeof a->watches / sizeof *a->watches; i++)
        secret_watch_free(a->watches[i]);
    state_done(&a->state);
}

static bool journal_has_answer(struct account *a)
{
    struct journal_entry entry;
    struct err e;
    if (journal_read(a->env->flights->journal, a->spec->name, &entry, &e) != 0) {
        log_warn(log_msg("journal unreadable"), log_str("credential", a->spec->name), log_str("reason", e.text));
        return false;
    }
    bool answer = entry.kind == JOURNAL_ANSWER;
    journal_entry_done(&entry);
    return answer;
}

void account_start(struct account *a)
{
    a->replay = a->spec->grant == GRANT_REFRESH_TOKEN && journal_has_answer(a);
    if (a->replay || a->spec->grant == GRANT_STATIC)
        fly(a, &(struct schedule_need){ MSG_MISSING, 0, false });
    else
        load(a);
}

static void on_shared(void *arg, const struct store_answer *answer)
{
    struct account *a = arg;
    a->sharing = NULL;
    if (answer->result != STORE_ERROR)
        return;
    log_warn(log_msg("throttle not shared"), log_str("credential", a->spec->name),
             log_str("reason", answer->error ? answer->error : "unknown"));
    on_event(a, FLIGHT_THROTTLE_UNSHARED);
}

void account_hold(struct account *a, int64_t until_ms, bool share)
{
    int64_t left_ms = until_ms - clock_mono_ms();
    share = share && until_ms > a->throttled_ms; /* else it is known there */
    a->throttled_ms = until_ms > a->throttled_ms ? until_ms : a->throttled_ms;
    schedule_hold(&a->tries, until_ms);
    /* in as many ms from now: what comes there late ends late, by what the store takes at most */
    if (share && left_ms > 0) {
        store_cancel(a->env->flights->store, a->sharing);
        a->sharing = store_throttle(a->env->flights->store, a->spec->name, left_ms, on_shared, a);
    }
    schedule(a);
}

void account_drain(struct account *a)
{
    a->draining = true;
    alarm_stop(&a->timer);
    alarm_stop(&a->reload);
    if (a->flight)
        flight_drain(a->flight);
}

bool account_busy(const struct account *a)
{
    return a->flight != NULL;
}

void account_gauges(const struct account *a)
{
    struct metrics *m = a->env->metrics;
    const char *name = a->spec->name;
    for (enum msg_state s = MSG_NONE; s <= MSG_REAUTH; s++)
        *metrics_at(m, "sidekey_credential_state{credential=\"%s\",state=\"%s\"}", name, msg_state_name(s)) =
            account_state(a) == s;
    *metrics_at(m, "sidekey_token_generation{credential=\"%s\"}", name) = (double)a->state.generation;
    *metrics_at(m, "sidekey_token_expiry_timestamp_seconds{credential=\"%s\"}", name) =
        (double)(a->state.expires_wall_ms / 1000);
    *metrics_at(m, "sidekey_refresh_waiters{credential=\"%s\"}", name) = a->waiters;
}
