/* crypto/digest.h: digests (FIPS 180-4) where a protocol wants them.   Pure.
 * SHA-1: Redis calls a script by it, WebSocket answers a key with it.  SHA-256: PKCE (RFC 7636 §4.2). */
#ifndef SIDEKEY_CRYPTO_DIGEST_H
#define SIDEKEY_CRYPTO_DIGEST_H

#include "base/slice.h"

#define DIGEST_SHA1_SIZE 20
#define DIGEST_SHA1_HEX_SIZE 41
#define DIGEST_SHA256_SIZE 32

/* 0; -ENOTSUP: this OpenSSL offers none. */
MUST_CHECK int digest_sha1(struct slice bytes, unsigned char ret[DIGEST_SHA1_SIZE]);
/* As 40 lower case hex digits and NUL.  0; -ENOTSUP (text is "" then). */
MUST_CHECK int digest_sha1_hex(struct slice bytes, char text[DIGEST_SHA1_HEX_SIZE]);
/* 0; -ENOTSUP. */
MUST_CHECK int digest_sha256(struct slice bytes, unsigned char ret[DIGEST_SHA256_SIZE]);

#endif
