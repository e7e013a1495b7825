#include "refresh/redis/redis_switch.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "net/timer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PING_MS 15000

struct listener {
    struct redis_switch *owner;
    struct redis_client *client;
    struct redis_command say; /* SUBSCRIBE, PING */
    bool told;                /* in the log: it cannot be subscribed to */
};

struct redis_switch {
    const struct redis_sentinels *sentinels;
    redis_switch_fn *fn;
    void *arg;
    struct listener listeners[REDIS_SWITCH_LISTEN_MAX];
    size_t count;
    struct timer ping, pass; /* a hint is passed on */
    struct authority to;
    size_t from;
    bool hinted;
    int64_t passed_ms, gap_ms;
};

int redis_switch_parse(struct slice text, const char *primary, struct authority *ret)
{
    char at[AUTHORITY_TEXT_MAX];
    struct slice words[5];
    for (size_t i = 0; i < 5; i++)
        words[i] = slice_cut(text, ' ', &text);
    struct slice host = words[3], port = words[4];
    if (!slice_eq(words[0], slice_str(primary)) || host.len == 0 || port.len == 0 || text.ptr)
        return -EINVAL;
    bool v6 = slice_find(host, ':') < host.len;
    int len = snprintf(at, sizeof at, "%s%.*s%s:%.*s", v6 ? "[" : "", (int)host.len, host.ptr, v6 ? "]" : "",
                       (int)port.len, port.ptr);
    return len < (int)sizeof at && authority_parse(slice_str(at), SCHEME_HTTP, 0, ret) == 0 ? 0 : -EINVAL;
}

/* ---- hints: few, whatever a sentinel says ---- */

static void on_pass(void *arg)
{
    struct redis_switch *w = arg;
    w->hinted = false;
    w->passed_ms = clock_mono_ms();
    w->fn(w->arg, &w->to, w->from);
}

static void hint(struct redis_switch *w, const struct authority *to, size_t from)
{
    int64_t now_ms = clock_mono_ms(), since_ms = now_ms - w->passed_ms;
    w->to = *to;
    w->from = from;
    if (w->hinted)
        return;
    w->hinted = true;
    if (!w->passed_ms || since_ms >= 2 * w->gap_ms)
        w->gap_ms = REDIS_SWITCH_FIRST_MS;
    else
        w->gap_ms = 2 * w->gap_ms < REDIS_SWITCH_LAST_MS ? 2 * w->gap_ms : REDIS_SWITCH_LAST_MS;
    timer_set(&w->pass, !w->passed_ms || since_ms >= w->gap_ms ? 0 : w->gap_ms - since_ms);
}

/* ---- one sentinel ---- */

static void on_said(struct redis_command *c, const redisReply *reply, const char *why)
{
    (void)c, (void)reply, (void)why; /* on_up says it all again */
}

/* Any reply will do: the answers themselves are seen by on_push. */
static void say(struct listener *l, const struct slice *words, size_t count)
{
    if (!list_empty(&l->say.node) || !redis_client_up(l->client))
        return;
    buf_clear(&l->say.bytes);
    if (redis_wire_add(&l->say.bytes, words, count) == 0)
        redis_client_send(l->client, &l->say);
}

static void on_up(void *arg)
{
    say(arg, (struct slice[]){ SLICE("SUBSCRIBE"), SLICE("+switch-master") }, 2);
}

static void on_push(void *arg, const redisReply *reply)
{
    struct listener *l = arg;
    struct redis_switch *w = l->owner;
    struct slice what = redis_wire_text(redis_wire_at(reply, 0)), channel = redis_wire_text(redis_wire_at(reply, 1));
    struct authority to;
    struct err e;
    if (reply->type == REDIS_REPLY_ERROR && !l->told) {
        l->told = true;
        redis_wire_explain(&e, redis_client_name(l->client), reply);
        log_warn(
            log_msg(
                "cannot subscribe to the sentinel: sidekey notices a failover only at its next command to the primary"),
            log_str("reason", e.text));
    } else if (slice_eq(what, SLICE("message")) && slice_eq(channel, SLICE("+switch-master"))
               && redis_switch_parse(redis_wire_text(redis_wire_at(reply, 2)), w->sentinels->primary, &to) == 0) {
        hint(w, &to, (size_t)(l - w->listeners));
    }
}

static void on_ping(void *arg)
{
    struct redis_switch *w = arg;
    for (size_t i = 0; i < w->count; i++)
        say(&w->listeners[i], (struct slice[]){ SLICE("PING") }, 1);
    timer_set(&w->ping, PING_MS - (int64_t)rand_below(PING_MS / 5));
}

static int listen_to(struct redis_switch *w, struct dialer *dialer, const struct authority *at,
                     struct redis_account *account)
{
    struct listener *l = &w->listeners[w->count];
    *l = (struct listener){ .owner = w, .say.done = on_said };
    list_init(&l->say.node);
    buf_init(&l->say.bytes, 256);
    const struct redis_client_options options = { .dialer = dialer,
                                                  .account = account,
                                                  .place = { .at = *at, .tls = w->sentinels->tls },
                                                  .on_up = on_up,
                                                  .on_push = on_push,
                                                  .arg = l };
    if (!(l->client = redis_client_new(&options)))
        return -ENOMEM;
    w->count++;
    return 0;
}

/* ---- life ---- */

struct redis_switch *redis_switch_new(struct dialer *dialer, const struct redis_sentinels *s,
                                      struct redis_account *account, redis_switch_fn *fn, void *arg)
{
    struct redis_switch *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->sentinels = s;
    w->fn = fn;
    w->arg = arg;
    timer_init(&w->ping, on_ping, w);
    timer_init(&w->pass, on_pass, w);
    for (size_t i = 0; i < s->count && i < REDIS_SWITCH_LISTEN_MAX; i++)
        if (listen_to(w, dialer, &s->nodes[i], account) != 0) {
            redis_switch_free(w);
            return NULL;
        }
    timer_set(&w->ping, PING_MS);
    return w;
}

void redis_switch_free(struct redis_switch *w)
{
    if (!w)
        return;
    timer_stop(&w->ping);
    timer_stop(&w->pass);
    for (size_t i = 0; i < w->count; i++) {
        redis_client_free(w->listeners[i].client);
        list_remove(&w->listeners[i].say.node);
        buf_done(&w->listeners[i].say.bytes);
    }
    free(w);
}
