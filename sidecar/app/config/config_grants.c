#include "app/config/config_grants.h"

#include "app/config/config_cross.h"
#include "app/config/config_values.h"
#include "refresh/fetch/fetch_url.h"
#include "refresh/grant/grant.h"

#include <stdio.h>
#include <stdlib.h>

#define UNSAID_GRANT ((enum grant_kind)(GRANT_COMMAND + 1))
#define UNSAID_AUTH ((enum client_auth)(CLIENT_AUTH_PRIVATE_KEY_JWT + 1))
#define OAUTH_KEYS                                                                                                     \
    "token_url client_id client_secret client_auth assertion scope audience resource params body tls headers "         \
    "token response"
#define METADATA_URL "http://169.254.169.254/computeMetadata/v1/instance/service-accounts/default/token"

/* Keys between spaces.  Those of every grant are in common. */
static const char common[] = "grant preset required default_lifetime forced_refresh_floor placeholder "
                             "placeholder_format placeholder_variables placeholder_file placeholder_file_variables";
static const struct {
    const char *needs, *takes;
} rows[] = {
    [GRANT_STATIC] = { "token", "" },
    [GRANT_REFRESH_TOKEN] = { "token_url", OAUTH_KEYS " refresh_token login" },
    [GRANT_CLIENT_CREDENTIALS] = { "token_url client_id", OAUTH_KEYS },
    [GRANT_JWT_BEARER] = { "token_url assertion", OAUTH_KEYS " impersonate" },
    [GRANT_TOKEN_EXCHANGE] = { "token_url subject_token", OAUTH_KEYS
                               " subject_token_type actor_token actor_token_type requested_token_type impersonate" },
    [GRANT_GITHUB_APP] = { "assertion", "token_url client_id installation tls headers" },
    [GRANT_METADATA] = { "", "token_url tls headers impersonate token response" },
    [GRANT_COMMAND] = { "command", "token response" },
};

void config_grants_init_spec(void *spec)
{
    ((struct credential_spec *)spec)->grant = UNSAID_GRANT;
    ((struct credential_spec *)spec)->client_auth = UNSAID_AUTH;
}

int config_grants_read_token(struct schema *s, const struct field *f, const json_t *node, void *spec)
{
    struct credential_spec *c = spec;
    const char *word = json_string_value(node);
    (void)f;
    c->id_token = word && strcmp(word, "id_token") == 0;
    if (c->id_token || (word && strcmp(word, "access_token") == 0))
        return 0;
    return schema_secret(s, node, &c->token);
}

static bool has_word(const char *words, const char *key)
{
    for (struct slice rest = slice_str(words); rest.len;)
        if (slice_eq(slice_cut(rest, ' ', &rest), slice_str(key)))
            return true;
    return false;
}

static bool written(struct schema *s, const json_t *node, const char *key)
{
    const json_t *value = json_object_get(node, key);
    return value && !tree_is_null(s->tree, value);
}

/* A secret for the grant that is one, a member's name for those that read a response. */
static int check_token(struct schema *s, const json_t *node, const struct credential_spec *c)
{
    bool secret = c->token.kind != SECRET_REF_NONE;
    if (!written(s, node, "token") || secret == (c->grant == GRANT_STATIC))
        return 0;
    return secret ? schema_error_key(s, json_object_get(node, "token"),
                                     "token cannot be used with grant: %s: only access_token or id_token can, the "
                                     "member of the response that is the token",
                                     grant_of(c->grant)->name)
                  : schema_error(s, json_object_get(node, "token"),
                                 "must be the token itself with grant: static: write {file: PATH} or {env: NAME}");
}

static int check_response(struct schema *s, const json_t *node, const struct credential_spec *c)
{
    const char *const pointers[] = { c->response.access_token, c->response.refresh_token, c->response.expires_in };
    for (size_t i = 0; i < sizeof pointers / sizeof *pointers; i++)
        if (pointers[i] && !*pointers[i])
            return schema_error(s, json_object_get(node, "response"),
                                "an empty pointer means the whole response: name a member, like /data/access_token");
    return 0;
}

/* Reports an error at the value of key when it is set but cannot be used. */
static int refuse_key(struct schema *s, const json_t *node, const char *key, const char *with, const char *what)
{
    if (!written(s, node, key))
        return 0;
    return schema_error_key(s, json_object_get(node, key), "%s cannot be used with %s%s: remove it", key, with, what);
}

static int missing(struct schema *s, const json_t *node, const char *key, const char *with, const char *what)
{
    return schema_error(s, node, "%s is missing: %s%s needs it", key, with, what);
}

static int check_keys(struct schema *s, const json_t *node, const struct credential_spec *c)
{
    const char *key, *name = grant_of(c->grant)->name;
    json_t *value;
    char word[64];
    int failed = 0;
    for (struct slice rest = slice_str(rows[c->grant].needs); rest.len;) {
        struct slice one = slice_cut(rest, ' ', &rest);
        snprintf(word, sizeof word, "%.*s", (int)one.len, one.ptr);
        if (!written(s, node, word))
            failed = missing(s, node, word, "grant: ", name);
    }
    json_object_foreach((json_t *)(uintptr_t)node, key, value)
    {
        if (!has_word(common, key) && !has_word(rows[c->grant].needs, key) && !has_word(rows[c->grant].takes, key))
            failed |= refuse_key(s, node, key, "grant: ", name);
    }
    return failed;
}

/* Where the first refresh token comes from. */
static int check_first_token(struct schema *s, const json_t *node, const struct credential_spec *c)
{
    if (c->grant == GRANT_REFRESH_TOKEN && written(s, node, "login") && !c->client_id)
        return missing(s, node, "client_id", "login", "");
    if (c->grant != GRANT_REFRESH_TOKEN || written(s, node, "refresh_token") || written(s, node, "login"))
        return 0;
    return missing(s, node, "refresh_token", "grant: refresh_token", " (or login, to sign in with sidekey login)");
}

int config_grants_check_login(struct schema *s, const json_t *node, void *spec)
{
    const struct credential_spec *c = spec;
    if (!node || credential_spec_has_login(c))
        return 0;
    return schema_error(s, node, "needs issuer, authorization_url or device_authorization_url");
}

/* The URL is checked here and not as a single value, because what is allowed depends on the grant. */
static int check_url(struct schema *s, const json_t *node, struct credential_spec *c)
{
    struct fetch_place place;
    const json_t *at = json_object_get(node, "token_url");
    const char *wrong = NULL;
    if (c->grant == GRANT_METADATA && !c->token_url && !(c->token_url = strdup(METADATA_URL)))
        return schema_error(s, node, "out of memory");
    if (c->grant == GRANT_GITHUB_APP && c->installation && c->token_url)
        return refuse_key(s, node, "installation", "token_url", "");
    if (c->grant == GRANT_GITHUB_APP && c->installation
        && asprintf(&c->token_url, "https://api.github.com/app/installations/%s/access_tokens", c->installation) < 0) {
        c->token_url = NULL;
        return schema_error(s, node, "out of memory");
    }
    if (c->grant == GRANT_GITHUB_APP && !c->token_url)
        return schema_error(s, node, "installation is missing: grant: github_app needs it (or token_url)");
    if (c->grant == GRANT_METADATA)
        wrong = fetch_url_read(c->token_url, true, &place) == 0
                    ? NULL
                    : "is not a metadata server: write http://169.254.169.254/…";
    else if (c->token_url)
        wrong = config_value_token_url(&c->token_url);
    return wrong ? schema_error(s, at, "token_url %s", wrong) : 0;
}

/* Who signs what: one key or one ready-made token, and both only where each has its own use. */
static int check_assertion(struct schema *s, const json_t *node, const struct credential_spec *c)
{
    static const char *const of_key[] = { "certificate", "alg",      "kid",      "issuer",
                                          "subject",     "audience", "lifetime", "claims" };
    static const char *const of_oauth[] = { "token", "subject", "audience" };
    const json_t *a = json_object_get(node, "assertion");
    bool key = c->assertion.key.kind != SECRET_REF_NONE, token = c->assertion.token.kind != SECRET_REF_NONE;
    bool private_key = c->client_auth == CLIENT_AUTH_PRIVATE_KEY_JWT, bearer = c->grant == GRANT_JWT_BEARER;
    int failed = 0;
    if (!key && !token)
        return schema_error(
            s, a, "key is missing: give the key that signs the assertion, or give a ready-made assertion as token");
    if (!bearer && !private_key && c->grant != GRANT_GITHUB_APP)
        return refuse_key(s, node, "assertion", "this client_auth", "");
    if (bearer && private_key && !key)
        return schema_error(s, a,
                            "key is missing: client_auth: private_key_jwt needs it to sign the client's assertion");
    if (key && token && !(bearer && private_key))
        return schema_error(
            s, a, "key and token exclude each other: give key to sign an assertion, or token for a ready-made one");
    for (size_t i = 0; !key && i < sizeof of_key / sizeof *of_key; i++)
        failed |= refuse_key(s, a, of_key[i], "token", "");
    for (size_t i = 0; c->grant == GRANT_GITHUB_APP && i < sizeof of_oauth / sizeof *of_oauth; i++)
        failed |= refuse_key(s, a, of_oauth[i], "grant: github_app", "");
    if (c->grant == GRANT_GITHUB_APP && !c->client_id && !c->assertion.issuer)
        failed |= missing(s, node, "client_id", "grant: github_app", "");
    return failed;
}

static void choose_auth(struct credential_spec *c)
{
    bool secret = c->client_secret.kind != SECRET_REF_NONE;
    bool assertion = c->assertion.key.kind != SECRET_REF_NONE || c->assertion.token.kind != SECRET_REF_NONE;
    if (c->client_auth == UNSAID_AUTH && secret)
        c->client_auth = CLIENT_AUTH_BASIC;
    else if (c->client_auth == UNSAID_AUTH)
        c->client_auth = assertion && c->grant != GRANT_JWT_BEARER && c->grant != GRANT_GITHUB_APP
                             ? CLIENT_AUTH_PRIVATE_KEY_JWT
                             : CLIENT_AUTH_NONE;
}

static int check_client(struct schema *s, const json_t *node, const struct credential_spec *c, bool said)
{
    static const char *const names[] = { "basic", "basic_raw", "body", "none", "private_key_jwt" };
    bool secret = c->client_secret.kind != SECRET_REF_NONE, takes = c->client_auth <= CLIENT_AUTH_BODY;
    if (takes && !secret)
        return schema_error(s, json_object_get(node, "client_auth"),
                            "needs a client_secret: add it, or write client_auth: none");
    if (!takes && secret)
        return refuse_key(s, node, "client_secret", "client_auth: ", names[c->client_auth]);
    if (c->client_auth == CLIENT_AUTH_PRIVATE_KEY_JWT && !written(s, node, "assertion"))
        return missing(s, node, "assertion", "client_auth: private_key_jwt", "");
    if (c->grant == GRANT_CLIENT_CREDENTIALS && !said && c->client_auth == CLIENT_AUTH_NONE)
        return missing(s, node, "client_secret", "grant: client_credentials", "");
    if (!c->client_id && c->client_auth != CLIENT_AUTH_NONE)
        return missing(s, node, "client_id", "this client_auth", "");
    if (c->client_auth == CLIENT_AUTH_BASIC_RAW && strchr(c->client_id, ':'))
        return schema_error(
            s, json_object_get(node, "client_id"),
            "must not contain a colon with client_auth: basic_raw (RFC 7617): write client_auth: basic or body");
    return 0;
}

int config_grants_check_spec(struct schema *s, const json_t *node, void *spec)
{
    struct credential_spec *c = spec;
    bool said = c->client_auth != UNSAID_AUTH;
    if (c->grant == UNSAID_GRANT) /* a word that is no grant was reported at its place */
        return written(s, node, "grant")
                   ? -1
                   : schema_error(s, node, "grant is missing: write one, or a preset (sidekey presets lists them)");
    choose_auth(c);
    int failed = check_keys(s, node, c);
    failed |= check_first_token(s, node, c);
    failed |= config_cross_check_pair(s, json_object_get(node, "tls"), c->cert_file, c->key_file);
    failed |= check_url(s, node, c);
    failed |= check_token(s, node, c);
    failed |= check_response(s, node, c);
    if (failed)
        return failed;
    if (grant_of(c->grant)->oauth)
        failed = check_client(s, node, c, said);
    if (!failed && written(s, node, "assertion"))
        failed = check_assertion(s, node, c);
    if (c->command && !c->command[0])
        failed = schema_error(s, json_object_get(node, "command"), "is empty: write [program, argument, …]");
    return failed;
}
