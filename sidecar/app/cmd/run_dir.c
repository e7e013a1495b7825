#include "app/cmd/run_dir.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int run_dir_make(char path[PATH_MAX], struct err *e)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    if (!base || access(base, W_OK) != 0)
        base = "/tmp";
    snprintf(path, PATH_MAX, "%s/sidekey-run.XXXXXX", base);
    return mkdtemp(path) ? 0 : err_set(e, "cannot make %s: %s", path, strerror(errno));
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
        if (d->d_name[0] != '.')
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
