/* net/listen.h: listening sockets and the accept loop.
 * The supervisor opens, so that a dying worker never closes the port; workers accept. */
#ifndef SIDEKEY_NET_LISTEN_H
#define SIDEKEY_NET_LISTEN_H

#include "net/address.h"
#include "net/loop.h"

/* Opens a TCP listener (SO_REUSEADDR, SO_REUSEPORT when shared, backlog 1024, CLOEXEC, non-blocking).
 * *io_at: port 0 is replaced by the one that was given.  A port in use is tried again for 2 s, which blocks: after a
 * kill -9 of the supervisor its workers need a moment to close their copies.  Returns the fd; -1 with e: "address
 * already in use" names the address and how to find the process that uses it. */
MUST_CHECK int listen_open(struct address *io_at, bool shared, struct err *e);

struct listener;
/* Takes the connection over (non-blocking, CLOEXEC, TCP_NODELAY unless it is a unix socket). */
typedef void listen_fn(void *arg, int fd, const struct sockaddr *peer);
/* Accepts up to 16 a wake-up.  EMFILE, ENFILE, ENOBUFS, ENOMEM: pauses 100 ms instead of spinning, logs it once.  fd
 * stays the caller's. */
MUST_CHECK struct listener *listener_new(int fd, listen_fn *fn, void *arg);
/* false: stop accepting (drain, connection limit); true: go on. */
void listener_set(struct listener *l, bool accepting);
void listener_free(struct listener *l);

#endif
