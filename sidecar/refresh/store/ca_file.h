/* refresh/store/ca_file.h: the authorities of certs/ca_set.h, sealed: as a file of the state directory ("ca.sealed"),
 * and as a blob in memory that outlives a keeper.   Keeper only.   Blocks until the bytes are on disk.
 * Sealed with store.seal_key: the directory without the key is of no use (docs/security.md). */
#ifndef SIDEKEY_REFRESH_STORE_CA_FILE_H
#define SIDEKEY_REFRESH_STORE_CA_FILE_H

#include "certs/ca_set.h"
#include "crypto/seal.h"
#include "refresh/store/state_dir.h"

#define CA_FILE_NAME "ca.sealed"
#define CA_FILE_ASIDE "ca.unreadable"

/* The directory for the life of one change: from open to close no other process changes the file (as long as it does
 * not take seconds).  0; -1 with e. */
MUST_CHECK int ca_file_open(struct state_dir *dir, const char *path, struct err *e);
void ca_file_close(struct state_dir *dir);

/* Adds what is stored to set.  0 (also when nothing is); -ENOKEY: sealed with another key, -EBADMSG: damaged, -errno,
 * with e. */
MUST_CHECK int ca_file_read(const struct state_dir *dir, const struct seal_ring *ring, struct ca_set *set,
                            struct err *e);
/* Leaves the file as it is when it holds the same already, sealed with the current key.  0; -1 with e. */
MUST_CHECK int ca_file_write(const struct state_dir *dir, const struct seal_ring *ring, const struct ca_set *set,
                             struct err *e);
/* Moves a file that cannot be read aside, so that its key may still come back.  0; -errno. */
MUST_CHECK int ca_file_move_aside(const struct state_dir *dir);

/* A memfd with the set, sealed by the key and by the kernel (nobody can change it).  The descriptor; -errno. */
MUST_CHECK int ca_file_to_memory(const struct seal_ring *ring, const struct ca_set *set);
/* Adds what such a memfd holds; -1: nothing.  0; as ca_file_read(). */
MUST_CHECK int ca_file_from_memory(int memfd, const struct seal_ring *ring, struct ca_set *set, struct err *e);

#endif
