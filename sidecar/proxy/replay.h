/* proxy/replay.h: the copy of a request's body that a second send needs: bounded per request and per worker
 * (docs/http.md §4).   Pure: time is a number.
 *
 * The first bytes of each copy (the floor) are not counted. All further bytes are counted in a pool that all exchanges
 * of a worker share; with several clients each has a share of it. When the pool is full, copies that have not grown for
 * a while are dropped, the oldest first: their exchanges go on and cannot be sent again. */
#ifndef SIDEKEY_PROXY_REPLAY_H
#define SIDEKEY_PROXY_REPLAY_H

#include "base/buf.h"
#include "base/list.h"

#define REPLAY_FLOOR_BYTES (16 * 1024)
#define REPLAY_STALLED_MS 2000

struct replay_pool {           /* one per worker */
    uint64_t used, cap;        /* bytes above the floors */
    uint64_t floor, share_cap; /* of one copy; of one client's copies together */
    struct list copies;        /* that have bytes of the pool; grown least recently first */
};

struct replay_share { /* of one client */
    uint64_t used;
};

struct replay {
    struct replay_pool *pool;
    struct replay_share *share; /* NULL: of nobody in particular, the whole pool */
    struct list node;
    int64_t grown_ms;
    struct buf bytes;
    bool whole;  /* nothing was dropped so far */
    bool pinned; /* its second send is under way or waits for a token: it is not given up */
};

/* An empty pool: what all copies may have above their floors, the floor of each, and one client's part of the pool. */
void replay_pool_init(struct replay_pool *pool, uint64_t cap_bytes, uint64_t floor_bytes, uint64_t share_bytes);
/* cap_bytes 0: only bodiless requests can be sent again.  pool and share outlive r. */
void replay_init(struct replay *r, struct replay_pool *pool, struct replay_share *share, uint64_t cap_bytes);
void replay_done(struct replay *r);
/* Copies; beyond a cap everything is dropped and whole becomes false.  May give up stalled copies of others. */
void replay_add(struct replay *r, struct slice data, int64_t now_ms);
/* Bytes that may still be added without losing whole, of want at most; stalled copies of others are given up for them.
 */
size_t replay_space(struct replay *r, size_t want, int64_t now_ms);

#endif
