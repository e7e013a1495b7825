/* The table of the states, and what the caller of a flight may do. */
#include "refresh/flight/flight_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"

#include <stdlib.h>

static enum flight_step start(struct flight *f);
static enum flight_step done(struct flight *f);

/* The last column: RECOVER keeps the slot because a request without an answer is repeated at once, while the server
 * still tells a repetition from theft. */
const struct flight_row flight_rows[FLIGHT_STATES] = {
    [FLIGHT_NEW] = { "new", NULL, NULL, start, 0, false },
    [FLIGHT_BEGIN] = { "begin", flight_begin, flight_begun, NULL, FLIGHT_STORE_MS, false },
    [FLIGHT_BUSY] = { "busy", flight_busy, NULL, flight_ask_again, 0, false },
    [FLIGHT_STORE_WAIT] = { "store_wait", flight_store_wait, NULL, flight_ask_again, 0, false },
    [FLIGHT_DEGRADED] = { "degraded", flight_degraded, NULL, flight_proceed, 0, false },
    [FLIGHT_LOAD] = { "load", flight_load, flight_loaded, NULL, FLIGHT_STORE_MS, false },
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
    [FLIGHT_RELEASE] = { "release", flight_release, flight_released, NULL, FLIGHT_STORE_MS, false },
    [FLIGHT_DONE] = { "done", done, NULL, NULL, 0, false },
};

const char *flight_state_name(const struct flight *f)
{
    return flight_rows[f->state].name;
}

/* ---- start and end ---- */

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
    f->order.replay = replay;
    f->hooks = *hooks;
    f->poll_ms = FLIGHT_POLL_FIRST_MS;
    state_init(&f->known);
    state_init(&f->base);
    state_init(&f->fresh);
    timer_init(&f->deadline, flight_on_deadline, f);
    timer_init(&f->lease.renewal, flight_renew, f);
    request_slot_init(&f->slot, &env->slots, flight_on_slot, f);
    f->lease.hold_end_ms = clock_mono_ms() + FLIGHT_HOLDS * env->lease_ms;
    if (state_copy(&f->known, known) != 0) {
        flight_free(f);
        return NULL;
    }
    rand_bytes(f->lease.owner.bytes, sizeof f->lease.owner.bytes);
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
    timer_stop(&f->lease.renewal);
    store_cancel(f->env->store, f->op);
    fetch_cancel(f->job);
    command_cancel(f->command);
    secret_load_stop(&f->secret_load);
    flight_forget_chained(f);
    request_slot_give(&f->slot);
    grant_request_done(&f->request);
    secret_done(&f->intent.spent);
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
    f->order.draining = true;
    if (f->state == FLIGHT_NEW || f->state == FLIGHT_BUSY || f->state == FLIGHT_STORE_WAIT
        || f->state == FLIGHT_DEGRADED
        /* a program spends nothing: it is not waited for */
        || f->state == FLIGHT_RECOVER_WAIT || f->state == FLIGHT_PAUSE || f->state == FLIGHT_SEED
        || f->state == FLIGHT_SLOT || f->state == FLIGHT_SECRETS || f->command)
        timer_set(&f->deadline, 0);
}

void flight_look(struct flight *f)
{
    f->order.look = f->spec->refresh_token.kind != SECRET_REF_NONE && grant_of(f->spec->grant)->spends_refresh_token;
    f->result.looked = !f->order.look;
}

void flight_probe(struct flight *f)
{
    f->order.probe = true;
}

void flight_hold(struct flight *f, int64_t until_ms)
{
    f->throttled_ms = until_ms > f->throttled_ms ? until_ms : f->throttled_ms;
    if (f->state == FLIGHT_SLOT)
        timer_set(&f->deadline, 0);
}

void flight_reset(struct flight *f)
{
    f->order.reset = f->order.probe = true;
    flight_look(f);
}

void flight_count_refusals(struct flight *f, struct refusals *refusals)
{
    f->refusals = refusals;
}

void flight_state_changed(struct flight *f, const struct state *stored)
{
    if (stored->generation <= f->known.generation)
        return;
    f->learned = true;
    if (state_copy(&f->known, stored) != 0)
        log_warn(log_msg("cannot use the newer state"), log_str("credential", f->spec->name),
                 log_str("reason", "out of memory"));
}

void flight_expire_generation(struct flight *f, uint64_t generation)
{
    f->outlived = generation > f->outlived ? generation : f->outlived;
}

static enum flight_step start(struct flight *f)
{
    return flight_enter(f, FLIGHT_BEGIN);
}

static enum flight_step done(struct flight *f)
{
    timer_stop(&f->deadline);
    timer_stop(&f->lease.renewal);
    f->result.requested = f->attempt.asked > 0;
    f->hooks.on_end(f->hooks.arg, &f->result);
    return STEP_WAIT;
}
