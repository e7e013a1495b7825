/* net/hangup.h: hears that a connection is gone for good after its end was read.   Worker process.
 *
 * A peer that has ended its side may go on reading (RFC 9112 §9.6).  Its descriptor is readable for ever, so the loop,
 * which is level-triggered, would spin on it; and without a watcher a reset is heard only at the next write, which may
 * be minutes away.  A second epoll set asks for nothing but what the kernel always tells, EPOLLERR and EPOLLHUP: it
 * sleeps until a reset comes, or on a unix socket until the peer has closed. It costs system calls only for connections
 * that are half-closed. */
#ifndef SIDEKEY_NET_HANGUP_H
#define SIDEKEY_NET_HANGUP_H

#include "net/loop.h"

struct hangup { /* embedded in its owner */
    void (*run)(struct hangup *);
    int fd; /* -1: not watched */
};

/* Watches nothing yet. */
void hangup_init(struct hangup *h, void (*run)(struct hangup *));
/* run is called, again and again until hangup_stop(), once fd is gone.  Without a descriptor or memory for it: nothing
 * is watched, the next write finds out. */
void hangup_watch(struct hangup *h, int fd);
/* Before fd is closed.  Harmless when nothing is watched. */
void hangup_stop(struct hangup *h);

#endif
