/* http/h2.h: one HTTP/2 connection, either end, as a codec without sockets (RFC 9113, RFC 7541), over nghttp2.   Pure.
 *
 * Bytes go in by h2_feed() and out by h2_pull().  A stream has an owner that gets its events; they are delivered by
 * h2_feed() and h2_run() alone, never from inside any other call.  What comes while the owner does not want it waits in
 * the stream, and the peer gets no credit for it: a connection's credit goes back as bytes arrive, a stream's as they
 * are delivered (RFC 9113 §5.2).  A stream's window begins at 64 KiB and grows to 1 MiB while its owner keeps up.
 * Owner  h2_new()'s caller, through h2_free(), which must not be called from inside an event.  A stream is its owner's
 * until h2_stream_free(), which may be called at any time.  The peer's numbers all have caps; see h2_private.h. */
#ifndef SIDEKEY_HTTP_H2_H
#define SIDEKEY_HTTP_H2_H

#include "base/list.h"
#include "http/message.h"

struct h2;
struct h2_stream;

enum h2_role { H2_SERVER, H2_CLIENT };

/* RFC 9113 §7. */
enum h2_code {
    H2_NO_ERROR = 0x0,
    H2_PROTOCOL_ERROR = 0x1,
    H2_INTERNAL_ERROR = 0x2,
    H2_FLOW_CONTROL_ERROR = 0x3,
    H2_STREAM_CLOSED = 0x5,
    H2_FRAME_SIZE_ERROR = 0x6,
    H2_REFUSED_STREAM = 0x7,
    H2_CANCEL = 0x8,
    H2_ENHANCE_YOUR_CALM = 0xb,
    H2_HTTP_1_1_REQUIRED = 0xd,
};

/* Bytes that all connections of a process hold back for slow receivers.  Over max no connection gives any credit;
 * owing: those that owe some, and give it when used has fallen.  spares: streams that are over, a few, whose memory the
 * next ones take. */
struct h2_budget {
    size_t used, max, spare_count;
    struct list owing, spares;
};
/* Empty.  It outlives the connections that use it. */
void h2_budget_init(struct h2_budget *b, size_t max_bytes);
/* Frees the spares; it is usable again. */
void h2_budget_done(struct h2_budget *b);

struct h2_gone {      /* why a stream ended before its message did */
    uint32_t code;    /* the peer's RST_STREAM, or what its breach deserves (RFC 9113 §7) */
    bool connection;  /* the connection has ended: code does not describe the stream */
    bool unprocessed; /* it is certain that the peer has done nothing with it (RFC 9113 §8.7) */
};

struct h2_stream_events {
    /* the stream's own, until the next head (after 1xx) or its end; may be changed */
    void (*head)(void *owner, struct message *head);
    void (*data)(void *owner, struct slice data);         /* valid during the call */
    void (*end)(void *owner, struct message *trailers);   /* NULL: none */
    void (*space)(void *owner);                           /* h2_stream_space() was short and is not any more */
    void (*gone)(void *owner, const struct h2_gone *why); /* the last event */
};

struct h2_events {
    /* Server: a request has come.  status: 0, or what to answer it with, and why (400, 414, 421, 431).  The callee owns
     * the stream, and has to give it events (h2_stream_own) before it returns. */
    void (*opened)(void *owner, struct h2_stream *s, struct message *head, int status, const char *reason);
    void (*ready)(void *owner);   /* there is something to send or to deliver: h2_run(), then h2_pull(), soon */
    void (*settled)(void *owner); /* the peer's first SETTINGS are there */
    void (*leaving)(void *owner); /* GOAWAY came: no new streams */
};

struct h2_options {
    enum h2_role role;
    struct h2_budget *budget;
    unsigned fields;   /* cap of a head's */
    size_t line_bytes; /* cap of a request's :path */
};
/* NULL when out of memory. */
MUST_CHECK struct h2 *h2_new(const struct h2_options *options, const struct h2_events *events, void *owner);
/* The owners of open streams get no event: call h2_lost() first.  Accepts NULL. */
void h2_free(struct h2 *h);

/* Takes bytes in and delivers what they bring.  0; -EPROTO: the peer broke the protocol or exceeded a limit; a GOAWAY
 * is to be pulled, then the connection ends; -ENOMEM. */
MUST_CHECK int h2_feed(struct h2 *h, struct slice bytes, int64_t now_ms);
/* Delivers what is due: to streams that want it again, room that there is. */
void h2_run(struct h2 *h);
/* Appends frames until out holds limit bytes or there is nothing to send.  out: room for limit and a frame (17 KiB).
 * 0; -ENOMEM. */
MUST_CHECK int h2_pull(struct h2 *h, struct buf *out, size_t limit);
/* The connection is gone: at the next h2_run() each stream that is not complete gets gone, behind what had come. */
void h2_lost(struct h2 *h);
/* Neither side has anything more to say: close. */
bool h2_over(const struct h2 *h);
/* Number of open streams, with or without an owner. */
size_t h2_open(const struct h2 *h);
/* clock_mono_ms() of the last frame that was received, as passed to h2_feed(). */
int64_t h2_heard_ms(const struct h2 *h);
/* No new streams of the peer are taken; those that are open go on.  code: as h2_code. */
void h2_go_away(struct h2 *h, uint32_t code);
/* Resets what owners have let go of and the peer has taken nothing of for max_ms; to be called about twice as often. */
void h2_sweep(struct h2 *h, int64_t now_ms, int64_t max_ms);
/* RFC 9113 §6.7. */
void h2_ping(struct h2 *h);
/* Why h2_feed() has failed, for people and as a label; never NULL. */
const char *h2_error(const struct h2 *h);

/* Client: the most streams that may be open at once, by the peer's SETTINGS; 0 when it takes no more (GOAWAY, used-up
 * numbers) or has not said. */
size_t h2_limit(const struct h2 *h);
/* Client: a stream of its own, not open before h2_stream_head().  NULL when out of memory. */
MUST_CHECK struct h2_stream *h2_stream_new(struct h2 *h, const struct h2_stream_events *events, void *owner);
void h2_stream_own(struct h2_stream *s, const struct h2_stream_events *events, void *owner);
/* The owner lets go.  What it has ended goes out whole; what it has not is reset with code. */
void h2_stream_free(struct h2_stream *s, uint32_t code);
/* Writes a head: 1xx, or the one of the message.  bodiless: whatever its framing says, no body follows.  0; -EINVAL
 * (no head that could be sent), -ENOMEM, -EPIPE (nothing can be sent any more). */
MUST_CHECK int h2_stream_head(struct h2_stream *s, const struct message *m, bool bodiless);
/* 0; -EPROTO (more or less than the head's content-length), -ENOBUFS, -ENOMEM. */
MUST_CHECK int h2_stream_data(struct h2_stream *s, struct slice data);
/* The message is whole; trailers: NULL or copied. */
MUST_CHECK int h2_stream_end(struct h2_stream *s, const struct message *trailers);
/* Body bytes that are taken now: H2_SPACE, or less while some wait for the peer's credit. */
size_t h2_stream_space(struct h2_stream *s);
/* Without it the owner gets only gone. A stream starts without. */
void h2_stream_want(struct h2_stream *s, bool want);
/* A head (not 1xx) has come. */
bool h2_stream_started(const struct h2_stream *s);
/* Bytes wait for the peer's credit, or for ours to be taken: the peer, or the owner, is slow. */
bool h2_stream_stalled(const struct h2_stream *s);

/* What a stream holds for its peer. */
#define H2_SPACE (16 * 1024)
#define H2_FRAME_ROOM (17 * 1024)

#endif
