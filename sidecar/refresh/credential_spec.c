#include "refresh/credential_spec.h"

#include <stdlib.h>

static void free_params(struct credential_spec_param *params, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(params[i].name);
        free(params[i].value);
    }
    free(params);
}

void credential_spec_done(struct credential_spec *s)
{
    struct secret_ref *const secrets[] = { &s->client_secret,   &s->refresh_token, &s->token,      &s->assertion.key,
                                           &s->assertion.token, &s->subject_token, &s->actor_token };
    char *const texts[] = { s->name,
                            s->token_url,
                            s->client_id,
                            s->scope,
                            s->audience,
                            s->resource,
                            s->ca_file,
                            s->cert_file,
                            s->key_file,
                            s->assertion.kid,
                            s->assertion.issuer,
                            s->assertion.subject,
                            s->assertion.audience,
                            s->subject_token_type,
                            s->actor_token_type,
                            s->requested_token_type,
                            s->installation,
                            s->impersonate.url,
                            s->impersonate.scope };
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
        secret_ref_done(secrets[i]);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    for (char **arg = s->command; arg && *arg; arg++)
        free(*arg);
    free(s->command);
    free_params(s->params, s->param_count);
    free_params(s->headers, s->header_count);
    free_params(s->assertion.claims, s->assertion.claim_count);
    *s = (struct credential_spec){ 0 };
}

void redis_spec_done(struct redis_spec *r)
{
    char *const texts[] = { r->url,      r->username,        r->ca_file,          r->cert_file,
                            r->key_file, r->sentinel_master, r->sentinel_username };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    for (char **node = r->sentinel_nodes; node && *node; node++)
        free(*node);
    free(r->sentinel_nodes);
    secret_ref_done(&r->password);
    secret_ref_done(&r->sentinel_password);
    *r = (struct redis_spec){ .url = NULL };
}
