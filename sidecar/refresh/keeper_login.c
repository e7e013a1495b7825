/* What sidekey login has received, committed by the keeper that runs: a connection on login.sock, passed on by the
 * supervisor, from the same user or root (rule 8.10). */
#include "refresh/keeper_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "net/listen_unix.h"
#include "refresh/login/login_message.h"
#include "refresh/login/revoke.h"
#include "refresh/login/signed_in.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOGINS_MAX 4
#define READ_MS 10000
#define BUSY_MS 200 /* another holder of the lease is asked again after this */
#define ERROR_MS 1000
#define LEASES 5 /* … for so many of its times */

struct login_link {
    struct list node;
    struct keeper *keeper;
    int fd;
    ev_io io;
    struct timer timer; /* the deadline of the message, then the pause before the next try */
    struct buf in;      /* secret */
    struct login_message message;
    struct grant_answer answer;
    const struct credential_spec *spec;
    struct store_owner owner;
    struct store_op *op;
    struct revoke *revoke;
    struct state parent; /* FORGET: what is stored, under our lease */
    char note[320];      /* for the person; "": nothing */
    uint64_t known;      /* generation */
    int64_t until_ms;
    char error[200]; /* of the last try */
};

static void begin(struct login_link *l);

static void link_free(struct login_link *l)
{
    list_remove(&l->node);
    ev_io_stop(loop_get(), &l->io);
    timer_stop(&l->timer);
    store_cancel(l->keeper->stores.store, l->op);
    revoke_cancel(l->revoke);
    state_done(&l->parent);
    grant_answer_done(&l->answer);
    login_message_done(&l->message);
    buf_done(&l->in);
    close(l->fd);
    free(l);
}

/* The last thing that is done with l.  error NULL: it is stored, or would be. */
static void answer(struct login_link *l, uint64_t generation, const char *error)
{
    struct buf out;
    buf_init(&out, 4096);
    if (login_message_write_answer(generation, l->note, error, &out) == 0)
        (void)!send(l->fd, buf_slice(&out).ptr, out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    buf_done(&out);
    link_free(l);
}

/* ---- lease and commit ---- */

static void read_seed(const struct credential_spec *spec, struct secret *seed)
{
    const struct secret_ref *ref = &spec->refresh_token;
    struct err ignored;
    if (ref->kind != SECRET_REF_NONE && ref->kind != SECRET_REF_COMMAND) /* a program would be waited for */
        (void)!secret_ref_read(ref, seed, &ignored);
}

static void on_committed(void *arg, const struct store_answer *a)
{
    struct login_link *l = arg;
    l->op = NULL;
    if (a->result == STORE_OK) {
        log_info(log_msg(l->message.act == LOGIN_KEEP ? "signed in" : "signed out"),
                 log_str("credential", l->spec->name), log_int("generation", (int64_t)a->generation));
        answer(l, a->generation, NULL);
        return;
    }
    l->known = a->state ? a->state->generation : l->known;
    snprintf(l->error, sizeof l->error, "cannot store it: %s", a->error ? a->error : "another process has the lease");
    timer_set(&l->timer, a->result == STORE_ERROR ? ERROR_MS : 0);
}

static void commit(struct login_link *l, const struct state *parent)
{
    struct secret seed = { NULL, 0, 0 };
    struct state next;
    state_init(&next);
    read_seed(l->spec, &seed);
    const struct signed_in s = { l->keeper->stores.ring, l->spec, secret_peek(&seed) };
    int failed = 0;
    if (l->message.act == LOGIN_KEEP)
        failed = signed_in_state(&s, parent, &l->answer, l->message.wall_ms, &next);
    else
        signed_in_cleared(&s, parent, &next);
    if (failed == 0)
        l->op =
            store_commit(l->keeper->stores.store, l->spec->name, &l->owner, parent->generation, &next, on_committed, l);
    state_done(&next);
    secret_done(&seed);
    if (!l->op)
        timer_set(&l->timer, ERROR_MS);
}

/* ---- and out: the token is revoked under the lease, so nobody refreshes with it meanwhile ---- */

static void on_revoked(void *arg, const char *error)
{
    struct login_link *l = arg;
    l->revoke = NULL;
    if (error)
        snprintf(l->note, sizeof l->note, "%.240s: end the session there as well", error);
    commit(l, &l->parent);
}

static void forget(struct login_link *l, const struct state *stored)
{
    const char *url = l->message.revocation_url;
    struct slice token = secret_peek(&stored->refresh_token);
    struct err e = { "out of memory" };
    l->note[0] = '\0';
    if (token.len && (!*url || !revoke_may(l->spec, url)))
        snprintf(l->note, sizeof l->note, "%s", REVOKE_NOWHERE);
    else if (token.len && state_copy(&l->parent, stored) == 0)
        l->revoke = revoke_start(l->keeper->fetch, l->spec, url, token, on_revoked, l, &e);
    if (!l->revoke && token.len && !l->note[0])
        snprintf(l->note, sizeof l->note, "%.240s: end the session there as well", e.text);
    if (!l->revoke)
        commit(l, stored);
}

static void on_begun(void *arg, const struct store_answer *a)
{
    struct login_link *l = arg;
    l->op = NULL;
    if (a->result == STORE_WON && l->message.act == LOGIN_KEEP)
        commit(l, a->state);
    else if (a->result == STORE_WON)
        forget(l, a->state);
    if (a->result == STORE_WON)
        return;
    l->known = a->result == STORE_FRESH ? a->state->generation : l->known;
    snprintf(l->error, sizeof l->error, "%s",
             a->error ? a->error
                      : "another process is refreshing this credential and has not finished: try again later");
    if (a->result == STORE_FRESH)
        timer_set(&l->timer, 0);
    else
        timer_set(&l->timer, a->result == STORE_BUSY ? BUSY_MS : ERROR_MS);
}

static void begin(struct login_link *l)
{
    int64_t lease_ms = l->keeper->flights.lease_ms;
    l->op = store_begin(l->keeper->stores.store, l->spec->name, &l->owner, lease_ms, l->known, on_begun, l);
    if (!l->op)
        timer_set(&l->timer, ERROR_MS);
}

static void on_timer(void *arg)
{
    struct login_link *l = arg;
    if (!l->spec)
        link_free(l); /* the message did not come in time */
    else if (clock_mono_ms() >= l->until_ms)
        answer(l, 0, l->error[0] ? l->error : "out of memory");
    else
        begin(l);
}

/* ---- the message ---- */

static bool is_same(const struct keeper *k, const struct login_message *h, const struct credential_spec *s)
{
    char store[PATH_MAX];
    return s->token_url && strcmp(h->token_url, s->token_url) == 0
           && strcmp(h->client_id, s->client_id ? s->client_id : "") == 0 && realpath(k->options->state_dir, store)
           && strcmp(h->store, store) == 0;
}

static const struct account *find(const struct keeper *k, const char *credential)
{
    for (size_t i = 0; i < k->account_count; i++)
        if (strcmp(k->accounts[i].spec->name, credential) == 0)
            return &k->accounts[i];
    return NULL;
}

static const char *judge(struct login_link *l)
{
    const struct login_message *h = &l->message;
    const struct account *a = find(l->keeper, h->credential);
    char why[GRANT_WHY_BYTES] = "";
    if (!a || a->spec->grant != GRANT_REFRESH_TOKEN || !is_same(l->keeper, h, a->spec))
        return "the running sidekey has another configuration: reload it";
    if (h->act == LOGIN_LOOK)
        return NULL;
    l->known = a->state.generation;
    if (h->act == LOGIN_FORGET) {
        l->spec = a->spec;
        return NULL;
    }
    const struct grant_input in = { h->status, buf_slice(&h->body), false, a->spec };
    if (grant_answer_parse(&in, &l->answer, why) != GRANT_TOKEN || secret_empty(&l->answer.refresh_token))
        return "the token response cannot be used";
    l->spec = a->spec;
    return NULL;
}

static void take_message(struct login_link *l)
{
    struct err e;
    timer_stop(&l->timer);
    ev_io_stop(loop_get(), &l->io);
    const char *wrong = "the message cannot be read";
    if (login_message_read(buf_slice(&l->in), &l->message, &e) == 0)
        wrong = judge(l);
    buf_done(&l->in);
    if (wrong || l->message.act == LOGIN_LOOK) {
        answer(l, 0, wrong);
        return;
    }
    l->until_ms = clock_mono_ms() + LEASES * l->keeper->flights.lease_ms;
    begin(l);
}

static void on_readable(struct ev_loop *loop, ev_io *io, int revents)
{
    struct login_link *l = io->data;
    (void)loop;
    (void)revents;
    size_t room = buf_space(&l->in) < 65536 ? buf_space(&l->in) : 65536;
    char *at = room ? buf_reserve(&l->in, room) : NULL;
    ssize_t got = at ? recv(l->fd, at, room, MSG_DONTWAIT) : -1;
    if (got > 0)
        buf_grow(&l->in, (size_t)got);
    else if (got == 0)
        take_message(l);
    else
        link_free(l);
}

/* ---- the connection ---- */

static bool may_sign_in(int fd)
{
    uid_t uid;
    pid_t pid;
    if (listen_unix_peer(fd, &uid, &pid) != 0 || (uid != 0 && uid != geteuid())) {
        log_warn(log_msg("a user that is neither root nor sidekey's own tried to sign in"));
        return false;
    }
    return true;
}

void keeper_login(struct keeper *k, int fd)
{
    size_t count = 0;
    for (struct list *n = k->logins.next; n != &k->logins; n = n->next)
        count++;
    struct login_link *l = !k->draining && count < LOGINS_MAX && may_sign_in(fd) ? calloc(1, sizeof *l) : NULL;
    if (!l) {
        close(fd);
        return;
    }
    *l = (struct login_link){ .keeper = k, .fd = fd };
    state_init(&l->parent);
    list_init(&l->node);
    list_push(&k->logins, &l->node);
    rand_bytes(l->owner.bytes, sizeof l->owner.bytes);
    buf_init_secret(&l->in, LOGIN_MESSAGE_MAX);
    timer_init(&l->timer, on_timer, l);
    timer_set(&l->timer, READ_MS);
    ev_io_init(&l->io, on_readable, fd, EV_READ);
    l->io.data = l;
    ev_io_start(loop_get(), &l->io);
}

void keeper_drop_logins(struct keeper *k)
{
    while (!list_empty(&k->logins))
        link_free(LIST_ENTRY(k->logins.next, struct login_link, node));
}
