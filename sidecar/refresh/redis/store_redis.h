/* refresh/redis/store_redis.h: the store that several machines share.   Keeper only.   docs/refresh-rules.md §5.
 *
 * Per credential {sidekey:<credential>}:lease (the owner, with its time) and {sidekey:<credential>}:state, a hash: gen,
 * blob (sealed, AAD = name + generation), parent, exp_ms, dead_fp, intent (the owner whose refresh is under way).
 * {sidekey:<credential>}:intent and :backoff (a pause that the token host asked for) are keys of their own because they
 * end by themselves, by the server's clock, whatever is committed.  Channel {sidekey:<credential>}:changed carries the
 * new generation.  One hash tag each: a Redis Cluster keeps them together.  Every operation is one script, one round
 * trip. What goes wrong between us and the server is STORE_ERROR with a text that names the server and the way out,
 * never BUSY or "nothing stored". A server that knows less than we do (a failover or a restart lost a write, somebody
 * wrote an old state back), or whose state of the generation that we have does not open, gets our copy back before it
 * is believed; the copy outlives this process in dir (kept_file.h). watch: subscription on a connection of its own, and
 * a poll: slow while the subscription stands, each second otherwise. MOVED and ASK are followed.  A cancelled operation
 * that was sent may still take effect, as may one that had no answer; what its owner then holds is no hindrance to the
 * next owner of this process. */
#ifndef SIDEKEY_REFRESH_REDIS_STORE_REDIS_H
#define SIDEKEY_REFRESH_REDIS_STORE_REDIS_H

#include "crypto/seal.h"
#include "refresh/credential_spec.h"
#include "refresh/store/store.h"

struct store_redis_options { /* borrowed for the life of the store */
    const struct redis_spec *redis;
    const struct seal_ring *ring;
    const struct dial_options *network; /* overrides and name servers; what the URL names may be private */
    const char *const *credentials;     /* NULL-terminated: whose changes are watched */
    const char *dir;                    /* where the newest states are kept for the next start; NULL: nowhere */
};

/* Starts to connect; a server that does not answer yet is no failure here.  NULL with e: a certificate file, the URL,
 * the directory, out of memory. */
MUST_CHECK struct store *store_redis_new(const struct store_redis_options *options, struct err *e);

#endif
