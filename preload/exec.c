/* Starting programs: whatever environment a child is given, it gets LD_PRELOAD, our variables and the CA's, unless it
 * has its own. Everything is on the stack of the calling hook: a vfork child must not write anywhere else. */
#include "preload/preload.h"

#include "preload/elf.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define REPORT_PATH_MAX 1024
#define REPORT_LINE_MAX 256
#define REPORT_DEPTH 4 /* interpreters that are scripts themselves */
#define ENV_MAX 65536  /* variables or arguments that we would copy to the stack */

extern char **environ;

typedef int execve_fn(const char *, char *const[], char *const[]);
typedef int fexecve_fn(int, char *const[], char *const[]);
typedef int execveat_fn(int, const char *, char *const[], char *const[], int);
typedef int spawn_fn(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                     char *const[], char *const[]);

static bool same_name(const char *entry, const char *name_and_value)
{
    size_t n = strcspn(name_and_value, "=") + 1;
    return strncmp(entry, name_and_value, n) == 0;
}

static char *const *find(char *const *env, const char *name_and_value)
{
    for (; env && *env; env++)
        if (same_name(*env, name_and_value))
            return env;
    return NULL;
}

/* LD_PRELOAD in env lacks us; *ret_at: its entry, or NULL. */
static bool preload_missing(const struct preload *p, char *const *env, char *const **ret_at)
{
    *ret_at = find(env, "LD_PRELOAD=");
    return p->preload && !(*ret_at && strstr(**ret_at, "libsidekey-preload"));
}

static size_t count_of(char *const *list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

/* Bytes of stack that env_fill() needs; 0: env can be used as it is. */
static size_t env_space(enum hook h, char *const *env)
{
    const struct preload *p = preload_get();
    char *const *old;
    size_t more = 0, text = 0;
    if (p->off[h] || p->keep_count == 0)
        return 0;
    for (size_t i = 0; i < p->keep_count; i++)
        more += !find(env, p->text + p->keep[i]);
    if (preload_missing(p, env, &old)) {
        text = sizeof "LD_PRELOAD=:" + strlen(p->text + p->preload) + (old ? strlen(*old) : 0);
        more++;
    }
    return more ? (count_of(env) + more + 1) * sizeof(char *) + text : 0;
}

/* env and what it lacks, in memory of env_space() bytes. */
static char *const *env_fill(char **memory, char *const *env)
{
    const struct preload *p = preload_get();
    char *const *old;
    size_t n = 0;
    bool lacks_us = preload_missing(p, env, &old);
    for (char *const *e = env; e && *e; e++)
        if (!(lacks_us && e == old))
            memory[n++] = *e;
    for (size_t i = 0; i < p->keep_count; i++)
        if (!find(env, p->text + p->keep[i]))
            memory[n++] = (char *)(uintptr_t)(p->text + p->keep[i]);
    if (lacks_us) {
        size_t name = sizeof "LD_PRELOAD=" - 1;
        char *text = (char *)(memory + n + 2), *at;
        memory[n++] = text;
        at = stpcpy(stpcpy(text, "LD_PRELOAD="), p->text + p->preload);
        if (old && (*old)[name] != '\0')
            stpcpy(stpcpy(at, ":"), *old + name);
    }
    memory[n] = NULL;
    return memory;
}

/* As env, complete.  A macro, because alloca()'s memory ends with the function that called it. */
#define COMPLETE(h, env)                                                                                               \
    __extension__({                                                                                                    \
        size_t space_ = count_of(env) <= ENV_MAX ? env_space(h, env) : 0;                                              \
        space_ ? env_fill(__builtin_alloca(space_), env) : (env);                                                      \
    })

/* The arguments after first up to their NULL, as an array on the stack. */
#define COLLECT(args, first, ret_argv)                                                                                 \
    do {                                                                                                               \
        va_list count_;                                                                                                \
        size_t n_ = 1;                                                                                                 \
        va_copy(count_, args);                                                                                         \
        for (const char *a_ = first; a_; a_ = va_arg(count_, const char *))                                            \
            n_++;                                                                                                      \
        va_end(count_);                                                                                                \
        ret_argv = __builtin_alloca(n_ * sizeof(char *));                                                              \
        n_ = 0;                                                                                                        \
        for (const char *a_ = first; a_; a_ = va_arg(args, const char *))                                              \
            ret_argv[n_++] = (char *)(uintptr_t)a_;                                                                    \
        ret_argv[n_] = NULL;                                                                                           \
    } while (0)

/* ---- children that the library will not be in: one datagram to the run's socket, which says so to people; under
 * "--strict" they are not started ---- */

enum verdict { VERDICT_ABSENT, VERDICT_FINE, VERDICT_GAP };

static enum verdict inspect(const struct preload *p, const char *path, int depth);

/* After chroot(2), in another mount namespace, as another user: the loader would go on without us. */
static bool library_gone(const struct preload *p)
{
    const char *path = p->text + p->preload;
    return p->preload && path[0] == '/' && !strchr(path, '$') && syscall(SYS_faccessat, AT_FDCWD, path, R_OK) != 0;
}

static enum verdict inspect_fd(const struct preload *p, int fd, const char *path, int depth)
{
    enum elf_kind kind = elf_kind_of(fd);
    char line[REPORT_LINE_MAX];
    ssize_t got = kind == ELF_SCRIPT ? pread(fd, line, sizeof line - 1, 2) : 0;
    if (got > 0 && depth < REPORT_DEPTH) { /* the kernel starts the interpreter: no hook sees that */
        line[got] = '\0';
        char *interpreter = line + strspn(line, " \t");
        interpreter[strcspn(interpreter, " \t\r\n")] = '\0';
        return inspect(p, interpreter, depth + 1) == VERDICT_GAP ? VERDICT_GAP : VERDICT_FINE;
    }
    if (kind == ELF_DYNAMIC && library_gone(p))
        kind = ELF_NO_LIBRARY;
    if (kind == ELF_DYNAMIC || kind == ELF_SCRIPT || kind == ELF_UNKNOWN)
        return VERDICT_FINE;
    preload_report((char)((p->strict ? REPORT_REFUSED : REPORT_STARTED) + kind), path);
    return VERDICT_GAP;
}

/* Programs may be run and not read: sudo is on some systems. */
static long open_program(int at, const char *path)
{
    long fd = syscall(SYS_openat, at, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    return fd < 0 && errno == EACCES ? syscall(SYS_openat, at, path, O_PATH | O_CLOEXEC, 0) : fd;
}

static enum verdict inspect(const struct preload *p, const char *path, int depth)
{
    enum verdict verdict = VERDICT_ABSENT;
    struct stat st;
    bool runs = elf_ids_differ() || syscall(SYS_faccessat, AT_FDCWD, path, X_OK) == 0; /* it asks for the real user */
    long fd = runs ? open_program(AT_FDCWD, path) : -1;
    if (fd < 0)
        return VERDICT_ABSENT;
    if (fstat((int)fd, &st) == 0 && S_ISREG(st.st_mode)) /* else execvp(3) looks further */
        verdict = inspect_fd(p, (int)fd, path, depth);
    (void)syscall(SYS_close, fd);
    return verdict;
}

/* file without a slash is looked for in PATH, as execvp(3) does. */
static enum verdict search(const struct preload *p, const char *file)
{
    char *const *at = find(environ, "PATH=");
    size_t name = strlen(file);
    for (const char *dir = at ? *at + 5 : "/bin:/usr/bin";; dir++) {
        char path[REPORT_PATH_MAX];
        size_t n = strcspn(dir, ":");
        enum verdict verdict = VERDICT_ABSENT;
        if (n + name + 2 <= sizeof path) {
            memcpy(path, dir, n);
            path[n] = '/';
            memcpy(path + n + (n > 0), file, name + 1);
            verdict = inspect(p, path, 0);
        }
        dir += n;
        if (verdict != VERDICT_ABSENT || *dir == '\0')
            return verdict;
    }
}

static bool looks(enum hook h)
{
    const struct preload *p = preload_get();
    return !p->off[h] && (p->report[0] || p->strict);
}

/* errno is EACCES where the child must not be started, else as it was. */
static bool settle(enum verdict verdict, int saved)
{
    bool refused = verdict == VERDICT_GAP && preload_get()->strict;
    errno = refused ? EACCES : saved;
    return refused;
}

/* Must this child not be started?  in_path: as execvp(3) finds it. */
static bool refused(enum hook h, const char *file, bool in_path)
{
    const struct preload *p = preload_get();
    int saved = errno;
    if (!looks(h) || !file)
        return false;
    return settle(in_path && !strchr(file, '/') ? search(p, file) : inspect(p, file, 0), saved);
}

/* The same of an open file. */
static bool refused_fd(enum hook h, int fd)
{
    int saved = errno;
    return looks(h) && settle(inspect_fd(preload_get(), fd, "(a file descriptor)", 0), saved);
}

/* The same as execveat(2) finds it. */
static bool refused_at(enum hook h, int at, const char *path, int flags)
{
    int saved = errno;
    if (!looks(h) || !path)
        return false;
    if (!*path && (flags & AT_EMPTY_PATH))
        return refused_fd(h, at);
    long fd = open_program(at, path);
    if (fd < 0) {
        errno = saved;
        return false;
    }
    enum verdict verdict = inspect_fd(preload_get(), (int)fd, path, 0);
    (void)syscall(SYS_close, fd);
    return settle(verdict, saved);
}

static int missing(void)
{
    errno = ENOSYS;
    return -1;
}

HOOK(int, execve, const char *path, char *const argv[], char *const env[])
{
    execve_fn *real = REAL(execve_fn, execve);
    if (refused(HOOK_execve, path, false))
        return -1;
    return real ? real(path, argv, COMPLETE(HOOK_execve, env)) : missing();
}

HOOK(int, execv, const char *path, char *const argv[])
{
    execve_fn *real = REAL(execve_fn, execve);
    if (refused(HOOK_execv, path, false))
        return -1;
    return real ? real(path, argv, COMPLETE(HOOK_execv, environ)) : missing();
}

HOOK(int, execvpe, const char *file, char *const argv[], char *const env[])
{
    execve_fn *real = REAL(execve_fn, execvpe);
    if (refused(HOOK_execvpe, file, true))
        return -1;
    return real ? real(file, argv, COMPLETE(HOOK_execvpe, env)) : missing();
}

HOOK(int, execvp, const char *file, char *const argv[])
{
    execve_fn *real = REAL(execve_fn, execvpe);
    if (refused(HOOK_execvp, file, true))
        return -1;
    return real ? real(file, argv, COMPLETE(HOOK_execvp, environ)) : missing();
}

HOOK(int, execl, const char *path, const char *first, ...)
{
    execve_fn *real = REAL(execve_fn, execve);
    char **argv;
    va_list args;
    va_start(args, first);
    COLLECT(args, first, argv);
    va_end(args);
    if (refused(HOOK_execl, path, false))
        return -1;
    return real ? real(path, argv, COMPLETE(HOOK_execl, environ)) : missing();
}

HOOK(int, execlp, const char *file, const char *first, ...)
{
    execve_fn *real = REAL(execve_fn, execvpe);
    char **argv;
    va_list args;
    va_start(args, first);
    COLLECT(args, first, argv);
    va_end(args);
    if (refused(HOOK_execlp, file, true))
        return -1;
    return real ? real(file, argv, COMPLETE(HOOK_execlp, environ)) : missing();
}

HOOK(int, execle, const char *path, const char *first, ...)
{
    execve_fn *real = REAL(execve_fn, execve);
    char **argv, *const *env;
    va_list args;
    va_start(args, first);
    COLLECT(args, first, argv);
    env = va_arg(args, char *const *);
    va_end(args);
    if (refused(HOOK_execle, path, false))
        return -1;
    return real ? real(path, argv, COMPLETE(HOOK_execle, env)) : missing();
}

HOOK(int, fexecve, int fd, char *const argv[], char *const env[])
{
    fexecve_fn *real = REAL(fexecve_fn, fexecve);
    if (refused_fd(HOOK_fexecve, fd))
        return -1;
    return real ? real(fd, argv, COMPLETE(HOOK_fexecve, env)) : missing();
}

HOOK(int, execveat, int at, const char *path, char *const argv[], char *const env[], int flags)
{
    execveat_fn *real = REAL(execveat_fn, execveat);
    char *const *complete = COMPLETE(HOOK_execveat, env);
    if (refused_at(HOOK_execveat, at, path, flags))
        return -1;
    /* Programs look whether libc has it and, finding ours, call it: where libc has none, the kernel has. */
    return real ? real(at, path, argv, complete, flags) : (int)syscall(SYS_execveat, at, path, argv, complete, flags);
}

HOOK(int, posix_spawn, pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
     const posix_spawnattr_t *attr, char *const argv[], char *const env[])
{
    spawn_fn *real = REAL(spawn_fn, posix_spawn);
    if (refused(HOOK_posix_spawn, path, false))
        return EACCES;
    return real ? real(pid, path, actions, attr, argv, COMPLETE(HOOK_posix_spawn, env)) : ENOSYS;
}

HOOK(int, posix_spawnp, pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
     const posix_spawnattr_t *attr, char *const argv[], char *const env[])
{
    spawn_fn *real = REAL(spawn_fn, posix_spawnp);
    if (refused(HOOK_posix_spawnp, file, true))
        return EACCES;
    return real ? real(pid, file, actions, attr, argv, COMPLETE(HOOK_posix_spawnp, env)) : ENOSYS;
}
