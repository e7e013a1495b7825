#include "app/cmd/isolate_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 1024
#define LOOPBACK_INDEX 1 /* of the first interface of each network namespace */

static int loopback_up(void)
{
    struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int failed = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &r) == 0 ? 0 : -errno;
    if (fd >= 0)
        close(fd);
    return failed;
}

/* Sends one request and waits for its answer.  0; -errno. */
static int request(int netlink, const struct nlmsghdr *ask)
{
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        char asked[256];
    } answer;
    if (send(netlink, ask, ask->nlmsg_len, 0) != (ssize_t)ask->nlmsg_len)
        return -errno;
    ssize_t got = recv(netlink, &answer, sizeof answer, 0);
    if (got < (ssize_t)(sizeof answer.head + sizeof answer.error.error) || answer.head.nlmsg_type != NLMSG_ERROR)
        return got < 0 ? -errno : -EBADMSG;
    return answer.error.error;
}

#define NEW (NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)

/* ip route add local default dev lo table local */
static int add_route(int netlink, int family)
{
    struct {
        struct nlmsghdr head;
        struct rtmsg route;
        struct rtattr attr;
        uint32_t index;
    } ask = { .head = { .nlmsg_len = sizeof ask, .nlmsg_type = RTM_NEWROUTE, .nlmsg_flags = NEW },
              .route = { .rtm_family = (unsigned char)family,
                         .rtm_table = RT_TABLE_LOCAL,
                         .rtm_protocol = RTPROT_BOOT,
                         .rtm_scope = RT_SCOPE_HOST,
                         .rtm_type = RTN_LOCAL },
              .attr = { .rta_len = RTA_LENGTH(sizeof(uint32_t)), .rta_type = RTA_OIF },
              .index = LOOPBACK_INDEX };
    return request(netlink, &ask.head);
}

/* Programs take a machine whose only addresses are 127.0.0.1 and ::1 for one without a network, and look no name up: so
 * it has one more of each.  192.0.0.8 is the dummy address of RFC 7600, the other one is in the range of our names and
 * has none. */
static int add_address(int netlink, int family)
{
    static const uint8_t dummy4[4] = { 192, 0, 0, 8 };
    static const uint8_t dummy6[16] = { 0xfd, 0x73, 0x69, 0x64, 0x65, 0x6b, 0x65, 0x79, [12] = 0xff, 0xff, 0xff, 0xfe };
    bool v6 = family == AF_INET6;
    unsigned short size = v6 ? sizeof dummy6 : sizeof dummy4;
    struct {
        struct nlmsghdr head;
        struct ifaddrmsg address;
        struct rtattr attr;
        uint8_t bytes[16];
    } ask = { .head = { .nlmsg_len = sizeof ask, .nlmsg_type = RTM_NEWADDR, .nlmsg_flags = NEW },
              .address = { .ifa_family = (unsigned char)family,
                           .ifa_prefixlen = (unsigned char)(size * 8),
                           .ifa_flags = IFA_F_NODAD,
                           .ifa_index = LOOPBACK_INDEX },
              .attr = { .rta_len = (unsigned short)RTA_LENGTH(size), .rta_type = IFA_LOCAL } };
    ask.head.nlmsg_len = (uint32_t)(offsetof(__typeof__(ask), bytes) + size);
    memcpy(ask.bytes, v6 ? dummy6 : dummy4, size);
    return request(netlink, &ask.head);
}

static int add_family(int netlink, int family)
{
    int failed = add_route(netlink, family);
    return failed ? failed : add_address(netlink, family);
}

int isolate_net_up(bool *ret_v6)
{
    int failed = loopback_up();
    int netlink = failed ? -1 : socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (netlink < 0)
        return failed ? failed : -errno;
    failed = add_family(netlink, AF_INET);
    bool v6 = failed == 0 && add_family(netlink, AF_INET6) == 0;
    close(netlink);
    if (failed == 0)
        *ret_v6 = v6;
    return failed;
}

static int fail(int fd)
{
    int error = errno;
    if (fd >= 0)
        close(fd);
    return -error;
}

static int bind_to(int fd, int family, uint16_t port, bool loopback)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    if (family == AF_INET) {
        in.sin_addr.s_addr = htonl(loopback ? INADDR_LOOPBACK : INADDR_ANY);
        return bind(fd, (struct sockaddr *)&in, sizeof in);
    }
    in6.sin6_addr = loopback ? in6addr_loopback : in6addr_any;
    return bind(fd, (struct sockaddr *)&in6, sizeof in6);
}

int isolate_net_listen(int family, uint16_t port, bool loopback_only)
{
    const int on = 1, v6_alone = loopback_only;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
        return fail(fd);
    if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_alone, sizeof v6_alone) != 0)
        return fail(fd);
    if (bind_to(fd, family, port, loopback_only) != 0 || listen(fd, BACKLOG) != 0)
        return fail(fd);
    return fd;
}

int isolate_net_dns(void)
{
    const int on = 1, off = 0;
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), family = AF_INET6;
    if (fd < 0 && errno == EAFNOSUPPORT) {
        family = AF_INET;
        fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    }
    if (fd < 0)
        return -errno;
    if (family == AF_INET6
        && (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0
            || setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on) != 0))
        return fail(fd);
    /* An answer comes from the address that was asked, which no interface has. */
    if (setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof on) != 0
        || (family == AF_INET && setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) != 0)
        || bind_to(fd, family, 53, false) != 0)
        return fail(fd);
    return fd;
}
