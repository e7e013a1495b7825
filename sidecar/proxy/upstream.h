/* proxy/upstream.h: connections to upstreams: dial, TLS, and the pool of idle ones
 * (docs/http.md §5, §6).   Worker process. A connection belongs to the pool, or to one exchange.  Pool key: authority +
 * TLS identity.  An idle connection that becomes readable is closed. */
#ifndef SIDEKEY_PROXY_UPSTREAM_H
#define SIDEKEY_PROXY_UPSTREAM_H

#include "http/h2.h"
#include "net/dial/dial.h"
#include "net/stream.h"
#include "net/timer.h"
#include "proxy/meter.h"
#include "proxy/options.h"

struct pool;
struct upstream;

/* A connection that a client asks for before it has a request. While it is being made, it is kept for that client. */
struct pool_warm {
    struct upstream *u; /* NULL: it is made, or there is none */
};

struct pool_target {
    const struct authority *a0;
    const struct rule *rule; /* its tls files are the identity; NULL: none */
    /* the request cannot be sent twice: it gets a fresh connection, or one that was in use a moment ago */
    bool once;
    /* HTTP/2: whose requests may share a connection with this one; NULL: HTTP/1.1 */
    const char *sharer;
    struct pool_warm *warm; /* of the client that pool_adopt() and pool_protocol() are called for; NULL: no one's */
};

struct pool_place;

enum pool_protocol { PROTOCOL_UNKNOWN, PROTOCOL_H1, PROTOCOL_H2 };

struct pool_protocol_wait {
    struct list node;
    struct pool_place *place;
    void (*fn)(void *arg, enum pool_protocol protocol); /* UNKNOWN: the upstream cannot be reached */
    void *arg;
};

struct pool_wait {
    struct list node;
    struct pool_place *place; /* NULL: none could be made */
    bool once;
    struct timer deadline;
    /* u: now the callee's; or NULL and why. */
    void (*fn)(void *arg, struct upstream *u, const struct leg_fault *fault);
    void *arg;
};

/* All three are borrowed and must live longer than it.  NULL when out of memory. */
MUST_CHECK struct pool *pool_new(struct dialer *dialer, const struct worker_limits *limits, struct meter *meter);
/* Every exchange has ended; what is idle or still being dialled is closed. */
void pool_free(struct pool *p);
/* Makes the TLS context of a rule now, so that a missing file is reported at start.  0; -1 with e. */
MUST_CHECK int pool_prepare(struct pool *p, const struct rule *rule, struct err *e);
/* Returns the idle connection that was used last; the caller owns it now. Without one: NULL, and w->fn is called later
 * (within dial_ms + tls_ms). */
struct upstream *pool_take(struct pool *p, const struct pool_target *target, struct pool_wait *w,
                           void (*fn)(void *arg, struct upstream *u, const struct leg_fault *fault), void *arg);
/* Also ends an attempt to connect that no one else waits for.  Harmless on a zeroed or finished wait. */
void pool_wait_cancel(struct pool_wait *w);
/* An idle connection is there, or on its way with no one waiting for it. */
bool pool_has(struct pool *p, const struct pool_target *target);
/* Counts a connection that the caller dials among those to its upstream (limits.per_upstream).  NULL: the limit is
 * reached. The caller owns it and calls pool_release(), which accepts NULL. */
MUST_CHECK struct pool_place *pool_reserve(struct pool *p, const struct pool_target *target);
void pool_release(struct pool_place *reserved);
/* Takes a connected TCP socket over: goes on with TLS, then idle or to a waiting request.  Closes it when the limit is
 * reached. */
void pool_adopt(struct pool *p, const struct pool_target *target, int fd);
/* The client has left: ends the attempt that was kept for it, unless others wait for one. Harmless on a zeroed one. */
void pool_warm_cancel(struct pool_warm *w);
/* What an upstream of TLS speaks, by its own choice among both (RFC 7301); target has a sharer.  fd: a socket that is
 * connected to it, or -1; taken over.  UNKNOWN: fn comes later, within dial_ms + tls_ms.  What was learnt holds for
 * five minutes, or until the upstream says otherwise. */
enum pool_protocol pool_protocol(struct pool *p, const struct pool_target *target, int fd, struct pool_protocol_wait *w,
                                 void (*fn)(void *arg, enum pool_protocol protocol), void *arg);
/* Also ends an attempt to connect that no one else waits for.  Harmless on a zeroed or finished wait. */
void pool_protocol_cancel(struct pool_protocol_wait *w);
/* The upstream wants HTTP/1.1 after all (RFC 9113 §7, HTTP_1_1_REQUIRED): so it is what it speaks from now on. */
void upstream_wants_h1(struct upstream *u);
/* What HTTP/2 connections hold back, in this worker. */
struct h2_budget *pool_budget(struct pool *p);
/* The exchange is over.  Reusable → idle; else closed. */
void upstream_give_back(struct upstream *u);
/* The response is not needed: reads at most 64 KiB of it to keep the connection, else closes it. */
void upstream_give_back_unread(struct upstream *u);
/* Closes it. */
void upstream_drop(struct upstream *u, enum close_reason reason);
/* The caller owns its events (leg_own()) until it gives the connection back or drops it. */
struct leg *upstream_leg(struct upstream *u);
/* It had carried an exchange before: it may be stale. */
bool upstream_reused(const struct upstream *u);
/* For a protocol switch: the pool forgets it; leftover gets unread bytes.  NULL: out of memory, closed. */
struct stream *upstream_detach(struct upstream *u, struct buf *leftover);
/* Open connections, idle and busy. */
size_t pool_open(const struct pool *p);

#endif
