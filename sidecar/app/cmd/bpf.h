/* app/cmd/bpf.h: a seccomp filter as a list of instructions, and what every filter of ours begins with.   For guard.c
 * and trap.c.   Source: linux/filter.h, seccomp(2). */
#ifndef SIDEKEY_APP_CMD_BPF_H
#define SIDEKEY_APP_CMD_BPF_H

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#else
#define OWN_ARCH 0 /* no filter here: see WRONG_ARCH */
#endif
#define WRONG_ARCH (OWN_ARCH == 0 ? "it supports only x86-64 and arm64" : NULL)
#define X32_BIT 0x40000000u
#ifndef AF_SMC
#define AF_SMC 43
#endif

/* clang-format off */
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define LOAD_ARG(n) LOAD(args[n]) /* its low half: both machines are little-endian */
#define LOAD_HIGH(n) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[n]) + 4)
#define IF(test, value, then, otherwise) BPF_JUMP(BPF_JMP | (test) | BPF_K, (value), (then), (otherwise))
#define END(verdict) BPF_STMT(BPF_RET | BPF_K, (verdict))
#define REFUSE(error) END(SECCOMP_RET_ERRNO | (error))
#define REFUSE_IF(value, error) IF(BPF_JEQ, (value), 0, 1), REFUSE(error)
#if defined(__x86_64__)
#define KILL_X32 IF(BPF_JGE, X32_BIT, 0, 1), END(SECCOMP_RET_KILL_PROCESS),
#else
#define KILL_X32
#endif
/* Calls of another architecture kill the process; io_uring, which no filter sees into, does not exist. Loads the number
 * of the call. */
#define BEGIN                                                                                                          \
    LOAD(arch),                                                                                                        \
    IF(BPF_JEQ, OWN_ARCH, 1, 0),                                                                                       \
    END(SECCOMP_RET_KILL_PROCESS),                                                                                     \
    LOAD(nr),                                                                                                          \
    KILL_X32                                                                                                           \
    REFUSE_IF(SYS_io_uring_setup, ENOSYS)
/* Of socket(): the families that reach other machines and are neither IPv4 nor IPv6.  Other calls are allowed. Loads the
 * protocol. */
#define SOCKETS_OF_IP                                                                                                  \
    IF(BPF_JEQ, SYS_socket, 1, 0),                                                                                     \
    END(SECCOMP_RET_ALLOW),                                                                                            \
    LOAD_ARG(0),                                                                                                       \
    REFUSE_IF(AF_VSOCK, EAFNOSUPPORT),                                                                                 \
    REFUSE_IF(AF_SMC, EAFNOSUPPORT),                                                                                   \
    LOAD_ARG(2)
/* clang-format on */

#endif
