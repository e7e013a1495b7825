/* net/ipc/ipc.h: packets between our own processes: unix SEQPACKET, one packet = one message, at most 64 KiB,
 * optionally one descriptor. Owner  ipc_new()'s caller.  Packets may hold secrets: memory is wiped after use.   Never
 * blocks; what the socket does not take is queued (cap IPC_QUEUE_MAX, then the peer counts as dead): who has much to
 * say looks at ipc_queued() and goes on at on_space. */
#ifndef SIDEKEY_NET_IPC_IPC_H
#define SIDEKEY_NET_IPC_IPC_H

#include "base/slice.h"
#include "net/loop.h"

#define IPC_PACKET_MAX (64 * 1024)
#define IPC_QUEUE_MAX (8 * 1024 * 1024)

struct ipc;
/* packet: valid during the call. fd: -1, or one that the callee now owns. */
typedef void ipc_packet_fn(void *arg, struct slice packet, int fd);
/* The peer is gone (or has broken the rules): ipc_free() it.  Called once. */
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
/* As ipc_send(), for what may be left out because it will be said again, or nobody is left to hear it: -EBUSY when 1
 * MiB is queued already. */
MUST_CHECK int ipc_offer(struct ipc *i, struct slice packet);
/* Bytes that the socket has not taken yet. */
size_t ipc_queued(const struct ipc *i);
/* fn (arg as given to ipc_new) each time the queue has emptied; NULL: no more. */
void ipc_on_space(struct ipc *i, ipc_space_fn *fn);

#endif
