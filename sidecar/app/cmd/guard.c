#include "app/cmd/guard.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "app/cmd/bpf.h"

/* linux/landlock.h of Debian 12 is older than ABI 4. */
#define LANDLOCK_ABI_CONNECT 4
#define LANDLOCK_VERSION 1u
#define LANDLOCK_CONNECT_TCP (UINT64_C(1) << 1)
#define LANDLOCK_NET_PORT 2
struct landlock_ruleset {
    uint64_t handled_fs, handled_net;
};
struct landlock_port {
    uint64_t allowed, port;
};

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static long landlock_abi(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_VERSION);
}

const char *guard_missing(void)
{
    long abi = landlock_abi();
    if (WRONG_ARCH)
        return WRONG_ARCH;
    if (abi < 0 && errno == ENOSYS)
        return "this kernel has no Landlock (Linux 6.7 or later is needed)";
    if (abi < 0 && errno == EOPNOTSUPP)
        return "Landlock is switched off at boot; the kernel parameter \"lsm=\" must name landlock";
    if (abi < 0)
        return "a seccomp filter or a security module forbids Landlock";
    if (abi < LANDLOCK_ABI_CONNECT)
        return "Landlock of this kernel cannot judge connections (Linux 6.7 or later is needed)";
    if (prctl(PR_GET_SECCOMP) < 0)
        return "this kernel has no seccomp";
    return NULL;
}

static int allow_ports(const uint16_t *ports, size_t count)
{
    struct landlock_ruleset what = { .handled_net = LANDLOCK_CONNECT_TCP };
    int failed = 0, fd = (int)syscall(SYS_landlock_create_ruleset, &what, sizeof what, 0u);
    if (fd < 0)
        return -errno;
    for (size_t i = 0; i < count && !failed; i++) {
        struct landlock_port one = { .allowed = LANDLOCK_CONNECT_TCP, .port = ports[i] };
        if (syscall(SYS_landlock_add_rule, fd, LANDLOCK_NET_PORT, &one, 0u) != 0)
            failed = -errno;
    }
    if (!failed && syscall(SYS_landlock_restrict_self, fd, 0u) != 0)
        failed = -errno;
    close(fd);
    return failed;
}

/* clang-format off */
/* The flags of a sending call: the next four instructions of "call". */
#define NO_FASTOPEN(call, flags)                                                                                       \
    IF(BPF_JEQ, (call), 0, 4),                                                                                         \
    LOAD_ARG(flags),                                                                                                   \
    IF(BPF_JSET, MSG_FASTOPEN, 0, 1),                                                                                  \
    REFUSE(EOPNOTSUPP),                                                                                                \
    END(SECCOMP_RET_ALLOW)

static int close_other_ways(void)
{
    struct sock_filter code[] = {
        BEGIN,
        NO_FASTOPEN(SYS_sendto, 3),
        NO_FASTOPEN(SYS_sendmsg, 2),
        NO_FASTOPEN(SYS_sendmmsg, 3),
        SOCKETS_OF_IP, /* streams that Landlock does not take for TCP */
        REFUSE_IF(IPPROTO_MPTCP, EPROTONOSUPPORT),
        REFUSE_IF(IPPROTO_SCTP, EPROTONOSUPPORT),
        REFUSE_IF(IPPROTO_DCCP, EPROTONOSUPPORT),
        END(SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof code / sizeof *code, .filter = code };
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0u, &program) == 0 ? 0 : -errno;
}
/* clang-format on */

int guard_apply(const uint16_t *ports, size_t count)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -errno;
    int failed = allow_ports(ports, count);
    return failed ? failed : close_other_ways();
}
