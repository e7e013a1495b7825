#include "refresh/redis/store_redis.h"

#include "refresh/redis/store_redis_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

#define REDIRECTS_MAX 5
#define PAUSES_MAX 25 /* while a slot is on its way from node to node */
#define PAUSE_MS 100

/* ---- an operation's life: asked → sent, perhaps to several servers → read → answered from the loop ---- */

static void op_free(struct store_op *op)
{
    list_remove(&op->node);
    list_remove(&op->command.node);
    loop_later_cancel(&op->later);
    timer_stop(&op->pause);
    buf_done(&op->command.bytes);
    buf_done(&op->next.blob);
    state_done(&op->out.state);
    free(op);
}

/* Nothing of the store is touched after the callback: it may free it. */
static void on_answer(struct later *l)
{
    struct store_op *op = LIST_ENTRY(l, struct store_op, later);
    struct redis_outcome out = op->out;
    store_fn *fn = op->fn;
    void *arg = op->arg;
    store_redis_note(op, out.answer.result);
    if (out.answer.result == STORE_ERROR)
        store_redis_disown(op);
    state_init(&op->out.state); /* moved */
    if (out.answer.result == STORE_ERROR)
        out.answer = (struct store_answer){ .result = STORE_ERROR, .error = out.err.text };
    else if (out.answer.state)
        out.answer.state = &out.state;
    op_free(op);
    fn(arg, &out.answer);
    state_done(&out.state);
}

static void finish(struct store_op *op, enum store_result result)
{
    op->out.answer.result = result;
    loop_later_ask(&op->later);
}

static void fail(struct store_op *op, const char *why)
{
    err_set(&op->out.err, "%s", why);
    finish(op, STORE_ERROR);
}

static void send_to(struct store_op *op, struct redis_node *n, bool asking)
{
    int failed = store_redis_build(op, asking);
    if (failed) {
        fail(op, "cannot make a Redis command: out of memory");
        return;
    }
    op->at = n;
    op->sent = true;
    redis_client_send(n->client, &op->command);
}

static void send_op(struct store_op *op)
{
    send_to(op, store_redis_pick(op->store, op->cred), false);
}

static void on_pause_end(void *arg)
{
    struct store_op *op = arg;
    op->redirects = 0;
    send_op(op);
}

/* ---- errors ---- */

static void redirect(struct store_op *op, const redisReply *reply)
{
    bool ask = redis_wire_is(reply, "ASK");
    struct redis_node *n = op->redirects++ < REDIRECTS_MAX ? store_redis_follow(op->store, op->at, reply) : NULL;
    if (!n) {
        fail(op, "the Redis cluster does not know which of its nodes has the key: see CLUSTER INFO");
        return;
    }
    if (!ask)
        op->cred->home = n;
    send_to(op, n, ask);
}

static void on_error(struct store_op *op, const redisReply *reply)
{
    const char *name = redis_client_name(op->at->client);
    struct err e;
    if (redis_wire_is(reply, "NOSCRIPT") && !op->with_text) {
        op->with_text = true;
        send_to(op, op->at, false);
        return;
    }
    if (redis_wire_is(reply, "MOVED") || redis_wire_is(reply, "ASK")) {
        redirect(op, reply);
        return;
    }
    if (redis_wire_is(reply, "TRYAGAIN") && op->pauses++ < PAUSES_MAX) {
        timer_set(&op->pause, PAUSE_MS);
        return;
    }
    redis_wire_explain(&e, name, reply);
    if (redis_wire_is(reply, "READONLY")) /* the primary is elsewhere now */
        redis_client_leave(op->at->client, e.text);
    fail(op, e.text);
}

static void on_no_server(struct store_op *op, const char *why)
{
    struct redis_node *home = op->cred->home;
    /* a node of the cluster is gone: the others know who took over */
    if (home && home == op->at && op->redirects++ < REDIRECTS_MAX) {
        op->cred->home = NULL;
        send_op(op);
        return;
    }
    fail(op, why);
}

/* ---- replies ---- */

/* The server has lost what we have seen, or has what nobody can open in its place: it gets it back, then it is asked
 * again. */
static bool heal(struct store_op *op, uint64_t stored, bool unfit)
{
    uint64_t kept = op->cred->kept.generation;
    if (op->healed || kept == 0 || stored > kept || (stored == kept && !unfit))
        return false;
    op->unfit = stored == kept;
    log_warn(log_msg(op->unfit ? "the state in Redis is damaged: sidekey writes its good copy back"
                               : "Redis has an older state, or none: sidekey writes the newest one back"),
             log_str("credential", op->cred->name), log_int("stored", (int64_t)stored),
             log_int("generation", (int64_t)kept));
    op->healing = op->healed = true;
    op->with_text = false;
    send_op(op);
    return true;
}

static int64_t throttled_ms(const redisReply *left)
{
    uint64_t ms = 0;
    if (redis_wire_u64(left, &ms) != 0)
        return 0;
    return ms < STORE_THROTTLE_MAX_MS ? (int64_t)ms : STORE_THROTTLE_MAX_MS;
}

/* A stored state into the answer.  A lease that came with one that we cannot read is given back: other replicas may
 * know better. */
static void give_state(struct store_op *op, enum store_result result, uint64_t stored, struct slice blob)
{
    struct redis_outcome *out = &op->out;
    if (store_redis_unseal(op->store->options.ring, op->cred->name, stored, blob, &out->state, &out->err) == 0) {
        out->answer.state = &out->state;
        store_redis_keep(op->cred, stored, blob, out->state.expires_wall_ms, out->state.dead_fp);
        store_redis_saw(op->cred, stored, false);
        finish(op, result);
    } else if (heal(op, stored, true)) {
        return;
    } else if (result == STORE_WON) {
        op->kind = RELEASE;
        op->giving_back = true;
        op->with_text = false;
        send_op(op);
    } else {
        finish(op, STORE_ERROR);
    }
}

static void read_begin(struct store_op *op, struct slice status, uint64_t stored, const redisReply *reply)
{
    uint64_t ttl_ms = 0;
    char owner[2 * STORE_OWNER_BYTES + 1];
    if (heal(op, stored, false)) /* also for the sake of who has the lease: it looks once more before it spends */
        return;
    if (slice_eq(status, SLICE("busy"))) {
        if (redis_wire_u64(redis_wire_at(reply, 2), &ttl_ms) != 0)
            ttl_ms = 1;
        op->out.answer.ttl_ms = (int64_t)ttl_ms;
        finish(op, STORE_BUSY);
        return;
    }
    bool won = slice_eq(status, SLICE("won"));
    struct slice intent = redis_wire_text(redis_wire_at(reply, 4));
    for (size_t i = 0; i < STORE_OWNER_BYTES; i++)
        snprintf(owner + 2 * i, 3, "%02x", op->owner.bytes[i]);
    if (won && intent.len && !slice_eq(intent, slice_str(owner)))
        log_warn(log_msg("a refresh of another keeper has not ended: its response may be lost"),
                 log_str("credential", op->cred->name), log_int("generation", (int64_t)stored));
    op->out.answer.throttled_ms = won ? throttled_ms(redis_wire_at(reply, 3)) : 0;
    give_state(op, won ? STORE_WON : STORE_FRESH, stored, redis_wire_text(redis_wire_at(reply, 2)));
}

static void read_commit(struct store_op *op, struct slice status, uint64_t stored, const redisReply *reply)
{
    if (slice_eq(status, SLICE("ok"))) {
        op->out.answer.generation = stored;
        store_redis_keep(op->cred, stored, buf_slice(&op->next.blob), op->next.expires_wall_ms, op->next.dead_fp);
        store_redis_saw(op->cred, stored, true);
        finish(op, STORE_OK);
    } else if (stored >= op->generation || !heal(op, stored, false)) {
        give_state(op, STORE_STALE, stored, redis_wire_text(redis_wire_at(reply, 2)));
    }
}

static void read_reply(struct store_op *op, const redisReply *reply)
{
    struct slice status = redis_wire_text(redis_wire_at(reply, 0));
    uint64_t stored = 0;
    if (op->kind == PEEK && !op->healing) {
        if (reply->type != REDIS_REPLY_NIL && redis_wire_u64(reply, &op->out.answer.generation) != 0)
            fail(op, "the state in Redis has no generation: another program uses the prefix {sidekey:");
        else
            finish(op, STORE_OK);
        return;
    }
    if (status.len == 0 || redis_wire_u64(redis_wire_at(reply, 1), &stored) != 0) {
        redis_wire_explain(&op->out.err, redis_client_name(op->at->client), NULL);
        finish(op, STORE_ERROR);
        return;
    }
    if (op->healing) {
        op->healing = op->with_text = false;
        send_op(op);
        return;
    }
    switch (op->kind) {
    case BEGIN: read_begin(op, status, stored, reply); break;
    case COMMIT: read_commit(op, status, stored, reply); break;
    case MARK:
    case LOAD:
        if (heal(op, stored, false))
            break;
        op->out.answer.throttled_ms = throttled_ms(redis_wire_at(reply, 3));
        if (slice_eq(status, SLICE("busy")))
            finish(op, STORE_BUSY);
        else
            give_state(op, STORE_OK, stored, redis_wire_text(redis_wire_at(reply, 2)));
        break;
    default: finish(op, slice_eq(status, SLICE("ok")) ? STORE_OK : STORE_LOST); break;
    }
}

/* Only takes note: answers come from the loop. */
static void on_done(struct redis_command *c, const redisReply *reply, const char *why)
{
    struct store_op *op = LIST_ENTRY(c, struct store_op, command);
    op->sent = false;
    if (!op->fn)
        op_free(op); /* cancelled */
    else if (op->giving_back && (op->with_text || !redis_wire_is(reply, "NOSCRIPT")))
        finish(op, STORE_ERROR); /* with what was wrong in the first place */
    else if (!reply)
        on_no_server(op, why);
    else if (reply->type == REDIS_REPLY_ERROR)
        on_error(op, reply);
    else
        read_reply(op, reply);
}

/* ---- asking ---- */

static struct store_op *new_op(struct store_redis *s, enum redis_kind kind, const char *cred,
                               const struct store_owner *owner, store_fn *fn, void *arg)
{
    struct store_op *op = calloc(1, sizeof *op);
    if (!op)
        return NULL;
    op->store = s;
    op->kind = kind;
    op->fn = fn;
    op->arg = arg;
    if (owner)
        op->owner = *owner;
    list_init(&op->node);
    list_init(&op->command.node);
    op->command.done = on_done;
    buf_init(&op->command.bytes, REDIS_COMMAND_MAX);
    buf_init(&op->next.blob, 0);
    state_init(&op->out.state);
    loop_later_init(&op->later, on_answer);
    timer_init(&op->pause, on_pause_end, op);
    list_push(&s->ops, &op->node);
    if (state_dir_is_name(cred) && !(op->cred = store_redis_cred(s, cred))) {
        op_free(op);
        return NULL;
    }
    return op;
}

static struct store_op *start(struct store_op *op)
{
    if (op && op->cred)
        send_op(op);
    else if (op)
        fail(op, "not the name of a credential ([a-z0-9._-], at most 64)");
    return op;
}

struct store_op *store_redis_ask(struct store_redis *s, enum redis_kind kind, const char *cred,
                                 const struct store_owner *owner, store_fn *fn, void *arg)
{
    return start(new_op(s, kind, cred, owner, fn, arg));
}

/* ---- the engine ---- */

static struct store_op *redis_begin(struct store *s, const char *cred, const struct store_owner *owner, int64_t ttl_ms,
                                    uint64_t known_gen, store_fn *fn, void *arg)
{
    struct store_op *op = new_op(CONTAINER_OF(s, struct store_redis, base), BEGIN, cred, owner, fn, arg);
    if (op) {
        op->ttl_ms = ttl_ms;
        op->generation = known_gen;
    }
    return start(op);
}

static struct store_op *redis_renew(struct store *s, const char *cred, const struct store_owner *owner, int64_t ttl_ms,
                                    store_fn *fn, void *arg)
{
    struct store_op *op = new_op(CONTAINER_OF(s, struct store_redis, base), RENEW, cred, owner, fn, arg);
    if (op)
        op->ttl_ms = ttl_ms;
    return start(op);
}

static struct store_op *redis_commit(struct store *s, const char *cred, const struct store_owner *owner,
                                     uint64_t parent_gen, const struct state *state, store_fn *fn, void *arg)
{
    struct store_redis *r = CONTAINER_OF(s, struct store_redis, base);
    struct store_op *op = new_op(r, COMMIT, cred, owner, fn, arg);
    if (!op || !op->cred)
        return start(op);
    op->generation = parent_gen;
    op->healing = parent_gen < op->cred->kept.generation; /* the parent is gone, whatever the server has */
    int failed = store_redis_seal(r->options.ring, op->cred->name, parent_gen + 1, state, &op->next);
    if (failed == -ENOMEM) {
        op_free(op);
        return NULL;
    }
    if (failed) {
        err_set(&op->out.err, "the state of \"%s\" cannot be sealed: %s", cred, strerror(-failed));
        finish(op, STORE_ERROR);
        return op;
    }
    return start(op);
}

static struct store_op *redis_release(struct store *s, const char *cred, const struct store_owner *owner, store_fn *fn,
                                      void *arg)
{
    return store_redis_ask(CONTAINER_OF(s, struct store_redis, base), RELEASE, cred, owner, fn, arg);
}

static struct store_op *redis_load(struct store *s, const char *cred, store_fn *fn, void *arg)
{
    return store_redis_ask(CONTAINER_OF(s, struct store_redis, base), LOAD, cred, NULL, fn, arg);
}

static struct store_op *redis_mark(struct store *s, const char *cred, const struct store_owner *owner,
                                   uint64_t parent_gen, const struct store_intent *intent, store_fn *fn, void *arg)
{
    struct store_op *op = new_op(CONTAINER_OF(s, struct store_redis, base), MARK, cred, owner, fn, arg);
    if (op) {
        op->generation = parent_gen;
        store_intent_copy(&op->intent, intent);
    }
    return start(op);
}

static struct store_op *redis_throttle(struct store *s, const char *cred, int64_t pause_ms, store_fn *fn, void *arg)
{
    struct store_op *op = new_op(CONTAINER_OF(s, struct store_redis, base), THROTTLE, cred, NULL, fn, arg);
    if (op)
        op->ttl_ms = pause_ms;
    return start(op);
}

static void redis_cancel(struct store_op *op)
{
    loop_later_cancel(&op->later);
    op->fn = NULL;
    if (!op->sent || redis_client_unsend(op->at->client, &op->command)) {
        op_free(op);
        return;
    }
    store_redis_disown(op);
}

static bool redis_up(const struct store *s)
{
    const struct store_redis *r = (const struct store_redis *)s;
    bool any = false;
    for (const struct list *l = r->nodes.next; l != &r->nodes; l = l->next)
        any = any || redis_client_up(LIST_ENTRY(l, struct redis_node, list)->client);
    return any && !r->failed && !r->unwritten;
}

static void redis_free(struct store *store)
{
    struct store_redis *s = CONTAINER_OF(store, struct store_redis, base);
    store_redis_unwatch(s);
    store_redis_close(s);
    while (!list_empty(&s->ops))
        op_free(LIST_ENTRY(s->ops.next, struct store_op, node));
    for (struct list *l; (l = list_shift(&s->creds)) != NULL;)
        store_redis_cred_free(LIST_ENTRY(l, struct cred, list));
    state_dir_close(&s->dir);
    free(s);
}

static int redis_again(struct store *store, struct err *e)
{
    struct store_redis *s = CONTAINER_OF(store, struct store_redis, base);
    int again = s->dir.path ? state_dir_again(&s->dir, e) : 0;
    for (struct list *l = s->creds.next; again == 1 && l != &s->creds; l = l->next)
        store_redis_keep_again(LIST_ENTRY(l, struct cred, list));
    return again;
}

static const struct store_engine engine = {
    .name = "redis",
    .begin = redis_begin,
    .renew = redis_renew,
    .commit = redis_commit,
    .release = redis_release,
    .load = redis_load,
    .mark = redis_mark,
    .throttle = redis_throttle,
    .watch = store_redis_watch,
    .cancel = redis_cancel,
    .up = redis_up,
    .again = redis_again,
    .free = redis_free,
};

struct store *store_redis_new(const struct store_redis_options *options, struct err *e)
{
    struct store_redis *s = calloc(1, sizeof *s);
    bool failed;
    if (!s) {
        err_set(e, "out of memory");
        return NULL;
    }
    s->base.engine = &engine;
    s->options = *options;
    list_init(&s->nodes);
    list_init(&s->creds);
    list_init(&s->ops);
    list_init(&s->say.node);
    buf_init(&s->say.bytes, 0);
    timer_init(&s->tick, store_redis_tick, s);
    store_redis_name_scripts();
    failed = (options->dir && state_dir_open(&s->dir, options->dir, e) != 0) || store_redis_open(s, e) != 0;
    for (const char *const *name = options->credentials; !failed && name && *name; name++)
        if (state_dir_is_name(*name) && !store_redis_cred(s, *name))
            failed = err_set(e, "out of memory") != 0;
    if (!failed)
        return &s->base;
    redis_free(&s->base);
    return NULL;
}
