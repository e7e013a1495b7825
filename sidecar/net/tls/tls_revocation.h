/* net/tls/tls_revocation.h: OCSP stapling (net/tls/tls_staple.h) for a client that makes its own TLS contexts: libcurl,
 * whose own switch (CURLOPT_SSL_VERIFYSTATUS) refuses every server that does not staple.   tls_client contexts have it
 * already. */
#ifndef SIDEKEY_NET_TLS_TLS_REVOCATION_H
#define SIDEKEY_NET_TLS_TLS_REVOCATION_H

#include "base/slice.h"

#define TLS_REFUSAL_TEXT 512

/* Whether a program that names its libraries so ("libcurl/7.88.1 OpenSSL/3.0.19 zlib/…") has its TLS from the OpenSSL
 * that we have ours from: only then are its contexts for us to touch. */
bool tls_revocation_knows(const char *versions);

/* ctx: its SSL_CTX.  refusal: TLS_REFUSAL_TEXT bytes that live as long as ctx's handshakes; filled when one fails for
 * its staple, untouched otherwise. 0; -1 when out of memory. */
MUST_CHECK int tls_revocation_watch_for(void *ctx, char *refusal);

#endif
