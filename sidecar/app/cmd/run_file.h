/* app/cmd/run_file.h: where a running sidekey can be asked, written by it for the commands that ask: sidekey.run in
 * $RUNTIME_DIRECTORY, /run/sidekey (root), $XDG_RUNTIME_DIR/sidekey or the default state directory.   Main process.
 * A hint: without it, commands ask the address of their configuration, or the default one. */
#ifndef SIDEKEY_APP_CMD_RUN_FILE_H
#define SIDEKEY_APP_CMD_RUN_FILE_H

#include <limits.h>
#include <sys/types.h>

#include "app/config/config.h"
#include "app/listeners.h"

#define RUN_FILE_NAME "sidekey.run"

struct run_file {
    char config[PATH_MAX], admin[64], admin_socket[PATH_MAX]; /* "": none */
    pid_t pid;
};

/* Replaces the one that is there.  0; -errno (no such directory, or it is not ours). */
MUST_CHECK int run_file_write(const struct config *c, const struct listeners *listeners);
/* Removes it, when this process wrote it. */
void run_file_remove(void);
/* 0: that process lives; -ENOENT (none, or it is dead), -errno. */
MUST_CHECK int run_file_read(struct run_file *ret);

#endif
