/* refresh/store_file.h: the embedded store: a state directory shared by the processes of one machine.   Keeper only.   DESIGN.md §5.
 * dir 0700; per credential  <name>.state (sealed, AAD = name + generation; written beside, fsync, rename, fsync of dir) and
 * <name>.lock (lease: flock(2) held on an open descriptor, so it ends with its process; owner and end time inside, so a holder that was stopped for longer than
 * its lease loses it). watch: inotify on dir, and a poll. */
#ifndef SIDEKEY_REFRESH_STORE_FILE_H
#define SIDEKEY_REFRESH_STORE_FILE_H

#include "crypto/seal.h"
#include "refresh/store.h"

/* Makes dir (0700) when it is missing; refuses one that others may write or that another user owns.  ring is borrowed.  NULL with e. */
MUST_CHECK struct store *store_file_new(const char *dir, const struct seal_ring *ring, struct err *e);
/* The seal key of a state directory: reads dir/seal.key (0600), or makes it with 32 random bytes (O_EXCL, fsync).
 * 0; -1 with e. */
MUST_CHECK int store_file_seal_key(const char *dir, struct secret *ret, struct err *e);

#endif
