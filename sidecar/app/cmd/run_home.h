/* app/cmd/run_home.h: configuration files in the user's home.   Reads only. */
#ifndef SIDEKEY_APP_CMD_RUN_HOME_H
#define SIDEKEY_APP_CMD_RUN_HOME_H

#include <limits.h>

#include "base/buf.h"

/* Where the file is: what the variable file_variable names, else name in the directory that dir_variable names, else in
 * $HOME.  Either variable may be NULL.  Returns path, which may not exist; "" where there is no home. */
const char *run_home_path(const char *file_variable, const char *dir_variable, const char *name, char path[PATH_MAX]);
/* Calls fn for each line, without blanks around it, of at most 1 MiB of that file; none when it cannot be read.  The
 * line may be changed. */
void run_home_each_line(const char *file_variable, const char *dir_variable, const char *name,
                        void (*fn)(void *arg, char *line), void *arg);
/* Appends the whole file, and ends its last line; nothing when it cannot be read.  0; -ENOMEM, -ENOBUFS. */
MUST_CHECK int run_home_read(const char *path, struct buf *out);

#endif
