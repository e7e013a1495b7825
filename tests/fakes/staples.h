/* tests/fakes/staples.h: OCSP responses as a CA, or someone who would like to be one, makes them.  Everything asserts.
 */
#ifndef SIDEKEY_TESTS_STAPLES_H
#define SIDEKEY_TESTS_STAPLES_H

#include "tests/fakes/tls_world.h"

struct staple_spec {
    const struct cert *about, *issuer;
    const struct cert *by; /* who signs; NULL: the issuer */
    int status;            /* V_OCSP_CERTSTATUS_GOOD is 0 */
    int reason;            /* of a revocation */
    long from_s, until_s;  /* from now_s; both 0: an hour around it */
    bool no_until;         /* no nextUpdate */
    int64_t now_s;         /* 0: now */
    const EVP_MD *id_md;   /* of the CertID; NULL: SHA-1, as everybody's */
    const EVP_MD *md;      /* of the signature; NULL: SHA-256 */
    int before;            /* answers about other serials that stand before it */
    bool bare;             /* the signer's certificate is not in it */
};
/* DER in malloc's memory. */
struct slice staple_make(struct staple_spec spec);

#endif
