#include "refresh/grant/refusal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#define COMMON_BYTES 8 /* so much in common with a secret is no chance */
#define WORD_BYTES 20  /* the longest word that may look like a token */

static struct slice text_of(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);
    return json_is_string(v) ? slice_of(json_string_value(v), json_string_length(v)) : SLICE("");
}

static struct slice first_text(const json_t *object, const char *const *names)
{
    for (; *names; names++)
        if (text_of(object, *names).len)
            return text_of(object, *names);
    return SLICE("");
}

/* ---- the code ---- */

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

/* A code that is a number: WeChat, Meta, Reddit (its error is the HTTP status). */
static bool number_code(const json_t *object, const char *name, struct grant_answer *ret)
{
    const json_t *v = json_object_get(object, name);
    if (!json_is_integer(v) || json_integer_value(v) == 0)
        return false;
    snprintf(ret->code, sizeof ret->code, "%" PRId64, (int64_t)json_integer_value(v));
    return true;
}

/* {"error": "code"} (RFC 6749), {"error": {"code" | "type" | "status" | "errorId": "code"}} (OpenAI, Google, Yahoo),
 * {"ok": false} (Slack). */
static bool oauth_code(const json_t *object, struct grant_answer *ret)
{
    static const char *const inner[] = { "error", "code", "type", "status", "errorId", "reason", NULL };
    const json_t *error = json_object_get(object, "error");
    struct slice code = text_of(object, "error");
    if (json_is_object(error)) {
        code = first_text(error, inner);
        if (code.len == 0)
            code = SLICE("unknown_error");
    }
    if (code.len == 0 && json_is_false(json_object_get(object, "ok")))
        code = SLICE("not_ok");
    copy_code(code, ret->code);
    return code.len > 0;
}

/* The first of errors: [{"code" | "errorType" | "type": "code"}] (Strava, Fitbit), ["code"]. */
static const json_t *first_error(const json_t *object)
{
    const json_t *list = json_object_get(object, "errors");
    if (json_is_object(list))
        return list;
    return json_array_get(list, 0); /* NULL when it is no array, or empty */
}

static struct slice listed_code(const json_t *object)
{
    static const char *const inner[] = { "errorType", "code", "type", "error", "name", NULL };
    const json_t *one = first_error(object);
    return json_is_string(one) ? slice_of(json_string_value(one), json_string_length(one)) : first_text(one, inner);
}

/* A word, not a number (of HTTP) and no mere "error". */
static struct slice status_code(const json_t *object)
{
    static const char *const plain[] = { "error", "fail", "failed", "failure", "ok", "success", NULL };
    struct slice code = text_of(object, "status");
    if (code.len && isdigit((unsigned char)code.ptr[0]))
        return SLICE("");
    for (const char *const *word = plain; *word; word++)
        if (code.len == strlen(*word) && strncasecmp(code.ptr, *word, code.len) == 0)
            return SLICE("");
    return code;
}

/* HubSpot's status, IBM's errorCode, AWS' __type, Apigee's fault, Feishu's and WeChat's numbers. */
static bool vendor_code(int status, const json_t *object, struct grant_answer *ret)
{
    static const char *const names[] = { "errorCode", "error_code", "errcode", "code", "__type", NULL };
    static const char *const numbers[] = { "error", "errcode", "error_code", "code", NULL };
    struct slice code = listed_code(object);
    if (code.len == 0)
        code = first_text(object, names);
    if (code.len == 0)
        code = status_code(object);
    if (code.len == 0)
        code = text_of(json_object_get(json_object_get(object, "fault"), "detail"), "errorcode");
    /* GitHub has no codes; a gateway in between would not point to its documentation */
    if (code.len == 0 && status == 401 && text_of(object, "message").len && text_of(object, "documentation_url").len)
        code = SLICE("bad_credentials");
    copy_code(code, ret->code);
    for (const char *const *name = numbers; code.len == 0 && *name; name++)
        if (number_code(object, *name, ret))
            return true;
    return code.len > 0;
}

/* 0 and its like, and the words that go with them. */
static bool is_success(struct slice word)
{
    static const char *const plain[] = { "0", "00000", "200", "ok", "success", "succeeded", "successful", NULL };
    for (const char *const *p = plain; *p; p++)
        if (word.len == strlen(*p) && strncasecmp(word.ptr, *p, word.len) == 0)
            return true;
    return false;
}

/* Tokens may lie in what we do not look into. */
static bool holds_more(const json_t *object)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        (void)name;
        if (json_object_size(value) || json_array_size(value))
            return true;
    }
    return false;
}

/* An error under a status of success: WeChat; Feishu and Lazada (a code beside words); AliExpress (an object of its
 * own). */
static bool code_of_success(const json_t *object, struct grant_answer *ret)
{
    static const char *const words[] = { "message", "msg", "errmsg", "error_description", NULL };
    const json_t *inner = json_object_get(object, "error_response"), *home = json_is_object(inner) ? inner : object;
    struct slice code = text_of(home, "code"), said = first_text(home, words);
    copy_code(listed_code(object), ret->code);
    if (ret->code[0] || number_code(object, "errcode", ret))
        return true;
    if (said.len == 0 || is_success(said) || is_success(code) || holds_more(home))
        return false;
    copy_code(code, ret->code);
    bool numbered = code.len == 0 && number_code(home, "code", ret) && !is_success(slice_str(ret->code));
    if (code.len == 0 && !numbered)
        ret->code[0] = '\0';
    return code.len || numbered;
}

/* ---- the words ---- */

static void add_said(struct grant_answer *ret, struct slice text)
{
    size_t n = strlen(ret->said);
    if (text.len && n && n + 2 < GRANT_SAID_MAX) {
        ret->said[n++] = ' ';
        ret->said[n] = '\0';
    }
    for (size_t i = 0; i < text.len && n < GRANT_SAID_MAX; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        ret->said[n++] = c >= ' ' && c < 0x7f && c != '"' ? (char)c : ' ';
    }
    ret->said[n] = '\0';
}

static void read_said(const json_t *object, struct grant_answer *ret)
{
    static const char *const names[] = { "error_description",
                                         "errorDescription",
                                         "message",
                                         "error_message",
                                         "errorMessage",
                                         "description",
                                         "detail",
                                         "msg",
                                         "errmsg",
                                         "reason",
                                         "error_name",
                                         "title",
                                         NULL };
    static const char *const listed[] = { "resource", "field", "code", "message", "detail", "title", NULL };
    const json_t *error = json_object_get(object, "error"), *one = first_error(object);
    add_said(ret, first_text(object, names));
    add_said(ret, first_text(json_object_get(object, "error_response"), names));
    if (json_is_string(one) && memchr(json_string_value(one), ' ', json_string_length(one)))
        add_said(ret, listed_code(object));  /* a sentence */
    add_said(ret, first_text(error, names)); /* NULL or no object: nothing */
    for (const char *const *name = listed; *name; name++)
        add_said(ret, text_of(one, *name));
    if (ret->said[0] == '\0' && text_of(object, "error").len > strspn(ret->code, "abcdefghijklmnopqrstuvwxyz_"))
        add_said(ret, text_of(object, "error")); /* a sentence in the place of the code: Withings */
}

bool refusal_read(int status, const json_t *object, bool has_token, struct grant_answer *ret)
{
    ret->code[0] = ret->said[0] = '\0';
    bool is_error = oauth_code(object, ret);
    if (!is_error && status > 299)
        is_error = vendor_code(status, object, ret);
    else if (!is_error && !has_token)
        is_error = code_of_success(object, ret);
    if (is_error || status > 299)
        read_said(object, ret);
    return is_error;
}

void refusal_read_text(struct slice body, struct grant_answer *ret)
{
    ret->said[0] = '\0';
    while (body.len && (body.ptr[body.len - 1] == '\n' || body.ptr[body.len - 1] == '\r'))
        body.len--;
    if (body.len > GRANT_SAID_MAX)
        return;
    for (size_t i = 0; i < body.len; i++)
        if (body.ptr[i] < ' ' || body.ptr[i] >= 0x7f)
            return;
    add_said(ret, body);
}

/* ---- what nobody may read ---- */

static bool is_word_byte(char c)
{
    return isalnum((unsigned char)c) || strchr("-._~+/=%", c) != NULL;
}

static void blot(char *text, size_t len)
{
    memset(text, '*', len);
}

static void hide_words(char *said)
{
    for (size_t at = 0; said[at];) {
        size_t len = 0, digits = 0, capitals = 0, smalls = 0;
        while (said[at + len] && is_word_byte(said[at + len])) {
            smalls += islower((unsigned char)said[at + len]) != 0;
            digits += isdigit((unsigned char)said[at + len]) != 0;
            capitals += isupper((unsigned char)said[at + len]) != 0;
            len++;
        }
        if (len > WORD_BYTES && (digits > 1 || (capitals > 5 && smalls)))
            blot(said + at, len);
        at += len ? len : 1;
    }
}

static void hide_common(char *said, struct slice secret)
{
    size_t len = strlen(said), window = secret.len < COMMON_BYTES ? secret.len : COMMON_BYTES;
    char copy[GRANT_SAID_MAX + 1];
    memcpy(copy, said, len + 1);
    for (size_t i = 0; window && i + window <= len; i++)
        if (memmem(secret.ptr, secret.len, copy + i, window))
            blot(said + i, window);
    explicit_bzero(copy, sizeof copy);
}

void refusal_hide(char *said, struct slice secret)
{
    hide_common(said, secret);
    hide_words(said);
}
