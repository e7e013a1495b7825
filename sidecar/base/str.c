#include "base/str.h"

#include <errno.h>

#define U64_DIGITS 20

size_t str_join(char *to, size_t size, const struct slice *pieces, size_t count)
{
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].len >= size - len) {
            if (size)
                to[0] = '\0';
            return size;
        }
        if (pieces[i].len)
            memcpy(to + len, pieces[i].ptr, pieces[i].len);
        len += pieces[i].len;
    }
    if (size)
        to[len] = '\0';
    return len;
}

struct slice str_u64(uint64_t n, char *digits)
{
    size_t at = U64_DIGITS;
    do
        digits[--at] = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    return slice_of(digits + at, U64_DIGITS - at);
}

int str_add_hex(struct buf *out, struct slice bytes)
{
    static const char digits[] = "0123456789abcdef";
    char *at = buf_reserve(out, bytes.len * 2);
    if (!at)
        return -ENOBUFS;
    for (size_t i = 0; i < bytes.len; i++) {
        *at++ = digits[(unsigned char)bytes.ptr[i] >> 4];
        *at++ = digits[(unsigned char)bytes.ptr[i] & 15];
    }
    buf_grow(out, bytes.len * 2);
    return 0;
}

static int add_base64(struct buf *out, struct slice in, const char *alphabet, bool pad)
{
    size_t tail = in.len % 3, len = in.len / 3 * 4;
    if (tail)
        len += pad ? 4 : tail + 1;
    char *at = buf_reserve(out, len);
    if (!at)
        return -ENOBUFS;
    const unsigned char *p = (const unsigned char *)in.ptr;
    for (size_t i = 0; i < in.len; i += 3) {
        size_t have = in.len - i < 3 ? in.len - i : 3;
        unsigned word = (unsigned)p[i] << 16;
        if (have > 1)
            word |= (unsigned)p[i + 1] << 8;
        if (have > 2)
            word |= p[i + 2];
        for (size_t k = 0; k < 4; k++)
            if (k <= have)
                *at++ = alphabet[word >> (18 - 6 * k) & 63];
            else if (pad)
                *at++ = '=';
    }
    buf_grow(out, len);
    return 0;
}

int str_add_base64(struct buf *out, struct slice bytes)
{
    return add_base64(out, bytes, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", true);
}

int str_add_base64url(struct buf *out, struct slice bytes)
{
    return add_base64(out, bytes, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", false);
}

static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

int str_add_unbase64(struct buf *out, struct slice text)
{
    while (text.len && text.ptr[text.len - 1] == '=')
        text.len--;
    if (text.len % 4 == 1)
        return -EINVAL;
    char *at = buf_reserve(out, text.len / 4 * 3 + 3);
    if (!at)
        return -ENOBUFS;
    size_t len = 0;
    unsigned word = 0;
    int bits = 0;
    for (size_t i = 0; i < text.len; i++) {
        int six = sextet(text.ptr[i]);
        if (six < 0)
            return -EINVAL;
        word = word << 6 | (unsigned)six;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            at[len++] = (char)(word >> bits & 255);
        }
    }
    buf_grow(out, len);
    return 0;
}

static bool unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_'
           || c == '.' || c == '*';
}

bool str_is_form_plain(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!unreserved(text.ptr[i]))
            return false;
    return true;
}

int str_add_form(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        int failed;
        if (unreserved(c))
            failed = buf_add(out, slice_of(&c, 1));
        else if (c == ' ')
            failed = buf_add(out, SLICE("+"));
        else
            failed = buf_printf(out, "%%%02X", (unsigned char)c);
        if (failed)
            return failed;
    }
    return 0;
}

/* Bytes of the UTF-8 sequence at the front of text (RFC 3629 §4); 0: none. */
static size_t utf8_len(struct slice text)
{
    static const struct {
        unsigned char first, last, from, to; /* of the lead byte, and of the one after it */
        size_t len;
    } rows[] = {
        { 0x00, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
        { 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
        { 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
    };
    const unsigned char *p = (const unsigned char *)text.ptr;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (p[0] < rows[i].first || p[0] > rows[i].last)
            continue;
        if (text.len < rows[i].len || (rows[i].len > 1 && (p[1] < rows[i].from || p[1] > rows[i].to)))
            return 0;
        for (size_t k = 2; k < rows[i].len; k++)
            if ((p[k] & 0xc0) != 0x80)
                return 0;
        return rows[i].len;
    }
    return 0;
}

int str_add_json(struct buf *out, struct slice text)
{
    int failed = buf_add(out, SLICE("\""));
    while (text.len && failed == 0) {
        unsigned char c = (unsigned char)text.ptr[0];
        size_t len = utf8_len(text);
        if (len == 0)
            failed = buf_add(out, SLICE("\\ufffd"));
        else if (c == '"' || c == '\\')
            failed = buf_printf(out, "\\%c", c);
        else if (c < 0x20)
            failed = buf_printf(out, "\\u%04x", c);
        else
            failed = buf_add(out, slice_of(text.ptr, len));
        text = slice_skip(text, len ? len : 1);
    }
    return failed ? failed : buf_add(out, SLICE("\""));
}
