/* crypto/sha1.h: SHA-1 (FIPS 180-4), only to name things: Redis calls a script by it.   Pure. */
#ifndef SIDEKEY_CRYPTO_SHA1_H
#define SIDEKEY_CRYPTO_SHA1_H

#include "base/slice.h"

#define SHA1_HEX_SIZE 41

/* The digest as 40 lower case hex digits and NUL.  0; -ENOTSUP: this OpenSSL offers none (text is "" then). */
MUST_CHECK int sha1_hex(struct slice bytes, char text[SHA1_HEX_SIZE]);

#endif
