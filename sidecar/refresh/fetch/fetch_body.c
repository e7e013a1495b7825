#include "refresh/fetch/fetch_body.h"

#include "base/str.h"

void fetch_body_init(struct fetch_body *b, size_t cap_bytes)
{
    *b = (struct fetch_body){ .chunked = false };
    buf_init_secret(&b->given, cap_bytes);
    buf_init_secret(&b->raw, cap_bytes);
    buf_init_secret(&b->dechunked, cap_bytes);
}

void fetch_body_done(struct fetch_body *b)
{
    buf_done(&b->given);
    buf_done(&b->raw);
    buf_done(&b->dechunked);
}

/* As much as there is room for.  0; -errno. */
static int add_some(struct buf *to, struct slice bytes)
{
    size_t room = buf_space(to);
    return buf_add(to, slice_of(bytes.ptr, bytes.len < room ? bytes.len : room));
}

bool fetch_body_add(struct fetch_body *b, struct slice bytes)
{
    b->too_large = b->too_large || bytes.len > buf_space(&b->given);
    return add_some(&b->given, bytes) == 0 && !b->too_large;
}

void fetch_body_saw(struct fetch_body *b, struct slice bytes)
{
    (void)!add_some(&b->raw, bytes);
}

/* The size at the start of a chunk, from its line; false: that is no such line. */
static bool chunk_size(struct slice line, size_t *ret)
{
    size_t n = 0, digits = 0;
    for (int value; digits < line.len && digits < 16 && (value = str_hex_value(line.ptr[digits])) >= 0; digits++)
        n = n * 16 + (size_t)value;
    *ret = n;
    return digits > 0
           && (digits == line.len || line.ptr[digits] == ';' || line.ptr[digits] == ' ' || line.ptr[digits] == '\r');
}

/* Chunks as long as they can be followed; from there on the bytes as they are. */
static void dechunk(struct fetch_body *b, struct slice rest)
{
    buf_clear(&b->dechunked);
    while (rest.len) {
        struct slice behind, line = slice_cut(rest, '\n', &behind);
        size_t size;
        if (!chunk_size(line, &size))
            break;
        if (size == 0)
            return;
        rest = behind;
        if (add_some(&b->dechunked, slice_of(rest.ptr, size < rest.len ? size : rest.len)) != 0)
            return;
        rest = slice_skip(rest, size);
        if (rest.len && rest.ptr[0] == '\r')
            rest = slice_skip(rest, 1);
        if (rest.len == 0 || rest.ptr[0] != '\n')
            break;
        rest = slice_skip(rest, 1);
    }
    (void)!add_some(&b->dechunked, rest);
}

/* It ends as JSON does: what came behind it is something else. */
static bool is_closed(struct slice body)
{
    while (body.len && memchr(" \t\r\n", body.ptr[body.len - 1], 4))
        body.len--;
    return body.len && memchr("}]", body.ptr[body.len - 1], 2);
}

struct slice fetch_body_get(struct fetch_body *b, bool broken)
{
    struct slice given = buf_slice(&b->given), raw = buf_slice(&b->raw);
    struct slice longer = raw.len > given.len ? raw : given;
    if (b->chunked) {
        dechunk(b, broken ? longer : given);
        return buf_slice(&b->dechunked);
    }
    return !broken && is_closed(given) ? given : longer;
}
