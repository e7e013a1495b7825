#include "base/slice.h"

#include <errno.h>
#include <stdlib.h>

static unsigned char fold(char c)
{
    unsigned char byte = (unsigned char)c;
    return byte >= 'A' && byte <= 'Z' ? (unsigned char)(byte + 32) : byte;
}

bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool slice_ieq(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (fold(a.ptr[i]) != fold(b.ptr[i]))
            return false;
    return true;
}

bool slice_eq_secret(struct slice a, struct slice b)
{
    uint64_t differ = a.len == b.len ? 0 : 1, x, y;
    size_t i = 0;
    if (!b.len)
        return !a.len;
    for (; a.len == b.len && a.len - i >= sizeof x; i += sizeof x) {
        memcpy(&x, a.ptr + i, sizeof x);
        memcpy(&y, b.ptr + i, sizeof y);
        differ |= x ^ y;
    }
    for (size_t j = i; i < a.len; i++) {
        differ |= (unsigned char)(a.ptr[i] ^ b.ptr[j++]);
        if (j == b.len)
            j = 0;
    }
    return differ == 0;
}

bool slice_starts(struct slice a, struct slice prefix)
{
    return a.len >= prefix.len && slice_eq(slice_of(a.ptr, prefix.len), prefix);
}

struct slice slice_trim(struct slice a)
{
    while (a.len && (a.ptr[0] == ' ' || a.ptr[0] == '\t'))
        a = slice_skip(a, 1);
    while (a.len && (a.ptr[a.len - 1] == ' ' || a.ptr[a.len - 1] == '\t'))
        a.len--;
    return a;
}

struct slice slice_skip(struct slice a, size_t n)
{
    if (n > a.len)
        n = a.len;
    return (struct slice){ a.ptr ? a.ptr + n : NULL, a.len - n };
}

size_t slice_find(struct slice a, char c)
{
    const char *at = a.len ? memchr(a.ptr, c, a.len) : NULL;
    return at ? (size_t)(at - a.ptr) : a.len;
}

struct slice slice_cut(struct slice a, char sep, struct slice *rest)
{
    size_t at = slice_find(a, sep);
    *rest = at == a.len ? (struct slice){ NULL, 0 } : slice_skip(a, at + 1);
    return (struct slice){ a.ptr, at };
}

int slice_u64(struct slice a, uint64_t max, uint64_t *ret)
{
    uint64_t value = 0;
    if (a.len == 0)
        return -EINVAL;
    for (size_t i = 0; i < a.len; i++) {
        if (a.ptr[i] < '0' || a.ptr[i] > '9')
            return -EINVAL;
        uint64_t digit = (uint64_t)(a.ptr[i] - '0');
        if (value > (max - digit) / 10 || digit > max)
            return -ERANGE;
        value = value * 10 + digit;
    }
    *ret = value;
    return 0;
}

char *slice_dup(struct slice a)
{
    char *copy = malloc(a.len + 1);
    if (!copy)
        return NULL;
    if (a.len)
        memcpy(copy, a.ptr, a.len);
    copy[a.len] = '\0';
    return copy;
}
