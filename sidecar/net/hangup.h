/* net/hangup.h: hears that a peer has left although nothing is read from it.   Worker process.
 *
 * A connection that is not read (its request waits for a token, for a connection, or for an upstream that takes no
 * more) is not watched by the loop, so a client that leaves would be noticed minutes later.  And a peer that has ended
 * its side may go on reading (RFC 9112 §9.6): its descriptor is readable for ever, so the loop, which is
 * level-triggered, would spin on it.  A second epoll set asks for what the kernel always tells, EPOLLERR and EPOLLHUP
 * (a reset; on a unix socket any close), and with ends for EPOLLRDHUP.  It costs system calls only for connections that
 * had to wait, or are half-closed. */
#ifndef SIDEKEY_NET_HANGUP_H
#define SIDEKEY_NET_HANGUP_H

#include <stdbool.h>

#include "net/loop.h"

struct hangup { /* embedded in its owner */
    void (*run)(struct hangup *);
    int fd; /* -1: not watched */
    bool ends;
};

/* Watches nothing yet. */
void hangup_init(struct hangup *h, void (*run)(struct hangup *));
/* run is called, again and again until hangup_stop(), once fd is gone; with ends also once the peer has ended its side
 * (FIN), although nothing is read.  Calling it again changes what is watched.  Without a descriptor or memory for it:
 * nothing is watched, the next read or write finds out. */
void hangup_watch(struct hangup *h, int fd, bool ends);
/* Before fd is closed.  Harmless when nothing is watched. */
void hangup_stop(struct hangup *h);

#endif
