#include "proxy/h2_conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define READS_PER_WAKE 4
#define ROUNDS 4 /* deliveries and pulls that lead to each other, in one turn */

static char scratch[LEG_READ_BYTES]; /* one loop, one thread, and reads never nest */

struct h2_conn {
    struct stream *stream; /* NULL: it is over */
    struct h2 *h2;
    struct later flush, deferred_free;
    const struct h2_conn_events *events; /* NULL: its owner has let go */
    void *owner;
    size_t legs;
    bool serves;
};

struct h2_leg {
    struct leg base;
    struct h2_conn *conn;
    struct h2_stream *s;
    struct later deferred_free;
    bool dead, gone;
    uint32_t code; /* of the reset, once dead */
};

static void on_flush(struct later *later);

/* --- the connection --- */

static void on_conn_free(struct later *later)
{
    struct h2_conn *c = LIST_ENTRY(later, struct h2_conn, deferred_free);
    if (c->legs || c->events)
        return;
    h2_free(c->h2);
    loop_later_cancel(&c->flush);
    loop_later_cancel(&c->deferred_free);
    free(c);
}

static void free_when_unused(struct h2_conn *c)
{
    if (!c->legs && !c->events)
        loop_later_ask(&c->deferred_free);
}

/* Its legs are told first, then its owner.  What is left of the stream is the caller's. */
static struct stream *end_legs(struct h2_conn *c, const struct leg_fault *fault)
{
    struct stream *s = c->stream;
    if (!s)
        return NULL;
    c->stream = NULL;
    loop_later_cancel(&c->flush);
    h2_lost(c->h2);
    h2_run(c->h2);
    if (c->events)
        c->events->ended(c->owner, fault);
    return s;
}

static void end(struct h2_conn *c, const struct leg_fault *fault)
{
    stream_free(end_legs(c, fault)); /* last: the fault's text may be its own */
}

static void end_lost(struct h2_conn *c)
{
    end(c, &(struct leg_fault){ .status = 502,
                                .label = stream_error_label(c->stream),
                                .text = stream_error(c->stream),
                                .verify = stream_verify_failed(c->stream) });
}

static void end_over(struct h2_conn *c)
{
    end(c,
        &(struct leg_fault){ .clean = true, .status = 502, .label = "connection_terminated", .text = h2_error(c->h2) });
}

/* What is due is delivered and written; what that brings about too, within reason. */
static void flush(struct h2_conn *c)
{
    struct buf *out = stream_out(c->stream);
    for (int i = 0; i < ROUNDS && c->stream; i++) {
        size_t before = out->len;
        if (h2_pull(c->h2, out, STREAM_OUT_BODY) != 0) {
            end(c, &(struct leg_fault){ .status = 502, .label = "proxy_internal_error", .text = "out of memory" });
            return;
        }
        if (out->len == before && i)
            break;
        h2_run(c->h2);
    }
    if (!c->stream)
        return;
    stream_kick(c->stream);
    if (h2_over(c->h2))
        end_over(c);
}

static void on_flush(struct later *later)
{
    struct h2_conn *c = LIST_ENTRY(later, struct h2_conn, flush);
    if (c->stream) {
        h2_run(c->h2);
        if (c->stream)
            flush(c);
    } else {
        h2_run(c->h2); /* what had come before the end */
    }
}

/* The peer broke the protocol: it learns so, if it still reads. */
static void end_broken(struct h2_conn *c)
{
    if (h2_pull(c->h2, stream_out(c->stream), STREAM_OUT_BODY) == 0)
        stream_kick(c->stream);
    struct stream *s =
        end_legs(c, &(struct leg_fault){ .status = 502, .label = "http_protocol_error", .text = h2_error(c->h2) });
    if (s)
        stream_linger(s); /* what it has sent meanwhile would turn the GOAWAY into a reset */
}

/* false: nothing more to read now, or ever. */
static bool read_once(struct h2_conn *c)
{
    size_t got = 0;
    switch (stream_read(c->stream, scratch, sizeof scratch, &got)) {
    case STREAM_AGAIN: return false;
    case STREAM_EOF: end_over(c); return false;
    case STREAM_ERROR: end_lost(c); return false;
    case STREAM_OK: break;
    }
    int failed = h2_feed(c->h2, slice_of(scratch, got), clock_mono_ms());
    if (!c->stream)
        return false;
    if (failed == -EPROTO)
        end_broken(c);
    else if (failed)
        end(c, &(struct leg_fault){ .status = 502, .label = "proxy_internal_error", .text = "out of memory" });
    return !failed && got == sizeof scratch;
}

static void on_stream(void *owner, enum stream_event event)
{
    struct h2_conn *c = owner;
    switch (event) {
    case STREAM_READABLE:
        for (int i = 0; i < READS_PER_WAKE && c->stream; i++)
            if (!read_once(c))
                break;
        if (c->stream)
            loop_later_ask(&c->flush);
        break;
    case STREAM_DRAINED: loop_later_ask(&c->flush); break;
    case STREAM_FAILED: end_lost(c); break;
    case STREAM_LEFT:
    case STREAM_SECURED: break;
    }
}

/* --- legs --- */

static const struct leg_ops leg_ops;
static const struct h2_stream_events stream_events;

static void on_leg_free(struct later *later)
{
    struct h2_leg *l = LIST_ENTRY(later, struct h2_leg, deferred_free);
    struct h2_conn *c = l->conn;
    h2_stream_free(l->s, l->code);
    c->legs--;
    free_when_unused(c);
    free(l);
}

static struct h2_leg *leg_new(struct h2_conn *c, struct h2_stream *s)
{
    struct h2_leg *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->base = (struct leg){ .ops = &leg_ops };
    l->conn = c;
    l->s = s;
    loop_later_init(&l->deferred_free, on_leg_free);
    c->legs++;
    return l;
}

/* The memory outlives this turn of the loop: heads that the stream owns may still be looked at. */
static void let_go(struct h2_leg *l, uint32_t code)
{
    if (l->dead)
        return;
    l->dead = true;
    l->code = code;
    h2_stream_want(l->s, false);
    loop_later_ask(&l->deferred_free);
}

static int write_head(struct leg *base, const struct message *m, bool head_only)
{
    struct h2_leg *l = (struct h2_leg *)base;
    return l->gone ? 0 : h2_stream_head(l->s, m, head_only);
}

static int write_data(struct leg *base, struct slice data)
{
    struct h2_leg *l = (struct h2_leg *)base;
    return l->gone ? 0 : h2_stream_data(l->s, data);
}

static int write_end(struct leg *base, const struct message *trailers)
{
    struct h2_leg *l = (struct h2_leg *)base;
    return l->gone ? 0 : h2_stream_end(l->s, trailers);
}

static size_t write_space(struct leg *base)
{
    return h2_stream_space(((struct h2_leg *)base)->s);
}

static void want(struct leg *base, bool wanted)
{
    struct h2_leg *l = (struct h2_leg *)base;
    if (!l->dead)
        h2_stream_want(l->s, wanted);
}

static void go_on(struct leg *base)
{
    (void)base; /* one message a stream; what follows a 1xx comes by itself */
}

static bool retract(struct leg *base)
{
    (void)base;
    return false; /* a reset says enough */
}

static void half_close(struct leg *base, bool allowed)
{
    (void)base;
    (void)allowed; /* END_STREAM is no farewell */
}

static void expect(struct leg *base, struct slice method)
{
    (void)base;
    (void)method; /* the codec has seen it */
}

static bool started(const struct leg *base)
{
    return h2_stream_started(((const struct h2_leg *)base)->s);
}

static bool stalled(const struct leg *base)
{
    return h2_stream_stalled(((const struct h2_leg *)base)->s);
}

static uint32_t code_of(const struct leg *base, uint32_t otherwise)
{
    return base->reset_code || base->reset_no_error ? base->reset_code : otherwise;
}

static void abort_leg(struct leg *base)
{
    let_go((struct h2_leg *)base, code_of(base, H2_INTERNAL_ERROR));
}

static void free_leg(struct leg *base)
{
    let_go((struct h2_leg *)base, code_of(base, H2_CANCEL));
}

static const struct leg_ops leg_ops = {
    .head = write_head,
    .data = write_data,
    .end = write_end,
    .space = write_space,
    .want = want,
    .next = go_on,
    .retract = retract,
    .half_close = half_close,
    .expect = expect,
    .started = started,
    .stalled = stalled,
    .abort = abort_leg,
    .free = free_leg,
};

static void on_head(void *owner, struct message *head)
{
    struct h2_leg *l = owner;
    if (!l->dead)
        l->base.events->head(l->base.owner, head);
}

static void on_data(void *owner, struct slice data)
{
    struct h2_leg *l = owner;
    if (!l->dead)
        l->base.events->data(l->base.owner, data);
}

static void on_end(void *owner, struct message *trailers)
{
    struct h2_leg *l = owner;
    if (!l->dead)
        l->base.events->end(l->base.owner, trailers);
}

static void on_space(void *owner)
{
    struct h2_leg *l = owner;
    if (!l->dead)
        l->base.events->space(l->base.owner);
}

static const char *text_of(const struct h2_leg *l, const struct h2_gone *why, char *text, size_t size)
{
    if (why->connection)
        return h2_error(l->conn->h2);
    snprintf(text, size, "the stream was reset with code 0x%x (RFC 9113 section 7)", (unsigned)why->code);
    return text;
}

static void on_gone(void *owner, const struct h2_gone *why)
{
    struct h2_leg *l = owner;
    char text[96];
    l->gone = true;
    if (l->dead)
        return;
    l->base.events->gone(l->base.owner, &(struct leg_fault){
                                            .clean = l->conn->serves,
                                            .status = 502,
                                            .label = why->connection ? "connection_terminated" : "http_protocol_error",
                                            .text = text_of(l, why, text, sizeof text),
                                            .reset = !why->connection,
                                            .reset_code = why->code,
                                            .unprocessed = why->unprocessed,
                                        });
}

static const struct h2_stream_events stream_events = { on_head, on_data, on_end, on_space, on_gone };

/* --- events of the codec --- */

static void on_opened(void *owner, struct h2_stream *s, struct message *head, int status, const char *reason)
{
    struct h2_conn *c = owner;
    struct h2_leg *l = c->events ? leg_new(c, s) : NULL;
    if (!l) {
        h2_stream_free(s, H2_REFUSED_STREAM);
        return;
    }
    h2_stream_own(s, &stream_events, l);
    c->events->opened(c->owner, &l->base, head, status, reason);
}

static void on_ready(void *owner)
{
    struct h2_conn *c = owner;
    loop_later_ask(&c->flush);
}

static void on_settled(void *owner)
{
    struct h2_conn *c = owner;
    if (c->events && c->events->settled)
        c->events->settled(c->owner);
}

static void on_leaving(void *owner)
{
    struct h2_conn *c = owner;
    if (c->events && c->events->leaving)
        c->events->leaving(c->owner);
}

static const struct h2_events codec_events = { on_opened, on_ready, on_settled, on_leaving };

/* --- the owner's calls --- */

struct h2_conn *h2_conn_new(struct stream *s, const struct h2_options *options, const struct h2_conn_events *events,
                            void *owner)
{
    struct h2_conn *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    loop_later_init(&c->flush, on_flush);
    loop_later_init(&c->deferred_free, on_conn_free);
    c->serves = options->role == H2_SERVER;
    c->h2 = h2_new(options, &codec_events, c);
    if (!c->h2) {
        free(c);
        return NULL;
    }
    c->stream = s;
    c->events = events;
    c->owner = owner;
    stream_own(s, on_stream, c);
    stream_want_read(s, true);
    stream_keep_alive(s);
    loop_later_ask(&c->flush);
    return c;
}

void h2_conn_free(struct h2_conn *c)
{
    if (!c)
        return;
    c->events = NULL;
    if (c->stream) {
        if (h2_pull(c->h2, stream_out(c->stream), STREAM_OUT_BODY) == 0)
            stream_kick(c->stream);
        stream_free(c->stream);
        c->stream = NULL;
        h2_lost(c->h2);
        loop_later_ask(&c->flush); /* legs that are left are told from there */
    }
    free_when_unused(c);
}

struct leg *h2_conn_leg(struct h2_conn *c)
{
    struct h2_leg *l = leg_new(c, NULL);
    if (!l)
        return NULL;
    l->s = h2_stream_new(c->h2, &stream_events, l);
    if (l->s)
        return &l->base;
    c->legs--;
    free(l);
    return NULL;
}

size_t h2_conn_limit(const struct h2_conn *c)
{
    return c->stream ? h2_limit(c->h2) : 0;
}

size_t h2_conn_open(const struct h2_conn *c)
{
    return h2_open(c->h2);
}

void h2_conn_go_away(struct h2_conn *c, uint32_t code)
{
    if (c->stream)
        h2_go_away(c->h2, code);
}

void h2_conn_sweep(struct h2_conn *c, int64_t max_ms)
{
    if (c->stream)
        h2_sweep(c->h2, clock_mono_ms(), max_ms);
}

void h2_conn_ping(struct h2_conn *c)
{
    if (c->stream)
        h2_ping(c->h2);
}

int64_t h2_conn_heard_ms(const struct h2_conn *c)
{
    return h2_heard_ms(c->h2);
}

void h2_conn_park(struct h2_conn *c)
{
    if (c->stream)
        stream_park(c->stream);
}
