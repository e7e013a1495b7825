/* What the tokens of a response say of themselves: whose they are, and for whom.  No signature is verified: they came
 * over TLS from the token endpoint (OpenID Connect Core §3.1.3.7, 6). */
#include "refresh/login/login_private.h"

#include "base/json_safe.h"
#include "base/str.h"

#include <sysexits.h>

#define AUDIENCE_SHOWN 128

/* part 0: the header; 1: the claims.  NULL: it is no JWT. */
static json_t *part_of(struct slice token, unsigned part)
{
    struct slice text = slice_cut(token, '.', &token);
    struct buf plain;
    while (part--)
        text = slice_cut(token, '.', &token);
    buf_init_secret(&plain, GRANT_TOKEN_MAX);
    json_t *object =
        text.len && str_add_unbase64(&plain, text) == 0 ? json_safe_load(buf_slice(&plain), 0, NULL) : NULL;
    buf_done(&plain);
    return object;
}

static json_t *id_claims(struct slice body)
{
    json_t *response = json_safe_load(body, 0, NULL), *claims = NULL;
    const json_t *token = json_object_get(response, "id_token");
    if (json_is_string(token))
        claims = part_of(slice_of(json_string_value(token), json_string_length(token)), 1);
    json_decref(response);
    return claims;
}

/* Nothing in it may speak to a terminal. */
static void show(const char *from, char *text, size_t most)
{
    size_t len = 0;
    for (; *from && len < most; from++)
        text[len++] = *from > ' ' && *from < 0x7f ? *from : '?';
    text[len] = '\0';
}

/* ---- whose ---- */

void login_account(struct slice body, char text[LOGIN_ACCOUNT_MAX + 1])
{
    static const char *const names[] = { "email", "preferred_username", "sub" };
    json_t *claims = id_claims(body);
    text[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names && !text[0]; i++) {
        const char *name = json_string_value(json_object_get(claims, names[i]));
        if (name)
            show(name, text, LOGIN_ACCOUNT_MAX);
    }
    json_decref(claims);
}

/* ---- for whom ---- */

/* A slash at the end makes no other resource, and Google's iss may lack the scheme. */
static struct slice bare(const char *url)
{
    struct slice text = slice_str(url);
    if (slice_starts(text, SLICE("https://")))
        text = slice_skip(text, 8);
    if (text.len && text.ptr[text.len - 1] == '/')
        text.len--;
    return text;
}

static bool is_one(const json_t *value, const char *wanted)
{
    return wanted && json_is_string(value) && slice_eq(bare(json_string_value(value)), bare(wanted));
}

/* "aud" is a text or a list of them (RFC 7519 §4.1.3). */
static bool has_one(const json_t *aud, const char *wanted)
{
    bool found = is_one(aud, wanted);
    for (size_t i = 0; i < json_array_size(aud) && !found; i++)
        found = is_one(json_array_get(aud, i), wanted);
    return found;
}

static int refuse(const json_t *said, const char *what, const char *wanted, struct err *e)
{
    char shown[AUDIENCE_SHOWN + 1] = "?";
    const json_t *first = json_is_array(said) ? json_array_get(said, 0) : said;
    if (json_is_string(first))
        show(json_string_value(first), shown, AUDIENCE_SHOWN);
    err_set(e, "%s \"%s\", not \"%.128s\": the response is not used, and what was stored before stays", what, shown,
            wanted);
    return EX_UNAVAILABLE;
}

/* OpenID Connect Core §3.1.3.7, 2 and 3. */
static int check_id_token(const struct credential_spec *s, const json_t *claims, struct err *e)
{
    const json_t *aud = json_object_get(claims, "aud"), *iss = json_object_get(claims, "iss");
    if (aud && s->client_id && !has_one(aud, s->client_id))
        return refuse(aud, "the ID token is for another client,", s->client_id, e);
    if (iss && s->login.issuer && !is_one(iss, s->login.issuer))
        return refuse(iss, "the ID token is of another issuer,", s->login.issuer, e);
    return 0;
}

/* RFC 9068 §2.2: with its typ, an access token names its resource; other access tokens are not for us to read. */
static int check_access_token(const struct credential_spec *s, struct slice token, struct err *e)
{
    json_t *head = part_of(token, 0), *claims = NULL;
    const char *typ = json_string_value(json_object_get(head, "typ"));
    const json_t *aud = NULL;
    int status = 0;
    if (typ && (slice_ieq(slice_str(typ), SLICE("at+jwt")) || slice_ieq(slice_str(typ), SLICE("application/at+jwt"))))
        claims = part_of(token, 1);
    if (claims)
        aud = json_object_get(claims, "aud");
    if (aud && (s->resource || s->audience) && !has_one(aud, s->resource) && !has_one(aud, s->audience))
        status = refuse(aud, "the access token is for another audience,", s->resource ? s->resource : s->audience, e);
    json_decref(claims);
    json_decref(head);
    return status;
}

int login_check_audience(const struct credential_spec *s, struct slice body, struct slice access_token, struct err *e)
{
    json_t *claims = id_claims(body);
    int status = check_id_token(s, claims, e);
    json_decref(claims);
    return status ? status : check_access_token(s, access_token, e);
}
