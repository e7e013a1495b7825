#include "refresh/grant/assertion.h"
#include "refresh/grant/grant.h"

/* The app's JWT is the Bearer token of a request for an installation's token (docs.github.com: generating an
 * installation access token). Not OAuth: params narrow nothing here, and the body may be empty. */
static int add(struct grant_writer *w, const struct credential_spec *spec, const struct grant_secrets *secrets,
               struct grant_request *r, struct err *e)
{
    const struct assertion_signer by = { secrets->signing_key, secrets->certificate, secrets->now_wall_s };
    (void)w;
    if (buf_add(&r->authorization, SLICE("Bearer ")) != 0)
        return err_set(e, "out of memory");
    return assertion_add(ASSERTION_GITHUB, spec, &by, &r->authorization, NULL, e);
}

const struct grant grant_github_app = { "github_app", false, GRANT_BY_POST, false, add };
