#include "base/dir_trust.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DEPTH_MAX 128

bool dir_trust_is_mount(int fd)
{
    struct statx at;
    struct stat here, above;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &at) == 0 && at.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)
        return at.stx_attributes & STATX_ATTR_MOUNT_ROOT;
    return fstat(fd, &here) == 0 && fstatat(fd, "..", &above, 0) == 0 && here.st_dev != above.st_dev;
}

static bool is_trusted_owner(uid_t uid)
{
    return uid == 0 || uid == geteuid();
}

bool dir_trust_is_private(const struct stat *st)
{
    return is_trusted_owner(st->st_uid) && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

static bool keeps_names(const struct stat *st)
{
    return is_trusted_owner(st->st_uid) && (!(st->st_mode & (S_IWGRP | S_IWOTH)) || st->st_mode & S_ISVTX);
}

static int refuse_above(int fd, const struct stat *st, const char *path, struct err *e)
{
    char link[32], name[PATH_MAX] = "a directory above it";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, name, sizeof name - 1);
    if (len > 0)
        name[len] = '\0';
    return err_set(
        e,
        "%.180s: others can put another directory in its place, because %.180s belongs to user id %ju and has "
        "mode %04o: use a directory elsewhere",
        path, name, (uintmax_t)st->st_uid, (unsigned)st->st_mode & 07777);
}

int dir_trust_above(int fd, const char *path, struct err *e)
{
    struct stat st, below;
    int at = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC), failed = fstat(fd, &below);
    for (int i = 0; at >= 0 && !failed && i < DEPTH_MAX; i++) {
        if ((failed = fstat(at, &st)) != 0 || (st.st_dev == below.st_dev && st.st_ino == below.st_ino))
            break; /* the root is its own parent */
        if (!keeps_names(&st)) {
            failed = refuse_above(at, &st, path, e);
            break;
        }
        int next = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        close(at);
        at = next;
        below = st;
    }
    if (at >= 0)
        close(at);
    return failed;
}

int dir_trust_open(const char *path, struct err *e)
{
    struct stat link;
    if (lstat(path, &link) == 0 && S_ISLNK(link.st_mode) && !is_trusted_owner(link.st_uid)) {
        err_set(e, "%.200s is a symbolic link of user id %ju: name the directory itself", path, (uintmax_t)link.st_uid);
        errno = ELOOP;
        return -1;
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        int number = errno;
        err_set(e, "cannot open the directory %.200s: %s", path, strerror(number));
        errno = number;
    }
    return fd;
}

/* path lies below the home directory (dir is that many bytes of it). */
static bool is_below_home(const char *path, size_t *ret_len)
{
    const char *home = getenv("HOME");
    size_t len = home ? strlen(home) : 0;
    while (len > 1 && home[len - 1] == '/')
        len--;
    *ret_len = len;
    return len > 1 && *home == '/' && strncmp(path, home, len) == 0 && path[len] == '/' && !strstr(path, "/../");
}

int dir_trust_make(const char *path, mode_t mode)
{
    char part[PATH_MAX];
    size_t home;
    if (mkdir(path, mode) == 0 || errno == EEXIST)
        return 0;
    if (errno != ENOENT || !is_below_home(path, &home) || snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
        return -1;
    for (char *slash = strchr(part + home, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return -1;
        *slash = '/';
    }
    return mkdir(path, mode) == 0 || errno == EEXIST ? 0 : -1;
}
