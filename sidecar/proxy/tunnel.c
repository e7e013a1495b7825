#include "proxy/tunnel.h"

#include <stdlib.h>

#include "net/timer.h"
#include "proxy/leg.h"

#define READS_PER_WAKE 4
#define PARK_MS 2000 /* a tunnel without a byte for that long needs no buffers */

struct side {
    struct tunnel *tunnel;
    struct stream *stream;
    struct side *other;
    bool ended; /* its peer will send no more */
};

struct tunnel {
    struct side a, b;
    struct timer idle;
    struct later end;
    int64_t idle_ms;
    tunnel_done_fn *done;
    void *owner;
    bool parked;
    bool over;
};

static char scratch[LEG_READ_BYTES];

static void on_end(struct later *later)
{
    struct tunnel *t = LIST_ENTRY(later, struct tunnel, end);
    if (t->done)
        t->done(t->owner);
    free(t);
}

static void close_both(struct tunnel *t, bool broken)
{
    void (*shut)(struct stream *) = broken ? stream_abort : stream_free;
    if (t->over)
        return;
    t->over = true;
    shut(t->a.stream);
    shut(t->b.stream);
    timer_stop(&t->idle);
    loop_later_ask(&t->end);
}

void tunnel_free(struct tunnel *t)
{
    if (!t)
        return;
    t->done = NULL;
    close_both(t, false);
}

static void maybe_over(struct tunnel *t)
{
    if (t->a.ended && t->b.ended && stream_drained(t->a.stream) && stream_drained(t->b.stream))
        close_both(t, false);
}

/* A byte has passed: parked after a while, closed after its time. */
static void set_idle(struct tunnel *t)
{
    t->parked = t->idle_ms <= PARK_MS;
    timer_set(&t->idle, t->parked ? t->idle_ms : PARK_MS);
}

static bool pass(struct side *s)
{
    size_t got = 0;
    switch (stream_read(s->stream, scratch, sizeof scratch, &got)) {
    case STREAM_AGAIN: return false;
    case STREAM_ERROR: close_both(s->tunnel, true); return false;
    case STREAM_EOF:
        s->ended = true;
        stream_want_read(s->stream, false);
        stream_want_hangup(s->stream, STREAM_HANGUP_RESET); /* all that it sent is in the other's queue */
        stream_finish(s->other->stream);
        maybe_over(s->tunnel);
        return false;
    case STREAM_OK: break;
    }
    if (stream_write(s->other->stream, slice_of(scratch, got)) != 0) {
        close_both(s->tunnel, true);
        return false;
    }
    set_idle(s->tunnel);
    if (stream_space(s->other->stream) < LEG_READ_BYTES) {
        stream_want_read(s->stream, false);
        return false;
    }
    return got == sizeof scratch;
}

static void on_stream(void *owner, enum stream_event event)
{
    struct side *s = owner;
    switch (event) {
    case STREAM_READABLE:
        for (int i = 0; i < READS_PER_WAKE && pass(s); i++)
            ;
        break;
    case STREAM_DRAINED:
        if (!s->other->ended)
            stream_want_read(s->other->stream, true);
        maybe_over(s->tunnel);
        break;
    case STREAM_FAILED: close_both(s->tunnel, true); break;
    case STREAM_LEFT:
    case STREAM_SECURED: break;
    }
}

static void on_idle(void *arg)
{
    struct tunnel *t = arg;
    if (t->parked) {
        close_both(t, true);
        return;
    }
    t->parked = true;
    stream_park(t->a.stream);
    stream_park(t->b.stream);
    timer_set(&t->idle, t->idle_ms - PARK_MS);
}

struct tunnel *tunnel_new(struct stream *a, struct stream *b, struct slice first_a, struct slice first_b,
                          int64_t idle_ms, tunnel_done_fn *done, void *owner)
{
    struct tunnel *t = calloc(1, sizeof *t);
    if (!t) {
        stream_free(a);
        stream_free(b);
        return NULL;
    }
    *t = (struct tunnel){
        .a = { t, a, &t->b, false }, .b = { t, b, &t->a, false }, .idle_ms = idle_ms, .done = done, .owner = owner
    };
    loop_later_init(&t->end, on_end);
    timer_init(&t->idle, on_idle, t);
    set_idle(t);
    stream_own(a, on_stream, &t->a);
    stream_own(b, on_stream, &t->b);
    if ((first_a.len && stream_write(b, first_a) != 0) || (first_b.len && stream_write(a, first_b) != 0)) {
        close_both(t, true);
        return t;
    }
    stream_want_read(a, true);
    stream_want_read(b, true);
    return t;
}
