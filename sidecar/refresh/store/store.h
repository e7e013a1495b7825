/* refresh/store/store.h: where credential state is stored, and the lease on it.   Keeper only.   Rules
 * 1.4a, 1.6, 2.3a and 2.5a.
 *
 * One vtable, two engines (file, redis), one conformance suite.  Every operation answers through a callback, later,
 * never from inside the call (the file engine too), exactly once, unless store_cancel().  One operation at a time per
 * credential and owner; operations of different credentials may overlap. Each returns the operation for store_cancel();
 * NULL: out of memory, nothing was asked and fn will not run.  What is passed by pointer is copied. generation: 0 =
 * nothing stored yet; every commit makes parent + 1.  The callback may ask, cancel and free the store. */
#ifndef SIDEKEY_REFRESH_STORE_STORE_H
#define SIDEKEY_REFRESH_STORE_STORE_H

#include <stdio.h>

#include "base/err.h"
#include "refresh/store/state.h"

#define STORE_OWNER_BYTES 16
#define STORE_THROTTLE_MAX_MS 300000 /* no token host is left alone for longer: rule 3.4a */

struct store_owner { /* 128 random bits, new for every flight */
    unsigned char bytes[STORE_OWNER_BYTES];
};

enum store_result {
    STORE_FRESH, /* begin: state holds something newer than known_gen; no lease taken */
    STORE_WON,   /* begin: the lease is ours; state is what is stored (generation 0: nothing) */
    STORE_BUSY,  /* begin: somebody else's lease, for ttl_ms more; mark: somebody else's intent */
    STORE_OK,    /* renew, commit, release, load, mark, throttle */
    STORE_STALE, /* commit: the parent is gone; state is what is stored now.  The lease, if ours, is released */
    STORE_LOST,  /* renew, release: not ours any more */
    STORE_ERROR, /* err says why: never to be read as "held" */
};

/* "This refresh token is about to be spent": rules 2.9d and 5.10.  Words without a space; copied. */
struct store_intent {
    const char *refresh_fp; /* of the token */
    const char *tag;        /* names this intent */
    /* the tag of one that counts no more (its keeper is dead, as its journal says); NULL: none */
    const char *instead;
    int64_t hold_ms; /* others wait for its outcome so long */
};

/* What an operation keeps of it. */
struct store_intent_copy {
    char fp[9], tag[48], instead[48]; /* instead: "" when there is none */
    int64_t hold_ms;
};
static inline void store_intent_copy(struct store_intent_copy *to, const struct store_intent *from)
{
    snprintf(to->fp, sizeof to->fp, "%s", from->refresh_fp);
    snprintf(to->tag, sizeof to->tag, "%s", from->tag);
    snprintf(to->instead, sizeof to->instead, "%s", from->instead ? from->instead : "");
    to->hold_ms = from->hold_ms;
}

struct store_answer {
    enum store_result result;
    const struct state *state; /* FRESH, WON, STALE, load, mark OK; valid during the call */
    uint64_t generation;       /* commit OK: the new one */
    int64_t ttl_ms;            /* begin BUSY */
    /* begin WON, load and mark OK: the token host wants no request for this credential for so long; 0: it may be asked
     */
    int64_t throttled_ms;
    const char *error; /* ERROR: for people, no secret */
};

struct store;
struct store_op;
typedef void store_fn(void *arg, const struct store_answer *answer);
typedef void store_change_fn(void *arg, const char *credential); /* something about it has changed: read again */

struct store_engine {
    const char *name; /* "file", "redis" */
    struct store_op *(*begin)(struct store *, const char *cred, const struct store_owner *, int64_t ttl_ms,
                              uint64_t known_gen, store_fn *, void *arg);
    struct store_op *(*renew)(struct store *, const char *cred, const struct store_owner *, int64_t ttl_ms, store_fn *,
                              void *arg);
    /* CAS on parent_gen; publishes; releases the lease when it is ours.  A lapsed lease does not matter as long as the
     * parent is current (rule 2.5b). */
    struct store_op *(*commit)(struct store *, const char *cred, const struct store_owner *, uint64_t parent_gen,
                               const struct state *, store_fn *, void *arg);
    struct store_op *(*release)(struct store *, const char *cred, const struct store_owner *, store_fn *, void *arg);
    /* The stored state without a lease (OK; generation 0: nothing). */
    struct store_op *(*load)(struct store *, const char *cred, store_fn *, void *arg);
    /* What is stored (OK), as load says it; when parent_gen is still current, the intent is written in the same moment,
     * unless an intent of another owner for this very generation and token is younger than its hold (BUSY).  commit and
     * release forget their owner's intent, whosever the lease is. NULL: all keepers of this store share one journal,
     * which has the intents. */
    struct store_op *(*mark)(struct store *, const char *cred, const struct store_owner *, uint64_t parent_gen,
                             const struct store_intent *, store_fn *, void *arg);
    /* "The token host wants no request for this credential for pause_ms" (at most STORE_THROTTLE_MAX_MS), as measured
     * by one clock that all who share the store have.  Needs no lease.  Never shortens what stands there; ends with its
     * time, whatever is committed meanwhile. */
    struct store_op *(*throttle)(struct store *, const char *cred, int64_t pause_ms, store_fn *, void *arg);
    /* fn runs whenever the stored state of any credential changed from now on, by us or by others; one fn a store, NULL
     * ends it. */
    void (*watch)(struct store *, store_change_fn *, void *arg);
    void (*cancel)(struct store_op *);
    bool (*up)(const struct store *);
    /* Its directory on this machine was removed: it is made again, with what is in memory of it.  1; 0: it stands; -1
     * with e.  NULL: it has none. */
    int (*again)(struct store *, struct err *e);
    void (*free)(struct store *);
};

struct store { /* first member of each engine's own struct */
    const struct store_engine *engine;
};

static inline struct store_op *store_begin(struct store *s, const char *cred, const struct store_owner *o,
                                           int64_t ttl_ms, uint64_t known_gen, store_fn *fn, void *arg)
{
    return s->engine->begin(s, cred, o, ttl_ms, known_gen, fn, arg);
}
static inline struct store_op *store_renew(struct store *s, const char *cred, const struct store_owner *o,
                                           int64_t ttl_ms, store_fn *fn, void *arg)
{
    return s->engine->renew(s, cred, o, ttl_ms, fn, arg);
}
static inline struct store_op *store_commit(struct store *s, const char *cred, const struct store_owner *o,
                                            uint64_t parent_gen, const struct state *st, store_fn *fn, void *arg)
{
    return s->engine->commit(s, cred, o, parent_gen, st, fn, arg);
}
static inline struct store_op *store_release(struct store *s, const char *cred, const struct store_owner *o,
                                             store_fn *fn, void *arg)
{
    return s->engine->release(s, cred, o, fn, arg);
}
static inline struct store_op *store_load(struct store *s, const char *cred, store_fn *fn, void *arg)
{
    return s->engine->load(s, cred, fn, arg);
}
/* A load where the engine has no mark. */
static inline struct store_op *store_mark(struct store *s, const char *cred, const struct store_owner *o,
                                          uint64_t parent_gen, const struct store_intent *intent, store_fn *fn,
                                          void *arg)
{
    return s->engine->mark ? s->engine->mark(s, cred, o, parent_gen, intent, fn, arg)
                           : s->engine->load(s, cred, fn, arg);
}
static inline struct store_op *store_throttle(struct store *s, const char *cred, int64_t pause_ms, store_fn *fn,
                                              void *arg)
{
    return s->engine->throttle(s, cred, pause_ms < STORE_THROTTLE_MAX_MS ? pause_ms : STORE_THROTTLE_MAX_MS, fn, arg);
}
/* The callback will not come.  The effect may still happen.  Accepts NULL. */
static inline void store_cancel(struct store *s, struct store_op *op)
{
    if (op)
        s->engine->cancel(op);
}
/* Accepts NULL.  Callbacks of what is pending will not come; leases of ours end at once (file) or by their time
 * (redis). */
static inline void store_free(struct store *s)
{
    if (s)
        s->engine->free(s);
}

#endif
