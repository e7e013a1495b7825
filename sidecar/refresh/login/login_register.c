/* From the URL of a protected resource to a client: the resource's metadata (RFC 9728) names its authorization server,
 * whose metadata (RFC 8414) names the endpoints, and the client registers itself (RFC 7591). */
#include "refresh/login/login_private.h"

#include "base/json_safe.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#define URL_MAX 2048
#define SCOPE_MAX 1024

static int no_memory(struct err *e)
{
    err_set(e, "out of memory");
    return EX_OSERR;
}

/* ---- the resource ---- */

/* RFC 9728 §3.1: between host and path. */
static int resource_url(const char *resource, char *url, size_t size)
{
    const char *host = resource + strcspn(resource, ":") + 3, *path = host + strcspn(host, "/?");
    int len = snprintf(url, size, "%.*s/.well-known/oauth-protected-resource%s", (int)(path - resource), resource,
                       strcmp(path, "/") == 0 ? "" : path);
    return len > 0 && (size_t)len < size ? 0 : -1;
}

/* RFC 9728 §5.1: a 401 may say where the metadata is.  url: "" when it does not. */
static int ask_challenge(struct login *l, const char *resource, char *url, size_t size, struct err *e)
{
    static const char member[] = "resource_metadata=\"";
    struct login_response r = { .status = 0 };
    url[0] = '\0';
    if (login_fetch(l, &(struct fetch_request){ .url = resource }, &r, e) != 0)
        return EX_UNAVAILABLE;
    const char *at = r.status == 401 ? strstr(r.challenge, member) : NULL;
    if (at)
        snprintf(url, size, "%.*s", (int)strcspn(at + sizeof member - 1, "\""), at + sizeof member - 1);
    if (!login_may_name(resource, url))
        url[0] = '\0';
    login_response_done(&r);
    return 0;
}

/* RFC 9728 §3.3: a document of another resource would lead the token elsewhere. */
static int check_resource(const char *resource, const json_t *document, struct err *e)
{
    const char *named = json_string_value(json_object_get(document, "resource"));
    size_t len = strlen(resource);
    bool same = named && strcmp(named, resource) == 0;
    if (named && !same && resource[len - 1] == '/') /* "https://host" and "https://host/" are one URL */
        same = strncmp(named, resource, len - 1) == 0 && named[len - 1] == '\0'
               && strchr(resource + 8, '/') == resource + len - 1;
    if (same)
        return 0;
    err_set(e, "the metadata of %s is that of another resource: sidekey does not sign in there", resource);
    return EX_UNAVAILABLE;
}

static int find_resource(struct login *l, const char *resource, json_t **ret, struct err *e)
{
    char url[URL_MAX];
    struct fetch_place place;
    if (strlen(resource) > URL_MAX / 2 || fetch_url_read(resource, false, &place) != 0
        || resource_url(resource, url, sizeof url) != 0) {
        err_set(e, "resource must be the https URL of the server");
        return EX_USAGE;
    }
    int status = login_fetch_json(l, url, ret, e);
    if (status == 0 && !*ret)
        status = ask_challenge(l, resource, url, sizeof url, e);
    if (status == 0 && !*ret && url[0])
        status = login_fetch_json(l, url, ret, e);
    if (status == 0 && !json_is_object(*ret)) {
        err_set(e, "%s has no metadata of a protected resource (RFC 9728)", resource);
        status = EX_UNAVAILABLE;
    }
    return status == 0 ? check_resource(resource, *ret, e) : status;
}

/* ---- its authorization server ---- */

static int take_url(const char *issuer, const json_t *metadata, const char *member, char **ret, struct err *e)
{
    const char *url = json_string_value(json_object_get(metadata, member));
    if (!login_may_name(issuer, url)) {
        err_set(e, "%s: its metadata has no %s that is https", issuer, member);
        return EX_UNAVAILABLE;
    }
    return (*ret = strdup(url)) ? 0 : no_memory(e);
}

static void add_word(char *scope, const char *word)
{
    size_t len = strlen(scope);
    if (len + strlen(word) + 2 < SCOPE_MAX && strspn(word, "\"\\ ") == 0)
        snprintf(scope + len, SCOPE_MAX - len, "%s%s", len ? " " : "", word);
}

/* What the resource has, and a refresh token where that is a scope. */
static int take_scope(const json_t *resource, const json_t *metadata, char **ret, struct err *e)
{
    char scope[SCOPE_MAX] = "";
    const json_t *list = json_object_get(resource, "scopes_supported");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *word = json_string_value(json_array_get(list, i));
        if (word && strcmp(word, "offline_access") != 0)
            add_word(scope, word);
    }
    if (login_has_word(json_object_get(metadata, "scopes_supported"), "offline_access"))
        add_word(scope, "offline_access");
    return !scope[0] || (*ret = strdup(scope)) ? 0 : no_memory(e);
}

static int find_server(struct login *l, const char *resource, const json_t *document, struct login_found *ret,
                       json_t **ret_metadata, struct err *e)
{
    const char *issuer = json_string_value(json_array_get(json_object_get(document, "authorization_servers"), 0));
    if (!login_may_name(resource, issuer)) {
        err_set(e, "the metadata of %s names no authorization server that is https", resource);
        return EX_UNAVAILABLE;
    }
    int status = (ret->issuer = strdup(issuer)) ? login_metadata(l, issuer, ret_metadata, e) : no_memory(e);
    if (status == 0 && !login_has_word(json_object_get(*ret_metadata, "code_challenge_methods_supported"), "S256")) {
        err_set(e, "%s: does not support PKCE with S256", issuer);
        status = EX_UNAVAILABLE;
    }
    if (status == 0)
        status = take_url(issuer, *ret_metadata, "token_endpoint", &ret->token_url, e);
    return status == 0 ? take_scope(document, *ret_metadata, &ret->scope, e) : status;
}

/* ---- the client ---- */

/* RFC 7591 §2.  No scope: servers refuse one that they know only of a resource. */
static char *registration(void)
{
    json_t *root = json_pack("{s:s, s:[s], s:[s, s], s:[s], s:s, s:s}", "client_name", "sidekey", "redirect_uris",
                             LOGIN_REDIRECT, "grant_types", "authorization_code", "refresh_token", "response_types",
                             "code", "token_endpoint_auth_method", "none", "application_type", "native");
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

/* RFC 7591 §3.2.1. */
static int take_client(const json_t *client, struct login_found *ret, struct err *e)
{
    const char *id = json_string_value(json_object_get(client, "client_id"));
    const json_t *secret = json_object_get(client, "client_secret");
    const char *how = json_string_value(json_object_get(client, "token_endpoint_auth_method"));
    if (!id || !*id || strlen(id) > URL_MAX) {
        err_set(e, "%s: the response to the registration has no client_id", ret->issuer);
        return EX_UNAVAILABLE;
    }
    bool has_secret = json_is_string(secret) && json_string_length(secret) && !(how && strcmp(how, "none") == 0);
    ret->secret_in_body = how && strcmp(how, "client_secret_post") == 0;
    if (has_secret
        && secret_set(&ret->client_secret, slice_of(json_string_value(secret), json_string_length(secret))) != 0)
        return no_memory(e);
    return (ret->client_id = strdup(id)) ? 0 : no_memory(e);
}

static int enroll(struct login *l, const json_t *metadata, struct login_found *ret, struct err *e)
{
    struct login_response r = { .status = 0 };
    char *url = NULL, *text = NULL;
    if (!json_object_get(metadata, "registration_endpoint")) {
        err_set(e, "%s does not register clients (RFC 7591): register one by hand, and add client_id=ID", ret->issuer);
        return EX_UNAVAILABLE;
    }
    int status = take_url(ret->issuer, metadata, "registration_endpoint", &url, e);
    if (status == 0 && !(text = registration()))
        status = no_memory(e);
    const struct fetch_request request = { .url = url, .content_type = "application/json", .body = slice_str(text) };
    if (status == 0 && login_fetch(l, &request, &r, e) != 0)
        status = EX_UNAVAILABLE;
    if (status == 0 && r.status != 200 && r.status != 201)
        status = login_refused(url, &r, e);
    if (status == 0) {
        json_t *client = json_safe_load(buf_slice(&r.body), 0, NULL);
        status = take_client(client, ret, e);
        json_decref(client);
    }
    login_response_done(&r);
    free(text);
    free(url);
    return status;
}

int login_register(const struct dial_options *network, const char *resource, bool has_client, struct login_found *ret,
                   struct err *e)
{
    const struct credential_spec none = { .token_url = NULL };
    struct login l = { .spec = &none, .stores.dir.fd = -1 };
    json_t *document = NULL, *metadata = NULL;
    json_safe_init();
    int status = (l.fetch = fetch_new(network, e)) ? 0 : EX_OSERR;
    if (status == 0)
        status = find_resource(&l, resource, &document, e);
    if (status == 0)
        status = find_server(&l, resource, document, ret, &metadata, e);
    if (status == 0 && !has_client)
        status = enroll(&l, metadata, ret, e);
    json_decref(document);
    json_decref(metadata);
    fetch_free(l.fetch);
    return status;
}

void login_found_done(struct login_found *f)
{
    free(f->issuer);
    free(f->token_url);
    free(f->client_id);
    free(f->scope);
    secret_done(&f->client_secret);
    *f = (struct login_found){ .issuer = NULL };
}
