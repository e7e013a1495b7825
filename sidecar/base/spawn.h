/* base/spawn.h: starts a program that the configuration names ({command: …}, grant "command").   Keeper, and a worker
 * for its clients' and the parent proxy's passwords.
 *
 * The program inherits only: descriptors 0 (/dev/null), 1 (the caller's) and 2 (/dev/null, because an error message may
 * contain the secret), default signals, its own process group, and the environment variables that
 * docs/security.md lists. */
#ifndef SIDEKEY_BASE_SPAWN_H
#define SIDEKEY_BASE_SPAWN_H

#include <sys/types.h>

#include "base/slice.h"

/* argv: NULL-terminated, argv[0] is looked up in PATH.  extra: one more "NAME=value", or NULL.  output: becomes its
 * descriptor 1; stays the caller's here.  The caller reaps *ret_pid, whose process group has the same number.
 * 0; an errno, negative. */
MUST_CHECK int spawn_program(char *const *argv, char *extra, int output, pid_t *ret_pid);

#endif
