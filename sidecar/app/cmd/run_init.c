#include "app/cmd/run_init.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
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
static bool reap(pid_t program, pid_t *daemon, int *ret_status)
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
    }
    return ended;
}

static void wait_for_daemon(pid_t daemon, const sigset_t *set)
{
    struct timespec left = { .tv_sec = DAEMON_END_S };
    int ignored;
    while (daemon && sigtimedwait(set, NULL, &left) >= 0)
        (void)reap(0, &daemon, &ignored);
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

int run_init(void (*start)(void *arg), void *arg, pid_t daemon)
{
    sigset_t set, before;
    siginfo_t info;
    int status = 0;
    forwarded(&set);
    sigprocmask(SIG_BLOCK, &set, &before);
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
    for (bool ended = false; !ended;) {
        int number = sigwaitinfo(&set, &info);
        if (number == SIGCHLD)
            ended = reap(program, &daemon, &status);
        else if (number > 0 && !from_terminal(&info))
            kill(program, number);
    }
    wait_for_daemon(daemon, &set);
    return end_as(status);
}
