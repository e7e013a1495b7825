/* base/dir_trust.h: who else could change what is in a directory?   Keeper. */
#ifndef SIDEKEY_BASE_DIR_TRUST_H
#define SIDEKEY_BASE_DIR_TRUST_H

#include <sys/stat.h>

#include "base/err.h"

/* Is it the root of a mount? */
bool dir_trust_is_mount(int fd);
/* The directory belongs to our user or root (trusted_file_owner()), and no other user can write to it. */
bool dir_trust_is_private(const struct stat *st);
/* The directory belongs to our own user, not to root (trusted_file.h checks who can write what we read). way_out: what
 * else the user can do besides the chown; may be "".  0; -1 with e. */
MUST_CHECK int dir_trust_check_owner(const struct stat *st, const char *path, const char *way_out, struct err *e);
/* Opens a directory that only root or our user can have created (trusted_file.h); follows symbolic links of these two.
 * The caller checks the owner and mode of the directory itself. Returns the descriptor; -1 with e (which says what to
 * do) and errno. */
MUST_CHECK int dir_trust_open(const char *path, struct err *e);
/* Makes a directory with mode, and those above it that are missing below $HOME with 0700 (XDG base directories).  0,
 * also when it is there; -1 with errno. */
MUST_CHECK int dir_trust_make(const char *path, mode_t mode);

#endif
