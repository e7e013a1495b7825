/* crypto/seal.h: sealed blobs (AES-256-GCM, NIST SP 800-38D) fingerprints and derived values.   Keeper only, and
 * the short process that derives placeholders (app/config/placeholders.h).
 * Blob: version byte 1, key id (4 bytes: of SHA-256 of the key), nonce (12), ciphertext, tag (16). AAD = the caller's
 * context. */
#ifndef SIDEKEY_CRYPTO_SEAL_H
#define SIDEKEY_CRYPTO_SEAL_H

#include "base/buf.h"
#include "base/err.h"

#define SEAL_KEY_BYTES 32

struct seal_ring; /* one key to seal with, up to two to open with */

/* key material: 32 raw bytes, or 64 hex digits, or base64 of 32 bytes (a trailing newline is fine).  previous may be
 * empty. NULL with e. */
MUST_CHECK struct seal_ring *seal_ring_new(struct slice current, struct slice previous, struct err *e);
/* Refuses key material that is not random: fewer than 16 different bytes among the 32, a text that is repeated
 * (each byte equal to the one 16 before), or bytes in steps (abc…, 0123…).  Of random keys it refuses fewer than one
 * in 10^12.  Material that is not a key is accepted here: seal_ring_new() reports what is wrong with it.  0; -1 with e.
 */
MUST_CHECK int seal_key_judge(struct slice material, struct err *e);
void seal_ring_free(struct seal_ring *ring);
/* Appends the blob.  0; -ENOBUFS, -ENOMEM. */
MUST_CHECK int seal_blob(const struct seal_ring *ring, struct slice aad, struct slice plain, struct buf *out);
/* Appends the plain text to out (a secret buf).  0; -EBADMSG (not ours, cut, changed, or other aad), -ENOKEY (sealed
 * with a key that is not in the ring), -ENOBUFS, -ENOMEM. */
MUST_CHECK int seal_open(const struct seal_ring *ring, struct slice aad, struct slice blob, struct buf *out);
/* Was the blob sealed with the key that this ring seals with, and not with the previous one? */
bool seal_is_current(const struct seal_ring *ring, struct slice blob);
/* First 8 hex digits of SHA-256(salt of this ring's key, bytes): names a token in logs without showing it.  text: 9
 * bytes. */
const char *seal_fingerprint(const struct seal_ring *ring, struct slice bytes, char text[9]);
/* A value that follows from the key that this ring seals with and from info, and tells nothing about the key:
 * HKDF-SHA256 (RFC 5869) without salt.  len: up to 255 * 32 bytes.  0; -ENOMEM. */
MUST_CHECK int seal_derive(const struct seal_ring *ring, struct slice info, void *out, size_t len);

#endif
