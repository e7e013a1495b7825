/* app/cmd/run_dir.h: the private directory of one "sidekey run": CA files, the preload table.   Main process. */
#ifndef SIDEKEY_APP_CMD_RUN_DIR_H
#define SIDEKEY_APP_CMD_RUN_DIR_H

#include <limits.h>

#include "base/err.h"

/* Makes one (0700) under $XDG_RUNTIME_DIR or /tmp.  path: the place for its name.  0; -1 with e. */
MUST_CHECK int run_dir_make(char path[PATH_MAX], struct err *e);
/* path/name.  Returns text (of PATH_MAX bytes). */
const char *run_dir_file(const char *path, const char *name, char *text);
/* Removes the directory and the plain files in it. */
void run_dir_remove(const char *path);
/* The preload library that belongs to this binary: beside it, or ../lib/sidekey.  0; -1 with e naming where it was
 * looked for. */
MUST_CHECK int run_dir_find_preload(char path[PATH_MAX], struct err *e);

#endif
