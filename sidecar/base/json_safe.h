/* base/json_safe.h: jansson for texts of others and for secrets: what it frees is wiped, and want of memory is an
 * answer. Left alone, its lexer passes over a failed allocation: a token comes out cut, or is written beyond its end;
 * its copies lack members. What cannot be wiped: copies in registers and spilled stack words of libraries. */
#ifndef SIDEKEY_BASE_JSON_SAFE_H
#define SIDEKEY_BASE_JSON_SAFE_H

#include "base/slice.h"

#include <jansson.h>

/* jansson's memory is wiped from the first call on, for the whole process.  The others call it themselves. */
void json_safe_init(void);
/* As json_loadb() (where: may be NULL) and json_deep_copy().  NULL also when memory ran short on the way. */
MUST_CHECK json_t *json_safe_load(struct slice text, size_t flags, json_error_t *where);
MUST_CHECK json_t *json_safe_copy(const json_t *from);
/* The value that a JSON pointer (RFC 6901) names; NULL: there is none, or no memory.  Borrowed from root. */
const json_t *json_safe_at(const json_t *root, const char *pointer);

#endif
