/* app/config/units.h: the words of people: durations, sizes, and what a misspelt word may have meant.   Pure. */
#ifndef SIDEKEY_APP_CONFIG_UNITS_H
#define SIDEKEY_APP_CONFIG_UNITS_H

#include "base/slice.h"

/* "250ms" "30s" "5m" "1h", or "0".  0; -EINVAL (no such form), -ERANGE (over 100 years). */
MUST_CHECK int units_duration(struct slice text, int64_t *ret_ms);
/* "512B" "64KiB" "1MiB" "2GiB", or "0".  0; -EINVAL, -ERANGE (over 2^53). */
MUST_CHECK int units_size(struct slice text, uint64_t *ret_bytes);
/* The same back, in the largest unit that divides it.  Return text, cut at size. */
const char *units_duration_text(int64_t ms, char *text, size_t size);
const char *units_size_text(uint64_t bytes, char *text, size_t size);

/* Insertions, deletions, replacements and swaps of neighbours that make b of a, letters compared without case.
 * Words over 64 bytes are as far apart as can be. */
unsigned units_distance(const char *a, const char *b);
/* Keeps the nearer of *io_best (NULL: none yet) and candidate, if it is near enough to be what was meant. */
void units_nearer(const char *word, const char *candidate, const char **io_best);

#endif
