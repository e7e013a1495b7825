/* Where the endpoints are: the configuration says so, or the metadata of the issuer. */
#include "refresh/login/login_private.h"

#include "base/json_safe.h"
#include "net/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#define URL_MAX 2048

static int no_memory(struct err *e)
{
    err_set(e, "out of memory");
    return EX_OSERR;
}

/* RFC 8414 §3.1 puts its name between host and path, OpenID Connect Discovery §4.1 its own after the path. */
static int metadata_url(const char *issuer, bool openid, char *url, size_t size)
{
    const char *path = strchr(issuer + strcspn(issuer, ":") + 3, '/');
    int host_len = (int)(path ? path - issuer : (long)strlen(issuer)), len;
    const char *tail = path ? path : "";
    int tail_len = (int)strlen(tail);
    if (tail_len && tail[tail_len - 1] == '/')
        tail_len--;
    if (openid)
        len = snprintf(url, size, "%.*s%.*s/.well-known/openid-configuration", host_len, issuer, tail_len, tail);
    else
        len = snprintf(url, size, "%.*s/.well-known/oauth-authorization-server%.*s", host_len, issuer, tail_len, tail);
    return len > 0 && (size_t)len < size ? 0 : -1;
}

/* What a server names must be as safe as what an operator names: https, and loopback only from loopback. */
bool login_may_name(const char *from_url, const char *url)
{
    struct fetch_place from, to;
    if (!url || strlen(url) >= URL_MAX || fetch_url_read(url, false, &to) != 0
        || fetch_url_read(from_url, false, &from) != 0)
        return false;
    return from.loopback || (strcmp(to.scheme, "https") == 0 && !to.loopback);
}

/* The configuration wins. */
static int take(const struct login *l, const json_t *metadata, const char *member, const char *configured, char **ret,
                struct err *e)
{
    const char *found = json_string_value(json_object_get(metadata, member));
    if (configured || !found)
        return 0;
    if (!login_may_name(l->spec->login.issuer, found)) {
        err_set(e, "%s: its metadata names a %s that is not https", l->spec->login.issuer, member);
        return EX_UNAVAILABLE;
    }
    return (*ret = strdup(found)) ? 0 : no_memory(e);
}

bool login_has_word(const json_t *list, const char *word)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *one = json_string_value(json_array_get(list, i));
        if (one && strcmp(one, word) == 0)
            return true;
    }
    return false;
}

/* The code must go where the configuration says, and RFC 9700 §2.1.1: no PKCE that is not S256. */
static int check(const struct login *l, const json_t *metadata, struct err *e)
{
    const char *issuer = l->spec->login.issuer;
    const char *token_url = json_string_value(json_object_get(metadata, "token_endpoint"));
    const json_t *methods = json_object_get(metadata, "code_challenge_methods_supported");
    if (token_url && strcmp(token_url, l->spec->token_url) != 0) {
        err_set(e, "%s: its metadata names another token endpoint than token_url: write token_url: %.300s",
                l->spec->login.issuer, login_may_name(issuer, token_url) ? token_url : "as the provider documents it");
        return EX_CONFIG;
    }
    if (methods && !login_has_word(methods, "S256")) {
        err_set(e, "%s: does not support PKCE with S256", l->spec->login.issuer);
        return EX_UNAVAILABLE;
    }
    return 0;
}

static int take_all(struct login *l, const json_t *metadata, struct err *e)
{
    const struct credential_spec_login *own = &l->spec->login;
    struct login_endpoints *to = &l->endpoints;
    to->names_issuer = json_is_true(json_object_get(metadata, "authorization_response_iss_parameter_supported"));
    int status = check(l, metadata, e);
    if (status == 0)
        status = take(l, metadata, "authorization_endpoint", own->authorization_url, &to->authorization, e);
    if (status == 0)
        status = take(l, metadata, "device_authorization_endpoint", own->device_authorization_url, &to->device, e);
    if (status == 0)
        status = take(l, metadata, "revocation_endpoint", own->revocation_url, &to->revocation, e);
    return status;
}

/* *ret: the metadata; NULL: it is not there. */
static int fetch_metadata(struct login *l, const char *issuer, bool openid, json_t **ret, struct err *e)
{
    char url[URL_MAX];
    *ret = NULL;
    if (metadata_url(issuer, openid, url, sizeof url) != 0) {
        err_set(e, "the URL of the issuer is too long");
        return EX_CONFIG;
    }
    return login_fetch_json(l, url, ret, e);
}

int login_metadata(struct login *l, const char *issuer, json_t **ret, struct err *e)
{
    int status = fetch_metadata(l, issuer, false, ret, e);
    if (status == 0 && !json_is_object(*ret)) {
        json_decref(*ret);
        status = fetch_metadata(l, issuer, true, ret, e);
    }
    if (status != 0)
        return status;
    if (!json_is_object(*ret)) {
        err_set(e,
                "%s: has no metadata (RFC 8414, OpenID Connect Discovery): write login.authorization_url or "
                "login.device_authorization_url instead of login.issuer",
                issuer);
        return EX_UNAVAILABLE;
    }
    const char *named = json_string_value(json_object_get(*ret, "issuer"));
    if (named && strcmp(named, issuer) == 0)
        return 0;
    err_set(e, "%s: its metadata is that of another issuer: write login.issuer as the provider documents it", issuer);
    return EX_CONFIG;
}

static int ask_issuer(struct login *l, struct err *e)
{
    json_t *metadata = NULL;
    int status = login_metadata(l, l->spec->login.issuer, &metadata, e);
    if (status == 0)
        status = take_all(l, metadata, e);
    json_decref(metadata);
    return status;
}

static int copy(const char *from, char **to, struct err *e)
{
    if (!from)
        return 0;
    return (*to = strdup(from)) ? 0 : no_memory(e);
}

int login_discover(struct login *l, struct err *e)
{
    const struct credential_spec_login *own = &l->spec->login;
    struct login_endpoints *to = &l->endpoints;
    if (copy(own->authorization_url, &to->authorization, e) != 0
        || copy(own->device_authorization_url, &to->device, e) != 0
        || copy(own->revocation_url, &to->revocation, e) != 0)
        return EX_OSERR;
    return own->issuer ? ask_issuer(l, e) : 0;
}
