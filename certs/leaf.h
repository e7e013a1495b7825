/* certs/leaf.h: the form of a leaf certificate: one host, one purpose (docs/http.md 5.4c; RFC 5280 §4, CA/B baseline
 * requirements §7.1.2.7). */
#ifndef SIDEKEY_CERTS_LEAF_H
#define SIDEKEY_CERTS_LEAF_H

#include <openssl/x509.h>

#include "base/err.h"

/* The leaf's public key from DER, P-256 or RSA of 2048…8192 bits; caller frees.  NULL with e. */
MUST_CHECK EVP_PKEY *leaf_key(struct slice spki_der, struct err *e);
/* An unsigned leaf for one host (A-label or IP literal), caller frees.  NULL with e: bad host, out of memory. */
MUST_CHECK X509 *leaf_new(X509 *ca, struct slice host, EVP_PKEY *key, int64_t not_before_s, int64_t not_after_s,
                          struct err *e);

#endif
