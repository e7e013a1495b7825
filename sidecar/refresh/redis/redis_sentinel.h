/* refresh/redis/redis_sentinel.h: asks the sentinels, one after the other, which server is the primary.   Keeper only.
 * Owner  redis_sentinel_ask()'s caller, through redis_sentinel_cancel(), until fn has run.
 * Source  https://redis.io/docs/latest/develop/reference/sentinel-clients/ */
#ifndef SIDEKEY_REFRESH_REDIS_REDIS_SENTINEL_H
#define SIDEKEY_REFRESH_REDIS_REDIS_SENTINEL_H

#include "refresh/redis/redis_link.h"

#define REDIS_SENTINEL_MS 1000 /* to reach one of them */

struct redis_sentinels { /* borrowed for the life of a question */
    const char *primary; /* the name that they know it by */
    const struct authority *nodes;
    size_t count; /* 1 at least */
    struct redis_login login;
    struct tls_client *tls; /* NULL: plain */
    size_t first;           /* whom to ask first: the one that answered last; written by answers */
    bool refused;           /* one of them did not take the password; written by answers */
};

struct redis_sentinel;
/* at: where the primary is; NULL: why says what each of them said last.  Valid during the call; the question is freed
 * after it. */
typedef void redis_sentinel_fn(void *arg, const struct authority *at, const char *why);

/* NULL: out of memory; fn will not run. */
MUST_CHECK struct redis_sentinel *redis_sentinel_ask(struct dialer *dialer, struct redis_sentinels *s,
                                                     redis_sentinel_fn *fn, void *arg);
/* fn will not run.  Accepts NULL. */
void redis_sentinel_cancel(struct redis_sentinel *q);

#endif
