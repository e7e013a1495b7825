/* net/tls/tls_rsa.h: an RSA-2048 key that is made beside the loop: it takes a tenth of a second, some machines longer.
 * Worker process: one thread for the one key, which ends when the key is there. */
#ifndef SIDEKEY_NET_TLS_TLS_RSA_H
#define SIDEKEY_NET_TLS_TLS_RSA_H

#include <openssl/evp.h>

#include "base/slice.h"

struct tls_rsa;

typedef void tls_rsa_fn(void *arg, EVP_PKEY *key);

/* fn is called once, on the loop: key is the callee's, NULL when none could be made.  NULL: no memory, no thread. */
MUST_CHECK struct tls_rsa *tls_rsa_new(tls_rsa_fn *fn, void *arg);
/* Waits for the thread; fn is not called any more.  Accepts NULL. */
void tls_rsa_free(struct tls_rsa *r);

#endif
