/* net/listen_unix.h: a listening unix socket in the file system, and the uid of its peers.
 * The supervisor opens it, keeps it and removes its path; workers share it and look up peers.
 *
 * The permissions of the path are never wider than configured, not even for a moment.  A socket that an ended process
 * left behind is replaced; a socket in use, and a file that is not a socket, is never removed.  A lock on the directory
 * separates two processes that start at the same time.
 */
#ifndef SIDEKEY_NET_LISTEN_UNIX_H
#define SIDEKEY_NET_LISTEN_UNIX_H

#include <sys/stat.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/err.h"

#define LISTEN_UNIX_PATH_MAX (sizeof((struct sockaddr_un *)0)->sun_path - 1) /* bytes, 107 on Linux */

struct listen_place { /* what is asked for; borrowed */
    const char *path; /* NULL: no socket */
    mode_t mode;      /* connecting needs write permission (unix(7)) */
    bool has_group;   /* false: the group that the file system gives it */
    gid_t group;
};

struct listen_unix { /* what is there; embedded */
    int fd;          /* -1: nothing */
    char path[LISTEN_UNIX_PATH_MAX + 1];
    /* of the path: it is removed only while it is still this socket (the open socket keeps its inode number from being
     * reused) */
    dev_t device;
    ino_t inode;
    bool has_group;
    bool inherited; /* its name is somebody else's to make and to take away */
};

/* Opens it (backlog 1024, CLOEXEC, non-blocking).  *ret is filled on success only.  0; -1 with e: what is in the way
 * and how to get it out. */
MUST_CHECK int listen_unix_open(const struct listen_place *at, struct listen_unix *ret, struct err *e);
/* The name is there and ours. */
bool listen_unix_stands(const struct listen_unix *u);
/* Other permissions for the same name.  0; -1 with e: it is as narrow as before, or narrower. */
MUST_CHECK int listen_unix_permit(struct listen_unix *u, const struct listen_place *at, struct err *e);
/* Closes the socket and removes the path. Does nothing when there is none. */
void listen_unix_remove(struct listen_unix *u);
/* Stops accepting for good: closes the connections in the queue and refuses later ones. (On a unix socket, shutdown(2)
 * alone does not empty the queue; on TCP it does.) */
void listen_unix_refuse(int fd);
/* The kernel's word (SO_PEERCRED) for who made the connection; *ret_pid is 0 when that process cannot be seen from
 * here.  0; -errno. */
MUST_CHECK int listen_unix_peer(int fd, uid_t *ret_uid, pid_t *ret_pid);

#endif
