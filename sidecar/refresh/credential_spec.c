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

static void free_list(char **list)
{
    for (char **text = list; text && *text; text++)
        free(*text);
    free(list);
}

struct secret_ref *credential_spec_secret(struct credential_spec *s, enum credential_secret which)
{
    struct secret_ref *const all[CREDENTIAL_SECRETS] = {
        [CREDENTIAL_CLIENT_SECRET] = &s->client_secret,       [CREDENTIAL_SIGNING_KEY] = &s->assertion.key,
        [CREDENTIAL_CERTIFICATE] = &s->assertion.certificate, [CREDENTIAL_ASSERTION] = &s->assertion.token,
        [CREDENTIAL_SUBJECT_TOKEN] = &s->subject_token,       [CREDENTIAL_ACTOR_TOKEN] = &s->actor_token,
        [CREDENTIAL_REFRESH_TOKEN] = &s->refresh_token,       [CREDENTIAL_STATIC_TOKEN] = &s->token,
    };
    return all[which];
}

const struct secret_ref *credential_spec_secret_of(const struct credential_spec *s, enum credential_secret which)
{
    return credential_spec_secret((struct credential_spec *)(uintptr_t)s, which);
}

bool credential_spec_has_login(const struct credential_spec *s)
{
    return s->login.issuer || s->login.authorization_url || s->login.device_authorization_url;
}

void credential_spec_done(struct credential_spec *s)
{
    char *const texts[] = { s->name,
                            s->preset,
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
                            s->impersonate.scope,
                            s->response.access_token,
                            s->response.refresh_token,
                            s->response.expires_in,
                            s->placeholder_format,
                            s->placeholder_text,
                            s->login.issuer,
                            s->login.authorization_url,
                            s->login.device_authorization_url,
                            s->login.revocation_url,
                            s->login.scope,
                            s->login.redirect_url };
    for (unsigned i = 0; i < CREDENTIAL_SECRETS; i++)
        secret_ref_done(credential_spec_secret(s, i));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    free_list(s->command);
    free_list(s->placeholder_variables);
    free_list(s->placeholder_file_variables);
    free_params(s->params, s->param_count);
    free_params(s->headers, s->header_count);
    free_params(s->login.params, s->login.param_count);
    free_params(s->assertion.claims, s->assertion.claim_count);
    *s = (struct credential_spec){ 0 };
}

void credential_spec_redis_done(struct redis_spec *r)
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
