#include "net/ipc/msg_send.h"

#include <errno.h>

static int encode(struct ipc *to, const struct msg *m, struct buf *packet)
{
    buf_init_secret(packet, IPC_PACKET_MAX);
    return to ? msg_encode(m, packet) : -EPIPE;
}

int msg_send(struct ipc *to, const struct msg *m, int fd)
{
    struct buf packet;
    int failed = encode(to, m, &packet);
    if (failed == 0)
        failed = ipc_send(to, buf_slice(&packet), fd);
    buf_done(&packet);
    return failed;
}

int msg_send_offer(struct ipc *to, const struct msg *m)
{
    struct buf packet;
    int failed = encode(to, m, &packet);
    if (failed == 0)
        failed = ipc_offer(to, buf_slice(&packet));
    buf_done(&packet);
    return failed;
}
