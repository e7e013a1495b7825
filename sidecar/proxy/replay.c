#include "proxy/replay.h"

void replay_init(struct replay *r, struct replay_pool *pool, uint64_t cap_bytes)
{
    r->pool = pool;
    r->whole = true;
    buf_init(&r->bytes, (size_t)cap_bytes);
}

static void drop(struct replay *r)
{
    r->pool->used -= r->bytes.len;
    buf_done(&r->bytes);
}

void replay_done(struct replay *r)
{
    if (r->pool)
        drop(r);
    r->whole = false;
}

void replay_add(struct replay *r, struct slice data)
{
    if (!r->whole || data.len == 0)
        return;
    if (data.len > replay_space(r) || buf_add(&r->bytes, data) != 0) {
        drop(r);
        r->whole = false;
        return;
    }
    r->pool->used += data.len;
}

size_t replay_space(const struct replay *r)
{
    uint64_t pool = r->pool->cap > r->pool->used ? r->pool->cap - r->pool->used : 0;
    size_t own = buf_space(&r->bytes);
    if (!r->whole)
        return 0;
    return pool < own ? (size_t)pool : own;
}
