/* proxy/tunnel.h: copies bytes both ways between two streams without reading them: unmatched hosts, WebSocket.   Worker
 * process. */
#ifndef SIDEKEY_PROXY_TUNNEL_H
#define SIDEKEY_PROXY_TUNNEL_H

#include "net/stream.h"

struct tunnel;
typedef void tunnel_done_fn(void *owner);

/* Takes both streams over, also on failure.  first_a, first_b: bytes already read from a (for b) and from b (for a).
 * Half-close is passed on; ends when both sides ended, on a fault of either (the other is reset), or after idle_ms
 * without a byte.  done is called once, later.  NULL when out of memory. */
MUST_CHECK struct tunnel *tunnel_new(struct stream *a, struct stream *b, struct slice first_a, struct slice first_b,
                                     int64_t idle_ms, tunnel_done_fn *done, void *owner);
/* Ends it now; done is not called.  Accepts NULL. */
void tunnel_free(struct tunnel *t);

#endif
