/* The end of a stream that has something left to do.  Closing with unread bytes sends a reset, and a reset discards
 * what the kernel has not delivered: either would overtake the answer. */
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "net/stream_private.h"

/* RFC 9112 §9.6.  As nginx does by default: 30 s in all, 5 s between two bytes. */
#define ROUND_MS 2000
#define STALLS_MAX 15 /* a peer that takes nothing for 30 s will not take the rest */
#define SILENCE_MAX 2 /* 4 to 6 s without a byte: it has finished its upload, or will not */
#define ROUNDS_MAX 15 /* and it has 30 s for that */
/* Before a reset. */
#define RESET_ROUND_MS 50
#define RESET_STALLS_MAX 40 /* 2 s */

static const struct linger reset_at_close = { .l_onoff = 1, .l_linger = 0 };

static void reset(struct stream *s)
{
    setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &reset_at_close, sizeof reset_at_close);
    stream_destroy(s);
}

static void close_now(struct stream *s)
{
    if (s->linger->reset)
        reset(s);
    else
        stream_destroy(s);
}

/* Bytes that the peer's kernel has not acknowledged; what a unix socket has taken is delivered. */
static size_t on_the_way(const struct stream *s)
{
    int family = AF_UNIX, bytes = 0;
    socklen_t len = sizeof family;
    if (getsockopt(s->fd, SOL_SOCKET, SO_DOMAIN, &family, &len) != 0 || family == AF_UNIX)
        return 0;
    return ioctl(s->fd, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? (size_t)bytes : 0;
}

static size_t undelivered(const struct lingering *l)
{
    return l->stream->out.len + (l->reset ? on_the_way(l->stream) : 0);
}

/* A slow reader's last bytes are still in the queue: they have their time as the others had. */
static bool goes_on(struct lingering *l)
{
    size_t left = undelivered(l);
    bool moved = left != l->waiting;
    l->waiting = left;
    l->stalls = moved ? 0 : l->stalls + 1;
    l->silence = l->heard ? 0 : l->silence + 1;
    l->heard = false;
    if (l->reset)
        return left && l->stalls < RESET_STALLS_MAX;
    if (left)
        return l->stalls < STALLS_MAX;
    return ++l->rounds < ROUNDS_MAX && (moved || l->silence <= SILENCE_MAX);
}

static void on_round(void *arg)
{
    struct lingering *l = arg;
    if (goes_on(l))
        timer_set(&l->timer, l->reset ? RESET_ROUND_MS : ROUND_MS);
    else
        close_now(l->stream);
}

/* false: no memory to wait with. */
static bool start(struct stream *s, bool with_reset)
{
    struct lingering *l = malloc(sizeof *l);
    if (!l)
        return false;
    if (s->gone)
        *s->gone = true;
    s->gone = NULL;
    *l = (struct lingering){ .stream = s, .reset = with_reset };
    l->waiting = undelivered(l);
    timer_init(&l->timer, on_round, l);
    timer_set(&l->timer, with_reset ? RESET_ROUND_MS : ROUND_MS);
    s->linger = l;
    s->state = STREAM_LINGERS;
    s->finish = !with_reset;
    s->eof = s->eof && !s->tls; /* of the connection now, not of what TLS carried */
    s->read_wait = 0;
    stream_settle(s);
    return true;
}

void stream_linger(struct stream *s)
{
    /* without memory: nothing to wait with */
    if (s->state != STREAM_OPEN || s->write_lost || !start(s, false))
        stream_free(s);
}

void stream_abort(struct stream *s)
{
    if (!s)
        return;
    bool writes = s->state == STREAM_OPEN && !s->write_lost;
    if (writes && s->write_wait == 0 && s->out.len)
        stream_flush(s);
    if (!writes || s->state != STREAM_OPEN || s->write_lost || (s->out.len == 0 && on_the_way(s) == 0)
        || !start(s, true))
        reset(s);
}

/* Raw bytes are dropped, TLS or not.  false: closed. */
static bool drop_input(struct stream *s)
{
    static char scratch[64 * 1024];
    ssize_t got = recv(s->fd, scratch, sizeof scratch, 0);
    s->read_wait = EV_READ;
    s->linger->heard = s->linger->heard || got > 0;
    if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)))
        return true;
    s->eof = got == 0;
    if (s->eof && !s->finished)
        return true;
    stream_destroy(s);
    return false;
}

static bool is_over(const struct stream *s)
{
    if (s->state == STREAM_BROKEN)
        return true;
    return s->linger->reset ? s->out.len == 0 && on_the_way(s) == 0 : s->eof && s->finished;
}

void stream_work_linger(struct stream *s)
{
    if (stream_output_due(s) && s->write_wait == 0)
        stream_flush(s);
    if (is_over(s)) {
        close_now(s);
        return;
    }
    if (s->eof || s->read_wait != 0 || drop_input(s))
        stream_settle(s);
}
