/* preload/preload.h: the inside of libsidekey-preload.so.   Loads under glibc and musl: no NEEDED entry, undefined
 * symbols come from the libc that is there.   One file per family of libc calls; decide.c and shared.c are what they
 * share.
 *
 * A hook never allocates, locks, blocks, prints, starts a thread or keeps a descriptor (fake_getaddrinfo's canonical
 * name and the certificate stores of store.c are the exceptions, and say why); errno is what the real call leaves.  It
 * works before our constructor has run, in a signal handler and in a vfork child, which shares its parent's memory:
 * everything an exec hook makes is on the stack. Hooks are C functions named hook_x with the symbol x: libc's
 * prototypes (transparent unions, nonnull, fortify) stay out of the way. */
#ifndef SIDEKEY_PRELOAD_PRELOAD_H
#define SIDEKEY_PRELOAD_PRELOAD_H

#include <errno.h>

#include "preload/shared.h"

/* Every symbol that we interpose; exports.map lists the same. */
/* clang-format off */
#define PRELOAD_HOOKS(X)                                                                                               \
    X(connect) X(__connect) X(getpeername) X(sendto) X(sendmsg) X(sendmmsg)                                            \
    X(write) X(__write) X(writev) X(send) X(__send)                                                                    \
    X(getaddrinfo) X(getnameinfo) X(gethostbyname) X(gethostbyname2) X(gethostbyname_r) X(gethostbyname2_r)            \
    X(open) X(open64) X(__open_2) X(__open64_2) X(openat) X(openat64) X(__openat_2) X(__openat64_2)                    \
    X(fopen) X(fopen64) X(access) X(faccessat) X(stat) X(stat64) X(__xstat) X(__xstat64)                               \
    X(fstatat) X(fstatat64) X(__fxstatat) X(__fxstatat64) X(statx)                                                     \
    X(execve) X(execv) X(execvp) X(execvpe) X(execl) X(execlp) X(execle) X(fexecve) X(execveat)                        \
    X(posix_spawn) X(posix_spawnp) X(system) X(popen) X(dlopen)                                                        \
    X(X509_STORE_new) X(gnutls_certificate_allocate_credentials)                                                       \
    X(gnutls_x509_trust_list_add_trust_file) X(gnutls_x509_trust_list_add_system_trust)

enum hook {
#define X(name) HOOK_##name,
    PRELOAD_HOOKS(X)
#undef X
    HOOK_COUNT
};
/* clang-format on */

#define HOOK(type, name, ...)                                                                                          \
    __attribute__((visibility("default"))) type hook_##name(__VA_ARGS__) __asm__(#name);                               \
    type hook_##name(__VA_ARGS__)

typedef void any_fn(void);
/* The next definition of the hook's symbol; NULL when this libc has none.  Looked up once, kept. */
any_fn *preload_real(enum hook h);
#define REAL(type, name) ((type *)preload_real(HOOK_##name))

/* The environment when the process started. */
struct preload {
    bool routing;         /* a table and a port were given */
    uint16_t proxy_port;  /* of the private proxy; 0: not told */
    uint16_t listen_port; /* of the worker's transparent listener, on every address of 127.0.0.0/8 */
    bool off[HOOK_COUNT]; /* SIDEKEY_PRELOAD_DISABLE */
    char table_path[1024];
    char ca[1024];    /* the merged bundle, PEM; "": leave bundles alone */
    char jks[1024];   /* the same for JVMs */
    char root[1024];  /* our CA alone, PEM; "": leave certificate stores alone */
    char report[108]; /* the run's datagram socket; "": none */
    bool strict;      /* children that the library would not be in are not started */
    struct policy policy;
    size_t keep_count; /* variables that children must have: offsets of "NAME=value" in text */
    uint16_t keep[40];
    uint16_t preload; /* offset of our own element of LD_PRELOAD in text; 0: we were loaded in another way */
    uint16_t text_length;
    char text[16384];
};

/* Read from the environment at first use; every thread gets the same bytes. Never NULL. */
const struct preload *preload_get(void);
/* As preload_get, but NULL when this hook is switched off or there is nothing to route. */
const struct preload *preload_routing(enum hook h);
/* Sends one datagram to the run's socket, which prints it: kind, then text. Async-signal-safe; keeps errno. */
#define REPORT_OTHER_PROXY 'P' /* "host that was asked for" */
#define REPORT_AROUND 'D'      /* "host whose name stands in a ClientHello that did not come to us" */
#define REPORT_STARTED '0'     /* + enum elf_kind, and a path: a child that the library is not in */
#define REPORT_REFUSED 'a'     /* the same, and it was not started */
void preload_report(char kind, const char *text);
/* connect() has finished for fd. watch: it was not redirected, so its first bytes are checked; !watch: it was
 * redirected, so they are not. */
void preload_watch_connected(int fd, bool watch);
/* These bytes are written to fd: true: they ask another proxy for a host that goes through us; errno is set. */
bool preload_watch_refuses(int fd, const void *bytes, size_t size);
/* The shared table, mapped at first use and for good.  NULL: cannot be mapped (then what belongs to us must fail). */
struct table *preload_table(void);

#endif
