/* app/inherited.h: listening sockets that systemd has opened for us (sd_listen_fds(3), systemd.socket(5)).   Main
 * process.  FileDescriptorName= says which listener one is: proxy, admin, socket or admin_socket; one without such a
 * name is the listener whose address or path it has. */
#ifndef SIDEKEY_APP_INHERITED_H
#define SIDEKEY_APP_INHERITED_H

#include "net/address.h"

/* Takes LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES out of the environment; they count when LISTEN_PID is this process.
 */
void inherited_begin(void);
/* The TCP listener of that name, or at that address; *io_at becomes the address that it has.  The descriptor, the
 * caller's from now on; -1: there is none. */
int inherited_tcp(const char *name, struct address *io_at);
/* The unix socket of that name, or at that path (NULL: by name alone). */
int inherited_unix(const char *name, const char *path);
/* Every descriptor was taken.  0; -1 with e: one was not, and would be a port that nobody answers. */
MUST_CHECK int inherited_all_taken(struct err *e);

#endif
