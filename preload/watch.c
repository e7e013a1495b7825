/* Checks the first bytes of connections that are not redirected. A program that is configured for another proxy (a
 * flag, its own file) could ask that proxy for the host of a rule, and one with a resolver of its own could go to an
 * address that a host without a rule has too. Both would silently bypass sidekey: refused here and reported. */
#include "preload/preload.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define WATCHED_MAX 65536 /* descriptors; those beyond are not watched */

typedef ssize_t write_fn(int, const void *, size_t);
typedef ssize_t writev_fn(int, const struct iovec *, int);
typedef ssize_t send_fn(int, const void *, size_t, int);

/* A bit a descriptor.  One that was closed and is another file now costs a look at its first bytes. */
static uint64_t watched[WATCHED_MAX / 64];

static bool is_watched(int fd)
{
    return (unsigned)fd < WATCHED_MAX && (__atomic_load_n(&watched[fd / 64], __ATOMIC_RELAXED) >> fd % 64 & 1);
}

void preload_watch_connected(int fd, bool watch)
{
    uint64_t bit = UINT64_C(1) << (unsigned)fd % 64;
    if ((unsigned)fd >= WATCHED_MAX || watch == is_watched(fd))
        return;
    if (watch)
        (void)__atomic_fetch_or(&watched[fd / 64], bit, __ATOMIC_RELAXED);
    else
        (void)__atomic_fetch_and(&watched[fd / 64], ~bit, __ATOMIC_RELAXED);
}

/* The address has other names too, and one of them is not ours.  Loopback is the program's own business. */
static bool goes_around(const struct preload *p, int fd, const void *bytes, size_t size, char name[TABLE_TEXT])
{
    struct sockaddr_storage peer;
    struct target to;
    int saved = errno;
    socklen_t length = sizeof peer;
    bool found = decide_hello(&p->policy, bytes, size, name) && syscall(SYS_getpeername, fd, &peer, &length) == 0
                 && decide_target((struct sockaddr *)&peer, length, &to) && !decide_local(&to)
                 && decide_port(&p->policy, to.port);
    errno = saved;
    return found;
}

__attribute__((noinline)) static bool refuses(int fd, const void *bytes, size_t size)
{
    const struct preload *p = preload_get();
    char name[TABLE_TEXT];
    enum ask ask = p->routing && bytes ? decide_ask(&p->policy, bytes, size, name) : ASK_NOTHING;
    if (ask == ASK_LATER)
        return false;
    bool around = ask == ASK_NOTHING && p->routing && bytes && goes_around(p, fd, bytes, size, name);
    if (ask != ASK_OURS && !around) {
        preload_watch_connected(fd, false);
        return false;
    }
    (void)syscall(SYS_shutdown, fd, SHUT_RDWR); /* it stays watched: some programs try once more */
    preload_report(around ? REPORT_AROUND : REPORT_OTHER_PROXY, name);
    errno = EACCES;
    return true;
}

bool preload_watch_refuses(int fd, const void *bytes, size_t size)
{
    return is_watched(fd) && refuses(fd, bytes, size);
}

static ssize_t missing(void)
{
    errno = ENOSYS;
    return -1;
}

#define WRITE_HOOK(name)                                                                                               \
    HOOK(ssize_t, name, int fd, const void *bytes, size_t size)                                                        \
    {                                                                                                                  \
        write_fn *real = REAL(write_fn, name);                                                                         \
        if (!real && !(real = REAL(write_fn, write)))                                                                  \
            return missing();                                                                                          \
        return preload_watch_refuses(fd, bytes, size) ? -1 : real(fd, bytes, size);                                    \
    }
WRITE_HOOK(write)
WRITE_HOOK(__write)

#define SEND_HOOK(name)                                                                                                \
    HOOK(ssize_t, name, int fd, const void *bytes, size_t size, int flags)                                             \
    {                                                                                                                  \
        send_fn *real = REAL(send_fn, name);                                                                           \
        if (!real && !(real = REAL(send_fn, send)))                                                                    \
            return missing();                                                                                          \
        return preload_watch_refuses(fd, bytes, size) ? -1 : real(fd, bytes, size, flags);                             \
    }
SEND_HOOK(send)
SEND_HOOK(__send)

HOOK(ssize_t, writev, int fd, const struct iovec *parts, int count)
{
    writev_fn *real = REAL(writev_fn, writev);
    if (!real)
        return missing();
    return parts && count > 0 && preload_watch_refuses(fd, parts[0].iov_base, parts[0].iov_len)
               ? -1
               : real(fd, parts, count);
}
