#include "refresh/store/state_dir.h"

#include "base/clock.h"
#include "base/dir_trust.h"
#include "base/rand.h"
#include "base/write_all.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define HALF_WRITTEN ".tmp"
#define HALF_WRITTEN_DIGITS 16  /* random, so that nobody else's file has such a name */
#define HALF_WRITTEN_LIFE_S 600 /* no write takes so long: its writer is dead */

bool state_dir_is_name(const char *cred)
{
    size_t len = strspn(cred, "abcdefghijklmnopqrstuvwxyz0123456789._-");
    return len >= 1 && len <= STATE_DIR_NAME_MAX && cred[len] == '\0';
}

/* ---- the directory ---- */

static int make(const char *path, struct err *e)
{
    if (dir_trust_make(path, 0700) == 0)
        return 0;
    if (errno == ENOENT)
        return err_set(e, "cannot make %s: the directory above it is missing: mkdir -p \"$(dirname %s)\"", path, path);
    return err_set(e, "cannot make %s: %s", path, strerror(errno));
}

static int check(int fd, const char *path, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set(e, "%s: %s", path, strerror(errno));
    if (dir_trust_check_owner(&st, path, ", or use a directory of its own below it", e) != 0)
        return -1;
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return err_set(
            e, "%s has mode %04o, so others may %s it: chmod 0700 %s, or use a directory of its own below it", path,
            (unsigned)st.st_mode & 07777, st.st_mode & (S_IWGRP | S_IWOTH) ? "write to" : "look into", path);
    return 0;
}

/* A volume, as the kubelet and others make it: root's and open to a group, or ours and open, but without state of ours
 * in it (what an older version has put there must be found, or refused). */
static bool is_volume(int fd)
{
    struct stat st, inside;
    if (fstat(fd, &st) != 0 || (st.st_uid != 0 && st.st_uid != geteuid()))
        return false;
    if (st.st_uid == geteuid() && !dir_trust_is_mount(fd))
        return false;
    return st.st_uid != geteuid() || fstatat(fd, "journal", &inside, AT_SYMLINK_NOFOLLOW) != 0;
}

/* A directory of ours in a volume.  The descriptor; -1: where none can be made, e stays as it is. */
static int open_inside(int volume, char *path, size_t size, struct err *e)
{
    char name[32];
    size_t len = strlen(path);
    snprintf(name, sizeof name, "sidekey-%u", (unsigned)geteuid());
    if (mkdirat(volume, name, 0700) != 0 && errno != EEXIST)
        return -1;
    int fd = openat(volume, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_set(e, "cannot open the directory %.200s/%s: %s", path, name, strerror(errno));
    snprintf(path + len, size - len, "/%s", name);
    if (fchmod(fd, 0700) != 0 && errno != EPERM) /* without the set-group-ID bit of the volume */
        return err_set(e, "%.200s: %s", path, strerror(errno));
    (void)fsync(volume);
    return fd;
}

/* path (of size bytes) becomes the place that was found. */
static int find(char *path, size_t size, struct err *e)
{
    int fd = dir_trust_open(path, e);
    if (fd < 0)
        return -1;
    if (check(fd, path, e) == 0)
        return fd;
    int inside = is_volume(fd) ? open_inside(fd, path, size, e) : -1;
    close(fd);
    if (inside >= 0 && check(inside, path, e) != 0) {
        close(inside);
        return -1;
    }
    return inside;
}

/* Exactly as write_beside() names and makes them; "thesis.tmp" is somebody's work. */
static bool is_half_written(const struct state_dir *d, const char *name, int64_t now_s)
{
    struct stat st;
    size_t len = strlen(name), tail = 1 + HALF_WRITTEN_DIGITS + strlen(HALF_WRITTEN);
    if (len <= tail || name[len - tail] != '.' || strcmp(name + len - strlen(HALF_WRITTEN), HALF_WRITTEN) != 0
        || strspn(name + len - tail + 1, "0123456789abcdef") != HALF_WRITTEN_DIGITS)
        return false;
    return fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1
           && st.st_uid == geteuid() && (st.st_mode & 07177) == 0 && st.st_mtime + HALF_WRITTEN_LIFE_S < now_s;
}

static void sweep(const struct state_dir *d)
{
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    const struct dirent *entry;
    int64_t now_s = clock_wall_ms() / 1000;
    while ((entry = readdir(dir)))
        if (is_half_written(d, entry->d_name, now_s))
            (void)unlinkat(d->fd, entry->d_name, 0);
    closedir(dir);
}

int state_dir_open(struct state_dir *d, const char *path, struct err *e)
{
    char at[PATH_MAX];
    *d = (struct state_dir){ .fd = -1 };
    if (snprintf(at, sizeof at, "%s", path) >= (int)sizeof at)
        return err_set(e, "%.200s: %s", path, strerror(ENAMETOOLONG));
    if (make(path, e) != 0)
        return -1;
    int fd = find(at, sizeof at, e);
    char *copy = fd >= 0 ? strdup(at) : NULL;
    int *fault = copy ? calloc(1, sizeof *fault) : NULL;
    if (!fault) {
        free(copy);
        if (fd >= 0) {
            err_set(e, "%.200s: out of memory", path);
            close(fd);
        }
        return -1;
    }
    d->fd = fd;
    d->path = copy;
    d->fault = fault;
    sweep(d);
    return 0;
}

void state_dir_close(struct state_dir *d)
{
    if (d->path)
        close(d->fd);
    free(d->path);
    free(d->fault);
    *d = (struct state_dir){ .fd = -1 };
}

int state_dir_again(const struct state_dir *d, struct err *e)
{
    struct stat ours, there;
    struct state_dir next;
    if (fstat(d->fd, &ours) == 0 && stat(d->path, &there) == 0 && ours.st_ino == there.st_ino
        && ours.st_dev == there.st_dev)
        return 0;
    if (state_dir_open(&next, d->path, e) != 0)
        return -1;
    int failed = dup3(next.fd, d->fd, O_CLOEXEC) < 0 ? errno : 0; /* the number stays: others have it */
    state_dir_close(&next);
    return failed ? err_set(e, "%s: %s", d->path, strerror(failed)) : 1;
}

/* Remembers what came of a write, and gives it back. */
static int noted(const struct state_dir *d, int failed)
{
    *d->fault = failed == -EEXIST ? 0 : -failed;
    return failed;
}

int state_dir_fault(const struct state_dir *d)
{
    if (*d->fault && state_dir_writable(d))
        *d->fault = 0;
    return *d->fault;
}

static int sync_dir(const struct state_dir *d)
{
    if (fsync(d->fd) == 0 || errno == EINVAL) /* some network file systems cannot, and need not */
        return 0;
    return -errno;
}

/* ---- files in it ---- */

int state_dir_file(const struct state_dir *d, const char *name, int flags)
{
    struct stat st;
    int fd = openat(d->fd, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return -errno;
    int failed;
    if (fstat(fd, &st) != 0)
        failed = -errno;
    else if (S_ISREG(st.st_mode))
        failed = 0;
    else
        failed = -EINVAL;
    if (failed) {
        close(fd);
        return failed;
    }
    return fd;
}

static int read_all(int fd, struct buf *out)
{
    for (;;) {
        size_t want = buf_space(out) < 65536 ? buf_space(out) : 65536;
        char past = 0, *at = want ? buf_reserve(out, want) : &past;
        if (!at)
            return -ENOMEM;
        ssize_t got = read(fd, at, want ? want : 1);
        if (got == 0)
            return 0;
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got > 0 && want == 0)
            return -EFBIG;
        if (got > 0)
            buf_grow(out, (size_t)got);
    }
}

int state_dir_read(const struct state_dir *d, const char *name, struct buf *out)
{
    int fd = state_dir_file(d, name, O_RDONLY);
    if (fd < 0)
        return fd;
    int failed = read_all(fd, out);
    close(fd);
    return failed;
}

/* A new file with these bytes, on disk, under a name of its own. */
static int write_beside(const struct state_dir *d, const char *name, struct slice bytes, char *ret_beside, size_t size)
{
    uint64_t random; /* not the pid: two containers over one directory may have the same */
    rand_bytes(&random, sizeof random);
    snprintf(ret_beside, size, "%s.%016" PRIx64 HALF_WRITTEN, name, random);
    int fd = state_dir_file(d, ret_beside, O_WRONLY | O_CREAT | O_EXCL);
    if (fd < 0)
        return fd;
    int failed = write_all(fd, bytes);
    if (!failed && fsync(fd) != 0)
        failed = -errno;
    if (close(fd) != 0 && failed == 0)
        failed = -errno;
    if (failed)
        (void)unlinkat(d->fd, ret_beside, 0);
    return failed;
}

int state_dir_replace(const struct state_dir *d, const char *name, struct slice bytes)
{
    char beside[NAME_MAX + 1];
    int failed = write_beside(d, name, bytes, beside, sizeof beside);
    if (failed)
        return noted(d, failed);
    if (renameat(d->fd, beside, d->fd, name) != 0) {
        failed = -errno;
        (void)unlinkat(d->fd, beside, 0);
        return noted(d, failed);
    }
    return noted(d, sync_dir(d));
}

int state_dir_create(const struct state_dir *d, const char *name, struct slice bytes)
{
    char beside[NAME_MAX + 1];
    int failed = write_beside(d, name, bytes, beside, sizeof beside);
    if (failed)
        return noted(d, failed);
    failed = linkat(d->fd, beside, d->fd, name, 0) == 0 ? 0 : -errno; /* unlike rename(2) it never replaces */
    (void)unlinkat(d->fd, beside, 0);
    return noted(d, failed ? failed : sync_dir(d));
}

bool state_dir_writable(const struct state_dir *d)
{
    static const char pages[2 * 4096];
    char beside[NAME_MAX + 1];
    if (write_beside(d, "probe", slice_of(pages, sizeof pages), beside, sizeof beside) != 0)
        return false;
    (void)unlinkat(d->fd, beside, 0);
    return true;
}

int state_dir_remove(const struct state_dir *d, const char *name)
{
    if (unlinkat(d->fd, name, 0) != 0)
        return errno == ENOENT ? 0 : -errno;
    return sync_dir(d);
}

int state_dir_rename(const struct state_dir *d, const char *from, const char *to)
{
    return renameat(d->fd, from, d->fd, to) == 0 ? 0 : -errno;
}
