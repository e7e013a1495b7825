#include <errno.h>
#include <sys/socket.h>

#include "net/stream_private.h"

static enum stream_io recv_plain(struct stream *s, char *dst, size_t size, size_t *ret_n)
{
    /* A short read has emptied the socket: no system call to hear that again within this turn. */
    if (s->dry && s->dry_turn == ev_iteration(loop_get()))
        return STREAM_AGAIN;
    ssize_t got;
    do
        got = recv(s->fd, dst, size, 0);
    while (got < 0 && errno == EINTR);
    s->read_wait = EV_READ;
    if (got < 0 && errno != EAGAIN) {
        stream_fail_errno(s, errno);
        return STREAM_ERROR;
    }
    if (got == 0)
        return STREAM_EOF;
    s->dry = got < (ssize_t)size;
    s->dry_turn = ev_iteration(loop_get());
    if (got < 0)
        return STREAM_AGAIN;
    *ret_n = (size_t)got;
    return STREAM_OK;
}

static enum stream_io recv_tls(struct stream *s, char *dst, size_t size, size_t *ret_n)
{
    enum tls_io io = tls_session_read(s->tls, dst, size, ret_n);
    switch (io) {
    case TLS_OK: s->read_wait = tls_session_pending(s->tls) ? 0 : EV_READ; return STREAM_OK;
    case TLS_EOF: return STREAM_EOF;
    case TLS_ERROR: stream_fail_tls(s); return STREAM_ERROR;
    default: s->read_wait = stream_wait_of(io); return STREAM_AGAIN;
    }
}

enum stream_io stream_read(struct stream *s, char *dst, size_t size, size_t *ret_n)
{
    if (s->state == STREAM_BROKEN)
        return STREAM_ERROR;
    if (s->state == STREAM_SECURING || size == 0)
        return STREAM_AGAIN;
    if (s->eof)
        return STREAM_EOF;
    enum stream_io io = (s->tls ? recv_tls : recv_plain)(s, dst, size, ret_n);
    if (io == STREAM_EOF)
        s->eof = true;
    if (io == STREAM_EOF && s->write_lost) /* the reader gets the end, the writer gets the failure */
        stream_fail_errno(s, s->write_reset ? ECONNRESET : EPIPE);
    if (io == STREAM_EOF && s->write_reset) /* the write took the error that this read would have had */
        io = STREAM_ERROR;
    stream_settle(s);
    return io;
}

bool stream_look(struct stream *s)
{
    enum tls_io io = s->tls ? tls_session_peek(s->tls) : TLS_OK;
    switch (io) {
    case TLS_WANT_READ:
    case TLS_WANT_WRITE: s->read_wait = stream_wait_of(io); return false;
    case TLS_ERROR: stream_fail_tls(s); return false;
    default: break;
    }
    if (!s->tls)
        s->read_wait = EV_READ; /* level-triggered: the descriptor says it again */
    return true;
}

void stream_want_read(struct stream *s, bool want)
{
    s->want_read = want;
    stream_settle(s);
}

void stream_want_hangup(struct stream *s, enum stream_hangup want)
{
    if (s->want_hangup == want)
        return;
    s->want_hangup = want;
    stream_settle(s);
}
