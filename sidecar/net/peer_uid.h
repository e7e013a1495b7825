/* net/peer_uid.h: the uid of the peer of a TCP connection within this machine, as the kernel reports it (sock_diag(7),
 * for the exact pair of addresses). Worker process; one question to the kernel, never blocks. */
#ifndef SIDEKEY_NET_PEER_UID_H
#define SIDEKEY_NET_PEER_UID_H

#include <sys/types.h>

#include "base/slice.h"

/* fd: an accepted TCP connection.  The user who made the socket that it came from.  0; -errno: the kernel does not say:
 * -ENOENT when no process holds that socket any more, or it is none of this machine and network namespace. */
MUST_CHECK int peer_uid(int fd, uid_t *ret);
/* fd: a TCP connection, or one on a unix socket, whose peer has ended its side.  A process of this machine holds the
 * other end all the same and may read (RFC 9112 §9.6); false also when that cannot be known. */
bool peer_uid_holds(int fd);

#endif
