#include "app/cmd/run_init.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define DAEMON_END_S 2

bool run_init_needed(void)
{
    int subreaper = 0;
    return getpid() == 1 || (prctl(PR_GET_CHILD_SUBREAPER, &subreaper) == 0 && subreaper);
}

/* A fault of our own must still kill us; KILL and STOP cannot be caught. */
static void forwarded(sigset_t *set)
{
    static const int not_these[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS };
    sigfillset(set);
    for (size_t i = 0; i < sizeof not_these / sizeof *not_these; i++)
        sigdelset(set, not_these[i]);
}

/* Reaps what has ended.  True: the program is among them, and *ret_status is its wait status. */
static bool reap(pid_t program, pid_t *daemon, struct trap *trap, int *ret_status)
{
    int status;
    bool ended = false;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == program) {
            *ret_status = status;
            ended = true;
        } else if (pid == *daemon)
            *daemon = 0;
        else if (trap)
            trap_reaped(trap, pid);
    }
    return ended;
}

static void wait_for_daemon(pid_t daemon, const sigset_t *set)
{
    struct timespec left = { .tv_sec = DAEMON_END_S };
    int ignored;
    while (daemon && sigtimedwait(set, NULL, &left) >= 0)
        (void)reap(0, &daemon, NULL, &ignored);
}

/* The terminal has sent these to the whole foreground group already, the program included, which is in ours. */
static bool from_terminal(const siginfo_t *info)
{
    return info->si_code == SI_KERNEL
           && (info->si_signo == SIGINT || info->si_signo == SIGQUIT || info->si_signo == SIGTSTP
               || info->si_signo == SIGWINCH);
}

static int end_as(int status)
{
    if (!WIFSIGNALED(status))
        return WEXITSTATUS(status);
    if (getpid() != 1) {
        sigset_t one;
        struct rlimit no_core = { 0, 0 };
        setrlimit(RLIMIT_CORE, &no_core); /* the core is the program's */
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
        sigemptyset(&one);
        sigaddset(&one, WTERMSIG(status));
        sigprocmask(SIG_UNBLOCK, &one, NULL);
    }
    return 128 + WTERMSIG(status);
}

/* The next signal; until then the program's calls are answered.  signals: a signalfd(2), only to wait on. */
static int next_signal(const sigset_t *set, siginfo_t *info, struct trap *trap, int signals)
{
    static const struct timespec now = { 0 };
    while (trap && trap_listener(trap) >= 0) {
        struct pollfd wait[2] = { { .fd = signals, .events = POLLIN },
                                  { .fd = trap_listener(trap), .events = POLLIN } };
        if (poll(wait, 2, -1) < 0)
            continue;
        if (wait[1].revents & POLLIN)
            trap_answer(trap);
        else if (wait[1].revents)
            trap_close(trap);
        if (wait[0].revents)
            return sigtimedwait(set, info, &now);
    }
    return sigwaitinfo(set, info);
}

/* 0; the exit status: the reason was printed, by the program's process or here. */
static int start_trap(struct trap *trap, pid_t program)
{
    int status = 0, failed = trap_take(trap, program);
    if (!failed)
        return 0;
    if (failed != -ECHILD)
        fprintf(stderr,
                "sidekey run: --layers notify: cannot take the program's calls over: %s; the program was not started\n",
                strerror(-failed));
    (void)waitpid(program, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : EX_UNAVAILABLE;
}

int run_init(void (*start)(void *arg), void *arg, pid_t daemon, struct trap *trap)
{
    sigset_t set, before;
    siginfo_t info;
    int status = 0, signals = -1;
    forwarded(&set);
    sigprocmask(SIG_BLOCK, &set, &before);
    if (trap) {
        prctl(PR_SET_CHILD_SUBREAPER, 1); /* Yama lets an ancestor alone look into a process */
        if ((signals = signalfd(-1, &set, SFD_CLOEXEC)) < 0)
            return EX_OSERR;
    }
    pid_t program = fork();
    if (program < 0) {
        fprintf(stderr, "sidekey run: cannot start the program: %s\n", strerror(errno));
        return EX_OSERR;
    }
    if (program == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        start(arg);
        _exit(EX_OSERR);
    }
    int failed = trap ? start_trap(trap, program) : 0;
    if (failed)
        return failed;
    for (bool ended = false; !ended;) {
        int number = next_signal(&set, &info, trap, signals);
        if (number == SIGCHLD)
            ended = reap(program, &daemon, trap, &status);
        else if (number > 0 && !from_terminal(&info))
            kill(program, number);
    }
    wait_for_daemon(daemon, &set);
    return end_as(status);
}
