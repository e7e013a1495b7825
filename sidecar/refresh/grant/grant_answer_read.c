/* From the bytes of a response to one document: strictly first, and leniently only where that fails. */
#include "refresh/grant/grant_answer_private.h"

#include "base/json_safe.h"

#include <stdlib.h>

#define STRICT_DEPTH 16 /* deeper, or with more than … */
#define STRICT_VALUES                                                                                                  \
    8192 /* … so many values, a tree of it would be an attack on us: the lenient reader keeps little */
#define FORM_PAIRS 64

/* ---- forms ---- */

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

/* A text in another charset than UTF-8 is no token; a name that comes again with another value is nobody's. */
static int form_set(json_t *object, const char *name, struct slice text)
{
    json_t *value = json_stringn(text.len ? text.ptr : "", text.len), *old = json_object_get(object, name);
    if (!value)
        value = json_string(GRANT_ANSWER_UNFIT);
    if (old && !json_equal(old, value)) {
        json_decref(value);
        value = json_string(GRANT_ANSWER_UNFIT);
    }
    return json_object_set_new(object, name, value);
}

static int form_member(json_t *object, struct slice pair)
{
    struct slice value, name = slice_cut(pair, '=', &value);
    if (slice_starts(name, SLICE("amp;"))) /* written for a web page */
        name = slice_skip(name, 4);
    struct buf key, text;
    buf_init_secret(&key, 256);
    buf_init_secret(&text, 128 * 1024);
    bool bad = form_decode(value, &text) != 0;
    int failed = form_decode(name, &key) || key.len == 0 || slice_find(buf_slice(&key), '\0') != key.len
                 || buf_add(&key, slice_of("", 1)) != 0;
    if (!failed)
        failed = form_set(object, buf_slice(&key).ptr, bad ? SLICE(GRANT_ANSWER_UNFIT) : buf_slice(&text));
    buf_done(&key);
    buf_done(&text);
    return failed;
}

/* {"a": "b"} of a=b: form-encoded responses go the same way as JSON from here on.  A blank at the end is no value's:
 * that would be escaped.  cut: the last pair may go on. */
static json_t *parse_form(struct slice body, bool cut)
{
    json_t *object = json_object();
    body = slice_trim(body);
    while (cut && body.len && body.ptr[body.len - 1] != '&')
        body.len--;
    for (struct slice rest = body; object && rest.len;) {
        struct slice pair = slice_cut(rest, '&', &rest);
        if (pair.len && (json_object_size(object) >= FORM_PAIRS || form_member(object, pair) != 0)) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

/* What some put before the first name. */
static struct slice form_start(struct slice body)
{
    while (body.len && memchr("&?#", body.ptr[0], 3))
        body = slice_skip(body, 1);
    return body;
}

/* A name, then "=".  What looks like a form is never searched for an object: that would be a value in it. */
static bool is_form(struct slice body)
{
    size_t i = 0;
    while (i < body.len
           && ((body.ptr[i] >= 'a' && body.ptr[i] <= 'z') || (body.ptr[i] >= 'A' && body.ptr[i] <= 'Z')
               || (body.ptr[i] >= '0' && body.ptr[i] <= '9') || memchr("_-.%", body.ptr[i], 4)))
        i++;
    return i < body.len && body.ptr[i] == '=';
}

/* ---- JSON ---- */

/* Deep nesting is an attack on the parser's stack and on everybody after it. */
static bool too_large_a_tree(struct slice json)
{
    int depth = 0;
    size_t values = 0;
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
        else if (!in_string && c == ',')
            values++;
        if (depth > STRICT_DEPTH || values > STRICT_VALUES)
            return true;
    }
    return false;
}

json_t *grant_answer_strict(struct slice text)
{
    return too_large_a_tree(text) ? NULL : json_safe_load(text, JSON_REJECT_DUPLICATES, NULL);
}

/* Also as the only element of a list. */
static json_t *parse_json(struct slice body, bool cut, struct grant_answer_shape *ret)
{
    json_t *root = grant_answer_strict(body), *object = root;
    if (!root)
        return grant_answer_lenient(body, cut, ret);
    if (json_is_array(root) && json_array_size(root) == 1)
        object = json_array_get(root, 0);
    object = json_is_object(object) ? json_incref(object) : NULL;
    json_decref(root);
    return object;
}

static struct slice trim(struct slice s)
{
    if (s.len >= 3 && memcmp(s.ptr, "\xef\xbb\xbf", 3) == 0)
        s = slice_skip(s, 3);
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t' || s.ptr[0] == '\r' || s.ptr[0] == '\n' || s.ptr[0] == '\0'))
        s = slice_skip(s, 1);
    if (s.len >= 3 && memcmp(s.ptr, "\xef\xbb\xbf", 3) == 0)
        s = slice_skip(s, 3);
    while (s.len && (s.ptr[s.len - 1] == '\n' || s.ptr[s.len - 1] == '\r' || s.ptr[s.len - 1] == '\0'))
        s.len--;
    return s;
}

json_t *grant_answer_read(struct slice body, bool cut, struct grant_answer_shape *ret)
{
    struct buf plain;
    json_safe_init();
    buf_init_secret(&plain, GRANT_ANSWER_MAX);
    struct slice text = form_start(trim(grant_answer_unpack(body, &plain, &cut) ? buf_slice(&plain) : body));
    bool form = is_form(text);
    *ret = (struct grant_answer_shape){ .html = text.len && text.ptr[0] == '<',
                                        .empty = text.len == 0,
                                        .whole = !form || !cut };
    json_t *object = NULL;
    if (text.len)
        object = form ? parse_form(text, cut) : parse_json(text, cut, ret);
    buf_done(&plain);
    return object;
}
