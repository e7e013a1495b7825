/* What becomes of a call that the filter of app/cmd/trap.h has stopped. */
#include "app/cmd/trap_private.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define DATAGRAM_MAX 65536
#define CONTROL_MAX 1024
#define PARTS_MAX 1024 /* UIO_MAXIOV */
#define GO_ON 1        /* beside 0 and -errno: the kernel does what the program asked for */

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

struct call {
    struct trap *trap;
    const struct seccomp_notif *n;
    int fd; /* the program's socket, ours too now */
    int domain, type;
    long done; /* what a call that succeeds returns */
};

static void reply(struct trap *t, uint64_t id, int result, long done)
{
    struct seccomp_notif_resp r = { .id = id };
    if (result == GO_ON)
        r.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    else if (result < 0)
        r.error = result;
    else
        r.val = done;
    (void)ioctl(t->listener, SECCOMP_IOCTL_NOTIF_SEND, &r); /* ENOENT: the program has ended */
}

/* ---- the program's memory and descriptors ---- */

static int peek(const struct call *c, uint64_t at, void *to, size_t size)
{
    struct iovec here = { to, size }, there = { (void *)(uintptr_t)at, size };
    return size == 0 || process_vm_readv((pid_t)c->n->pid, &here, 1, &there, 1, 0) == (ssize_t)size ? 0 : -EFAULT;
}

static int poke(const struct call *c, uint64_t at, const void *from, size_t size)
{
    struct iovec here = { (void *)(uintptr_t)from, size }, there = { (void *)(uintptr_t)at, size };
    return process_vm_writev((pid_t)c->n->pid, &here, 1, &there, 1, 0) == (ssize_t)size ? 0 : -EFAULT;
}

/* The process of a thread, for kernels without pidfds of threads. */
static pid_t process_of(pid_t thread)
{
    char path[64], line[128];
    int found = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)thread);
    FILE *f = fopen(path, "re");
    while (f && !found && fgets(line, sizeof line, f))
        if (strncmp(line, "Tgid:", 5) == 0)
            found = (int)strtol(line + 5, NULL, 10);
    if (f)
        fclose(f);
    return found ? found : thread;
}

static int take_socket(struct trap *t, pid_t thread, int theirs)
{
    pid_t pid = t->threads ? thread : process_of(thread);
    int pidfd = (int)syscall(SYS_pidfd_open, pid, t->threads ? (unsigned)PIDFD_THREAD : 0u);
    if (pidfd < 0)
        return -errno;
    int fd = (int)syscall(SYS_pidfd_getfd, pidfd, theirs, 0u);
    int error = errno;
    close(pidfd);
    return fd < 0 ? -error : fd;
}

static int option(int fd, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

/* ---- where it goes ---- */

/* Identity services of clouds: no proxy can answer for them. */
static bool link_local(const struct target *to)
{
    static const uint8_t ec2[16] = { 0xfd, 0, 0x0e, 0xc2, [14] = 2, [15] = 0x54 };
    uint32_t v4 = table_mapped(to->address);
    return v4 ? v4 >> 16 == 0xa9fe
              : (to->address[0] == 0xfe && (to->address[1] & 0xc0) == 0x80) || memcmp(to->address, ec2, 16) == 0;
}

static bool ours(const struct trap *t, const struct target *to, uint32_t *ret_name)
{
    uint32_t index;
    *ret_name = TABLE_NO_NAME;
    if (decide_local(to))
        return false;
    if (shared_fake_index(to->address, &index) && shared_name_get(t->table, index)) {
        *ret_name = index;
        return true;
    }
    return decide_port(&t->policy, to->port) && !link_local(to);
}

/* QUIC to the host of a rule would go around us: refused, programs fall back to TCP. */
static bool datagram_refused(const struct trap *t, const struct sockaddr_storage *to, socklen_t len)
{
    struct target target;
    uint32_t name;
    return decide_target((const struct sockaddr *)to, len, &target) && ours(t, &target, &name)
           && (name != TABLE_NO_NAME || target.port != 80);
}

static int dial(int fd, const void *to, socklen_t len)
{
    return connect(fd, to, len) == 0 ? 0 : -errno;
}

static int dial_token(const struct trap *t, int fd, const struct target *to, uint32_t name)
{
    uint32_t index;
    if (!shared_dest_put(t->table, to, name, TABLE_VIA_US, &index))
        return -ENETUNREACH;
    uint32_t token = htonl(TABLE_TOKEN + index);
    if (to->family == 4) {
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(t->listen_port), .sin_addr = { token } };
        return dial(fd, &in, sizeof in);
    }
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(t->listen_port) };
    int off = 0;
    in6.sin6_addr.s6_addr[10] = in6.sin6_addr.s6_addr[11] = 0xff;
    memcpy(in6.sin6_addr.s6_addr + 12, &token, sizeof token);
    (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    return dial(fd, &in6, sizeof in6);
}

/* A child waits for a connection that blocks, and answers for us. */
static int dial_in_child(struct call *c, const struct sockaddr_storage *to, socklen_t len, bool *ret_answered)
{
    struct trap *t = c->trap;
    size_t i = 0;
    while (i < TRAP_HELPERS_MAX && t->helpers[i])
        i++;
    if (i == TRAP_HELPERS_MAX)
        return -EAGAIN;
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return -EAGAIN;
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            reply(t, c->n->id, dial(c->fd, to, len), 0);
        _exit(0);
    }
    t->helpers[i] = pid;
    *ret_answered = true;
    return 0;
}

static int on_connect(struct call *c, bool *ret_answered)
{
    struct sockaddr_storage to;
    struct target target;
    uint32_t name;
    size_t len = (uint32_t)c->n->data.args[2];
    memset(&to, 0, sizeof to);
    if (len > sizeof to)
        return -EINVAL;
    int failed = peek(c, c->n->data.args[1], &to, len);
    if (failed)
        return failed;
    int protocol = option(c->fd, SO_PROTOCOL);
    bool stream = c->type == SOCK_STREAM && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP);
    bool known = decide_target((struct sockaddr *)&to, (socklen_t)len, &target)
                 && (target.family == 4 ? AF_INET : AF_INET6) == c->domain;
    if (stream && known && ours(c->trap, &target, &name))
        return dial_token(c->trap, c->fd, &target, name);
    if (c->type == SOCK_DGRAM && datagram_refused(c->trap, &to, (socklen_t)len))
        return -ENETUNREACH;
    if (stream && known && !decide_local(&target) && !(fcntl(c->fd, F_GETFL) & O_NONBLOCK))
        return dial_in_child(c, &to, (socklen_t)len, ret_answered);
    return dial(c->fd, &to, (socklen_t)len);
}

/* ---- datagrams: sent from here, with copies of everything ---- */

static int send_copy(struct call *c, const struct msghdr *m, int flags, long *ret)
{
    if (m->msg_name && datagram_refused(c->trap, m->msg_name, m->msg_namelen))
        return -ENETUNREACH;
    ssize_t n = sendmsg(c->fd, m, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN && !(fcntl(c->fd, F_GETFL) & O_NONBLOCK) ? -ENOBUFS : -errno; /* as a full queue */
    *ret = n;
    return 0;
}

static char data[DATAGRAM_MAX];

static int on_sendto(struct call *c)
{
    const __u64 *a = c->n->data.args;
    struct sockaddr_storage name;
    struct iovec one = { data, a[2] };
    struct msghdr m = { .msg_name = &name, .msg_namelen = (socklen_t)a[5], .msg_iov = &one, .msg_iovlen = 1 };
    if (a[2] > sizeof data)
        return -EMSGSIZE;
    if (m.msg_namelen > sizeof name)
        return -EINVAL;
    memset(&name, 0, sizeof name);
    int failed = peek(c, a[4], &name, m.msg_namelen);
    if (!failed)
        failed = peek(c, a[1], data, a[2]);
    return failed ? failed : send_copy(c, &m, (int)a[3], &c->done);
}

/* at: a struct msghdr of the program's. */
static int send_one(struct call *c, uint64_t at, int flags, long *ret)
{
    static struct iovec parts[PARTS_MAX];
    struct sockaddr_storage name;
    union {
        struct cmsghdr head;
        char bytes[CONTROL_MAX];
    } control;
    struct msghdr m;
    size_t size = 0;
    int failed = peek(c, at, &m, sizeof m);
    if (failed)
        return failed;
    if (m.msg_iovlen > PARTS_MAX)
        return -EMSGSIZE;
    if (m.msg_controllen > sizeof control || (m.msg_name && m.msg_namelen > sizeof name))
        return -EINVAL;
    memset(&name, 0, sizeof name);
    failed = peek(c, (uintptr_t)m.msg_iov, parts, m.msg_iovlen * sizeof *parts);
    for (size_t i = 0; i < m.msg_iovlen && !failed; size += parts[i++].iov_len)
        failed = parts[i].iov_len > sizeof data - size
                     ? -EMSGSIZE
                     : peek(c, (uintptr_t)parts[i].iov_base, data + size, parts[i].iov_len);
    if (!failed && m.msg_name && m.msg_namelen)
        failed = peek(c, (uintptr_t)m.msg_name, &name, m.msg_namelen);
    if (!failed && m.msg_controllen)
        failed = peek(c, (uintptr_t)m.msg_control, &control, m.msg_controllen);
    struct iovec one = { data, size };
    m.msg_iov = &one;
    m.msg_iovlen = 1;
    m.msg_name = m.msg_name && m.msg_namelen ? &name : NULL;
    m.msg_control = m.msg_controllen ? &control : NULL;
    return failed ? failed : send_copy(c, &m, flags, ret);
}

static int on_sendmmsg(struct call *c)
{
    const __u64 *a = c->n->data.args;
    unsigned count = (unsigned)a[2] < PARTS_MAX ? (unsigned)a[2] : PARTS_MAX;
    int failed = 0;
    for (unsigned i = 0; i < count && !failed; i++) {
        uint64_t at = a[1] + i * sizeof(struct mmsghdr);
        long n = 0;
        failed = send_one(c, at, (int)a[3], &n);
        unsigned sent = (unsigned)n;
        if (!failed && (failed = poke(c, at + offsetof(struct mmsghdr, msg_len), &sent, sizeof sent)) == 0)
            c->done++;
    }
    return c->done ? 0 : failed;
}

/* ---- one call ---- */

static int judge(struct call *c, bool *ret_answered)
{
    bool internet = c->domain == AF_INET || c->domain == AF_INET6;
    if (!internet) /* such a socket has no way to another machine: socket(2) is filtered */
        return GO_ON;
    if (c->n->data.nr == SYS_connect)
        return on_connect(c, ret_answered);
    if (c->type != SOCK_DGRAM) /* TCP ignores the address; without fast open it does not connect */
        return GO_ON;
    switch (c->n->data.nr) {
    case SYS_sendto: return on_sendto(c);
    case SYS_sendmsg: return send_one(c, c->n->data.args[1], (int)c->n->data.args[2], &c->done);
    default: return on_sendmmsg(c);
    }
}

/* The reason is the system's: Yama, or a program that made itself secret (prctl(2) PR_SET_DUMPABLE). */
static int no_socket(struct trap *t, pid_t pid, int error)
{
    if (error != -EPERM)
        return error == -EBADF ? -EBADF : -EACCES;
    if (!t->said)
        fprintf(stderr,
                "sidekey run: the system does not let sidekey look into process %d (kernel.yama.ptrace_scope, or it "
                "may not be inspected): its connections are refused\n",
                (int)pid);
    t->said = true;
    return -EACCES;
}

static void answer(struct trap *t, const struct seccomp_notif *n)
{
    struct call c = { .trap = t, .n = n };
    bool answered = false;
    int result = c.fd = take_socket(t, (pid_t)n->pid, (int)n->data.args[0]);
    if (c.fd < 0)
        result = no_socket(t, (pid_t)n->pid, c.fd);
    else if (ioctl(t->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &n->id) != 0)
        answered = true; /* it has ended, and its number may be another's */
    else if ((c.domain = option(c.fd, SO_DOMAIN)) < 0)
        result = -ENOTSOCK;
    else {
        c.type = option(c.fd, SO_TYPE);
        result = judge(&c, &answered);
    }
    if (!answered)
        reply(t, n->id, result, c.done);
    if (c.fd >= 0)
        close(c.fd);
}

void trap_answer(struct trap *t)
{
    static union { /* the kernel's may be larger than ours */
        struct seccomp_notif n;
        char bytes[1024];
    } call;
    memset(&call, 0, sizeof call);
    if (ioctl(t->listener, SECCOMP_IOCTL_NOTIF_RECV, &call.n) == 0)
        answer(t, &call.n);
}

void trap_reaped(struct trap *t, pid_t pid)
{
    for (size_t i = 0; i < TRAP_HELPERS_MAX; i++)
        if (t->helpers[i] == pid)
            t->helpers[i] = 0;
}
