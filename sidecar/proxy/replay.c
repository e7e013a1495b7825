#include "proxy/replay.h"

void replay_pool_init(struct replay_pool *pool, uint64_t cap_bytes, uint64_t floor_bytes, uint64_t share_bytes)
{
    *pool = (struct replay_pool){ .cap = cap_bytes, .floor = floor_bytes, .share_cap = share_bytes };
    list_init(&pool->copies);
}

void replay_init(struct replay *r, struct replay_pool *pool, struct replay_share *share, uint64_t cap_bytes)
{
    *r = (struct replay){ .pool = pool, .share = share, .whole = true };
    list_init(&r->node);
    buf_init(&r->bytes, (size_t)cap_bytes);
}

/* Of a copy of that length. */
static uint64_t pooled(const struct replay_pool *pool, size_t len)
{
    return len > pool->floor ? len - pool->floor : 0;
}

static void drop(struct replay *r)
{
    uint64_t bytes = pooled(r->pool, r->bytes.len);
    r->pool->used -= bytes;
    if (r->share)
        r->share->used -= bytes;
    list_remove(&r->node);
    list_init(&r->node);
    buf_done(&r->bytes);
    r->whole = false;
}

void replay_done(struct replay *r)
{
    if (r->pool)
        drop(r);
    r->whole = r->pinned = false;
}

static uint64_t left(uint64_t cap, uint64_t used)
{
    return cap > used ? cap - used : 0;
}

static uint64_t share_left(const struct replay *r)
{
    return r->share ? left(r->pool->share_cap, r->share->used) : UINT64_MAX;
}

static size_t space_now(const struct replay *r)
{
    uint64_t pool = left(r->pool->cap, r->pool->used), share = share_left(r), own = left(r->pool->floor, r->bytes.len);
    uint64_t all = own + (pool < share ? pool : share);
    return all < buf_space(&r->bytes) ? (size_t)all : buf_space(&r->bytes);
}

/* Gives up what has not grown for a while, until r can take bytes more.  A client whose share is used up pays with its
 * own copies. */
static void make_space(struct replay *r, size_t bytes, int64_t now_ms)
{
    struct list *copies = &r->pool->copies;
    for (struct list *n = copies->next, *next; n != copies && space_now(r) < bytes; n = next) {
        struct replay *other = LIST_ENTRY(n, struct replay, node);
        next = n->next;
        if (now_ms - other->grown_ms < REPLAY_STALLED_MS)
            return;
        bool helps = share_left(r) >= bytes || other->share == r->share;
        if (other != r && !other->pinned && helps)
            drop(other);
    }
}

size_t replay_space(struct replay *r, size_t want, int64_t now_ms)
{
    if (!r->whole)
        return 0;
    if (want > buf_space(&r->bytes))
        want = buf_space(&r->bytes);
    if (space_now(r) < want)
        make_space(r, want, now_ms);
    size_t space = space_now(r);
    return space < want ? space : want;
}

void replay_add(struct replay *r, struct slice data, int64_t now_ms)
{
    if (!r->whole || data.len == 0)
        return;
    uint64_t before = pooled(r->pool, r->bytes.len);
    if (replay_space(r, data.len, now_ms) < data.len || buf_add(&r->bytes, data) != 0) {
        drop(r);
        return;
    }
    uint64_t more = pooled(r->pool, r->bytes.len) - before;
    r->grown_ms = now_ms;
    if (!before && !more)
        return;
    r->pool->used += more;
    if (r->share)
        r->share->used += more;
    list_remove(&r->node);
    list_push(&r->pool->copies, &r->node);
}
