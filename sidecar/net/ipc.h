/* net/ipc.h: packets between our own processes: unix SEQPACKET, one packet = one message, at most 64 KiB, optionally one descriptor.
 * Owner  ipc_new()'s caller.  Packets may hold secrets: memory is wiped after use.   Never blocks; what the socket does not take is
 * queued (cap 8 MiB, then the peer counts as dead). */
#ifndef SIDEKEY_NET_IPC_H
#define SIDEKEY_NET_IPC_H

#include "base/slice.h"
#include "net/loop.h"

#define IPC_PACKET_MAX (64 * 1024)

struct ipc;
/* packet: valid during the call. fd: -1, or one that the callee now owns. */
typedef void ipc_packet_fn(void *arg, struct slice packet, int fd);
/* The peer is gone (or has broken the rules): ipc_free() it.  Called once. */
typedef void ipc_gone_fn(void *arg);

/* A connected pair, CLOEXEC, non-blocking.  0; -errno. */
MUST_CHECK int ipc_pair(int ret_fds[2]);
/* Takes fd over.  NULL when out of memory. */
MUST_CHECK struct ipc *ipc_new(int fd, ipc_packet_fn *on_packet, ipc_gone_fn *on_gone, void *arg);
void ipc_free(struct ipc *i);
/* fd: -1, or a descriptor to send along (the caller closes its own).  Returns 0; -EPIPE (gone; on_gone comes or came), -EMSGSIZE, -ENOMEM. */
MUST_CHECK int ipc_send(struct ipc *i, struct slice packet, int fd);

#endif
