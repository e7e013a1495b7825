/* net/original_dst.h: where a connection was made to before a firewall rule redirected it here (nftables "redirect",
 * iptables REDIRECT or DNAT).   Source: linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h (SO_ORIGINAL_DST). */
#ifndef SIDEKEY_NET_ORIGINAL_DST_H
#define SIDEKEY_NET_ORIGINAL_DST_H

#include <sys/socket.h>

#include "base/slice.h"

/* fd: an accepted TCP connection.  *ret: IPv4, also of a connection to an IPv6 socket, or IPv6.  0; -ENOENT: it was not
 * redirected (it was made to our own address), or another -errno of the kernel. */
MUST_CHECK int original_dst(int fd, struct sockaddr_storage *ret);

#endif
