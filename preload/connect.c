/* connect() and the calls that connect by the way: the program's own socket dials a loopback token instead of the
 * destination. The descriptor, its flags and every wait on it stay the kernel's. */
#include "preload/preload.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

typedef int connect_fn(int, const struct sockaddr *, socklen_t);
typedef int getpeername_fn(int, struct sockaddr *, socklen_t *);
typedef ssize_t sendto_fn(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
typedef ssize_t sendmsg_fn(int, const struct msghdr *, int);
typedef int sendmmsg_fn(int, struct mmsghdr *, unsigned, int);

enum route { ROUTE_AS_IS, ROUTE_OURS, ROUTE_UNREACHABLE };

static int fail(int error)
{
    errno = error;
    return -1;
}

/* -1: no such option, no socket. */
static int socket_option(int fd, int option)
{
    int value = -1, saved = errno;
    socklen_t size = sizeof value;
    if (syscall(SYS_getsockopt, fd, SOL_SOCKET, option, &value, &size) != 0)
        value = -1;
    errno = saved;
    return value;
}

static bool is_tcp(int fd, const struct target *to)
{
    int protocol = socket_option(fd, SO_PROTOCOL);
    return socket_option(fd, SO_TYPE) == SOCK_STREAM && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP)
           && socket_option(fd, SO_DOMAIN) == (to->family == 4 ? AF_INET : AF_INET6);
}

static bool bypassed_address(const struct preload *p, const struct table *t, const struct target *to)
{
    char text[48];
    if (t && shared_direct(t, to->address))
        return true;
    decide_text(to, text);
    return p->policy.bypass[0] != '\0' && decide_bypassed(&p->policy, text);
}

static bool proxy_address(const struct preload *p, const struct target *to)
{
    char text[48];
    if (p->policy.proxies[0] == '\0')
        return false;
    decide_text(to, text);
    return decide_proxy(&p->policy, text, to->port);
}

/* Where a socket that is sent to sa should go.  ret_name: an index or TABLE_NO_NAME. */
static enum route route_of(const struct preload *p, int fd, const struct sockaddr *sa, socklen_t len,
                           struct target *ret_to, uint32_t *ret_name)
{
    uint32_t index;
    *ret_name = TABLE_NO_NAME;
    ret_to->port = 0;
    if (!decide_target(sa, len, ret_to) || decide_local(ret_to))
        return ROUTE_AS_IS;
    struct table *t = preload_table();
    /* A fake address leads nowhere else, so every port of it is ours. */
    bool fake = t && shared_fake_index(ret_to->address, &index) && shared_name_get(t, index);
    if (fake)
        *ret_name = index;
    else if (!proxy_address(p, ret_to) && (!decide_port(&p->policy, ret_to->port) || bypassed_address(p, t, ret_to)))
        return ROUTE_AS_IS;
    if (is_tcp(fd, ret_to))
        return t ? ROUTE_OURS : ROUTE_UNREACHABLE;
    /* UDP to a fake address would wait for its own time-out, and QUIC to an address without a name could be for the
     * host of a rule: refused at once, clients fall back to TCP. */
    bool quic = fake || (ret_to->port != 80 && decide_port(&p->policy, ret_to->port));
    return quic && socket_option(fd, SO_TYPE) == SOCK_DGRAM ? ROUTE_UNREACHABLE : ROUTE_AS_IS;
}

static int dial_token(const struct preload *p, connect_fn *real, int fd, const struct target *to, uint32_t name)
{
    struct table *t = preload_table();
    const char *text = name == TABLE_NO_NAME ? NULL : shared_name_get(t, name);
    bool proxy = text ? decide_proxy(&p->policy, text, to->port) : proxy_address(p, to);
    uint32_t index;
    if (!shared_dest_put(t, to, name, proxy ? TABLE_PROXY : TABLE_VIA_US, &index))
        return fail(ENETUNREACH);
    uint32_t token = htonl(TABLE_TOKEN + index);
    if (to->family == 4) {
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(p->listen_port), .sin_addr = { token } };
        return real(fd, (struct sockaddr *)&in, sizeof in);
    }
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(p->listen_port) };
    int off = 0, saved = errno;
    in6.sin6_addr.s6_addr[10] = in6.sin6_addr.s6_addr[11] = 0xff;
    memcpy(in6.sin6_addr.s6_addr + 12, &token, sizeof token);
    (void)syscall(SYS_setsockopt, fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    errno = saved;
    return real(fd, (struct sockaddr *)&in6, sizeof in6);
}

static int connect_by(enum hook h, connect_fn *real, int fd, const struct sockaddr *sa, socklen_t len)
{
    const struct preload *p = preload_routing(h);
    struct target to;
    uint32_t name;
    if (!real && !(real = REAL(connect_fn, connect)))
        return fail(ENOSYS);
    switch (p ? route_of(p, fd, sa, len, &to, &name) : ROUTE_AS_IS) {
    case ROUTE_OURS: preload_watch_connected(fd, false); return dial_token(p, real, fd, &to, name);
    case ROUTE_UNREACHABLE: return fail(ENETUNREACH);
    case ROUTE_AS_IS: break;
    }
    /* Our own proxy may be asked for anything. */
    preload_watch_connected(fd, p && to.port != 0 && to.port != p->listen_port && to.port != p->proxy_port);
    return real(fd, sa, len);
}

HOOK(int, connect, int fd, const struct sockaddr *sa, socklen_t len)
{
    return connect_by(HOOK_connect, REAL(connect_fn, connect), fd, sa, len);
}

HOOK(int, __connect, int fd, const struct sockaddr *sa, socklen_t len)
{
    return connect_by(HOOK_connect, REAL(connect_fn, __connect), fd, sa, len);
}

/* The address that the program asked for, in the shape its socket would have given. */
static socklen_t original_peer(const struct target *to, struct sockaddr_storage *ret)
{
    if (to->family == 4) {
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(to->port) };
        memcpy(&in.sin_addr, to->address + 12, 4);
        memcpy(ret, &in, sizeof in);
        return sizeof in;
    }
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(to->port) };
    memcpy(&in6.sin6_addr, to->address, 16);
    memcpy(ret, &in6, sizeof in6);
    return sizeof in6;
}

HOOK(int, getpeername, int fd, struct sockaddr *sa, socklen_t *len)
{
    getpeername_fn *real = REAL(getpeername_fn, getpeername);
    const struct preload *p = preload_routing(HOOK_getpeername);
    struct table *t = p ? preload_table() : NULL;
    if (!real)
        return fail(ENOSYS);
    if (!t || !sa || !len || (int)*len < 0)
        return real(fd, sa, len);
    struct sockaddr_storage peer;
    struct target to;
    socklen_t size = sizeof peer;
    uint32_t index;
    int rc = real(fd, (struct sockaddr *)&peer, &size);
    if (rc != 0)
        return rc;
    if (decide_target((struct sockaddr *)&peer, size, &to) && to.port == p->listen_port
        && table_token(table_mapped(to.address), &index) && shared_dest_get(t, index, &to))
        size = original_peer(&to, &peer);
    memcpy(sa, &peer, *len < size ? *len : size);
    *len = size;
    return 0;
}

/* What a send call with an address must do first.  1: send with *io_flags; -1: errno is set. */
static int before_send(enum hook h, int fd, const struct sockaddr *sa, socklen_t len, int *io_flags)
{
    const struct preload *p = sa ? preload_routing(h) : NULL;
    connect_fn *real = REAL(connect_fn, connect);
    struct target to;
    uint32_t name;
    if (!p || !real)
        return 1;
    switch (route_of(p, fd, sa, len, &to, &name)) {
    case ROUTE_UNREACHABLE: return fail(ENETUNREACH);
    case ROUTE_AS_IS: return 1;
    case ROUTE_OURS: break;
    }
    if (!(*io_flags & MSG_FASTOPEN))
        return 1; /* the kernel ignores the address of a TCP socket */
    if (dial_token(p, real, fd, &to, name) != 0)
        return -1; /* non-blocking: EINPROGRESS and nothing sent, as the kernel without a cookie */
    *io_flags &= ~MSG_FASTOPEN;
    return 1;
}

HOOK(ssize_t, sendto, int fd, const void *bytes, size_t n, int flags, const struct sockaddr *sa, socklen_t len)
{
    sendto_fn *real = REAL(sendto_fn, sendto);
    if (!real)
        return fail(ENOSYS);
    if (before_send(HOOK_sendto, fd, sa, len, &flags) < 0 || preload_watch_refuses(fd, bytes, n))
        return -1;
    return real(fd, bytes, n, flags, sa, len);
}

HOOK(ssize_t, sendmsg, int fd, const struct msghdr *m, int flags)
{
    sendmsg_fn *real = REAL(sendmsg_fn, sendmsg);
    if (!real)
        return fail(ENOSYS);
    if (m && before_send(HOOK_sendmsg, fd, m->msg_name, m->msg_namelen, &flags) < 0)
        return -1;
    if (m && m->msg_iovlen && preload_watch_refuses(fd, m->msg_iov[0].iov_base, m->msg_iov[0].iov_len))
        return -1;
    return real(fd, m, flags);
}

HOOK(int, sendmmsg, int fd, struct mmsghdr *m, unsigned count, int flags)
{
    sendmmsg_fn *real = REAL(sendmmsg_fn, sendmmsg);
    if (!real)
        return fail(ENOSYS);
    /* A TCP socket connects once; for datagrams to several targets, the first one decides. */
    if (m && count && before_send(HOOK_sendmmsg, fd, m->msg_hdr.msg_name, m->msg_hdr.msg_namelen, &flags) < 0)
        return -1;
    return real(fd, m, count, flags);
}
