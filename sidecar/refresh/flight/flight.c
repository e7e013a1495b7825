#include "refresh/flight/flight_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"

#include <stdio.h>
#include <stdlib.h>

#define DEGRADED_MS 2000 /* 0–2 s at random: replicas that lose their store together do not ask together */

static enum step begin(struct flight *f);
static enum step begun(struct flight *f, const struct store_answer *answer);
static enum step start(struct flight *f);
static enum step busy(struct flight *f);
static enum step ask_again(struct flight *f);
static enum step store_wait(struct flight *f);
static enum step degraded(struct flight *f);
static enum step proceed(struct flight *f);
static enum step load(struct flight *f);
static enum step loaded(struct flight *f, const struct store_answer *answer);
static enum step release(struct flight *f);
static enum step released(struct flight *f, const struct store_answer *answer);
static enum step done(struct flight *f);

/* late NULL: the store operation counts as failed (answered with ERROR). limit 0: the step sets its own time.
 * slot: the slot of the request may be held; elsewhere it is given back.  RECOVER is among them because a request
 * without an answer is repeated at once, while the server still tells a repetition from theft. */
static const struct {
    const char *name;
    enum step (*run)(struct flight *f);
    enum step (*answered)(struct flight *f, const struct store_answer *answer);
    enum step (*late)(struct flight *f);
    int64_t limit_ms;
    bool slot;
} states[FLIGHT_STATES] = {
    [FLIGHT_NEW] = { "new", NULL, NULL, start, 0, false },
    [FLIGHT_BEGIN] = { "begin", begin, begun, NULL, FLIGHT_STORE_MS, false },
    [FLIGHT_BUSY] = { "busy", busy, NULL, ask_again, 0, false },
    [FLIGHT_STORE_WAIT] = { "store_wait", store_wait, NULL, ask_again, 0, false },
    [FLIGHT_DEGRADED] = { "degraded", degraded, NULL, proceed, 0, false },
    [FLIGHT_LOAD] = { "load", load, loaded, NULL, FLIGHT_STORE_MS, false },
    [FLIGHT_CHECK] = { "check", flight_check, NULL, NULL, FLIGHT_STORE_MS, false },
    [FLIGHT_SEED] = { "seed", flight_seed, NULL, flight_secrets_late, FLIGHT_SECRETS_MS, false },
    [FLIGHT_SLOT] = { "slot", flight_slot, flight_slot_renewed, flight_slot_over, 0, true },
    [FLIGHT_SECRETS] = { "secrets", flight_secrets, NULL, flight_secrets_late, FLIGHT_SECRETS_MS, true },
    [FLIGHT_INTENT] = { "intent", flight_intent, NULL, NULL, FLIGHT_STORE_MS, true },
    [FLIGHT_CONFIRM] = { "confirm", flight_confirm, flight_confirmed, NULL, FLIGHT_STORE_MS, true },
    [FLIGHT_FETCH] = { "fetch", flight_fetch, flight_renewed, flight_fetch_late, 0, true },
    [FLIGHT_COMMIT] = { "commit", flight_commit, flight_committed, NULL, FLIGHT_STORE_MS, false },
    [FLIGHT_COMMIT_WAIT] = { "commit_wait", flight_commit_wait, flight_renewed, flight_commit_again, 0, false },
    [FLIGHT_RECOVER] = { "recover", flight_recover, flight_recovered, NULL, FLIGHT_STORE_MS, true },
    [FLIGHT_RECOVER_WAIT] = { "recover_wait", flight_recover_wait, NULL, flight_recover_again, 0, false },
    [FLIGHT_PAUSE] = { "pause", flight_pause, flight_renewed, flight_pause_over, 0, false },
    [FLIGHT_AMEND] = { "amend", flight_amend, flight_amended, NULL, FLIGHT_STORE_MS, false },
    [FLIGHT_MARK_DEAD] = { "mark_dead", flight_mark_dead, flight_marked_dead, NULL, FLIGHT_STORE_MS, false },
    [FLIGHT_THROTTLE] = { "throttle", flight_throttle, flight_throttled, NULL, FLIGHT_STORE_MS, false },
    [FLIGHT_RELEASE] = { "release", release, released, NULL, FLIGHT_STORE_MS, false },
    [FLIGHT_DONE] = { "done", done, NULL, NULL, 0, false },
};

const char *flight_state_name(const struct flight *f)
{
    return states[f->state].name;
}

/* ---- the wheel ---- */

/* The only writer of f->state. */
enum step flight_enter(struct flight *f, enum flight_state next)
{
    log_debug(log_msg("flight"), log_str("credential", f->spec->name), log_str("from", states[f->state].name),
              log_str("to", states[next].name));
    f->state = next;
    timer_stop(&f->deadline);
    if (!states[next].slot)
        request_slot_give(&f->slot);
    if (states[next].limit_ms)
        timer_set(&f->deadline, states[next].limit_ms);
    return STEP_AGAIN;
}

void flight_drive(struct flight *f, enum step step)
{
    while (step == STEP_AGAIN)
        step = states[f->state].run(f); /* "done" lets the owner free f: nothing may touch it after the loop */
}

static void on_deadline(void *arg)
{
    struct flight *f = arg;
    if (states[f->state].late) {
        flight_drive(f, states[f->state].late(f));
        return;
    }
    store_cancel(f->env->store, f->op);
    flight_store_answer(f, &(struct store_answer){ .result = STORE_ERROR, .error = "no answer in time" });
}

void flight_store_answer(void *arg, const struct store_answer *answer)
{
    struct flight *f = arg;
    f->op = NULL;
    flight_drive(f, states[f->state].answered(f, answer));
}

/* An operation was asked for; NULL: the store could not even take it, which is an answer that comes later as well. */
enum step flight_op(struct flight *f, struct store_op *op)
{
    f->op = op;
    if (!op)
        timer_set(&f->deadline, 0);
    return STEP_WAIT;
}

enum step flight_end_as(struct flight *f, enum flight_end end, const char *text)
{
    f->result.end = end;
    f->result.text = text;
    return flight_enter(f, FLIGHT_RELEASE);
}

enum step flight_fail_text(struct flight *f, enum msg_class failure)
{
    f->result.failure = failure;
    return flight_end_as(f, FLIGHT_FAILED, f->text);
}

enum step flight_fail(struct flight *f, enum msg_class failure, const char *text)
{
    snprintf(f->text, sizeof f->text, "%s", text);
    return flight_fail_text(f, failure);
}

/* ---- what is worth counting ---- */

static const struct {
    const char *name, *text;
    enum log_level level;
} events[FLIGHT_EVENTS] = {
    [FLIGHT_LOCK_DEGRADED] = { "lock_degraded", "lock degraded", LOG_WARN },
    [FLIGHT_LEASE_LOST] = { "lease_lost", "lease lost while the request was out", LOG_WARN },
    [FLIGHT_REREAD_FAILED] = { "reread_failed", "state re-read failed", LOG_WARN },
    [FLIGHT_RACE_RECOVERED] = { "race_recovered", "race recovered", LOG_INFO },
    [FLIGHT_PERSIST_FAILED] = { "persist_failed", "persist failed", LOG_WARN },
    [FLIGHT_JOURNAL_FAILED] = { "journal_failed", "journal not writable", LOG_ERROR },
    [FLIGHT_RELEASE_FAILED] = { "release_failed", "release failed", LOG_WARN },
    [FLIGHT_THROTTLE_UNSHARED] = { "throttle_unshared", "throttle not shared", LOG_WARN },
    [FLIGHT_DOUBLE_SPEND] = { "double_spend", "double_spend: another owner's answer was stored first", LOG_WARN },
    [FLIGHT_FOREIGN_ROTATION] = { "foreign_rotation", "foreign_rotation: somebody else has spent the refresh token",
                                  LOG_ERROR },
};

const char *flight_event_name(enum flight_event event)
{
    return events[event].name;
}

void flight_note(struct flight *f, enum flight_event event, uint64_t generation, const char *why)
{
    LOG_AT(events[event].level, log_msg(events[event].text), log_str("credential", f->spec->name),
           log_int("generation", (int64_t)generation), log_str("reason", why ? why : "unknown"));
    f->hooks.on_event(f->hooks.arg, event);
}

/* ---- start and end ---- */

static void on_renewal(void *arg)
{
    flight_renew(arg);
}

struct flight *flight_start(struct flight_env *env, const struct credential_spec *spec, const struct state *known,
                            const struct schedule_need *need, bool replay, const struct flight_hooks *hooks)
{
    struct flight *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->env = env;
    f->spec = spec;
    f->clock = token_clocks_at(env->clocks, spec->token_url);
    f->need = *need;
    f->replay = replay;
    f->hooks = *hooks;
    f->poll_ms = FLIGHT_POLL_FIRST_MS;
    state_init(&f->known);
    state_init(&f->base);
    state_init(&f->fresh);
    timer_init(&f->deadline, on_deadline, f);
    timer_init(&f->renewal, on_renewal, f);
    request_slot_init(&f->slot, &env->slots, flight_on_slot, f);
    f->hold_end_ms = clock_mono_ms() + FLIGHT_HOLDS * env->lease_ms;
    if (state_copy(&f->known, known) != 0) {
        flight_free(f);
        return NULL;
    }
    rand_bytes(f->owner.bytes, sizeof f->owner.bytes);
    timer_set(&f->deadline, 0);
    return f;
}

void flight_not_before(struct flight *f, int64_t at_ms)
{
    int64_t now_ms = clock_mono_ms();
    if (at_ms > now_ms)
        timer_set(&f->deadline, at_ms - now_ms);
}

void flight_free(struct flight *f)
{
    if (!f)
        return;
    timer_stop(&f->deadline);
    timer_stop(&f->renewal);
    store_cancel(f->env->store, f->op);
    fetch_cancel(f->job);
    command_cancel(f->command);
    secret_load_stop(&f->secret_load);
    request_slot_give(&f->slot);
    grant_request_done(&f->request);
    secret_done(&f->spent);
    state_done(&f->known);
    state_done(&f->base);
    state_done(&f->fresh);
    free(f);
}

void flight_join(struct flight *f, const struct schedule_need *need)
{
    schedule_need_merge(&f->need, need);
}

void flight_wake(struct flight *f)
{
    if (f->state == FLIGHT_BUSY || f->state == FLIGHT_RECOVER_WAIT)
        timer_set(&f->deadline, 0);
}

void flight_drain(struct flight *f)
{
    f->draining = true;
    if (f->state == FLIGHT_NEW || f->state == FLIGHT_BUSY || f->state == FLIGHT_STORE_WAIT
        || f->state == FLIGHT_DEGRADED
        /* a program spends nothing: it is not waited for */
        || f->state == FLIGHT_RECOVER_WAIT || f->state == FLIGHT_PAUSE || f->state == FLIGHT_SEED
        || f->state == FLIGHT_SLOT || f->state == FLIGHT_SECRETS || f->command)
        timer_set(&f->deadline, 0);
}

void flight_look(struct flight *f)
{
    f->look = f->spec->refresh_token.kind != SECRET_REF_NONE && grant_of(f->spec->grant)->spends_refresh_token;
    f->result.looked = !f->look;
}

void flight_probe(struct flight *f)
{
    f->probe = true;
}

void flight_hold(struct flight *f, int64_t until_ms)
{
    f->throttled_ms = until_ms > f->throttled_ms ? until_ms : f->throttled_ms;
    if (f->state == FLIGHT_SLOT)
        timer_set(&f->deadline, 0);
}

void flight_reset(struct flight *f)
{
    f->reset = f->probe = true;
    flight_look(f);
}

void flight_count_refusals(struct flight *f, struct refusals *refusals)
{
    f->refusals = refusals;
}

static enum step done(struct flight *f)
{
    timer_stop(&f->deadline);
    timer_stop(&f->renewal);
    f->result.requested = f->asked > 0;
    f->hooks.on_end(f->hooks.arg, &f->result);
    return STEP_WAIT;
}

/* ---- the lease ---- */

int flight_adopt_state(struct flight *f, const struct state *stored)
{
    if (state_copy(&f->base, stored) != 0)
        return -1;
    if (stored->generation <= f->known.generation)
        return 0;
    /* a note about the refresh token is no new access token */
    if (schedule_need_forced(&f->need) && f->need.rejected >= f->known.generation
        && stored->obtained_wall_ms == f->known.obtained_wall_ms
        && slice_eq_secret(secret_peek(&stored->access_token), secret_peek(&f->known.access_token)))
        f->need.rejected = stored->generation;
    if (state_copy(&f->known, stored) != 0)
        return -1;
    if (f->spec->grant != GRANT_STATIC) /* there the store holds no token: it comes with the secret */
        f->hooks.on_state(f->hooks.arg, stored);
    return 0;
}

void flight_state_changed(struct flight *f, const struct state *stored)
{
    if (stored->generation <= f->known.generation)
        return;
    f->learned = true;
    if (state_copy(&f->known, stored) != 0)
        log_warn(log_msg("newer state not taken"), log_str("credential", f->spec->name),
                 log_str("reason", "out of memory"));
}

void flight_expire_generation(struct flight *f, uint64_t generation)
{
    f->outlived = generation > f->outlived ? generation : f->outlived;
}

bool flight_needed(const struct flight *f, const struct state *s)
{
    if (f->outlived && s->generation <= f->outlived)
        return true;
    const struct schedule_life life = { s->obtained_wall_ms, s->expires_wall_ms, s->refresh_in_ms,
                                        s->refresh_expires_wall_ms };
    int64_t now_ms = clock_mono_ms();
    struct schedule_times t =
        schedule_times(&life, f->env->jitter, now_ms, clock_wall_ms() + token_clock_skew_ms(f->clock));
    return schedule_needs(&t, !secret_empty(&s->access_token), s->generation, &f->need, now_ms);
}

static enum step start(struct flight *f)
{
    return flight_enter(f, FLIGHT_BEGIN);
}

static enum step begin(struct flight *f)
{
    if (f->draining)
        return flight_end_as(f, FLIGHT_SKIPPED, "draining");
    /* A static secret and a configured token are compared under the lease, and a replay commits what is ours: they need
     * WON, not FRESH. */
    uint64_t known =
        f->replay || f->look || f->reset || f->spec->grant == GRANT_STATIC ? UINT64_MAX : f->known.generation;
    f->lease_end_ms = clock_mono_ms() + f->env->lease_ms; /* counted from before the question: never too long */
    return flight_op(
        f, store_begin(f->env->store, f->spec->name, &f->owner, f->env->lease_ms, known, flight_store_answer, f));
}

static enum step lock_error(struct flight *f, const char *why)
{
    flight_note(f, FLIGHT_LOCK_DEGRADED, f->known.generation, why);
    switch (f->env->on_lock_error) {
    case ON_LOCK_ERROR_PROCEED: return flight_enter(f, FLIGHT_DEGRADED);
    case ON_LOCK_ERROR_WAIT: return flight_enter(f, FLIGHT_STORE_WAIT);
    case ON_LOCK_ERROR_FAIL: break;
    }
    return flight_fail(f, MSG_STORE, "the store cannot give a lease");
}

void flight_note_throttle(struct flight *f, const struct store_answer *answer)
{
    if (answer->throttled_ms > 0)
        f->throttled_ms = clock_mono_ms() + answer->throttled_ms;
}

static enum step begun(struct flight *f, const struct store_answer *answer)
{
    f->hooks.on_lease(f->hooks.arg, answer->result);
    switch (answer->result) {
    case STORE_FRESH:
        if (flight_adopt_state(f, answer->state) != 0)
            return flight_fail(f, MSG_TRANSIENT, "out of memory");
        if (!flight_needed(f, &f->base))
            return flight_end_as(f, FLIGHT_ADOPTED, "somebody else was first");
        return flight_enter(f, FLIGHT_BEGIN); /* newer, and yet not enough: from here on it is the one that we know */
    case STORE_WON:
        f->leased = true;
        flight_note_throttle(f, answer);
        if (flight_adopt_state(f, answer->state) != 0)
            return flight_fail(f, MSG_TRANSIENT, "out of memory");
        return flight_enter(f, FLIGHT_CHECK);
    case STORE_BUSY:
        if (f->need.background)
            return flight_end_as(f, FLIGHT_SKIPPED, "held elsewhere");
        f->pause_ms = answer->ttl_ms > 0 ? answer->ttl_ms : FLIGHT_POLL_LAST_MS;
        return flight_enter(f, FLIGHT_BUSY);
    default: return lock_error(f, answer->error);
    }
}

/* Sleeps until the next look at somebody else's work: 100, 200, 400, 400 … ms; at once when the lease runs out sooner.
 */
static enum step sleep_poll(struct flight *f, int64_t at_most_ms)
{
    int64_t pause_ms = f->poll_ms < at_most_ms ? f->poll_ms : at_most_ms;
    f->poll_ms = f->poll_ms * 2 < FLIGHT_POLL_LAST_MS ? f->poll_ms * 2 : FLIGHT_POLL_LAST_MS;
    timer_set(&f->deadline, pause_ms);
    return STEP_WAIT;
}

static enum step busy(struct flight *f)
{
    return sleep_poll(f, f->pause_ms);
}

static enum step store_wait(struct flight *f)
{
    return sleep_poll(f, FLIGHT_POLL_LAST_MS);
}

static enum step ask_again(struct flight *f)
{
    if (clock_mono_ms() >= f->hold_end_ms)
        return f->state == FLIGHT_BUSY
                   ? flight_fail(f, MSG_TRANSIENT, "another replica has held the lease for too long")
                   : flight_fail(f, MSG_STORE, "the store cannot give a lease");
    return flight_enter(f, FLIGHT_BEGIN);
}

static enum step degraded(struct flight *f)
{
    timer_set(&f->deadline, (int64_t)rand_below(DEGRADED_MS));
    return STEP_WAIT;
}

static enum step proceed(struct flight *f)
{
    if (f->draining)
        return flight_end_as(f, FLIGHT_SKIPPED, "draining");
    return flight_enter(f, FLIGHT_LOAD);
}

static enum step load(struct flight *f)
{
    return flight_op(f, store_load(f->env->store, f->spec->name, flight_store_answer, f));
}

bool flight_rotates(const struct flight *f)
{
    char fp[9];
    return strcmp(seal_fingerprint(f->env->ring, secret_peek(&f->known.refresh_token), fp), f->known.refresh_fp) != 0;
}

static enum step loaded(struct flight *f, const struct store_answer *answer)
{
    if (answer->result == STORE_OK) {
        flight_note_throttle(f, answer);
        if (flight_adopt_state(f, answer->state) != 0)
            return flight_fail(f, MSG_TRANSIENT, "out of memory");
        return flight_enter(f, FLIGHT_CHECK);
    }
    flight_note(f, FLIGHT_REREAD_FAILED, f->known.generation, answer->error);
    f->look = f->reset = f->probe = false; /* another time */
    if (!flight_needed(f, &f->known))
        return flight_end_as(f, FLIGHT_ADOPTED, "somebody else was first");
    /* A copy may be old, and an old refresh token that is spent looks like theft: ours goes out only when the server is
     * known not to rotate (rule 2.8). */
    if (grant_of(f->spec->grant)->spends_refresh_token && flight_rotates(f))
        return flight_fail(f, MSG_STORE, "the stored state cannot be read");
    if (state_copy(&f->base, &f->known) != 0)
        return flight_fail(f, MSG_TRANSIENT, "out of memory");
    return flight_enter(f, FLIGHT_CHECK);
}

static enum step release(struct flight *f)
{
    flight_stop_renewal(f);
    if (!f->leased && !f->marked) /* a lost lease has nothing to release, but others wait for our intent */
        return flight_enter(f, FLIGHT_DONE);
    f->leased = f->marked = false;
    return flight_op(f, store_release(f->env->store, f->spec->name, &f->owner, flight_store_answer, f));
}

static enum step released(struct flight *f, const struct store_answer *answer)
{
    if (answer->result == STORE_ERROR)
        flight_note(f, FLIGHT_RELEASE_FAILED, f->known.generation, answer->error);
    return flight_enter(f, FLIGHT_DONE);
}
