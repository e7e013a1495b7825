/* net/ipc/msg_parts.h: sends a text that is larger than a packet as several messages of one kind, one after the other.
 * Never blocks. All parts go to the socket together, so no other message comes between them. A receiver that misses a
 * part drops the text; a partial text never counts as complete. */
#ifndef SIDEKEY_NET_IPC_MSG_PARTS_H
#define SIDEKEY_NET_IPC_MSG_PARTS_H

#include "net/ipc/ipc.h"
#include "net/ipc/msg.h"

#define MSG_PARTS_TEXT_MAX                                                                                             \
    (IPC_QUEUE_MAX                                                                                                     \
     / 2) /* 4 MiB: some 40,000 lines of metrics.  More than that is never queued for texts, others have room */

enum msg_parts { MSG_PARTS_WHOLE, MSG_PARTS_MORE, MSG_PARTS_BROKEN };

/* Sends m (ANSWER) with m->text in as many packets as it takes.
 * Returns 0; -EMSGSIZE (text over MSG_PARTS_TEXT_MAX), -EBUSY (too much is queued already: nothing was sent), -EPIPE,
 * -ENOMEM (the receiver drops what came). */
MUST_CHECK int msg_parts_send(struct ipc *to, const struct msg *m);
/* Appends m's part to text, which the first part clears; text's cap holds.  WHOLE: text is complete.  BROKEN: not the
 * next part, or no room: text is empty. */
enum msg_parts msg_parts_take(struct buf *text, const struct msg *m);

#endif
