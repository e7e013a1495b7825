/* proxy/close_reason.h: why a connection ends: one fixed word for the debug log and sidekey_closes_total
 * (docs/metrics.md lists the words).   Worker process.   Pure. */
#ifndef SIDEKEY_PROXY_CLOSE_REASON_H
#define SIDEKEY_PROXY_CLOSE_REASON_H

#include <stdbool.h>

#include "proxy/leg.h"

enum close_reason {
    CLOSE_ABORTED,       /* client: its answer could not be finished, so it was cut */
    CLOSE_ANSWERED,      /* the last answer is through, and one side does not keep the connection */
    CLOSE_CLIENT_LEFT,   /* upstream: the client of its exchange has gone */
    CLOSE_CROWDED_OUT,   /* it made room for another connection */
    CLOSE_DRAINING,      /* client: this process takes no more requests */
    CLOSE_EARLY_ANSWER,  /* upstream: the answer came before the request was over */
    CLOSE_IDLE,          /* nothing was asked for too long */
    CLOSE_NO_LEAF,       /* client: there is no certificate for the host that it wants */
    CLOSE_NOT_NEEDED,    /* upstream: who asked for it has another one, or has gone */
    CLOSE_OUT_OF_MEMORY, /* … or of descriptors */
    CLOSE_PEER_CLOSED,   /* the peer has closed or reset it */
    CLOSE_PROTOCOL,      /* upstream: what it sent is not HTTP, or is no answer to what was asked */
    CLOSE_REFUSED,       /* sidekey refused the request; sidekey_refused_total says why */
    CLOSE_SHUTTING_DOWN, /* this process ends */
    CLOSE_TIMEOUT,       /* a step took longer than its limit */
    CLOSE_TLS_FAILED,    /* the TLS handshake or session failed */
    CLOSE_TOKEN_EXPIRED, /* upstream: the token ended while the connection was made */
    CLOSE_TUNNEL_ENDED,  /* client: its tunnel is over */
    CLOSE_UNFINISHED,    /* upstream: its exchange ended before the answer was whole */
    CLOSE_UNREACHABLE,   /* the upstream could not be connected to */
    CLOSE_UNREAD,        /* upstream: too much is left of an answer that nobody wants */
    CLOSE_UPGRADED,      /* upstream: it left the pool for a tunnel */
    CLOSE_REASONS,
};

/* The word; never NULL. */
const char *close_reason_word(enum close_reason reason);
/* Whether connections of clients (of upstreams) end for this reason. */
bool close_reason_of_client(enum close_reason reason);
bool close_reason_of_upstream(enum close_reason reason);
/* Of an upstream's leg that is gone. */
enum close_reason close_reason_of_fault(const struct leg_fault *fault);

#endif
