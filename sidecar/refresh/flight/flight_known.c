/* What is known of the tokens: from the store, from the caller, from verdicts. */
#include "refresh/flight/flight_private.h"

#include "base/clock.h"

#include <string.h>

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

void flight_note_throttle(struct flight *f, const struct store_answer *answer)
{
    if (answer->throttled_ms > 0)
        f->throttled_ms = clock_mono_ms() + answer->throttled_ms;
}

enum flight_step flight_fail_throttled(struct flight *f)
{
    f->result.retry_after_ms = f->throttled_ms - clock_mono_ms();
    return flight_fail(f, MSG_THROTTLE, "the token endpoint limits the rate of requests");
}

bool flight_rotates(const struct flight *f)
{
    char fp[9];
    return strcmp(seal_fingerprint(f->env->ring, secret_peek(&f->known.refresh_token), fp), f->known.refresh_fp) != 0;
}

bool flight_overrules(const struct state *ours, const struct state *stored)
{
    return stored->dead_fp[0] && strcmp(stored->dead_fp, ours->refresh_fp) == 0 && !secret_empty(&ours->refresh_token);
}

bool flight_is_dead(const struct flight *f, struct slice token, char fp[9])
{
    return f->base.dead_fp[0] && strcmp(seal_fingerprint(f->env->ring, token, fp), f->base.dead_fp) == 0;
}

bool flight_stored_lives(const struct flight *f)
{
    char fp[9];
    struct slice stored = secret_peek(&f->base.refresh_token);
    return stored.len && !flight_is_dead(f, stored, fp);
}

bool flight_is_unread(const struct flight *f)
{
    return f->base.unread_fp[0] && strcmp(f->base.unread_fp, f->base.dead_fp) == 0;
}

const char *flight_dead_reason(const struct flight *f, const char *otherwise)
{
    if (f->first[0])
        return f->first;
    return flight_is_unread(f) ? "sidekey did not understand the response to the last refresh; the machine that sent "
                                 "the request keeps it sealed in its journal"
                               : otherwise;
}

void flight_note_seed(struct flight *f)
{
    if (!f->intent.seeded)
        return;
    state_add_tried(&f->fresh, f->base.seed_fp);
    state_add_tried(&f->fresh, f->intent.spent_fp);
    memcpy(f->fresh.seed_fp, f->intent.spent_fp, sizeof f->fresh.seed_fp);
    f->result.looked = true;
}

enum flight_step flight_adopt_newer(struct flight *f, const struct state *winner)
{
    flight_note(f, FLIGHT_RACE_RECOVERED, winner->generation, "the store has the token of another owner");
    if (flight_adopt_state(f, winner) != 0)
        return flight_fail(f, MSG_TRANSIENT, "out of memory");
    flight_clear_journal(f);
    return flight_end_as(f, FLIGHT_ADOPTED, "race recovered");
}
