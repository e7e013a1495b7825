#include "refresh/redis/redis_client.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/rand.h"
#include "net/timer.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS 3000
#define LIVED_MS 1000 /* a second connection that ends sooner counts as a failure */
#define TRIES_MAX 2   /* of one command */

struct redis_client {
    struct redis_client_options options;
    struct redis_login login;
    struct redis_sentinel *question; /* who is the primary? */
    struct redis_link *link;
    struct list waiting; /* for the link to be ready */
    struct authority at; /* the server that was dialled last */
    struct timer again;
    unsigned failures; /* since it was last ready */
    bool was_ready;    /* this link */
    int64_t ready_ms;  /* … since */
    bool lost_soon;    /* the one before it did not live long */
    char name[REDIS_NAME_SIZE];
    char why[512];
};

static void connect_now(void *arg);

/* ---- passwords ---- */

void redis_client_account_done(struct redis_account *a)
{
    secret_done(&a->secret);
    a->read = false;
}

static int account_login(struct redis_account *a, struct redis_login *login, struct err *e)
{
    login->username = a->username;
    if (!a->read && a->password->kind != SECRET_REF_NONE && secret_ref_read(a->password, &a->secret, e) != 0)
        return -1;
    a->read = true;
    login->password = secret_peek(&a->secret);
    return 0;
}

/* ---- commands ---- */

static void fail_all(struct redis_client *c, struct list *commands)
{
    for (struct list *node; (node = list_shift(commands)) != NULL;) {
        struct redis_command *command = LIST_ENTRY(node, struct redis_command, node);
        command->done(command, NULL, c->why);
    }
}

bool redis_client_up(const struct redis_client *c)
{
    return redis_link_ready(c->link);
}

bool redis_client_down(const struct redis_client *c)
{
    return !redis_client_up(c) && c->failures > 0;
}

void redis_client_send(struct redis_client *c, struct redis_command *command)
{
    if (redis_client_up(c))
        redis_link_send(c->link, command);
    else if (c->failures > 0 && !c->link && !c->question)
        command->done(command, NULL, c->why);
    else
        list_push(&c->waiting, &command->node);
}

bool redis_client_unsend(struct redis_client *c, struct redis_command *command)
{
    for (const struct list *node = c->waiting.next; node != &c->waiting; node = node->next)
        if (node == &command->node) {
            list_remove(&command->node);
            return true;
        }
    return false;
}

/* ---- connecting ---- */

/* What was sent on the connection that ended goes first on the next one, once. */
static void keep_unanswered(struct redis_client *c)
{
    struct list unanswered, failed;
    redis_link_take(c->link, &unanswered);
    list_init(&failed);
    while (!list_empty(&unanswered)) {
        struct list *last = unanswered.prev; /* from the end, so that unshift keeps their order */
        struct redis_command *command = LIST_ENTRY(last, struct redis_command, node);
        list_remove(last);
        bool again = ++command->tries < TRIES_MAX && c->was_ready && c->failures == 0;
        if (again && !c->options.on_push) /* on_up subscribes anew */
            list_unshift(&c->waiting, last);
        else
            list_unshift(&failed, last);
    }
    fail_all(c, &failed);
}

static void try_again(struct redis_client *c, const char *why)
{
    int64_t most_ms = BACKOFF_LAST_MS;
    snprintf(c->why, sizeof c->why, "%s", why);
    bool unnamed = c->link && redis_link_unnamed(c->link), silent = unnamed && !c->was_ready;
    if (c->link)
        keep_unanswered(c);
    redis_link_free(c->link);
    c->link = NULL;
    bool lived = c->was_ready && clock_mono_ms() - c->ready_ms > LIVED_MS;
    bool lost = unnamed || lived || (c->was_ready && !c->lost_soon);
    c->login.nameless = unnamed || (c->login.nameless && c->was_ready);
    c->lost_soon = c->was_ready ? !lived : c->lost_soon;
    c->was_ready = false;
    if (!lost)
        c->failures++;
    if (c->failures > 0)
        fail_all(c, &c->waiting);
    if (c->failures < 8 && BACKOFF_FIRST_MS << c->failures < BACKOFF_LAST_MS)
        most_ms = BACKOFF_FIRST_MS << c->failures;
    timer_set(&c->again, c->failures == 0 ? 0 : (int64_t)rand_below((uint64_t)most_ms));
    if (c->options.on_down && !silent)
        c->options.on_down(c->options.arg, c->why);
}

static void on_ready(void *arg)
{
    struct redis_client *c = arg;
    struct list waiting;
    c->failures = 0;
    c->was_ready = true;
    c->ready_ms = clock_mono_ms();
    list_take(&waiting, &c->waiting);
    for (struct list *node; (node = list_shift(&waiting)) != NULL;)
        redis_client_send(c, LIST_ENTRY(node, struct redis_command, node));
    if (c->options.on_up)
        c->options.on_up(c->options.arg);
}

static void on_closed(void *arg, const char *why)
{
    struct redis_client *c = arg;
    if (redis_link_refused(c->link))
        c->options.account->read = false;
    try_again(c, why);
}

static void on_push(void *arg, const redisReply *reply)
{
    struct redis_client *c = arg;
    c->options.on_push(c->options.arg, reply);
}

static void open_link(struct redis_client *c, const struct authority *at)
{
    const struct redis_link_hooks hooks = { on_ready, on_closed, c->options.on_push ? on_push : NULL, c };
    struct redis_place place = c->options.place;
    struct err e;
    if (at) {
        place.path = NULL;
        place.at = c->at = *at;
    }
    if (account_login(c->options.account, &c->login, &e) != 0) {
        try_again(c, e.text);
        return;
    }
    c->login.db = c->options.db;
    c->login.primary = c->options.sentinels != NULL;
    if (!(c->link = redis_link_new(c->options.dialer, &place, &c->login, REDIS_CONNECT_MS, &hooks))) {
        try_again(c, "out of memory");
        return;
    }
    snprintf(c->name, sizeof c->name, "%s", redis_link_name(c->link));
}

static void on_primary(void *arg, const struct authority *at, const char *why)
{
    struct redis_client *c = arg;
    c->question = NULL;
    if (at) {
        open_link(c, at);
        return;
    }
    if (c->options.sentinels->refused)
        c->options.sentinel_account->read = false;
    try_again(c, why);
}

static void connect_now(void *arg)
{
    struct redis_client *c = arg;
    struct redis_sentinels *s = c->options.sentinels;
    struct err e = { "out of memory" };
    if (!s)
        open_link(c, NULL);
    else if (account_login(c->options.sentinel_account, &s->login, &e) != 0
             || !(c->question = redis_sentinel_ask(c->options.dialer, s, on_primary, c)))
        try_again(c, e.text);
}

void redis_client_leave(struct redis_client *c, const char *why)
{
    if (c->link)
        redis_link_close(c->link, why);
    else if (!c->question)
        timer_set(&c->again, 0);
}

/* ---- life ---- */

struct redis_client *redis_client_new(const struct redis_client_options *options)
{
    struct redis_client *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->options = *options;
    c->at = options->place.at;
    list_init(&c->waiting);
    timer_init(&c->again, connect_now, c);
    snprintf(c->name, sizeof c->name, "redis");
    timer_set(&c->again, 0);
    return c;
}

void redis_client_free(struct redis_client *c)
{
    if (!c)
        return;
    while (!list_empty(&c->waiting))
        list_shift(&c->waiting);
    timer_stop(&c->again);
    redis_sentinel_cancel(c->question);
    redis_link_free(c->link);
    free(c);
}

const char *redis_client_name(const struct redis_client *c)
{
    return c->name;
}

const struct authority *redis_client_at(const struct redis_client *c)
{
    return &c->at;
}
