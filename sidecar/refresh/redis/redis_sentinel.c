#include "refresh/redis/redis_sentinel.h"

#include <stdio.h>
#include <stdlib.h>

struct redis_sentinel {
    struct dialer *dialer;
    struct redis_sentinels *sentinels;
    redis_sentinel_fn *fn;
    void *arg;
    size_t asked;
    struct redis_link *link;
    struct redis_command command;
    struct authority found;
    bool have;
    struct later later; /* no link could be made */
    char why[256];
};

static void ask_next(struct redis_sentinel *q);

void redis_sentinel_cancel(struct redis_sentinel *q)
{
    if (!q)
        return;
    loop_later_cancel(&q->later);
    redis_link_free(q->link);
    buf_done(&q->command.bytes);
    free(q);
}

static void finish(struct redis_sentinel *q)
{
    redis_sentinel_fn *fn = q->fn;
    void *arg = q->arg;
    struct authority at = q->found;
    char why[sizeof q->why + 128];
    bool have = q->have;
    snprintf(why, sizeof why, "no sentinel knows the primary \"%.40s\": %s", q->sentinels->primary, q->why);
    redis_sentinel_cancel(q);
    fn(arg, have ? &at : NULL, why);
}

static void on_answer(struct redis_command *c, const redisReply *reply, const char *unused)
{
    struct redis_sentinel *q = LIST_ENTRY(c, struct redis_sentinel, command);
    const char *name = redis_link_name(q->link);
    struct slice host = redis_wire_text(redis_wire_at(reply, 0)), port = redis_wire_text(redis_wire_at(reply, 1));
    char text[AUTHORITY_TEXT_MAX];
    bool v6 = slice_find(host, ':') < host.len;
    struct err e;
    (void)unused;
    snprintf(text, sizeof text, "%s%.*s%s:%.*s", v6 ? "[" : "", (int)host.len, host.ptr, v6 ? "]" : "", (int)port.len,
             port.ptr);
    if (host.len && port.len && authority_parse(slice_str(text), SCHEME_HTTP, 0, &q->found) == 0) {
        q->have = true;
        redis_link_close(q->link, "answered");
        return;
    }
    if (reply->type == REDIS_REPLY_NIL || (reply->type == REDIS_REPLY_ARRAY && reply->elements == 0))
        err_set(&e, "%s does not know this name: check store.redis.sentinel.master", name);
    else
        redis_wire_explain(&e, name, reply);
    redis_link_close(q->link, e.text);
}

static void on_ready(void *arg)
{
    struct redis_sentinel *q = arg;
    redis_link_send(q->link, &q->command);
}

static void on_closed(void *arg, const char *why)
{
    struct redis_sentinel *q = arg;
    snprintf(q->why, sizeof q->why, "%s", why);
    q->sentinels->refused = q->sentinels->refused || redis_link_refused(q->link);
    bool unnamed = !q->have && redis_link_unnamed(q->link);
    redis_link_free(q->link);
    q->link = NULL;
    q->asked -= unnamed; /* the same one once more */
    q->sentinels->login.nameless = unnamed;
    if (q->have)
        q->sentinels->first = (q->sentinels->first + q->asked - 1) % q->sentinels->count;
    if (q->have || q->asked == q->sentinels->count)
        finish(q);
    else
        ask_next(q);
}

static void on_later(struct later *l)
{
    finish(LIST_ENTRY(l, struct redis_sentinel, later));
}

static void ask_next(struct redis_sentinel *q)
{
    const struct redis_sentinels *s = q->sentinels;
    const struct redis_link_hooks hooks = { .on_ready = on_ready, .on_closed = on_closed, .arg = q };
    struct redis_place place = { .at = s->nodes[(s->first + q->asked++) % s->count], .tls = s->tls };
    q->link = redis_link_new(q->dialer, &place, &s->login, REDIS_SENTINEL_MS, &hooks);
    if (!q->link) {
        snprintf(q->why, sizeof q->why, "out of memory");
        loop_later_ask(&q->later);
    }
}

struct redis_sentinel *redis_sentinel_ask(struct dialer *dialer, struct redis_sentinels *s, redis_sentinel_fn *fn,
                                          void *arg)
{
    struct redis_sentinel *q = calloc(1, sizeof *q);
    if (!q)
        return NULL;
    q->dialer = dialer;
    q->sentinels = s;
    s->refused = false;
    q->fn = fn;
    q->arg = arg;
    loop_later_init(&q->later, on_later);
    list_init(&q->command.node);
    q->command.done = on_answer;
    buf_init(&q->command.bytes, 1024);
    const struct slice argv[] = { SLICE("SENTINEL"), SLICE("get-master-addr-by-name"), slice_str(s->primary) };
    if (redis_wire_add(&q->command.bytes, argv, 3) != 0) {
        redis_sentinel_cancel(q);
        return NULL;
    }
    ask_next(q);
    return q;
}
