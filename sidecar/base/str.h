/* base/str.h: the encodings that more than one room needs.   Pure.   What appends to a buf returns its errors
 * (0, -ENOBUFS, -ENOMEM). */
#ifndef SIDEKEY_BASE_STR_H
#define SIDEKEY_BASE_STR_H

#include "base/buf.h"

/* The pieces one after the other, NUL behind them: snprintf() for what is done with each request.  Returns the length;
 * size or more: no room, and to is empty. */
size_t str_join(char *to, size_t size, const struct slice *pieces, size_t count);
/* Decimal.  digits: of 20 bytes, and what is returned lies in it. */
struct slice str_u64(uint64_t n, char *digits);
/* The value of a hex digit of either case; -1: it is none. */
static inline int str_hex_value(char c)
{
    char lower = (char)(c | 0x20);
    if (c >= '0' && c <= '9')
        return c - '0';
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}
/* Lower case, two digits for each byte.  Returns 0; -ENOBUFS. */
MUST_CHECK int str_add_hex(struct buf *out, struct slice bytes);
/* RFC 4648 §4, padded. */
MUST_CHECK int str_add_base64(struct buf *out, struct slice bytes);
/* RFC 4648 §5, no padding (JWT). */
MUST_CHECK int str_add_base64url(struct buf *out, struct slice bytes);
/* Accepts §4 and §5 alphabets, padding optional.  -EINVAL on anything else; out keeps its length then. */
MUST_CHECK int str_add_unbase64(struct buf *out, struct slice text);
/* application/x-www-form-urlencoded (WHATWG URL §5.2): space is '+', unreserved bytes stay. */
MUST_CHECK int str_add_form(struct buf *out, struct slice text);
/* str_add_form() would leave text as it is. */
bool str_is_form_plain(struct slice text);
/* A JSON string with its quotes (RFC 8259 §7); bytes that are no UTF-8 become U+FFFD. */
MUST_CHECK int str_add_json(struct buf *out, struct slice text);

#endif
