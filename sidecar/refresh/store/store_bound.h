/* refresh/store/store_bound.h: a store over any other engine that shows each credential only the state of its own
 * authorization server and client (binding.h).   Keeper only.   Generations are those of the credential's own line;
 * commits of another binding do not change them.  Owner  store_bound_new()'s caller, through store_free(). */
#ifndef SIDEKEY_REFRESH_STORE_STORE_BOUND_H
#define SIDEKEY_REFRESH_STORE_STORE_BOUND_H

#include "refresh/store/store.h"

struct store_bound_row {
    const char *credential;
    const char *binding; /* NULL: none, as for a static secret */
};

/* Takes inner over; rows are copied, and a credential that is not among them has no binding.
 * NULL when out of memory: then inner is still the caller's. */
MUST_CHECK struct store *store_bound_new(struct store *inner, const struct store_bound_row *rows, size_t count);

#endif
