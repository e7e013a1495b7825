/* Reading a CA bundle: a program that opens a bundle of the system, or its own copy of the public roots, for reading
 * gets the merged bundle, which has the system's roots and our CA. Calls that only check a bundle (stat, access) use
 * the merged one too, so that size and content agree. */
#include "preload/preload.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROOTS_FILE_MIN 32768 /* forty certificates take more */
#define ROOTS_FILE_MAX (1 << 20)

typedef int open_fn(const char *, int, ...);
typedef int open_2_fn(const char *, int);
typedef int openat_fn(int, const char *, int, ...);
typedef int openat_2_fn(int, const char *, int);
typedef void *fopen_fn(const char *, const char *);
typedef int access_fn(const char *, int);
typedef int faccessat_fn(int, const char *, int, int);
typedef int stat_fn(const char *, void *);
typedef int xstat_fn(int, const char *, void *);
typedef int fstatat_fn(int, const char *, void *, int);
typedef int fxstatat_fn(int, int, const char *, void *, int);
typedef int statx_fn(int, const char *, int, unsigned, void *);

/* The copy of the public roots that an SDK brings along, under whatever name: many certificates and nothing else. */
static bool holds_public_roots(const char *path)
{
    char text[4096];
    unsigned count = 0;
    int saved = errno;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0);
    long at = 0, got = 0, end = fd < 0 ? 0 : syscall(SYS_lseek, fd, 0L, 2 /* SEEK_END */);
    while (end >= ROOTS_FILE_MIN && at < ROOTS_FILE_MAX && count < DECIDE_ROOTS_MIN
           && (got = syscall(SYS_pread64, fd, text, sizeof text, at)) > DECIDE_ROOTS_OVERLAP
           && decide_count_roots(text, (size_t)got, &count))
        at += got - DECIDE_ROOTS_OVERLAP;
    if (fd >= 0)
        syscall(SYS_close, fd);
    errno = saved;
    return count >= DECIDE_ROOTS_MIN;
}

static const char *bundle_for(enum hook h, const char *path)
{
    enum bundle b = decide_bundle(path);
    if (b == BUNDLE_NONE && !decide_may_be_roots(path))
        return path;
    const struct preload *p = preload_get();
    const char *ours = b == BUNDLE_JKS ? p->jks : p->ca;
    if (!ours[0] || p->off[h])
        return path;
    return b != BUNDLE_NONE || (strcmp(path, ours) != 0 && holds_public_roots(path)) ? ours : path;
}

static const char *path_to_open(enum hook h, const char *path, int flags)
{
    return decide_read_only(flags) ? bundle_for(h, path) : path;
}

static int missing(void)
{
    errno = ENOSYS;
    return -1;
}

/* Only these flags come with a mode; reading one that was not passed is undefined. */
static bool has_mode(int flags)
{
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

/* The optional argument after flags. */
#define TAKE_MODE(flags, ret_mode)                                                                                     \
    do {                                                                                                               \
        va_list args_;                                                                                                 \
        va_start(args_, flags);                                                                                        \
        if (has_mode(flags))                                                                                           \
            (ret_mode) = va_arg(args_, unsigned);                                                                      \
        va_end(args_);                                                                                                 \
    } while (0)

#define OPEN_HOOK(name)                                                                                                \
    HOOK(int, name, const char *path, int flags, ...)                                                                  \
    {                                                                                                                  \
        open_fn *real = REAL(open_fn, name);                                                                           \
        unsigned mode = 0;                                                                                             \
        TAKE_MODE(flags, mode);                                                                                        \
        if (!real)                                                                                                     \
            return missing();                                                                                          \
        return real(path_to_open(HOOK_##name, path, flags), flags, mode);                                              \
    }
OPEN_HOOK(open)
OPEN_HOOK(open64)

#define OPENAT_HOOK(name)                                                                                              \
    HOOK(int, name, int at, const char *path, int flags, ...)                                                          \
    {                                                                                                                  \
        openat_fn *real = REAL(openat_fn, name);                                                                       \
        unsigned mode = 0;                                                                                             \
        TAKE_MODE(flags, mode);                                                                                        \
        if (!real)                                                                                                     \
            return missing();                                                                                          \
        return real(at, path_to_open(HOOK_##name, path, flags), flags, mode);                                          \
    }
OPENAT_HOOK(openat)
OPENAT_HOOK(openat64)

/* What a fortified program calls (glibc). */
#define OPEN_2_HOOK(name)                                                                                              \
    HOOK(int, name, const char *path, int flags)                                                                       \
    {                                                                                                                  \
        open_2_fn *real = REAL(open_2_fn, name);                                                                       \
        const char *at_path = path_to_open(HOOK_##name, path, flags);                                                  \
        return real ? real(at_path, flags) : missing();                                                                \
    }
OPEN_2_HOOK(__open_2)
OPEN_2_HOOK(__open64_2)

#define OPENAT_2_HOOK(name)                                                                                            \
    HOOK(int, name, int at, const char *path, int flags)                                                               \
    {                                                                                                                  \
        openat_2_fn *real = REAL(openat_2_fn, name);                                                                   \
        const char *at_path = path_to_open(HOOK_##name, path, flags);                                                  \
        return real ? real(at, at_path, flags) : missing();                                                            \
    }
OPENAT_2_HOOK(__openat_2)
OPENAT_2_HOOK(__openat64_2)

#define FOPEN_HOOK(name)                                                                                               \
    HOOK(void *, name, const char *path, const char *mode)                                                             \
    {                                                                                                                  \
        fopen_fn *real = REAL(fopen_fn, name);                                                                         \
        if (!real) {                                                                                                   \
            errno = ENOSYS;                                                                                            \
            return NULL;                                                                                               \
        }                                                                                                              \
        return real(decide_read_mode(mode) ? bundle_for(HOOK_##name, path) : path, mode);                              \
    }
FOPEN_HOOK(fopen)
FOPEN_HOOK(fopen64)

/* The rest only look.  One line each: the real call with the path looked up. */
#define LOOK_HOOK(name, type, params, ...)                                                                             \
    HOOK(int, name, params)                                                                                            \
    {                                                                                                                  \
        type *real = REAL(type, name);                                                                                 \
        const char *at_path = bundle_for(HOOK_##name, path);                                                           \
        return real ? real(__VA_ARGS__) : missing();                                                                   \
    }
#define PARAMS(...) __VA_ARGS__
LOOK_HOOK(access, access_fn, PARAMS(const char *path, int mode), at_path, mode)
LOOK_HOOK(faccessat, faccessat_fn, PARAMS(int at, const char *path, int mode, int flags), at, at_path, mode, flags)
LOOK_HOOK(stat, stat_fn, PARAMS(const char *path, void *ret), at_path, ret)
LOOK_HOOK(stat64, stat_fn, PARAMS(const char *path, void *ret), at_path, ret)
LOOK_HOOK(__xstat, xstat_fn, PARAMS(int version, const char *path, void *ret), version, at_path, ret)
LOOK_HOOK(__xstat64, xstat_fn, PARAMS(int version, const char *path, void *ret), version, at_path, ret)
LOOK_HOOK(fstatat, fstatat_fn, PARAMS(int at, const char *path, void *ret, int flags), at, at_path, ret, flags)
LOOK_HOOK(fstatat64, fstatat_fn, PARAMS(int at, const char *path, void *ret, int flags), at, at_path, ret, flags)
LOOK_HOOK(__fxstatat, fxstatat_fn, PARAMS(int version, int at, const char *path, void *ret, int flags), version, at,
          at_path, ret, flags)
LOOK_HOOK(__fxstatat64, fxstatat_fn, PARAMS(int version, int at, const char *path, void *ret, int flags), version, at,
          at_path, ret, flags)

/* Programs look whether libc has it and, finding ours, call it: where libc has none, the kernel has. */
HOOK(int, statx, int at, const char *path, int flags, unsigned mask, void *ret)
{
    statx_fn *real = REAL(statx_fn, statx);
    const char *at_path = bundle_for(HOOK_statx, path);
    return real ? real(at, at_path, flags, mask, ret) : (int)syscall(SYS_statx, at, at_path, flags, mask, ret);
}
