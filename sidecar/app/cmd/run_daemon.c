#include "app/cmd/run_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "app/cmd/run_dir.h"
#include "app/cmd/target.h"
#include "base/log.h"

#define REPORTS_MAX 64
#define REPORTS_AT_ONCE 16

struct report { /* the daemon's end of the pipe */
    int fd;
};

/* Above the standard descriptors, whichever of them the caller has closed. */
static int pidfd_of(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0u);
    if (fd < 0 || fd > STDERR_FILENO)
        return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(fd);
    return high;
}

static int pipe_of(int ends[2])
{
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    for (int i = 0; i < 2; i++)
        if (ends[i] <= STDERR_FILENO) {
            int high = fcntl(ends[i], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
            close(ends[i]);
            ends[i] = high;
        }
    return ends[0] >= 0 && ends[1] >= 0 ? 0 : -EMFILE;
}

static void send_report(struct report *r, const struct run_ready *ready)
{
    if (r->fd >= 0) {
        (void)!write(r->fd, ready, sizeof *ready); /* less than PIPE_BUF: whole or not at all */
        close(r->fd);
        r->fd = -1;
    }
}

static int on_ready(void *arg, const struct listeners *listeners)
{
    struct run_ready ready = { .proxy_port = listeners->proxy_port,
                               .transparent_port = listeners->transparent_port,
                               .pid = getpid() };
    memcpy(ready.proxy_text, listeners->proxy_text, sizeof ready.proxy_text);
    memcpy(ready.admin_text, listeners->admin_text, sizeof ready.admin_text);
    send_report(arg, &ready);
    return 0;
}

/* Closes every descriptor from 3 on that is not in keep (ascending). */
static void close_others(const int *keep, size_t count)
{
    unsigned from = 3;
    for (size_t i = 0; i < count; from = (unsigned)keep[i] + 1, i++)
        if ((unsigned)keep[i] > from)
            close_range(from, (unsigned)keep[i] - 1, 0);
    close_range(from, ~0U, 0);
}

static int ascending(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* $(sidekey run …) and pipes end with the program: nothing of the caller's stays open here but standard error. */
static void leave_caller(int *keep, size_t count)
{
    qsort(keep, count, sizeof *keep, ascending);
    close_others(keep, count);
    int null = open("/dev/null", O_RDWR);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        if (fcntl(STDERR_FILENO, F_GETFD) < 0)
            dup2(null, STDERR_FILENO);
        if (null > STDERR_FILENO)
            close(null);
    }
    /* These are the program's business with its own service manager. */
    static const char *const not_ours[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
                                            "LISTEN_FDS",    "LISTEN_PID",    "LISTEN_FDNAMES" };
    for (size_t i = 0; i < sizeof not_ours / sizeof *not_ours; i++)
        unsetenv(not_ours[i]);
}

/* ---- what the exec hooks of the preload library report ---- */

/* A path is reported once; a program that starts thousands of different ones is reported up to here. */
static bool is_new(const char *path)
{
    static char *known[REPORTS_MAX];
    size_t i = 0;
    for (; i < REPORTS_MAX && known[i]; i++)
        if (strcmp(known[i], path) == 0)
            return false;
    return i < REPORTS_MAX && (known[i] = strdup(path));
}

static bool all_covered;

static void on_report(int fd)
{
    char text[PATH_MAX];
    ssize_t got;
    for (int i = 0; i < REPORTS_AT_ONCE && (got = recv(fd, text, sizeof text - 1, MSG_DONTWAIT)) > 1; i++) {
        text[got] = '\0';
        for (char *c = text; *c; c++)
            if ((unsigned char)*c < 0x20 || *c == 0x7f)
                *c = '?';
        int kind = text[0] - '0', refused = text[0] - 'a';
        if (text[0] == 'P' && is_new(text))
            fprintf(stderr,
                    "sidekey run: a program asked another proxy for %s, a host of a rule: refused, because it would "
                    "bypass sidekey; remove the proxy from the program's flags and files\n",
                    text + 1);
        else if (text[0] == 'D' && is_new(text))
            fprintf(stderr,
                    "sidekey run: a program that looks names up by itself connected to %s, a host of a rule, by an "
                    "address that a host without a rule has too: refused, because it would bypass sidekey; let it use "
                    "the system's resolver, or --isolate\n",
                    text + 1);
        else if (refused >= 0 && refused < ELF_KINDS && is_new(text + 1))
            fprintf(stderr,
                    "sidekey run: --strict: a child was not allowed to start %s, which is %s: the preload library does "
                    "not work in it; --isolate covers it\n",
                    text + 1, target_text((enum elf_kind)refused));
        else if (kind >= 0 && kind < ELF_KINDS && !all_covered && is_new(text + 1))
            fprintf(stderr,
                    "sidekey run: a child started %s, which is %s: the preload library does not work in it; it is "
                    "covered only if it honours HTTPS_PROXY\n",
                    text + 1, target_text((enum elf_kind)kind));
    }
}

/* 0: none; then nobody reports. */
static int report_socket(const char *dir)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    char path[PATH_MAX];
    if (strlen(run_dir_file(dir, "report", path)) >= sizeof at.sun_path)
        return 0;
    strcpy(at.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd > 0 && (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || chmod(path, 0622) != 0)) {
        close(fd);
        fd = 0;
    }
    return fd > 0 ? fd : 0;
}

/* The program's side has printed the reason. */
static _Noreturn void give_up(const char *dir)
{
    run_dir_remove(dir);
    _exit(EX_UNAVAILABLE);
}

static _Noreturn void run_daemon(const struct run_daemon_options *options, struct report *report, int program_fd)
{
    struct supervisor_options s = options->supervisor;
    s.on_ready = on_ready;
    s.arg = report;
    s.program_fd = program_fd;
    struct isolated_sockets inside;
    int keep[] = { report->fd, program_fd, options->dir_lock, options->isolate ? options->isolate->daemon_end : 0 };
    setsid();
    leave_caller(keep, options->isolate ? 4 : 3);
    if (options->isolate && isolate_receive(options->isolate, &inside) != 0)
        give_up(options->dir);
    s.isolated = options->isolate ? &inside : NULL;
    s.report_fd = report_socket(options->dir);
    s.on_report = on_report;
    all_covered = options->all_covered;
    int status = supervisor_run(&s);
    send_report(report, &(struct run_ready){ .status = status ? status : EX_SOFTWARE });
    run_dir_remove(options->dir);
    log_close();
    _exit(status);
}

/* The middle child ends at once, so the daemon is no child of the program's. */
static int fork_daemon(const struct run_daemon_options *options, int ends[2], int program_fd)
{
    int status;
    pid_t middle = fork();
    if (middle < 0)
        return -errno;
    if (middle == 0) {
        pid_t pid = fork();
        if (pid != 0)
            _exit(pid < 0 ? EX_OSERR : 0);
        close(ends[0]);
        run_daemon(options, &(struct report){ .fd = ends[1] }, program_fd);
    }
    while (waitpid(middle, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EAGAIN;
}

static int fail(const char *what, int error)
{
    fprintf(stderr, "sidekey run: %s: %s\n", what, strerror(error));
    return EX_OSERR;
}

int run_daemon_start(const struct run_daemon_options *options, struct run_ready *ret)
{
    int ends[2], program_fd = pidfd_of(getpid());
    if (program_fd < 0)
        return fail("cannot watch the program (pidfd_open needs Linux 5.3)", errno);
    int failed = pipe_of(ends);
    if (failed) {
        close(program_fd);
        return fail("cannot make a pipe", -failed);
    }
    failed = fork_daemon(options, ends, program_fd);
    close(ends[1]);
    close(program_fd);
    int status = failed == 0 && options->isolate ? isolate_enter(options->isolate) : 0;
    if (status) {
        close(ends[0]);
        return status;
    }
    ssize_t got = -1;
    if (failed == 0)
        do
            got = read(ends[0], ret, sizeof *ret);
        while (got < 0 && errno == EINTR);
    close(ends[0]);
    if (failed)
        return fail("cannot start the private sidekey", -failed);
    if (got != (ssize_t)sizeof *ret) {
        fprintf(stderr, "sidekey run: the private sidekey exited before it was ready\n");
        return EX_SOFTWARE;
    }
    return ret->status;
}
