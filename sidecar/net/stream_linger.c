/* The end of a stream whose peer may still be sending: closing with unread bytes would send a reset, which can overtake
 * the answer. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net/stream_private.h"

#define LINGER_BYTES (2 * 1024 * 1024)
#define LINGER_MS 2000
#define STALLS_MAX 15 /* a peer that takes nothing for 30 s will not take the rest */

/* A slow reader's last bytes are still in the queue: they have their time as the others had. */
static bool goes_on(struct lingering *l)
{
    bool moved = l->stream->out.len != l->waiting;
    l->waiting = l->stream->out.len;
    l->stalls = moved ? 0 : l->stalls + 1;
    return moved || (l->waiting && l->stalls < STALLS_MAX);
}

static void on_linger_end(void *arg)
{
    struct lingering *l = arg;
    if (goes_on(l))
        timer_set(&l->timer, LINGER_MS);
    else
        stream_destroy(l->stream);
}

void stream_linger(struct stream *s)
{
    struct lingering *l = s->state == STREAM_OPEN && !s->write_lost ? malloc(sizeof *l) : NULL;
    if (!l) { /* nothing to wait for, or no memory to wait with */
        stream_free(s);
        return;
    }
    if (s->gone)
        *s->gone = true;
    s->gone = NULL;
    *l = (struct lingering){ .stream = s, .left = LINGER_BYTES };
    timer_init(&l->timer, on_linger_end, l);
    timer_set(&l->timer, LINGER_MS);
    s->linger = l;
    s->state = STREAM_LINGERS;
    s->finish = true;
    s->eof = s->eof && !s->tls; /* of the connection now, not of what TLS carried */
    s->read_wait = 0;
    stream_settle(s);
}

/* Raw bytes are dropped, TLS or not.  false: closed. */
static bool drop_input(struct stream *s)
{
    static char scratch[16 * 1024];
    ssize_t got = recv(s->fd, scratch, sizeof scratch, 0);
    s->read_wait = EV_READ;
    if (got > 0 && (size_t)got <= s->linger->left) {
        s->linger->left -= (size_t)got;
        return true;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    s->eof = got == 0;
    if (s->eof && !s->finished)
        return true;
    stream_destroy(s);
    return false;
}

void stream_work_linger(struct stream *s)
{
    if (stream_output_due(s) && s->write_wait == 0)
        stream_flush(s);
    if (s->state == STREAM_BROKEN || (s->eof && s->finished)) {
        stream_destroy(s);
        return;
    }
    if (s->eof || s->read_wait != 0 || drop_input(s))
        stream_settle(s);
}
