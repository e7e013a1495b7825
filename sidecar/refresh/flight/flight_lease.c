/* The lease: asked for, waited for, renewed while it is needed, given back. */
#include "refresh/flight/flight_private.h"

#include "base/clock.h"
#include "base/rand.h"

#define DEGRADED_MS 2000 /* 0–2 s at random: replicas that lose their store together do not ask together */

enum flight_step flight_begin(struct flight *f)
{
    if (f->order.draining)
        return flight_end_as(f, FLIGHT_SKIPPED, "draining");
    /* A static secret and a configured token are compared under the lease, and a replay commits what is ours: they need
     * WON, not FRESH. */
    uint64_t known = f->order.replay || f->order.look || f->order.reset || f->spec->grant == GRANT_STATIC
                         ? UINT64_MAX
                         : f->known.generation;
    f->lease.end_ms = clock_mono_ms() + f->env->lease_ms; /* counted from before the question: never too long */
    return flight_op(
        f, store_begin(f->env->store, f->spec->name, &f->lease.owner, f->env->lease_ms, known, flight_store_answer, f));
}

static enum flight_step lock_error(struct flight *f, const char *why)
{
    flight_note(f, FLIGHT_LOCK_DEGRADED, f->known.generation, why);
    switch (f->env->on_lock_error) {
    case ON_LOCK_ERROR_PROCEED: return flight_enter(f, FLIGHT_DEGRADED);
    case ON_LOCK_ERROR_WAIT: return flight_enter(f, FLIGHT_STORE_WAIT);
    case ON_LOCK_ERROR_FAIL: break;
    }
    return flight_fail(f, MSG_STORE, "the store cannot give a lease");
}

enum flight_step flight_begun(struct flight *f, const struct store_answer *answer)
{
    f->hooks.on_lease(f->hooks.arg, answer->result);
    switch (answer->result) {
    case STORE_FRESH:
        if (flight_adopt_state(f, answer->state) != 0)
            return flight_fail(f, MSG_TRANSIENT, "out of memory");
        if (!flight_needed(f, &f->base))
            return flight_end_as(f, FLIGHT_ADOPTED, "another replica refreshed first");
        return flight_enter(f, FLIGHT_BEGIN); /* newer, and yet not enough: from here on it is the one that we know */
    case STORE_WON:
        f->lease.held = true;
        flight_note_throttle(f, answer);
        if (flight_adopt_state(f, answer->state) != 0)
            return flight_fail(f, MSG_TRANSIENT, "out of memory");
        return flight_enter(f, FLIGHT_CHECK);
    case STORE_BUSY:
        if (f->need.background)
            return flight_end_as(f, FLIGHT_SKIPPED, "another replica holds the lease");
        f->pause_ms = answer->ttl_ms > 0 ? answer->ttl_ms : FLIGHT_POLL_LAST_MS;
        return flight_enter(f, FLIGHT_BUSY);
    default: return lock_error(f, answer->error);
    }
}

/* Sleeps until the next look at somebody else's work: 100, 200, 400, 400 … ms; at once when the lease runs out sooner.
 */
static enum flight_step sleep_poll(struct flight *f, int64_t at_most_ms)
{
    int64_t pause_ms = f->poll_ms < at_most_ms ? f->poll_ms : at_most_ms;
    f->poll_ms = f->poll_ms * 2 < FLIGHT_POLL_LAST_MS ? f->poll_ms * 2 : FLIGHT_POLL_LAST_MS;
    timer_set(&f->deadline, pause_ms);
    return STEP_WAIT;
}

enum flight_step flight_busy(struct flight *f)
{
    return sleep_poll(f, f->pause_ms);
}

enum flight_step flight_store_wait(struct flight *f)
{
    return sleep_poll(f, FLIGHT_POLL_LAST_MS);
}

enum flight_step flight_ask_again(struct flight *f)
{
    if (clock_mono_ms() >= f->lease.hold_end_ms)
        return f->state == FLIGHT_BUSY
                   ? flight_fail(f, MSG_TRANSIENT, "another replica has held the lease for too long")
                   : flight_fail(f, MSG_STORE, "the store cannot give a lease");
    return flight_enter(f, FLIGHT_BEGIN);
}

enum flight_step flight_degraded(struct flight *f)
{
    timer_set(&f->deadline, (int64_t)rand_below(DEGRADED_MS));
    return STEP_WAIT;
}

enum flight_step flight_proceed(struct flight *f)
{
    if (f->order.draining)
        return flight_end_as(f, FLIGHT_SKIPPED, "draining");
    return flight_enter(f, FLIGHT_LOAD);
}

enum flight_step flight_load(struct flight *f)
{
    return flight_op(f, store_load(f->env->store, f->spec->name, flight_store_answer, f));
}

enum flight_step flight_loaded(struct flight *f, const struct store_answer *answer)
{
    if (answer->result == STORE_OK) {
        flight_note_throttle(f, answer);
        if (flight_adopt_state(f, answer->state) != 0)
            return flight_fail(f, MSG_TRANSIENT, "out of memory");
        return flight_enter(f, FLIGHT_CHECK);
    }
    flight_note(f, FLIGHT_REREAD_FAILED, f->known.generation, answer->error);
    f->order.look = f->order.reset = f->order.probe = false; /* another time */
    if (!flight_needed(f, &f->known))
        return flight_end_as(f, FLIGHT_ADOPTED, "another replica refreshed first");
    /* A copy may be old, and an old refresh token that is spent looks like theft: ours goes out only when the server is
     * known not to rotate (rule 2.8). */
    if (grant_of(f->spec->grant)->spends_refresh_token && flight_rotates(f))
        return flight_fail(f, MSG_STORE, "the stored state cannot be read");
    if (state_copy(&f->base, &f->known) != 0)
        return flight_fail(f, MSG_TRANSIENT, "out of memory");
    return flight_enter(f, FLIGHT_CHECK);
}

/* ---- kept while a request is out, and while the store does not take its answer ---- */

void flight_stop_renewal(struct flight *f)
{
    timer_stop(&f->lease.renewal);
    if (f->lease.renewing) {
        store_cancel(f->env->store, f->op);
        f->op = NULL;
        f->lease.renewing = false;
    }
}

void flight_renew(void *arg)
{
    struct flight *f = arg;
    int64_t now_ms = clock_mono_ms();
    if (!f->lease.held || f->op || now_ms >= f->lease.hold_end_ms)
        return;
    f->lease.renewing = true;
    f->lease.renewal_end_ms = now_ms + f->env->lease_ms;
    f->op = store_renew(f->env->store, f->spec->name, &f->lease.owner, f->env->lease_ms, flight_store_answer, f);
    if (!f->op) {
        f->lease.renewing = false;
        timer_set(&f->lease.renewal, f->env->lease_ms / 6);
    }
}

enum flight_step flight_renewed(struct flight *f, const struct store_answer *answer)
{
    f->lease.renewing = false;
    if (answer->result == STORE_OK)
        f->lease.end_ms = f->lease.renewal_end_ms;
    if (answer->result == STORE_LOST) {
        /* The request goes on: its answer may be the only child of the token, and the commit will tell whether the
         * parent still stands (rule 2.5b). */
        f->lease.held = false;
        f->lease.lost = true;
        f->hooks.on_lease(f->hooks.arg, STORE_LOST);
        flight_note(f, FLIGHT_LEASE_LOST, f->base.generation, "it expired, or the store lost it");
    } else
        timer_set(&f->lease.renewal, answer->result == STORE_OK ? f->env->lease_ms / 3 : f->env->lease_ms / 6);
    return STEP_WAIT;
}

void flight_renew_in_time(struct flight *f)
{
    int64_t due_ms = f->lease.end_ms - f->env->lease_ms * 2 / 3 - clock_mono_ms();
    if (f->lease.held)
        timer_set(&f->lease.renewal, due_ms > 0 ? due_ms : 0);
}

/* ---- given back ---- */

enum flight_step flight_release(struct flight *f)
{
    flight_stop_renewal(f);
    if (!f->lease.held && !f->intent.marked) /* a lost lease has nothing to release, but others wait for our intent */
        return flight_enter(f, FLIGHT_DONE);
    f->lease.held = f->intent.marked = false;
    return flight_op(f, store_release(f->env->store, f->spec->name, &f->lease.owner, flight_store_answer, f));
}

enum flight_step flight_released(struct flight *f, const struct store_answer *answer)
{
    if (answer->result == STORE_ERROR)
        flight_note(f, FLIGHT_RELEASE_FAILED, f->known.generation, answer->error);
    return flight_enter(f, FLIGHT_DONE);
}
