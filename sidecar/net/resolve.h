/* net/resolve.h: names to addresses without blocking (c-ares, which also reads /etc/hosts), A and AAAA together, cached.   Worker process.
 * TTL clamped to 5…300 s, failures cached 2 s, one query at a time per name; at most 4096 names kept. */
#ifndef SIDEKEY_NET_RESOLVE_H
#define SIDEKEY_NET_RESOLVE_H

#include "net/address.h"
#include "net/loop.h"

#define RESOLVE_ADDRESSES_MAX 16

struct resolver;
struct resolve; /* one question */
/* addresses: IPv6 and IPv4 interleaved in the order to try (RFC 8305 §4), port 0; valid during the call.  error: NULL, or why there are none. */
typedef void resolve_fn(void *arg, const struct address *addresses, size_t count, const char *error);

MUST_CHECK struct resolver *resolver_new(struct err *e);
void resolver_free(struct resolver *r);
/* Asks; fn is called later, never from inside this call, at most 5 s later.  NULL when out of memory. */
MUST_CHECK struct resolve *resolve_start(struct resolver *r, const char *host, resolve_fn *fn, void *arg);
/* fn will not be called.  Accepts NULL. */
void resolve_cancel(struct resolve *q);

#endif
