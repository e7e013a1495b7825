#include "refresh/fetch/command.h"

#include "base/buf.h"
#include "base/spawn.h"
#include "net/timer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_BYTES 16384
#define OUTPUT_MAX (1024 * 1024)

/* The loop reaps: libev's default loop waits for every child of the process, so waitpid() here would come too late. */
struct command {
    pid_t pid; /* 0: never started, or ended */
    int fd;    /* its output; -1: at its end */
    ev_io readable;
    ev_child ended;
    struct timer limit;
    struct buf output;
    char *name; /* of the program, for messages */
    fetch_fn *fn;
    void *arg;
};

static void stop_reading(struct command *c)
{
    if (c->fd < 0)
        return;
    ev_io_stop(loop_get(), &c->readable);
    close(c->fd);
    c->fd = -1;
}

static void free_command(struct command *c)
{
    stop_reading(c);
    timer_stop(&c->limit);
    ev_child_stop(loop_get(), &c->ended);
    if (c->pid > 0)
        kill(-c->pid, SIGKILL);
    buf_done(&c->output);
    free(c->name);
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
        snprintf(text, sizeof text, "%.200s: exit status %d (run it as sidekey's user to see why)", c->name,
                 WEXITSTATUS(status));
    a.error = a.status ? NULL : text;
    fetch_fn *fn = c->fn;
    void *arg = c->arg;
    timer_stop(&c->limit);
    fn(arg, &a);
    free_command(c);
}

static void on_limit(void *arg)
{
    finish(arg, 0, "it did not end in time");
}

enum got { GOT_SOME, GOT_NONE, GOT_TOO_MUCH };

/* One read.  GOT_NONE: nothing more now, or at all. */
static enum got read_some(struct command *c)
{
    char bytes[READ_BYTES];
    ssize_t n = c->fd < 0 ? 0 : read(c->fd, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR)
        return GOT_SOME;
    if (n < 0 && errno == EAGAIN)
        return GOT_NONE;
    if (n <= 0) {
        stop_reading(c);
        return GOT_NONE;
    }
    int failed = buf_add(&c->output, slice_of(bytes, (size_t)n));
    explicit_bzero(bytes, (size_t)n);
    return failed ? GOT_TOO_MUCH : GOT_SOME;
}

static void on_readable(struct ev_loop *loop, ev_io *io, int revents)
{
    struct command *c = io->data;
    (void)loop;
    (void)revents;
    if (read_some(c) == GOT_TOO_MUCH)
        finish(c, 0, "its output is larger than 1 MiB");
}

/* All that it wrote is in the pipe by now.  Its end is not waited for: something that it left behind may hold it open.
 */
static void on_ended(struct ev_loop *loop, ev_child *child, int revents)
{
    struct command *c = child->data;
    enum got got;
    (void)loop;
    (void)revents;
    c->pid = 0;
    do
        got = read_some(c);
    while (got == GOT_SOME);
    finish(c, child->rstatus, got == GOT_TOO_MUCH ? "its output is larger than 1 MiB" : NULL);
}

/* 0, or an errno. */
static int start(struct command *c, char *const *argv)
{
    /* what client-go tells its plugins */
    static char info[] =
        "KUBERNETES_EXEC_INFO={\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\","
        "\"spec\":{\"interactive\":false}}";
    int ends[2];
    if (!c->name)
        return ENOMEM;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return errno;
    int failed = -spawn_program(argv, info, ends[1], &c->pid);
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
    *c = (struct command){ .fd = -1, .fn = fn, .arg = arg, .name = strdup(argv[0]) };
    buf_init_secret(&c->output, OUTPUT_MAX);
    timer_init(&c->limit, on_limit, c);
    ev_init(&c->ended, on_ended);
    c->ended.data = c;
    int failed = start(c, argv);
    if (failed) {
        err_set(e, "%.200s cannot be started: %s", argv[0], strerror(failed));
        free_command(c);
        return NULL;
    }
    ev_io_start(loop_get(), &c->readable);
    ev_child_set(&c->ended, c->pid, 0);
    ev_child_start(loop_get(), &c->ended);
    timer_set(&c->limit, timeout_ms);
    return c;
}

void command_cancel(struct command *c)
{
    if (c)
        free_command(c);
}
