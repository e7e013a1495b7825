#include "refresh/grant/grant.h"

/* RFC 6749 §6. */
static int add(struct grant_writer *w, const struct credential_spec *spec, const struct grant_secrets *secrets,
               struct grant_request *r, struct err *e)
{
    (void)spec;
    (void)r;
    if (secrets->refresh_token.len == 0)
        return err_set(e, "there is no refresh token");
    grant_writer_add(w, "grant_type", SLICE("refresh_token"));
    grant_writer_add(w, "refresh_token", secrets->refresh_token);
    return 0;
}

const struct grant grant_refresh_token = { "refresh_token", true, GRANT_BY_POST, true, add };
