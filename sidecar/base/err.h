/* base/err.h: a failure in words, for a person: what, where, and the way out.   Never holds a secret.
 * Passed down by pointer; the first failure fills it, whoever reports prints it. */
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
