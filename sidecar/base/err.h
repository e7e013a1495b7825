/* base/err.h: an error as text for a person: what happened, where, and what to do.   Never holds a secret.
 * Passed down by pointer; the first failure fills it, the caller that reports it prints it. */
#ifndef SIDEKEY_BASE_ERR_H
#define SIDEKEY_BASE_ERR_H

#include "base/slice.h"

struct err {
    char text[512];
};

/* printf into e (NULL is allowed and ignored), cut at its size. Returns -1, so that "return err_set(…)" reads well. */
int err_set(struct err *e, const char *format, ...) PRINTF_LIKE(2, 3);
/* Puts a prefix before what is there: err_wrap(e, "rule %d: ", n).  Returns -1. */
int err_wrap(struct err *e, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
