#include "app/config/config_values.h"

#include "app/config/slips.h"
#include "app/config/url.h"
#include "http/rules.h"
#include "net/address.h"
#include "proxy/in_band.h"
#include "proxy/when.h"
#include "refresh/redis/redis_url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void lower(char *text)
{
    for (; *text; text++)
        if (is_upper(*text))
            *text = (char)(*text - 'A' + 'a');
}

const char *config_value_credential(char **io_text)
{
    const char *c = *io_text;
    while (is_lower(*c) || is_digit(*c) || (*c && strchr("._-", *c)))
        c++;
    if (*c || c == *io_text || c - *io_text > 64)
        return "a credential's name has 1 to 64 of a-z, 0-9, dot, underscore and hyphen";
    return NULL;
}

const char *config_value_label(char **io_text)
{
    const char *c = *io_text;
    while (is_lower(*c) || is_upper(*c) || is_digit(*c) || (*c && strchr("._*:-", *c)))
        c++;
    if (*c || c - *io_text > 64)
        return "a rule's name has 1 to 64 of A-Z, a-z, 0-9, dot, colon, underscore, hyphen and star";
    return NULL;
}

const char *config_value_host(char **io_text)
{
    const char *text = *io_text;
    bool wild = strncmp(text, "*.", 2) == 0, naked_v6 = *text != '[' && strchr(text, ':') != strrchr(text, ':');
    const char *colon;
    if (*text == '[')
        colon = strchr(text, ']');
    else if (naked_v6)
        colon = NULL;
    else
        colon = text;
    char in_brackets[64];
    struct authority a;
    if (strstr(text, "://") || strchr(text, '/'))
        return "write only the host: leave out the scheme, and write the path under paths";
    if (colon && strchr(colon, ':'))
        return "a host is written without a port: write the port under port";
    if (naked_v6)
        snprintf(in_brackets, sizeof in_brackets, "[%.45s]", text);
    if (strcmp(text, "*") == 0)
        return "a rule needs the name of a host: write a name, or *.suffix for exactly one label";
    const char *host = wild ? text + 2 : text;
    if (authority_parse(slice_str(naked_v6 ? in_brackets : host), SCHEME_HTTPS, 443, &a) != 0)
        return "not a host name: write a DNS name (IDNs as xn--…), *.suffix, or an IP address";
    if (wild && a.kind != HOST_NAME)
        return "a star works only before a name, not before an address";
    char *normal = NULL;
    if (asprintf(&normal, "%s%s", wild ? "*." : "", a.host) < 0)
        return "out of memory";
    free(*io_text);
    *io_text = normal;
    return NULL;
}

const char *config_value_path(char **io_text)
{
    const char *text = *io_text, *star = strchr(text, '*');
    if (*text != '/' && strcmp(text, "*") != 0)
        return "a path must begin with / (or be a single *)";
    if (star && star[1])
        return "a star is allowed only at the end of a path";
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f)
            return "a path must not contain spaces or control bytes: write a space as %20";
    if (strpbrk(text, "?#"))
        return "a path must not contain a query or a fragment";
    if (strstr(text, "/../") || strstr(text, "/./"))
        return "a path must not contain dot segments";
    return NULL;
}

const char *config_value_method(char **io_text)
{
    if (!rules_is_token(slice_str(*io_text)))
        return "not an HTTP method: write GET, POST and so on";
    for (const char *c = *io_text; *c; c++)
        if (is_lower(*c))
            return "methods are upper case: write GET, POST and so on";
    return NULL;
}

/* RFC 9110 §7.8: a name, or a name and a version. */
const char *config_value_upgrade(char **io_text)
{
    struct slice version, name = slice_cut(slice_str(*io_text), '/', &version);
    bool whole = rules_is_token(name) && (!strchr(*io_text, '/') || rules_is_token(version));
    if (!whole)
        return "not a protocol: write websocket, spdy/3.1, tcp or another name of an Upgrade";
    lower(*io_text);
    if (strncmp(*io_text, "h2c", 3) == 0 || strncmp(*io_text, "http/", 5) == 0 || strncmp(*io_text, "tls/", 4) == 0)
        return "not allowed: HTTP or TLS inside the connection would carry requests that no rule checks";
    return NULL;
}

const char *config_value_field(char **io_text)
{
    if (!rules_is_token(slice_str(*io_text)))
        return "not a header field name (RFC 9110: letters, digits, hyphen and a few more)";
    lower(*io_text);
    if (rules_name_forbidden(slice_str(*io_text)))
        return "a rule must not change this field: it frames or routes the message";
    return NULL;
}

const char *config_value_query_key(char **io_text)
{
    for (const char *c = *io_text; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f || strchr("&=#?", *c))
            return "a query key must not contain a space, & = # ? or a control byte";
    return NULL;
}

const char *config_value_text(char **io_text)
{
    return rules_is_value(slice_str(*io_text)) ? NULL : "control bytes (CR, LF and the like) are not allowed";
}

const char *config_value_placeholder(char **io_text)
{
    size_t len = strlen(*io_text);
    if (len < 4 || len > WHEN_VALUE_MAX)
        return "a placeholder has 4 to 1024 bytes";
    return config_value_text(io_text);
}

const char *config_value_client(char **io_text)
{
    return config_value_credential(io_text) ? "a client's name has 1 to 64 of a-z 0-9 . _ -" : NULL;
}

const char *config_value_pointer(char **io_text)
{
    return in_band_pointer_fault(*io_text);
}

const char *config_value_format(char **io_text)
{
    bool any = false;
    const char *c = *io_text;
    while (*c) {
        if (*c == '}')
            return "a } has no matching {";
        if (*c++ != '{')
            continue;
        const char *name = c;
        while (is_lower(*c) || is_upper(*c) || is_digit(*c) || *c == '_')
            c++;
        if (c == name || *c++ != '}')
            return "after { write a name and }, like {access_token}";
        any = true;
    }
    if (!any)
        return "contains no {access_token} (write constant fields under set_if_absent or append)";
    const char *slip = slips_format(io_text);
    return slip ? slip : config_value_text(io_text);
}

const char *config_value_url(char **io_text)
{
    struct authority a;
    struct slice path;
    if (url_parse(slice_str(*io_text), &a, &path) != 0)
        return "not a URL: write https://host/path, without user, password or fragment";
    return NULL;
}

const char *config_value_token_url(char **io_text)
{
    struct authority a;
    struct slice path;
    const char *wrong = config_value_url(io_text);
    if (wrong)
        return wrong;
    if (url_parse(slice_str(*io_text), &a, &path) == 0 && a.scheme == SCHEME_HTTP
        && !address_names_loopback(slice_str(a.host)))
        return "would send secrets unencrypted: write an https URL (http is allowed only on loopback)";
    return NULL;
}

const char *config_value_param(char **io_text)
{
    static const char *const own[] = {
        "grant_type",  "client_id",        "client_secret",        "refresh_token",    "scope",
        "audience",    "assertion",        "subject_token",        "client_assertion", "subject_token_type",
        "actor_token", "actor_token_type", "requested_token_type",
    };
    if (!**io_text)
        return "a parameter needs a name";
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(*io_text, own[i]) == 0)
            return "has a key of its own: do not write it under params";
    return config_value_text(io_text);
}

const char *config_value_redirect_url(char **io_text)
{
    struct authority a;
    struct slice path;
    const char *wrong = config_value_url(io_text);
    if (wrong)
        return wrong;
    if (url_parse(slice_str(*io_text), &a, &path) != 0 || a.scheme != SCHEME_HTTP
        || !address_names_loopback(slice_str(a.host)) || memchr(path.ptr, '?', path.len))
        return "must be http on this machine, without a query: write http://127.0.0.1:PORT/PATH";
    return NULL;
}

const char *config_value_login_param(char **io_text)
{
    static const char *const own[] = { "response_type", "client_id", "redirect_uri",   "scope",
                                       "state",         "resource",  "code_challenge", "code_challenge_method" };
    if (!**io_text)
        return "a parameter needs a name";
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(*io_text, own[i]) == 0)
            return "sidekey writes this parameter itself: remove it";
    return config_value_text(io_text);
}

const char *config_value_claim(char **io_text)
{
    static const char *const own[] = { "iss", "sub", "aud", "iat", "exp", "jti" };
    if (!**io_text)
        return "a claim needs a name";
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(*io_text, own[i]) == 0)
            return "has a key of its own (issuer, subject, audience, lifetime): do not write it under claims";
    return config_value_text(io_text);
}

const char *config_value_request_field(char **io_text)
{
    static const char *const own[] = { "authorization", "accept", "content-type", "expect" };
    const char *wrong = config_value_field(io_text);
    for (size_t i = 0; !wrong && i < sizeof own / sizeof *own; i++)
        if (strcmp(*io_text, own[i]) == 0)
            wrong = "sidekey writes this field itself: remove it";
    return wrong;
}

const char *config_value_number_id(char **io_text)
{
    uint64_t number;
    return slice_u64(slice_str(*io_text), UINT64_MAX, &number) == 0 ? NULL : "is not an id: write its digits";
}

const char *config_value_redis_url(char **io_text)
{
    struct redis_url url;
    return redis_url_parse(slice_str(*io_text), &url);
}

const char *config_value_redis_node(char **io_text)
{
    struct authority at;
    return redis_url_parse_node(slice_str(*io_text), &at);
}

const char *config_value_redis_word(char **io_text)
{
    for (const char *c = *io_text; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f)
            return "a name must not contain spaces or control bytes";
    return **io_text ? NULL : "a name must not be empty";
}
