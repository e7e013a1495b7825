/* The token request of a flight: the last check before it, the journal, the request itself, and the first look at its
 * outcome. */
#include "refresh/flight/flight_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "refresh/flight/classify.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLOCK_OFF_MS                                                                                                   \
    30000 /* an assertion whose times are off by more than this was refused for them; iat has 60 s to spare */
#define LATE_MS 5000 /* the fetch keeps the request's own deadline; this is for the day when it does not */

/* ---- check: is it still needed, and what does the journal know ---- */

static bool other_keeper_lives(int64_t pid)
{
    return pid > 0 && pid != getpid() && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

/* An answer that never reached the store is worth more than any request: it goes there now. */
static bool take_journalled(struct flight *f, struct journal_entry *entry)
{
    /* it did reach the store, or has lost against a newer one */
    if (entry->parent_gen < f->base.generation && !flight_overrules(&entry->state, &f->base)) {
        flight_clear_journal(f);
        return false;
    }
    if (state_copy(&f->fresh, &entry->state) != 0)
        return false;
    f->fresh.generation = f->base.generation + 1;
    log_info(log_msg("answer taken from the journal"), log_str("credential", f->spec->name),
             log_int("generation", (int64_t)f->fresh.generation));
    f->hooks.on_state(f->hooks.arg, &f->fresh);
    return true;
}

enum past { PAST_NOTHING, PAST_ANSWER, PAST_UNDER_WAY, PAST_UNREADABLE };

/* An intent's name in the store: what its journal knows of it. */
static void name_mark(int64_t pid, int64_t at_ms, char mark[48])
{
    snprintf(mark, 48, "%" PRId64 ".%" PRId64, pid, at_ms);
}

/* An older intent says that an answer may have been lost, or, when its keeper lives and it is young, that one may still
 * come. */
static enum past weigh_intent(struct flight *f, const struct journal_entry *entry)
{
    if (entry->parent_gen != f->base.generation)
        return PAST_NOTHING;
    int64_t age_ms = clock_mono_ms() - entry->at_ms; /* below 0: another boot's */
    if (other_keeper_lives(entry->pid) && age_ms >= 0 && age_ms < FLIGHT_HOLDS * f->env->lease_ms)
        return PAST_UNDER_WAY;
    f->outcome_unknown = true;
    memcpy(f->spent_fp, entry->refresh_fp, sizeof f->spent_fp);
    name_mark(entry->pid, entry->at_ms, f->past_mark);
    return PAST_NOTHING;
}

static enum past ask_journal(struct flight *f)
{
    struct journal_entry entry;
    struct err e;
    enum past past = PAST_NOTHING;
    int failed = journal_read(f->env->journal, f->spec->name, &entry, &e);
    if (failed)
        log_warn(log_msg("journal unreadable"), log_str("credential", f->spec->name), log_str("reason", e.text));
    if (failed == -EBADMSG || failed == -ENOKEY) /* put aside: what it knew of is told by the next read */
        failed = journal_read(f->env->journal, f->spec->name, &entry, &e);
    if (failed)
        return PAST_UNREADABLE;
    if (entry.kind == JOURNAL_ANSWER)
        past = take_journalled(f, &entry) ? PAST_ANSWER : PAST_NOTHING;
    else if (entry.kind == JOURNAL_INTENT)
        past = weigh_intent(f, &entry);
    else if (entry.kind == JOURNAL_LOST)
        flight_note_lost(f, &entry);
    journal_entry_done(&entry);
    return past;
}

enum step flight_check(struct flight *f)
{
    if (f->spec->grant == GRANT_STATIC)
        return flight_enter(f, FLIGHT_SEED);
    /* The store has forgotten what we know (a failover, a restored disk): its refresh token is an old one and must not
     * come back from the dead. The parent for the compare-and-swap stays what is stored. */
    if (f->base.generation < f->known.generation && f->learned) { /* no: what it told us is only older than the news */
        f->learned = false;
        return flight_enter(f, FLIGHT_LOAD);
    }
    if (f->base.generation < f->known.generation) {
        uint64_t stored = f->base.generation;
        log_warn(log_msg("the store has lost a write"), log_str("credential", f->spec->name),
                 log_int("generation", (int64_t)f->known.generation));
        if (state_copy(&f->base, &f->known) != 0)
            return flight_fail(f, MSG_TRANSIENT, "out of memory");
        f->base.generation = stored;
    }
    enum past past = grant_of(f->spec->grant)->spends_refresh_token ? ask_journal(f) : PAST_NOTHING;
    enum step step;
    if (past == PAST_ANSWER)
        return flight_enter(f, FLIGHT_COMMIT);
    if (past == PAST_NOTHING && grant_of(f->spec->grant)->spends_refresh_token && flight_reread(f, &step))
        return step;
    if (f->replay || (!f->look && !f->reset && !flight_needed(f, &f->base)))
        return flight_end_as(f, FLIGHT_ADOPTED, "fresh already");
    if (f->draining)
        return flight_end_as(f, FLIGHT_SKIPPED, "draining");
    if (f->reset)
        return flight_enter(f, FLIGHT_AMEND);
    /* a keeper that was stopped for longer than its lease: spending the token again would look like theft */
    if (past == PAST_UNREADABLE)
        return flight_fail(f, MSG_STORE, "the journal cannot be read: the refresh token is not spent");
    if (past == PAST_UNDER_WAY)
        return flight_fail(f, MSG_TRANSIENT, "another keeper's request for the same refresh token is under way");
    if (clock_mono_ms() < f->throttled_ms)
        return flight_fail_throttled(f);
    return grant_of(f->spec->grant)->spends_refresh_token ? flight_choose_token(f) : flight_enter(f, FLIGHT_SLOT);
}

/* ---- intent ---- */

static int64_t time_for_request(const struct flight *f)
{
    int64_t left_ms = f->lease_end_ms - clock_mono_ms() - FLIGHT_MARGIN_MS;
    return !f->leased || left_ms > f->env->request_timeout_ms ? f->env->request_timeout_ms : left_ms;
}

/* Nothing was spent: the intent goes, unless an earlier one for the same token is still open. */
static void drop_intent(struct flight *f)
{
    if (grant_of(f->spec->grant)->spends_refresh_token && !f->outcome_unknown)
        flight_clear_journal(f);
}

enum step flight_intent(struct flight *f)
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
    seal_fingerprint(f->env->ring, secret_peek(&f->spent), fp);
    /* An older intent counts only when it was for this very token. */
    f->outcome_unknown = f->outcome_unknown && strcmp(fp, f->spent_fp) == 0;
    memcpy(f->spent_fp, fp, sizeof fp);
    if (flight_lost_forbids(f, fp, flight_rotates(f))) {
        grant_request_done(&f->request);
        return flight_enter(f, FLIGHT_MARK_DEAD);
    }
    f->marked_ms = clock_mono_ms();
    name_mark(getpid(), f->marked_ms, f->mark);
    int failed = journal_intent(f->env->journal, f->spec->name, f->base.generation, fp, f->marked_ms);
    if (failed) {
        flight_journal_failed(f, "the refresh token is not spent", failed);
        return flight_fail(f, MSG_STORE, "the journal cannot be written: the refresh token is not spent");
    }
    return flight_enter(f, FLIGHT_CONFIRM);
}

/* Somebody who lost the lease may have stored its answer, and cleared its journal, after our read of the one and before
 * our look at the other. And machines that do not see our journal see our intent in the store, as we see theirs. */
enum step flight_confirm(struct flight *f)
{
    const struct store_intent intent = { f->spent_fp, f->mark, f->past_mark[0] ? f->past_mark : NULL,
                                         FLIGHT_HOLDS * f->env->lease_ms };
    f->marked = f->env->store->engine->mark != NULL;
    return flight_op(
        f, store_mark(f->env->store, f->spec->name, &f->owner, f->base.generation, &intent, flight_store_answer, f));
}

enum step flight_confirmed(struct flight *f, const struct store_answer *answer)
{
    if (f->draining) {
        drop_intent(f);
        return flight_end_as(f, FLIGHT_SKIPPED, "draining");
    }
    flight_note_throttle(f, answer);
    if (answer->result == STORE_OK && clock_mono_ms() < f->throttled_ms) {
        drop_intent(f);
        return flight_fail_throttled(f);
    }
    if (answer->result == STORE_OK && answer->state->generation == f->base.generation)
        return flight_enter(f, FLIGHT_FETCH);
    if (answer->result != STORE_OK && !f->leased && !flight_rotates(f))
        return flight_enter(f, FLIGHT_FETCH);
    drop_intent(f);
    grant_request_done(&f->request);
    if (answer->result == STORE_BUSY)
        return flight_fail(f, MSG_TRANSIENT, "another keeper's request for the same refresh token is under way");
    if (answer->result != STORE_OK)
        return flight_fail(f, MSG_STORE, "the stored state cannot be read");
    f->alt_tried = f->seeded = f->seed_looked = f->learned = false;
    return flight_adopt_state(f, answer->state) == 0 ? flight_enter(f, FLIGHT_CHECK)
                                                     : flight_fail(f, MSG_TRANSIENT, "out of memory");
}

/* ---- the request ---- */

/* The configured token was refused while the stored one lives: that one is what counts. */
static bool seed_was_judged(const struct flight *f, enum msg_class failure, bool counts)
{
    return f->seeded && !secret_empty(&f->base.refresh_token) && (failure == MSG_DEAD || counts);
}

static enum step judge(struct flight *f, enum msg_class failure, bool counts, const char *text)
{
    bool spends = grant_of(f->spec->grant)->spends_refresh_token;
    snprintf(f->text, sizeof f->text, "%s", text);
    f->result.failure = failure;
    if (spends && failure == MSG_AMBIGUOUS && !f->outcome_unknown)
        snprintf(f->first, sizeof f->first, "%s", text); /* the second try's reason is only what follows from it */
    if (spends && failure == MSG_AMBIGUOUS)
        f->outcome_unknown = true;
    if (seed_was_judged(f, failure, counts) && failure != MSG_AMBIGUOUS)
        f->result.failure = MSG_DEAD;
    if (spends && (f->result.failure == MSG_AMBIGUOUS || f->result.failure == MSG_DEAD))
        return flight_enter(f, FLIGHT_RECOVER);
    drop_intent(f);
    return failure == MSG_THROTTLE ? flight_enter(f, FLIGHT_THROTTLE) : flight_end_as(f, FLIGHT_FAILED, f->text);
}

/* Google's second step: the first token is the right to ask for the one that is wanted. */
static enum step impersonate(struct flight *f, const struct grant_answer *answer)
{
    struct err e;
    if (grant_build_impersonation(f->spec, secret_peek(&answer->access_token), &f->request, &e) != 0)
        return flight_fail(f, MSG_TRANSIENT, e.text);
    f->impersonating = true;
    return flight_enter(f, FLIGHT_SLOT);
}

/* Refused, and the times in the assertion were not the server's: one more with its time (rule 3.3a). */
static bool clock_was_off(struct flight *f, const struct fetch_answer *a)
{
    return (a->status == 400 || a->status == 401) && grant_signs(f->spec) && !f->impersonating && !f->signed_again
           && !f->draining && llabs(token_clock_skew_ms(f->clock) - f->signed_skew_ms) >= CLOCK_OFF_MS;
}

static enum step sign_again(struct flight *f)
{
    log_warn(log_msg("clock is off: the assertion is signed again"), log_str("credential", f->spec->name),
             log_int("skew_ms", token_clock_skew_ms(f->clock)));
    f->signed_again = true;
    return flight_enter(f, FLIGHT_SLOT);
}

/* A refusal that nobody knows: so many of them are a verdict. */
static enum msg_class count_refusal(struct flight *f, const struct classify_verdict *v, bool page)
{
    return v->counts && f->refusals && refusals_add(f->refusals, f->spent_fp, page, clock_mono_ms()) ? MSG_DEAD
                                                                                                     : v->failure;
}

static enum step refused(struct flight *f, const struct fetch_answer *a, struct grant_answer *answer, char *why)
{
    char text[sizeof f->text];
    f->result.retry_after_ms = classify_retry_after_ms(a->retry_after, a->date_s, clock_wall_ms() / 1000);
    struct classify_input in = { .sent = a->sent,
                                 .status = a->status,
                                 .code = slice_str(answer->code),
                                 .said = slice_str(answer->said),
                                 .html = answer->html,
                                 .retry_after = f->result.retry_after_ms > 0,
                                 .spends_token = grant_of(f->spec->grant)->spends_refresh_token };
    if (clock_was_off(f, a))
        return sign_again(f);
    struct classify_verdict v = classify(&in);
    f->foreign = v.reused && !f->outcome_unknown;
    f->look_again = v.look_again;
    /* told to come later by a server that may have acted before it said so */
    f->outcome_unknown =
        f->outcome_unknown || (in.spends_token && v.failure == MSG_THROTTLE && (a->status >= 500 || a->status == 408));
    flight_explain(f, a, answer, f->foreign, why, text, sizeof text);
    enum msg_class failure = count_refusal(f, &v, answer->html);
    /* an error that came whole, as a success: the server knows what it did, and we know that it has said no */
    bool known = failure == MSG_AMBIGUOUS && a->status >= 200 && a->status < 300 && in.spends_token;
    return judge(f, known ? MSG_TRANSIENT : failure, v.counts, text);
}

/* The body's end is missing, and so may be what was in it: asked again, the server may say it whole. */
static bool end_is_lost(const struct fetch_answer *a, const struct grant_answer *answer)
{
    return a->cut && !a->capped && !answer->whole;
}

/* A 2xx response to a refresh has an outcome, whatever is in it. */
static enum step look_at_success(struct flight *f, const struct fetch_answer *a, struct grant_answer *answer,
                                 enum grant_result result, char *why)
{
    char text[256];
    if (answer->no_memory) /* what was sealed is read again when there is some */
        return flight_fail(f, MSG_TRANSIENT, "out of memory with the answer in hand");
    flight_explain(f, a, answer, false, why, text, sizeof text);
    if (!secret_empty(&answer->refresh_token) || (result == GRANT_TOKEN && !end_is_lost(a, answer)))
        return flight_keep(f, answer, text);
    if (end_is_lost(a, answer))
        return judge(f, MSG_AMBIGUOUS, false, text);
    if (result == GRANT_ERROR && !answer->refresh_unfit) {
        flight_forget_response(f);
        return refused(f, a, answer, why);
    }
    return flight_not_understood(f, text);
}

static enum step first_look(struct flight *f, const struct fetch_answer *a)
{
    char why[GRANT_WHY_BYTES] = "";
    bool success = a->status >= 200 && a->status < 300, spends = grant_of(f->spec->grant)->spends_refresh_token;
    struct grant_answer answer = { .lifetime_ms = 0 };
    struct fetch_answer heard = *a;
    if (a->status && !f->impersonating) /* the second step has a host of its own */
        token_clock_learn(f->clock, a->date_s, clock_mono_ms() - f->asked_ms);
    if (success && spends)
        flight_seal_response(f, a);
    const struct grant_input in = { a->status, a->body, a->cut, f->impersonating ? NULL : f->spec };
    enum grant_result result = a->status ? grant_parse(&in, &answer, why) : GRANT_BROKEN;
    if (!success && spends && !secret_empty(&answer.refresh_token)) { /* a fault that came after the tokens */
        flight_seal_response(f, a);
        success = true;
    }
    if (!success && end_is_lost(a, &answer))
        heard.status = 0;
    enum step step;
    if (success && spends)
        step = look_at_success(f, a, &answer, result, why);
    else if (!success || result != GRANT_TOKEN)
        step = refused(f, &heard, &answer, why);
    else if (f->spec->impersonate.url && !f->impersonating)
        step = impersonate(f, &answer);
    else
        step = flight_keep(f, &answer, why);
    grant_answer_done(&answer);
    return step;
}

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
        f->result.sent_ms = f->asked_ms;
    flight_drive(f, first_look(f, answer));
}

static void start_fetch(struct flight *f, int64_t timeout_ms, struct err *e)
{
    const struct credential_spec *s = f->spec;
    const struct grant_request *g = &f->request;
    struct fetch_request r = { .url = f->impersonating ? s->impersonate.url : s->token_url,
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

enum step flight_fetch(struct flight *f)
{
    struct err e;
    int64_t timeout_ms = time_for_request(f);
    /* stopped since the last look: the lease may be somebody else's by now */
    if (timeout_ms < 1 || (f->marked && clock_mono_ms() - f->marked_ms > f->env->lease_ms))
        return judge(f, MSG_TRANSIENT, false, "too little of the lease is left for a request");
    if (grant_of(f->spec->grant)->way == GRANT_BY_COMMAND)
        f->command = command_start(f->spec->command, timeout_ms, on_fetched, f, &e);
    else
        start_fetch(f, timeout_ms, &e);
    if (!f->job && !f->command) {
        grant_request_done(&f->request);
        return judge(f, MSG_TRANSIENT, false, e.text);
    }
    f->asked++;
    f->asked_ms = clock_mono_ms();
    timer_set(&f->deadline, timeout_ms + LATE_MS);
    if (f->leased)
        timer_set(&f->renewal, f->env->lease_ms / 3);
    return STEP_WAIT;
}

enum step flight_fetch_late(struct flight *f)
{
    bool stopped = f->command && f->draining;
    f->result.sent_ms = f->asked_ms;
    fetch_cancel(f->job);
    command_cancel(f->command);
    end_request(f);
    if (stopped)
        return flight_end_as(f, FLIGHT_SKIPPED, "draining");
    return judge(f, MSG_AMBIGUOUS, false, "token endpoint: no answer in time");
}

/* ---- keeping the lease while the request is out, and while the store does not take its answer ---- */

void flight_stop_renewal(struct flight *f)
{
    timer_stop(&f->renewal);
    if (f->renewing) {
        store_cancel(f->env->store, f->op);
        f->op = NULL;
        f->renewing = false;
    }
}

void flight_renew(void *arg)
{
    struct flight *f = arg;
    int64_t now_ms = clock_mono_ms();
    if (!f->leased || f->op || now_ms >= f->hold_end_ms)
        return;
    f->renewing = true;
    f->renewal_end_ms = now_ms + f->env->lease_ms;
    f->op = store_renew(f->env->store, f->spec->name, &f->owner, f->env->lease_ms, flight_store_answer, f);
    if (!f->op) {
        f->renewing = false;
        timer_set(&f->renewal, f->env->lease_ms / 6);
    }
}

enum step flight_renewed(struct flight *f, const struct store_answer *answer)
{
    f->renewing = false;
    if (answer->result == STORE_OK)
        f->lease_end_ms = f->renewal_end_ms;
    if (answer->result == STORE_LOST) {
        /* The request goes on: its answer may be the only child of the token, and the commit will tell whether the
         * parent still stands (rule 2.5b). */
        f->leased = false;
        f->lease_lost = true;
        f->hooks.on_lease(f->hooks.arg, STORE_LOST);
        flight_note(f, FLIGHT_LEASE_LOST, f->base.generation, "its time was over, or the store has forgotten it");
    } else
        timer_set(&f->renewal, answer->result == STORE_OK ? f->env->lease_ms / 3 : f->env->lease_ms / 6);
    return STEP_WAIT;
}
