#include "refresh/flight/seed.h"

#include <string.h>

/* What was spent or refused once is not sent again: a server that counts reuse would take it for theft. */
bool seed_is_known(const struct seal_ring *ring, const struct state *s, struct slice seed)
{
    char fp[9], other[9];
    seal_fingerprint(ring, seed, fp);
    return state_has_tried(s, fp) || strcmp(fp, s->seed_fp) == 0 || strcmp(fp, s->dead_fp) == 0
           || (!secret_empty(&s->refresh_token) && strcmp(fp, s->refresh_fp) == 0)
           || strcmp(fp, seal_fingerprint(ring, secret_peek(&s->refresh_token), other)) == 0
           || strcmp(fp, seal_fingerprint(ring, secret_peek(&s->alt_refresh), other)) == 0;
}
