/* proxy/context.h: state that all clients and exchanges of one worker share.   Worker process.   Owner: worker.c. */
#ifndef SIDEKEY_PROXY_CONTEXT_H
#define SIDEKEY_PROXY_CONTEXT_H

#include "proxy/hints.h"
#include "net/listen.h"
#include "proxy/access.h"
#include "proxy/leaves.h"
#include "proxy/meter.h"
#include "proxy/replay.h"
#include "proxy/tokens.h"
#include "proxy/upstream.h"
#include "proxy/options.h"

struct context {
    const struct worker_options *options;
    struct access *access;
    struct tokens *tokens;
    struct leaves *leaves;
    struct dialer *dialer;
    struct pool *pool;
    struct tls_server *tls;
    struct hints *hints; /* NULL: no transparent listener */
    struct meter *meter;
    struct replay_pool replay;
    struct list clients;
    unsigned client_count;
    struct list newcomers; /* clients that have shown no identity and have no request under way, oldest first */
    unsigned newcomer_count;
    bool draining;
    int64_t unlinked_ms;                     /* clock_mono_ms() when the link to the keeper was lost; 0: it is there */
    int64_t drain_idle_ms;                   /* while draining: a connection may be silent that long */
    bool leaving;                            /* … and nobody takes over: the program ends */
    void (*on_client_end)(struct context *); /* a connection slot is free again, or an operator has its answer */
    void (*on_client_settled)(struct context *); /* one slot of limits.connections more is taken */
    /* of an admin client: to the keeper, or RELOAD to the supervisor */
    void (*ask)(struct context *, const struct msg *question);
};

#endif
