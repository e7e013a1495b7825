/* The configured secrets of a flight: the token that it begins with, and those that its request is made of.  None of
 * them is waited for inside the loop. */
#include "refresh/flight/flight_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "refresh/flight/seed.h"

#include <stdio.h>

_Static_assert(CREDENTIAL_REFRESH_TOKEN <= SECRET_LOAD_MAX, "a request's secrets are loaded together");

static enum flight_step spend(struct flight *f, struct slice token)
{
    f->intent.seeded = false;
    if (secret_set(&f->intent.spent, token) != 0)
        return flight_fail(f, MSG_TRANSIENT, "out of memory");
    return flight_enter(f, FLIGHT_SLOT);
}

/* A verdict may be wrong: once an hour, and when something else has changed, the token is tried all the same. */
static bool may_probe(struct flight *f)
{
    if (flight_is_unread(f))
        return false;
    int64_t since_ms = clock_wall_ms() + token_clock_skew_ms(f->clock) - f->base.dead_wall_ms;
    bool due = f->base.dead_wall_ms == 0 || since_ms >= SCHEDULE_DEAD_MS || since_ms < -SCHEDULE_DEAD_MS;
    if (!due)
        f->result.retry_after_ms = SCHEDULE_DEAD_MS - since_ms;
    return f->order.probe || due;
}

/* The way out, where there is a short one. */
static enum flight_step fail_for_person(struct flight *f, enum msg_class failure, const char *what)
{
    if (!credential_spec_has_login(f->spec))
        return flight_fail(f, failure, what);
    char text[sizeof f->text]; /* what may be f's own */
    snprintf(text, sizeof text, "%.170s: run sidekey login %s", what, f->spec->name);
    return flight_fail(f, failure, text);
}

static enum flight_step nothing_left(struct flight *f)
{
    bool stored = !secret_empty(&f->base.refresh_token), seed = f->spec->refresh_token.kind != SECRET_REF_NONE;
    if (!stored && !seed)
        return fail_for_person(f, MSG_CONFIG_ERROR,
                               credential_spec_has_login(f->spec) ? "there was no sign-in yet"
                                                                  : "there is no refresh token");
    if (f->intent.seeded) /* f->text says how it was refused */
        return flight_end_as(f, FLIGHT_FAILED, f->text);
    const char *text = "the configured refresh token was used or refused before";
    if (!seed)
        text = "the refresh token was revoked or has expired";
    else if (stored)
        text = "the refresh token was revoked or has expired, and the configured one is not newer";
    return fail_for_person(f, MSG_DEAD, flight_dead_reason(f, text));
}

/* The stored token; when that is dead, the losing child of a race, then the configured one. */
static enum flight_step choose_stored(struct flight *f)
{
    char fp[9];
    struct slice stored = secret_peek(&f->base.refresh_token), alt = secret_peek(&f->base.alt_refresh);
    if (flight_stored_lives(f) && !flight_needed(f, &f->base))
        return flight_end_as(f, FLIGHT_ADOPTED,
                             f->intent.seeded ? f->text : "the configured refresh token was tried before");
    if (alt.len && !flight_is_dead(f, alt, fp) && flight_is_dead(f, stored, fp)) {
        f->attempt.alt_tried = true;
        return spend(f, alt);
    }
    if (flight_stored_lives(f))
        return spend(f, stored);
    if (f->spec->refresh_token.kind != SECRET_REF_NONE && !f->attempt.seed_looked)
        return flight_enter(f, FLIGHT_SEED);
    if (stored.len && may_probe(f)) {
        f->order.probe = false;
        return spend(f, stored);
    }
    return nothing_left(f);
}

enum flight_step flight_choose_token(struct flight *f)
{
    return f->order.look && !f->attempt.seed_looked ? flight_enter(f, FLIGHT_SEED) : choose_stored(f);
}

static enum flight_step take_seed(struct flight *f)
{
    f->attempt.seed_looked = true;
    if (seed_is_known(f->env->ring, &f->base, secret_peek(&f->intent.spent))) {
        f->order.look = false;
        f->result.looked = true;
        return choose_stored(f);
    }
    f->intent.seeded = true;
    return flight_enter(f, FLIGHT_SLOT);
}

/* grant "static": the secret is the token.  Only its fingerprint is stored, so that its generation outlives the
 * process. */
static enum flight_step take_static(struct flight *f)
{
    char fp[9];
    struct slice token = secret_peek(&f->intent.spent);
    for (size_t i = 0; i < token.len; i++)
        if (token.ptr[i] <= ' ' || token.ptr[i] >= 0x7f || token.len > GRANT_TOKEN_MAX)
            return flight_fail(
                f, MSG_CONFIG_ERROR,
                "the static token contains bytes that are not allowed in a header, or is longer than 16 KiB");
    seal_fingerprint(f->env->ring, token, fp);
    bool same = f->base.generation && strcmp(fp, f->base.refresh_fp) == 0;
    if (state_copy(&f->fresh, &f->base) != 0 || secret_set(&f->fresh.access_token, token) != 0)
        return flight_fail(f, MSG_TRANSIENT, "out of memory");
    f->fresh.generation += !same;
    snprintf(f->fresh.refresh_fp, sizeof f->fresh.refresh_fp, "%s", fp);
    if (!same)
        f->fresh.obtained_wall_ms = clock_wall_ms();
    f->hooks.on_state(f->hooks.arg, &f->fresh);
    secret_done(&f->fresh.access_token);
    if (!same)
        return flight_enter(f, FLIGHT_COMMIT);
    /* asking again would bring the same */
    if (schedule_need_forced(&f->need) && f->need.rejected >= f->fresh.generation)
        return flight_fail(f, MSG_CONFIG_ERROR, "the secret's source still holds the same token");
    return flight_end_as(f, FLIGHT_ADOPTED, "the secret is the same");
}

/* A configured refresh token that cannot be read is no reason to stop while the stored one will do. */
static enum flight_step not_loaded(struct flight *f, const char *error)
{
    if (f->state != FLIGHT_SEED || f->spec->grant == GRANT_STATIC || !flight_stored_lives(f))
        return flight_fail(f, MSG_CONFIG_ERROR, error);
    log_warn(log_msg("cannot read the configured refresh token"), log_str("credential", f->spec->name),
             log_str("reason", error));
    f->attempt.seed_looked = f->result.looked = true;
    f->order.look = false;
    return choose_stored(f);
}

/* What a key is made of is for its reader to judge; all others are sent as they are. */
static int check_bytes(const struct flight *f, struct err *e)
{
    const struct secret_load *g = &f->secret_load;
    for (size_t i = 0; i < g->count; i++)
        if (g->ones[i].ref != &f->spec->assertion.key && g->ones[i].ref != &f->spec->assertion.certificate
            && secret_ref_check_vschar(g->ones[i].ref, secret_load_secret(g, i), e) != 0)
            return -1;
    return 0;
}

static enum flight_step loaded(struct flight *f)
{
    struct err e;
    if (check_bytes(f, &e) != 0) {
        secret_load_stop(&f->secret_load);
        return not_loaded(f, e.text);
    }
    if (f->state == FLIGHT_SECRETS)
        return flight_enter(f, FLIGHT_INTENT);
    int failed = secret_set(&f->intent.spent, secret_load_secret(&f->secret_load, 0));
    secret_load_stop(&f->secret_load);
    if (failed)
        return flight_fail(f, MSG_TRANSIENT, "out of memory");
    return f->spec->grant == GRANT_STATIC ? take_static(f) : take_seed(f);
}

static void on_loaded(void *arg, const char *error)
{
    struct flight *f = arg;
    flight_drive(f, error ? not_loaded(f, error) : loaded(f));
}

static enum flight_step load(struct flight *f, const struct secret_ref *const *refs, size_t count)
{
    struct err e;
    f->secret_load.fetch = f->env->fetch;
    switch (secret_load_start(&f->secret_load, refs, count, on_loaded, f, &e)) {
    case SECRET_LOAD_THERE: return loaded(f);
    case SECRET_LOAD_RUNNING: return f->order.draining ? flight_secrets_late(f) : STEP_WAIT;
    case SECRET_LOAD_FAILED: break;
    }
    return not_loaded(f, e.text);
}

enum flight_step flight_seed(struct flight *f)
{
    const struct secret_ref *const ref = credential_spec_secret_of(
        f->spec, f->spec->grant == GRANT_STATIC ? CREDENTIAL_STATIC_TOKEN : CREDENTIAL_REFRESH_TOKEN);
    return load(f, &ref, 1);
}

void flight_forget_chained(struct flight *f)
{
    for (unsigned i = 0; i < CREDENTIAL_REFRESH_TOKEN; i++)
        secret_done(&f->chained[i]);
}

enum flight_step flight_secrets(struct flight *f)
{
    static const struct secret_ref none = { .kind = SECRET_REF_NONE };
    const struct secret_ref *refs[CREDENTIAL_REFRESH_TOKEN]; /* the secrets before it */
    for (unsigned i = 0; i < CREDENTIAL_REFRESH_TOKEN; i++) {
        refs[i] = credential_spec_secret_of(f->spec, i);
        if (refs[i]->kind != SECRET_REF_CREDENTIAL)
            continue;
        char text[128];
        snprintf(text, sizeof text, "the token of credential %s expired before it could be used", refs[i]->name);
        if (!f->env->chained || !f->env->chained(f->env->chained_arg, refs[i]->name, &f->chained[i]))
            return flight_fail(f, MSG_TRANSIENT, text);
        refs[i] = &none;
    }
    return load(f, refs, CREDENTIAL_REFRESH_TOKEN);
}

/* The programs keep their own time limit; this is for the drain (they spend nothing: they are not waited for), and for
 * the day when they do not. */
enum flight_step flight_secrets_late(struct flight *f)
{
    secret_load_stop(&f->secret_load);
    if (f->order.draining)
        return flight_end_as(f, FLIGHT_SKIPPED, "draining");
    return not_loaded(f, "the command that prints a secret did not end in time");
}

static struct slice secret_of(const struct flight *f, enum credential_secret which)
{
    return secret_empty(&f->chained[which]) ? secret_load_secret(&f->secret_load, which)
                                            : secret_peek(&f->chained[which]);
}

int flight_build(struct flight *f, struct err *e)
{
    grant_request_done(&f->request);
    f->attempt.impersonating = false;
    f->attempt.signed_skew_ms = token_clock_skew_ms(f->clock);
    struct grant_secrets secrets = { .client_secret = secret_of(f, CREDENTIAL_CLIENT_SECRET),
                                     .signing_key = secret_of(f, CREDENTIAL_SIGNING_KEY),
                                     .certificate = secret_of(f, CREDENTIAL_CERTIFICATE),
                                     .assertion = secret_of(f, CREDENTIAL_ASSERTION),
                                     .subject_token = secret_of(f, CREDENTIAL_SUBJECT_TOKEN),
                                     .actor_token = secret_of(f, CREDENTIAL_ACTOR_TOKEN),
                                     .refresh_token = secret_peek(&f->intent.spent),
                                     .now_wall_s = (clock_wall_ms() + token_clock_skew_ms(f->clock)) / 1000 };
    f->attempt.encoded = grant_encodes_client(f->spec, &secrets);
    int failed = grant_of(f->spec->grant)->way == GRANT_BY_COMMAND ? 0 : grant_build(f->spec, &secrets, &f->request, e);
    secret_load_stop(&f->secret_load);
    flight_forget_chained(f);
    return failed;
}
