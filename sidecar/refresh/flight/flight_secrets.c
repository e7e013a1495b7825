/* The configured secrets of a flight: the token that it begins with, and those that its request is made of.  None of
 * them is waited for inside the loop. */
#include "refresh/flight/flight_private.h"

#include "base/clock.h"

#include <stdio.h>

_Static_assert(CREDENTIAL_REFRESH_TOKEN <= GATHER_MAX, "a request's secrets are loaded together");

bool flight_is_dead(const struct flight *f, struct slice token, char fp[9])
{
    return f->base.dead_fp[0] && strcmp(seal_fingerprint(f->env->ring, token, fp), f->base.dead_fp) == 0;
}

/* What this chain began with is spent long since: a server that counts reuse would take it for theft. */
static enum step take_seed(struct flight *f)
{
    char fp[9];
    if (flight_is_dead(f, secret_peek(&f->spent), fp)
        || strcmp(seal_fingerprint(f->env->ring, secret_peek(&f->spent), fp), f->base.seed_fp) == 0)
        return flight_fail(f, MSG_DEAD,
                           flight_dead_reason(f, "the refresh token is dead, and the configured one is no newer"));
    f->seeded = true;
    return flight_enter(f, FLIGHT_SECRETS);
}

/* grant "static": the secret is the token.  Only its fingerprint is stored, so that its generation outlives the
 * process. */
static enum step take_static(struct flight *f)
{
    char fp[9];
    struct slice token = secret_peek(&f->spent);
    for (size_t i = 0; i < token.len; i++)
        if (token.ptr[i] <= ' ' || token.ptr[i] >= 0x7f || token.len > GRANT_TOKEN_MAX)
            return flight_fail(f, MSG_CONFIG_ERROR,
                               "the static token holds bytes that no header may carry, or is longer than 16 KiB");
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

static enum step gathered(struct flight *f)
{
    if (f->state == FLIGHT_SECRETS)
        return flight_enter(f, FLIGHT_INTENT);
    int failed = secret_set(&f->spent, secret_load_secret(&f->secret_load, 0));
    secret_load_stop(&f->secret_load);
    if (failed)
        return flight_fail(f, MSG_TRANSIENT, "out of memory");
    return f->spec->grant == GRANT_STATIC ? take_static(f) : take_seed(f);
}

static void on_gathered(void *arg, const char *error)
{
    struct flight *f = arg;
    flight_drive(f, error ? flight_fail(f, MSG_CONFIG_ERROR, error) : gathered(f));
}

static enum step secret_load(struct flight *f, const struct secret_ref *const *refs, size_t count)
{
    struct err e;
    switch (secret_load_start(&f->secret_load, refs, count, on_gathered, f, &e)) {
    case GATHER_THERE: return gathered(f);
    case GATHER_RUNNING: return f->draining ? flight_secrets_late(f) : STEP_WAIT;
    case GATHER_FAILED: break;
    }
    return flight_fail(f, MSG_CONFIG_ERROR, e.text);
}

enum step flight_seed(struct flight *f)
{
    const struct secret_ref *const ref = credential_spec_secret_of(
        f->spec, f->spec->grant == GRANT_STATIC ? CREDENTIAL_STATIC_TOKEN : CREDENTIAL_REFRESH_TOKEN);
    return secret_load(f, &ref, 1);
}

enum step flight_secrets(struct flight *f)
{
    const struct secret_ref *refs[CREDENTIAL_REFRESH_TOKEN]; /* the secrets before it */
    for (unsigned i = 0; i < CREDENTIAL_REFRESH_TOKEN; i++)
        refs[i] = credential_spec_secret_of(f->spec, i);
    return secret_load(f, refs, CREDENTIAL_REFRESH_TOKEN);
}

/* The programs keep their own time limit; this is for the drain (they spend nothing: they are not waited for), and for
 * the day when they do not. */
enum step flight_secrets_late(struct flight *f)
{
    secret_load_stop(&f->secret_load);
    if (f->draining)
        return flight_end_as(f, FLIGHT_SKIPPED, "draining");
    return flight_fail(f, MSG_CONFIG_ERROR, "a command that prints a secret has not ended in time");
}

int flight_build(struct flight *f, struct err *e)
{
    const struct secret_load *g = &f->secret_load;
    grant_request_done(&f->request);
    f->impersonating = false;
    f->signed_skew_ms = token_clock_skew_ms(f->clock);
    struct grant_secrets secrets = { .client_secret = secret_load_secret(g, CREDENTIAL_CLIENT_SECRET),
                                     .signing_key = secret_load_secret(g, CREDENTIAL_SIGNING_KEY),
                                     .assertion = secret_load_secret(g, CREDENTIAL_ASSERTION),
                                     .subject_token = secret_load_secret(g, CREDENTIAL_SUBJECT_TOKEN),
                                     .actor_token = secret_load_secret(g, CREDENTIAL_ACTOR_TOKEN),
                                     .refresh_token = secret_peek(&f->spent),
                                     .now_wall_s = (clock_wall_ms() + token_clock_skew_ms(f->clock)) / 1000 };
    int failed = grant_of(f->spec->grant)->way == GRANT_BY_COMMAND ? 0 : grant_build(f->spec, &secrets, &f->request, e);
    secret_load_stop(&f->secret_load);
    return failed;
}
