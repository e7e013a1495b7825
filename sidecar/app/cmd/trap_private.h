/* app/cmd/trap_private.h: what trap.c and trap_answer.c share. */
#ifndef SIDEKEY_APP_CMD_TRAP_PRIVATE_H
#define SIDEKEY_APP_CMD_TRAP_PRIVATE_H

#include <fcntl.h>
#include <stdbool.h>

#include "app/cmd/trap.h"
#include "preload/shared.h"

#define TRAP_HELPERS_MAX 256 /* connections past us that block at the same time; more fail with EAGAIN */
#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL /* Linux 6.9 */
#endif

struct trap {
    struct policy policy; /* the redirected ports */
    uint16_t listen_port;
    struct table *table;
    int own_end, program_end; /* of the socket over which the program tells its filter's descriptor */
    int listener;             /* -1: none, or nobody is left who is asked for */
    bool threads;             /* this kernel has pidfds of threads */
    bool said;                /* that a process could not be looked into */
    pid_t helpers[TRAP_HELPERS_MAX];
};

#endif
