#include "proxy/tokens.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define ASK_AGAIN_MS 5000 /* while a token nears its end: one background WANT per this */

struct credential {
    struct tokens *table;
    char *name;
    bool unused; /* no rule uses it: the token is not kept, only what operators may ask about */
    bool has_token;
    enum msg_state state;
    struct token token;
    int64_t ask_after_ms; /* no background WANT before */
    struct list waits;
    struct timer retry;           /* a refusal said when to try again, and somebody has the time */
    struct token_refusal put_off; /* the last such one */
};

struct tokens {
    struct hash *by_name;
    tokens_send_fn *send;
    void *arg;
    size_t waiting;
    bool unlinked;
};

struct tokens *tokens_new(tokens_send_fn *send, void *arg)
{
    struct tokens *t = calloc(1, sizeof *t);
    if (!t || !(t->by_name = hash_new())) {
        free(t);
        return NULL;
    }
    t->send = send;
    t->arg = arg;
    return t;
}

static void token_done(struct token *token)
{
    secret_done(&token->secret);
    for (size_t i = 0; i < token->extra_count; i++) {
        free(token->extras[i].key);
        free(token->extras[i].value);
    }
    *token = (struct token){ .generation = 0 };
}

static void credential_free(void *arg, struct slice key, void *value)
{
    struct credential *c = value;
    (void)arg;
    (void)key;
    token_done(&c->token);
    timer_stop(&c->retry);
    free(c->name);
    free(c);
}

void tokens_free(struct tokens *t)
{
    if (!t)
        return;
    hash_each(t->by_name, credential_free, NULL);
    hash_free(t->by_name);
    free(t);
}

static void send_want(struct credential *c, enum msg_reason reason, uint64_t rejected, int64_t deadline_ms)
{
    c->table->send(c->table->arg, &(struct msg){ .type = MSG_WANT,
                                                 .name = slice_str(c->name),
                                                 .reason = reason,
                                                 .generation = rejected,
                                                 .deadline_ms = deadline_ms });
}

static void ask_for_all(struct credential *c)
{
    for (struct list *n = c->waits.next; n != &c->waits; n = n->next) {
        struct token_wait *w = LIST_ENTRY(n, struct token_wait, node);
        send_want(c, w->reason, w->rejected, w->until_ms);
    }
}

static void on_retry(void *arg)
{
    ask_for_all(arg);
}

static struct credential *credential_new(struct tokens *t, struct slice name)
{
    struct credential *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->table = t;
    list_init(&c->waits);
    timer_init(&c->retry, on_retry, c);
    if (!(c->name = slice_dup(name)) || hash_put(t->by_name, name, c) != 0) {
        free(c->name);
        free(c);
        return NULL;
    }
    return c;
}

struct credential *tokens_credential(struct tokens *t, const char *name)
{
    struct credential *c = hash_get(t->by_name, slice_str(name));
    return c ? c : credential_new(t, slice_str(name));
}

/* The keeper tells of every credential of the configuration, once a worker has begun. */
static struct credential *unused_credential(struct tokens *t, struct slice name)
{
    struct credential *c = credential_new(t, name);
    if (c)
        c->unused = true;
    return c;
}

const char *tokens_credential_name(const struct credential *c)
{
    return c->name;
}

uint64_t tokens_generation(const struct credential *c)
{
    return c->token.generation;
}

struct credential *tokens_find(struct tokens *t, struct slice name)
{
    return hash_get(t->by_name, name);
}

static bool fresh(const struct credential *c, int64_t now_ms)
{
    return c->token.generation && c->has_token && now_ms < c->token.expires_ms;
}

const struct token *tokens_get(struct tokens *t, struct credential *c, int64_t now_ms)
{
    (void)t;
    if (!fresh(c, now_ms))
        return NULL;
    if (now_ms >= c->token.refresh_at_ms && now_ms >= c->ask_after_ms) {
        c->ask_after_ms = now_ms + ASK_AGAIN_MS;
        send_want(c, MSG_EXPIRING, 0, c->token.expires_ms);
    }
    return &c->token;
}

void tokens_set_linked(struct tokens *t, bool linked)
{
    t->unlinked = !linked;
}

size_t tokens_waiting(const struct tokens *t)
{
    return t->waiting;
}

static bool in_list(const struct token_wait *w)
{
    return w->node.next && w->node.next != &w->node;
}

static void leave(struct token_wait *w)
{
    list_remove(&w->node);
    timer_stop(&w->deadline);
    w->credential->table->waiting--;
}

void tokens_wait_cancel(struct token_wait *w)
{
    if (in_list(w))
        leave(w);
}

static void finish(struct token_wait *w, enum token_verdict verdict, const struct token_refusal *refusal)
{
    leave(w);
    w->fn(w->arg, verdict, refusal);
}

static void on_wait_over(void *arg)
{
    const struct token_wait *w = arg;
    const struct token_refusal *last = &w->credential->put_off;
    struct token_refusal late = { MSG_SLOW, 1000, "no token within limits.token_wait" };
    if (w->credential->table->unlinked) {
        late.failure = MSG_LINK;
        snprintf(late.text, sizeof late.text, "no token in time: this worker has no link to the keeper");
    } else if (w->put_off) {
        late.failure = last->failure;
        late.retry_after_ms = last->retry_after_ms;
        snprintf(late.text, sizeof late.text, "no token in time: %.*s", (int)sizeof late.text - 32, last->text);
    }
    finish(arg, TOKEN_TIMEOUT, &late);
}

void tokens_wait(struct tokens *t, struct credential *c, struct token_wait *w, enum msg_reason reason,
                 uint64_t rejected, int64_t wait_ms,
                 void (*fn)(void *arg, enum token_verdict, const struct token_refusal *), void *arg)
{
    *w = (struct token_wait){ .credential = c,
                              .reason = reason,
                              .rejected = rejected,
                              .until_ms = clock_mono_ms() + wait_ms,
                              .fn = fn,
                              .arg = arg };
    list_init(&w->node);
    list_push(&c->waits, &w->node);
    t->waiting++;
    timer_init(&w->deadline, on_wait_over, w);
    timer_set(&w->deadline, wait_ms);
    send_want(c, w->reason, rejected, w->until_ms);
}

void tokens_reject(struct tokens *t, struct credential *c, uint64_t rejected, int64_t until_ms)
{
    (void)t;
    if (c->token.generation <= rejected)
        send_want(c, MSG_REJECTED, rejected, until_ms);
}

static int copy_extras(struct token *to, const struct msg *m)
{
    for (size_t i = 0; i < m->extra_count; i++) {
        struct token_extra *extra = &to->extras[to->extra_count++];
        extra->key = slice_dup(m->extras[i].key);
        extra->value = slice_dup(m->extras[i].value);
        if (!extra->key || !extra->value)
            return -1;
    }
    return 0;
}

static void take_token(struct credential *c, const struct msg *m)
{
    struct token token = { .generation = m->generation,
                           .expires_ms = m->expires_ms,
                           .refresh_at_ms = m->refresh_at_ms };
    if (m->generation < c->token.generation && c->state == MSG_USABLE && m->state == MSG_USABLE)
        return; /* an old keeper's last word */
    if (!c->unused && (secret_set(&token.secret, m->token) != 0 || copy_extras(&token, m) != 0)) {
        log_error(log_msg("cannot store a token from the keeper"), log_str("credential", c->name),
                  log_str("reason", "out of memory"));
        token_done(&token);
        return;
    }
    token_done(&c->token);
    c->token = token;
    c->has_token = m->token.len > 0;
    c->state = m->state;
    c->ask_after_ms = 0;
}

static bool satisfied(const struct credential *c, const struct token_wait *w, int64_t now_ms)
{
    return fresh(c, now_ms) && c->token.generation > w->rejected;
}

/* Wakes everyone for whom the table now has what they wait for. A woken waiter may start new waits: those are not
 * walked. */
static void wake(struct credential *c)
{
    struct list old;
    int64_t now_ms = clock_mono_ms();
    list_take(&old, &c->waits);
    while (!list_empty(&old)) {
        struct token_wait *w = LIST_ENTRY(old.next, struct token_wait, node);
        if (satisfied(c, w, now_ms)) {
            finish(w, TOKEN_OK, NULL);
            continue;
        }
        list_remove(&w->node);
        list_push(&c->waits, &w->node);
    }
}

static bool may_still_wait(const struct token_wait *w, const struct msg *m, int64_t now_ms)
{
    bool passes = m->failure == MSG_TRANSIENT || m->failure == MSG_AMBIGUOUS || m->failure == MSG_THROTTLE
                  || m->failure == MSG_STORE;
    return passes && w->rejected == 0 && m->retry_after_ms > 0 && now_ms + m->retry_after_ms < w->until_ms;
}

static void refuse(struct credential *c, const struct msg *m)
{
    struct list old;
    struct token_refusal refusal = { m->failure, m->retry_after_ms, "" };
    int64_t now_ms = clock_mono_ms();
    snprintf(refusal.text, sizeof refusal.text, "%.*s", (int)m->text.len, m->text.ptr ? m->text.ptr : "");
    list_take(&old, &c->waits);
    while (!list_empty(&old)) {
        struct token_wait *w = LIST_ENTRY(old.next, struct token_wait, node);
        if (!may_still_wait(w, m, now_ms)) {
            finish(w, TOKEN_REFUSED, &refusal);
            continue;
        }
        list_remove(&w->node);
        list_push(&c->waits, &w->node);
        w->put_off = true;
        c->put_off = refusal;
        timer_set(&c->retry, m->retry_after_ms + 10);
    }
}

void tokens_message(struct tokens *t, const struct msg *m)
{
    struct credential *c = hash_get(t->by_name, m->name);
    if (!c && (m->type != MSG_TOKEN || !(c = unused_credential(t, m->name))))
        return;
    if (m->type == MSG_TOKEN) {
        take_token(c, m);
        wake(c);
    } else {
        refuse(c, m);
    }
}

static void ask_one(void *arg, struct slice key, void *value)
{
    (void)arg;
    (void)key;
    ask_for_all(value);
}

void tokens_resend(struct tokens *t)
{
    hash_each(t->by_name, ask_one, NULL);
}
