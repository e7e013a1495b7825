#include "refresh/grant/grant.h"

/* RFC 6749 §4.4.2. */
static void add(struct grant_writer *w, const struct spec *spec, const struct grant_secrets *secrets)
{
    (void)spec;
    (void)secrets;
    grant_add(w, "grant_type", SLICE("client_credentials"));
}

const struct grant grant_client_credentials = { "client_credentials", false, true, add };
