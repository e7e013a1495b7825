/* app/cmd/run_daemon.h: the private sidekey of one "sidekey run", as a daemon beside the program.
 *
 * The program keeps the process that the caller started: "run" starts the daemon, waits until it is ready, and then
 * execs the program in place.  Signals, job control, the terminal and the exit status are then the program's own.  The
 * daemon has its own session, holds no descriptor of the caller but standard error, and watches the program through a
 * pidfd: it ends when the program has ended, however that was. */
#ifndef SIDEKEY_APP_CMD_RUN_DAEMON_H
#define SIDEKEY_APP_CMD_RUN_DAEMON_H

#include "app/cmd/isolate.h"
#include "app/supervisor.h"

struct run_ready { /* what the program needs to know; plain data, it travels through a pipe */
    int status;    /* 0: ready; else the exit status of a daemon that could not start and printed the reason */
    uint16_t proxy_port, transparent_port;
    char proxy_text[64], admin_text[64];
    pid_t pid; /* the daemon's */
};

struct run_daemon_options {
    struct supervisor_options supervisor; /* on_ready, arg and program_fd are set here */
    const char *dir;                      /* the run's directory (run_dir.h); the daemon removes it */
    int dir_lock;                         /* its lock, which the daemon keeps */
    bool all_covered;                     /* whatever a child is: the preload library's word of it is not printed */
    struct isolate *isolate; /* this process isolates itself before the daemon is ready; NULL: it does not */
};

/* Starts the daemon and waits until it is ready or has failed.
 * Returns 0 with *ret, or the exit status: the reason was printed. */
MUST_CHECK int run_daemon_start(const struct run_daemon_options *options, struct run_ready *ret);

#endif
