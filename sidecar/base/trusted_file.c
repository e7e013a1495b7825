#include "base/trusted_file.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS_MAX 40
#define TRIES 3 /* a volume's "..data" link may move while it is read */
#define OVERFLOW_UID 65534

struct walk {
    const char *path;    /* as it was given, for messages */
    char at[PATH_MAX];   /* what has been judged, without links; "" is the root */
    char left[PATH_MAX]; /* what comes after it */
    int links;
    bool dir;       /* the directory at the end is not judged */
    struct stat st; /* of at */
    struct err *e;
};

/* In a user namespace without root, the kernel shows the files of the machine's root with the overflow uid. */
static bool root_is_unmapped(void)
{
    unsigned long inside = 1;
    FILE *f = fopen("/proc/self/uid_map", "re");
    int got = f ? fscanf(f, "%lu", &inside) : 0;
    if (f)
        fclose(f);
    return got == 1 && inside != 0;
}

bool trusted_file_owner(uid_t uid)
{
    return uid == 0 || uid == geteuid() || (uid == OVERFLOW_UID && root_is_unmapped());
}

static bool in_group(gid_t gid)
{
    gid_t list[256];
    int n = getgroups((int)(sizeof list / sizeof *list), list);
    for (int i = 0; i < n; i++)
        if (list[i] == gid)
            return true;
    return gid == getegid();
}

/* As far as this machine knows, the group has no other members. */
static bool group_is_trusted(gid_t gid)
{
    const struct group *group = gid ? getgrgid(gid) : NULL;
    const struct passwd *user = group ? getpwuid(geteuid()) : NULL;
    if (!group)
        return gid == 0 || in_group(gid);
    if (!user || strcmp(group->gr_name, user->pw_name) != 0)
        return false;
    for (char *const *member = group->gr_mem; *member; member++)
        if (strcmp(*member, user->pw_name) != 0)
            return false;
    return true;
}

static bool others_can_write(const struct stat *st)
{
    return !S_ISLNK(st->st_mode) && (st->st_mode & S_IWOTH || (st->st_mode & S_IWGRP && !group_is_trusted(st->st_gid)));
}

static bool is_mount_root(const char *path)
{
    struct statx sx;
    return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &sx) == 0
           && sx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT && sx.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

/* Others may add to it, and not replace what is another's. */
static bool is_shared_safely(const struct walk *w)
{
    if (!S_ISDIR(w->st.st_mode))
        return false;
    return w->st.st_mode & S_ISVTX || (w->st.st_uid == 0 && w->at[0] && is_mount_root(w->at));
}

static int judge(const struct walk *w)
{
    const char *name = w->at[0] ? w->at : "/", *kind = S_ISDIR(w->st.st_mode) ? "directory" : "file";
    bool chosen = S_ISREG(w->st.st_mode) && is_mount_root(name);
    if (!chosen && !trusted_file_owner(w->st.st_uid)) {
        err_set(w->e,
                "%.300s: the %s belongs to uid %u, which is neither root nor the user of sidekey (uid %u), and could "
                "change it: chown it, or use another path",
                name, kind, (unsigned)w->st.st_uid, (unsigned)geteuid());
        return -EPERM;
    }
    if (others_can_write(&w->st) && !is_shared_safely(w)) {
        err_set(w->e, "%.300s: other users can write to this %s (mode %04o, group %u): chmod go-w it", name, kind,
                (unsigned)w->st.st_mode & 07777, (unsigned)w->st.st_gid);
        return -EPERM;
    }
    return 0;
}

static int fail(const struct walk *w, int failed)
{
    err_set(w->e, "%.300s: %s", w->path, strerror(-failed));
    return failed;
}

/* Takes the first name off left.  false: none is there. */
static bool next_name(struct walk *w, char name[NAME_MAX + 1])
{
    const char *from = w->left + strspn(w->left, "/");
    size_t len = strcspn(from, "/");
    if (len == 0 || len > NAME_MAX)
        return false;
    memcpy(name, from, len);
    name[len] = '\0';
    memmove(w->left, from + len, strlen(from + len) + 1);
    return true;
}

/* at is a link: its target is resolved before the rest of the path. */
static int follow(struct walk *w)
{
    char target[PATH_MAX], left[PATH_MAX];
    ssize_t len = readlink(w->at, target, sizeof target - 1);
    if (len < 0 || ++w->links > LINKS_MAX)
        return fail(w, len < 0 ? -errno : -ELOOP);
    target[len] = '\0';
    memcpy(left, w->left, strlen(w->left) + 1);
    if (snprintf(w->left, sizeof w->left, "%s/%s", target, left) >= (int)sizeof w->left)
        return fail(w, -ENAMETOOLONG);
    if (target[0] == '/')
        w->at[0] = '\0';
    else
        *strrchr(w->at, '/') = '\0';
    return 0;
}

static int step(struct walk *w, const char *name)
{
    size_t len = strlen(w->at);
    char *last = strrchr(w->at, '/');
    if (strcmp(name, ".") == 0)
        return 0;
    if (strcmp(name, "..") == 0) { /* judged on the way here */
        if (last)
            *last = '\0';
        int failed = lstat(w->at[0] ? w->at : "/", &w->st);
        return failed == 0 ? 0 : fail(w, -errno);
    }
    if (len + 1 + strlen(name) >= sizeof w->at)
        return fail(w, -ENAMETOOLONG);
    snprintf(w->at + len, sizeof w->at - len, "/%s", name);
    if (lstat(w->at, &w->st) != 0)
        return fail(w, -errno);
    bool end = w->dir && S_ISDIR(w->st.st_mode) && w->left[strspn(w->left, "/")] == '\0';
    int failed = end ? 0 : judge(w);
    return failed || !S_ISLNK(w->st.st_mode) ? failed : follow(w);
}

static int begin(struct walk *w, const char *path)
{
    size_t len = 0;
    w->at[0] = w->left[0] = '\0';
    if (path[0] != '/') {
        if (!getcwd(w->left, sizeof w->left))
            return fail(w, -errno);
        len = strlen(w->left);
    }
    if (snprintf(w->left + len, sizeof w->left - len, "/%s", path) >= (int)(sizeof w->left - len))
        return fail(w, -ENAMETOOLONG);
    return lstat("/", &w->st) == 0 ? judge(w) : fail(w, -errno);
}

static int walk_all(struct walk *w, const char *path)
{
    char name[NAME_MAX + 1];
    int failed = begin(w, path);
    while (!failed && next_name(w, name))
        failed = step(w, name);
    return failed;
}

static int walk(struct walk *w, const char *path, long long most_bytes)
{
    int failed = walk_all(w, path);
    if (failed)
        return failed;
    if (!S_ISREG(w->st.st_mode)) {
        err_set(w->e, "%.300s: %s", path, S_ISDIR(w->st.st_mode) ? "is a directory" : "not a regular file");
        return -EINVAL;
    }
    if (w->st.st_size > most_bytes) {
        err_set(w->e, "%.300s: larger than %lld KiB", path, most_bytes / 1024);
        return -EFBIG;
    }
    return 0;
}

int trusted_file_check(const char *path, long long most_bytes, struct err *e)
{
    struct walk w = { .path = path, .e = e };
    return walk(&w, path, most_bytes);
}

int trusted_file_check_dir(const char *path, struct err *e)
{
    struct walk w = { .path = path, .dir = true, .e = e };
    int failed = walk_all(&w, path);
    return failed || S_ISDIR(w.st.st_mode) ? failed : fail(&w, -ENOTDIR);
}

int trusted_file_open(const char *path, long long most_bytes, struct err *e)
{
    for (int tries = 0; tries < TRIES; tries++) {
        struct walk w = { .path = path, .e = e };
        struct stat st;
        int failed = walk(&w, path, most_bytes);
        if (failed)
            return failed;
        int fd = open(w.at, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
        if (fd < 0 && errno != ENOENT)
            return fail(&w, -errno);
        if (fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == w.st.st_dev && st.st_ino == w.st.st_ino)
            return fd;
        if (fd >= 0)
            close(fd);
    }
    err_set(e, "%.300s: changes faster than it can be read", path);
    return -EAGAIN;
}
