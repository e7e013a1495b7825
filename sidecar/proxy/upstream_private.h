/* proxy/upstream_private.h: private to the files of the pool: upstream.c (one connection, from dial to close) and
 * pool.c (places, waiting requests, TLS identities). */
#ifndef SIDEKEY_PROXY_UPSTREAM_PRIVATE_H
#define SIDEKEY_PROXY_UPSTREAM_PRIVATE_H

#include "net/timer.h"
#include "proxy/h1_leg.h"
#include "proxy/upstream.h"

struct place { /* everything about one pool key; lives as long as the pool */
    struct pool *pool;
    struct authority a0;
    struct tls_client *tls;  /* NULL: plain */
    bool bare;               /* no rule: no token ever goes through it */
    struct list idle;        /* struct upstream, most recently used first */
    struct list others;      /* struct upstream: on the way, with an exchange, or being read empty */
    struct list waits;       /* struct upstream_wait */
    size_t open, connecting; /* open: reservations too */
    size_t waiting;          /* how many are in waits */
    struct later handout;
    char key[];
};

struct pool {
    struct dialer *dialer;
    const struct worker_limits *limits;
    struct meter *meter;
    struct hash *places, *identities;
    struct list unused; /* struct upstream.unused: all that are idle, oldest first */
    size_t open;
};

enum upstream_state { UPSTREAM_DIAL, UPSTREAM_TLS, UPSTREAM_IDLE, UPSTREAM_BUSY, UPSTREAM_UNREAD };

struct upstream {
    struct list node;   /* in place.idle or place.others */
    struct list unused; /* in pool.unused while idle */
    struct place *place;
    enum upstream_state state;
    struct dial *dial;
    struct stream *stream; /* until there is a leg */
    struct h1_leg *leg;
    struct timer deadline;
    bool reused;
    bool warm;         /* dialled before a request waited for it */
    int64_t unused_ms; /* clock_mono_ms() when it was connected, or its last answer ended */
    size_t unread;
};

/* upstream.c */
struct upstream *upstream_new(struct place *p);
void upstream_dial(struct upstream *u);
/* Takes fd over: TLS when the place wants it, then idle or to who waits. */
void upstream_secure(struct upstream *u, int fd);
/* Idle → an exchange's. */
void upstream_hand_over(struct upstream *u);

/* pool.c */
/* Takes the one that has waited longest out of the queue.  NULL: nobody waits. */
struct upstream_wait *upstream_wait_first(struct place *p);

#endif
