/* proxy/leg.h: one side of an exchange, for any protocol: five events in, the same five out.   Worker process.
 *
 * A codec (h1_leg.c, h2_conn.c) owns the bytes; the exchange sees heads, data, ends.  Backpressure is two
 * numbers: leg_space() says how many body bytes the leg takes now, leg_want() says whether its events are wanted.
 * Events are never delivered from inside a leg_* call.  After leg_want(false) none come, except gone. */
#ifndef SIDEKEY_PROXY_LEG_H
#define SIDEKEY_PROXY_LEG_H

#include "http/message.h"

struct leg;

struct leg_fault {
    bool clean;         /* the peer ended between two messages: no fault */
    bool verify;        /* upstream certificate or name did not verify */
    bool renegotiation; /* upstream asked for a second TLS handshake, and ended when that was refused */
    bool reset;         /* h2: the stream alone was reset by the peer, with reset_code (RFC 9113 §7) */
    bool unprocessed;   /* h2: it is certain that the peer has done nothing with it (RFC 9113 §8.7) */
    uint32_t reset_code;
    int status;        /* what to answer: 400… for a request that does not parse, 502 for an upstream */
    const char *label; /* RFC 9209 §2.3 error, or a reason for the metric */
    const char *text;  /* for people; valid during the event */
};

struct leg_events {
    /* the leg's own, until the next message begins; may be changed */
    void (*head)(void *owner, struct message *head);
    void (*data)(void *owner, struct slice data);       /* valid during the call */
    void (*end)(void *owner, struct message *trailers); /* the message is complete; nothing more until leg_next() */
    void (*space)(void *owner);                         /* there is space again after leg_space() was small */
    /* The peer's end, or a fault, after everything that was read before it.  A client that has ended its side counts as
     * gone, unless it may half-close. */
    void (*gone)(void *owner, const struct leg_fault *fault);
};

struct leg_ops {
    int (*head)(struct leg *, const struct message *, bool head_only);
    int (*data)(struct leg *, struct slice);
    int (*end)(struct leg *, const struct message *trailers);
    size_t (*space)(struct leg *);
    void (*want)(struct leg *, bool);
    void (*next)(struct leg *);
    bool (*retract)(struct leg *);
    void (*half_close)(struct leg *, bool);
    void (*expect)(struct leg *, struct slice method);
    bool (*started)(const struct leg *);
    bool (*stalled)(const struct leg *);
    void (*abort)(struct leg *);
    void (*free)(struct leg *);
};

struct leg {
    const struct leg_ops *ops;
    const struct leg_events *events;
    void *owner;
    const char *sharer;  /* h2: whose streams may share an upstream connection; NULL: HTTP/1.1 */
    uint32_t reset_code; /* h2: what leg_abort() and leg_free() reset with; 0: INTERNAL_ERROR, CANCEL */
    bool reset_no_error; /* … or NO_ERROR */
    bool *falls_back;    /* h2 client: set to true once its upstream wants HTTP/1.1 */
};

/* Size of a read. A leg with less space than this is waited for. */
#define LEG_READ_BYTES (16 * 1024)

/* Each returns 0 or -errno; after a failure the leg is only good for leg_abort(). */
static inline int leg_head(struct leg *l, const struct message *m, bool head_only)
{
    return l->ops->head(l, m, head_only);
}
static inline int leg_data(struct leg *l, struct slice data)
{
    return l->ops->data(l, data);
}
static inline int leg_end(struct leg *l, const struct message *trailers)
{
    return l->ops->end(l, trailers);
}
static inline size_t leg_space(struct leg *l)
{
    return l->ops->space(l);
}
static inline void leg_want(struct leg *l, bool want)
{
    l->ops->want(l, want);
}
/* The message that ended has been handled: read the next one. */
static inline void leg_next(struct leg *l)
{
    l->ops->next(l);
}
/* Changes hands (client or pool ↔ exchange): the events go to owner from now on. */
static inline void leg_own(struct leg *l, const struct leg_events *events, void *owner)
{
    l->events = events;
    l->owner = owner;
}
/* Upstream: the method of the request that goes out next (its answer to HEAD has no body). */
static inline void leg_expect(struct leg *l, struct slice method)
{
    l->ops->expect(l, method);
}
/* At least one byte of the awaited message has come. */
static inline bool leg_started(const struct leg *l)
{
    return l->ops->started(l);
}
/* h2: bytes wait for the peer to take them, or for us to.  false for HTTP/1.1, whose deadlines are those of bytes. */
static inline bool leg_stalled(const struct leg *l)
{
    return l->ops->stalled && l->ops->stalled(l);
}
/* Takes back the message that is being written.  false: some of it has gone out. */
static inline bool leg_retract(struct leg *l)
{
    return l->ops->retract(l);
}
/* Client: whether one that has ended its side after a whole request still gets its response; default false. */
static inline void leg_half_close(struct leg *l, bool allowed)
{
    l->ops->half_close(l, allowed);
}
/* The message cannot be finished, and the peer must not take it as complete: flushes, then resets the connection. Frees
 * the leg. */
static inline void leg_abort(struct leg *l)
{
    l->ops->abort(l);
}
/* Flushes what the socket accepts and closes; an incomplete response is aborted.  Safe inside any event of the leg. */
static inline void leg_free(struct leg *l)
{
    l->ops->free(l);
}

#endif
