/* app/listeners.h: the listening sockets of all workers, opened and kept by the supervisor.   Main process. */
#ifndef SIDEKEY_APP_LISTENERS_H
#define SIDEKEY_APP_LISTENERS_H

#include "app/config/config.h"
#include "net/listen_unix.h"

#define LISTENERS_WORKERS_MAX 64

struct listeners { /* -1: none */
    int proxy[LISTENERS_WORKERS_MAX], transparent[LISTENERS_WORKERS_MAX], gateway[LISTENERS_WORKERS_MAX],
        redirected[LISTENERS_WORKERS_MAX], admin;
    struct listen_unix local, admin_local; /* one for all workers; of clients, of operators */
    struct listen_unix login;              /* beside admin_local; its connections are the keeper's */
    unsigned workers;
    bool moved;     /* a unix socket is another one than the workers have */
    bool inherited; /* systemd has some of them too: nobody may shut them down */
    uint16_t proxy_port, transparent_port;
    char proxy_text[64], admin_text[64], gateway_text[64]; /* where they listen, ports filled in; "off" */
};

/* Without any socket. */
void listeners_init(struct listeners *listeners, unsigned workers);
/* Opens one proxy listener a worker (SO_REUSEPORT when there are several), the unix socket, one for the admin address,
 * and for the preload layer one that only the loopback interface reaches. c's port 0 is replaced by the port that was
 * given.  0; -1 with e: what is open is closed by listeners_close(). */
MUST_CHECK int listeners_open(struct listeners *listeners, struct config *c, bool transparent, struct err *e);
void listeners_close(struct listeners *listeners);
/* Moves the unix sockets to the paths of c (which may differ from before, or be off). When the admin socket has its
 * default path and cannot be opened, this is not an error: the log has the reason. 0; -1 with e: the socket that e
 * names was not moved. */
MUST_CHECK int listeners_move_local(struct listeners *listeners, const struct config *c, struct err *e);
/* Has somebody removed a unix socket of ours, and could it be made again? */
bool listeners_lost(const struct listeners *listeners);
/* Nobody will accept an operator again: who connects from now on is refused at once, unless systemd has the sockets. */
void listeners_refuse_operators(struct listeners *listeners);
/* In a child: closes all but what slot's worker listens on.  keeper: all of them. */
void listeners_keep(struct listeners *listeners, bool keeper, unsigned slot);

#endif
