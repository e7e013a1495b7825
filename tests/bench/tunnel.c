/* tests/bench/tunnel.c: a library for LD_PRELOAD that leads connect() to a port of loopback through a proxy's CONNECT,
 * for programs that know no proxy (h2load).   TUNNEL_PORT: the port.  TUNNEL_PROXY: the proxy's port.  TUNNEL_HOST:
 * what CONNECT names. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 60000

static int number(const char *name)
{
    const char *text = getenv(name);
    return text ? atoi(text) : 0;
}

static int wait_for(int fd, short events)
{
    struct pollfd p = { fd, events, 0 };
    return poll(&p, 1, PATIENCE_MS) == 1 ? 0 : -1;
}

/* A byte at a time: what follows the head is not ours. */
static int read_head(int fd)
{
    char head[1024];
    for (size_t n = 0; n < sizeof head && wait_for(fd, POLLIN) == 0 && read(fd, head + n, 1) == 1; n++)
        if (n > 3 && memcmp(head + n - 3, "\r\n\r\n", 4) == 0)
            return strncmp(head, "HTTP/1.1 200", 12) == 0 ? 0 : -1;
    return -1;
}

__attribute__((visibility("default"))) int connect(int fd, const struct sockaddr *to, socklen_t len)
{
    int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    struct sockaddr_in in;
    char head[512];
    if (to->sa_family != AF_INET || len < sizeof in)
        return next(fd, to, len);
    memcpy(&in, to, sizeof in);
    if (ntohs(in.sin_port) != number("TUNNEL_PORT"))
        return next(fd, to, len);
    in.sin_port = htons((unsigned short)number("TUNNEL_PROXY"));
    if (next(fd, (struct sockaddr *)&in, sizeof in) != 0 && (errno != EINPROGRESS || wait_for(fd, POLLOUT) != 0))
        return -1;
    int n = snprintf(head, sizeof head, "CONNECT %s:443 HTTP/1.1\r\nHost: %s:443\r\n\r\n", getenv("TUNNEL_HOST"),
                     getenv("TUNNEL_HOST"));
    if (write(fd, head, (size_t)n) == n && read_head(fd) == 0)
        return 0;
    errno = ECONNREFUSED;
    return -1;
}
