#include "refresh/login/signed_in.h"

#include "refresh/flight/state_from_answer.h"

/* What has been tried stays known, and the configured refresh token is not to take the place of what follows. */
static void remember(const struct signed_in *s, const struct state *parent, struct state *to)
{
    char fp[9];
    memcpy(to->seed_fp, parent->seed_fp, sizeof to->seed_fp);
    memcpy(to->tried, parent->tried, sizeof to->tried);
    if (s->seed.len)
        state_add_tried(to, seal_fingerprint(s->ring, s->seed, fp));
}

int signed_in_state(const struct signed_in *s, const struct state *parent, const struct grant_answer *answer,
                    int64_t now_wall_ms, struct state *ret)
{
    struct state blank;
    state_init(&blank);
    blank.generation = parent->generation;
    remember(s, parent, &blank);
    int failed = state_from_answer(&blank, answer, SLICE(""), "", s->spec->default_lifetime_ms, now_wall_ms, ret);
    state_done(&blank);
    return failed;
}

void signed_in_cleared(const struct signed_in *s, const struct state *parent, struct state *ret)
{
    char fp[9];
    ret->generation = parent->generation + 1;
    remember(s, parent, ret);
    if (!secret_empty(&parent->refresh_token))
        state_add_tried(ret, seal_fingerprint(s->ring, secret_peek(&parent->refresh_token), fp));
}
