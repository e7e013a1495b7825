/* crypto/throwaway.h: an RSA key that follows from a seed: programs sign assertions with it that only sidekey reads
 * (rules[].answer).   Pure.  It proves that somebody has a file that sidekey wrote, and is of no use anywhere else. */
#ifndef SIDEKEY_CRYPTO_THROWAWAY_H
#define SIDEKEY_CRYPTO_THROWAWAY_H

#include "base/buf.h"

#define THROWAWAY_SEED_BYTES 256

/* Appends the key of 2048 bits as PKCS#8 PEM, and its public half as DER (SubjectPublicKeyInfo).  The same seed gives
 * the same key.  Takes about a tenth of a second.  0; -ENOMEM, -ENOBUFS. */
MUST_CHECK int throwaway_key(const unsigned char seed[THROWAWAY_SEED_BYTES], struct buf *pem, struct buf *public_der);
/* Appends a self-signed certificate of that key (PEM): some programs want one beside it.  0; -ENOMEM, -ENOBUFS,
 * -EINVAL: pem is no key. */
MUST_CHECK int throwaway_certificate(struct slice pem, struct buf *out);
/* Is signature that of signed_text by the key, with RS256 or (pss) PS256 (RFC 7518 §3.3, §3.5)? */
bool throwaway_signed(struct slice public_der, bool pss, struct slice signed_text, struct slice signature);

#endif
