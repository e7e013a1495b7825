/* net/tls/tls_roots.h: root certificates that were parsed once, for a client that makes a TLS context for each
 * connection: libcurl, which parses all of them each time (1.5 MB and 10 ms).   Owner  tls_roots_new()'s caller,
 * through tls_roots_free(); contexts that use them keep what they need. */
#ifndef SIDEKEY_NET_TLS_TLS_ROOTS_H
#define SIDEKEY_NET_TLS_TLS_ROOTS_H

#include "base/err.h"

struct tls_roots;

/* The certificates of base (shared, not copied; NULL: none) and those of the PEM file (NULL: none).  A certificate in a
 * file is trusted even when it is not a root (X509_V_FLAG_PARTIAL_CHAIN), as in libcurl.  NULL with e naming the file.
 */
MUST_CHECK struct tls_roots *tls_roots_new(const struct tls_roots *base, const char *file, struct err *e);
/* Accepts NULL. */
void tls_roots_free(struct tls_roots *r);
/* ctx: an SSL_CTX, which verifies against these alone from here on.  0; -1. */
MUST_CHECK int tls_roots_use(struct tls_roots *r, void *ctx);

#endif
