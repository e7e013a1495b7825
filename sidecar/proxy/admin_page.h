/* proxy/admin_page.h: the status page at / of the admin listener: one document, whose script reads /status, /readyz and
 * /metrics.   Worker process.   Pure. */
#ifndef SIDEKEY_PROXY_ADMIN_PAGE_H
#define SIDEKEY_PROXY_ADMIN_PAGE_H

#include "base/buf.h"

#define ADMIN_PAGE_POLICY_BYTES 320

/* Appends the page; policy gets its Content-Security-Policy (CSP 3): its own style and script alone, by a nonce of this
 * answer, and requests to where it came from.  0; -ENOBUFS, -ENOMEM. */
MUST_CHECK int admin_page(struct buf *out, char policy[ADMIN_PAGE_POLICY_BYTES]);

#endif
