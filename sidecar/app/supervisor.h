/* app/supervisor.h: the process that starts the others and keeps them alive (docs/architecture.md).   Main process.
 *
 * It opens the listeners and keeps them, so the port stays open when a worker dies: new connections wait in the backlog
 * for the next worker. It has references to secrets, never values; it opens no connection to other hosts. The CA key is
 * in a memfd that only keepers map, so the CA survives the death of a keeper. Signals: SIGTERM, SIGINT, SIGQUIT drain
 * (a second one ends at once); SIGHUP reads the configuration again, and only a good one takes effect: new processes
 * take over the listeners, the old ones finish what they have.  When the program file was replaced as well, SIGHUP
 * executes the new one first, which takes over listeners, counters and children (app/supervisor_handover.h). */
#ifndef SIDEKEY_APP_SUPERVISOR_H
#define SIDEKEY_APP_SUPERVISOR_H

#include "app/listeners.h"

struct supervisor_options {
    struct config *config;      /* taken over */
    const char *proxy_password; /* NULL: open */
    const char *hints_path;     /* NULL: no transparent listener, and no isolated program */
    /* The sockets inside the network of an isolated program, which has no use for a transparent listener; NULL: none.
     * They are this process's for ever, borrowed. */
    const struct isolated_sockets *isolated;
    /* The new configuration after SIGHUP; NULL: none, and e was printed. NULL function: SIGHUP is ignored. */
    struct config *(*reload)(void *arg);
    /* The flags of the command line, NULL-terminated, for "take-over" of a new program file; NULL: SIGHUP does not look
     * at the file. */
    char *const *take_over;
    /* The state that the previous program has left; 0: none, everything is opened anew. */
    int handover_fd;
    /* Everything listens and every worker has its tokens' table.  Returns 0; -1: end with status 71. */
    int (*on_ready)(void *arg, const struct listeners *listeners);
    void *arg;
    /* A pidfd of the program that we serve, 0: none.  Its end is our drain; until then SIGTERM, SIGINT and SIGHUP are
     * ignored: signals to the process group or the cgroup reach both, and the program's last calls must work. */
    int program_fd;
    /* Called when report_fd (0: none) is readable: the daemon of a run hears there of children that it does not cover.
     */
    int report_fd;
    void (*on_report)(int report_fd);
};

/* Runs to the end.  Returns the exit status. */
int supervisor_run(const struct supervisor_options *options);

#endif
