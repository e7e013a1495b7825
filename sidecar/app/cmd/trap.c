/* The filter of app/cmd/trap.h, and how it comes to the process that answers. */
#include "app/cmd/trap_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "app/cmd/bpf.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5) /* Linux 5.19 */
#endif

const char *trap_missing(void)
{
    struct seccomp_notif_sizes sizes;
    if (WRONG_ARCH)
        return WRONG_ARCH;
    if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0u, &sizes) != 0)
        return "this kernel has no seccomp user notification (Linux 5.0 or later is needed), or a seccomp filter "
               "forbids it";
    if (syscall(SYS_pidfd_getfd, -1, 0, 0u) != 0 && errno != EBADF)
        return "this kernel has no pidfd_getfd (Linux 5.6 or later is needed), or a seccomp filter forbids it";
    return NULL;
}

int trap_begin(const char *hints, const char *ports, uint16_t listen_port, struct trap **ret)
{
    static struct trap trap;
    int ends[2], *const to[2] = { &trap.own_end, &trap.program_end };
    trap = (struct trap){ .listen_port = listen_port, .listener = -1 };
    *ret = &trap;
    decide_set_ports(&trap.policy, ports);
    if (!(trap.table = shared_map(hints)))
        return -EIO;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return -errno;
    for (int n = 0; n < 2; n++) { /* above the standard descriptors, whichever of them the caller has closed */
        *to[n] = fcntl(ends[n], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        close(ends[n]);
    }
    return trap.own_end >= 0 && trap.program_end >= 0 ? 0 : -EMFILE;
}

int trap_listener(const struct trap *t)
{
    return t->listener;
}

void trap_close(struct trap *t)
{
    close(t->listener);
    t->listener = -1;
}

/* clang-format off */
/* A sending call: not with fast open; without an address (a register says so) on its own; else we are asked. */
#define SENDMSG(call, flags)                                                                                           \
    IF(BPF_JEQ, (call), 0, 4),                                                                                         \
    LOAD_ARG(flags),                                                                                                   \
    IF(BPF_JSET, MSG_FASTOPEN, 0, 1),                                                                                  \
    REFUSE(EOPNOTSUPP),                                                                                                \
    END(SECCOMP_RET_USER_NOTIF)
#define SENDTO(call, flags, address)                                                                                   \
    IF(BPF_JEQ, (call), 0, 9),                                                                                         \
    LOAD_ARG(flags),                                                                                                   \
    IF(BPF_JSET, MSG_FASTOPEN, 0, 1),                                                                                  \
    REFUSE(EOPNOTSUPP),                                                                                                \
    LOAD_ARG(address),                                                                                                 \
    IF(BPF_JEQ, 0, 0, 3),                                                                                              \
    LOAD_HIGH(address),                                                                                                \
    IF(BPF_JEQ, 0, 0, 1),                                                                                              \
    END(SECCOMP_RET_ALLOW),                                                                                            \
    END(SECCOMP_RET_USER_NOTIF)

static int install(void)
{
    struct sock_filter code[] = {
        BEGIN,
        IF(BPF_JEQ, SYS_connect, 0, 1),
        END(SECCOMP_RET_USER_NOTIF),
        SENDTO(SYS_sendto, 3, 4),
        SENDMSG(SYS_sendmsg, 2),
        SENDMSG(SYS_sendmmsg, 3),
        SOCKETS_OF_IP, /* streams that are not looked into */
        REFUSE_IF(IPPROTO_SCTP, EPROTONOSUPPORT),
        REFUSE_IF(IPPROTO_DCCP, EPROTONOSUPPORT),
        END(SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof code / sizeof *code, .filter = code };
    unsigned flags = SECCOMP_FILTER_FLAG_NEW_LISTENER, killable = SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags | killable, &program);
    if (fd < 0 && errno == EINVAL)
        fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    return fd < 0 ? -errno : fd;
}
/* clang-format on */

int trap_enter(struct trap *t)
{
    char go = 0;
    close(t->own_end);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* whoever kills this run means the program */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -errno;
    prctl(PR_SET_DUMPABLE, 1); /* the parent takes the descriptor: this process may not send it any more */
    int fd = install();
    if (write(t->program_end, &fd, sizeof fd) != (ssize_t)sizeof fd || read(t->program_end, &go, 1) != 1)
        return fd < 0 ? fd : -EPIPE;
    close(t->program_end);
    if (fd >= 0)
        close(fd);
    return fd < 0 ? fd : 0;
}

int trap_take(struct trap *t, pid_t child)
{
    int theirs, failed = 0;
    close(t->program_end);
    if (read(t->own_end, &theirs, sizeof theirs) != (ssize_t)sizeof theirs)
        failed = -ECHILD; /* it has printed why */
    else if (theirs >= 0) {
        int pidfd = (int)syscall(SYS_pidfd_open, child, 0u);
        t->listener = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, theirs, 0u);
        failed = t->listener < 0 ? -errno : 0;
        if (pidfd >= 0)
            close(pidfd);
    }
    int thread = (int)syscall(SYS_pidfd_open, getpid(), PIDFD_THREAD);
    t->threads = thread >= 0;
    if (thread >= 0)
        close(thread);
    if (!failed && write(t->own_end, "g", 1) != 1)
        failed = -errno;
    close(t->own_end);
    return failed;
}
