#include "certs/publish.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/dir_trust.h"
#include "base/rand.h"
#include "base/write_all.h"

#define PREFIX ".sidekey-"
#define HALF_WRITTEN_LIFE_S 600 /* no write takes so long: its writer is dead */

/* ---- the directory ---- */

static int make(const char *path, struct err *e)
{
    struct stat st;
    bool there = lstat(path, &st) == 0;
    if (dir_trust_make(path, 0755) != 0)
        return err_set(e, "cannot make the directory %.200s: %s", path, strerror(errno));
    if (!there)
        (void)chmod(path, 0755); /* whatever the umask: programs of other users read here */
    return 0;
}

static int check(int fd, const char *path, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set(e, "%.200s: %s", path, strerror(errno));
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return err_set(
            e,
            "%.200s belongs to user id %ju, which could make programs trust another CA: chown %ju %.200s, or "
            "set ca.publish to a directory of its own",
            path, (uintmax_t)st.st_uid, (uintmax_t)geteuid(), path);
    if (!dir_trust_is_private(&st) && !dir_trust_is_mount(fd))
        return err_set(
            e,
            "%.200s has mode %04o, so others could make programs trust another CA: chmod 0755 %.200s, or set "
            "ca.publish to a directory of its own",
            path, (unsigned)st.st_mode & 07777, path);
    return 0;
}

/* What a writer of ours that died has left: our name, our user, a plain file. */
static void sweep(const struct publish_dir *d)
{
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    struct stat st;
    while (dir && (entry = readdir(dir)))
        if (strncmp(entry->d_name, PREFIX, sizeof PREFIX - 1) == 0
            && fstatat(d->fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)
            && st.st_uid == geteuid() && st.st_mtime + HALF_WRITTEN_LIFE_S < clock_wall_ms() / 1000)
            (void)unlinkat(d->fd, entry->d_name, 0);
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
}

int publish_open(struct publish_dir *d, const char *path, struct err *e)
{
    *d = (struct publish_dir){ .fd = -1, .path = path, .lasting = true };
    if (make(path, e) != 0 || (d->fd = dir_trust_open(path, e)) < 0)
        return -1;
    if (check(d->fd, path, e) == 0) {
        sweep(d);
        return 0;
    }
    publish_close(d);
    return -1;
}

void publish_close(struct publish_dir *d)
{
    if (d->fd >= 0)
        close(d->fd);
    d->fd = -1;
}

/* ---- files ---- */

static bool holds(int fd, struct slice bytes)
{
    char part[16 * 1024];
    while (bytes.len) {
        ssize_t got = read(fd, part, sizeof part);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || (size_t)got > bytes.len || memcmp(part, bytes.ptr, (size_t)got) != 0)
            return false;
        bytes = slice_skip(bytes, (size_t)got);
    }
    return read(fd, part, 1) == 0;
}

/* A regular file of our user with these bytes that every user may read. */
static bool is_current(const struct publish_dir *d, const struct publish_file *f)
{
    struct stat st;
    int fd = openat(d->fd, f->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    bool same = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid()
                && (st.st_mode & 07777) == 0444 && st.st_size == (off_t)f->bytes.len && holds(fd, f->bytes);
    if (fd >= 0)
        close(fd);
    return same;
}

static int write_beside(const struct publish_dir *d, struct publish_file *f)
{
    uint64_t random;
    rand_bytes(&random, sizeof random);
    snprintf(f->beside, sizeof f->beside, PREFIX "%016" PRIx64, random);
    int fd = openat(d->fd, f->beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        f->beside[0] = '\0';
        return -errno;
    }
    int failed = write_all(fd, f->bytes);
    if (!failed && (fchmod(fd, 0444) != 0 || (d->lasting && fsync(fd) != 0)))
        failed = -errno;
    if (close(fd) != 0 && !failed)
        failed = -errno;
    return failed;
}

static int put_in_place(const struct publish_dir *d, struct publish_file *f)
{
    if (!f->beside[0])
        return 0;
    if (renameat(d->fd, f->beside, d->fd, f->name) != 0)
        return -errno;
    f->beside[0] = '\0';
    return 0;
}

static int each(const struct publish_dir *d, struct publish_file *files, size_t count, size_t *ret_at)
{
    int failed = 0;
    for (*ret_at = 0; *ret_at < count; (*ret_at)++)
        if (!is_current(d, &files[*ret_at]) && (failed = write_beside(d, &files[*ret_at])) != 0)
            return failed;
    for (*ret_at = 0; *ret_at < count; (*ret_at)++)
        if ((failed = put_in_place(d, &files[*ret_at])) != 0)
            return failed;
    return 0;
}

int publish_files(const struct publish_dir *d, struct publish_file *files, size_t count, struct err *e)
{
    size_t at;
    for (size_t i = 0; i < count; i++)
        files[i].beside[0] = '\0';
    int failed = each(d, files, count, &at);
    for (size_t i = 0; i < count; i++)
        if (files[i].beside[0])
            (void)unlinkat(d->fd, files[i].beside, 0);
    return failed ? err_set(e, "cannot write %.200s/%s: %s", d->path, files[at].name, strerror(-failed)) : 0;
}
