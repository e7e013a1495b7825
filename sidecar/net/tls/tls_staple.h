/* net/tls/tls_staple.h: checks the stapled OCSP response that a server sends about its own certificate.   Pure: no I/O,
 * no clock.
 *
 * A staple is valid when the certificate's issuer, or a responder that the issuer certified for it (id-kp-OCSPSigning),
 * signed it for this serial number, and it is current. Two rules follow:
 *   - an attacker with a revoked key can omit the staple, so an invalid staple counts as none: refusing it would only
 * hurt honest servers;
 *   - a valid "revoked" is final, at any age: a revocation does not end (only a certificateHold can be lifted, and
 * counts while it is current). A certificate that promises a staple (must-staple) is refused without a good one: this
 * makes the first rule safe. Units  *_s seconds of the wall clock, since 1970. Source  RFC 6066 §8 (the extension), RFC
 * 6960 §3.2 (acceptance), §4.2.2.2 (who may sign), RFC 7633 §4 (must-staple). */
#ifndef SIDEKEY_NET_TLS_TLS_STAPLE_H
#define SIDEKEY_NET_TLS_TLS_STAPLE_H

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "base/slice.h"

#define STAPLE_MAX (16 * 1024) /* bytes; real ones have 300 to 2500 */
#define STAPLE_ANSWERS_MAX 16  /* certificates in one response */
#define STAPLE_SKEW_S 300      /* clocks that differ */
#define STAPLE_AGE_MAX_S 86400 /* of a response that names no nextUpdate */

enum staple_status {
    STAPLE_NONE,
    STAPLE_UNUSABLE, /* proves nothing */
    STAPLE_UNKNOWN,  /* the responder does not know the certificate: proves nothing either (RFC 6960 §2.2) */
    STAPLE_GOOD,
    STAPLE_REVOKED,
};

struct staple {
    enum staple_status status;
    const char *why;      /* UNUSABLE: "it is outdated"; REVOKED: the reason, "keyCompromise"; static, else NULL */
    int64_t good_until_s; /* GOOD */
    char revoked_at[32];  /* REVOKED: "2026-11-20 12:00:00 UTC" */
};

/* What der proves about cert.  issuer NULL (not known): nothing.  An empty der is STAPLE_NONE. */
struct staple tls_staple_judge(struct slice der, X509 *cert, X509 *issuer, int64_t now_s);

/* The certificate, or a CA on its chain (which demands it of all below), has the TLS feature status_request. */
bool tls_staple_promised(const STACK_OF(X509) * chain);

/* Whom chain[0] was issued by, or NULL when the chain does not say. Borrowed. */
X509 *tls_staple_issuer(const STACK_OF(X509) * chain);

#endif
