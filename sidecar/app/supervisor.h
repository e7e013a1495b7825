/* app/supervisor.h: the process that starts the others and keeps them alive (docs/architecture.md).   Main process.
 *
 * It opens the listeners and keeps them, so a worker that dies closes no port: who connects meanwhile waits in the
 * backlog for the next one. It holds references to secrets, never values; no socket of its own goes to the outside. The
 * CA key lives in a memfd that only keepers map: a keeper that dies takes no trust with it. Signals: SIGTERM, SIGINT
 * drain (a second one ends at once); SIGHUP reads the configuration again, and only a good one takes effect: new
 * processes take over the listeners, the old ones finish what they have. */
#ifndef SIDEKEY_APP_SUPERVISOR_H
#define SIDEKEY_APP_SUPERVISOR_H

#include "app/listeners.h"

struct supervisor_options {
    struct config *config;      /* taken over */
    const char *proxy_password; /* NULL: open */
    const char *hints_path;     /* NULL: no transparent listener */
    /* The new configuration after SIGHUP; NULL: none, and e was printed. NULL function: SIGHUP is ignored. */
    struct config *(*reload)(void *arg);
    /* Everything listens and every worker has its tokens' table.  Returns the pid of a program whose end ends us too,
     * 0: none, -1: end with status 71. */
    pid_t (*on_ready)(void *arg, const struct listeners *listeners);
    void *arg;
    bool foreground_child; /* SIGINT and SIGTERM are passed on to that program; its end decides */
};

/* Runs to the end.  Returns the exit status; when a program was started: its own (128 + signal when it was killed). */
int supervisor_run(const struct supervisor_options *options);

#endif
