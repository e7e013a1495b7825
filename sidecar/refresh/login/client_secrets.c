#include "refresh/login/client_secrets.h"

#include "base/clock.h"

enum secret_load_result client_secrets_start(struct secret_load *g, const struct credential_spec *spec,
                                             struct fetch *fetch, secret_load_fn *fn, void *arg, struct err *e)
{
    const struct secret_ref *refs[CREDENTIAL_REFRESH_TOKEN];
    for (unsigned i = 0; i < CREDENTIAL_REFRESH_TOKEN; i++)
        refs[i] = credential_spec_secret_of(spec, i);
    g->fetch = fetch;
    return secret_load_start(g, refs, CREDENTIAL_REFRESH_TOKEN, fn, arg, e);
}

struct grant_secrets client_secrets_get(const struct secret_load *g)
{
    return (struct grant_secrets){ .client_secret = secret_load_secret(g, CREDENTIAL_CLIENT_SECRET),
                                   .signing_key = secret_load_secret(g, CREDENTIAL_SIGNING_KEY),
                                   .certificate = secret_load_secret(g, CREDENTIAL_CERTIFICATE),
                                   .assertion = secret_load_secret(g, CREDENTIAL_ASSERTION),
                                   .now_wall_s = clock_wall_ms() / 1000 };
}
