/* refresh/login/revoke.h: a refresh token is revoked at its authorization server (RFC 7009).   Keeper, and sidekey
 * logout.   Owner  revoke_start()'s caller until fn runs, through revoke_cancel(). */
#ifndef SIDEKEY_REFRESH_LOGIN_REVOKE_H
#define SIDEKEY_REFRESH_LOGIN_REVOKE_H

#include "refresh/fetch/fetch.h"

#define REVOKE_NOWHERE                                                                                                 \
    "no revocation endpoint of the provider is configured (login.revocation_url): end the session there as well"

struct revoke;
/* error NULL: the server has confirmed it (200, also for a token that it does not know); else why not, without a
 * secret.  Valid during the call. */
typedef void revoke_fn(void *arg, const char *error);

/* May the token go there?  To the revocation_url of the configuration, or to the authority of token_url. */
bool revoke_may(const struct credential_spec *spec, const char *url);
/* Reads the client's secrets, then sends one request.  fn is called once, later, never from inside this call.  token
 * and url are copied; the others borrowed.  NULL with e. */
MUST_CHECK struct revoke *revoke_start(struct fetch *fetch, const struct credential_spec *spec, const char *url,
                                       struct slice token, revoke_fn *fn, void *arg, struct err *e);
/* fn will not be called.  Accepts NULL. */
void revoke_cancel(struct revoke *r);

#endif
