#include "app/cmd/guard.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

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

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#else
#define OWN_ARCH 0 /* guard_missing() says so */
#endif
#define X32_BIT 0x40000000u

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef AF_SMC
#define AF_SMC 43
#endif

static long landlock_abi(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_VERSION);
}

const char *guard_missing(void)
{
    long abi = landlock_abi();
    if (OWN_ARCH == 0)
        return "it supports only x86-64 and arm64";
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
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define LOAD_ARG(n) LOAD(args[n]) /* its low half: both machines are little-endian */
#define IF(test, value, then, otherwise) BPF_JUMP(BPF_JMP | (test) | BPF_K, (value), (then), (otherwise))
#define END(verdict) BPF_STMT(BPF_RET | BPF_K, (verdict))
#define REFUSE(error) END(SECCOMP_RET_ERRNO | (error))
/* The flags of a sending call: the next four instructions of "call". */
#define NO_FASTOPEN(call, flags)                                                                                       \
    IF(BPF_JEQ, (call), 0, 4),                                                                                         \
    LOAD_ARG(flags),                                                                                                   \
    IF(BPF_JSET, MSG_FASTOPEN, 0, 1),                                                                                  \
    REFUSE(EOPNOTSUPP),                                                                                                \
    END(SECCOMP_RET_ALLOW)
#define REFUSE_IF(value, error) IF(BPF_JEQ, (value), 0, 1), REFUSE(error)

static int close_other_ways(void)
{
    struct sock_filter code[] = {
        LOAD(arch),
        IF(BPF_JEQ, OWN_ARCH, 1, 0),
        END(SECCOMP_RET_KILL_PROCESS),
        LOAD(nr),
#if defined(__x86_64__)
        IF(BPF_JGE, X32_BIT, 0, 1),
        END(SECCOMP_RET_KILL_PROCESS),
#endif
        REFUSE_IF(SYS_io_uring_setup, ENOSYS),
        NO_FASTOPEN(SYS_sendto, 3),
        NO_FASTOPEN(SYS_sendmsg, 2),
        NO_FASTOPEN(SYS_sendmmsg, 3),
        IF(BPF_JEQ, SYS_socket, 1, 0),
        END(SECCOMP_RET_ALLOW),
        LOAD_ARG(0), /* the family: those that reach other machines and are neither IPv4 nor IPv6 */
        REFUSE_IF(AF_VSOCK, EAFNOSUPPORT),
        REFUSE_IF(AF_SMC, EAFNOSUPPORT),
        LOAD_ARG(2), /* the protocol: streams that Landlock does not take for TCP */
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
