/* refresh/login/client_secrets.h: what authenticates the client at its provider, for requests that are no flight's: a
 * login's and a revocation's.   The keeper, or the process of the command. */
#ifndef SIDEKEY_REFRESH_LOGIN_CLIENT_SECRETS_H
#define SIDEKEY_REFRESH_LOGIN_CLIENT_SECRETS_H

#include "refresh/flight/secret_load.h"
#include "refresh/grant/grant.h"

/* As secret_load_start(), with the secrets of a token request; fetch gets those that are fetched. */
MUST_CHECK enum secret_load_result client_secrets_start(struct secret_load *g, const struct credential_spec *spec,
                                                        struct fetch *fetch, secret_load_fn *fn, void *arg,
                                                        struct err *e);
/* Those of g, for a request that is built now.  Borrowed from g. */
struct grant_secrets client_secrets_get(const struct secret_load *g);

#endif
