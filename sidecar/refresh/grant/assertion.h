/* refresh/grant/assertion.h: JWT assertions: as authorization grant (RFC 7523 §2.1), as client authentication (§2.2),
 * and GitHub's app JWT.   For grants, and for who checks a configuration. Pure but for the randomness of "jti".  Every
 * call makes a new JWT: servers refuse one that is an hour old. */
#ifndef SIDEKEY_REFRESH_GRANT_ASSERTION_H
#define SIDEKEY_REFRESH_GRANT_ASSERTION_H

#include "refresh/grant/grant_writer.h"

#define ASSERTION_MAX 65536
#define ASSERTION_EARLY_S 60 /* "iat" is that much in the past: the server's clock may be behind ours */

enum assertion_role {
    ASSERTION_GRANT,  /* iss: issuer, else the key file's account, else client_id; sub: subject, else iss (not for
                       * Google's key files, where a  subject means delegation); aud: audience, else the token URL; an
                       * hour */
    ASSERTION_CLIENT, /* iss and sub: client_id; aud as above; 5 min */
    ASSERTION_GITHUB, /* iss: issuer, else client_id; 10 min; neither sub, aud nor jti */
};

struct assertion_signer {     /* borrowed */
    struct slice key;         /* PEM, or Google's JSON key file */
    struct slice certificate; /* PEM, named in the header; empty: none */
    int64_t now_wall_s;       /* the server's time as far as known */
};

/* Appends the JWT to out.   * With Google's key file and ASSERTION_GRANT the scope is a claim (and *ret_scoped is set:
 * it is no parameter then). 0; -1 with e. */
MUST_CHECK int assertion_add(enum assertion_role role, const struct credential_spec *spec,
                             const struct assertion_signer *by, struct buf *out, bool *ret_scoped, struct err *e);

/* Could it sign?  Makes an assertion and drops it.  0; -1 with e: the key or the certificate cannot be used, or a
 * grant's assertion would name nobody. */
MUST_CHECK int assertion_check(const struct credential_spec *spec, const struct assertion_signer *by, struct err *e);

#endif
