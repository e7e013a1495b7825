#include "app/cmd/isolate.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "app/cmd/isolate_net.h"
#include "app/config/units.h"

/* What goes through the socket, one packet each, with the descriptor if there is one. */
enum { MAP_ME = 'm', MAPPED = 'y', NOT_MAPPED = 'n', LISTENER = 't', NAMES = 'd', NAMES_V6 = 'D', ALL_SENT = 'e' };

#define MAP_TEXT_MAX 4096

int isolate_allow_local(struct isolate *i, const char *port)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(port, &end, 10);
    if (errno || *end || end == port || *port == '-' || *port == '+' || number == 0 || number > UINT16_MAX)
        return -EINVAL;
    if (i->local_count == ISOLATED_LOCAL_MAX)
        return -ENOSPC;
    i->local[i->local_count++] = (uint16_t)number;
    return 0;
}

/* ---- the socket ---- */

int isolate_begin(struct isolate *i)
{
    int ends[2], *const to[2] = { &i->program_end, &i->daemon_end };
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return -errno;
    for (int n = 0; n < 2; n++) { /* above the standard descriptors, whichever of them the caller has closed */
        *to[n] = fcntl(ends[n], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        close(ends[n]);
    }
    return i->program_end >= 0 && i->daemon_end >= 0 ? 0 : -EMFILE;
}

/* fd -1: none.  0; -errno. */
static int put(int socket, char what, int fd)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { .bytes = { 0 } };
    struct iovec one = { .iov_base = &what, .iov_len = 1 };
    struct msghdr m = { .msg_iov = &one, .msg_iovlen = 1 };
    if (fd >= 0) {
        control.head =
            (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd) };
        memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
        m.msg_control = &control;
        m.msg_controllen = sizeof control.bytes;
    }
    return sendmsg(socket, &m, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

/* What came, 0: the end.  *ret_fd: -1 when there is none. */
static char get(int socket, int *ret_fd)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    char what = 0;
    struct iovec one = { .iov_base = &what, .iov_len = 1 };
    struct msghdr m = {
        .msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.bytes
    };
    ssize_t n;
    do
        n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    struct cmsghdr *c = n == 1 ? CMSG_FIRSTHDR(&m) : NULL;
    *ret_fd = -1;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(ret_fd, CMSG_DATA(c), sizeof *ret_fd);
    return n == 1 ? what : 0;
}

/* ---- who the program is ---- */

static int write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t len = strlen(text);
    int failed = write(fd, text, len) == (ssize_t)len ? 0 : -errno;
    close(fd);
    return failed;
}

/* Every ID that this namespace has, as itself. */
static int map_all(pid_t pid, const char *name)
{
    char path[64], text[MAP_TEXT_MAX] = "", line[128];
    unsigned inside, outside, count;
    size_t len = 0;
    snprintf(path, sizeof path, "/proc/self/%s", name);
    FILE *own = fopen(path, "re");
    while (own && fgets(line, sizeof line, own) && sscanf(line, "%u %u %u", &inside, &outside, &count) == 3
           && len + sizeof line < sizeof text)
        len += (size_t)snprintf(text + len, sizeof text - len, "%u %u %u\n", inside, inside, count);
    if (own)
        fclose(own);
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return len ? write_text(path, text) : -ENOENT;
}

/* The program's own IDs alone, which is all that a process may map that is not root. */
static int map_self(uid_t uid, gid_t gid)
{
    char text[64];
    /* A process that must not be inspected may not write its own maps either: user_namespaces(7), proc(5). */
    prctl(PR_SET_DUMPABLE, 1);
    int failed = write_text("/proc/self/setgroups", "deny");
    snprintf(text, sizeof text, "%u %u 1\n", uid, uid);
    if (failed == 0)
        failed = write_text("/proc/self/uid_map", text);
    snprintf(text, sizeof text, "%u %u 1\n", gid, gid);
    if (failed == 0)
        failed = write_text("/proc/self/gid_map", text);
    prctl(PR_SET_DUMPABLE, 0);
    return failed;
}

/* Root keeps every user, so that su and package managers work; only a process outside may map them. */
static int map_ids(struct isolate *i, uid_t uid, gid_t gid)
{
    int none;
    if (uid == 0 && put(i->program_end, MAP_ME, -1) == 0 && get(i->program_end, &none) == MAPPED)
        return 0;
    return map_self(uid, gid);
}

/* ---- what it reaches ---- */

static bool has(const uint16_t *ports, size_t count, uint16_t port)
{
    for (size_t i = 0; i < count; i++)
        if (ports[i] == port)
            return true;
    return false;
}

static int add_port(uint16_t *ports, size_t *io_count, uint16_t port)
{
    if (has(ports, *io_count, port))
        return 0;
    if (*io_count == ISOLATED_TCP_MAX - 2 * ISOLATED_LOCAL_MAX)
        return -ENOSPC;
    ports[(*io_count)++] = port;
    return 0;
}

/* The ports of the rules; of hosts without a rule those of HTTP, or what connect_ports allows. */
static int find_ports(const struct config *c, uint16_t *ports, size_t *ret_count)
{
    static const uint16_t usual[] = { 443, 80, 0 };
    int failed = 0;
    *ret_count = 0;
    for (const uint16_t *p = c->connect_ports ? c->connect_ports : usual; *p && !failed; p++)
        failed = add_port(ports, ret_count, *p);
    for (size_t n = 0; n < c->rule_count && !failed; n++)
        failed = add_port(ports, ret_count, c->rules[n].port);
    return failed;
}

static int send_listener(struct isolate *i, int family, uint16_t port, bool loopback_only)
{
    int fd = isolate_net_listen(family, port, loopback_only);
    if (fd < 0)
        return fd;
    int failed = put(i->program_end, LISTENER, fd);
    close(fd);
    return failed;
}

static int send_sockets(struct isolate *i, bool v6)
{
    uint16_t ports[ISOLATED_TCP_MAX];
    size_t count;
    int failed = find_ports(i->config, ports, &count);
    for (size_t n = 0; n < count && !failed; n++) {
        failed = send_listener(i, AF_INET6, ports[n], false);
        if (failed == -EAFNOSUPPORT)
            failed = send_listener(i, AF_INET, ports[n], false);
    }
    for (unsigned n = 0; n < i->local_count && !failed; n++) {
        if (has(ports, count, i->local[n]))
            continue; /* its listener hears loopback too */
        failed = send_listener(i, AF_INET, i->local[n], true);
        if (!failed && v6)
            failed = send_listener(i, AF_INET6, i->local[n], true);
    }
    int dns = failed ? failed : isolate_net_dns();
    if (dns < 0)
        return dns;
    failed = put(i->program_end, v6 ? NAMES_V6 : NAMES, dns);
    close(dns);
    return failed ? failed : put(i->program_end, ALL_SENT, -1);
}

/* i NULL: only tried. */
static int make_network(struct isolate *i, bool *ret_v6)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int failed = unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) == 0 ? 0 : -errno;
    if (failed)
        return isolate_refused("cannot make the program's namespaces", -failed);
    if ((failed = i ? map_ids(i, uid, gid) : map_self(uid, gid)) != 0)
        return isolate_refused("cannot map the program's user", -failed);
    if ((failed = isolate_net_up(ret_v6)) != 0)
        return isolate_refused("cannot set up the program's network", -failed);
    return 0;
}

int isolate_try(void)
{
    bool v6;
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(make_network(NULL, &v6));
    if (child < 0 || waitpid(child, &status, 0) != child)
        return isolate_refused("cannot make the program's namespaces", errno);
    return WIFEXITED(status) ? WEXITSTATUS(status) : EX_UNAVAILABLE;
}

int isolate_enter(struct isolate *i)
{
    bool v6 = false;
    close(i->daemon_end);
    config_keep_secrets(i->config, CONFIG_NOBODY); /* before map_self() */
    int failed = make_network(i, &v6);
    if (failed)
        return failed;
    if ((failed = send_sockets(i, v6)) != 0)
        return isolate_refused("cannot listen in the program's network", -failed);
    close(i->program_end);
    return 0;
}

/* ---- the private sidekey's side ---- */

static int take(struct isolated_sockets *s, char what, int fd)
{
    if (fd < 0)
        return -1;
    if (what == LISTENER && s->tcp_count < ISOLATED_TCP_MAX) {
        s->tcp[s->tcp_count++] = fd;
        return 0;
    }
    if ((what == NAMES || what == NAMES_V6) && s->dns < 0) {
        s->dns = fd;
        s->v6 = what == NAMES_V6;
        return 0;
    }
    close(fd);
    return -1;
}

int isolate_receive(struct isolate *i, struct isolated_sockets *ret)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    int fd, failed = 0;
    char what;
    *ret = (struct isolated_sockets){ .dns = -1, .local_count = i->local_count };
    memcpy(ret->local, i->local, sizeof ret->local);
    if (getsockopt(i->daemon_end, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0) /* who made the pair: the program */
        return -1;
    while (!failed && (what = get(i->daemon_end, &fd)) != ALL_SENT) {
        if (what == MAP_ME) {
            bool good = map_all(peer.pid, "uid_map") == 0 && map_all(peer.pid, "gid_map") == 0;
            failed = put(i->daemon_end, good ? MAPPED : NOT_MAPPED, -1);
        } else
            failed = take(ret, what, fd);
    }
    close(i->daemon_end);
    return failed || ret->dns < 0 ? -1 : 0;
}
