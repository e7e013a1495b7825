#include "net/listen_unix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 1024
#define LOCK_TRIES 100
#define LOCK_PAUSE_MS 10

enum holder { HOLDER_NONE, HOLDER_DEAD, HOLDER_LIVE, HOLDER_NO_SOCKET, HOLDER_OF_OTHERS };

static struct sockaddr_un name_of(const char *path)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    return name;
}

static int fail(struct err *e, const char *path, int number)
{
    int folder = (int)(strrchr(path, '/') - path);
    folder += folder == 0;
    switch (number) {
    case ENOENT:
        return err_set(e, "cannot listen on %s: the directory %.*s does not exist: create it, or correct the path",
                       path, folder, path);
    case EACCES:
        return err_set(e, "cannot listen on %s: uid %u has no permission to create files in %.*s", path,
                       (unsigned)geteuid(), folder, path);
    default: return err_set(e, "cannot listen on %s: %s", path, strerror(number));
    }
}

/* The lock makes checking, removing and binding one atomic step for all processes in this directory. Returns the
 * descriptor with the lock; -1: no lock is possible (an unreadable directory, a file system without locks), and bind(2)
 * will report what is wrong. */
static int lock_directory(const char *path)
{
    char folder[LISTEN_UNIX_PATH_MAX + 1];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path) + 1, path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i < LOCK_TRIES && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; i++)
        nanosleep(&(struct timespec){ .tv_nsec = LOCK_PAUSE_MS * 1000000L }, NULL);
    return fd;
}

/* Whose name is it that is there already? */
static enum holder ask_holder(const char *path)
{
    struct sockaddr_un name = name_of(path);
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? HOLDER_NONE : HOLDER_OF_OTHERS;
    if (!S_ISSOCK(st.st_mode))
        return HOLDER_NO_SOCKET;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return HOLDER_OF_OTHERS;
    int number = connect(fd, (const struct sockaddr *)&name, sizeof name) == 0 ? 0 : errno;
    close(fd);
    switch (number) {
    case 0:
    case EAGAIN: return HOLDER_LIVE; /* its queue is full */
    case ENOENT: return HOLDER_NONE;
    case ECONNREFUSED: return HOLDER_DEAD;
    default: return HOLDER_OF_OTHERS;
    }
}

static int complain(enum holder holder, const char *path, struct err *e)
{
    switch (holder) {
    case HOLDER_LIVE:
        return err_set(
            e, "cannot listen on %s: address already in use: another process listens on it; \"ss -xlp\" shows which",
            path);
    case HOLDER_NO_SOCKET:
        return err_set(
            e, "cannot listen on %s: a file that is not a socket has this path: move it away, or choose another path",
            path);
    default:
        return err_set(
            e, "cannot listen on %s: sidekey cannot tell whether the existing socket is in use: remove it if it is not",
            path);
    }
}

/* bind(2) makes the file: with the right mode at once, or, until it has its group, for its owner alone. */
static int bind_once(int fd, const struct listen_place *at)
{
    struct sockaddr_un name = name_of(at->path);
    mode_t before = umask(0777 & ~(at->has_group ? at->mode & 0700 : at->mode));
    int number = bind(fd, (const struct sockaddr *)&name, sizeof name) == 0 ? 0 : errno;
    umask(before);
    return number;
}

/* 0; -1 with e. */
static int take_name(int fd, const struct listen_place *at, struct err *e)
{
    int number = bind_once(fd, at);
    if (number != EADDRINUSE)
        return number ? fail(e, at->path, number) : 0;
    enum holder holder = ask_holder(at->path);
    if (holder != HOLDER_DEAD && holder != HOLDER_NONE)
        return complain(holder, at->path, e);
    if (holder == HOLDER_DEAD && unlink(at->path) != 0)
        return err_set(e, "cannot remove %s, which a process that has ended left behind: %s", at->path,
                       strerror(errno));
    number = bind_once(fd, at);
    return number ? fail(e, at->path, number) : 0;
}

static bool is_ours(const struct listen_unix *u, const struct stat *st)
{
    return S_ISSOCK(st->st_mode) && st->st_dev == u->device && st->st_ino == u->inode;
}

static int shut(struct listen_unix *u)
{
    close(u->fd);
    u->fd = -1;
    return -1;
}

bool listen_unix_stands(const struct listen_unix *u)
{
    struct stat st;
    return u->inherited || (u->fd >= 0 && lstat(u->path, &st) == 0 && is_ours(u, &st));
}

/* With the directory locked. */
static int take_away(struct listen_unix *u)
{
    if (!u->inherited && listen_unix_stands(u))
        unlink(u->path);
    return shut(u);
}

static int open_locked(const struct listen_place *at, struct listen_unix *u, struct err *e)
{
    struct stat st;
    u->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (u->fd < 0)
        return fail(e, at->path, errno);
    if (take_name(u->fd, at, e) != 0)
        return shut(u);
    if (listen(u->fd, BACKLOG) != 0 || lstat(at->path, &st) != 0) {
        fail(e, at->path, errno);
        unlink(at->path);
        return shut(u);
    }
    u->device = st.st_dev;
    u->inode = st.st_ino;
    return at->has_group && listen_unix_permit(u, at, e) != 0 ? take_away(u) : 0;
}

int listen_unix_open(const struct listen_place *at, struct listen_unix *ret, struct err *e)
{
    struct listen_unix u = { .fd = -1 };
    if (at->path[0] != '/' || strlen(at->path) > LISTEN_UNIX_PATH_MAX)
        return err_set(e, "the path of a socket must begin with / and have at most %zu bytes", LISTEN_UNIX_PATH_MAX);
    snprintf(u.path, sizeof u.path, "%s", at->path);
    int lock = lock_directory(at->path);
    int failed = open_locked(at, &u, e);
    if (lock >= 0)
        close(lock);
    if (failed)
        return -1;
    *ret = u;
    return 0;
}

/* Works on the file of fd (O_PATH), so no symbolic link can redirect it. While the group changes, only users who are
 * allowed with both groups have access. */
static int change(int fd, const struct listen_unix *u, const struct listen_place *at, mode_t old)
{
    char self[32];
    gid_t group = at->has_group ? at->group : getegid();
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (!at->has_group && !u->has_group)
        return chmod(self, at->mode);
    if (chmod(self, at->mode & old & 0700) != 0 || fchownat(fd, "", (uid_t)-1, group, AT_EMPTY_PATH) != 0)
        return -1;
    return chmod(self, at->mode);
}

int listen_unix_permit(struct listen_unix *u, const struct listen_place *at, struct err *e)
{
    struct stat st;
    if (u->inherited)
        return 0; /* mode and group are in the socket unit */
    int fd = open(u->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || !is_ours(u, &st)) {
        if (fd >= 0)
            close(fd);
        return err_set(e, "another program replaced the socket %s while sidekey created it", u->path);
    }
    int number = change(fd, u, at, st.st_mode) == 0 ? 0 : errno;
    close(fd);
    if (number)
        return err_set(e, "cannot set mode and group of %s: %s%s", u->path, strerror(number),
                       number == EPERM ? ": only root, or a member of the group, can set it" : "");
    u->has_group = at->has_group;
    return 0;
}

void listen_unix_remove(struct listen_unix *u)
{
    if (u->fd < 0)
        return;
    int lock = lock_directory(u->path);
    take_away(u);
    if (lock >= 0)
        close(lock);
}

void listen_unix_refuse(int fd)
{
    int waiting;
    (void)shutdown(fd, SHUT_RDWR);
    while ((waiting = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        close(waiting);
}

int listen_unix_peer(int fd, uid_t *ret_uid, pid_t *ret_pid)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return -errno;
    *ret_uid = peer.uid;
    *ret_pid = peer.pid;
    return 0;
}
