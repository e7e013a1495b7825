/* app/cmd/trap.h: "sidekey run --layers notify": a program's connections through seccomp user notification
 * (seccomp_unotify(2)), for systems that forbid namespaces.
 *
 * The kernel stops connect(), and the calls that send a datagram, in the program and all its children, and asks this
 * process, which must be their ancestor. It acts on the program's own socket (pidfd_getfd(2)), with a copy of the
 * address: what was judged is what is used. A call goes on by itself only where the socket, not a pointer, decides.
 * TCP to a port of the policy dials a loopback token, as in the preload library (preload/table.h); datagrams to such a
 * port but 80 are refused (QUIC). TCP fast open, io_uring, SCTP, DCCP, vsock and SMC are refused by the filter itself.
 * When this process has ended, each such call fails (ENOSYS). */
#ifndef SIDEKEY_APP_CMD_TRAP_H
#define SIDEKEY_APP_CMD_TRAP_H

#include <stdint.h>
#include <sys/types.h>

#include "base/slice.h"

struct trap;

/* NULL: this kernel can; else what is missing. */
const char *trap_missing(void);
/* Once in a process.  hints: the table's path, which exists; ports: the redirected ones.  0 with *ret; -errno. */
MUST_CHECK int trap_begin(const char *hints, const char *ports, uint16_t listen_port, struct trap **ret);
/* In the child that becomes the program, as the last step: installs the filter, and waits until the parent has it.
 * 0; -errno. */
MUST_CHECK int trap_enter(struct trap *t);
/* In the parent: takes the filter of the child.  0; -errno (then the child must not go on: it ends by itself). */
MUST_CHECK int trap_take(struct trap *t, pid_t child);
/* To wait on.  -1: nobody is left who would ask. */
int trap_listener(const struct trap *t);
/* Answers one call, when the listener is readable. */
void trap_answer(struct trap *t);
/* The listener has hung up: the program and all its children have ended. */
void trap_close(struct trap *t);
/* A child of this process has ended, perhaps one of ours. */
void trap_reaped(struct trap *t, pid_t pid);

#endif
