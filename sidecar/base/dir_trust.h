/* base/dir_trust.h: who else could change what is in a directory?   Keeper. */
#ifndef SIDEKEY_BASE_DIR_TRUST_H
#define SIDEKEY_BASE_DIR_TRUST_H

#include <sys/stat.h>

#include "base/err.h"

/* Is it the root of a mount? */
bool dir_trust_is_mount(int fd);
/* Ours or root's (trusted_file_owner()), and nobody else may write to it. */
bool dir_trust_is_private(const struct stat *st);
/* It is our own user's, not only root's (trusted_file.h judges who may have written what we read).  way_out: what else
 * may be done, after the chown; may be "".  0; -1 with e. */
MUST_CHECK int dir_trust_check_owner(const struct stat *st, const char *path, const char *way_out, struct err *e);
/* Opens a directory when nobody but root and our user can have put it there (trusted_file.h); a symbolic link of these
 * two is followed.  The directory's own owner and mode are left to the caller.  The descriptor; -1 with e, which says
 * the way out; errno tells. */
MUST_CHECK int dir_trust_open(const char *path, struct err *e);
/* Makes a directory with mode, and those above it that are missing below $HOME with 0700 (XDG base directories).  0,
 * also when it is there; -1 with errno. */
MUST_CHECK int dir_trust_make(const char *path, mode_t mode);

#endif
