#include "refresh/grant/grant.h"

#define JWT_TYPE "urn:ietf:params:oauth:token-type:jwt"

static struct slice type_of(const char *type)
{
    return type ? slice_str(type) : SLICE(JWT_TYPE);
}

/* RFC 8693 §2.1. */
static int add(struct grant_writer *w, const struct credential_spec *spec, const struct grant_secrets *secrets,
               struct grant_request *r, struct err *e)
{
    (void)r;
    if (secrets->subject_token.len == 0)
        return err_set(e, "there is no subject token");
    grant_writer_add(w, "grant_type", SLICE("urn:ietf:params:oauth:grant-type:token-exchange"));
    grant_writer_add(w, "subject_token", secrets->subject_token);
    grant_writer_add(w, "subject_token_type", type_of(spec->subject_token_type));
    grant_writer_add(w, "actor_token", secrets->actor_token);
    if (secrets->actor_token.len)
        grant_writer_add(w, "actor_token_type", type_of(spec->actor_token_type));
    grant_writer_add(w, "requested_token_type", slice_str(spec->requested_token_type));
    return 0;
}

const struct grant grant_token_exchange = { "token_exchange", false, GRANT_BY_POST, true, add };
