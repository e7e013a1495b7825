#include "proxy/h1_leg_private.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "net/peer_uid.h"

#define READS_PER_WAKE 4
#define REST_MAX (MESSAGE_HEAD_MAX_BYTES + 2 * LEG_READ_BYTES)
#define READ_AHEAD_MAX LEG_READ_BYTES /* pipelined bytes kept while an exchange runs */

static char scratch[LEG_READ_BYTES]; /* one loop, one thread, and events never nest */

static const struct leg_ops h1_ops;
static void on_stream(void *owner, enum stream_event event);
static void on_resume(struct later *later);
static void on_deferred_free(struct later *later);

struct h1_leg *h1_leg_new(struct stream *s, enum h1_role reads, const struct leg_events *events, void *owner)
{
    struct h1_leg *l = calloc(1, sizeof *l);
    if (!l || !(l->parser = h1_new(reads))) {
        free(l);
        return NULL;
    }
    l->base = (struct leg){ .ops = &h1_ops, .events = events, .owner = owner };
    l->stream = s;
    l->reads = reads;
    buf_init(&l->rest, REST_MAX);
    loop_later_init(&l->resume, on_resume);
    loop_later_init(&l->deferred_free, on_deferred_free);
    stream_own(s, on_stream, l);
    return l;
}

static void on_deferred_free(struct later *later)
{
    struct h1_leg *l = LIST_ENTRY(later, struct h1_leg, deferred_free);
    h1_free(l->parser);
    buf_done(&l->rest);
    free(l);
}

/* The memory outlives this turn of the loop: a caller further up may still look at dead. */
static void free_later(struct h1_leg *l)
{
    l->dead = true;
    l->stream = NULL;
    loop_later_cancel(&l->resume);
    loop_later_ask(&l->deferred_free);
}

void h1_leg_free(struct h1_leg *l)
{
    if (!l || l->dead)
        return;
    if (l->writing && l->reads == H1_REQUESTS) /* a clean end would make half an answer look whole */
        stream_abort(l->stream);
    else
        stream_free(l->stream);
    free_later(l);
}

void h1_leg_free_gently(struct h1_leg *l)
{
    if (!l || l->dead)
        return;
    stream_linger(l->stream);
    free_later(l);
}

void h1_leg_limit(struct h1_leg *l, unsigned fields, unsigned line_bytes)
{
    h1_limit(l->parser, fields, line_bytes);
}

struct leg *h1_leg_base(struct h1_leg *l)
{
    return &l->base;
}

struct stream *h1_leg_stream(struct h1_leg *l)
{
    return l->stream;
}

int h1_leg_preload(struct h1_leg *l, struct slice bytes)
{
    return buf_add(&l->rest, bytes);
}

/* Read and not parsed. */
static struct slice unparsed(const struct h1_leg *l)
{
    return l->feeding ? *l->feeding : buf_slice(&l->rest);
}

struct stream *h1_leg_detach(struct h1_leg *l, struct buf *leftover)
{
    struct stream *s = l->stream;
    int failed = buf_add(leftover, unparsed(l));
    stream_want_read(s, false);
    stream_want_hangup(s, STREAM_HANGUP_NONE);
    if (failed) {
        stream_free(s);
        s = NULL;
    }
    free_later(l);
    return s;
}

int64_t h1_leg_started_ms(const struct h1_leg *l)
{
    return l->started_ms;
}

bool h1_leg_reusable(const struct h1_leg *l)
{
    return !l->dead && l->ended && l->keep && !l->writing && !l->close_after && !l->upgraded && l->peer == PEER_SENDS
           && unparsed(l).len == 0 && stream_whole(l->stream);
}

uint32_t h1_leg_idle_s(const struct h1_leg *l)
{
    return l->idle_s;
}

void h1_leg_park(struct h1_leg *l)
{
    if (l->dead || l->started_ms || l->writing || unparsed(l).len)
        return;
    h1_park(l->parser);
    buf_done(&l->rest);
    stream_park(l->stream);
}

/* --- reading --- */

static bool wants(const struct h1_leg *l)
{
    return l->want && !l->dead && !l->ended && !l->upgraded;
}

/* A client is listened to while its request is being answered: its hang-up must reach the upstream. */
static bool listens(const struct h1_leg *l)
{
    return l->want && !l->dead && !l->upgraded && l->peer == PEER_SENDS
           && (!l->ended || (l->reads == H1_REQUESTS && l->rest.len < READ_AHEAD_MAX));
}

static void set_interest(struct h1_leg *l)
{
    if (l->dead)
        return;
    stream_want_read(l->stream, listens(l));
    if (l->reads == H1_REQUESTS && !l->upgraded)
        stream_want_hangup(l->stream, l->half_close ? STREAM_HANGUP_RESET : STREAM_HANGUP_END);
}

static void gone(struct h1_leg *l, const struct leg_fault *why)
{
    struct leg_fault fault = *why;
    fault.renegotiation = l->reads == H1_RESPONSES && stream_renegotiation(l->stream);
    l->want = false;
    l->told = true;
    set_interest(l);
    l->base.events->gone(l->base.owner, &fault);
}

static void gone_bad(struct h1_leg *l)
{
    bool request = l->reads == H1_REQUESTS;
    gone(l, &(struct leg_fault){ .status = request ? h1_status(l->parser) : 502,
                                 .label = request ? h1_reason(l->parser) : "http_protocol_error",
                                 .text = h1_reason(l->parser) });
}

static void gone_lost(struct h1_leg *l)
{
    gone(l, &(struct leg_fault){ .status = 502,
                                 .label = stream_error_label(l->stream),
                                 .text = stream_error(l->stream),
                                 .verify = stream_verify_failed(l->stream) });
}

static void gone_left(struct h1_leg *l)
{
    gone(l, &(struct leg_fault){
                .clean = true, .status = 502, .label = "connection_terminated", .text = "the connection was closed" });
}

static void gone_eof(struct h1_leg *l)
{
    switch (h1_eof(l->parser)) {
    case H1_END:
        l->ended = true;
        l->keep = false;
        l->base.events->end(l->base.owner, NULL);
        return;
    case H1_MORE: gone_left(l); return;
    default:
        gone(l, &(struct leg_fault){
                    .status = 502, .label = "http_response_incomplete", .text = "the message was cut short" });
        return;
    }
}

/* Parses what there is until nothing is complete or events are unwanted; what is left stays in *in. */
static void feed(struct h1_leg *l, struct slice *in)
{
    struct slice data;
    l->feeding = in;
    for (bool more = true; more && wants(l);) {
        switch (h1_next(l->parser, in, &data)) {
        case H1_MORE: more = false; break;
        case H1_HEAD:
            l->keep = h1_head(l->parser)->keep_alive;
            l->idle_s = h1_head(l->parser)->idle_s;
            l->base.events->head(l->base.owner, h1_head(l->parser));
            break;
        case H1_DATA: l->base.events->data(l->base.owner, data); break;
        case H1_END:
            l->ended = true;
            l->keep = l->keep && !h1_cleaned(l->parser);
            l->base.events->end(l->base.owner, h1_trailers(l->parser));
            break;
        case H1_UPGRADED:
            l->upgraded = true;
            more = false;
            break;
        case H1_BAD:
            gone_bad(l);
            more = false;
            break;
        }
    }
    l->feeding = NULL;
}

static bool keep_rest(struct h1_leg *l, struct slice in)
{
    if (l->dead || in.len == 0 || buf_add(&l->rest, in) == 0)
        return true;
    gone(l, &(struct leg_fault){ .status = 502, .label = "internal_error", .text = "out of memory" });
    return false;
}

/* A client that ends its side after a whole request may still read (RFC 9112 §9.6; RFC 8446 §6.1: close_notify is about
 * one direction), but most have given up.  The message that it waits for is not due before leg_next(). */
static bool has_left(const struct h1_leg *l)
{
    return l->want && l->ended && (l->reads == H1_RESPONSES || !l->half_close);
}

/* It has ended its side, and waits. */
static bool holds_on(struct h1_leg *l)
{
    if (!l->ends_with_request || l->half_close || !peer_uid_holds(stream_fd(l->stream)))
        return false;
    l->half_close = true;
    set_interest(l);
    return true;
}

/* The peer's end comes after what was read before it.  In the middle of a message, and between two, it is the end. */
static void tell_end(struct h1_leg *l)
{
    if (!l->dead && l->peer == PEER_ENDED && has_left(l) && holds_on(l))
        return;
    if (l->dead || l->upgraded || l->peer == PEER_SENDS || !(has_left(l) || (wants(l) && l->rest.len == 0)))
        return;
    if (l->peer == PEER_LOST)
        gone_lost(l);
    else if (l->ended)
        gone_left(l);
    else
        gone_eof(l); /* may be the end of a message */
}

static void feed_rest(struct h1_leg *l)
{
    struct slice in = buf_slice(&l->rest);
    size_t before = in.len;
    feed(l, &in);
    if (!l->dead)
        buf_consume(&l->rest, before - in.len);
    tell_end(l);
}

/* A client's fault is told at once: what it has sent needs no answer any more. */
static void peer_over(struct h1_leg *l, enum h1_peer how)
{
    l->peer = how;
    if (how == PEER_LOST && l->reads == H1_REQUESTS)
        gone_lost(l);
    else
        feed_rest(l);
}

static bool read_once(struct h1_leg *l)
{
    size_t got = 0;
    switch (stream_read(l->stream, scratch, sizeof scratch, &got)) {
    case STREAM_AGAIN: return false;
    case STREAM_EOF: peer_over(l, PEER_ENDED); return false;
    case STREAM_ERROR: peer_over(l, PEER_LOST); return false;
    case STREAM_OK: break;
    }
    struct slice in = slice_of(scratch, got);
    if (!l->started_ms)
        l->started_ms = clock_mono_ms();
    if (l->rest.len == 0)
        feed(l, &in);
    if (!keep_rest(l, in))
        return false;
    if (!l->dead && l->rest.len && wants(l))
        feed_rest(l);
    return got == sizeof scratch;
}

static void pump(struct h1_leg *l)
{
    if (l->rest.len && wants(l))
        feed_rest(l); /* on_resume() comes later in this turn: what was read goes before what is to be read */
    for (int i = 0; i < READS_PER_WAKE && listens(l); i++)
        if (!read_once(l))
            break;
    set_interest(l);
}

static void on_resume(struct later *later)
{
    struct h1_leg *l = LIST_ENTRY(later, struct h1_leg, resume);
    if (wants(l))
        feed_rest(l);
    else
        tell_end(l);
    set_interest(l);
}

static void on_stream(void *owner, enum stream_event event)
{
    struct h1_leg *l = owner;
    switch (event) {
    case STREAM_READABLE: pump(l); break;
    case STREAM_DRAINED: l->base.events->space(l->base.owner); break;
    case STREAM_FAILED: peer_over(l, PEER_LOST); break;
    case STREAM_LEFT:
        if (!l->told && !holds_on(l))
            gone_left(l);
        break;
    case STREAM_SECURED: break;
    }
}

static void h1_want(struct leg *base, bool want)
{
    struct h1_leg *l = CONTAINER_OF(base, struct h1_leg, base);
    if (l->dead || l->want == want)
        return;
    l->want = want;
    if (want)
        loop_later_ask(&l->resume); /* also for an END that needs no more bytes */
    set_interest(l);
}

static void h1_go_on(struct leg *base)
{
    struct h1_leg *l = CONTAINER_OF(base, struct h1_leg, base);
    l->ended = false;
    l->started_ms = unparsed(l).len ? clock_mono_ms() : 0;
    if (unparsed(l).len || l->peer != PEER_SENDS)
        loop_later_ask(&l->resume);
    set_interest(l);
}

static void h1_half_close(struct leg *base, bool allowed)
{
    struct h1_leg *l = CONTAINER_OF(base, struct h1_leg, base);
    if (l->dead || l->half_close == allowed)
        return;
    l->half_close = allowed;
    set_interest(l);
}

void h1_leg_ends_with_request(struct h1_leg *l, bool may)
{
    l->ends_with_request = may;
}

static void h1_abort(struct leg *base)
{
    struct h1_leg *l = CONTAINER_OF(base, struct h1_leg, base);
    if (l->dead)
        return;
    stream_abort(l->stream);
    free_later(l);
}

static void expect_method(struct leg *base, struct slice method)
{
    h1_expect(CONTAINER_OF(base, struct h1_leg, base)->parser, method);
}

static bool has_started(const struct leg *base)
{
    return ((const struct h1_leg *)base)->started_ms != 0;
}

static void free_leg(struct leg *base)
{
    h1_leg_free(CONTAINER_OF(base, struct h1_leg, base));
}

static const struct leg_ops h1_ops = {
    .head = h1_leg_write_head,
    .data = h1_leg_write_data,
    .end = h1_leg_write_end,
    .space = h1_leg_write_space,
    .want = h1_want,
    .next = h1_go_on,
    .retract = h1_leg_retract,
    .half_close = h1_half_close,
    .expect = expect_method,
    .started = has_started,
    .abort = h1_abort,
    .free = free_leg,
};
