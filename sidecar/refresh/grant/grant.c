#include "refresh/grant/grant.h"

#include "base/str.h"

#include <errno.h>

const struct grant *grant_of(enum grant_kind kind)
{
    static const struct grant *const grants[] = {
        [GRANT_STATIC] = &grant_static,
        [GRANT_REFRESH_TOKEN] = &grant_refresh_token,
        [GRANT_CLIENT_CREDENTIALS] = &grant_client_credentials,
    };
    return grants[kind];
}

/* Runs one append unless an earlier one failed. */
static void put(struct grant_writer *w, int (*add)(struct buf *, struct slice), struct slice bytes)
{
    if (w->failed == 0)
        w->failed = add(w->out, bytes);
}

void grant_add(struct grant_writer *w, const char *name, struct slice value)
{
    bool json = w->as == GRANT_BODY_JSON, first = w->out->len == 0;
    int (*encode)(struct buf *, struct slice) = json ? str_add_json : str_add_form;
    if (value.len == 0)
        return;
    put(w, buf_add, json ? (first ? SLICE("{") : SLICE(",")) : (first ? SLICE("") : SLICE("&")));
    put(w, encode, slice_str(name));
    put(w, buf_add, json ? SLICE(":") : SLICE("="));
    put(w, encode, value);
}

/* RFC 6749 §2.3.1: id and secret are form-encoded before they go into Basic. */
static int add_basic(struct buf *out, struct slice id, struct slice secret)
{
    struct buf plain;
    buf_init_secret(&plain, GRANT_REQUEST_MAX);
    int failed = str_add_form(&plain, id);
    if (failed == 0)
        failed = buf_add(&plain, SLICE(":"));
    if (failed == 0)
        failed = str_add_form(&plain, secret);
    if (failed == 0)
        failed = buf_add(out, SLICE("Basic "));
    if (failed == 0)
        failed = str_add_base64(out, buf_slice(&plain));
    buf_done(&plain);
    return failed;
}

static int add_client(struct grant_writer *w, const struct spec *spec, const struct grant_secrets *secrets, struct buf *authorization)
{
    struct slice id = slice_str(spec->client_id);
    switch (spec->client_auth) {
    case CLIENT_AUTH_BASIC: return id.len ? add_basic(authorization, id, secrets->client_secret) : 0;
    case CLIENT_AUTH_BODY:
        grant_add(w, "client_id", id);
        grant_add(w, "client_secret", secrets->client_secret);
        return 0;
    case CLIENT_AUTH_NONE: grant_add(w, "client_id", id); return 0;
    }
    return -EINVAL;
}

int grant_build(const struct spec *spec, const struct grant_secrets *secrets, struct grant_request *ret, struct err *e)
{
    const struct grant *g = grant_of(spec->grant);
    struct grant_writer w = { .as = spec->body, .out = &ret->body };
    if (!g->asks_server)
        return err_set(e, "grant %s has no request", g->name);
    if (g->spends_refresh_token && secrets->refresh_token.len == 0)
        return err_set(e, "there is no refresh token");
    buf_init_secret(&ret->body, GRANT_REQUEST_MAX);
    buf_init_secret(&ret->authorization, GRANT_REQUEST_MAX);
    ret->content_type = spec->body == GRANT_BODY_JSON ? "application/json" : "application/x-www-form-urlencoded";
    g->add(&w, spec, secrets);
    int failed = add_client(&w, spec, secrets, &ret->authorization);
    grant_add(&w, "scope", slice_str(spec->scope));
    grant_add(&w, "audience", slice_str(spec->audience));
    for (size_t i = 0; i < spec->param_count; i++)
        grant_add(&w, spec->params[i].name, slice_str(spec->params[i].value));
    if (spec->body == GRANT_BODY_JSON)
        put(&w, buf_add, SLICE("}"));
    if (failed == 0)
        failed = w.failed;
    if (failed) {
        grant_request_done(ret);
        return err_set(e, "cannot build the token request: %s", strerror(-failed));
    }
    return 0;
}

void grant_request_done(struct grant_request *r)
{
    buf_done(&r->body);
    buf_done(&r->authorization);
}
