/* app/cmd/run_init.h: "sidekey run" as the first process of a container (PID 1) or as a child subreaper, and where it
 * answers the program's system calls (app/cmd/trap.h).
 *
 * There it must reap orphans, and a signal that the program does not handle must not be lost.  So it stays the
 * program's parent: it forwards every signal, reaps every child, and ends as the program has ended. */
#ifndef SIDEKEY_APP_CMD_RUN_INIT_H
#define SIDEKEY_APP_CMD_RUN_INIT_H

#include <stdbool.h>
#include <sys/types.h>

#include "app/cmd/trap.h"

/* Is this process PID 1 or a child subreaper? */
bool run_init_needed(void);
/* Starts start(arg), which execs and does not return, in a child; runs until that child has ended, and then until the
 * daemon has (at most 2 s; 0: there is none).  Returns the program's exit status; where the program died by a signal
 * this process dies by it too, or as PID 1, which cannot, returns 128 + signal.  trap (trap_begin()): its calls are
 * answered; NULL: none are. */
int run_init(void (*start)(void *arg), void *arg, pid_t daemon, struct trap *trap);

#endif
