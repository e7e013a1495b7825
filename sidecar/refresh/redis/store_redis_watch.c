/* What we know of each credential, and who is told of changes: a subscription on a connection of its own (at most once,
 * so never alone), and a poll of the generations. */
#include "refresh/redis/store_redis_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/rand.h"

#define TICK_SUBSCRIBED_MS 15000 /* also what keeps both connections known to be alive */
#define TICK_ALONE_MS 1000
#define SUBSCRIBE_BYTES (64 * 1024)

/* ---- what we know of a credential ---- */

static void on_tell(struct later *l)
{
    struct cred *cred = LIST_ENTRY(l, struct cred, tell);
    struct store_redis *s = cred->store;
    if (s->fn)
        s->fn(s->arg, cred->name); /* it may free the store */
}

/* Subscribes to its changes, when the connection for that is there. */
static void watch_cred(struct cred *cred);

struct cred *store_redis_cred(struct store_redis *s, const char *name)
{
    for (struct list *l = s->creds.next; l != &s->creds; l = l->next) {
        struct cred *cred = LIST_ENTRY(l, struct cred, list);
        if (strcmp(cred->name, name) == 0)
            return cred;
    }
    struct cred *cred = calloc(1, sizeof *cred);
    if (!cred)
        return NULL;
    cred->store = s;
    snprintf(cred->name, sizeof cred->name, "%s", name);
    store_redis_kept_done(&cred->kept);
    store_redis_recall(cred);
    loop_later_init(&cred->tell, on_tell);
    list_init(&cred->list);
    list_push(&s->creds, &cred->list);
    watch_cred(cred);
    return cred;
}

void store_redis_cred_free(struct cred *cred)
{
    loop_later_cancel(&cred->tell);
    buf_done(&cred->kept.blob);
    free(cred);
}

static void tell(struct cred *cred, uint64_t generation)
{
    cred->told = generation;
    if (cred->store->fn)
        loop_later_ask(&cred->tell);
}

void store_redis_saw(struct cred *cred, uint64_t generation, bool ours)
{
    if (ours)
        tell(cred, generation);
    else
        cred->told = generation;
}

/* ---- is it up? ---- */

static void set_tick(struct store_redis *s)
{
    int64_t period_ms = s->subscribed && !s->failed && !s->unwritten ? TICK_SUBSCRIBED_MS : TICK_ALONE_MS;
    timer_set(&s->tick, period_ms - (int64_t)rand_below((uint64_t)period_ms / 5)); /* replicas must not keep step */
}

void store_redis_note(const struct store_op *op, enum store_result result)
{
    struct store_redis *s = op->store;
    bool writes = op->kind != LOAD && op->kind != PEEK, was_well = !s->failed && !s->unwritten;
    s->failed = result == STORE_ERROR;
    if (writes && s->failed)
        s->unwritten = op->cred;
    else if (writes && s->unwritten == op->cred)
        s->unwritten = NULL;
    if (was_well && s->failed && s->fn)
        set_tick(s);
}

static void on_noted(void *arg, const struct store_answer *answer)
{
    (void)arg, (void)answer; /* a failure shows at the next look */
}

/* A replica, a full server and a narrow ACL answer those who only look: whether it can be written to again is found out
 * by a write that changes nothing. */
static void probe(struct store_redis *s)
{
    if (s->unwritten)
        (void)store_redis_ask(s, PROBE, s->unwritten->name, NULL, on_noted, NULL);
}

/* ---- the poll ---- */

static void peek(struct cred *cred);

static void on_peeked(void *arg, const struct store_answer *answer)
{
    struct cred *cred = arg;
    cred->peeking = false;
    if (answer->result != STORE_OK)
        return;
    if (cred->peek_again)
        peek(cred);
    if (answer->generation < cred->kept.generation) /* it lost what we have: reading it gives it back */
        (void)store_redis_ask(cred->store, LOAD, cred->name, NULL, on_noted, NULL);
    else if (answer->generation != cred->told)
        tell(cred, answer->generation);
}

static void peek(struct cred *cred)
{
    cred->peek_again = cred->peeking;
    if (!cred->peeking)
        cred->peeking = store_redis_ask(cred->store, PEEK, cred->name, NULL, on_peeked, cred) != NULL;
}

void store_redis_peek(struct store_redis *s)
{
    for (struct list *l = s->creds.next; l != &s->creds; l = l->next)
        peek(LIST_ENTRY(l, struct cred, list));
}

/* ---- the subscription ---- */

/* The words are one command to the link: any reply will do, and what they answer is seen by on_push. */
static void say(struct store_redis *s)
{
    if (list_empty(&s->say.node) && s->say.bytes.len && redis_client_up(s->subscriber))
        redis_client_send(s->subscriber, &s->say);
}

void store_redis_tick(void *arg)
{
    struct store_redis *s = arg;
    if (list_empty(&s->say.node)) {
        buf_clear(&s->say.bytes);
        if (redis_wire_add(&s->say.bytes, (struct slice[]){ SLICE("PING") }, 1) == 0)
            say(s);
    }
    store_redis_peek(s);
    probe(s);
    set_tick(s);
}

static int add_subscribe(struct cred *cred)
{
    char channel[KEY_SIZE];
    store_redis_key(cred, "changed", channel);
    return redis_wire_add(&cred->store->say.bytes, (struct slice[]){ SLICE("SUBSCRIBE"), slice_str(channel) }, 2);
}

static void on_subscriber_up(void *arg)
{
    struct store_redis *s = arg;
    buf_clear(&s->say.bytes);
    for (struct list *l = s->creds.next; l != &s->creds; l = l->next)
        if (add_subscribe(LIST_ENTRY(l, struct cred, list)) != 0)
            break; /* more than fit are polled */
    say(s);
}

static void on_subscriber_down(void *arg, const char *why)
{
    struct store_redis *s = arg;
    log_debug(log_msg("store subscription ended"), log_str("reason", why));
    s->subscribed = false;
    set_tick(s);
}

static struct cred *cred_of_channel(struct store_redis *s, struct slice channel)
{
    char own[KEY_SIZE];
    for (struct list *l = s->creds.next; l != &s->creds; l = l->next) {
        struct cred *cred = LIST_ENTRY(l, struct cred, list);
        if (slice_eq(channel, slice_str(store_redis_key(cred, "changed", own))))
            return cred;
    }
    return NULL;
}

static void on_push(void *arg, const redisReply *reply)
{
    struct store_redis *s = arg;
    struct slice what = redis_wire_text(redis_wire_at(reply, 0));
    struct cred *cred = cred_of_channel(s, redis_wire_text(redis_wire_at(reply, 1)));
    struct err e;
    uint64_t generation;
    if (reply->type == REDIS_REPLY_ERROR) {
        if (s->told_polled) /* once: it comes again with each connection */
            return;
        s->told_polled = true;
        redis_wire_explain(&e, redis_client_name(s->subscriber), reply);
        log_warn(log_msg("cannot subscribe to the store: sidekey polls it instead"), log_str("reason", e.text));
    } else if (cred && slice_eq(what, SLICE("subscribe"))) {
        s->subscribed = true;
        s->told_polled = false;
        peek(cred); /* what came before the subscription stood */
        set_tick(s);
    } else if (cred && slice_eq(what, SLICE("message")) && redis_wire_u64(redis_wire_at(reply, 2), &generation) == 0
               && generation > cred->told) {
        tell(cred, generation);
    }
}

static void on_said(struct redis_command *c, const redisReply *reply, const char *why)
{
    (void)c, (void)reply, (void)why; /* on_subscriber_up says it all again */
}

static void watch_cred(struct cred *cred)
{
    struct store_redis *s = cred->store;
    if (!s->subscriber || !redis_client_up(s->subscriber) || !list_empty(&s->say.node))
        return; /* its turn comes with the next connection; until then it is polled */
    buf_clear(&s->say.bytes);
    if (add_subscribe(cred) == 0)
        say(s);
}

void store_redis_unwatch(struct store_redis *s)
{
    timer_stop(&s->tick);
    redis_client_free(s->subscriber);
    s->subscriber = NULL;
    s->subscribed = false;
    list_remove(&s->say.node);
    buf_done(&s->say.bytes);
    s->fn = NULL;
}

void store_redis_watch(struct store *store, store_change_fn *fn, void *arg)
{
    struct store_redis *s = CONTAINER_OF(store, struct store_redis, base);
    struct redis_client_options options = s->client;
    store_redis_unwatch(s);
    if (!fn)
        return;
    s->fn = fn;
    s->arg = arg;
    s->say.done = on_said;
    buf_init(&s->say.bytes, SUBSCRIBE_BYTES);
    options.on_up = on_subscriber_up;
    options.on_down = on_subscriber_down;
    options.on_push = on_push;
    options.arg = s;
    s->subscriber = redis_client_new(&options);
    if (!s->subscriber)
        log_warn(log_msg("cannot subscribe to the store: sidekey polls it instead"),
                 log_str("reason", "out of memory"));
    store_redis_peek(s);
    set_tick(s);
}
