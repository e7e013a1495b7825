/* The keeper's side of the workers: who is there, what they ask, what all of them are told. */
#include "refresh/keeper_private.h"

#include "base/clock.h"
#include "base/log.h"

#include "net/ipc/msg_send.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define EXTRA_MAX_BYTES 2048
#define NONSENSE_MAX 3               /* messages of a link that are forgiven */
#define FAIL_QUEUE_MAX (1024 * 1024) /* a worker that reads nothing for so long has nobody left who waits */

struct account *keeper_find(struct keeper *k, struct slice name)
{
    for (size_t i = 0; i < k->account_count; i++)
        if (slice_eq(name, slice_str(k->accounts[i].spec->name)))
            return &k->accounts[i];
    return NULL;
}

static int send_one(struct worker_link *w, const struct msg *m)
{
    int failed = msg_send(w->ipc, m, -1);
    if (failed && failed != -EPIPE)
        log_warn(log_msg("cannot send a message to a worker"), log_int("slot", (int64_t)w->slot),
                 log_int("type", m->type), log_str("reason", strerror(-failed)));
    return failed;
}

void keeper_send(struct worker_link *w, const struct msg *m)
{
    (void)send_one(w, m);
}

/* Members beside the token that an injection rule may name (instance_url …). What looks like another secret stays here.
 */
static bool is_extra(const char *key, const json_t *value)
{
    return json_is_string(value) && json_string_length(value) > 0 && json_string_length(value) <= EXTRA_MAX_BYTES
           && strlen(key) <= MSG_NAME_MAX && !strcasestr(key, "token") && !strcasestr(key, "secret")
           && !strcasestr(key, "password");
}

static void add_extras(json_t *extra, struct msg *m)
{
    const char *key;
    json_t *value;
    json_object_foreach(extra, key, value)
    {
        if (m->extra_count == MSG_EXTRAS_MAX)
            return;
        if (is_extra(key, value))
            m->extras[m->extra_count++] =
                (struct msg_extra){ slice_str(key), slice_of(json_string_value(value), json_string_length(value)) };
    }
}

static struct msg token_message(const struct account *a)
{
    struct msg m = {
        .type = MSG_TOKEN, .name = slice_str(a->spec->name), .generation = a->token_gen, .state = account_state(a)
    };
    m.expires_ms = a->times.expires_ms;
    m.refresh_at_ms = a->times.advisory_ms;
    if (account_usable(a)) /* an expired token is of no use to anybody */
        m.token = secret_peek(&a->state.access_token);
    add_extras(a->state.extra, &m);
    return m;
}

void keeper_send_all(struct keeper *k, const struct msg *m)
{
    for (struct list *n = k->workers.next; n != &k->workers; n = n->next)
        keeper_send(LIST_ENTRY(n, struct worker_link, node), m);
}

/* ---- tokens: what is owed is the newest one, so a worker that reads slowly, or a thousand credentials at its start,
 * fill no queue ---- */

static void mark_dirty(struct worker_link *w, size_t i)
{
    w->dirty_count += !w->dirty[i];
    w->dirty[i] = true;
}

/* Short of memory it stays owed: the next message of the worker brings it up again. */
static bool send_token(struct worker_link *w, size_t i)
{
    struct msg m = token_message(&w->keeper->accounts[i]);
    if (send_one(w, &m) == -ENOMEM)
        return false;
    w->dirty_count -= w->dirty[i];
    w->dirty[i] = false;
    return true;
}

static void flush_tokens(struct worker_link *w)
{
    for (size_t i = 0; w->dirty_count && i < w->keeper->account_count; i++)
        if (w->dirty[i] && (ipc_queued(w->ipc) || !send_token(w, i)))
            return; /* goes on when there is room */
    if (w->config_dirty && send_one(w, &(struct msg){ .type = MSG_CONFIG }) != -ENOMEM)
        w->config_dirty = false;
}

static void on_space(void *arg)
{
    flush_tokens(arg);
}

void keeper_publish(void *keeper, const struct account *a)
{
    struct keeper *k = keeper;
    for (struct list *n = k->workers.next; n != &k->workers; n = n->next) {
        struct worker_link *w = LIST_ENTRY(n, struct worker_link, node);
        if (!w->greeted)
            continue;
        mark_dirty(w, (size_t)(a - k->accounts));
        flush_tokens(w);
    }
    keeper_trim_soon(k);
}

/* The token goes first when it is owed: a refusal speaks of what came before it. */
static void refuse_one(struct worker_link *w, const struct account *a, const struct msg *fail)
{
    size_t i = (size_t)(a - w->keeper->accounts);
    if (ipc_queued(w->ipc) > FAIL_QUEUE_MAX || (w->dirty[i] && !send_token(w, i)))
        return;
    keeper_send(w, fail);
}

void keeper_refuse(void *keeper, const struct account *a, enum msg_class failure, int64_t retry_after_ms,
                   const char *text)
{
    struct keeper *k = keeper;
    const struct msg fail = { .type = MSG_FAIL,
                              .name = slice_str(a->spec->name),
                              .generation = a->token_gen,
                              .failure = failure,
                              .retry_after_ms = retry_after_ms,
                              .text = slice_str(text) };
    for (struct list *n = k->workers.next; n != &k->workers; n = n->next)
        if (LIST_ENTRY(n, struct worker_link, node)->greeted)
            refuse_one(LIST_ENTRY(n, struct worker_link, node), a, &fail);
}

/* ---- what workers say ---- */

static void on_hello(struct worker_link *w, const struct msg *m)
{
    struct keeper *k = w->keeper;
    w->greeted = true;
    w->slot = m->tag;
    for (size_t i = 0; i < k->account_count; i++)
        mark_dirty(w, i);
    w->config_dirty = true;
}

static void on_want(struct worker_link *w, const struct msg *m)
{
    struct account *a = keeper_find(w->keeper, m->name);
    if (a)
        account_want(a, &(struct schedule_need){ m->reason, m->generation, m->reason == MSG_EXPIRING });
    else
        keeper_send(w, &(struct msg){ .type = MSG_FAIL,
                                      .name = m->name,
                                      .failure = MSG_UNKNOWN_CREDENTIAL,
                                      .text = SLICE("no such credential") });
}

static void drop_worker(struct worker_link *w)
{
    list_remove(&w->node);
    ipc_free(w->ipc);
    free(w->dirty);
    free(w);
}

static void on_gone(void *arg)
{
    drop_worker(arg);
}

/* A worker that works never sends this: a bug, or somebody else speaks through it.  w may be gone afterwards. */
static void on_nonsense(struct worker_link *w, const char *why)
{
    if (++w->nonsense <= NONSENSE_MAX) {
        log_warn(log_msg("a message from a worker was dropped"), log_int("slot", (int64_t)w->slot),
                 log_str("reason", why));
        return;
    }
    log_error(log_msg("a worker keeps sending invalid messages: the keeper closes its link"),
              log_int("slot", (int64_t)w->slot), log_int("messages", w->nonsense));
    drop_worker(w);
}

static void on_packet(void *arg, struct slice packet, int fd)
{
    struct worker_link *w = arg;
    struct msg m;
    if (fd >= 0)
        close(fd); /* workers have none to give */
    if (msg_decode(packet, &m) != 0) {
        on_nonsense(w, "it cannot be read");
        return;
    }
    switch (m.type) {
    case MSG_HELLO: on_hello(w, &m); break;
    case MSG_WANT: on_want(w, &m); break;
    case MSG_MINT: keeper_ca_mint(w, &m); break;
    case MSG_ASK: keeper_report(w, &m); break;
    default: on_nonsense(w, "workers do not send this type"); return;
    }
    flush_tokens(w);
}

void keeper_add_worker(struct keeper *k, int fd)
{
    struct worker_link *w = calloc(1, sizeof *w);
    if (!w || !(w->dirty = calloc(k->account_count + 1, sizeof *w->dirty))
        || !(w->ipc = ipc_new(fd, on_packet, on_gone, w))) {
        log_error(log_msg("cannot connect a worker"), log_str("reason", "out of memory"));
        if (w)
            free(w->dirty);
        free(w);
        close(fd);
        return;
    }
    w->keeper = k;
    ipc_on_space(w->ipc, on_space);
    list_init(&w->node);
    list_push(&k->workers, &w->node);
}

void keeper_drop_workers(struct keeper *k)
{
    while (!list_empty(&k->workers))
        drop_worker(LIST_ENTRY(k->workers.next, struct worker_link, node));
}
