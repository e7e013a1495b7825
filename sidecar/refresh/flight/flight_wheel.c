/* The wheel: the one writer of the state, deadlines, answers of the store, how a flight ends, what is counted. */
#include "refresh/flight/flight_private.h"

#include "base/log.h"

#include <stdio.h>

enum flight_step flight_enter(struct flight *f, enum flight_state next)
{
    log_debug(log_msg("flight"), log_str("credential", f->spec->name), log_str("from", flight_rows[f->state].name),
              log_str("to", flight_rows[next].name));
    f->state = next;
    timer_stop(&f->deadline);
    if (!flight_rows[next].slot)
        request_slot_give(&f->slot);
    if (flight_rows[next].limit_ms)
        timer_set(&f->deadline, flight_rows[next].limit_ms);
    return STEP_AGAIN;
}

void flight_drive(struct flight *f, enum flight_step step)
{
    while (step == STEP_AGAIN)
        step = flight_rows[f->state].run(f); /* "done" lets the owner free f: nothing may touch it after the loop */
}

void flight_store_answer(void *arg, const struct store_answer *answer)
{
    struct flight *f = arg;
    f->op = NULL;
    flight_drive(f, flight_rows[f->state].answered(f, answer));
}

void flight_on_deadline(void *arg)
{
    struct flight *f = arg;
    if (flight_rows[f->state].late) {
        flight_drive(f, flight_rows[f->state].late(f));
        return;
    }
    store_cancel(f->env->store, f->op);
    flight_store_answer(f, &(struct store_answer){ .result = STORE_ERROR, .error = "no response in time" });
}

enum flight_step flight_op(struct flight *f, struct store_op *op)
{
    f->op = op;
    if (!op)
        timer_set(&f->deadline, 0);
    return STEP_WAIT;
}

enum flight_step flight_end_as(struct flight *f, enum flight_end end, const char *text)
{
    f->result.end = end;
    f->result.text = text;
    return flight_enter(f, FLIGHT_RELEASE);
}

enum flight_step flight_fail_text(struct flight *f, enum msg_class failure)
{
    f->result.failure = failure;
    return flight_end_as(f, FLIGHT_FAILED, f->text);
}

enum flight_step flight_fail(struct flight *f, enum msg_class failure, const char *text)
{
    snprintf(f->text, sizeof f->text, "%s", text);
    return flight_fail_text(f, failure);
}

/* ---- what is worth counting ---- */

static const struct {
    const char *name, *text;
    enum log_level level;
} events[FLIGHT_EVENTS] = {
    [FLIGHT_LOCK_DEGRADED] = { "lock_degraded", "lock degraded: the store cannot give a lease", LOG_WARN },
    [FLIGHT_LEASE_LOST] = { "lease_lost", "the lease was lost while the token request was in flight", LOG_WARN },
    [FLIGHT_REREAD_FAILED] = { "reread_failed", "cannot read the stored state again", LOG_WARN },
    [FLIGHT_RACE_RECOVERED] = { "race_recovered", "race recovered: sidekey uses the token of another replica",
                                LOG_INFO },
    [FLIGHT_PERSIST_FAILED] = { "persist_failed", "persist failed: cannot store the new token", LOG_WARN },
    [FLIGHT_JOURNAL_FAILED] = { "journal_failed", "cannot write the journal", LOG_ERROR },
    [FLIGHT_RELEASE_FAILED] = { "release_failed", "release failed: cannot release the lease", LOG_WARN },
    [FLIGHT_THROTTLE_UNSHARED] = { "throttle_unshared", "cannot store the throttle for other replicas", LOG_WARN },
    [FLIGHT_DOUBLE_SPEND] = { "double_spend", "double_spend: another owner stored its response first", LOG_WARN },
    [FLIGHT_FOREIGN_ROTATION] = { "foreign_rotation", "foreign_rotation: another program has used the refresh token",
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
