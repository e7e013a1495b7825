/* refresh/token_clock.h: the difference between our clock and each token host's, from its Date fields.   Keeper only.
 * A Date applies to its own host only: a wrong or false one does not change the assertions or times of other
 * credentials. A Date over plain http is ignored, and so is a difference above TOKEN_CLOCK_MAX_MS. Owner
 * token_clocks_new()'s caller, through token_clocks_free(). */
#ifndef SIDEKEY_REFRESH_TOKEN_CLOCK_H
#define SIDEKEY_REFRESH_TOKEN_CLOCK_H

#include "base/slice.h"

#define TOKEN_CLOCK_MAX_MS (7 * 24 * 3600 * INT64_C(1000)) /* further off, one of the two clocks is broken */

struct token_clocks;
struct token_clock;

/* NULL when out of memory. */
MUST_CHECK struct token_clocks *token_clocks_new(void);
/* Accepts NULL. */
void token_clocks_free(struct token_clocks *t);
/* The clock of this URL's host and port, shared by all that ask for the same one; valid as long as t.
 * NULL (a clock that is always right): t or url NULL, plain http, or out of memory. */
struct token_clock *token_clocks_at(struct token_clocks *t, const char *url);
/* The host's wall clock minus ours; 0 for NULL. */
int64_t token_clock_skew_ms(const struct token_clock *c);
/* An answer said Date date_s (seconds since 1970; 0: none), took_ms after the request began. */
void token_clock_learn(struct token_clock *c, int64_t date_s, int64_t took_ms);

#endif
