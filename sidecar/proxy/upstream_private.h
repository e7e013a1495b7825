/* proxy/upstream_private.h: private to the files of the pool: upstream.c (one connection, from dial to close),
 * upstream_h2.c (one that exchanges share) and pool.c (places, waiting requests, TLS identities). */
#ifndef SIDEKEY_PROXY_UPSTREAM_PRIVATE_H
#define SIDEKEY_PROXY_UPSTREAM_PRIVATE_H

#include "net/timer.h"
#include "proxy/h1_leg.h"
#include "proxy/h2_conn.h"
#include "proxy/upstream.h"

/* What is known of an authority and TLS identity; lives as long as the pool. */
struct protocol {
    enum pool_protocol known;
    int64_t known_ms; /* clock_mono_ms() */
};

struct pool_place { /* everything about one pool key; lives as long as the pool */
    struct pool *pool;
    struct authority a0;
    struct tls_client *tls;  /* NULL: plain */
    bool bare;               /* no rule: no token ever goes through it */
    struct list idle;        /* struct upstream, most recently used first */
    struct list others;      /* struct upstream: on the way, with an exchange, or being read empty */
    struct list waits;       /* struct pool_wait */
    size_t open, connecting; /* open: reservations too */
    size_t waiting;          /* how many are in waits */
    struct later handout;
    /* HTTP/2, else NULL, and the rest is empty */
    struct protocol *protocol;
    const struct rule *rule;
    struct list shared;  /* struct upstream: settled, and take new streams */
    struct list askers;  /* struct pool_protocol_wait */
    size_t stream_limit; /* of the connection that settled last; 0: none has */
    char key[];
};

struct pool {
    struct dialer *dialer;
    const struct worker_limits *limits;
    struct meter *meter;
    struct hash *places, *identities, *protocols;
    struct h2_budget budget;
    struct list unused; /* struct upstream.unused: all that are idle, oldest first */
    size_t open;
};

enum upstream_state {
    UPSTREAM_DIAL,
    UPSTREAM_TLS, /* h2: until its SETTINGS are there */
    UPSTREAM_IDLE,
    UPSTREAM_BUSY,
    UPSTREAM_UNREAD,
    UPSTREAM_SHARED,   /* h2: has streams */
    UPSTREAM_UNSHARED, /* h2: has none */
    UPSTREAM_PINGED,   /* h2: has streams, was silent, and has been asked whether it is there */
};

struct upstream {
    struct list node;   /* in place.idle or place.others */
    struct list unused; /* in pool.unused while idle */
    struct pool_place *place;
    enum upstream_state state;
    struct dial *dial;
    struct stream *stream; /* until there is a leg */
    struct h1_leg *leg;
    struct timer deadline;
    bool reused;
    struct pool_warm *warm; /* the client that it is kept for, while it is being made; NULL: those who wait */
    int64_t unused_ms;      /* clock_mono_ms() when it was connected, or its last answer ended */
    size_t unread;
    /* --- h2: a connection --- */
    struct h2_conn *conn;
    struct list streams; /* struct upstream.node: those below */
    size_t stream_count;
    bool leaving; /* takes no new streams */
    /* --- h2: one stream, as an exchange has it --- */
    struct leg *stream_leg;   /* NULL: it is none */
    struct upstream *carrier; /* NULL: its connection is over */
};

/* upstream.c */
/* The one writer of the state, and of the deadline. */
void upstream_enter(struct upstream *u, enum upstream_state next);
/* Who waits for it is told; drops it. */
void upstream_attempt_failed(struct upstream *u, enum close_reason reason, const struct leg_fault *fault);
/* TLS is done, or was not wanted. */
void upstream_connected(struct upstream *u);
struct upstream *upstream_new(struct pool_place *p);
void upstream_dial(struct upstream *u);
/* Takes fd over: TLS when the place wants it, then idle or to who waits. */
void upstream_secure(struct upstream *u, int fd);
/* Idle → an exchange's. */
void upstream_hand_over(struct upstream *u);

/* upstream_h2.c */
/* TLS is done in a place of HTTP/2. */
void upstream_h2_connected(struct upstream *u);
/* A stream on a connection that has room.  NULL: none has. */
struct upstream *upstream_h2_pick(struct pool_place *p);
/* Connections that should be on their way for those who wait. */
size_t upstream_h2_needed(const struct pool_place *p);
void upstream_h2_give_back(struct upstream *stream);
/* What a connection has of HTTP/2, before it is dropped. */
void upstream_h2_drop(struct upstream *u);
/* Tells all who ask and all who wait.  fault: NULL: nobody waits that must be told. */
void upstream_h2_tell(struct pool_place *p, enum pool_protocol protocol, const struct leg_fault *fault);
int64_t upstream_h2_quiet_ms(const struct upstream *u);
int64_t upstream_h2_unshared_ms(const struct upstream *u);
int64_t upstream_h2_pinged_ms(const struct upstream *u);
void upstream_h2_quiet(struct upstream *u);
void upstream_h2_dead(struct upstream *u);

/* pool.c */
/* The place of HTTP/1.1 beside a place of HTTP/2.  NULL: it has no room. */
struct pool_place *pool_place_of_h1(struct pool_place *h2);
/* Takes the one that has waited longest out of the queue.  NULL: nobody waits. */
struct pool_wait *pool_wait_first(struct pool_place *p);

#endif
