/* net/ipc/ipc.h: packets between our own processes: unix SEQPACKET, one packet = one message, at most 64 KiB,
 * optionally one descriptor. Owner  ipc_new()'s caller.  Packets may hold secrets: memory is wiped after use.   Never
 * blocks; packets that the socket does not accept are queued (cap IPC_QUEUE_MAX, then the peer counts as dead). A
 * sender of many packets checks ipc_queued() and continues at on_space. */
#ifndef SIDEKEY_NET_IPC_IPC_H
#define SIDEKEY_NET_IPC_IPC_H

#include "base/slice.h"
#include "net/loop.h"

#define IPC_PACKET_MAX (64 * 1024)
#define IPC_QUEUE_MAX (8 * 1024 * 1024)

struct ipc;
/* packet: valid during the call. fd: -1, or one that the callee now owns. */
typedef void ipc_packet_fn(void *arg, struct slice packet, int fd);
/* The peer has closed the link (or broken the protocol): call ipc_free(). Called once. */
typedef void ipc_gone_fn(void *arg);
/* All that was queued has gone out.  ipc_free() is allowed. */
typedef void ipc_space_fn(void *arg);

/* A connected pair, CLOEXEC, non-blocking.  0; -errno. */
MUST_CHECK int ipc_pair(int ret_fds[2]);
/* Takes fd over.  NULL when out of memory. */
MUST_CHECK struct ipc *ipc_new(int fd, ipc_packet_fn *on_packet, ipc_gone_fn *on_gone, void *arg);
void ipc_free(struct ipc *i);
/* fd: -1, or a descriptor to send along (the caller closes its own).  Returns 0; -EPIPE (gone; on_gone comes or came),
 * -EMSGSIZE, -ENOMEM. */
MUST_CHECK int ipc_send(struct ipc *i, struct slice packet, int fd);
/* As ipc_send(), for messages that may be dropped because they will be repeated or are no longer needed: -EBUSY when 1
 * MiB is queued already. */
MUST_CHECK int ipc_offer(struct ipc *i, struct slice packet);
/* Bytes that the socket has not taken yet. */
size_t ipc_queued(const struct ipc *i);
/* The socket, still the link's own: it can stay open over an exec, and another program can call ipc_new() with it. */
int ipc_fd(const struct ipc *i);
/* fn (arg as given to ipc_new) each time the queue has emptied; NULL: no more. */
void ipc_on_space(struct ipc *i, ipc_space_fn *fn);

#endif
