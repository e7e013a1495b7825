#include "refresh/login/redirect_query.h"

#include "base/str.h"

#include <errno.h>

/* One byte of text at *at, which moves on.  -1: a broken encoding, or a control byte. */
static int next_byte(struct slice text, size_t *at)
{
    int byte = (unsigned char)text.ptr[(*at)++];
    if (byte == '+')
        return ' ';
    if (byte == '%') {
        int high = *at + 1 < text.len ? str_hex_value(text.ptr[*at]) : -1,
            low = high >= 0 ? str_hex_value(text.ptr[*at + 1]) : -1;
        *at += 2;
        byte = low < 0 ? -1 : high * 16 + low;
    }
    return byte < ' ' || byte == 0x7f ? -1 : byte;
}

static int decode(struct slice text, struct buf *out)
{
    size_t before = out->len;
    for (size_t at = 0; at < text.len;) {
        int byte = next_byte(text, &at);
        char c = (char)byte;
        int failed = byte < 0 ? -EINVAL : buf_add(out, slice_of(&c, 1));
        if (failed) {
            buf_truncate(out, before);
            return failed;
        }
    }
    return 0;
}

int redirect_query_get(struct slice query, const char *name, struct buf *out)
{
    struct slice found = SLICE("");
    bool any = false;
    while (query.len) {
        struct slice value, key = slice_cut(slice_cut(query, '&', &query), '=', &value);
        if (!slice_eq(key, slice_str(name)))
            continue;
        if (any)
            return -EINVAL;
        any = true;
        found = value;
    }
    return found.len ? decode(found, out) : -ENOENT;
}

struct slice redirect_query_of(struct slice url)
{
    struct slice query, rest;
    slice_cut(slice_cut(url, '#', &rest), '?', &query);
    return query;
}
