#include "refresh/grant/grant.h"

/* RFC 6749 §4.4.2. */
static int add(struct grant_writer *w, const struct credential_spec *spec, const struct grant_secrets *secrets,
               struct grant_request *r, struct err *e)
{
    (void)spec;
    (void)secrets;
    (void)r;
    (void)e;
    grant_writer_add(w, "grant_type", SLICE("client_credentials"));
    return 0;
}

const struct grant grant_client_credentials = { "client_credentials", false, GRANT_BY_POST, true, add };
