/* A client for test_isolate.py, which is built statically, with glibc and with musl: `isolate_client MODE ADDRESS PORT
 * [HOST]`.  It prints the answer to a plain GET, or "errno N".  MODE: name (ADDRESS is a host name, looked up by libc),
 * raw (connect as a bare system call), uring (IORING_OP_CONNECT), fastopen (sendto with MSG_FASTOPEN), mptcp, dlsym
 * (the connect that dlsym finds in the C library); each of these looks a name up by libc first.  io_uring: is there
 * any? */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef MSG_FASTOPEN
#define MSG_FASTOPEN 0x20000000
#endif

static int fail(int error)
{
    printf("errno %d\n", error);
    return 1;
}

static int request(char *text, size_t size, const char *host)
{
    return snprintf(text, size, "GET / HTTP/1.0\r\nHost: %s\r\nAuthorization: placeholder\r\n\r\n", host);
}

static int ask(int fd, const char *host, int sent)
{
    char text[4096];
    int n = request(text, sizeof text, host), all = 0;
    ssize_t got;
    if (!sent && send(fd, text, (size_t)n, MSG_NOSIGNAL) != n)
        return fail(errno);
    while ((got = recv(fd, text + all, sizeof text - 1 - (size_t)all, 0)) > 0)
        all += (int)got;
    if (all == 0)
        return fail(got < 0 ? errno : 0);
    text[all] = '\0';
    char *body = strstr(text, "\r\n\r\n");
    puts(body ? body + 4 : text);
    return 0;
}

static struct sockaddr_in address(const char *text, const char *port)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *ai;
    if (inet_pton(AF_INET, text, &in.sin_addr) != 1 && getaddrinfo(text, port, &hints, &ai) == 0)
        memcpy(&in, ai->ai_addr, sizeof in);
    return in;
}

static int by_name(const char *host, const char *port)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *ai;
    int error = EHOSTUNREACH;
    if (getaddrinfo(host, port, &hints, &ai) != 0)
        return fail(ENOENT);
    for (; ai; ai = ai->ai_next) {
        int fd = socket(ai->ai_family, SOCK_STREAM, 0);
        if (fd >= 0 && connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
            return ask(fd, host, 0);
        error = errno;
        close(fd);
    }
    return fail(error);
}

/* One submission, one completion; the rings are the kernel's. */
static int uring_connect(int fd, const struct sockaddr_in *to)
{
    struct io_uring_params p;
    memset(&p, 0, sizeof p);
    int ring = (int)syscall(SYS_io_uring_setup, 2, &p);
    if (ring < 0)
        return -errno;
    size_t sq_size = p.sq_off.array + p.sq_entries * sizeof(unsigned);
    size_t cq_size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    char *sq = mmap(NULL, sq_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
    char *cq = mmap(NULL, cq_size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
    struct io_uring_sqe *sqe =
        mmap(NULL, p.sq_entries * sizeof *sqe, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
    if (sq == MAP_FAILED || cq == MAP_FAILED || sqe == MAP_FAILED)
        return -errno;
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = IORING_OP_CONNECT;
    sqe->fd = fd;
    sqe->addr = (unsigned long)to;
    sqe->off = sizeof *to;
    ((unsigned *)(void *)(sq + p.sq_off.array))[0] = 0;
    __atomic_store_n((unsigned *)(void *)(sq + p.sq_off.tail), 1u, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
        return -errno;
    return ((struct io_uring_cqe *)(void *)(cq + p.cq_off.cqes))[0].res;
}

static int by_address(const char *mode, const struct sockaddr_in *to, const char *host)
{
    char text[4096];
    int error = 0, sent = 0, fd = socket(AF_INET, SOCK_STREAM, strcmp(mode, "mptcp") == 0 ? IPPROTO_MPTCP : 0);
    if (fd < 0)
        return fail(errno);
    if (strcmp(mode, "uring") == 0) {
        error = -uring_connect(fd, to);
    } else if (strcmp(mode, "fastopen") == 0) {
        int n = request(text, sizeof text, host);
        sent = 1;
        if (syscall(SYS_sendto, fd, text, (long)n, MSG_FASTOPEN, to, (long)sizeof *to) != n)
            error = errno;
    } else if (strcmp(mode, "dlsym") == 0) {
        int (*call)(int, const struct sockaddr *, socklen_t) = dlsym(dlopen("libc.so.6", RTLD_NOW), "connect");
        if (!call || call(fd, (const void *)to, sizeof *to) != 0)
            error = call ? errno : ENOENT;
    } else if (syscall(SYS_connect, fd, to, (long)sizeof *to) != 0) {
        error = errno;
    }
    return error ? fail(error) : ask(fd, host, sent);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    if (strcmp(argv[1], "name") == 0)
        return by_name(argv[2], argv[3]);
    struct sockaddr_in to = address(argv[2], argv[3]);
    return by_address(argv[1], &to, argc > 4 ? argv[4] : argv[2]);
}
