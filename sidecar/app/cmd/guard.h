/* app/cmd/guard.h: "sidekey run --guard": the kernel refuses what the env and preload layers do not see.
 *
 * Landlock lets the program and its children connect to the ports of the private sidekey alone (any address: the kernel
 * judges ports).  A seccomp filter closes the ways around that rule: MSG_FASTOPEN, io_uring, MPTCP, SCTP, SMC and vsock
 * sockets, system calls of another architecture.  Both need no_new_privs, so set-user-ID programs run without their
 * privileges.  UDP stays open.   Source: landlock(7) (ABI 4: Linux 6.7), seccomp(2). */
#ifndef SIDEKEY_APP_CMD_GUARD_H
#define SIDEKEY_APP_CMD_GUARD_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* Can this kernel do it?  NULL; else what it lacks, for people. */
const char *guard_missing(void);
/* In the process that becomes the program: for good.  0; -errno. */
MUST_CHECK int guard_apply(const uint16_t *ports, size_t count);

#endif
