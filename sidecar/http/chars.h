/* http/chars.h: the character classes of HTTP as one table (RFC 9110 §5.5, §5.6.2, RFC 3986 §2).   Pure. */
#ifndef SIDEKEY_HTTP_CHARS_H
#define SIDEKEY_HTTP_CHARS_H

#include "base/slice.h"

enum {
    CHAR_TOKEN = 1,  /* tchar: methods, field names */
    CHAR_VALUE = 2,  /* field values: HTAB, SP, visible, 0x80–0xff */
    CHAR_TARGET = 4, /* request targets: visible without '#', which would begin a fragment; 0x80–0xff as they came */
    CHAR_DIGIT = 8,
    CHAR_UPPER = 16,
};

extern const uint8_t chars_class[256];

static inline bool char_is(char c, unsigned cls)
{
    return (chars_class[(unsigned char)c] & cls) != 0;
}

/* Every byte is of that class, one class (true when empty). */
static inline bool chars_all(struct slice text, unsigned cls)
{
    unsigned all = cls; /* without a branch for each byte */
    for (size_t i = 0; i < text.len; i++)
        all &= chars_class[(unsigned char)text.ptr[i]];
    return all == cls;
}

#endif
