/* net/hangup.h: detects that a peer has closed its connection while nothing is read from it.   Worker process.
 *
 * The loop does not watch a connection while it is not read (its request waits for a token, for a connection, or for a
 * slow upstream), so a closed client would be noticed only minutes later. And a peer that half-closed may still read
 * (RFC 9112 §9.6): its descriptor stays readable, so the level-triggered loop would spin. A second epoll set waits for
 * EPOLLERR and EPOLLHUP, which the kernel always reports (a reset; on a unix socket any close), and with ends also for
 * EPOLLRDHUP. It needs system calls only for connections that had to wait, or are half-closed. */
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
/* Calls run, repeatedly until hangup_stop(), when the peer has closed fd; with ends also when the peer has half-closed
 * (FIN). Calling it again changes what is watched. Without a descriptor or memory for it nothing is watched, and the
 * next read or write detects the close. */
void hangup_watch(struct hangup *h, int fd, bool ends);
/* Before fd is closed.  Harmless when nothing is watched. */
void hangup_stop(struct hangup *h);

#endif
