/* net/listen_unix.h: a listening socket that has a name in the file system, and who is at the other end of its
 * connections. The supervisor opens it, keeps it and takes its name away; workers share it and ask for peers.
 *
 * The name is never open wider than asked, not for a moment.  What a dead process left is replaced; what somebody
 * listens on, and what is no socket, is left alone.  Two that start at once are kept apart by a lock on the directory.
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
    mode_t mode;      /* who may write to it may connect (unix(7)) */
    bool has_group;   /* false: the group that the file system gives it */
    gid_t group;
};

struct listen_unix { /* what is there; embedded */
    int fd;          /* -1: nothing */
    char path[LISTEN_UNIX_PATH_MAX + 1];
    /* of the name: it is taken away only while it is still ours (the open socket keeps the number from being used
     * again) */
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
/* Closes it and takes the name away.  Nothing when there is none. */
void listen_unix_remove(struct listen_unix *u);
/* Nobody will accept again: who waits in the queue is hung up on, who comes later is refused.  (shutdown(2) alone
 * leaves the queue as it is; on TCP it does not.) */
void listen_unix_refuse(int fd);
/* The kernel's word (SO_PEERCRED) for who made the connection; *ret_pid is 0 when that process cannot be seen from
 * here.  0; -errno. */
MUST_CHECK int listen_unix_peer(int fd, uid_t *ret_uid, pid_t *ret_pid);

#endif
