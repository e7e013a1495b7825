#include "app/cmd/admin_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#define CONNECT_S 3
#define ANSWER_S 30 /* a refresh is answered when it is done */

static int fail(const struct address *admin, int number, struct err *e)
{
    char text[64];
    return err_set(e, "%s: %s (does sidekey run, with this listen.admin?)",
                   address_text((const struct sockaddr *)&admin->sa, text, sizeof text),
                   number ? strerror(number) : "no answer");
}

/* listen.admin may be every address of the machine, and the machine may be without IPv6. */
static struct address reachable(const struct address *admin)
{
    struct address four;
    struct sockaddr_in6 in6;
    memcpy(&in6, &admin->sa, sizeof in6);
    if (admin->sa.ss_family != AF_INET6 || !IN6_IS_ADDR_UNSPECIFIED(&in6.sin6_addr)
        || address_parse(SLICE("127.0.0.1"), ntohs(in6.sin6_port), &four) != 0)
        return *admin;
    return four;
}

static int connect_to(const struct address *given)
{
    const struct address local = reachable(given), *admin = &local;
    struct timeval send_limit = { .tv_sec = CONNECT_S }, answer_limit = { .tv_sec = ANSWER_S };
    int fd = socket(admin->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &send_limit, sizeof send_limit); /* connect(2) as well */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &answer_limit, sizeof answer_limit);
    if (connect(fd, (const struct sockaddr *)&admin->sa, admin->len) != 0) {
        int number = errno;
        close(fd);
        return -number;
    }
    return fd;
}

static int exchange(int fd, const char *method, const char *path, struct buf *answer)
{
    char request[512];
    int len = snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                       method, path);
    if (len < 0 || (size_t)len >= sizeof request)
        return -ENAMETOOLONG;
    ssize_t got = send(fd, request, (size_t)len, MSG_NOSIGNAL);
    while (got > 0) {
        char *at = buf_reserve(answer, 4096);
        if (!at)
            return -EFBIG;
        got = recv(fd, at, 4096, 0);
        if (got > 0)
            buf_grow(answer, (size_t)got);
    }
    return got < 0 ? -errno : 0;
}

int admin_client_ask(const struct address *admin, const char *method, const char *path, int *ret_status,
                     struct buf *out, struct err *e)
{
    struct buf answer;
    int fd = connect_to(admin);
    if (fd < 0)
        return fail(admin, -fd, e);
    buf_init(&answer, ADMIN_CLIENT_ANSWER_MAX + 4096); /* and its head */
    int failed = exchange(fd, method, path, &answer);
    close(fd);
    struct slice all = buf_slice(&answer);
    const char *body = all.len ? memmem(all.ptr, all.len, "\r\n\r\n", 4) : NULL;
    uint64_t status = 0;
    if (failed || !body || slice_u64(slice_of(slice_skip(all, 9).ptr, 3), 999, &status) != 0)
        failed = fail(admin, -failed, e);
    else if (buf_add(out, slice_skip(all, (size_t)(body + 4 - all.ptr))) != 0)
        failed = err_set(e, "out of memory");
    *ret_status = (int)status;
    buf_done(&answer);
    return failed;
}
