#include "refresh/redis/redis_link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "net/stream.h"
#include "net/timer.h"

#define READ_BYTES 16384
#define READS_MAX 64 /* a turn */
#define LOGIN_BYTES (80 * 1024)

enum link_state { LINK_DIAL, LINK_SECURE, LINK_LOGIN, LINK_READY, LINK_CLOSED };
static const char *const states[] = { "dial", "tls", "login", "ready", "closed" };

enum login_step { LOGIN_AUTH, LOGIN_NAME, LOGIN_PROBE, LOGIN_DB, LOGIN_ROLE };

struct redis_link {
    enum link_state state;
    struct redis_login login;
    struct secret password; /* until it is sent: another link may have the shared one read anew meanwhile */
    struct redis_link_hooks hooks;
    struct authority at;
    struct tls_client *tls;
    char name[REDIS_NAME_SIZE];
    struct dial *dial;
    int fd; /* of a unix socket, until its stream is there */
    struct stream *stream;
    struct redis_reader *reader;
    enum login_step steps[4]; /* whose replies are still to come */
    size_t step, step_count;
    struct list sent;                /* commands without a reply, the oldest first */
    struct redis_command *unwritten; /* the first that is not wholly in the stream; NULL: none */
    size_t written;                  /* bytes of it that are */
    struct timer deadline;
    struct later later; /* connect of a unix socket, or the end */
    bool refused;
    bool name_open; /* CLIENT SETNAME was sent, and the server has not shown that it goes on after it */
    bool unnamed;   /* … and then it ended the connection */
    struct err why;
};

/* ---- the end ---- */

static void close_link(struct redis_link *l, const char *what)
{
    if (l->state == LINK_CLOSED)
        return;
    log_debug(log_msg("redis link closed"), log_str("server", l->name), log_str("from", states[l->state]),
              log_str("reason", what));
    err_set(&l->why, "%s %s", l->name, what);
    l->state = LINK_CLOSED;
    timer_stop(&l->deadline);
    dial_cancel(l->dial);
    l->dial = NULL;
    stream_free(l->stream);
    l->stream = NULL;
    loop_later_ask(&l->later);
}

void redis_link_close(struct redis_link *l, const char *why)
{
    if (l->state == LINK_CLOSED)
        return;
    close_link(l, "is no longer used");
    err_set(&l->why, "%s", why);
}

static void on_deadline(void *arg)
{
    static const char *const late[] = { "cannot be reached: no connection in time",
                                        "does not complete the TLS handshake in time",
                                        "does not respond to the login in time", "does not respond in time" };
    struct redis_link *l = arg;
    close_link(l, late[l->state]);
}

/* ---- writing ---- */

/* A reply is due as long as a command waits. */
static void expect(struct redis_link *l)
{
    if (l->state != LINK_READY)
        return;
    if (list_empty(&l->sent))
        timer_stop(&l->deadline);
    else
        timer_set(&l->deadline, REDIS_COMMAND_MS);
}

static struct redis_command *command_after(const struct redis_link *l, const struct redis_command *c)
{
    return c->node.next == &l->sent ? NULL : LIST_ENTRY(c->node.next, struct redis_command, node);
}

static void write_some(struct redis_link *l)
{
    while (l->unwritten && l->state == LINK_READY) {
        struct slice rest = slice_skip(buf_slice(&l->unwritten->bytes), l->written);
        size_t space = stream_space(l->stream);
        if (space == 0)
            return; /* STREAM_DRAINED comes */
        if (rest.len > space)
            rest.len = space;
        if (stream_write(l->stream, rest) != 0) {
            close_link(l, "cannot be written to: out of memory");
            return;
        }
        l->written += rest.len;
        if (l->written < buf_slice(&l->unwritten->bytes).len)
            continue;
        l->unwritten = command_after(l, l->unwritten);
        l->written = 0;
    }
}

void redis_link_send(struct redis_link *l, struct redis_command *c)
{
    bool first = list_empty(&l->sent);
    list_push(&l->sent, &c->node);
    if (!l->unwritten)
        l->unwritten = c;
    write_some(l);
    if (first)
        expect(l);
}

/* ---- login (pipelined: one round trip) ---- */

static int add_step(struct redis_link *l, struct buf *out, enum login_step step, const struct slice *argv, size_t argc)
{
    l->steps[l->step_count++] = step;
    return redis_wire_add(out, argv, argc);
}

/* Our name, for CLIENT LIST.  Without one: a read that every server and proxy knows. */
static int add_name(struct redis_link *l, struct buf *out)
{
    if (l->login.nameless)
        return add_step(l, out, LOGIN_PROBE, (struct slice[]){ SLICE("GET"), SLICE("{sidekey:}:probe") }, 2);
    l->name_open = true;
    return add_step(l, out, LOGIN_NAME, (struct slice[]){ SLICE("CLIENT"), SLICE("SETNAME"), SLICE("sidekey") }, 3);
}

static int add_login(struct redis_link *l, struct buf *out)
{
    char db[16];
    int failed = 0;
    if (!secret_empty(&l->password)) {
        struct slice argv[3] = { SLICE("AUTH"), slice_str(l->login.username), secret_peek(&l->password) };
        if (!l->login.username)
            argv[1] = argv[2];
        failed = add_step(l, out, LOGIN_AUTH, argv, l->login.username ? 3 : 2);
    }
    if (failed == 0) /* and the question whether we may say anything at all */
        failed = add_name(l, out);
    if (failed == 0 && l->login.db) {
        snprintf(db, sizeof db, "%u", l->login.db);
        failed = add_step(l, out, LOGIN_DB, (struct slice[]){ SLICE("SELECT"), slice_str(db) }, 2);
    }
    if (failed == 0 && l->login.primary)
        failed = add_step(l, out, LOGIN_ROLE, (struct slice[]){ SLICE("ROLE") }, 1);
    return failed;
}

static void log_in(struct redis_link *l)
{
    struct buf out;
    l->state = LINK_LOGIN;
    buf_init_secret(&out, LOGIN_BYTES);
    int failed = add_login(l, &out);
    if (failed == 0)
        failed = stream_write(l->stream, buf_slice(&out));
    buf_done(&out);
    secret_done(&l->password);
    if (failed)
        close_link(l, "cannot be asked: out of memory");
    else
        stream_want_read(l->stream, true);
}

static void refuse(struct redis_link *l, const redisReply *reply)
{
    struct err e;
    redis_wire_explain(&e, "", reply);
    close_link(l, e.text + 1); /* the name stands before it anyway */
}

/* Does this error end the login?  A name is a courtesy, and a user without ROLE is believed. */
static bool is_fatal(enum login_step step, const redisReply *reply)
{
    static const char *const always[] = { "NOAUTH", "WRONGPASS", "DENIED", "LOADING" };
    if (!reply || reply->type != REDIS_REPLY_ERROR)
        return false;
    if (step == LOGIN_AUTH || step == LOGIN_DB || strncmp(reply->str, "ERR max number of clients", 25) == 0)
        return true;
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        if (redis_wire_is(reply, always[i]))
            return true;
    return false;
}

/* Not Redis, or a proxy that mixes replies up: nil, a string or an error is what GET gives. */
static bool is_strange(enum login_step step, const redisReply *reply)
{
    return step == LOGIN_PROBE && reply->type != REDIS_REPLY_NIL && reply->type != REDIS_REPLY_STRING
           && reply->type != REDIS_REPLY_ERROR;
}

static void on_login_reply(struct redis_link *l, const redisReply *reply)
{
    enum login_step step = l->steps[l->step++];
    if (step > LOGIN_NAME || (step == LOGIN_NAME && reply->type != REDIS_REPLY_ERROR))
        l->name_open = false;
    if (is_fatal(step, reply)) {
        l->refused = step == LOGIN_AUTH || redis_wire_is(reply, "NOAUTH");
        if (step == LOGIN_AUTH && strncmp(reply->str, "ERR", 3) == 0) /* before Redis 6 there was no WRONGPASS */
            close_link(l, "refuses the login: check store.redis.username and store.redis.password (or remove them, if "
                          "it needs no login)");
        else if (step == LOGIN_DB && !redis_wire_is(reply, "NOPERM"))
            close_link(l, "has no database of that number (a cluster has only 0): see store.redis.url");
        else
            refuse(l, reply);
        return;
    }
    if (step == LOGIN_ROLE && reply->type == REDIS_REPLY_ARRAY
        && !slice_eq(redis_wire_text(redis_wire_at(reply, 0)), SLICE("master"))) {
        close_link(l, "is not a primary (yet), although the sentinel says so");
        return;
    }
    if (is_strange(step, reply)) {
        close_link(l, "answers GET with a value that is not a string: it is not Redis, or a proxy mixes up replies");
        return;
    }
    if (l->step < l->step_count)
        return;
    l->state = LINK_READY;
    timer_stop(&l->deadline);
    l->hooks.on_ready(l->hooks.arg);
}

/* ---- reading ---- */

static void on_reply(struct redis_link *l, const redisReply *reply)
{
    if (l->state == LINK_LOGIN) {
        on_login_reply(l, reply);
        return;
    }
    l->name_open = false;
    if (l->hooks.on_push) {
        while (!l->unwritten && !list_empty(&l->sent)) /* any word will do: it lives */
            list_shift(&l->sent);
        expect(l);
        l->hooks.on_push(l->hooks.arg, reply);
        return;
    }
    if (list_empty(&l->sent) || l->unwritten == LIST_ENTRY(l->sent.next, struct redis_command, node)) {
        refuse(l, reply); /* as it closes: maxclients, protected mode */
        return;
    }
    struct redis_command *c = LIST_ENTRY(l->sent.next, struct redis_command, node);
    if (c->skip > 0) {
        c->skip--;
        return;
    }
    list_remove(&c->node);
    expect(l);
    c->done(c, reply, NULL);
}

static void take_bytes(struct redis_link *l, struct slice bytes)
{
    struct err e;
    redisReply *reply;
    int got = redis_wire_feed(l->reader, bytes, &e);
    if (got == 0)
        while (l->state != LINK_CLOSED && (got = redis_wire_next(l->reader, &reply, &e)) == 1) {
            on_reply(l, reply);
            freeReplyObject(reply);
        }
    if (got < 0)
        close_link(l, e.text);
}

static void on_end(struct redis_link *l)
{
    l->unnamed = l->name_open;
    close_link(l, l->state == LINK_LOGIN && !l->tls
                      ? "closes the connection at once (if it requires TLS, begin the URL with rediss://)"
                      : "closed the connection");
}

static void read_some(struct redis_link *l)
{
    char bytes[READ_BYTES];
    for (int i = 0; i < READS_MAX && l->state != LINK_CLOSED; i++) {
        size_t n = 0;
        switch (stream_read(l->stream, bytes, sizeof bytes, &n)) {
        case STREAM_OK: take_bytes(l, slice_of(bytes, n)); break;
        case STREAM_AGAIN: return;
        case STREAM_EOF: on_end(l); return;
        case STREAM_ERROR:
            l->unnamed = l->name_open;
            close_link(l, stream_error(l->stream));
            return;
        }
    }
}

static void on_failed(struct redis_link *l)
{
    char text[384];
    bool verify = stream_verify_failed(l->stream);
    snprintf(text, sizeof text, "%s%s%s", l->state == LINK_SECURE ? "TLS: " : "", stream_error(l->stream),
             verify ? ": check the host in store.redis.url and store.redis.ca_file" : "");
    close_link(l, text);
}

static void on_stream(void *owner, enum stream_event event)
{
    struct redis_link *l = owner;
    switch (event) {
    case STREAM_SECURED: log_in(l); break;
    case STREAM_READABLE: read_some(l); break;
    case STREAM_DRAINED: write_some(l); break;
    case STREAM_LEFT: break; /* not asked for */
    case STREAM_FAILED: on_failed(l); break;
    }
}

/* ---- connecting ---- */

static void on_connected(struct redis_link *l, int fd)
{
    char key[AUTHORITY_TEXT_MAX];
    if (!(l->stream = stream_new(fd, on_stream, l))) {
        close(fd);
        close_link(l, "cannot be asked: out of memory");
        return;
    }
    if (!l->tls) {
        log_in(l);
        return;
    }
    l->state = LINK_SECURE;
    if (stream_connect_tls(l->stream, l->tls, l->at.host, l->at.kind != HOST_NAME, authority_key(&l->at, key)) != 0)
        close_link(l, "cannot be asked: out of memory");
}

static void on_dialled(void *arg, int fd, enum dial_error error, const char *text)
{
    struct redis_link *l = arg;
    char what[256], at[AUTHORITY_TEXT_MAX];
    size_t named = strlen(authority_key(&l->at, at));
    l->dial = NULL;
    if (fd >= 0) {
        on_connected(l, fd);
        return;
    }
    if (strncmp(text, at, named) == 0 && strncmp(text + named, ": ", 2) == 0)
        text += named + 2; /* our name stands before it already */
    snprintf(what, sizeof what, "cannot be reached: %s%s", text,
             error == DIAL_REFUSED ? " (is it running, and does it listen on this address?)" : "");
    close_link(l, what);
}

/* The descriptor; -errno.  A unix socket connects at once, or its server is too far behind. */
static int connect_path(const char *path)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof to.sun_path)
        return -ENAMETOOLONG;
    memcpy(to.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    int failed = -errno;
    close(fd);
    return failed;
}

static void on_later(struct later *later)
{
    struct redis_link *l = LIST_ENTRY(later, struct redis_link, later);
    if (l->state == LINK_CLOSED) {
        l->hooks.on_closed(l->hooks.arg, l->why.text);
        return;
    }
    int fd = l->fd;
    l->fd = -1;
    if (fd >= 0)
        on_connected(l, fd);
}

static int dial(struct redis_link *l, struct dialer *dialer, const struct redis_place *place)
{
    char what[160];
    if (!place->path) {
        authority_key(&place->at, what);
        snprintf(l->name, sizeof l->name, "redis %s", what);
        return (l->dial = dial_start(dialer, &place->at, on_dialled, l)) ? 0 : -ENOMEM;
    }
    snprintf(l->name, sizeof l->name, "redis %s", place->path);
    l->fd = connect_path(place->path);
    loop_later_ask(&l->later);
    if (l->fd < 0) {
        snprintf(what, sizeof what, "cannot be reached: %s", strerror(-l->fd));
        close_link(l, what);
    }
    return 0;
}

struct redis_link *redis_link_new(struct dialer *dialer, const struct redis_place *place,
                                  const struct redis_login *login, int64_t connect_ms,
                                  const struct redis_link_hooks *hooks)
{
    struct redis_link *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->login = *login;
    l->login.password = slice_of(NULL, 0);
    l->hooks = *hooks;
    l->at = place->at;
    l->tls = place->tls;
    l->fd = -1;
    list_init(&l->sent);
    loop_later_init(&l->later, on_later);
    timer_init(&l->deadline, on_deadline, l);
    if (secret_set(&l->password, login->password) != 0 || !(l->reader = redis_wire_new())
        || dial(l, dialer, place) != 0) {
        redis_link_free(l);
        return NULL;
    }
    if (l->state != LINK_CLOSED)
        timer_set(&l->deadline, connect_ms);
    return l;
}

void redis_link_free(struct redis_link *l)
{
    if (!l)
        return;
    while (!list_empty(&l->sent))
        list_shift(&l->sent);
    timer_stop(&l->deadline);
    loop_later_cancel(&l->later);
    dial_cancel(l->dial);
    stream_free(l->stream);
    secret_done(&l->password);
    if (l->fd >= 0)
        close(l->fd);
    redis_wire_free(l->reader);
    free(l);
}

bool redis_link_ready(const struct redis_link *l)
{
    return l && l->state == LINK_READY;
}

void redis_link_take(struct redis_link *l, struct list *to)
{
    list_init(to);
    l->unwritten = NULL;
    l->written = 0;
    for (struct list *node; (node = list_shift(&l->sent)) != NULL;)
        list_push(to, node);
}

bool redis_link_refused(const struct redis_link *l)
{
    return l->refused;
}

bool redis_link_unnamed(const struct redis_link *l)
{
    return l->unnamed;
}

const char *redis_link_name(const struct redis_link *l)
{
    return l->name;
}
