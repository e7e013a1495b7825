#include "refresh/grant/grant.h"

#include "base/str.h"
#include "refresh/grant/assertion.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

const struct grant *grant_of(enum grant_kind kind)
{
    static const struct grant *const grants[] = {
        [GRANT_STATIC] = &grant_static,
        [GRANT_REFRESH_TOKEN] = &grant_refresh_token,
        [GRANT_CLIENT_CREDENTIALS] = &grant_client_credentials,
        [GRANT_JWT_BEARER] = &grant_jwt_bearer,
        [GRANT_TOKEN_EXCHANGE] = &grant_token_exchange,
        [GRANT_GITHUB_APP] = &grant_github_app,
        [GRANT_METADATA] = &grant_metadata,
        [GRANT_COMMAND] = &grant_command,
    };
    return grants[kind];
}

bool grant_signs(const struct credential_spec *spec)
{
    return spec->assertion.key.kind != SECRET_REF_NONE;
}

bool grant_encodes_client(const struct credential_spec *spec, const struct grant_secrets *secrets)
{
    struct slice id = slice_str(spec->client_id);
    return grant_of(spec->grant)->oauth && spec->client_auth == CLIENT_AUTH_BASIC && id.len
           && !(str_is_form_plain(id) && str_is_form_plain(secrets->client_secret));
}

/* RFC 6749 §2.3.1: id and secret are form-encoded before they go into Basic, unless raw. */
static int add_basic(struct buf *out, struct slice id, struct slice secret, bool raw)
{
    int (*const add)(struct buf *, struct slice) = raw ? buf_add : str_add_form;
    struct buf plain;
    buf_init_secret(&plain, GRANT_REQUEST_MAX);
    int failed = add(&plain, id);
    if (failed == 0)
        failed = buf_add(&plain, SLICE(":"));
    if (failed == 0)
        failed = add(&plain, secret);
    if (failed == 0)
        failed = buf_add(out, SLICE("Basic "));
    if (failed == 0)
        failed = str_add_base64(out, buf_slice(&plain));
    buf_done(&plain);
    return failed;
}

/* RFC 7523 §2.2: a ready-made assertion proves the client, unless it is what the grant itself presents. */
static int add_client_assertion(struct grant_writer *w, const struct credential_spec *spec,
                                const struct grant_secrets *secrets, struct err *e)
{
    struct buf jwt;
    const struct assertion_signer by = { secrets->signing_key, secrets->certificate, secrets->now_wall_s };
    bool ready = secrets->assertion.len && spec->grant != GRANT_JWT_BEARER;
    buf_init_secret(&jwt, ASSERTION_MAX);
    int failed = ready ? 0 : assertion_add(ASSERTION_CLIENT, spec, &by, &jwt, NULL, e);
    if (!failed) {
        grant_writer_add(w, "client_id", slice_str(spec->client_id));
        grant_writer_add(w, "client_assertion_type", SLICE("urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
        grant_writer_add(w, "client_assertion", ready ? secrets->assertion : buf_slice(&jwt));
    }
    buf_done(&jwt);
    return failed;
}

static int add_client(struct grant_writer *w, const struct credential_spec *spec, const struct grant_secrets *secrets,
                      struct buf *authorization, struct err *e)
{
    struct slice id = slice_str(spec->client_id);
    switch (spec->client_auth) {
    case CLIENT_AUTH_BASIC:
    case CLIENT_AUTH_BASIC_RAW:
        return id.len
                       && add_basic(authorization, id, secrets->client_secret,
                                    spec->client_auth == CLIENT_AUTH_BASIC_RAW)
                              != 0
                   ? err_set(e, "cannot build the token request: too large")
                   : 0;
    case CLIENT_AUTH_BODY:
        grant_writer_add(w, "client_id", id);
        grant_writer_add(w, "client_secret", secrets->client_secret);
        return 0;
    case CLIENT_AUTH_NONE: grant_writer_add(w, "client_id", id); return 0;
    case CLIENT_AUTH_PRIVATE_KEY_JWT: return add_client_assertion(w, spec, secrets, e);
    }
    return err_set(e, "cannot build the token request: no such client_auth");
}

/* What all OAuth grants share. */
static int add_common(struct grant_writer *w, const struct credential_spec *spec, const struct grant_secrets *secrets,
                      struct grant_request *r, struct err *e)
{
    if (add_client(w, spec, secrets, &r->authorization, e) != 0)
        return -1;
    if (!w->scoped)
        grant_writer_add(w, "scope", slice_str(spec->scope));
    grant_writer_add(w, "audience", slice_str(spec->audience));
    grant_writer_add(w, "resource", slice_str(spec->resource));
    for (size_t i = 0; i < spec->param_count; i++)
        grant_writer_add(w, spec->params[i].name, slice_str(spec->params[i].value));
    return 0;
}

static void begin_request(struct grant_request *r, const struct credential_spec *spec, bool json)
{
    buf_init_secret(&r->body, GRANT_REQUEST_MAX);
    buf_init_secret(&r->authorization, GRANT_REQUEST_MAX);
    r->content_type = json ? "application/json" : "application/x-www-form-urlencoded";
    r->fields = spec->headers;
    r->field_count = spec->header_count;
}

static int end_request(struct grant_request *r, int failed, const struct grant_writer *w, struct err *e)
{
    if (!failed && w->failed)
        failed = err_set(e, "cannot build the token request: %s", strerror(-w->failed));
    if (failed)
        grant_request_done(r);
    return failed;
}

int grant_build(const struct credential_spec *spec, const struct grant_secrets *secrets, struct grant_request *ret,
                struct err *e)
{
    const struct grant *g = grant_of(spec->grant);
    bool json = spec->body == GRANT_BODY_JSON || !g->oauth;
    struct grant_writer w = { .as = json ? GRANT_BODY_JSON : GRANT_BODY_FORM, .out = &ret->body };
    if (!g->add)
        return err_set(e, "grant %s has no request", g->name);
    begin_request(ret, spec, json);
    int failed = g->add(&w, spec, secrets, ret, e);
    if (!failed && g->oauth)
        failed = add_common(&w, spec, secrets, ret, e);
    if (g->way == GRANT_BY_GET)
        ret->content_type = NULL;
    else
        grant_writer_end(&w);
    return end_request(ret, failed, &w, e);
}

int grant_build_members(const struct credential_spec *spec, const struct grant_secrets *secrets,
                        const struct grant_member *members, size_t count, bool token_request, struct grant_request *ret,
                        struct err *e)
{
    bool json = token_request && spec->body == GRANT_BODY_JSON;
    struct grant_writer w = { .as = json ? GRANT_BODY_JSON : GRANT_BODY_FORM, .out = &ret->body };
    begin_request(ret, spec, json);
    for (size_t i = 0; i < count; i++)
        grant_writer_add(&w, members[i].name, members[i].value);
    int failed = add_client(&w, spec, secrets, &ret->authorization, e);
    for (size_t i = 0; token_request && i < spec->param_count; i++)
        grant_writer_add(&w, spec->params[i].name, slice_str(spec->params[i].value));
    grant_writer_end(&w);
    return end_request(ret, failed, &w, e);
}

int grant_build_impersonation(const struct credential_spec *spec, struct slice token, struct grant_request *ret,
                              struct err *e)
{
    struct grant_writer w = { .as = GRANT_BODY_JSON, .out = &ret->body };
    char lifetime[32];
    begin_request(ret, spec, true);
    grant_writer_add_words(&w, "scope", slice_str(spec->impersonate.scope));
    if (spec->impersonate.lifetime_ms) {
        snprintf(lifetime, sizeof lifetime, "%" PRId64 "s", spec->impersonate.lifetime_ms / 1000);
        grant_writer_add(&w, "lifetime", slice_str(lifetime));
    }
    grant_writer_end(&w);
    int failed = buf_add(&ret->authorization, SLICE("Bearer ")) != 0 || buf_add(&ret->authorization, token) != 0
                     ? err_set(e, "out of memory")
                     : 0;
    return end_request(ret, failed, &w, e);
}

void grant_request_done(struct grant_request *r)
{
    buf_done(&r->body);
    buf_done(&r->authorization);
    r->fields = NULL;
    r->field_count = 0;
}
