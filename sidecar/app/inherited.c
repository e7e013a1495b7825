#include "app/inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_FD 3 /* sd_listen_fds(3): SD_LISTEN_FDS_START */
#define FDS_MAX 16

static struct {
    int fd; /* -1: taken */
    char name[32];
} given[FDS_MAX];
static unsigned count;

static long number_of(const char *variable)
{
    const char *text = getenv(variable);
    char *end;
    errno = 0;
    long value = text ? strtol(text, &end, 10) : 0;
    return text && !errno && end != text && !*end ? value : 0;
}

/* names: as LISTEN_FDNAMES has them, apart by colons. */
static void take(unsigned i, const char **names)
{
    size_t len = *names ? strcspn(*names, ":") : 0;
    int fd = FIRST_FD + (int)i;
    given[i].fd = fd;
    snprintf(given[i].name, sizeof given[i].name, "%.*s", (int)len, *names ? *names : "");
    if (*names)
        *names = (*names)[len] ? *names + len + 1 : NULL;
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void inherited_begin(void)
{
    long fds = number_of("LISTEN_PID") == (long)getpid() ? number_of("LISTEN_FDS") : 0;
    const char *names = getenv("LISTEN_FDNAMES");
    count = fds > 0 && fds <= FDS_MAX ? (unsigned)fds : 0;
    for (unsigned i = 0; i < count; i++)
        take(i, &names);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
}

static bool is_listener(const char *name)
{
    static const char *const names[] = { "proxy", "admin", "socket", "admin_socket" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static bool where(int fd, struct address *ret)
{
    int listening = 0;
    socklen_t len = sizeof listening;
    ret->len = sizeof ret->sa;
    memset(&ret->sa, 0, sizeof ret->sa);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening
           && getsockname(fd, (struct sockaddr *)&ret->sa, &ret->len) == 0;
}

/* By its name; a name of the unit's own says nothing, then the address does. */
static int find(const char *name, sa_family_t family, bool (*is_at)(const struct address *at, const void *arg),
                const void *arg, struct address *ret_at)
{
    for (unsigned i = 0; i < count; i++) {
        struct address at;
        if (given[i].fd < 0 || !where(given[i].fd, &at) || (at.sa.ss_family == AF_UNIX) != (family == AF_UNIX))
            continue;
        if (strcmp(given[i].name, name) != 0 && (is_listener(given[i].name) || !is_at(&at, arg)))
            continue;
        int fd = given[i].fd;
        given[i].fd = -1;
        *ret_at = at;
        return fd;
    }
    return -1;
}

static bool same_address(const struct address *at, const void *arg)
{
    char a[64], b[64];
    const struct address *wanted = arg;
    address_text((const struct sockaddr *)&at->sa, a, sizeof a);
    address_text((const struct sockaddr *)&wanted->sa, b, sizeof b);
    return wanted->len && strcmp(a, b) == 0;
}

static bool same_path(const struct address *at, const void *arg)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    memcpy(&name, &at->sa, at->len < sizeof name ? at->len : sizeof name);
    return arg && strncmp(name.sun_path, arg, sizeof name.sun_path) == 0;
}

int inherited_tcp(const char *name, struct address *io_at)
{
    struct address at;
    int fd = find(name, AF_INET, same_address, io_at, &at);
    if (fd >= 0)
        *io_at = at;
    return fd;
}

int inherited_unix(const char *name, const char *path)
{
    struct address at;
    return find(name, AF_UNIX, same_path, path, &at);
}

int inherited_all_taken(struct err *e)
{
    for (unsigned i = 0; i < count; i++)
        if (given[i].fd >= 0)
            return err_set(e,
                           "LISTEN_FDS: descriptor %d (\"%s\") is not a listener of the configuration: name it with "
                           "FileDescriptorName=proxy, admin, socket or admin_socket, or give both the same address",
                           given[i].fd, given[i].name);
    return 0;
}
