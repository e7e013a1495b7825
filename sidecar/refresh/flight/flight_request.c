/* The token request: its turn, what it is made of, the intent before it, and the request itself. */
#include "refresh/flight/flight_private.h"

#include "base/clock.h"

#include <stdio.h>
#include <unistd.h>

#define LATE_MS 5000 /* the fetch keeps the request's own deadline; this is for the day when it does not */

/* ---- the turn: so many requests are out at once (rule 1.2c) ---- */

static void host_of(const struct flight *f, char *host, size_t size)
{
    const char *url = f->attempt.impersonating ? f->spec->impersonate.url : f->spec->token_url;
    if (grant_of(f->spec->grant)->way == GRANT_BY_COMMAND || !url)
        host[0] = '\0';
    else if (fetch_url_host(url, host, size) != 0)
        snprintf(host, size, "%s", url);
}

static enum flight_step slot_taken(struct flight *f)
{
    flight_stop_renewal(f);
    return flight_enter(f, f->attempt.impersonating ? FLIGHT_FETCH : FLIGHT_SECRETS);
}

enum flight_step flight_slot(struct flight *f)
{
    char host[sizeof f->slot.host];
    host_of(f, host, sizeof host);
    if (request_slot_take(&f->slot, host))
        return slot_taken(f);
    int64_t left_ms = f->lease.hold_end_ms - f->env->lease_ms - clock_mono_ms(); /* the request needs a lease as well */
    timer_set(&f->deadline, left_ms > 0 ? left_ms : 0);
    if (f->lease.held)
        timer_set(&f->lease.renewal, f->env->lease_ms / 3);
    return STEP_WAIT;
}

void flight_on_slot(void *flight)
{
    struct flight *f = flight;
    timer_set(&f->deadline, 0);
}

enum flight_step flight_slot_over(struct flight *f)
{
    if (f->order.draining)
        return flight_end_as(f, FLIGHT_SKIPPED, "draining");
    if (clock_mono_ms() < f->throttled_ms)
        return flight_fail_throttled(f);
    if (f->slot.held)
        return slot_taken(f);
    return flight_fail(f, MSG_TRANSIENT, "too many token requests are in flight");
}

/* Nothing was sent yet: whoever has the lease now may do it, and what they store is what we look at. */
enum flight_step flight_slot_renewed(struct flight *f, const struct store_answer *answer)
{
    if (answer->result != STORE_LOST || f->attempt.asked)
        return flight_renewed(f, answer);
    f->lease.renewing = f->lease.held = false;
    flight_choose_anew(f);
    flight_stop_renewal(f);
    f->hooks.on_lease(f->hooks.arg, STORE_LOST);
    return flight_enter(f, FLIGHT_BEGIN);
}

/* ---- intent ---- */

static int64_t time_for_request(const struct flight *f)
{
    int64_t left_ms = f->lease.end_ms - clock_mono_ms() - FLIGHT_MARGIN_MS;
    return !f->lease.held || left_ms > f->env->request_timeout_ms ? f->env->request_timeout_ms : left_ms;
}

enum flight_step flight_intent(struct flight *f)
{
    struct err e;
    bool spends = grant_of(f->spec->grant)->spends_refresh_token;
    if (flight_build(f, &e) != 0)
        return flight_fail(f, MSG_CONFIG_ERROR, e.text);
    if (time_for_request(f) < FLIGHT_MARGIN_MS)
        return flight_fail(f, MSG_TRANSIENT, "too little of the lease is left for a request");
    if (!spends)
        return flight_enter(f, FLIGHT_FETCH);
    char fp[9];
    seal_fingerprint(f->env->ring, secret_peek(&f->intent.spent), fp);
    /* An older intent counts only when it was for this very token. */
    f->intent.outcome_unknown = f->intent.outcome_unknown && strcmp(fp, f->intent.spent_fp) == 0;
    memcpy(f->intent.spent_fp, fp, sizeof fp);
    if (flight_lost_forbids(f, fp, flight_rotates(f))) {
        grant_request_done(&f->request);
        return flight_enter(f, FLIGHT_MARK_DEAD);
    }
    f->intent.marked_ms = clock_mono_ms();
    flight_name_mark(getpid(), f->intent.marked_ms, f->intent.mark);
    int failed = journal_intent(f->env->journal, f->spec->name, f->base.generation, fp, f->intent.marked_ms);
    if (failed) {
        flight_journal_failed(f, "the refresh token is not sent", failed);
        return flight_fail(f, MSG_STORE, "cannot write the journal: the refresh token is not sent");
    }
    return flight_enter(f, FLIGHT_CONFIRM);
}

/* Somebody who lost the lease may have stored its answer, and cleared its journal, after our read of the one and before
 * our look at the other. And machines that do not see our journal see our intent in the store, as we see theirs. */
enum flight_step flight_confirm(struct flight *f)
{
    const struct store_intent intent = { f->intent.spent_fp, f->intent.mark,
                                         f->intent.past_mark[0] ? f->intent.past_mark : NULL,
                                         FLIGHT_HOLDS * f->env->lease_ms };
    f->intent.marked = f->env->store->engine->mark != NULL;
    return flight_op(f, store_mark(f->env->store, f->spec->name, &f->lease.owner, f->base.generation, &intent,
                                   flight_store_answer, f));
}

enum flight_step flight_confirmed(struct flight *f, const struct store_answer *answer)
{
    if (f->order.draining) {
        flight_drop_intent(f);
        return flight_end_as(f, FLIGHT_SKIPPED, "draining");
    }
    flight_note_throttle(f, answer);
    if (answer->result == STORE_OK && clock_mono_ms() < f->throttled_ms) {
        flight_drop_intent(f);
        return flight_fail_throttled(f);
    }
    if (answer->result == STORE_OK && answer->state->generation == f->base.generation)
        return flight_enter(f, FLIGHT_FETCH);
    if (answer->result != STORE_OK && !f->lease.held && !flight_rotates(f))
        return flight_enter(f, FLIGHT_FETCH);
    flight_drop_intent(f);
    grant_request_done(&f->request);
    if (answer->result == STORE_BUSY)
        return flight_fail(f, MSG_TRANSIENT, "another keeper's request with the same refresh token is in flight");
    if (answer->result != STORE_OK)
        return flight_fail(f, MSG_STORE, "the stored state cannot be read");
    flight_choose_anew(f);
    return flight_adopt_state(f, answer->state) == 0 ? flight_enter(f, FLIGHT_CHECK)
                                                     : flight_fail(f, MSG_TRANSIENT, "out of memory");
}

/* ---- the request ---- */

/* The renewal belongs to the request: its answer must not be taken for the next operation's. */
static void end_request(struct flight *f)
{
    f->job = NULL;
    f->command = NULL;
    flight_stop_renewal(f);
    grant_request_done(&f->request);
}

static void on_fetched(void *arg, const struct fetch_answer *answer)
{
    struct flight *f = arg;
    end_request(f);
    if (answer->sent || answer->status)
        f->result.sent_ms = f->attempt.asked_ms;
    flight_drive(f, flight_outcome(f, answer));
}

static void start_fetch(struct flight *f, int64_t timeout_ms, struct err *e)
{
    const struct credential_spec *s = f->spec;
    const struct grant_request *g = &f->request;
    struct fetch_request r = { .url = f->attempt.impersonating ? s->impersonate.url : s->token_url,
                               .content_type = g->content_type,
                               .authorization = buf_slice(&g->authorization),
                               .body = buf_slice(&g->body),
                               .ca_file = s->ca_file,
                               .cert_file = s->cert_file,
                               .key_file = s->key_file,
                               .timeout_ms = timeout_ms,
                               .fields = g->fields,
                               .field_count = g->field_count,
                               .metadata = s->grant == GRANT_METADATA };
    f->job = fetch_start(f->env->fetch, &r, on_fetched, f, e);
}

enum flight_step flight_fetch(struct flight *f)
{
    struct err e;
    int64_t timeout_ms = time_for_request(f);
    /* stopped since the last look: the lease may be somebody else's by now */
    if (timeout_ms < 1 || (f->intent.marked && clock_mono_ms() - f->intent.marked_ms > f->env->lease_ms))
        return flight_outcome_failed(f, MSG_TRANSIENT, false, "too little of the lease is left for a request");
    if (grant_of(f->spec->grant)->way == GRANT_BY_COMMAND)
        f->command = command_start(f->spec->command, timeout_ms, on_fetched, f, &e);
    else
        start_fetch(f, timeout_ms, &e);
    if (!f->job && !f->command) {
        grant_request_done(&f->request);
        return flight_outcome_failed(f, MSG_TRANSIENT, false, e.text);
    }
    f->attempt.asked++;
    f->attempt.asked_ms = clock_mono_ms();
    timer_set(&f->deadline, timeout_ms + LATE_MS);
    if (f->lease.held)
        timer_set(&f->lease.renewal, f->env->lease_ms / 3);
    return STEP_WAIT;
}

enum flight_step flight_fetch_late(struct flight *f)
{
    bool stopped = f->command && f->order.draining;
    f->result.sent_ms = f->attempt.asked_ms;
    fetch_cancel(f->job);
    command_cancel(f->command);
    end_request(f);
    if (stopped)
        return flight_end_as(f, FLIGHT_SKIPPED, "draining");
    return flight_outcome_failed(f, MSG_AMBIGUOUS, false, "token endpoint: no response in time");
}
