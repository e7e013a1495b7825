/* proxy/hints.h: the destination that a program under the preload library connects to (preload/table.h).   Worker
 * process, and `sidekey run`, which makes the file. Owner  hints_open()'s caller, through hints_close().   Blocks only
 * on reads of a local file.
 *
 * The library makes the program's socket dial a loopback token, 127.64.0.0/12 : PORT, on every family (IPv6 sockets
 * dial ::ffff:127.…), so one AF_INET listener serves all.  It must be bound to 0.0.0.0 to hear every token: bind it
 * with SO_BINDTODEVICE "lo", and close whatever hints_lookup() does not know.  PORT is a port of its own, never the
 * proxy's. The file is written by the programs.  It is read with pread(), never mapped (a program could truncate it
 * under a mapping), and every value is checked. A false value can only name another destination, which the worker
 * judges like the target of a CONNECT. */
#ifndef SIDEKEY_PROXY_HINTS_H
#define SIDEKEY_PROXY_HINTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

#define HINTS_HOST_SIZE 254

struct hints;

/* Opens the table, and makes it (0600, sparse: 64 MiB of which only touched pages exist) when it is absent or empty.
 * NULL with e: cannot be made, not a regular file of ours, open to others, or of another layout. */
MUST_CHECK struct hints *hints_open(const char *path, struct err *e);
/* Accepts NULL.  The file stays. */
void hints_close(struct hints *h);
/* local: getsockname() of the accepted connection.  host: a lower-case name without trailing dot, or an address as
 * inet_ntop writes it (no brackets); port: never 0.  Returns 0; -ENOENT (no token address, or an unused token),
 * -EBADMSG (the slot does not hold what it should), or the error of reading.  *ret_proxy: the place is another proxy.
 * On failure host, *ret_port and *ret_proxy are untouched. */
MUST_CHECK int hints_lookup(const struct hints *h, const struct sockaddr *local, char host[HINTS_HOST_SIZE],
                            uint16_t *ret_port, bool *ret_proxy);

/* For an isolated program (proxy/isolated.h), whose names we give out ourselves. */
/* The address of a name, which is entered if need be: 4 bytes of 198.18.0.0/15, or with v6 16 bytes of TABLE_FAKE6.
 * 0; -EINVAL (not a lower-case name), -ENOSPC (the table is full there), or the error of reading or writing. */
MUST_CHECK int hints_address_of(const struct hints *h, const char *name, bool v6, uint8_t address[16]);
/* local: getsockname() of the accepted connection, any address.  host: its name where hints_address_of() gave that
 * address, else the address as hints_lookup() writes it.  0; -EBADMSG: an address of ours that was never given. */
MUST_CHECK int hints_place(const struct hints *h, const struct sockaddr *local, char host[HINTS_HOST_SIZE],
                           uint16_t *ret_port);

#endif
