/* The flights of an account: the one door to them, and what follows from their end. */
#include "refresh/account_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"

#include <stdio.h>

#define REQUIRED_MS 10000 /* longest pause while a required credential has no usable token */

static const double seconds[] = { .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60 };

static double *leases(const struct account *a, enum store_result result)
{
    static const char *const names[] = {
        [STORE_FRESH] = "fresh", [STORE_WON] = "won",   [STORE_BUSY] = "busy",  [STORE_OK] = "ok",
        [STORE_STALE] = "stale", [STORE_LOST] = "lost", [STORE_ERROR] = "error"
    };
    return metrics_at(a->env->metrics, "sidekey_lease_total{result=\"%s\"}", names[result]);
}

static double *events(const struct account *a, enum flight_event event)
{
    return metrics_at(a->env->metrics, "sidekey_refresh_events_total{credential=\"%s\",event=\"%s\"}", a->spec->name,
                      flight_event_name(event));
}

static const char *trigger_name(const struct account *a)
{
    static const char *const names[] = {
        [MSG_EXPIRING] = "expiring", [MSG_MISSING] = "missing", [MSG_REJECTED] = "rejected", [MSG_FORCED] = "forced"
    };
    return a->need.background ? "background" : names[a->need.reason];
}

static const char *const ends[] = {
    [FLIGHT_REFRESHED] = "refreshed", [FLIGHT_ADOPTED] = "adopted", [FLIGHT_SKIPPED] = "skipped"
};

static double *refreshes(const struct account *a, const char *trigger, const char *result)
{
    return metrics_at(a->env->metrics, "sidekey_refreshes_total{credential=\"%s\",trigger=\"%s\",result=\"%s\"}",
                      a->spec->name, trigger, result);
}

static struct histogram durations(const struct account *a)
{
    char labels[128];
    snprintf(labels, sizeof labels, "credential=\"%s\"", a->spec->name);
    return metrics_histogram(a->env->metrics, "sidekey_refresh_duration_seconds", labels, seconds,
                             sizeof seconds / sizeof *seconds);
}

void account_meet_counters(struct account *a)
{
    static const char *const triggers[] = { "background", "expiring", "missing", "rejected", "forced" };
    if (a->env->many)
        return;
    for (size_t i = 0; i < sizeof triggers / sizeof *triggers; i++) {
        for (enum flight_end end = FLIGHT_REFRESHED; end < FLIGHT_FAILED; end++)
            (void)refreshes(a, triggers[i], ends[end]);
        for (enum msg_class c = MSG_TRANSIENT; c <= MSG_STORE; c++)
            (void)refreshes(a, triggers[i], msg_class_name(c));
    }
    for (enum flight_event event = 0; event < FLIGHT_EVENTS; event++)
        (void)events(a, event);
    for (enum store_result result = 0; result <= STORE_ERROR; result++)
        (void)leases(a, result);
    (void)durations(a);
}

static void count_end(struct account *a, const struct flight_result *r)
{
    double took = (double)(clock_mono_ms() - a->flight_ms) / 1000;
    (*refreshes(a, trigger_name(a), r->end == FLIGHT_FAILED ? msg_class_name(r->failure) : ends[r->end]))++;
    struct histogram h = durations(a);
    if (r->requested)
        metrics_observe(&h, took);
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
    account_take(a, state);
}

static void on_lease(void *arg, enum store_result result)
{
    (*leases(arg, result))++;
}

void account_event(struct account *a, enum flight_event event)
{
    (*events(a, event))++;
}

bool account_needed(const struct account *a, const struct schedule_need *need)
{
    return schedule_needs(&a->times, !secret_empty(&a->state.access_token), a->token_gen, need, clock_mono_ms());
}

static int64_t left_ms(int64_t until_ms)
{
    int64_t left = until_ms - clock_mono_ms();
    return left > 1 ? left : 1;
}

/* Every refusal says when it makes sense to ask again. */
static void refuse(struct account *a, enum msg_class failure, const char *text)
{
    int64_t after_ms;
    if (failure == MSG_DEAD)
        after_ms = 0;
    else if (failure == MSG_RECENT)
        after_ms = left_ms(a->tries.forced_ms + account_forced_floor(a));
    else
        after_ms = left_ms(a->tries.urgent_ms);
    account_refuse(a, failure, after_ms, text);
}

/* The readiness of the whole program hangs on this token: an outage is not outlasted by our pause (rule 4.9). */
static void keep_asking(struct account *a, const struct flight_result *r, uint64_t random)
{
    bool outage = r->failure == MSG_TRANSIENT || r->failure == MSG_AMBIGUOUS || r->failure == MSG_STORE;
    if (a->spec->required && !account_usable(a) && outage && r->retry_after_ms <= 0)
        schedule_hurry(&a->tries, REQUIRED_MS / 2 + (int64_t)(random % (REQUIRED_MS / 2)), clock_mono_ms());
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
    keep_asking(a, r, random);
    schedule_hold(&a->tries, a->throttled_ms);
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
    bool still = !need.background && account_needed(a, &need);
    schedule_succeeded(&a->tries, r->requested && schedule_need_forced(&need), clock_mono_ms());
    schedule_hurry(&a->tries, a->times.shortest_ms / 4, clock_mono_ms());
    a->last_error[0] = '\0';
    if (need.background)
        return;
    if (!still)
        account_publish(a); /* whoever joined late has not seen the first one */
    else if (r->requested) {
        schedule_failed(&a->tries, MSG_TRANSIENT, 1000, false, 0, clock_mono_ms());
        refuse(a, MSG_TRANSIENT,
               schedule_need_forced(&need) ? "the new token was refused already" : "the new token has expired already");
    } else
        account_want(a, &need); /* what was adopted is not what the late ones need: they may ask once more (rule 2.6) */
}

static void on_event(void *arg, enum flight_event event)
{
    account_event(arg, event);
}

static void on_end(void *arg, const struct flight_result *r)
{
    struct account *a = arg;
    struct flight *f = a->flight;
    a->flight = NULL;
    count_end(a, r);
    log_end(a, r);
    if (r->sent_ms)
        schedule_requested(&a->tries, r->sent_ms);
    a->waiters = 0;
    a->replay = a->replay && r->end != FLIGHT_ADOPTED && r->end != FLIGHT_REFRESHED;
    a->look = a->look && !r->looked;
    a->reset = a->reset && !r->reset;
    if (r->end == FLIGHT_REFRESHED)
        a->refusals = (struct refusals){ .count = 0 };
    a->for_parent = false;
    if (r->end == FLIGHT_FAILED)
        account_chain_failed(a, r);
    if (r->end == FLIGHT_FAILED)
        note_failure(a, r);
    else if (r->end == FLIGHT_SKIPPED) {
        schedule_skipped(&a->tries, clock_mono_ms());
        if (!a->need.background)
            account_refuse(a, MSG_TRANSIENT, 200, r->text);
    } else
        note_success(a, r);
    flight_free(f); /* r->text lived in it */
    if (a->draining)
        a->env->idle(a->env->arg);
    else if (a->changed && !a->flight)
        account_secret_changed(a);
    account_schedule(a);
}

/* The flight judges by stored, absolute times. After a jump of the wall clock it would call a token fresh that is due,
 * or has ended, again and again. */
static void tell_due(struct account *a, const struct schedule_need *need)
{
    if (account_needed(a, need))
        flight_expire_generation(a->flight, a->state.generation);
}

/* What the flight is to do besides. */
static void prepare(struct account *a)
{
    flight_count_refusals(a->flight, &a->refusals);
    if (a->look && !a->replay)
        flight_look(a->flight);
    if (a->probe)
        flight_probe(a->flight);
    if (a->reset && !a->replay)
        flight_reset(a->flight);
    a->probe = false;
}

void account_fly(struct account *a, const struct schedule_need *need)
{
    const struct flight_hooks hooks = { on_state, on_lease, on_event, on_end, a };
    if (!a->replay && !account_chain_ready(a, need)) /* what the journal has needs no request */
        return;
    a->need = *need;
    a->flight_ms = clock_mono_ms();
    a->waiters = !need->background;
    timer_stop(&a->timer);
    a->flight = flight_start(a->env->flights, a->spec, &a->state, need, a->replay, &hooks);
    if (a->flight) {
        flight_not_before(a->flight, a->tries.paced_ms);
        prepare(a);
        tell_due(a, need);
        return;
    }
    log_error(log_msg("cannot start a refresh"), log_str("credential", a->spec->name),
              log_str("reason", "out of memory"));
    schedule_failed(&a->tries, MSG_TRANSIENT, 0, false, 0, clock_mono_ms());
    account_schedule(a);
}

static void refuse_later(struct account *a)
{
    if (clock_mono_ms() < a->throttled_ms)
        refuse(a, MSG_THROTTLE, "the token endpoint limits the rate of requests");
    else
        refuse(a, a->tries.failed ? a->tries.failure : MSG_TRANSIENT, a->last_error);
}

void account_want(struct account *a, const struct schedule_need *want)
{
    struct schedule_need need = *want;
    bool current = need.reason == MSG_REJECTED && need.rejected >= a->token_gen;
    if (need.reason == MSG_FORCED || (current && need.rejected < a->state.generation))
        need.rejected = a->state.generation;
    if (!account_needed(a, &need)) {
        account_publish(a);
        return;
    }
    if (a->flight || a->held) {
        schedule_need_merge(&a->need, &need);
        if (a->flight) {
            flight_join(a->flight, &need);
            tell_due(a, &need);
        }
        a->waiters++;
        return;
    }
    switch (a->draining ? SCHEDULE_LATER : schedule_may(&a->tries, &need, account_forced_floor(a), clock_mono_ms())) {
    case SCHEDULE_SATISFIED: account_publish(a); break;
    case SCHEDULE_GO: account_fly(a, &need); break;
    case SCHEDULE_LATER:
        if (need.reason != MSG_EXPIRING && !need.background)
            refuse_later(a);
        break;
    case SCHEDULE_RECENT: refuse(a, MSG_RECENT, "a forced refresh ran a moment ago"); break;
    case SCHEDULE_STUCK:
        refuse(a, MSG_DEAD, a->last_error[0] ? a->last_error : "the refresh token was revoked or has expired");
        break;
    }
}

void account_reset(struct account *a)
{
    a->reset = true;
    a->refusals = (struct refusals){ .count = 0 };
    account_unstick(a);
    if (a->flight)
        a->changed = true;
    else if (!a->draining && !a->held)
        account_fly(a, &(struct schedule_need){ MSG_FORCED, a->state.generation, false });
}
