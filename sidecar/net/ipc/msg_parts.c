#include "net/ipc/msg_parts.h"

#include "net/ipc/msg_send.h"

#include <errno.h>

#define PART_BYTES (IPC_PACKET_MAX - 1024) /* the packet's other members need room too */

static int send_part(struct ipc *to, const struct msg *whole, size_t at, size_t len)
{
    struct msg m = *whole;
    m.text = slice_of(whole->text.len ? whole->text.ptr + at : NULL, len);
    m.offset = at;
    m.more = at + len < whole->text.len;
    return msg_send(to, &m, -1);
}

int msg_parts_send(struct ipc *to, const struct msg *m)
{
    size_t at = 0;
    if (m->text.len > MSG_PARTS_TEXT_MAX)
        return -EMSGSIZE;
    if (ipc_queued(to) && ipc_queued(to) + m->text.len > MSG_PARTS_TEXT_MAX)
        return -EBUSY;
    do {
        size_t left = m->text.len - at, len = left < PART_BYTES ? left : PART_BYTES;
        int failed = send_part(to, m, at, len);
        if (failed)
            return failed;
        at += len;
    } while (at < m->text.len);
    return 0;
}

enum msg_parts msg_parts_take(struct buf *text, const struct msg *m)
{
    if (m->offset == 0)
        buf_clear(text);
    if (m->offset == text->len && buf_add(text, m->text) == 0)
        return m->more ? MSG_PARTS_MORE : MSG_PARTS_WHOLE;
    buf_done(text);
    return MSG_PARTS_BROKEN;
}
