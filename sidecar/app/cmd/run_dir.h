/* app/cmd/run_dir.h: the private directory of one "sidekey run": CA files, the preload table.   Main process.
 *
 * It is in /run for root, else in $XDG_RUNTIME_DIR or /tmp, mode 0711: programs of the run that change their user can
 * read the CA bundle, but other users cannot list the directory. The daemon of the run holds a lock (flock) on it: a
 * process that gets the lock knows that the run has ended. systemd-tmpfiles(8) does not remove a locked directory. */
#ifndef SIDEKEY_APP_CMD_RUN_DIR_H
#define SIDEKEY_APP_CMD_RUN_DIR_H

#include <limits.h>

#include "base/err.h"

/* Removes what dead runs of this user have left, and makes a new directory.  path: the place for its name; *ret_lock: a
 * descriptor that holds the lock, the caller's to close.  0; -1 with e. */
MUST_CHECK int run_dir_make(char path[PATH_MAX], int *ret_lock, struct err *e);
/* path/name.  Returns text (of PATH_MAX bytes). */
const char *run_dir_file(const char *path, const char *name, char *text);
/* Removes the directory and the plain files in it. */
void run_dir_remove(const char *path);
/* The preload library that belongs to this binary: beside it, or ../lib/sidekey.  0; -1 with e naming where it was
 * looked for. */
MUST_CHECK int run_dir_find_preload(char path[PATH_MAX], struct err *e);

#endif
