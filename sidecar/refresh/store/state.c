#include "refresh/store/state.h"

#include "base/json_safe.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TIME_MAX_MS INT64_C(253402300799999) /* the end of the year 9999 */

enum kind { TOKEN, TIME, FINGERPRINT, FINGERPRINTS };

/* Our own members: everything that is not here (and not "generation") is extra. */
static const struct {
    const char *name;
    enum kind kind;
    size_t at;
} members[] = {
    { "access_token", TOKEN, offsetof(struct state, access_token) },
    { "refresh_token", TOKEN, offsetof(struct state, refresh_token) },
    { "alt_refresh", TOKEN, offsetof(struct state, alt_refresh) },
    { "replaced_refresh", TOKEN, offsetof(struct state, replaced_refresh) },
    { "expires_wall_ms", TIME, offsetof(struct state, expires_wall_ms) },
    { "obtained_wall_ms", TIME, offsetof(struct state, obtained_wall_ms) },
    { "refresh_in_ms", TIME, offsetof(struct state, refresh_in_ms) },
    { "refresh_fp", FINGERPRINT, offsetof(struct state, refresh_fp) },
    { "seed_fp", FINGERPRINT, offsetof(struct state, seed_fp) },
    { "dead_fp", FINGERPRINT, offsetof(struct state, dead_fp) },
    { "unread_fp", FINGERPRINT, offsetof(struct state, unread_fp) },
    { "dead_wall_ms", TIME, offsetof(struct state, dead_wall_ms) },
    { "tried", FINGERPRINTS, offsetof(struct state, tried) },
    { "refresh_expires_wall_ms", TIME, offsetof(struct state, refresh_expires_wall_ms) },
};
#define MEMBER_COUNT (sizeof members / sizeof *members)

void state_init(struct state *s)
{
    json_safe_init();
    *s = (struct state){ 0 };
}

void state_done(struct state *s)
{
    secret_done(&s->access_token);
    secret_done(&s->refresh_token);
    secret_done(&s->alt_refresh);
    secret_done(&s->replaced_refresh);
    json_decref(s->extra);
    *s = (struct state){ 0 };
}

bool state_has_tried(const struct state *s, const char *fp)
{
    struct slice rest = slice_str(s->tried);
    while (*fp && rest.len)
        if (slice_eq(slice_cut(rest, ' ', &rest), slice_str(fp)))
            return true;
    return false;
}

void state_add_tried(struct state *s, const char *fp)
{
    char all[sizeof s->tried + 10];
    if (*fp == '\0' || strlen(fp) > 8 || state_has_tried(s, fp))
        return;
    snprintf(all, sizeof all, "%s%s%s", s->tried, s->tried[0] ? " " : "", fp);
    const char *from = all;
    while (strlen(from) >= sizeof s->tried)
        from = strchr(from, ' ') + 1;
    memcpy(s->tried, from, strlen(from) + 1);
}

/* from's content goes to *to; from is empty afterwards. */
static void move_state(struct state *to, struct state *from)
{
    state_done(to);
    *to = *from;
    *from = (struct state){ 0 };
}

int state_copy(struct state *to, const struct state *from)
{
    struct state copy = *from;
    copy.access_token = copy.refresh_token = copy.alt_refresh = copy.replaced_refresh = (struct secret){ 0 };
    copy.extra = NULL;
    int failed = secret_set(&copy.access_token, secret_peek(&from->access_token));
    if (failed == 0)
        failed = secret_set(&copy.refresh_token, secret_peek(&from->refresh_token));
    if (failed == 0)
        failed = secret_set(&copy.alt_refresh, secret_peek(&from->alt_refresh));
    if (failed == 0)
        failed = secret_set(&copy.replaced_refresh, secret_peek(&from->replaced_refresh));
    if (failed == 0 && from->extra && !(copy.extra = json_safe_copy(from->extra)))
        failed = -ENOMEM;
    if (failed == 0)
        move_state(to, &copy);
    else
        state_done(&copy);
    return failed;
}

/* ---- writing ---- */

static bool is_ascii(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] >= 0x80)
            return false;
    return true;
}

static int write_token(const struct secret *token, struct buf *out)
{
    struct slice bytes = secret_peek(token);
    if (is_ascii(bytes)) /* RFC 6749 A.12, A.17: tokens are; but a form-encoded answer can carry any byte */
        return str_add_json(out, bytes);
    int failed = buf_add_str(out, "{\"base64\":\"");
    if (failed == 0)
        failed = str_add_base64(out, bytes);
    return failed ? failed : buf_add_str(out, "\"}");
}

static int64_t clamp_time(int64_t ms)
{
    if (ms < 0)
        return 0;
    return ms > TIME_MAX_MS ? TIME_MAX_MS : ms;
}

static int write_member(const struct state *s, size_t i, struct buf *out)
{
    const void *at = (const char *)s + members[i].at;
    if ((at == &s->replaced_refresh && secret_empty(&s->replaced_refresh)) || (at == s->unread_fp && !s->unread_fp[0]))
        return 0; /* seldom there */
    int failed = buf_printf(out, ",\"%s\":", members[i].name);
    if (failed)
        return failed;
    switch (members[i].kind) {
    case TOKEN: return write_token(at, out);
    case TIME: return buf_printf(out, "%" PRId64, clamp_time(*(const int64_t *)at));
    case FINGERPRINT: return str_add_json(out, slice_of(at, strnlen(at, 8)));
    case FINGERPRINTS: return str_add_json(out, slice_of(at, strnlen(at, sizeof s->tried - 1)));
    }
    return -EINVAL;
}

static bool is_ours(const char *name)
{
    for (size_t i = 0; i < MEMBER_COUNT; i++)
        if (strcmp(name, members[i].name) == 0)
            return true;
    return strcmp(name, "generation") == 0;
}

static int add_chunk(const char *text, size_t len, void *out)
{
    return buf_add(out, slice_of(text, len)) == 0 ? 0 : -1;
}

static int write_extra(const json_t *extra, struct buf *out)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)extra, name, value)
    {
        if (is_ours(name))
            continue;
        int failed = buf_add_str(out, ",");
        if (failed == 0)
            failed = str_add_json(out, slice_str(name));
        if (failed == 0)
            failed = buf_add_str(out, ":");
        if (failed == 0 && json_dump_callback(value, add_chunk, out, JSON_COMPACT | JSON_ENCODE_ANY) != 0)
            failed = -ENOBUFS;
        if (failed)
            return failed;
    }
    return 0;
}

static void cut_back(struct buf *out, size_t len)
{
    if (out->len > len)
        explicit_bzero(out->data + out->start + len, out->len - len);
    out->len = len;
}

int state_write(const struct state *s, struct buf *out)
{
    assert(s->generation <= STATE_GENERATION_MAX);
    size_t before = out->len;
    int failed = buf_printf(out, "{\"generation\":%" PRIu64, s->generation);
    for (size_t i = 0; failed == 0 && i < MEMBER_COUNT; i++)
        failed = write_member(s, i, out);
    if (failed == 0 && s->extra)
        failed = write_extra(s->extra, out);
    if (failed == 0)
        failed = buf_add_str(out, "}");
    if (failed)
        cut_back(out, before);
    return failed;
}

/* ---- reading ---- */

static int read_base64(struct secret *token, struct slice text)
{
    struct buf bytes;
    buf_init_secret(&bytes, text.len + 3); /* it reserves whole groups */
    int failed = str_add_unbase64(&bytes, text);
    if (failed == 0)
        failed = secret_set(token, buf_slice(&bytes));
    buf_done(&bytes);
    return failed;
}

static int read_token(struct secret *token, const json_t *value)
{
    const json_t *packed = json_object_get(value, "base64"); /* NULL when value is no object */
    const json_t *text = packed ? packed : value;
    if (!json_is_string(text))
        return -EINVAL;
    struct slice bytes = slice_of(json_string_value(text), json_string_length(text));
    return packed ? read_base64(token, bytes) : secret_set(token, bytes);
}

static int read_number(int64_t *ret, const json_t *value, int64_t max)
{
    int64_t number = json_integer_value(value); /* 0 when it is no integer */
    if (!json_is_integer(value) || number < 0 || number > max)
        return -EINVAL;
    *ret = number;
    return 0;
}

static int read_fingerprint(char *ret, size_t most, const json_t *value)
{
    if (!json_is_string(value) || json_string_length(value) > most)
        return -EINVAL;
    memcpy(ret, json_string_value(value), json_string_length(value));
    return strlen(ret) == json_string_length(value) ? 0 : -EINVAL;
}

static int read_member(struct state *s, size_t i, const json_t *value)
{
    void *at = (char *)s + members[i].at;
    switch (members[i].kind) {
    case TOKEN: return read_token(at, value);
    case TIME: return read_number(at, value, TIME_MAX_MS);
    case FINGERPRINT: return read_fingerprint(at, 8, value);
    case FINGERPRINTS: return read_fingerprint(at, sizeof s->tried - 1, value);
    }
    return -EINVAL;
}

/* Takes our members out of the object; what is left is extra. */
static int take_members(struct state *s, json_t *object, struct err *e)
{
    const json_t *value = json_object_get(object, "generation");
    int64_t generation = 0;
    if (value && read_number(&generation, value, STATE_GENERATION_MAX) != 0)
        return err_set(e, "member generation: not a whole number >= 0");
    s->generation = (uint64_t)generation;
    (void)json_object_del(object, "generation"); /* fails when it is missing: fine */
    for (size_t i = 0; i < MEMBER_COUNT; i++) {
        value = json_object_get(object, members[i].name);
        int failed = value ? read_member(s, i, value) : 0;
        if (failed)
            return err_set(e, "member %s: %s", members[i].name,
                           failed == -ENOMEM ? "out of memory" : "wrong type or out of range");
        (void)json_object_del(object, members[i].name);
    }
    return 0;
}

int state_read(struct state *s, struct slice json, struct err *e)
{
    json_error_t where; /* its text quotes the document: only the place is told */
    json_t *root = json_safe_load(json, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
    explicit_bzero(where.text, sizeof where.text);
    if (!root)
        return err_set(e, "not JSON, or out of memory, at byte %d", where.position);
    struct state next = { 0 };
    int failed = json_is_object(root) ? take_members(&next, root, e) : err_set(e, "not a JSON object");
    if (failed == 0 && json_object_size(root) > 0)
        next.extra = json_incref(root);
    json_decref(root);
    if (failed == 0)
        move_state(s, &next);
    else
        state_done(&next);
    return failed;
}
