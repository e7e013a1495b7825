/* How a stream sleeps and wakes.
 *
 * read_wait and write_wait say what each direction waits for: EV_READ or EV_WRITE (TLS may want either for both), or 0
 * when it can go on now.  stream_stream_settle() alone turns that into a watcher and into later work; work() alone does
 * it and tells the owner. Everything that the owner calls only changes the fields and settles, so no event can come
 * from inside a call. */
#include "net/stream.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/stream_private.h"

static void on_io(struct ev_loop *loop, ev_io *w, int revents);
static void on_later(struct later *l);
static void on_hangup(struct hangup *h);

struct stream *stream_new(int fd, stream_event_fn *fn, void *owner)
{
    struct stream *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && !(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    s->fd = fd;
    s->state = STREAM_OPEN;
    s->read_wait = EV_READ;
    s->fn = fn;
    s->owner = owner;
    buf_init(&s->out, STREAM_OUT_MAX);
    ev_io_init(&s->io, on_io, fd, 0);
    loop_later_init(&s->later, on_later);
    hangup_init(&s->hangup, on_hangup);
    return s;
}

void stream_destroy(struct stream *s)
{
    if (s->gone)
        *s->gone = true;
    if (s->linger)
        timer_stop(&s->linger->timer);
    free(s->linger);
    loop_later_cancel(&s->later);
    ev_io_stop(loop_get(), &s->io);
    hangup_stop(&s->hangup);
    tls_session_free(s->tls);
    buf_done(&s->out);
    close(s->fd);
    free(s);
}

bool stream_output_due(const struct stream *s)
{
    return s->state != STREAM_SECURING && s->state != STREAM_BROKEN && (s->out.len > 0 || (s->finish && !s->finished));
}

static bool input_due(const struct stream *s)
{
    switch (s->state) {
    case STREAM_SECURING: return true;
    case STREAM_OPEN: return s->want_read && !s->eof;
    case STREAM_LINGERS: return !s->eof;
    default: return false;
    }
}

static enum stream_hangup hangup_due(const struct stream *s)
{
    if (s->want_hangup == STREAM_HANGUP_NONE || s->state != STREAM_OPEN || s->finished)
        return STREAM_HANGUP_NONE;
    return s->eof || s->left ? STREAM_HANGUP_RESET : s->want_hangup;
}

/* While the stream is read, the read detects the end; an existing watch stays. A watch begins at the end of a loop
 * iteration: most waits are over by then, and need no system call. */
static void settle_hangup(struct stream *s)
{
    enum stream_hangup due = hangup_due(s);
    if (due == s->hangup_watched)
        return;
    if (due != STREAM_HANGUP_NONE) {
        if (!input_due(s))
            loop_later_ask(&s->later);
        return;
    }
    s->hangup_watched = STREAM_HANGUP_NONE;
    hangup_stop(&s->hangup);
}

static void begin_hangup(struct stream *s)
{
    enum stream_hangup due = hangup_due(s);
    if (due == s->hangup_watched || due == STREAM_HANGUP_NONE || input_due(s))
        return;
    s->hangup_watched = due;
    hangup_watch(&s->hangup, s->fd, due == STREAM_HANGUP_END);
}

/* The one place that watches the descriptor or asks for later work. */
void stream_settle(struct stream *s)
{
    if (s->gone)
        return; /* inside an event: work() settles when it has ended */
    int events = 0;
    bool now = s->state == STREAM_BROKEN && !s->told;
    if (input_due(s)) {
        events |= s->read_wait;
        now |= s->read_wait == 0;
    }
    if (stream_output_due(s)) {
        events |= s->write_wait;
        now |= s->write_wait == 0;
    }
    if (now)
        loop_later_ask(&s->later);
    settle_hangup(s);
    if (events == (ev_is_active(&s->io) ? s->io.events & (EV_READ | EV_WRITE) : 0))
        return;
    ev_io_stop(loop_get(), &s->io);
    ev_io_modify(&s->io, events); /* keeps libev from a system call when the set is the same again before it polls */
    if (events)
        ev_io_start(loop_get(), &s->io);
}

/* false: the stream is not ours to touch any more. */
static bool tell(struct stream *s, enum stream_event event)
{
    bool gone = false;
    s->gone = &gone;
    s->fn(s->owner, event);
    if (gone)
        return false;
    s->gone = NULL;
    return true;
}

/* --- failure --- */

static const char *errno_text(int number)
{
    switch (number) {
    case ECONNRESET: return "connection reset by peer";
    case EPIPE: return "connection closed by peer";
    case ETIMEDOUT: return "connection timed out";
    default: return strerrordesc_np(number);
    }
}

static void fail(struct stream *s, const char *error, const char *label)
{
    if (s->state == STREAM_BROKEN)
        return;
    s->error = error ? error : "connection failed";
    s->label = label;
    s->state = STREAM_BROKEN;
    buf_done(&s->out);
}

void stream_fail_errno(struct stream *s, int number)
{
    fail(s, errno_text(number), number == ETIMEDOUT ? "connection_timeout" : "connection_terminated");
}

void stream_fail_tls(struct stream *s)
{
    struct tls_failure f = tls_session_failure(s->tls);
    fail(s, f.text, f.label);
}

/* --- TLS --- */

static void secure(struct stream *s, struct tls_session *tls)
{
    assert(!s->tls);
    s->tls = tls;
    s->plain_left = s->out.len;
    s->state = STREAM_SECURING;
    s->read_wait = 0;
    s->write_wait = 0;
    stream_settle(s);
}

int stream_accept_tls(struct stream *s, struct tls_server *server, struct tls_leaf *leaf, const char *host,
                      bool sni_optional, struct slice already)
{
    if (s->state == STREAM_BROKEN)
        return 0; /* FAILED comes, or came */
    struct tls_session *tls = tls_session_accept(server, leaf, s->fd, host, sni_optional, already);
    if (!tls)
        return -ENOMEM;
    secure(s, tls);
    return 0;
}

int stream_connect_tls(struct stream *s, struct tls_client *client, const char *host, bool host_is_ip, const char *key)
{
    if (s->state == STREAM_BROKEN)
        return 0;
    struct tls_session *tls = tls_session_connect(client, s->fd, host, host_is_ip, key);
    if (!tls)
        return -ENOMEM;
    secure(s, tls);
    return 0;
}

int stream_set_alpn(struct stream *s, enum tls_alpn alpn)
{
    return s->tls ? tls_session_alpn(s->tls, alpn) : 0;
}

bool stream_is_h2(const struct stream *s)
{
    return s->tls && tls_session_is_h2(s->tls);
}

/* "200 Connection established" and its like.  true: all out. */
static bool flush_plain(struct stream *s)
{
    while (s->plain_left > 0) {
        size_t n = 0;
        int number = 0;
        switch (stream_send_plain(s, slice_of(buf_slice(&s->out).ptr, s->plain_left), &n, &number)) {
        case STREAM_OK:
            buf_consume(&s->out, n);
            s->flushed += n;
            s->plain_left -= n;
            break;
        case STREAM_AGAIN: s->read_wait = EV_WRITE; return false;
        default: stream_fail_errno(s, number); return false;
        }
    }
    return true;
}

/* true: done just now. */
static bool handshake(struct stream *s)
{
    if (!flush_plain(s))
        return false;
    enum tls_io io = tls_session_handshake(s->tls);
    switch (io) {
    case TLS_OK:
        s->state = STREAM_OPEN;
        s->read_wait = 0; /* the first request may have come with the last flight */
        s->write_wait = 0;
        return true;
    case TLS_WANT_READ:
    case TLS_WANT_WRITE: s->read_wait = stream_wait_of(io); return false;
    default: stream_fail_tls(s); return false;
    }
}

/* --- the end --- */

/* What the socket takes at once, and the word that it was all. */
static void say_goodbye(struct stream *s)
{
    if (s->state != STREAM_OPEN)
        return;
    s->finish = true;
    if (!s->finished && s->write_wait == 0 && !s->write_lost)
        stream_flush(s);
}

void stream_free(struct stream *s)
{
    if (!s)
        return;
    say_goodbye(s);
    stream_destroy(s);
}

/* --- the loop's side --- */

/* The only place that calls the owner. */
static void work(struct stream *s)
{
    if (s->state == STREAM_LINGERS) {
        stream_work_linger(s);
        return;
    }
    if (s->state == STREAM_SECURING && s->read_wait == 0 && handshake(s) && !tell(s, STREAM_SECURED))
        return;
    if (stream_output_due(s) && s->write_wait == 0 && stream_flush_drains(s) && !tell(s, STREAM_DRAINED))
        return;
    if (s->state == STREAM_OPEN && input_due(s) && s->read_wait == 0 && stream_look(s) && !tell(s, STREAM_READABLE))
        return;
    if (s->state == STREAM_BROKEN && !s->told) {
        s->told = true;
        if (!tell(s, STREAM_FAILED))
            return;
    }
    stream_settle(s);
}

static void on_io(struct ev_loop *loop, ev_io *w, int revents)
{
    struct stream *s = LIST_ENTRY(w, struct stream, io);
    (void)loop;
    if (s->read_wait & revents)
        s->read_wait = 0;
    if (s->write_wait & revents)
        s->write_wait = 0;
    work(s);
}

static void on_later(struct later *l)
{
    struct stream *s = LIST_ENTRY(l, struct stream, later);
    begin_hangup(s);
    work(s);
}

static void on_hangup(struct hangup *h)
{
    struct stream *s = LIST_ENTRY(h, struct stream, hangup);
    struct pollfd now = { .fd = s->fd };
    int number = 0;
    socklen_t len = sizeof number;
    hangup_stop(h);
    s->hangup_watched = STREAM_HANGUP_NONE;
    if (input_due(s))
        return;                  /* reading finds it, behind what came before it */
    if (poll(&now, 1, 0) == 1) { /* gone for good, not only its side */
        (void)getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &number, &len);
        stream_fail_errno(s, number ? number : EPIPE);
    } else {
        s->left = true;
        if (!tell(s, STREAM_LEFT))
            return;
    }
    work(s);
}

/* --- the rest --- */

void stream_own(struct stream *s, stream_event_fn *fn, void *owner)
{
    s->fn = fn;
    s->owner = owner;
}

bool stream_whole(const struct stream *s)
{
    return s->state == STREAM_OPEN && !s->write_lost && !s->eof && !s->left && !s->finish;
}

void stream_park(struct stream *s)
{
    if (s->out.len == 0)
        buf_done(&s->out);
    if (s->tls)
        tls_session_park(s->tls);
}

void stream_keep_alive(struct stream *s)
{
    static const struct {
        int level, name, value;
    } options[] = { { SOL_SOCKET, SO_KEEPALIVE, 1 },
                    { IPPROTO_TCP, TCP_KEEPIDLE, 30 },
                    { IPPROTO_TCP, TCP_KEEPINTVL, 10 },
                    { IPPROTO_TCP, TCP_KEEPCNT, 3 },
                    { IPPROTO_TCP, TCP_USER_TIMEOUT, 20000 } };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        (void)setsockopt(s->fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value);
}

const char *stream_error(const struct stream *s)
{
    return s->error ? s->error : "no error";
}

const char *stream_error_label(const struct stream *s)
{
    return s->label ? s->label : "connection_terminated";
}

bool stream_verify_failed(const struct stream *s)
{
    return s->tls && s->state == STREAM_BROKEN && tls_session_failure(s->tls).verify;
}

bool stream_renegotiation(const struct stream *s)
{
    return s->tls && tls_session_renegotiation(s->tls);
}

int stream_fd(const struct stream *s)
{
    return s->fd;
}
