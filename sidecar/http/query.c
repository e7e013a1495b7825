#include "http/query.h"

#include "base/str.h"

/* The next byte of text, decoded.  Returns how many bytes of text it took. */
static size_t decode_one(struct slice text, char *ret)
{
    if (text.ptr[0] == '%' && text.len >= 3 && str_hex_value(text.ptr[1]) >= 0 && str_hex_value(text.ptr[2]) >= 0) {
        *ret = (char)(str_hex_value(text.ptr[1]) << 4 | str_hex_value(text.ptr[2]));
        return 3;
    }
    *ret = text.ptr[0] == '+' ? ' ' : text.ptr[0];
    return 1;
}

bool query_text_is(struct slice text, struct slice plain, bool fold)
{
    for (; text.len && plain.len; plain = slice_skip(plain, 1)) {
        char c;
        size_t len = decode_one(text, &c);
        struct slice one = slice_of(&c, 1), other = slice_of(plain.ptr, 1);
        if (fold ? !slice_ieq(one, other) : c != plain.ptr[0])
            return false;
        text = slice_skip(text, len);
    }
    return text.len == 0 && plain.len == 0;
}

int query_add_decoded(struct buf *to, struct slice text)
{
    int failed = 0;
    while (text.len && failed == 0) {
        char c;
        size_t len = decode_one(text, &c);
        failed = buf_add(to, slice_of(&c, 1));
        text = slice_skip(text, len);
    }
    return failed;
}
