/* crypto/sha256.h: SHA-256 (FIPS 180-4), where a protocol wants it: PKCE (RFC 7636 §4.2).   Pure. */
#ifndef SIDEKEY_CRYPTO_SHA256_H
#define SIDEKEY_CRYPTO_SHA256_H

#include "base/slice.h"

#define SHA256_SIZE 32

/* 0; -ENOTSUP: OpenSSL cannot. */
MUST_CHECK int sha256_bytes(struct slice bytes, unsigned char ret_digest[SHA256_SIZE]);

#endif
