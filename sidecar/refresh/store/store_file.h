/* refresh/store/store_file.h: the embedded store: a state directory shared by the processes of one machine.   Keeper
 * only.  dir 0700; per credential <name>.state (state_file.h: sealed, AAD = name + generation; written
 * beside, fsync, rename, fsync of dir) and <name>.lock (lease_file.h: ends with its process at once, and by its time
 * when the holder is stopped), and <name>.throttle (throttle_file.h). watch: inotify on dir, and a poll. Commit is
 * compare-and-swap on the generation inside the lock file's section, so it needs no lease to be right. No call waits:
 * an operation that finds the section taken tries again from the loop, for at most 5 s, then it is STORE_ERROR. A
 * cancelled operation has no effect. */
#ifndef SIDEKEY_REFRESH_STORE_STORE_FILE_H
#define SIDEKEY_REFRESH_STORE_STORE_FILE_H

#include "crypto/seal.h"
#include "refresh/store/state_dir.h"
#include "refresh/store/store.h"

/* Makes dir (0700) when it is missing (not what is above it); refuses one that group or others may write or that
 * another user owns.  ring is borrowed. NULL with e, which says what to do. */
MUST_CHECK struct store *store_file_new(const char *dir, const struct seal_ring *ring, struct err *e);
/* For the start: can what is stored under cred be opened with our ring?  0: yes, or nothing is stored; -1 with e, which
 * says what to do. */
MUST_CHECK int store_file_check(const struct store *s, const struct seal_ring *ring, const char *cred, struct err *e);
/* The seal key of a state directory: the content of dir/seal.key (0600, of this user), or 32 new random bytes as hex
 * digits stored there (of several keepers that start together all get the same).  Never a new key beside states that an
 * old one sealed.  For seal_ring_new(). 0; -1 with e, which says what to do. */
MUST_CHECK int store_file_seal_key(const char *dir, struct secret *ret, struct err *e);
/* The same, but makes nothing: -1 with e when there is no directory, or no key in it. */
MUST_CHECK int store_file_seal_key_read(const char *dir, struct secret *ret, struct err *e);
/* Writes the seal key (its file's content) into a directory that was made again.  0, also when one is there; -1 with e.
 */
MUST_CHECK int store_file_seal_key_again(const struct state_dir *dir, struct slice key, struct err *e);

#endif
