#include "refresh/flight/state_from_answer.h"

#include "base/json_safe.h"

#include <errno.h>
#include <stdio.h>

#define LIFE_LEAST_MS 1000 /* a shorter life would be over before the token is used */

/* Absolute end of the new token; 0: unknown. */
static int64_t end_of(const struct state *parent, const struct grant_answer *answer, int64_t default_lifetime_ms,
                      int64_t now_wall_ms)
{
    if (answer->lifetime_ms)
        return now_wall_ms + answer->lifetime_ms;
    if (answer->expires_wall_ms > now_wall_ms)
        return answer->expires_wall_ms;
    /* The length of the last life, never its end: an old end would mean a refresh at every request. */
    if (parent->expires_wall_ms > parent->obtained_wall_ms && parent->obtained_wall_ms)
        return now_wall_ms + parent->expires_wall_ms - parent->obtained_wall_ms;
    int64_t exp = grant_answer_jwt_expiry(secret_peek(&answer->access_token));
    if (exp > now_wall_ms)
        return exp;
    return default_lifetime_ms > 0 ? now_wall_ms + default_lifetime_ms : 0;
}

static int64_t expiry(const struct state *parent, const struct grant_answer *answer, int64_t default_lifetime_ms,
                      int64_t now_wall_ms)
{
    int64_t end_ms = end_of(parent, answer, default_lifetime_ms, now_wall_ms);
    return end_ms && end_ms < now_wall_ms + LIFE_LEAST_MS ? now_wall_ms + LIFE_LEAST_MS : end_ms;
}

/* Absolute end of the refresh token; 0: unknown.  One that is kept keeps its end. */
static int64_t refresh_expiry(const struct state *parent, const struct grant_answer *answer, int64_t now_wall_ms)
{
    if (answer->refresh_lifetime_ms)
        return now_wall_ms + answer->refresh_lifetime_ms;
    bool kept = secret_empty(&answer->refresh_token)
                || slice_eq_secret(secret_peek(&answer->refresh_token), secret_peek(&parent->refresh_token));
    return kept && parent->refresh_expires_wall_ms > now_wall_ms ? parent->refresh_expires_wall_ms : 0;
}

static json_t *merge(const json_t *old, json_t *fresh)
{
    json_t *all = old ? json_safe_copy(old) : json_object();
    if (all && fresh && json_object_update(all, fresh) != 0) {
        json_decref(all);
        return NULL;
    }
    return all;
}

int state_from_answer(const struct state *parent, const struct grant_answer *answer, struct slice spent,
                      const char *spent_fp, int64_t default_lifetime_ms, int64_t now_wall_ms, struct state *ret)
{
    struct slice refresh = secret_empty(&answer->refresh_token) ? spent : secret_peek(&answer->refresh_token);
    struct slice replaced = slice_eq_secret(refresh, spent) ? SLICE("") : spent;
    bool no_access = secret_empty(&answer->access_token); /* then the old one serves to its end */
    struct slice access = secret_peek(no_access ? &parent->access_token : &answer->access_token);
    ret->generation = parent->generation + 1;
    ret->expires_wall_ms =
        no_access ? parent->expires_wall_ms : expiry(parent, answer, default_lifetime_ms, now_wall_ms);
    ret->obtained_wall_ms = no_access ? parent->obtained_wall_ms : now_wall_ms;
    ret->refresh_in_ms = no_access ? 0 : answer->refresh_in_ms;
    snprintf(ret->refresh_fp, sizeof ret->refresh_fp, "%s", spent_fp);
    memcpy(ret->seed_fp, parent->seed_fp, sizeof ret->seed_fp);
    ret->dead_fp[0] = ret->unread_fp[0] = '\0';
    memcpy(ret->tried, parent->tried, sizeof ret->tried);
    ret->dead_wall_ms = 0;
    ret->refresh_expires_wall_ms = refresh_expiry(parent, answer, now_wall_ms);
    json_decref(ret->extra);
    ret->extra = merge(parent->extra, answer->extra);
    if (!ret->extra || secret_set(&ret->access_token, access) != 0 || secret_set(&ret->refresh_token, refresh) != 0
        || secret_set(&ret->replaced_refresh, replaced) != 0)
        return -ENOMEM;
    return 0;
}
