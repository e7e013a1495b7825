/* app/cmd/isolate_net.h: makes a new network namespace one whose every address is local (AnyIP).   Blocks on the kernel
 * alone.   Source: rtnetlink(7), ip-route(8) "local". */
#ifndef SIDEKEY_APP_CMD_ISOLATE_NET_H
#define SIDEKEY_APP_CMD_ISOLATE_NET_H

#include <stdbool.h>
#include <stdint.h>

/* Loopback up; a default route of type "local" for IPv4, and for IPv6 where the kernel has it (*ret_v6).  0; -errno. */
int isolate_net_up(bool *ret_v6);
/* A listener on port of every address (loopback_only: of loopback in that family alone).  family: AF_INET6 takes both
 * families unless loopback_only.  The fd (non-blocking, CLOEXEC), or -errno. */
int isolate_net_listen(int family, uint16_t port, bool loopback_only);
/* The socket for DNS: UDP port 53 of every address, which tells what address was asked.  The fd, or -errno. */
int isolate_net_dns(void);

#endif
