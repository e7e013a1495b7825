#include "net/ipc/ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PACKETS_PER_WAKE 64
#define QUEUE_MAX_FDS 64
#define OFFER_MAX_BYTES (1024 * 1024)
#define SEND_BUFFER_BYTES (256 * 1024) /* three of the largest packets without queueing */

struct packet { /* one that the socket did not take yet */
    struct list node;
    int fd; /* our own copy, or -1 */
    size_t len;
    char bytes[];
};

struct ipc {
    ev_io io;
    struct later later; /* says that the peer is gone */
    struct list queue;
    size_t queued_bytes, queued_fds;
    bool dead; /* gone was or will be told */
    bool *freed;
    ipc_packet_fn *on_packet;
    ipc_gone_fn *on_gone;
    ipc_space_fn *on_space; /* or NULL */
    void *arg;
};

union control { /* aligned for cmsghdr */
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

int ipc_pair(int ret_fds[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret_fds) == 0 ? 0 : -errno;
}

static void drop(struct ipc *i, struct packet *p)
{
    list_remove(&p->node);
    i->queued_bytes -= p->len;
    if (p->fd >= 0) {
        i->queued_fds--;
        close(p->fd);
    }
    explicit_bzero(p->bytes, p->len);
    free(p);
}

static void drop_all(struct ipc *i)
{
    while (!list_empty(&i->queue))
        drop(i, LIST_ENTRY(i->queue.next, struct packet, node));
}

/* The one place that sets what is watched. */
static void settle(struct ipc *i)
{
    int events;
    if (i->dead)
        events = 0;
    else if (list_empty(&i->queue))
        events = EV_READ;
    else
        events = EV_READ | EV_WRITE;
    if (events == (ev_is_active(&i->io) ? i->io.events & (EV_READ | EV_WRITE) : 0))
        return;
    ev_io_stop(loop_get(), &i->io);
    ev_io_modify(&i->io, events);
    if (events)
        ev_io_start(loop_get(), &i->io);
}

/* Told at the end of the turn: never inside a call, and once. */
static void die(struct ipc *i)
{
    if (i->dead)
        return;
    i->dead = true;
    drop_all(i);
    loop_later_ask(&i->later);
    settle(i);
}

static void on_dead(struct later *l)
{
    struct ipc *i = LIST_ENTRY(l, struct ipc, later);
    i->on_gone(i->arg);
}

/* --- sending --- */

/* 0; -errno. */
static int send_now(int socket, struct slice packet, int fd)
{
    union control control = { 0 };
    struct iovec iov = { (void *)(uintptr_t)packet.ptr, packet.len };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (fd >= 0) {
        m.msg_control = control.bytes;
        m.msg_controllen = sizeof control.bytes;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    ssize_t put;
    do
        put = sendmsg(socket, &m, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    return put >= 0 ? 0 : -errno;
}

/* The socket is full, not broken.  (ENOBUFS, ETOOMANYREFS: too much in flight in the whole machine or of this user; it
 * passes.) */
static bool is_full(int failed)
{
    return failed == -EAGAIN || failed == -ENOBUFS || failed == -ENOMEM || failed == -ETOOMANYREFS;
}

static int enqueue(struct ipc *i, struct slice packet, int fd)
{
    if (i->queued_bytes + packet.len > IPC_QUEUE_MAX || (fd >= 0 && i->queued_fds == QUEUE_MAX_FDS)) {
        die(i);
        return -EPIPE;
    }
    struct packet *p = malloc(sizeof *p + packet.len);
    if (!p)
        return -ENOMEM;
    p->fd = -1;
    if (fd >= 0 && (p->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0) {
        free(p);
        return -ENOMEM;
    }
    list_init(&p->node);
    p->len = packet.len;
    memcpy(p->bytes, packet.ptr, packet.len);
    list_push(&i->queue, &p->node);
    i->queued_bytes += p->len;
    i->queued_fds += p->fd >= 0;
    settle(i);
    return 0;
}

int ipc_send(struct ipc *i, struct slice packet, int fd)
{
    if (i->dead)
        return -EPIPE;
    if (packet.len == 0 || packet.len > IPC_PACKET_MAX)
        return -EMSGSIZE;
    int failed = list_empty(&i->queue) ? send_now(i->io.fd, packet, fd) : -EAGAIN;
    if (is_full(failed))
        return enqueue(i, packet, fd);
    return failed ? -EPIPE : 0; /* what the peer sent before it went is still read; its end comes after that */
}

int ipc_offer(struct ipc *i, struct slice packet)
{
    return i->queued_bytes >= OFFER_MAX_BYTES ? -EBUSY : ipc_send(i, packet, -1);
}

size_t ipc_queued(const struct ipc *i)
{
    return i->queued_bytes;
}

int ipc_fd(const struct ipc *i)
{
    return i->io.fd;
}

void ipc_on_space(struct ipc *i, ipc_space_fn *fn)
{
    i->on_space = fn;
}

static void flush(struct ipc *i)
{
    while (!list_empty(&i->queue)) {
        struct packet *p = LIST_ENTRY(i->queue.next, struct packet, node);
        int failed = send_now(i->io.fd, slice_of(p->bytes, p->len), p->fd);
        if (is_full(failed))
            return;
        if (failed)
            drop_all(i);
        else
            drop(i, p);
    }
}

/* --- receiving --- */

/* At most one descriptor is ever meant; more are closed, and the packet does not count. */
static int take_fd(struct msghdr *m, bool *ret_bad)
{
    int fd = -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; at + CMSG_LEN(sizeof fd) <= c->cmsg_len; at += sizeof fd) {
            if (fd >= 0) {
                close(fd);
                *ret_bad = true;
            }
            memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
        }
    }
    return fd;
}

/* Bytes received, 0: nothing there now, < 0: the peer is gone or broke the rules. */
static ssize_t receive(struct ipc *i, char *dst, size_t size, int *ret_fd)
{
    union control control;
    struct iovec iov = { dst, size };
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes
    };
    ssize_t got;
    do
        got = recvmsg(i->io.fd, &m, MSG_CMSG_CLOEXEC);
    while (got < 0
           && (errno == EINTR || errno == ECONNRESET)); /* a reset is told once, before the packets that came earlier */
    if (got < 0)
        return errno == EAGAIN ? 0 : -1;
    bool bad = got == 0 || (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
    *ret_fd = take_fd(&m, &bad);
    if (!bad)
        return got;
    if (*ret_fd >= 0)
        close(*ret_fd);
    return -1;
}

/* false: freed inside its own callback. */
static bool hand_over(struct ipc *i, struct slice packet, int fd)
{
    bool freed = false;
    i->freed = &freed;
    i->on_packet(i->arg, packet, fd);
    if (!freed)
        i->freed = NULL;
    return !freed;
}

/* As hand_over(). */
static bool tell_space(struct ipc *i)
{
    bool freed = false;
    if (i->dead || !i->on_space || !list_empty(&i->queue))
        return true;
    i->freed = &freed;
    i->on_space(i->arg);
    if (!freed)
        i->freed = NULL;
    return !freed;
}

static void receive_some(struct ipc *i)
{
    static char packet[IPC_PACKET_MAX]; /* one loop, one thread; a packet never outlives its callback */
    for (int n = 0; n < PACKETS_PER_WAKE && !i->dead; n++) {
        int fd = -1;
        ssize_t got = receive(i, packet, sizeof packet, &fd);
        if (got == 0)
            break;
        if (got < 0) {
            explicit_bzero(packet, sizeof packet);
            die(i);
            break;
        }
        bool alive = hand_over(i, slice_of(packet, (size_t)got), fd);
        explicit_bzero(packet, (size_t)got);
        if (!alive)
            return;
    }
    settle(i);
}

static void on_io(struct ev_loop *loop, ev_io *w, int revents)
{
    struct ipc *i = LIST_ENTRY(w, struct ipc, io);
    (void)loop;
    if (revents & EV_WRITE) {
        flush(i);
        if (!tell_space(i))
            return;
    }
    if (revents & EV_READ && !i->dead)
        receive_some(i); /* may free i */
    else
        settle(i);
}

struct ipc *ipc_new(int fd, ipc_packet_fn *on_packet, ipc_gone_fn *on_gone, void *arg)
{
    struct ipc *i = calloc(1, sizeof *i);
    if (!i)
        return NULL;
    const int bytes = SEND_BUFFER_BYTES;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    i->on_packet = on_packet;
    i->on_gone = on_gone;
    i->arg = arg;
    list_init(&i->queue);
    loop_later_init(&i->later, on_dead);
    ev_io_init(&i->io, on_io, fd, 0);
    settle(i);
    return i;
}

void ipc_free(struct ipc *i)
{
    if (!i)
        return;
    if (i->freed)
        *i->freed = true;
    loop_later_cancel(&i->later);
    ev_io_stop(loop_get(), &i->io);
    drop_all(i);
    close(i->io.fd);
    free(i);
}
