/* Token responses that are almost JSON: text before or behind the object, bytes that are no UTF-8, numbers beyond every
 * type, nesting without end, members that come twice.  What cannot be had again is in them all the same.
 *
 * Nothing here searches text for names: an object is followed from its brace to its end, strings and nesting included,
 * so that what somebody chose as a value (a display name) stays a value.  Anything that does not fit ends it. */
#include "refresh/grant/grant_answer_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define TREE_DEPTH 6     /* deeper levels are passed over, not kept */
#define TREE_NODES 2048  /* so are members without a meaning beyond this many */
#define TREE_LIMIT 65536 /* with as many that have one, it is no response */
#define WORD_BYTES 64

enum outcome {
    WELL,
    NO_MEMORY,
    BAD,       /* it does not go on as JSON does */
    ENDED,     /* the text is over, between two tokens */
    IN_STRING, /* … or within a string: a quote has no partner */
};

struct reader {
    const char *at, *end;
    size_t kept; /* values in the tree */
};

static enum outcome read_value(struct reader *r, int depth, json_t **ret);

/* ---- tokens ---- */

static void skip_space(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\r' || *r->at == '\n'))
        r->at++;
}

static int hex4(const struct reader *r)
{
    char digits[5] = { 0 };
    if (r->end - r->at < 4)
        return -1;
    memcpy(digits, r->at, 4);
    return strspn(digits, "0123456789abcdefABCDEF") == 4 ? (int)strtol(digits, NULL, 16) : -1;
}

/* Behind the backslash.  -1: nothing that a token could hold. */
static int escaped(struct reader *r)
{
    char c = *r->at++;
    int unit = c == 'u' ? hex4(r) : -1;
    if (unit >= 0)
        r->at += 4;
    if (c == 'u')
        return unit;
    const char *names = "nrt", *name = c ? strchr(names, c) : NULL;
    if (name)
        return "\n\r\t"[name - names];
    return c == '"' || c == '\\' || c == '/' ? c : -1;
}

/* From behind the opening quote to behind the closing one.  VSCHAR is kept (RFC 6749 A), and space, which may stand
 * around a token; *ret_fit: there was nothing else. */
static enum outcome read_string(struct reader *r, struct buf *out, bool *ret_fit)
{
    *ret_fit = true;
    while (r->at < r->end) {
        int c = (unsigned char)*r->at++;
        if (c == '"')
            return WELL;
        if (c == '\\' && r->at == r->end)
            break;
        if (c == '\\')
            c = escaped(r);
        bool good = (c >= ' ' && c <= '~') || c == '\n' || c == '\r' || c == '\t';
        if (!good || buf_space(out) == 0)
            *ret_fit = false;
        else if (*ret_fit && buf_add(out, slice_of(&(char){ (char)c }, 1)) != 0)
            return NO_MEMORY;
    }
    return IN_STRING;
}

/* Past a string, whatever is in it. */
static enum outcome pass_string(struct reader *r)
{
    for (; r->at < r->end; r->at++) {
        if (*r->at == '"') {
            r->at++;
            return WELL;
        }
        if (*r->at == '\\' && ++r->at == r->end)
            break;
    }
    return IN_STRING;
}

/* What jansson can print. */
static double bounded(double number)
{
    if (number > 1e300)
        return 1e300;
    return number < -1e300 ? -1e300 : number;
}

/* true, false, null, numbers, and words that are none of them (NaN): from the first letter to behind the last. */
static enum outcome read_word(struct reader *r, json_t **ret)
{
    const char *start = r->at;
    char word[WORD_BYTES + 1] = "", *stop = word;
    while (r->at < r->end
           && ((*r->at >= '0' && *r->at <= '9') || ((*r->at | 32) >= 'a' && (*r->at | 32) <= 'z') || *r->at == '-'
               || *r->at == '+' || *r->at == '.'))
        r->at++;
    size_t len = (size_t)(r->at - start);
    if (len == 0)
        return BAD;
    if (r->at == r->end)
        return ENDED; /* it may have gone on */
    memcpy(word, start, len < WORD_BYTES ? len : WORD_BYTES);
    double number = strtod(word, &stop);
    bool is_number = stop != word && (*stop == '\0' || len > WORD_BYTES) && !isnan(number)
                     && (*word == '-' || (*word >= '0' && *word <= '9'));
    if (is_number)
        *ret = json_real(bounded(len > WORD_BYTES ? 1e300 : number));
    else if (strcmp(word, "true") == 0)
        *ret = json_true();
    else
        *ret = strcmp(word, "false") == 0 ? json_false() : json_null();
    return *ret ? WELL : NO_MEMORY;
}

/* Past an object or a list, from its bracket to behind its end: no recursion, however deep it is. */
static enum outcome pass_nested(struct reader *r)
{
    size_t depth = 0;
    while (r->at < r->end) {
        char c = *r->at++;
        if (c == '"') {
            enum outcome o = pass_string(r);
            if (o != WELL)
                return o;
        } else if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && --depth == 0)
            return WELL;
    }
    return ENDED;
}

/* ---- the tree ---- */

static enum outcome read_text(struct reader *r, json_t **ret)
{
    struct buf text;
    bool fit;
    buf_init_secret(&text, GRANT_REFRESH_MAX + 1);
    r->at++;
    enum outcome o = read_string(r, &text, &fit);
    struct slice s = buf_slice(&text);
    const char *chars = s.len ? s.ptr : "";
    if (o == WELL)
        *ret = fit ? json_stringn(chars, s.len) : json_string(GRANT_ANSWER_UNFIT);
    if (o == WELL && !*ret)
        o = NO_MEMORY;
    buf_done(&text);
    return o;
}

/* Names that something may depend on are kept however many others there are: a second one must be seen. */
static bool has_meaning(const char *name)
{
    return strcasestr(name, "token") || strcasestr(name, "expir") || strcasestr(name, "error")
           || strcmp(name, "data") == 0 || strcmp(name, "result") == 0 || strcmp(name, "status") == 0;
}

/* Takes over value.  A member that comes again with another value is nobody's (RFC 8259 §4: who sends it cannot know
 * which one is read). */
static enum outcome set_member(struct reader *r, json_t *object, const char *name, json_t *value)
{
    const json_t *old = json_object_get(object, name);
    if (!old && r->kept >= TREE_NODES && (r->kept >= TREE_LIMIT || !has_meaning(name))) {
        json_decref(value);
        return has_meaning(name) ? BAD : WELL;
    }
    r->kept += !old;
    if (old && !json_equal(old, value)) {
        json_decref(value);
        value = json_string(GRANT_ANSWER_UNFIT);
    }
    return json_object_set_new(object, name, value) == 0 ? WELL : NO_MEMORY;
}

static enum outcome read_member(struct reader *r, int depth, json_t *object)
{
    char name[257];
    struct buf text;
    bool fit;
    json_t *value = NULL;
    if (*r->at++ != '"')
        return BAD;
    buf_init(&text, sizeof name - 1);
    enum outcome o = read_string(r, &text, &fit);
    snprintf(name, sizeof name, "%.*s", (int)text.len, text.len ? buf_slice(&text).ptr : "");
    buf_done(&text);
    skip_space(r);
    if (o == WELL && r->at == r->end)
        o = ENDED;
    else if (o == WELL)
        o = *r->at++ == ':' ? WELL : BAD;
    if (o == WELL)
        o = read_value(r, depth, &value);
    if (!value || !fit) { /* a name that is none of ours */
        json_decref(value);
        return o;
    }
    enum outcome kept = set_member(r, object, name, value);
    return kept == WELL ? o : kept;
}

/* Behind a member: a comma, or the bracket. */
static enum outcome read_separator(struct reader *r, char bracket, bool *ret_done)
{
    skip_space(r);
    if (r->at == r->end)
        return ENDED;
    char c = *r->at++;
    *ret_done = c == bracket;
    if (c != bracket && c != ',')
        return BAD;
    skip_space(r);
    return WELL;
}

static enum outcome read_object(struct reader *r, int depth, json_t **ret)
{
    bool done = false;
    enum outcome o = WELL;
    *ret = json_object();
    if (!*ret)
        return NO_MEMORY;
    r->at++;
    skip_space(r);
    while (o == WELL && !done) {
        if (r->at == r->end)
            return ENDED;
        if (*r->at == '}') { /* also behind a last comma */
            r->at++;
            return WELL;
        }
        o = read_member(r, depth, *ret);
        if (o == WELL)
            o = read_separator(r, '}', &done);
    }
    return o;
}

static enum outcome read_list(struct reader *r, int depth, json_t **ret)
{
    bool done = false;
    enum outcome o = WELL;
    *ret = json_array();
    if (!*ret)
        return NO_MEMORY;
    r->at++;
    skip_space(r);
    while (o == WELL && !done) {
        json_t *value = NULL;
        if (r->at == r->end)
            return ENDED;
        if (*r->at == ']') {
            r->at++;
            return WELL;
        }
        o = read_value(r, depth, &value);
        if (value && r->kept < TREE_NODES && json_array_append(*ret, value) != 0)
            o = NO_MEMORY;
        r->kept += r->kept < TREE_NODES;
        json_decref(value);
        if (o == WELL)
            o = read_separator(r, ']', &done);
    }
    return o;
}

/* *ret: what there is of it, also when the text ends in it; NULL: nothing. */
static enum outcome read_value(struct reader *r, int depth, json_t **ret)
{
    skip_space(r);
    if (r->at == r->end)
        return ENDED;
    char c = *r->at;
    if (c == '"')
        return read_text(r, ret);
    if (c != '{' && c != '[')
        return read_word(r, ret);
    if (depth < TREE_DEPTH)
        return c == '{' ? read_object(r, depth + 1, ret) : read_list(r, depth + 1, ret);
    enum outcome o = pass_nested(r);
    *ret = o == WELL ? json_null() : NULL;
    return o;
}

/* ---- the one object in a text ---- */

/* An object that has members begins with a brace and a quote: what else has braces (style sheets, PHP's dumps) is text.
 * NULL: no more of them. */
static const char *next_object(const char *at, const char *end)
{
    while (at < end && (at = memchr(at, '{', (size_t)(end - at)))) {
        struct reader r = { at + 1, end, 0 };
        skip_space(&r);
        if (r.at < end && *r.at == '"')
            return at;
        at++;
    }
    return NULL;
}

/* The text around the object has such a member itself, in whatever format: then the object may be somebody's value. */
static bool speaks_of_tokens(struct slice text)
{
    static const char *const names[] = { "access_token",  "access-token", "accesstoken", "refresh_token",
                                         "refresh-token", "refreshtoken", "id_token" };
    for (size_t i = 0; i + 8 <= text.len; i++)
        for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
            size_t len = strlen(names[n]);
            if (text.len - i <= len || strncasecmp(text.ptr + i, names[n], len) != 0)
                continue;
            size_t at = i + len;
            while (at < text.len && (text.ptr[at] == ' ' || text.ptr[at] == '"' || text.ptr[at] == '\''))
                at++;
            if (at < text.len && memchr(":=>", text.ptr[at], 3))
                return true;
        }
    return false;
}

/* An object without its end is one only where nothing stands before it: else that may be somebody's text, and what
 * follows would be its value. */
static bool usable(enum outcome o, bool cut, bool first)
{
    return o == WELL || (o == ENDED && first) || (o == IN_STRING && cut && first);
}

json_t *grant_answer_lenient(struct slice text, bool cut, struct grant_answer_shape *ret)
{
    const char *end = text.ptr + text.len, *start = next_object(text.ptr, end);
    struct reader r = { start, end, 0 };
    json_t *object = NULL;
    if (!start)
        return NULL;
    enum outcome o = read_object(&r, 0, &object);
    ret->whole = o == WELL;
    ret->no_memory = o == NO_MEMORY;
    if (usable(o, cut, start == text.ptr) && !next_object(r.at, end)
        && !speaks_of_tokens(slice_of(text.ptr, (size_t)(start - text.ptr)))
        && !speaks_of_tokens(slice_of(r.at, (size_t)(end - r.at))))
        return object;
    json_decref(object);
    return NULL;
}
