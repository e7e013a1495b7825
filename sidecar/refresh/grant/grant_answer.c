/* Token responses as the wild has them: what in them is a token, and what an error (RFC 6749 §5.1, §5.2). */
#include "refresh/grant/grant_answer_private.h"
#include "refresh/grant/refusal.h"

#include "base/json_safe.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>

#define EXTRA_MEMBER_BYTES 16384 /* a larger one is kept nowhere … */
#define EXTRA_BYTES (256 * 1024) /* … nor what is beyond this */
#define NAMES_BYTES 72

static enum grant_result broken(char *why, const char *text)
{
    snprintf(why, GRANT_WHY_BYTES, "%s", text);
    return GRANT_BROKEN;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Without the line ends around it, and the blanks beside them: a script has printed them, and no token has any. */
static struct slice without_lines(struct slice s)
{
    size_t from = 0, to = s.len;
    bool before = false, behind = false;
    for (; from < to && is_space(s.ptr[from]); from++)
        before = before || s.ptr[from] == '\r' || s.ptr[from] == '\n';
    for (; to > from && is_space(s.ptr[to - 1]); to--)
        behind = behind || s.ptr[to - 1] == '\r' || s.ptr[to - 1] == '\n';
    from = before ? from : 0;
    return slice_of(s.ptr + from, (behind ? to : s.len) - from);
}

static struct slice string_of(const json_t *value)
{
    return json_is_string(value) ? without_lines(slice_of(json_string_value(value), json_string_length(value)))
                                 : SLICE("");
}

static struct slice text_of(const json_t *object, const char *name)
{
    return string_of(json_object_get(object, name));
}

/* ---- where the tokens are ---- */

struct names {
    const char *names[4]; /* the first that is there */
};
static const struct names access_names = { { "access_token", "token" } }, id_names = { { "id_token" } },
                          refresh_names = { { "refresh_token" } };
/* Objects that a token may lie in: Slack's user tokens, Kubernetes' ExecCredential, gcloud's config-helper. */
static const char *const inner_names[] = { "authed_user", "status", "credential" };
/* … and the wrappers of those who wrap everything: only when the top has nothing itself. */
static const char *const wrapper_names[] = { "data", "result" };

struct found {
    json_t *home; /* the object that the tokens are in */
    struct slice access;
    const json_t *refresh, *expires; /* where the configuration says that it is; NULL: by its usual names */
};

static struct slice first_text(const json_t *object, const struct names *n)
{
    struct slice text = SLICE("");
    for (size_t i = 0; i < 4 && n->names[i] && text.len == 0; i++)
        text = string_of(grant_answer_member(object, n->names[i]));
    return text;
}

/* NULL for what says nothing. */
static const json_t *meant(const json_t *v)
{
    return grant_answer_says_nothing(v) ? NULL : v;
}

static const json_t *first_value(const json_t *object, const struct names *n)
{
    const json_t *value = NULL;
    for (size_t i = 0; i < 4 && n->names[i] && !value; i++)
        value = grant_answer_member(object, n->names[i]);
    return value;
}

static const struct names *wanted(const struct credential_spec *spec)
{
    return spec && spec->id_token ? &id_names : &access_names;
}

static bool has_tokens(const json_t *object, const struct credential_spec *spec)
{
    return first_text(object, wanted(spec)).len || first_value(object, &refresh_names);
}

/* Anything of RFC 6749 §5.1 or §5.2. */
static bool speaks_itself(const json_t *object, const struct credential_spec *spec)
{
    return has_tokens(object, spec) || first_text(object, &access_names).len || json_object_get(object, "expires_in")
           || meant(json_object_get(object, "error"));
}

/* An object, also as the only element of a list. */
static json_t *inner_object(const json_t *object, const char *name)
{
    json_t *inner = json_object_get(object, name);
    if (json_is_array(inner) && json_array_size(inner) == 1)
        inner = json_array_get(inner, 0);
    return json_is_object(inner) ? inner : NULL;
}

static json_t *find_home(json_t *object, const struct credential_spec *spec)
{
    json_t *home = NULL;
    if (first_text(object, wanted(spec)).len)
        return object;
    for (size_t i = 0; i < sizeof inner_names / sizeof *inner_names; i++)
        if (has_tokens(inner_object(object, inner_names[i]), spec))
            return inner_object(object, inner_names[i]);
    for (size_t i = 0; i < sizeof wrapper_names / sizeof *wrapper_names && !speaks_itself(object, spec); i++) {
        json_t *inner = inner_object(object, wrapper_names[i]);
        if (has_tokens(inner, spec)) {
            if (home)
                return object; /* which of the two? */
            home = inner;
        }
    }
    return home ? home : object;
}

/* The object that holds what the pointer names. */
static json_t *parent_at(json_t *object, const char *pointer)
{
    char *above = strdup(pointer), *last = above ? strrchr(above, '/') : NULL;
    const json_t *parent = NULL;
    if (last) {
        *last = '\0';
        parent = json_safe_at(object, above);
    }
    free(above);
    return json_is_object(parent) ? (json_t *)(uintptr_t)parent : object;
}

static struct found find_tokens(json_t *object, const struct credential_spec *spec)
{
    static const struct credential_spec_response usual = { NULL, NULL, NULL };
    const struct credential_spec_response *at = spec ? &spec->response : &usual;
    const char *pointer = at->access_token ? at->access_token : at->refresh_token;
    struct found f = { .home = pointer ? parent_at(object, pointer) : find_home(object, spec) };
    f.access = at->access_token ? string_of(json_safe_at(object, at->access_token)) : first_text(f.home, wanted(spec));
    f.refresh =
        at->refresh_token ? meant(json_safe_at(object, at->refresh_token)) : first_value(f.home, &refresh_names);
    f.expires = at->expires_in ? json_safe_at(object, at->expires_in) : NULL;
    return f;
}

/* ---- what they are worth ---- */

/* RFC 9110 §5.5: visible ASCII; a token that cannot be a header value is refused here, not when it is used. */
static bool fit_for_header(struct slice token)
{
    for (size_t i = 0; i < token.len; i++)
        if (token.ptr[i] <= ' ' || token.ptr[i] >= 0x7f)
            return false;
    return true;
}

/* RFC 6749 A.17 says VSCHAR; a strict parser's text in another alphabet is taken for what it is, controls are not. */
static bool fit_to_be_sent(struct slice token)
{
    for (size_t i = 0; i < token.len; i++)
        if ((unsigned char)token.ptr[i] < ' ' || token.ptr[i] == 0x7f)
            return false;
    return token.len > 0 && token.len <= GRANT_REFRESH_MAX;
}

/* 0; -1 without memory. */
static int take_refresh(const json_t *value, struct grant_answer *ret)
{
    struct slice token = string_of(value);
    ret->refresh_unfit = value && !fit_to_be_sent(token);
    return value && !ret->refresh_unfit ? secret_set(&ret->refresh_token, token) : 0;
}

/* Names of members, never values: bounded and printable. */
static void name_members(const json_t *object, char *text, size_t size)
{
    const char *name;
    json_t *value;
    size_t at = 0;
    text[0] = '\0';
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        (void)value;
        if (at + 28 > size) {
            snprintf(text + at, size - at, ", …");
            return;
        }
        size_t start = at;
        at += (size_t)snprintf(text + at, size - at, "%s%.20s", at ? ", " : "", name);
        for (size_t i = start; i < at; i++)
            if ((unsigned char)text[i] < ' ' || (unsigned char)text[i] >= 0x7f)
                text[i] = '?';
    }
}

static enum grant_result no_token(const json_t *object, const struct credential_spec *spec, char *why)
{
    char members[NAMES_BYTES];
    name_members(object, members, sizeof members);
    if (spec && spec->id_token)
        snprintf(why, GRANT_WHY_BYTES, "no id_token in the response (members: %s)", members);
    else if (text_of(object, "id_token").len)
        snprintf(why, GRANT_WHY_BYTES,
                 "no access_token in the response, but an id_token: to use it, set token: id_token");
    else
        snprintf(why, GRANT_WHY_BYTES, "no access_token in the response (members: %s)", members[0] ? members : "none");
    return GRANT_BROKEN;
}

/* Members that are held elsewhere, or that must not lie about in a document for humans. */
static bool is_held_elsewhere(const char *name)
{
    static const char *const known[] = { "access_token",
                                         "token",
                                         "refresh_token",
                                         "expires_in",
                                         "expires_at",
                                         "expires_in_sec",
                                         "expire_time",
                                         "expires_on",
                                         "refresh_in",
                                         "id_token",
                                         "ok",
                                         "expiration_timestamp",
                                         "token_expiry",
                                         "client_key_data",
                                         "client_certificate_data" };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (grant_answer_is_name(name, known[i]))
            return true;
    return false;
}

/* What is kept beside the token, within limits: it is sealed and sent about with every state. */
static json_t *other_members(const json_t *object)
{
    const char *name;
    json_t *value, *kept = json_object();
    size_t total = 0;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        bool text = json_is_string(value), unfit = text && strcmp(json_string_value(value), GRANT_ANSWER_UNFIT) == 0;
        if (is_held_elsewhere(name) || unfit || (strcmp(name, "scope") == 0 && !(text && json_string_length(value))))
            continue;
        size_t size = strlen(name) + json_dumpb(value, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
        if (size > EXTRA_MEMBER_BYTES || total + size > EXTRA_BYTES)
            continue;
        total += size;
        (void)json_object_set(kept, name, value);
    }
    if (json_object_size(kept))
        return kept;
    json_decref(kept);
    return NULL;
}

static enum grant_result take_access(const struct found *f, const struct credential_spec *spec,
                                     struct grant_answer *ret, char *why)
{
    if (f->access.len == 0)
        return no_token(f->home, spec, why);
    if (f->access.len > GRANT_TOKEN_MAX)
        return broken(why, "the access token is longer than 16 KiB");
    if (!fit_for_header(f->access))
        return broken(why, "the access token contains bytes that are not allowed in a header");
    grant_answer_times(f->home, f->expires, ret);
    if (secret_set(&ret->access_token, f->access) != 0) {
        ret->no_memory = true;
        return broken(why, "out of memory");
    }
    int64_t end_ms = spec && spec->id_token ? grant_answer_jwt_expiry(f->access) : 0;
    if (end_ms) { /* expires_in is the access token's */
        ret->lifetime_ms = 0;
        ret->expires_wall_ms = end_ms;
    }
    ret->extra = other_members(f->home);
    return GRANT_TOKEN;
}

/* Both tokens under a status that is none of success: the server has made them, and what went wrong came after that. */
static bool came_all_the_same(const struct found *f, bool html)
{
    return !html && f->access.len && json_is_string(f->refresh);
}

/* Where the refresh token may be that was not found: the old one must not be taken for good. */
static const char *lost_refresh(const struct found *f, const json_t *object, bool whole)
{
    if (f->refresh)
        return "the new refresh token cannot be used: it is not text, is over 64 KiB, has control characters, or was "
               "given twice";
    if (!whole) /* it may have been in what is missing */
        return "the response ends before a refresh token";
    return grant_answer_has_refresh(object)
               ? "the response has a refresh token in an unexpected place: name the place with response.refresh_token"
               : NULL;
}

/* The refresh token first, whatever is said of the rest: it cannot be had again. */
static enum grant_result take(const struct grant_input *in, json_t *object, struct grant_answer *ret, char *why)
{
    struct found f = find_tokens(object, in->spec);
    bool good = in->status <= 299 || came_all_the_same(&f, ret->html);
    if (good && take_refresh(f.refresh, ret) != 0) {
        ret->no_memory = true;
        return broken(why, "out of memory");
    }
    if (refusal_read(good ? 200 : in->status, object, f.access.len || f.refresh || grant_answer_has_refresh(object),
                     ret)) {
        snprintf(why, GRANT_WHY_BYTES, "error %s", ret->code);
        return GRANT_ERROR;
    }
    if (!good)
        return broken(why, "refused without an error code");
    enum grant_result result = take_access(&f, in->spec, ret, why);
    const char *lost = secret_empty(&ret->refresh_token) ? lost_refresh(&f, object, ret->whole) : NULL;
    ret->refresh_unfit = lost != NULL;
    if (result == GRANT_TOKEN && lost)
        snprintf(why, GRANT_WHY_BYTES, "%s", lost);
    return result;
}

enum grant_result grant_answer_parse(const struct grant_input *in, struct grant_answer *ret, char *why)
{
    struct grant_answer_shape shape;
    json_t *object = grant_answer_read(in->body, in->cut, &shape);
    ret->html = shape.html;
    ret->whole = object && shape.whole;
    ret->no_memory = shape.no_memory;
    if (!object && in->status > 299 && !shape.html)
        refusal_read_text(in->body, ret);
    if (!object && shape.empty)
        return broken(why, "the response is empty or unreadable");
    if (!object)
        return broken(why,
                      shape.html ? "the response is a web page" : "the response is neither one JSON object nor a form");
    enum grant_result result = take(in, object, ret, why);
    json_decref(object);
    return result;
}

void grant_answer_done(struct grant_answer *a)
{
    secret_done(&a->access_token);
    secret_done(&a->refresh_token);
    json_decref(a->extra);
    a->extra = NULL;
}

int64_t grant_answer_jwt_expiry(struct slice token)
{
    struct slice rest, payload;
    (void)slice_cut(token, '.', &rest);
    payload = slice_cut(rest, '.', &rest);
    if (payload.len == 0 || rest.len == 0)
        return 0;
    struct buf plain;
    buf_init_secret(&plain, GRANT_TOKEN_MAX);
    int64_t at = 0;
    if (str_add_unbase64(&plain, payload) == 0 && plain.len) {
        json_t *claims = grant_answer_strict(buf_slice(&plain));
        double exp = grant_answer_number(json_object_get(claims, "exp"));
        if (exp > 1e9 && exp < 1e11)
            at = (int64_t)(exp * 1000);
        json_decref(claims);
    }
    buf_done(&plain);
    return at;
}
