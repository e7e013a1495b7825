/* refresh/store/state_copies.h: the newest state files of a directory, sealed as they are, in memory: a directory that
 * is removed loses nothing.   Keeper only. */
#ifndef SIDEKEY_REFRESH_STORE_STATE_COPIES_H
#define SIDEKEY_REFRESH_STORE_STATE_COPIES_H

#include "refresh/store/state_dir.h"

struct state_copies;

/* NULL when out of memory.  state_copies_free() accepts NULL. */
MUST_CHECK struct state_copies *state_copies_new(void);
void state_copies_free(struct state_copies *c);
/* cred's file has been read or written just now and has this generation: it is kept when it is newer than the copy.
 * Short of memory the older copy is dropped: it must never come back. */
void state_copies_take(struct state_copies *c, const struct state_dir *dir, const char *cred, uint64_t generation);
/* Writes the files that are missing; one that is there stays.  0; -1 with e: of the last one that could not be. */
MUST_CHECK int state_copies_write(const struct state_copies *c, const struct state_dir *dir, struct err *e);

#endif
