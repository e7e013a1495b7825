/* net/dial/parent_talk.h: asks a parent proxy, on a connection to it, for the way to one target: CONNECT or SOCKS5.
 * Reads to the last byte of the proxy's answer and no further: what follows is the target's.   Source  RFC 9110 §9.3.6,
 * RFC 1928, RFC 1929. Deadlines are the owner's. */
#ifndef SIDEKEY_NET_DIAL_PARENT_TALK_H
#define SIDEKEY_NET_DIAL_PARENT_TALK_H

#include "net/dial/parent.h"

#define PARENT_HEAD_MAX (16 * 1024)

struct parent_talk;

/* error: 0, the way is open; -ECONNREFUSED (the proxy refused us or the target, or the target the proxy), -ETIMEDOUT
 * (the target did not answer the proxy), -EHOSTUNREACH, -EPROTO (no answer that one could read), or what the socket
 * said.  text: for people, valid during the call, no secret. */
typedef void parent_talk_fn(void *arg, int error, const char *text);

/* p: borrowed until the end; fd: non-blocking, connected, stays the caller's and is not closed.  fn is called once,
 * later, and ends the talk; never from inside this call.  NULL when out of memory. */
MUST_CHECK struct parent_talk *parent_talk_start(const struct parent *p, int fd, const struct authority *to,
                                                 parent_talk_fn *fn, void *arg);
/* fn will not be called.  Accepts NULL. */
void parent_talk_cancel(struct parent_talk *t);

#endif
