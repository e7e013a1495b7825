/* net/dial/resolve.h: names to addresses without blocking (c-ares, which also reads /etc/hosts), A and AAAA together,
 * cached.   Worker process. TTL clamped to 5…300 s, failures cached 2 s, one query at a time per name; at most 4096
 * names kept. */
#ifndef SIDEKEY_NET_DIAL_RESOLVE_H
#define SIDEKEY_NET_DIAL_RESOLVE_H

#include "net/address.h"
#include "net/loop.h"

#define RESOLVE_ADDRESSES_MAX 16

struct resolver;
struct resolve; /* one question */
/* addresses: IPv6 and IPv4 interleaved in the order to try (RFC 8305 §4), port 0; valid during the call.  error: NULL,
 * or why there are none. */
typedef void resolve_fn(void *arg, const struct address *addresses, size_t count, const char *error);

/* An empty cache over a dns of its own.  NULL with e: as dns_new(). */
MUST_CHECK struct resolver *resolver_new(struct err *e);
/* Pending queries are never answered after this; their owners must still cancel them. */
void resolver_free(struct resolver *r);
/* Other name servers than resolv.conf's ("127.0.0.1:53,[::1]:5353"; NULL: as before), another limit than 5 s (0: as
 * before). 0; -EINVAL: not a list of addresses. */
MUST_CHECK int resolver_tune(struct resolver *r, const char *servers, int64_t timeout_ms);
/* Asks; fn is called later, never from inside this call, at most 5 s later.  NULL when out of memory. */
MUST_CHECK struct resolve *resolve_start(struct resolver *r, const char *host, resolve_fn *fn, void *arg);
/* fn will not be called.  Accepts NULL. */
void resolve_cancel(struct resolve *q);

#endif
