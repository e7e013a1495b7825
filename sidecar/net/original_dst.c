#include "net/original_dst.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#define ORIGINAL_DST 80 /* the kernel's headers of the two families cannot be included beside netinet/in.h */

static bool same_v4(const struct sockaddr_in *a, const struct sockaddr_storage *local)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    if (local->ss_family == AF_INET) {
        memcpy(&in, local, sizeof in);
        return in.sin_port == a->sin_port && in.sin_addr.s_addr == a->sin_addr.s_addr;
    }
    memcpy(&in6, local, sizeof in6);
    return in6.sin6_port == a->sin_port && memcmp(in6.sin6_addr.s6_addr + 12, &a->sin_addr, sizeof a->sin_addr) == 0;
}

static int original_v4(int fd, const struct sockaddr_storage *local, struct sockaddr_storage *ret)
{
    struct sockaddr_in in = { .sin_family = AF_INET };
    socklen_t len = sizeof in;
    if (getsockopt(fd, IPPROTO_IP, ORIGINAL_DST, &in, &len) != 0)
        return -errno;
    if (same_v4(&in, local))
        return -ENOENT;
    memcpy(ret, &in, sizeof in);
    return 0;
}

static int original_v6(int fd, const struct sockaddr_storage *local, struct sockaddr_storage *ret)
{
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 }, own;
    socklen_t len = sizeof in6;
    if (getsockopt(fd, IPPROTO_IPV6, ORIGINAL_DST, &in6, &len) != 0)
        return -errno;
    memcpy(&own, local, sizeof own);
    if (own.sin6_port == in6.sin6_port && memcmp(&own.sin6_addr, &in6.sin6_addr, sizeof own.sin6_addr) == 0)
        return -ENOENT;
    memcpy(ret, &in6, sizeof in6);
    return 0;
}

int original_dst(int fd, struct sockaddr_storage *ret)
{
    struct sockaddr_storage local;
    struct sockaddr_in6 in6;
    socklen_t len = sizeof local;
    if (getsockname(fd, (struct sockaddr *)&local, &len) != 0)
        return -errno;
    memcpy(&in6, &local, sizeof in6);
    bool v4 = local.ss_family == AF_INET || IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
    return v4 ? original_v4(fd, &local, ret) : original_v6(fd, &local, ret);
}
