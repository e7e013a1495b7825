#include "net/dial/parent_talk.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/str.h"
#include "net/loop.h"

#define OUT_MAX (2 * SECRET_REF_MAX_BYTES) /* a password in base64, and a head around it */
#define PEEK_BYTES 4096
#define INTERIM_MAX 8
#define SOCKS_ANSWER_MAX (4 + 1 + 255 + 2)

enum step { STEP_WAIT, STEP_AGAIN, STEP_END };

struct parent_talk {
    const struct parent *parent;
    struct authority to;
    int fd;
    ev_io io;
    struct buf out, in;
    unsigned interim;                           /* 1xx answers so far */
    size_t need;                                /* SOCKS5: bytes of this answer */
    enum step (*answer)(struct parent_talk *t); /* bytes have come, or out is empty */
    int error;
    char text[256];
    parent_talk_fn *fn;
    void *arg;
};

static void free_talk(struct parent_talk *t)
{
    ev_io_stop(loop_get(), &t->io);
    buf_done(&t->out);
    buf_done(&t->in);
    free(t);
}

static enum step end(struct parent_talk *t, int error, const char *text)
{
    t->error = error;
    snprintf(t->text, sizeof t->text, "%s", text);
    return STEP_END;
}

/* --- bytes --- */

/* One read that takes at most size bytes.  0: none yet, or the talk has ended (*ret_step). */
static size_t take(struct parent_talk *t, char *bytes, size_t size, int flags, enum step *ret_step)
{
    ssize_t n = recv(t->fd, bytes, size, flags);
    *ret_step = STEP_WAIT;
    if (n > 0)
        return (size_t)n;
    if (n == 0)
        *ret_step = end(t, -EPROTO, "it closed the connection");
    else if (errno != EAGAIN && errno != EINTR)
        *ret_step = end(t, -errno, errno == ECONNRESET ? "it closed the connection" : "the connection to it failed");
    return 0;
}

static enum step send_out(struct parent_talk *t)
{
    while (t->out.len) {
        struct slice bytes = buf_slice(&t->out);
        ssize_t n = send(t->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return STEP_WAIT;
        if (n < 0)
            return end(t, -errno, "it closed the connection");
        buf_consume(&t->out, (size_t)n);
    }
    return STEP_AGAIN;
}

/* The socket is watched for what the state needs: room while something waits to go out, else bytes. */
static void watch(struct parent_talk *t)
{
    int events = t->out.len ? EV_WRITE : EV_READ;
    ev_io_stop(loop_get(), &t->io);
    ev_io_set(&t->io, t->fd, events);
    ev_io_start(loop_get(), &t->io);
}

static void on_ready(struct ev_loop *loop, ev_io *w, int revents)
{
    (void)loop, (void)revents;
    struct parent_talk *t = w->data;
    enum step next;
    do {
        next = t->out.len ? send_out(t) : t->answer(t);
    } while (next == STEP_AGAIN);
    if (next == STEP_WAIT) {
        watch(t);
        return;
    }
    ev_io_stop(loop_get(), &t->io);
    t->fn(t->arg, t->error, t->text);
    free_talk(t);
}

/* --- CONNECT (RFC 9110 §9.3.6) --- */

static int add_login(struct parent_talk *t)
{
    const struct parent_options *o = t->parent->options;
    struct buf plain;
    if (!o->username)
        return 0;
    buf_init_secret(&plain, SECRET_REF_MAX_BYTES + PARENT_LOGIN_MAX + 1);
    int failed = buf_printf(&plain, "%s:", o->username); /* RFC 7617 §2 */
    if (!failed)
        failed = buf_add(&plain, secret_peek(&t->parent->password));
    if (!failed)
        failed = buf_add_str(&t->out, "Proxy-Authorization: Basic ");
    if (!failed)
        failed = str_add_base64(&t->out, buf_slice(&plain));
    if (!failed)
        failed = buf_add_str(&t->out, "\r\n");
    buf_done(&plain);
    return failed;
}

static int ask_connect(struct parent_talk *t)
{
    char key[AUTHORITY_TEXT_MAX];
    authority_key(&t->to, key);
    int failed = buf_printf(&t->out, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", key, key);
    if (!failed)
        failed = add_login(t);
    return failed ? failed : buf_add_str(&t->out, "\r\n");
}

/* "HTTP/1.1 200 …": the status, or 0. */
static int status_of(struct slice head)
{
    uint64_t status;
    if (head.len < sizeof "HTTP/1.1 200" - 1 || !slice_starts(head, SLICE("HTTP/1.")) || head.ptr[8] != ' '
        || slice_u64(slice_of(head.ptr + 9, 3), 999, &status) != 0 || (head.len > 12 && !strchr(" \r\n", head.ptr[12])))
        return 0;
    return (int)status;
}

/* Content-Length and Transfer-Encoding of a 2xx mean nothing (RFC 9110 §9.3.6). */
static enum step judge_head(struct parent_talk *t)
{
    char text[96];
    int status = status_of(buf_slice(&t->in));
    /* RFC 9110 §15.2: interim, the answer follows */
    if (status >= 100 && status < 200 && status != 101 && t->interim++ < INTERIM_MAX) {
        buf_clear(&t->in);
        return STEP_AGAIN;
    }
    if (status >= 200 && status < 300)
        return end(t, 0, "");
    if (status == 407)
        return end(t, -ECONNREFUSED,
                   t->parent->options->username
                       ? "it refused the login (407): correct network.parent_proxy.username or password"
                       : "it requires a login (407): set network.parent_proxy.username and password");
    if (status == 0)
        return end(t, -EPROTO, "its response is not HTTP");
    snprintf(text, sizeof text, "it answered CONNECT with status %d", status);
    return end(t, status == 504 ? -ETIMEDOUT : -ECONNREFUSED, text);
}

/* Bytes of piece up to the end of the blank line that ends the head; 0: it is not in there.  What came before is in
 * t->in. */
static size_t head_end(const struct parent_talk *t, const char *piece, size_t size)
{
    struct slice before = buf_slice(&t->in);
    for (size_t i = 0; i < size; i++) {
        char last[3] = { 0 }; /* the three bytes before this one */
        for (size_t k = 0; k < 3; k++) {
            size_t back = 3 - k;
            if (i >= back)
                last[k] = piece[i - back];
            else if (before.len + i >= back)
                last[k] = before.ptr[before.len + i - back];
        }
        if (piece[i] == '\n' && (last[2] == '\n' || memcmp(last, "\r\n\r", 3) == 0))
            return i + 1;
    }
    return 0;
}

/* Peeks first and then reads, so that no byte after the head is consumed. */
static enum step read_head(struct parent_talk *t)
{
    char piece[PEEK_BYTES];
    enum step failed;
    size_t n = take(t, piece, sizeof piece, MSG_PEEK, &failed), whole = n ? head_end(t, piece, n) : 0;
    if (n == 0)
        return failed;
    n = take(t, piece, whole ? whole : n, 0, &failed);
    if (n == 0)
        return failed;
    if (buf_add(&t->in, slice_of(piece, n)) != 0)
        return end(t, -EPROTO, "the head of its response is longer than 16 KiB");
    return whole ? judge_head(t) : STEP_AGAIN;
}

/* --- SOCKS5 (RFC 1928) --- */

static enum step expect(struct parent_talk *t, size_t bytes, enum step (*then)(struct parent_talk *))
{
    t->need = bytes;
    t->answer = then;
    return STEP_AGAIN;
}

/* True when need bytes are there; else *ret_step says what next. */
static bool have(struct parent_talk *t, enum step *ret_step)
{
    char piece[SOCKS_ANSWER_MAX];
    while (t->in.len < t->need) {
        size_t n = take(t, piece, t->need - t->in.len, 0, ret_step);
        if (n == 0)
            return false;
        if (buf_add(&t->in, slice_of(piece, n)) != 0) {
            *ret_step = end(t, -ENOMEM, "out of memory");
            return false;
        }
    }
    return true;
}

static unsigned byte_at(const struct parent_talk *t, size_t i)
{
    return (unsigned char)buf_slice(&t->in).ptr[i];
}

/* RFC 1928 §6. */
static enum step judge_reply(struct parent_talk *t)
{
    static const struct {
        int error;
        const char *text;
    } replies[] = {
        { 0, "" },
        { -ECONNREFUSED, "it failed (SOCKS5 reply 1)" },
        { -ECONNREFUSED, "its rules do not allow this target" },
        { -EHOSTUNREACH, "the target's network is unreachable from it" },
        { -EHOSTUNREACH, "it cannot reach the target, or the name does not exist" },
        { -ECONNREFUSED, "the target refused its connection" },
        { -ETIMEDOUT, "the target did not answer it" },
        { -ECONNREFUSED, "it does not support CONNECT" },
        { -ECONNREFUSED, "it does not support this type of address" },
    };
    unsigned reply = byte_at(t, 1);
    if (reply < sizeof replies / sizeof *replies)
        return end(t, replies[reply].error, replies[reply].text);
    return end(t, -ECONNREFUSED, "it refused, with a reply code that SOCKS5 does not define");
}

static enum step read_bound(struct parent_talk *t)
{
    enum step next;
    return have(t, &next) ? judge_reply(t) : next;
}

/* VER REP RSV ATYP, and the first byte of the address: how much follows. */
static enum step read_reply(struct parent_talk *t)
{
    enum step next;
    if (!have(t, &next))
        return next;
    unsigned type = byte_at(t, 3);
    if (byte_at(t, 0) != 5)
        return end(t, -EPROTO, "its response is not SOCKS5");
    if (byte_at(t, 1) != 0) /* servers differ in what follows a refusal */
        return judge_reply(t);
    size_t address;
    if (type == 1)
        address = 4;
    else if (type == 4)
        address = 16;
    else if (type == 3)
        address = 1 + byte_at(t, 4);
    else
        address = 0;
    if (address == 0)
        return end(t, -EPROTO, "its response is not SOCKS5");
    return expect(t, 4 + address + 2, read_bound);
}

static enum step ask_target(struct parent_talk *t)
{
    unsigned char ip[16], port[2] = { (unsigned char)(t->to.port >> 8), (unsigned char)t->to.port };
    size_t host = strlen(t->to.host), size = t->to.kind == HOST_IPV4 ? 4 : 16;
    int failed = buf_add(&t->out, slice_of("\5\1", 3)); /* VER, CONNECT, RSV */
    buf_clear(&t->in);
    if (!failed && t->to.kind == HOST_NAME)
        failed = buf_printf(&t->out, "\3%c%s", (int)host, t->to.host); /* at most 253 bytes */
    else if (!failed && inet_pton(t->to.kind == HOST_IPV4 ? AF_INET : AF_INET6, t->to.host, ip) == 1)
        failed = buf_add(&t->out, slice_of(t->to.kind == HOST_IPV4 ? "\1" : "\4", 1))
                 || buf_add(&t->out, slice_of(ip, size));
    if (!failed)
        failed = buf_add(&t->out, slice_of(port, sizeof port));
    return failed ? end(t, -ENOMEM, "out of memory") : expect(t, 5, read_reply);
}

/* RFC 1929 §2. */
static enum step read_login(struct parent_talk *t)
{
    enum step next;
    if (!have(t, &next))
        return next;
    if (byte_at(t, 1) != 0)
        return end(t, -ECONNREFUSED, "it refused the login: correct network.parent_proxy.username or password");
    return ask_target(t);
}

static enum step send_login(struct parent_talk *t)
{
    const char *user = t->parent->options->username;
    struct slice password = secret_peek(&t->parent->password);
    int failed = buf_printf(&t->out, "\1%c%s%c", (int)strlen(user), user, (int)password.len);
    if (!failed)
        failed = buf_add(&t->out, password);
    buf_clear(&t->in);
    return failed ? end(t, -ENOMEM, "out of memory") : expect(t, 2, read_login);
}

static enum step read_method(struct parent_talk *t)
{
    enum step next;
    bool login = t->parent->options->username != NULL;
    if (!have(t, &next))
        return next;
    if (byte_at(t, 0) != 5)
        return end(t, -EPROTO, "its response is not SOCKS5");
    if (byte_at(t, 1) == 0)
        return ask_target(t);
    if (byte_at(t, 1) == 2 && login)
        return send_login(t);
    return end(t, -ECONNREFUSED,
               login ? "it does not accept a user name and password"
                     : "it requires a login: set network.parent_proxy.username and password");
}

/* Without a login only "none" is offered; with one, both (RFC 1928 §3). */
static int ask_method(struct parent_talk *t)
{
    t->need = 2;
    return buf_add(&t->out, t->parent->options->username ? slice_of("\5\2\0\2", 4) : slice_of("\5\1", 3));
}

/* --- life --- */

struct parent_talk *parent_talk_start(const struct parent *p, int fd, const struct authority *to, parent_talk_fn *fn,
                                      void *arg)
{
    struct parent_talk *t = calloc(1, sizeof *t);
    bool socks = p->kind == PARENT_SOCKS5;
    if (!t)
        return NULL;
    *t = (struct parent_talk){
        .parent = p, .to = *to, .fd = fd, .fn = fn, .arg = arg, .answer = socks ? read_method : read_head
    };
    buf_init_secret(&t->out, OUT_MAX);
    buf_init(&t->in, socks ? SOCKS_ANSWER_MAX : PARENT_HEAD_MAX);
    ev_init(&t->io, on_ready);
    t->io.data = t;
    if ((socks ? ask_method(t) : ask_connect(t)) != 0) {
        free_talk(t);
        return NULL;
    }
    watch(t);
    return t;
}

void parent_talk_cancel(struct parent_talk *t)
{
    if (t)
        free_talk(t);
}
