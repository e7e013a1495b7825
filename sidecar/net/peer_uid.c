#include "net/peer_uid.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* In every network namespace.  A connection within one machine comes by it, whatever address it has; asked by this
 * number, the kernel also knows a socket that its program has bound to it (SO_BINDTODEVICE). */
#define LOOPBACK_INTERFACE 1

struct request {
    struct nlmsghdr head;
    struct inet_diag_req_v2 body;
};

struct response {
    struct nlmsghdr head;
    union {
        struct inet_diag_msg found;
        struct nlmsgerr failed;
        char more[4096]; /* attributes */
    };
};

static void put_address(const struct sockaddr_storage *from, __be32 to[4], __be16 *port)
{
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)from;
        memcpy(to, &in->sin_addr, sizeof in->sin_addr);
        *port = in->sin_port;
    } else {
        const struct sockaddr_in6 *in6 = (const void *)from;
        memcpy(to, &in6->sin6_addr, sizeof in6->sin6_addr);
        *port = in6->sin6_port;
    }
}

/* The connection as its other end has it. */
static int describe(int fd, struct request *r)
{
    struct sockaddr_storage here, there;
    socklen_t here_len = sizeof here, there_len = sizeof there;
    if (getsockname(fd, (struct sockaddr *)&here, &here_len) != 0
        || getpeername(fd, (struct sockaddr *)&there, &there_len) != 0)
        return -errno;
    if (here.ss_family != there.ss_family || (here.ss_family != AF_INET && here.ss_family != AF_INET6))
        return -EAFNOSUPPORT;
    *r = (struct request){
        .head = { .nlmsg_len = sizeof *r, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST },
        .body = { .sdiag_family = (__u8)here.ss_family,
                  .sdiag_protocol = IPPROTO_TCP,
                  .idiag_states = ~0u,
                  .id.idiag_if = LOOPBACK_INTERFACE,
                  .id.idiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE } }
    };
    put_address(&there, r->body.id.idiag_src, &r->body.id.idiag_sport);
    put_address(&here, r->body.id.idiag_dst, &r->body.id.idiag_dport);
    return 0;
}

/* An IPv6 socket may be the other end of an IPv4 connection (RFC 4291 §2.5.5.2). */
static bool same_address(const struct inet_diag_msg *m, const __be32 asked[4], const __be32 found[4])
{
    const __be32 mapped[4] = { 0, 0, htonl(0xffff), asked[0] };
    bool asked_ipv4 = asked[1] == 0 && asked[2] == 0 && asked[3] == 0;
    return memcmp(found, asked, sizeof mapped) == 0
           || (m->idiag_family == AF_INET6 && asked_ipv4 && memcmp(found, mapped, sizeof mapped) == 0);
}

/* The entry of a closed connection has uid 0 and no inode; a listener has no peer. */
static int judge(const struct inet_diag_sockid *asked, const struct response *r, ssize_t len, uid_t *ret)
{
    const struct inet_diag_msg *m = &r->found;
    if (len >= (ssize_t)(sizeof r->head + sizeof r->failed) && r->head.nlmsg_type == NLMSG_ERROR)
        return r->failed.error < 0 ? r->failed.error : -ENOENT;
    if (len < (ssize_t)(sizeof r->head + sizeof *m) || r->head.nlmsg_type != SOCK_DIAG_BY_FAMILY)
        return -EBADMSG;
    bool same = m->id.idiag_sport == asked->idiag_sport && m->id.idiag_dport == asked->idiag_dport
                && same_address(m, asked->idiag_src, m->id.idiag_src)
                && same_address(m, asked->idiag_dst, m->id.idiag_dst);
    bool held = m->idiag_inode != 0 && m->idiag_state != TCP_LISTEN && m->idiag_state != TCP_TIME_WAIT
                && m->idiag_state != TCP_SYN_RECV;
    if (!same || !held)
        return -ENOENT;
    *ret = m->idiag_uid;
    return 0;
}

int peer_uid(int fd, uid_t *ret)
{
    struct request question;
    struct response answer = { 0 };
    int failed = describe(fd, &question);
    if (failed)
        return failed;
    int link = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
    if (link < 0)
        return -errno;
    ssize_t got = send(link, &question, sizeof question, 0); /* to the kernel, which answers at once */
    if (got >= 0)
        got = recv(link, &answer, sizeof answer, 0);
    failed = got < 0 ? -errno : judge(&question.body.id, &answer, got, ret);
    close(link);
    return failed;
}

bool peer_uid_holds(int fd)
{
    uid_t uid;
    int failed = peer_uid(fd, &uid);
    struct pollfd p = { .fd = fd };
    if (failed == -EAFNOSUPPORT) /* a unix socket: any close of its other end is a hang-up */
        return poll(&p, 1, 0) == 0;
    return failed == 0;
}
