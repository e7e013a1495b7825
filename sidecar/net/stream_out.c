/* The output queue on its way to the socket. */
#include <errno.h>
#include <sys/socket.h>

#include "net/stream_private.h"

#define TLS_RECORD_BYTES (16 * 1024)
#define KEEP_OUT_BYTES (16 * 1024) /* a queue of that size is kept for the next burst */

enum stream_io stream_send_plain(struct stream *s, struct slice bytes, size_t *ret_n, int *ret_errno)
{
    ssize_t put;
    do
        put = send(s->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    if (put >= 0) {
        *ret_n = (size_t)put;
        return STREAM_OK;
    }
    if (errno == EAGAIN) {
        s->write_wait = EV_WRITE;
        return STREAM_AGAIN;
    }
    *ret_errno = errno;
    return STREAM_ERROR;
}

/* As stream_send_plain(); *ret_errno is 0. */
static enum stream_io send_tls(struct stream *s, struct slice bytes, size_t *ret_n, int *ret_errno)
{
    enum tls_io io = tls_session_write(s->tls, bytes, ret_n);
    switch (io) {
    case TLS_OK: return STREAM_OK;
    case TLS_WANT_READ:
    case TLS_WANT_WRITE: s->write_wait = stream_wait_of(io); return STREAM_AGAIN;
    default: *ret_errno = 0; return STREAM_ERROR;
    }
}

/* The peer's last words explain why it hung up: an alert, or an answer that came before the request had ended. */
static bool has_last_words(struct stream *s)
{
    char byte;
    enum tls_io io = s->tls ? tls_session_peek(s->tls) : TLS_WANT_READ; /* finds an alert and makes it the failure */
    if (io != TLS_WANT_READ)
        return io == TLS_OK;
    return recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static void write_failed(struct stream *s, int number)
{
    if (s->state == STREAM_OPEN && !s->eof && has_last_words(s)) {
        s->write_lost = true;
        s->write_reset = number == ECONNRESET;
        s->read_wait = 0;
        buf_done(&s->out);
    } else if (number)
        stream_fail_errno(s, number);
    else
        stream_fail_tls(s);
}

/* close_notify and FIN.  Never an error: all that mattered has been written. */
static void end_writing(struct stream *s)
{
    if (s->tls) {
        enum tls_io io = tls_session_close(s->tls);
        if (io == TLS_WANT_READ || io == TLS_WANT_WRITE) {
            s->write_wait = stream_wait_of(io);
            return;
        }
    }
    shutdown(s->fd, SHUT_WR);
    s->finished = true;
}

/* Memory of a burst is given back once a turn's output has become small again. */
static void trim_out(struct stream *s, size_t flushed)
{
    if (s->out.len == 0 && s->out.space > KEEP_OUT_BYTES && flushed <= s->out.space / 4)
        buf_done(&s->out);
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

void stream_flush(struct stream *s)
{
    size_t before = s->out.len;
    while (s->out.len > 0) {
        size_t n = 0;
        int number = 0;
        switch ((s->tls ? send_tls : stream_send_plain)(s, buf_slice(&s->out), &n, &number)) {
        case STREAM_OK:
            buf_consume(&s->out, n);
            s->flushed += n;
            s->committed = 0;
            break;
        case STREAM_AGAIN: s->committed = s->tls ? min_size(s->out.len, TLS_RECORD_BYTES) : 0; return;
        default: write_failed(s, number); return;
        }
    }
    trim_out(s, before);
    if (s->finish && !s->finished)
        end_writing(s);
}

bool stream_flush_drains(struct stream *s)
{
    bool finished_before = s->finished;
    stream_flush(s);
    if (s->state != STREAM_OPEN)
        return false;
    bool drained = s->was_full && s->out.len <= STREAM_OUT_BODY / 2;
    if (drained)
        s->was_full = false;
    return drained || (s->finished && !finished_before);
}

static void after_write(struct stream *s)
{
    if (s->out.len + STREAM_SPACE_SHORT > STREAM_OUT_BODY)
        s->was_full = true;
    stream_settle(s);
}

static bool takes_output(const struct stream *s)
{
    return s->state != STREAM_BROKEN && !s->write_lost;
}

int stream_write(struct stream *s, struct slice bytes)
{
    if (!takes_output(s))
        return 0; /* FAILED comes, or came */
    if (s->finish)
        return -ENOBUFS;
    int failed = buf_add(&s->out, bytes);
    after_write(s);
    return failed;
}

struct buf *stream_out(struct stream *s)
{
    return &s->out;
}

void stream_kick(struct stream *s)
{
    if (!takes_output(s))
        buf_done(&s->out);
    after_write(s);
}

uint64_t stream_mark(const struct stream *s)
{
    return s->flushed + s->out.len;
}

bool stream_take_back(struct stream *s, uint64_t mark)
{
    if (!takes_output(s) || mark < s->flushed + s->committed || mark > stream_mark(s))
        return false;
    buf_truncate(&s->out, (size_t)(mark - s->flushed));
    return true;
}

size_t stream_space(struct stream *s)
{
    if (s->out.len < STREAM_OUT_BODY)
        return STREAM_OUT_BODY - s->out.len;
    s->was_full = true;
    return 0;
}

bool stream_drained(const struct stream *s)
{
    return s->out.len == 0 && (!s->finish || s->finished);
}

void stream_finish(struct stream *s)
{
    s->finish = true;
    stream_settle(s);
}
