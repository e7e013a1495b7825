/* app/cmd/isolate.h: "sidekey run --isolate": the program in a network that ends at sidekey (namespaces(7)).
 *
 * The process that becomes the program leaves its user, network and mount namespace after the private sidekey was
 * forked, which stays outside and dials.  In the new network every address is local (AnyIP), so a connection to a port
 * on which nobody listens is refused at once, and nothing leaves.  The listeners are opened inside and sent to the
 * private sidekey (SCM_RIGHTS).  The program keeps its pid and its user and group IDs. */
#ifndef SIDEKEY_APP_CMD_ISOLATE_H
#define SIDEKEY_APP_CMD_ISOLATE_H

#include "app/config/config.h"

struct isolate {
    struct config *config;              /* whose rules name the ports */
    uint16_t local[ISOLATED_LOCAL_MAX]; /* --allow-local */
    unsigned local_count;
    int program_end, daemon_end; /* of the socket between the two; -1: not open */
};

/* Takes one more --allow-local, before the start.  0; -EINVAL (no port), -ENOSPC. */
MUST_CHECK int isolate_allow_local(struct isolate *i, const char *port);
/* Opens the socket.  0; -errno. */
MUST_CHECK int isolate_begin(struct isolate *i);
/* In the process that becomes the program: new namespaces, listeners, and sends these.  Returns 0, or the exit status:
 * the reason was printed. */
MUST_CHECK int isolate_enter(struct isolate *i);
/* In the private sidekey: waits for the sockets, and helps with the ID maps where only a process outside may write
 * them.  0; -1: the other side gave up. */
MUST_CHECK int isolate_receive(struct isolate *i, struct isolated_sockets *ret);
/* In the process that becomes the program, when dir (run_dir.h) has the CA bundles: puts them, and a resolv.conf, in
 * the place of the system's (mount_namespaces(7)).  Returns 0, or the exit status: the reason was printed. */
MUST_CHECK int isolate_mount(const char *dir);
/* Tries in a child whether this system lets a program be isolated.  0, or the exit status: the reason was printed. */
MUST_CHECK int isolate_try(void);
/* Prints why a step of the above was refused, and the way out.  Returns the exit status. */
int isolate_refused(const char *step, int error);

#endif
