#include "app/cmd/run_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAME "sidekey-run."
#define YOUNG_S 60 /* a directory without a lock may be one that is being made */

static const char *base_dir(void)
{
    const char *own = getenv("XDG_RUNTIME_DIR");
    if (getuid() == 0 && access("/run", W_OK) == 0)
        return "/run"; /* other users of the same run can reach it there */
    return own && *own == '/' && access(own, W_OK) == 0 ? own : "/tmp";
}

/* A run that was killed with SIGKILL, daemon and all, leaves its directory. */
static void sweep(const char *base)
{
    char path[PATH_MAX];
    struct stat st;
    DIR *dir = opendir(base);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        if (strncmp(d->d_name, NAME, sizeof NAME - 1) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", base, d->d_name);
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == getuid() && time(NULL) - st.st_mtime > YOUNG_S
            && flock(fd, LOCK_EX | LOCK_NB) == 0)
            run_dir_remove(path);
        if (fd >= 0)
            close(fd);
    }
    if (dir)
        closedir(dir);
}

int run_dir_make(char path[PATH_MAX], int *ret_lock, struct err *e)
{
    const char *base = base_dir();
    sweep(base);
    snprintf(path, PATH_MAX, "%s/" NAME "XXXXXX", base);
    if (!mkdtemp(path))
        return err_set(e, "cannot make a directory in %s: %s", base, strerror(errno));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int lock = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (fd >= 0)
        close(fd);
    if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0 || fchmod(lock, 0711) != 0) {
        int failed = err_set(e, "cannot lock %s: %s", path, strerror(errno));
        if (lock >= 0)
            close(lock);
        rmdir(path);
        return failed;
    }
    *ret_lock = lock;
    return 0;
}

const char *run_dir_file(const char *path, const char *name, char *text)
{
    int len = snprintf(text, PATH_MAX, "%s/%s", path, name);
    return len < PATH_MAX ? text : "";
}

void run_dir_remove(const char *path)
{
    char file[PATH_MAX];
    DIR *dir = opendir(path);
    for (struct dirent *d; dir && (d = readdir(dir));)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            unlink(run_dir_file(path, d->d_name, file));
    if (dir)
        closedir(dir);
    rmdir(path);
}

int run_dir_find_preload(char path[PATH_MAX], struct err *e)
{
    static const char *const places[] = { "libsidekey-preload.so", "../lib/sidekey/libsidekey-preload.so" };
    char exe[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (len <= 0)
        return err_set(e, "cannot read /proc/self/exe: %s", strerror(errno));
    exe[len] = '\0';
    *(strrchr(exe, '/') + 1) = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char candidate[PATH_MAX * 2];
        snprintf(candidate, sizeof candidate, "%s%s", exe, places[i]);
        if (realpath(candidate, path) && access(path, R_OK) == 0 && !strpbrk(path, ": \t"))
            return 0; /* the loader would split LD_PRELOAD at a space or colon */
    }
    return err_set(e,
                   "libsidekey-preload.so is neither in %s nor in %s../lib/sidekey (a path with spaces or colons "
                   "cannot be preloaded)",
                   exe, exe);
}
