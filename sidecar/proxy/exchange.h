/* proxy/exchange.h: one request and its response, for any protocols of the two legs (docs/http.md §3, §4).
 * Worker process.
 *
 *   head → rules → route → token (fresh: now; else wait) → inject → upstream → stream both ways
 *   401 → held: with a newer generation sent again, once; else forwarded
 * At most two upstream sends (docs/http.md 4.2). An expired token is never sent. A request that needs a credential and
 * cannot get it fails with an error. */
#ifndef SIDEKEY_PROXY_EXCHANGE_H
#define SIDEKEY_PROXY_EXCHANGE_H

#include "http/authority.h"
#include "proxy/context.h"

struct exchange;

enum exchange_end {
    EXCHANGE_REUSE,    /* both sides complete: the client leg may carry another request */
    EXCHANGE_CLOSE,    /* the answer is written; the client leg must be closed after it */
    EXCHANGE_ABORTED,  /* the answer was cut: the client leg is gone already */
    EXCHANGE_LEFT,     /* the client left: the same */
    EXCHANGE_UPGRADED, /* 101 was written: see exchange_upgrade() */
};
/* Called once, never from inside exchange_new().  The exchange frees itself afterwards. */
typedef void exchange_done_fn(void *owner, enum exchange_end end);

/* Takes the client leg's events until done.  request: the leg's head, just delivered.  a0: copied.  client: whose rules
 * count (NULL: everyone's), borrowed.  base: gateway_rewrite() for what comes back, borrowed until done; NULL: it goes
 * as it is.  NULL when out of memory. */
MUST_CHECK struct exchange *exchange_new(struct context *ctx, struct leg *client_leg, struct message *request,
                                         const struct authority *a0, const struct access_client *client,
                                         const char *base, exchange_done_fn *done, void *owner);
/* Ends it at once (the client is being closed): the upstream is dropped, done is not called. */
void exchange_cancel(struct exchange *x);
/* The process ends: the client gets a status, or sees its answer cut. */
void exchange_interrupt(struct exchange *x);
/* In done(EXCHANGE_UPGRADED) only: the upstream's stream, and its unread bytes in leftover.  NULL: out of memory. */
struct stream *exchange_upgrade(struct exchange *x, struct buf *leftover);

#endif
