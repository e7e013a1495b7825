/* net/ipc/msg_send.h: a message, encoded and sent.   Any process.  The packet's memory is wiped. */
#ifndef SIDEKEY_NET_IPC_MSG_SEND_H
#define SIDEKEY_NET_IPC_MSG_SEND_H

#include "net/ipc/ipc.h"
#include "net/ipc/msg.h"

/* to NULL: there is no link.  fd: -1, or a descriptor to send along (the caller closes its own).
 * 0; -EPIPE (no link, or it is gone), else as msg_encode() and ipc_send(). */
MUST_CHECK int msg_send(struct ipc *to, const struct msg *m, int fd);
/* The same for what may be left out when much is queued: as ipc_offer(). */
MUST_CHECK int msg_send_offer(struct ipc *to, const struct msg *m);

#endif
