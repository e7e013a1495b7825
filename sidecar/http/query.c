#include "http/query.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool query_text_is(struct slice text, struct slice plain, bool fold)
{
    for (; text.len && plain.len; plain = slice_skip(plain, 1)) {
        char c = text.ptr[0] == '+' ? ' ' : text.ptr[0];
        size_t len = 1;
        if (c == '%' && text.len >= 3 && hex_digit(text.ptr[1]) >= 0 && hex_digit(text.ptr[2]) >= 0) {
            c = (char)(hex_digit(text.ptr[1]) << 4 | hex_digit(text.ptr[2]));
            len = 3;
        }
        struct slice one = slice_of(&c, 1), other = slice_of(plain.ptr, 1);
        if (fold ? !slice_ieq(one, other) : c != plain.ptr[0])
            return false;
        text = slice_skip(text, len);
    }
    return text.len == 0 && plain.len == 0;
}
