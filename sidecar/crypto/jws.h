/* crypto/jws.h: compact JWS (RFC 7515 §3.1) signed with a private key from a PEM text: what JWT assertions are made of.
 * Pure but for randomness. Keeper only.   Source  RFC 7515, RFC 7518 §3.3 (RS256), §3.4 (ES256), §3.5 (PS256), RFC
 * 7519. */
#ifndef SIDEKEY_CRYPTO_JWS_H
#define SIDEKEY_CRYPTO_JWS_H

#include "base/buf.h"
#include "base/err.h"

/* AUTO: by the kind of the key: RS256 for RSA, PS256 for RSA-PSS, ES256 for P-256. */
enum jws_alg { JWS_AUTO, JWS_RS256, JWS_PS256, JWS_ES256 };

struct jws_key {      /* borrowed */
    struct slice pem; /* PKCS#8, PKCS#1 or SEC 1, not encrypted; RSA of 2048 bits at least, or P-256 */
    enum jws_alg alg;
    struct slice kid; /* "kid" of the header; empty: none */
    /* PEM: "x5t" and "x5t#S256" of the header (RFC 7515 §4.1.7, §4.1.8); empty: none.  It must be that of the key */
    struct slice certificate;
};

/* Appends BASE64URL(header) "." BASE64URL(payload) "." BASE64URL(signature); the header is {"alg", "typ":"JWT", "kid",
 * "x5t", "x5t#S256"}. payload: the claims as JSON text.  0; -1 with e (no private key, encrypted, too weak, not fit for
 * alg, out of memory): out is as it was. */
MUST_CHECK int jws_sign(const struct jws_key *key, struct slice payload, struct buf *out, struct err *e);

#endif
