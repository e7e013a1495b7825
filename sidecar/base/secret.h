/* base/secret.h: bytes that must not leak: own pages, locked, kept out of core dumps, wiped; there is no print
 * function. Owner  the struct that embeds it, through secret_done().  A zeroed struct is a valid empty secret. */
#ifndef SIDEKEY_BASE_SECRET_H
#define SIDEKEY_BASE_SECRET_H

#include "base/slice.h"

struct secret {
    char *ptr;
    size_t len;
    size_t mapped; /* bytes of the mapping behind ptr */
};

/* Replaces the content by a copy.  bytes may be empty.  Returns 0; -ENOMEM (old content kept).
 * Pages are locked when RLIMIT_MEMLOCK allows; they are always kept out of core dumps. */
MUST_CHECK int secret_set(struct secret *s, struct slice bytes);
/* Wipes, unmaps; empty and usable afterwards. */
void secret_done(struct secret *s);
/* The bytes, for the moment of use; valid until set or done. */
static inline struct slice secret_peek(const struct secret *s)
{
    return slice_of(s->ptr, s->len);
}
static inline bool secret_empty(const struct secret *s)
{
    return s->len == 0;
}

#endif
