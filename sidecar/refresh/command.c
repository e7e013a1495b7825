#include "refresh/command.h"

#include "base/buf.h"
#include "refresh/alarm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_BYTES 16384
#define REAP_FIRST_MS 1 /* after the end of its output a program ends at once, as a rule */
#define REAP_LAST_MS 100

extern char **environ;

struct command {
    pid_t pid;            /* 0: reaped */
    int fd;               /* its output; -1: at its end */
    ev_io readable;
    struct alarm limit, reap;
    int64_t reap_ms;
    struct buf output;
    const char *name;     /* of the program, for messages; heap */
    fetch_fn *fn;
    void *arg;
};

/* Reaps without waiting.  true: it has ended (or is not ours any more). */
static bool has_ended(struct command *c, int *ret_status)
{
    pid_t pid;
    do
        pid = waitpid(c->pid, ret_status, WNOHANG);
    while (pid < 0 && errno == EINTR);
    if (pid == 0)
        return false;
    if (pid < 0)
        *ret_status = -1;
    c->pid = 0;
    return true;
}

static void stop_reading(struct command *c)
{
    if (c->fd < 0)
        return;
    ev_io_stop(loop_get(), &c->readable);
    close(c->fd);
    c->fd = -1;
}

/* Killed, and not gone yet: the loop never waits for them.  A process that hangs in the kernel may stay for long, so there is room for some. */
static pid_t killed[16];

static void reap_killed(void)
{
    for (size_t i = 0; i < sizeof killed / sizeof *killed; i++)
        if (killed[i] && waitpid(killed[i], NULL, WNOHANG) != 0)
            killed[i] = 0;
}

static void kill_group(pid_t pid)
{
    kill(-pid, SIGKILL);
    reap_killed();
    for (size_t i = 0; i < sizeof killed / sizeof *killed; i++)
        if (!killed[i]) {
            killed[i] = pid;
            return;
        }
}

static void free_command(struct command *c)
{
    stop_reading(c);
    alarm_stop(&c->limit);
    alarm_stop(&c->reap);
    if (c->pid > 0)
        kill_group(c->pid);
    buf_done(&c->output);
    free((char *)(uintptr_t)c->name);
    free(c);
}

/* c is gone afterwards. */
static void finish(struct command *c, int status, const char *error)
{
    char text[300];
    struct fetch_answer a = { .status = 0 };
    if (!error && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        a.status = 200;
        a.body = buf_slice(&c->output);
    } else if (error)
        snprintf(text, sizeof text, "%.200s: %s", c->name, error);
    else if (WIFSIGNALED(status))
        snprintf(text, sizeof text, "%.200s: ended by signal %d", c->name, WTERMSIG(status));
    else
        snprintf(text, sizeof text, "%.200s: exit status %d (run it as sidekey's user to see why)", c->name, WEXITSTATUS(status));
    a.error = a.status ? NULL : text;
    fetch_fn *fn = c->fn;
    void *arg = c->arg;
    alarm_stop(&c->limit);
    fn(arg, &a);
    free_command(c);
}

static void on_reap(void *arg)
{
    struct command *c = arg;
    int status = 0;
    if (has_ended(c, &status)) {
        finish(c, status, NULL);
        return;
    }
    c->reap_ms = c->reap_ms * 2 < REAP_LAST_MS ? c->reap_ms * 2 : REAP_LAST_MS;
    alarm_set(&c->reap, c->reap_ms);
}

static void on_limit(void *arg)
{
    finish(arg, 0, "no end within its time");
}

static void on_readable(struct ev_loop *loop, ev_io *io, int revents)
{
    struct command *c = io->data;
    char bytes[READ_BYTES];
    (void)loop;
    (void)revents;
    ssize_t n = read(c->fd, bytes, sizeof bytes);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    int failed = n > 0 ? buf_add(&c->output, slice_of(bytes, (size_t)n)) : 0;
    explicit_bzero(bytes, sizeof bytes);
    if (failed) {
        finish(c, 0, "its output is larger than 1 MiB");
        return;
    }
    if (n > 0)
        return;
    stop_reading(c);
    alarm_set(&c->reap, 0);
}

/* The environment with what client-go tells its plugins.  Heap; only the list and its first string are ours. */
static char **environment(void)
{
    static char info[] = "KUBERNETES_EXEC_INFO={\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\","
                         "\"spec\":{\"interactive\":false}}";
    size_t n = 0, at = 0;
    while (environ[n])
        n++;
    char **list = calloc(n + 2, sizeof *list);
    if (!list)
        return NULL;
    list[at++] = info;
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "KUBERNETES_EXEC_INFO=", sizeof "KUBERNETES_EXEC_INFO=" - 1) != 0)
            list[at++] = environ[i];
    return list;
}

/* What the keeper ignores and blocks is not the program's business. */
static void set_attributes(posix_spawnattr_t *a)
{
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_init(a);
    posix_spawnattr_setflags(a, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(a, 0);
    posix_spawnattr_setsigdefault(a, &all);
    posix_spawnattr_setsigmask(a, &none);
}

/* 0, or an errno. */
static int spawn(struct command *c, char *const *argv, int output)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    char **env = environment();
    if (!env)
        return ENOMEM;
    set_attributes(&attributes);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t pid = 0;
    int failed = posix_spawnp(&pid, argv[0], &files, &attributes, argv, env);
    if (!failed)
        c->pid = pid;
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    free(env);
    return failed;
}

static int start(struct command *c, char *const *argv)
{
    int ends[2];
    if (!c->name)
        return ENOMEM;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return errno;
    int failed = spawn(c, argv, ends[1]);
    close(ends[1]);
    c->fd = ends[0];
    ev_io_init(&c->readable, on_readable, c->fd, EV_READ);
    c->readable.data = c;
    if (!failed && fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0)
        failed = errno;
    return failed;
}

struct command *command_start(char *const *argv, int64_t timeout_ms, fetch_fn *fn, void *arg, struct err *e)
{
    struct command *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(e, "out of memory");
        return NULL;
    }
    *c = (struct command){ .fd = -1, .fn = fn, .arg = arg, .reap_ms = REAP_FIRST_MS, .name = strdup(argv[0]) };
    buf_init_secret(&c->output, FETCH_ANSWER_MAX);
    alarm_init(&c->limit, on_limit, c);
    alarm_init(&c->reap, on_reap, c);
    reap_killed();
    int failed = start(c, argv);
    if (failed) {
        err_set(e, "%.200s cannot be started: %s", argv[0], strerror(failed));
        free_command(c);
        return NULL;
    }
    ev_io_start(loop_get(), &c->readable);
    alarm_set(&c->limit, timeout_ms);
    return c;
}

void command_cancel(struct command *c)
{
    if (c)
        free_command(c);
}
