#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_SPACE 256

void buf_init(struct buf *b, size_t cap_bytes)
{
    *b = (struct buf){ .cap = cap_bytes };
}

void buf_init_secret(struct buf *b, size_t cap_bytes)
{
    *b = (struct buf){ .cap = cap_bytes, .wipe = true };
}

static void give_back(struct buf *b)
{
    if (b->wipe && b->data)
        explicit_bzero(b->data, b->space);
    free(b->data);
}

void buf_done(struct buf *b)
{
    give_back(b);
    *b = (struct buf){ .cap = b->cap, .wipe = b->wipe };
}

static size_t next_space(const struct buf *b, size_t need)
{
    size_t space = b->space ? b->space : FIRST_SPACE;
    while (space < need)
        space *= 2;
    return space;
}

static int move_to(struct buf *b, size_t space)
{
    char *data = malloc(space);
    if (!data)
        return -ENOMEM;
    if (b->len)
        memcpy(data, b->data + b->start, b->len);
    give_back(b);
    b->data = data;
    b->space = space;
    b->start = 0;
    return 0;
}

static int make_space(struct buf *b, size_t n)
{
    if (n > b->cap - b->len)
        return -ENOBUFS;
    if (b->data && b->space - b->start - b->len >= n)
        return 0;
    if (b->data && b->space - b->len >= n && b->start >= b->len) { /* cheap: less to move than was freed */
        memcpy(b->data, b->data + b->start, b->len);
        b->start = 0;
        return 0;
    }
    return move_to(b, next_space(b, b->len + n));
}

char *buf_reserve(struct buf *b, size_t n)
{
    if (make_space(b, n) != 0)
        return NULL;
    return b->data + b->start + b->len;
}

void buf_grow(struct buf *b, size_t n)
{
    b->len += n;
}

int buf_add(struct buf *b, struct slice bytes)
{
    int failed;
    if (bytes.len == 0)
        return 0;
    if ((failed = make_space(b, bytes.len)) != 0)
        return failed;
    memcpy(b->data + b->start + b->len, bytes.ptr, bytes.len);
    b->len += bytes.len;
    return 0;
}

int buf_add_str(struct buf *b, const char *text)
{
    return buf_add(b, slice_str(text));
}

int buf_printf(struct buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    int failed;
    if (len < 0)
        failed = -EINVAL;
    else if (b->cap - b->len < (size_t)len)
        failed = -ENOBUFS;
    else
        failed = 0;
    if (failed == 0) {
        /* One byte beyond the cap's count holds vsnprintf's NUL and is never part of the content. */
        size_t cap = b->cap;
        b->cap = b->len + (size_t)len + 1;
        failed = make_space(b, (size_t)len + 1);
        b->cap = cap;
    }
    if (failed == 0) {
        vsnprintf(b->data + b->start + b->len, (size_t)len + 1, format, again);
        b->len += (size_t)len;
    }
    va_end(again);
    return failed;
}

void buf_consume(struct buf *b, size_t n)
{
    if (b->wipe && n)
        explicit_bzero(b->data + b->start, n);
    b->start += n;
    b->len -= n;
    if (b->len == 0)
        b->start = 0;
}

void buf_truncate(struct buf *b, size_t n)
{
    b->len = n;
}

void buf_clear(struct buf *b)
{
    buf_consume(b, b->len);
}

struct slice buf_slice(const struct buf *b)
{
    return slice_of(b->data ? b->data + b->start : NULL, b->len);
}
