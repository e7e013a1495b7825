/* base/hash.h: byte-string keys to pointers; keyed hash, so a peer cannot aim at one bucket.
 * Owner  hash_new()'s caller; keys are copied, values are borrowed and never touched. */
#ifndef SIDEKEY_BASE_HASH_H
#define SIDEKEY_BASE_HASH_H

#include "base/slice.h"

struct hash;

/* NULL when out of memory. */
MUST_CHECK struct hash *hash_new(void);
/* Accepts NULL.  The values stay with their owners. */
void hash_free(struct hash *h);
/* Value under key, or NULL. */
void *hash_get(const struct hash *h, struct slice key);
/* Sets or replaces.  value is not NULL.  Returns 0; -ENOMEM. */
MUST_CHECK int hash_put(struct hash *h, struct slice key, void *value);
/* Removes; returns the value that was there, or NULL. */
void *hash_remove(struct hash *h, struct slice key);
/* Number of keys. */
size_t hash_count(const struct hash *h);
/* Calls fn for every pair, in no order.  fn may remove the key that it was given, nothing else. */
void hash_each(struct hash *h, void (*fn)(void *arg, struct slice key, void *value), void *arg);

#endif
