/* A new version: when an operator asks for a reload and the executable file is another one than the one that runs, it
 * is tried first (a child runs "take-over trial": libraries, configuration, layout of the state), and replaces this
 * program by exec only if that succeeds: same pid, same listeners.  The children of the old version serve until those
 * of the new one are ready (supervisor_reload.c). */
#include "app/notify.h"
#include "app/supervisor_handover.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/own_env.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define TRIAL_MAX_MS 60000
#define QUEUES_LOOK_MS 20
#define QUEUES_MAX_MS 5000 /* a child that reads nothing for so long is not waited for */

/* PATH_MAX bytes; "": cannot be told.  Started by the loader of the relocatable tree, this program is not the file
 * that runs. */
static void find_program(char *path)
{
    ssize_t len = getauxval(AT_BASE) ? readlink("/proc/self/exe", path, PATH_MAX - 1) : 0;
    path[len > 0 ? len : 0] = '\0';
}

/* The trial takes too long; the time to exec may have come.  arg: the supervisor. */
static void on_limit(void *arg);
static void take(void *arg);

void supervisor_upgrade_init(struct supervisor *s)
{
    if (!*s->upgrade.program)
        find_program(s->upgrade.program);
    timer_init(&s->upgrade.limit, on_limit, s);
    timer_init(&s->upgrade.queues, take, s);
}

/* Another file has the name now.  (The file that runs keeps its inode number as long as it runs.) */
static bool is_replaced(const struct supervisor *s)
{
    struct stat running, named;
    if (!s->options->take_over || !*s->upgrade.program)
        return false;
    if (stat("/proc/self/exe", &running) != 0 || stat(s->upgrade.program, &named) != 0)
        return false;
    return running.st_dev != named.st_dev || running.st_ino != named.st_ino;
}

/* "sidekey take-over WHAT FD" and the flags of serve. */
static char **arguments(struct supervisor *s, char *what, char *fd)
{
    size_t flags = 0;
    while (s->options->take_over[flags])
        flags++;
    char **args = calloc(flags + 5, sizeof *args);
    char *fixed[] = { s->upgrade.program, "take-over", what, fd };
    for (size_t i = 0; args && i < flags + 4; i++)
        args[i] = i < 4 ? fixed[i] : s->options->take_over[i - 4];
    return args;
}

/* Executes the program at our path.  Returns only when that fails. */
static int execute(struct supervisor *s, char *what, int state)
{
    char fd[16];
    snprintf(fd, sizeof fd, "%d", state);
    char **args = arguments(s, what, fd), **env = own_env_whole();
    int number = ENOMEM;
    if (args && env) {
        (void)fcntl(state, F_SETFD, 0);
        execve(s->upgrade.program, args, env);
        number = errno;
    }
    own_env_whole_free(env);
    free(args);
    return number;
}

static void trial_child(struct supervisor *s, int state)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int number = execute(s, "trial", state);
    log_error(log_msg("cannot execute the new program"), log_str("program", s->upgrade.program),
              log_str("reason", strerror(number)));
    log_close();
    _exit(EX_UNAVAILABLE);
}

static bool trial_start(struct supervisor *s)
{
    int state = supervisor_handover_write(s);
    log_flush();
    pid_t pid = state >= 0 ? fork() : -1;
    if (pid == 0)
        trial_child(s, state);
    if (state >= 0)
        close(state);
    s->upgrade.trial = pid > 0 ? pid : 0;
    if (pid > 0)
        timer_set(&s->upgrade.limit, TRIAL_MAX_MS);
    return pid > 0;
}

bool supervisor_upgrade_begin(struct supervisor *s)
{
    if (s->upgrade.trial || s->upgrade.taking)
        return true;
    bool asked = s->upgrade.asked;
    s->upgrade.asked = false;
    if (!asked || s->stopping || !s->announced || !is_replaced(s))
        return false;
    log_info(log_msg("the program file was replaced: sidekey tries the new program"),
             log_str("program", s->upgrade.program));
    notify_reloading();
    if (trial_start(s))
        return true;
    log_error(log_msg("cannot try the new program: this version stays in use"), log_str("reason", strerror(errno)));
    return false;
}

static void on_limit(void *arg)
{
    struct supervisor *s = arg;
    log_warn(log_msg("the trial of the new program takes too long: sidekey killed it"));
    kill(s->upgrade.trial, SIGKILL);
}

bool supervisor_upgrade_ended(struct supervisor *s, pid_t pid, int status)
{
    if (!s->upgrade.trial || pid != s->upgrade.trial)
        return false;
    s->upgrade.trial = 0;
    timer_stop(&s->upgrade.limit);
    if (s->stopping)
        return true;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EX_OK) {
        s->upgrade.taking = true;
        s->upgrade.since_ms = clock_mono_ms();
        take(s);
        return true;
    }
    s->upgrade.refused = true;
    log_error(log_msg("the new program cannot take over: this version stays in use"),
              log_str("program", s->upgrade.program), log_str("version", SIDEKEY_VERSION),
              log_int("status", WIFEXITED(status) ? WEXITSTATUS(status) : 0),
              log_int("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0));
    timer_set(&s->reload, 0); /* the reload goes on without it */
    return true;
}

static bool is_queued(const struct child *c)
{
    return c->ipc && ipc_queued(c->ipc) > 0;
}

/* Messages that the sockets have not taken yet would be lost. */
static bool any_queued(const struct supervisor *s)
{
    bool queued = false;
    for (unsigned i = 0; i <= s->worker_count; i++)
        queued = queued || is_queued(supervisor_child(s, i));
    for (struct list *n = s->retired.next; n != &s->retired; n = n->next)
        queued = queued || is_queued(LIST_ENTRY(n, struct child, node));
    return queued && clock_mono_ms() - s->upgrade.since_ms < QUEUES_MAX_MS;
}

static void take(void *arg)
{
    struct supervisor *s = arg;
    if (s->stopping)
        return;
    if (any_queued(s)) {
        timer_set(&s->upgrade.queues, QUEUES_LOOK_MS);
        return;
    }
    int state = supervisor_handover_write(s), number = state < 0 ? -state : 0;
    if (state >= 0) {
        log_close();
        supervisor_handover_keep_open(s, true);
        number = execute(s, "serve", state);
        supervisor_handover_keep_open(s, false);
        close(state);
    }
    s->upgrade.taking = false;
    s->upgrade.refused = true;
    log_error(log_msg("cannot execute the new program: this version stays in use"),
              log_str("program", s->upgrade.program), log_str("reason", strerror(number)));
    timer_set(&s->reload, 0); /* the reload goes on without it */
}
