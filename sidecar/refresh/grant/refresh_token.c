#include "refresh/grant/grant.h"

/* RFC 6749 §6. */
static void add(struct grant_writer *w, const struct spec *spec, const struct grant_secrets *secrets)
{
    (void)spec;
    grant_add(w, "grant_type", SLICE("refresh_token"));
    grant_add(w, "refresh_token", secrets->refresh_token);
}

const struct grant grant_refresh_token = { "refresh_token", true, true, add };
