#include "base/dir_trust.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/trusted_file.h"

bool dir_trust_is_mount(int fd)
{
    struct statx at;
    struct stat here, above;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &at) == 0 && at.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)
        return at.stx_attributes & STATX_ATTR_MOUNT_ROOT;
    return fstat(fd, &here) == 0 && fstatat(fd, "..", &above, 0) == 0 && here.st_dev != above.st_dev;
}

bool dir_trust_is_private(const struct stat *st)
{
    return trusted_file_owner(st->st_uid) && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

int dir_trust_check_owner(const struct stat *st, const char *path, const char *way_out, struct err *e)
{
    if (st->st_uid == geteuid())
        return 0;
    return err_set(e, "%s belongs to user id %ju, but this is user id %ju: chown %ju %s%s", path, (uintmax_t)st->st_uid,
                   (uintmax_t)geteuid(), (uintmax_t)geteuid(), path, way_out);
}

int dir_trust_open(const char *path, struct err *e)
{
    int failed = trusted_file_check_dir(path, e);
    int fd = failed ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!failed && fd < 0) {
        failed = -errno;
        err_set(e, "cannot open the directory %.200s: %s", path, strerror(-failed));
    }
    errno = -failed;
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

/* A directory that was made is there after a power failure only when the one above it is on disk.  What cannot be
 * synced (a network file system) need not be. */
static int make_and_sync(const char *path, mode_t mode)
{
    char above[PATH_MAX + 4];
    if (mkdir(path, mode) != 0)
        return errno == EEXIST ? 0 : -1;
    snprintf(above, sizeof above, "%.*s/..", PATH_MAX, path);
    int fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    return 0;
}

int dir_trust_make(const char *path, mode_t mode)
{
    char part[PATH_MAX];
    size_t home;
    if (make_and_sync(path, mode) == 0)
        return 0;
    if (errno != ENOENT || !is_below_home(path, &home) || snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
        return -1;
    for (char *slash = strchr(part + home, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (make_and_sync(part, 0700) != 0)
            return -1;
        *slash = '/';
    }
    return make_and_sync(path, mode);
}
