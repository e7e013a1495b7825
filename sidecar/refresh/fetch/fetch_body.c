#include "refresh/fetch/fetch_body.h"

#include "base/str.h"

void fetch_body_init(struct fetch_body *b, size_t cap_bytes)
{
    *b = (struct fetch_body){ .scanned = 0 };
    buf_init_secret(&b->dechunked, cap_bytes);
}

void fetch_body_done(struct fetch_body *b)
{
    buf_done(&b->dechunked);
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

/* ---- the end ---- */

/* The last chunk, and the trailers behind it up to an empty line. */
static bool trailers_end(struct slice rest)
{
    while (rest.len) {
        struct slice behind, line = slice_cut(rest, '\n', &behind);
        if (line.len == rest.len)
            return false;
        if (line.len == 0 || (line.len == 1 && line.ptr[0] == '\r'))
            return true;
        rest = behind;
    }
    return false;
}

/* Follows the chunks as far as they have come. */
static void scan_chunks(struct fetch_body *b, struct slice bytes)
{
    while (!b->no_chunks) {
        struct slice behind, rest = slice_skip(bytes, b->scanned), line = slice_cut(rest, '\n', &behind);
        size_t size;
        if (line.len == rest.len)
            return;
        if (!chunk_size(line, &size)) {
            b->no_chunks = true;
            return;
        }
        if (size == 0) {
            b->last_chunk = trailers_end(behind);
            return;
        }
        struct slice end = slice_skip(behind, size);
        size_t cr = end.len && end.ptr[0] == '\r';
        if (end.len <= cr)
            return;
        b->no_chunks = end.ptr[cr] != '\n';
        b->scanned = bytes.len - end.len + cr + 1;
    }
}

/* It ends as JSON does: what came behind it is something else. */
static bool is_closed(struct slice body)
{
    while (body.len && memchr(" \t\r\n", body.ptr[body.len - 1], 4))
        body.len--;
    return body.len && memchr("}]", body.ptr[body.len - 1], 2);
}

static struct slice by_length(const struct fetch_head *h, struct slice bytes)
{
    bool more = h->has_length && bytes.len > h->length;
    return slice_of(bytes.ptr, more ? (size_t)h->length : bytes.len);
}

/* JSON that has no end yet, or nothing, where tokens are expected. */
static bool is_short(const struct fetch_head *h, struct slice body)
{
    return h->status < 400 && (body.len == 0 || ((body.ptr[0] == '{' || body.ptr[0] == '[') && !is_closed(body)));
}

static bool has_no_body(const struct fetch_head *h)
{
    return h->status == 204 || h->status == 304;
}

enum fetch_body_end fetch_body_end(struct fetch_body *b, const struct fetch_head *h, struct slice bytes)
{
    if (h->no_head)
        return FETCH_BODY_OPEN;
    if (h->chunked && !has_no_body(h)) {
        scan_chunks(b, bytes);
        return b->last_chunk ? FETCH_BODY_WHOLE : FETCH_BODY_OPEN;
    }
    if (!has_no_body(h) && (!h->has_length || bytes.len < h->length))
        return FETCH_BODY_OPEN;
    return is_short(h, by_length(h, bytes)) && is_short(h, bytes) ? FETCH_BODY_DOUBTED : FETCH_BODY_WHOLE;
}

/* ---- the body ---- */

/* As much as there is room for.  0; -errno. */
static int add_some(struct buf *to, struct slice bytes)
{
    size_t room = buf_space(to);
    return buf_add(to, slice_of(bytes.ptr, bytes.len < room ? bytes.len : room));
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

struct slice fetch_body_get(struct fetch_body *b, const struct fetch_head *h, struct slice bytes, bool whole)
{
    if (h->chunked) {
        dechunk(b, bytes);
        return buf_slice(&b->dechunked);
    }
    struct slice given = by_length(h, bytes);
    return whole && is_closed(given) ? given : bytes;
}
