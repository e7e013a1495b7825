/* proxy/replay.h: the copy of a request's body that a second send needs: bounded per request and per worker
 * (docs/http.md 4.1e, 4.1f).   Pure. */
#ifndef SIDEKEY_PROXY_REPLAY_H
#define SIDEKEY_PROXY_REPLAY_H

#include "base/buf.h"

struct replay_pool {    /* one per worker */
    uint64_t used, cap; /* bytes */
};

struct replay {
    struct replay_pool *pool;
    struct buf bytes;
    bool whole; /* nothing was dropped so far */
};

/* cap_bytes 0: only bodiless requests can be sent again. */
void replay_init(struct replay *r, struct replay_pool *pool, uint64_t cap_bytes);
void replay_done(struct replay *r);
/* Copies; beyond a cap everything is dropped and whole becomes false. */
void replay_add(struct replay *r, struct slice data);
/* Bytes that may still be added without losing whole. */
size_t replay_space(const struct replay *r);

#endif
