/* Token answers as the wild has them (RFC 6749 §5.1, §5.2; rules 6.9a, 6.10 and 6.11). */
#include "refresh/grant/grant.h"

#include "base/json_safe.h"
#include "base/str.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define WHY_BYTES 128
#define LIFETIME_MAX_S 2147483647.0 /* as 32-bit clients clamp it */

static enum grant_result broken(char *why, const char *text)
{
    snprintf(why, WHY_BYTES, "%s", text);
    return GRANT_BROKEN;
}

/* {"a": "b"} of a=b: form-encoded answers go the same way as JSON from here on. */
static int form_decode(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '+')
            c = ' ';
        else if (c == '%') {
            char hex[3] = { 0 }, *end = NULL;
            if (text.len - i < 3)
                return -1;
            memcpy(hex, text.ptr + i + 1, 2);
            c = (char)strtoul(hex, &end, 16);
            if (end != hex + 2 || hex[0] == '+' || hex[0] == '-' || hex[0] == ' ')
                return -1;
            i += 2;
        }
        if (buf_add(out, slice_of(&c, 1)) != 0)
            return -1;
    }
    return 0;
}

static int form_member(json_t *object, struct slice pair)
{
    struct slice value, name = slice_cut(pair, '=', &value);
    struct buf key, text;
    buf_init_secret(&key, 256);
    buf_init_secret(&text, 128 * 1024);
    int failed = form_decode(name, &key) || form_decode(value, &text) || key.len == 0;
    if (!failed && slice_find(buf_slice(&key), '\0') == key.len && (failed = buf_add(&key, slice_of("", 1))) == 0)
        failed = json_object_set_new(object, buf_slice(&key).ptr,
                                     json_stringn(text.len ? buf_slice(&text).ptr : "", text.len));
    else
        failed = -1;
    buf_done(&key);
    buf_done(&text);
    return failed;
}

static json_t *parse_form(struct slice body)
{
    json_t *object = json_object();
    for (struct slice rest = body; object && rest.len;) {
        struct slice pair = slice_cut(rest, '&', &rest);
        if (slice_find(pair, '=') == pair.len || json_object_size(object) >= 64 || form_member(object, pair) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static struct slice skip_space(struct slice s)
{
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t' || s.ptr[0] == '\r' || s.ptr[0] == '\n'))
        s = slice_skip(s, 1);
    while (s.len && (s.ptr[s.len - 1] == '\n' || s.ptr[s.len - 1] == '\r'))
        s.len--;
    return s;
}

/* Deep nesting is an attack on the parser's stack and on everybody after it; a token answer is flat. */
static bool too_deep(struct slice json)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < json.len; i++) {
        char c = json.ptr[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '{' || c == '['))
            depth++;
        else if (!in_string && (c == '}' || c == ']'))
            depth--;
        if (depth > GRANT_ANSWER_DEPTH)
            return true;
    }
    return false;
}

static json_t *parse_object(struct slice body)
{
    body = skip_space(body);
    if (body.len >= 3 && memcmp(body.ptr, "\xef\xbb\xbf", 3) == 0)
        body = slice_skip(body, 3);
    if (body.len == 0 || body.ptr[0] == '<' || too_deep(body))
        return NULL;
    if (body.ptr[0] != '{')
        return parse_form(body);
    json_t *root = json_safe_load(body, 0, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        return NULL;
    }
    return root;
}

static struct slice text_of(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);
    return json_is_string(v) ? slice_of(json_string_value(v), json_string_length(v)) : SLICE("");
}

/* A number, also when it comes as a string.  NAN: absent or no number. */
static double number_of(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);
    if (json_is_number(v))
        return json_number_value(v);
    struct slice text = slice_trim(text_of(object, name));
    char copy[32], *end = NULL;
    if (text.len == 0 || text.len >= sizeof copy || ((text.ptr[0] < '0' || text.ptr[0] > '9') && text.ptr[0] != '-'))
        return (double)NAN;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    double value = strtod(copy, &end);
    return *end == '\0' ? value : (double)NAN;
}

/* A duration in seconds as milliseconds; 0: absent, not positive, not a number. */
static int64_t duration_ms(const json_t *object, const char *name)
{
    double seconds = number_of(object, name);
    if (!(seconds > 0))
        return 0;
    return (int64_t)((seconds < LIFETIME_MAX_S ? seconds : LIFETIME_MAX_S) * 1000);
}

/* RFC 3339: 2026-01-02T03:04:05[.678](Z|+01:00). */
static int64_t iso_ms(struct slice text)
{
    char copy[48];
    struct tm utc = { 0 };
    if (text.len == 0 || text.len >= sizeof copy)
        return 0;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    const char *at = strptime(copy, "%Y-%m-%d", &utc);
    if (!at || (*at != 'T' && *at != 't' && *at != ' ') || !(at = strptime(at + 1, "%H:%M:%S", &utc)))
        return 0;
    if (*at == '.')
        at += 1 + strspn(at + 1, "0123456789");
    int hours = 0, minutes = 0, used = 0;
    char sign = '+';
    if (strcmp(at, "Z") != 0 && strcmp(at, "z") != 0
        && (sscanf(at, "%c%2d:%2d%n", &sign, &hours, &minutes, &used) != 3 || at[used] != '\0'
            || (sign != '+' && sign != '-') || hours < 0 || hours > 23 || minutes < 0 || minutes > 59))
        return 0;
    int64_t offset_s = (hours * 60 + minutes) * 60;
    int64_t seconds = (int64_t)timegm(&utc) - (sign == '-' ? -offset_s : offset_s);
    return seconds > 0 ? seconds * 1000 : 0;
}

/* A point in time: ISO text, or seconds (or, when absurd as such, milliseconds) since 1970. */
static int64_t moment_ms(const json_t *object, const char *name)
{
    int64_t iso = iso_ms(text_of(object, name));
    if (iso)
        return iso;
    double value = number_of(object, name);
    if (!(value > 1e9) || value > 1e14)
        return 0;
    return (int64_t)(value > 1e11 ? value : value * 1000);
}

static const char *const token_names[] = { "access_token", "accessToken", "token", NULL };
static const char *const moment_names[] = { "expires_at",          "expireTime",   "expires_on", "expiresAt",
                                            "expirationTimestamp", "token_expiry", NULL };
/* Objects that a token may lie in: Slack's user tokens, Kubernetes' ExecCredential, gcloud's config-helper. */
static const char *const inner_names[] = { "authed_user", "status", "credential", NULL };

static struct slice find_token(const json_t *object)
{
    for (const char *const *name = token_names; *name; name++)
        if (text_of(object, *name).len)
            return text_of(object, *name);
    return SLICE("");
}

static void read_times(const json_t *object, struct grant_answer *ret)
{
    ret->lifetime_ms = duration_ms(object, "expires_in_sec"); /* Zoho: "expires_in" beside it is in milliseconds */
    if (ret->lifetime_ms == 0)
        ret->lifetime_ms = duration_ms(object, "expires_in");
    ret->refresh_in_ms = duration_ms(object, "refresh_in");
    for (const char *const *name = moment_names; *name && ret->lifetime_ms == 0 && ret->expires_wall_ms == 0; name++)
        ret->expires_wall_ms = moment_ms(object, *name);
}

/* RFC 9110 §5.5: visible ASCII and inner spaces; a token that cannot be a header value is refused here, not when it is
 * used. */
static bool fit_for_header(struct slice token)
{
    for (size_t i = 0; i < token.len; i++)
        if (token.ptr[i] <= ' ' || token.ptr[i] >= 0x7f)
            return false;
    return true;
}

static void copy_code(struct slice code, char *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < code.len && n < GRANT_CODE_MAX; i++) {
        char c = code.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-'
                     || c == '.';
        ret[n++] = plain ? c : '_';
    }
    ret[n] = '\0';
}

/* {"error": "code"}, {"error": {"code" or "type": "code"}}, {"ok": false, "error": "code"}, {"errorCode": …}. */
static bool find_error(int status, const json_t *object, struct grant_answer *ret)
{
    const json_t *error = json_object_get(object, "error");
    struct slice code = text_of(object, "error");
    if (json_is_object(error)) {
        code = text_of(error, "code");
        if (code.len == 0)
            code = text_of(error, "type");
        if (code.len == 0)
            code = text_of(error, "status");
        if (code.len == 0)
            code = SLICE("unknown_error");
    }
    if (code.len == 0 && json_is_false(json_object_get(object, "ok")))
        code = SLICE("not_ok");
    if (code.len == 0 && status == 401 && text_of(object, "message").len && text_of(object, "documentation_url").len)
        /* GitHub has no codes; a gateway in between would not point to its documentation */
        code = SLICE("bad_credentials");
    copy_code(code, ret->code);
    return code.len > 0;
}

/* Members that are held elsewhere, or that must not lie about in a document for humans. */
static json_t *other_members(json_t *object)
{
    static const char *const known[] = { "access_token",
                                         "accessToken",
                                         "token",
                                         "refresh_token",
                                         "refreshToken",
                                         "expires_in",
                                         "expires_in_sec",
                                         "expires_at",
                                         "expireTime",
                                         "expires_on",
                                         "expiresAt",
                                         "refresh_in",
                                         "id_token",
                                         "ok",
                                         "expirationTimestamp",
                                         "token_expiry",
                                         "clientKeyData",
                                         "clientCertificateData",
                                         NULL };
    const json_t *scope = json_object_get(object, "scope");
    for (const char *const *name = known; *name; name++)
        (void)json_object_del(object, *name);
    if (scope && !(json_is_string(scope) && json_string_length(scope)))
        (void)json_object_del(object, "scope");
    return json_object_size(object) ? json_incref(object) : NULL;
}

static enum grant_result take(json_t *object, struct grant_answer *ret, char *why)
{
    struct slice token = find_token(object), refresh = text_of(object, "refresh_token");
    for (const char *const *name = inner_names; *name && token.len == 0; name++) {
        json_t *inner = json_object_get(object, *name);
        if (json_is_object(inner) && find_token(inner).len)
            return take(inner, ret, why);
    }
    if (token.len == 0)
        return broken(why, "no access_token in the answer");
    if (token.len > GRANT_TOKEN_MAX)
        return broken(why, "the access token is longer than 16 KiB");
    if (!fit_for_header(token))
        return broken(why, "the access token holds bytes that no header may carry");
    if (refresh.len > GRANT_REFRESH_MAX)
        return broken(why, "the refresh token is longer than 64 KiB");
    read_times(object, ret);
    if (secret_set(&ret->access_token, token) != 0 || secret_set(&ret->refresh_token, refresh) != 0)
        return broken(why, "out of memory");
    ret->extra = other_members(object);
    return GRANT_TOKEN;
}

enum grant_result grant_parse(int status, struct slice body, struct grant_answer *ret, char *why)
{
    struct slice start = skip_space(body);
    ret->html = start.len && start.ptr[0] == '<';
    json_t *object = parse_object(body);
    enum grant_result result;
    if (!object)
        return broken(why, start.len == 0 ? "the answer is empty"
                           : ret->html    ? "the answer is a web page"
                                          : "the answer is neither JSON nor a form");
    if (find_error(status, object, ret)) {
        snprintf(why, WHY_BYTES, "error %s", ret->code);
        result = GRANT_ERROR;
    } else if (status > 299)
        result = broken(why, "refused without an error code");
    else
        result = take(object, ret, why);
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

int64_t grant_jwt_expiry(struct slice token)
{
    struct slice rest, payload;
    (void)slice_cut(token, '.', &rest);
    payload = slice_cut(rest, '.', &rest);
    if (payload.len == 0 || rest.len == 0)
        return 0;
    struct buf plain;
    buf_init_secret(&plain, GRANT_TOKEN_MAX);
    int64_t at = 0;
    if (str_add_unbase64(&plain, payload) == 0 && plain.len && !too_deep(buf_slice(&plain))) {
        json_t *claims = json_safe_load(buf_slice(&plain), 0, NULL);
        double exp = number_of(claims, "exp");
        if (exp > 1e9 && exp < 1e11)
            at = (int64_t)(exp * 1000);
        json_decref(claims);
    }
    buf_done(&plain);
    return at;
}
