/* base/dir_trust.h: who else could change what is in a directory?   Pure but for fstat(2) and the like. */
#ifndef SIDEKEY_BASE_DIR_TRUST_H
#define SIDEKEY_BASE_DIR_TRUST_H

#include <sys/stat.h>

#include "base/err.h"

/* Is it the root of a mount? */
bool dir_trust_is_mount(int fd);
/* Ours or root's, and nobody else may write to it. */
bool dir_trust_is_private(const struct stat *st);
/* Every directory above fd is ours or root's, and nobody else may rename what is in it (sticky is enough).  0; -1 with
 * e, which names the first that is not. */
MUST_CHECK int dir_trust_above(int fd, const char *path, struct err *e);
/* Opens a directory.  A symbolic link at the end of path is followed when it is ours or root's.  The descriptor; -1
 * with e, which says the way out; errno is that of open(2). */
MUST_CHECK int dir_trust_open(const char *path, struct err *e);
/* Makes a directory with mode, and those above it that are missing below $HOME with 0700 (XDG base directories).  0,
 * also when it is there; -1 with errno. */
MUST_CHECK int dir_trust_make(const char *path, mode_t mode);

#endif
