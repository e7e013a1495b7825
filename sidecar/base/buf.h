/* base/buf.h: a byte queue with a fixed cap: append at the end, consume at the front.
 * Owner  the struct that embeds it, through buf_done().  A failed append does not change the content. */
#ifndef SIDEKEY_BASE_BUF_H
#define SIDEKEY_BASE_BUF_H

#include "base/slice.h"

struct buf {
    char *data;   /* heap, or NULL while nothing was ever stored */
    size_t start; /* first unread byte */
    size_t len;   /* unread bytes */
    size_t space; /* allocated bytes */
    size_t cap;   /* never holds more than this */
    bool wipe;    /* wiped whenever memory is given back */
};

/* cap_bytes: most bytes it will ever hold.  Allocates nothing yet. */
void buf_init(struct buf *b, size_t cap_bytes);
/* As buf_init, and what it held is wiped when memory moves or is freed: for secrets on their way. */
void buf_init_secret(struct buf *b, size_t cap_bytes);
/* Frees; the buf is empty and usable again. */
void buf_done(struct buf *b);
/* Copies bytes to the end.  Returns 0; -ENOBUFS (cap reached), -ENOMEM. */
MUST_CHECK int buf_add(struct buf *b, struct slice bytes);
MUST_CHECK int buf_add_str(struct buf *b, const char *text);
/* printf to the end.  Same errors. */
MUST_CHECK int buf_printf(struct buf *b, const char *format, ...) PRINTF_LIKE(2, 3);
/* Makes room for n more bytes and returns where to write them (then buf_grow); NULL: cap or memory. */
MUST_CHECK char *buf_reserve(struct buf *b, size_t n);
/* n bytes were written at buf_reserve()'s place. */
void buf_grow(struct buf *b, size_t n);
/* Drops n bytes from the front (n <= len). */
void buf_consume(struct buf *b, size_t n);
/* Drops what was added after the first n bytes (n <= len). */
void buf_truncate(struct buf *b, size_t n);
/* Drops everything, keeps the memory. */
void buf_clear(struct buf *b);
/* Everything unread; valid until the next call that adds or frees. */
struct slice buf_slice(const struct buf *b);
/* Bytes that may still be added. */
static inline size_t buf_space(const struct buf *b)
{
    return b->cap - b->len;
}

#endif
