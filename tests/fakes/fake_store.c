#include "tests/fakes/fake_store.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static struct store_op *begin_call(struct store *store, enum fake_call call, store_fn *fn, void *arg)
{
    struct fake_store *s = (struct fake_store *)store;
    assert(s->pending == FAKE_NONE); /* one operation at a time */
    if (s->refuse_null)
        return NULL;
    s->pending = call;
    s->fn = fn;
    s->arg = arg;
    return (struct store_op *)s;
}

static struct store_op *op_begin(struct store *store, const char *cred, const struct store_owner *o, int64_t ttl_ms,
                                 uint64_t known_gen, store_fn *fn, void *arg)
{
    struct fake_store *s = (struct fake_store *)store;
    (void)cred;
    (void)ttl_ms;
    s->owner = *o;
    s->begins++;
    s->known_gen = known_gen;
    return begin_call(store, FAKE_BEGIN, fn, arg);
}

static struct store_op *op_renew(struct store *store, const char *cred, const struct store_owner *o, int64_t ttl_ms,
                                 store_fn *fn, void *arg)
{
    (void)cred;
    (void)o;
    (void)ttl_ms;
    ((struct fake_store *)store)->renews++;
    return begin_call(store, FAKE_RENEW, fn, arg);
}

static struct store_op *op_commit(struct store *store, const char *cred, const struct store_owner *o, uint64_t parent,
                                  const struct state *state, store_fn *fn, void *arg)
{
    struct fake_store *s = (struct fake_store *)store;
    (void)cred;
    (void)o;
    s->commits++;
    s->parent_gen = parent;
    if (state_copy(&s->committed, state) != 0)
        return NULL;
    return begin_call(store, FAKE_COMMIT, fn, arg);
}

static struct store_op *op_release(struct store *store, const char *cred, const struct store_owner *o, store_fn *fn,
                                   void *arg)
{
    (void)cred;
    (void)o;
    ((struct fake_store *)store)->releases++;
    return begin_call(store, FAKE_RELEASE, fn, arg);
}

static struct store_op *op_load(struct store *store, const char *cred, store_fn *fn, void *arg)
{
    (void)cred;
    ((struct fake_store *)store)->loads++;
    return begin_call(store, FAKE_LOAD, fn, arg);
}

static struct store_op *op_mark(struct store *store, const char *cred, const struct store_owner *o, uint64_t parent_gen,
                                const struct store_intent *intent, store_fn *fn, void *arg)
{
    struct fake_store *s = (struct fake_store *)store;
    (void)cred, (void)o;
    s->marks++;
    s->marked_gen = parent_gen;
    snprintf(s->marked_fp, sizeof s->marked_fp, "%s", intent->refresh_fp);
    snprintf(s->marked_tag, sizeof s->marked_tag, "%s", intent->tag);
    snprintf(s->marked_instead, sizeof s->marked_instead, "%s", intent->instead ? intent->instead : "");
    s->marked_hold_ms = intent->hold_ms;
    return begin_call(store, FAKE_LOAD, fn, arg);
}

static struct store_op *op_throttle(struct store *store, const char *cred, int64_t pause_ms, store_fn *fn, void *arg)
{
    struct fake_store *s = (struct fake_store *)store;
    (void)cred;
    s->throttles++;
    s->throttled_ms = pause_ms;
    return begin_call(store, FAKE_THROTTLE, fn, arg);
}

static void op_watch(struct store *store, store_change_fn *fn, void *arg)
{
    (void)store;
    (void)fn;
    (void)arg;
}

static void op_cancel(struct store_op *op)
{
    struct fake_store *s = (struct fake_store *)op;
    assert(s->pending != FAKE_NONE);
    s->pending = FAKE_NONE;
    s->cancels++;
}

static bool op_up(const struct store *store)
{
    return !((const struct fake_store *)store)->down;
}

static void op_free(struct store *store)
{
    (void)store;
}

static const struct store_engine engine = { "fake",      op_begin, op_renew,  op_commit, op_release, op_load, NULL,
                                            op_throttle, op_watch, op_cancel, op_up,     NULL,       op_free };

static const struct store_engine marking = { "marking",   op_begin, op_renew,  op_commit, op_release, op_load, op_mark,
                                             op_throttle, op_watch, op_cancel, op_up,     NULL,       op_free };

void fake_store_marks(struct fake_store *s)
{
    s->store.engine = &marking;
}

void fake_store_init(struct fake_store *s)
{
    memset(s, 0, sizeof *s);
    s->store.engine = &engine;
    s->busy_ttl_ms = 60000;
    state_init(&s->stored);
    state_init(&s->committed);
}

void fake_store_done(struct fake_store *s)
{
    state_done(&s->stored);
    state_done(&s->committed);
}

void fake_store_say(struct fake_store *s, const struct store_answer *answer)
{
    assert(s->pending != FAKE_NONE);
    s->pending = FAKE_NONE;
    s->fn(s->arg, answer);
}

static struct store_answer begin_answer(struct fake_store *s)
{
    if (s->stored.generation > s->known_gen)
        return (struct store_answer){ .result = STORE_FRESH, .state = &s->stored };
    if (s->held)
        return (struct store_answer){ .result = STORE_BUSY, .ttl_ms = s->busy_ttl_ms };
    s->leased = true;
    return (struct store_answer){ .result = STORE_WON, .state = &s->stored, .throttled_ms = s->throttled_ms };
}

static struct store_answer commit_answer(struct fake_store *s)
{
    s->leased = false;
    if (s->stored.generation != s->parent_gen)
        return (struct store_answer){ .result = STORE_STALE, .state = &s->stored };
    state_done(&s->stored);
    s->stored = s->committed;
    state_init(&s->committed);
    s->stored.generation = s->parent_gen + 1;
    return (struct store_answer){ .result = STORE_OK, .generation = s->stored.generation };
}

void fake_store_answer(struct fake_store *s)
{
    struct store_answer a = { .result = STORE_OK };
    if (s->down)
        a = (struct store_answer){ .result = STORE_ERROR, .error = "down" };
    else if (s->pending == FAKE_BEGIN)
        a = begin_answer(s);
    else if (s->pending == FAKE_COMMIT)
        a = commit_answer(s);
    else if (s->pending == FAKE_LOAD)
        a = (struct store_answer){ .result = STORE_OK, .state = &s->stored, .throttled_ms = s->throttled_ms };
    else if (s->pending != FAKE_THROTTLE) {
        a.result = s->leased ? STORE_OK : STORE_LOST;
        s->leased = s->leased && s->pending == FAKE_RENEW;
    }
    fake_store_say(s, &a);
}

void fake_store_put(struct fake_store *s, uint64_t generation, const char *access, const char *refresh,
                    int64_t expires_wall_ms)
{
    s->stored.generation = generation;
    s->stored.expires_wall_ms = expires_wall_ms;
    s->stored.obtained_wall_ms = expires_wall_ms ? expires_wall_ms - 3600000 : 0;
    assert(secret_set(&s->stored.access_token, slice_str(access)) == 0);
    assert(secret_set(&s->stored.refresh_token, slice_str(refresh)) == 0);
}
