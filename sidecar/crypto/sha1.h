/* crypto/sha1.h: SHA-1 (FIPS 180-4), only where a protocol wants it: Redis calls a script by it, WebSocket answers a
 * key with it.   Pure. */
#ifndef SIDEKEY_CRYPTO_SHA1_H
#define SIDEKEY_CRYPTO_SHA1_H

#include "base/slice.h"

#define SHA1_SIZE 20
#define SHA1_HEX_SIZE 41

/* 0; -ENOTSUP: this OpenSSL offers none. */
MUST_CHECK int sha1_bytes(struct slice bytes, unsigned char ret_digest[SHA1_SIZE]);

/* The digest as 40 lower case hex digits and NUL.  0; -ENOTSUP (text is "" then). */
MUST_CHECK int sha1_hex(struct slice bytes, char text[SHA1_HEX_SIZE]);

#endif
