#include "refresh/grant/assertion.h"
#include "refresh/grant/grant.h"

/* RFC 7523 §2.1.  The assertion is signed here, or somebody else's (a projected service-account token). */
static int add(struct grant_writer *w, const struct credential_spec *spec, const struct grant_secrets *secrets,
               struct grant_request *r, struct err *e)
{
    struct buf jwt;
    const struct assertion_signer by = { secrets->signing_key, secrets->certificate, secrets->now_wall_s };
    bool scoped = false;
    (void)r;
    buf_init_secret(&jwt, ASSERTION_MAX);
    int failed = secrets->assertion.len ? 0 : assertion_add(ASSERTION_GRANT, spec, &by, &jwt, &scoped, e);
    if (!failed) {
        grant_writer_add(w, "grant_type", SLICE("urn:ietf:params:oauth:grant-type:jwt-bearer"));
        grant_writer_add(w, "assertion", secrets->assertion.len ? secrets->assertion : buf_slice(&jwt));
        w->scoped = scoped;
    }
    buf_done(&jwt);
    return failed;
}

const struct grant grant_jwt_bearer = { "jwt_bearer", false, GRANT_BY_POST, true, add };
