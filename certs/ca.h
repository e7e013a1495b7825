/* certs/ca.h: one local certificate authority (docs/http.md §5; RFC 5280).   Keeper only: its key leaves the memory
 * sealed, or not at all.   Owner  ca_new()'s caller, through ca_free(). */
#ifndef SIDEKEY_CERTS_CA_H
#define SIDEKEY_CERTS_CA_H

#include "base/buf.h"
#include "base/err.h"

struct ca;

#define CA_BACKDATE_S ((int64_t)24 * 60 * 60) /* clocks of clients may be slow */

struct ca_options {
    const char *const *permit_hosts;  /* name constraints: NULL-terminated dNSNames or IP literals of the rules;
                                         "*.x.test" permits x.test's subtree.  NULL: unconstrained */
    const char *cert_file, *key_file; /* both given: use these instead of making one */
    int64_t lifetime_s;               /* of a made CA; 0: ten years */
    bool rsa;                         /* RSA-2048 instead of P-256 */
};

/* Makes (or loads) the authority.  NULL with e filled: file missing, key does not fit, not a CA, expired, out of
 * memory. */
MUST_CHECK struct ca *ca_new(const struct ca_options *options, int64_t now_s, struct err *e);
/* Reads the CA that ca_add_pem() and ca_add_key_pem() wrote; ignores text around the two. Does not check its dates.
 * NULL with e. */
MUST_CHECK struct ca *ca_from_pem(struct slice pem, struct err *e);
void ca_free(struct ca *ca);
/* Appends the certificate (never the key).  0; -ENOBUFS, -ENOMEM. */
MUST_CHECK int ca_add_pem(const struct ca *ca, struct buf *out);
/* Appends the private key (PKCS#8 PEM) to a secret buf: only for what is sealed next (refresh/ca_keep.h).
 * 0; -ENOBUFS, -ENOMEM. */
MUST_CHECK int ca_add_key_pem(const struct ca *ca, struct buf *out);
/* Seconds since 1970: from when to when it is valid.  One that was made is backdated by CA_BACKDATE_S. */
int64_t ca_not_before_s(const struct ca *ca);
int64_t ca_not_after_s(const struct ca *ca);
bool ca_is_rsa(const struct ca *ca);
/* The same certificate? */
bool ca_same(const struct ca *a, const struct ca *b);
/* Has its certificate name constraints? */
bool ca_is_constrained(const struct ca *ca);
/* Whether the constraints permit every name that host matches ("*.x.test": all of x.test). Without constraints: true.
 */
bool ca_permits(const struct ca *ca, const char *host);

/* Signs a leaf for exactly one host (A-label or IP literal) and the P-256/RSA public key (DER SubjectPublicKeyInfo).
 * Appends the leaf as DER, *ret_not_after_s gets its end.  Returns 0; -1 with e: host not permitted by the constraints,
 * bad host, bad key. */
MUST_CHECK int ca_sign_leaf(struct ca *ca, struct slice host, struct slice spki_der, int64_t now_s, struct buf *out_der,
                            int64_t *ret_not_after_s, struct err *e);

#endif
