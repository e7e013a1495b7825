#include "app/cmd/admin_client.h"
#include "app/config/config_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#define CONNECT_S 3
#define ANSWER_S 30 /* a refresh is answered when it is done */

static int fail(const struct config *c, int number, struct err *e)
{
    char text[64];
    const char *what = number ? strerror(number) : "no response";
    if (c->listen_admin.len)
        err_set(e, "%s: %s (is sidekey running, with this listen.admin?)",
                address_text((const struct sockaddr *)&c->listen_admin.sa, text, sizeof text), what);
    else
        err_set(e, "%s: %s (is sidekey running, with this listen.admin_socket?)", c->admin_socket, what);
    return EX_UNAVAILABLE;
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

static int connect_to(const struct sockaddr *to, socklen_t len)
{
    struct timeval send_limit = { .tv_sec = CONNECT_S }, answer_limit = { .tv_sec = ANSWER_S };
    int fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &send_limit, sizeof send_limit); /* connect(2) as well */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &answer_limit, sizeof answer_limit);
    if (connect(fd, to, len) != 0) {
        int number = errno;
        close(fd);
        return -number;
    }
    return fd;
}

/* Whose socket is it?  A directory may be one that others can write to. */
static int connect_socket(const char *path)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    struct stat st;
    if (snprintf(name.sun_path, sizeof name.sun_path, "%s", path) >= (int)sizeof name.sun_path)
        return -ENAMETOOLONG;
    if (lstat(path, &st) != 0)
        return -errno;
    if (!S_ISSOCK(st.st_mode) || (geteuid() != 0 && st.st_uid != 0 && st.st_uid != geteuid()))
        return -EACCES;
    return connect_to((const struct sockaddr *)&name, sizeof name);
}

/* Where a running sidekey puts it by itself: also inside a volume, and where systemd gives it a runtime directory and
 * not us. */
static int connect_default(const struct config *c)
{
    char path[PATH_MAX];
    int fd = connect_socket(c->admin_socket);
    if (fd < 0
        && snprintf(path, sizeof path, "%s/sidekey-%u/" CONFIG_ADMIN_SOCKET, c->store_file, geteuid()) < PATH_MAX)
        fd = connect_socket(path);
    if (fd < 0 && snprintf(path, sizeof path, "%s/" CONFIG_ADMIN_SOCKET, c->ca_publish) < PATH_MAX)
        fd = connect_socket(path);
    return fd;
}

/* The descriptor; -errno. */
static int connect_any(const struct config *c)
{
    int fd = -ENOENT;
    if (c->admin_socket_default)
        fd = connect_default(c);
    else if (config_admin_socket(c).path)
        fd = connect_socket(c->admin_socket);
    if (fd >= 0 || !c->listen_admin.len)
        return fd;
    const struct address local = reachable(&c->listen_admin);
    return connect_to((const struct sockaddr *)&local.sa, local.len);
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

int admin_client_ask(const struct config *c, const char *method, const char *path, int *ret_status, struct buf *out,
                     struct err *e)
{
    struct buf answer;
    if (!c->listen_admin.len && !config_admin_socket(c).path) {
        err_set(e, "listen.admin and listen.admin_socket are off: this command needs one of them");
        return EX_CONFIG;
    }
    int fd = connect_any(c);
    if (fd < 0)
        return fail(c, -fd, e);
    buf_init(&answer, ADMIN_CLIENT_ANSWER_MAX + 4096); /* and its head */
    int failed = exchange(fd, method, path, &answer);
    close(fd);
    struct slice all = buf_slice(&answer);
    const char *body = all.len ? memmem(all.ptr, all.len, "\r\n\r\n", 4) : NULL;
    uint64_t status = 0;
    if (failed || !body || slice_u64(slice_of(slice_skip(all, 9).ptr, 3), 999, &status) != 0)
        failed = fail(c, -failed, e);
    else if (buf_add(out, slice_skip(all, (size_t)(body + 4 - all.ptr))) != 0) {
        err_set(e, "out of memory");
        failed = EX_OSERR;
    }
    *ret_status = (int)status;
    buf_done(&answer);
    return failed;
}
