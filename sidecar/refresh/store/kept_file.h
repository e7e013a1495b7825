/* refresh/store/kept_file.h: the newest state of one credential that this machine has seen in a shared store, as a
 * file: <cred>.kept.   Keeper only. A line "sidekey-kept 1 GENERATION", then the bytes as the shared store has them
 * (sealed with the generation, so the line proves nothing: the reader opens them). */
#ifndef SIDEKEY_REFRESH_STORE_KEPT_FILE_H
#define SIDEKEY_REFRESH_STORE_KEPT_FILE_H

#include "refresh/store/state_dir.h"

#define KEPT_FILE_SUFFIX ".kept"

/* Appends the sealed bytes.  0; -ENOENT; -EBADMSG (not ours, or cut); -errno (-ELOOP, -EINVAL: not a regular file). */
MUST_CHECK int kept_file_read(const struct state_dir *dir, const char *cred, uint64_t *ret_generation,
                              struct buf *ret_sealed);
/* Replaces the file.  A newer one stays (another keeper of this directory wrote it), unless useless: it is there and
 * does not open.  0; -errno: the old file is as it was. */
MUST_CHECK int kept_file_write(const struct state_dir *dir, const char *cred, uint64_t generation, struct slice sealed,
                               bool useless);

#endif
