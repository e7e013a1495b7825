#include "app/cmd/run_home.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX ((size_t)1 << 20)
#define CHUNK 4096

const char *run_home_path(const char *file_variable, const char *dir_variable, const char *name, char path[PATH_MAX])
{
    const char *file = file_variable ? getenv(file_variable) : NULL, *dir = dir_variable ? getenv(dir_variable) : NULL;
    if (!dir || !*dir)
        dir = getenv("HOME");
    int len = 0;
    if (file && *file)
        len = snprintf(path, PATH_MAX, "%s", file);
    else if (dir && *dir)
        len = snprintf(path, PATH_MAX, "%s/%s", dir, name);
    if (len <= 0 || len >= PATH_MAX)
        *path = '\0';
    return path;
}

int run_home_read(const char *path, struct buf *out)
{
    struct stat st;
    int fd = *path ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) : -1, failed = 0;
    bool plain = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= (off_t)FILE_MAX;
    for (size_t all = 0; plain && !failed && all < FILE_MAX;) {
        char bytes[CHUNK];
        ssize_t got = read(fd, bytes, sizeof bytes);
        if (got <= 0)
            break;
        all += (size_t)got;
        failed = buf_add(out, slice_of(bytes, (size_t)got));
    }
    if (fd >= 0)
        close(fd);
    struct slice all = buf_slice(out);
    if (!failed && all.len && all.ptr[all.len - 1] != '\n')
        failed = buf_add_str(out, "\n");
    return failed;
}

void run_home_each_line(const char *file_variable, const char *dir_variable, const char *name,
                        void (*fn)(void *arg, char *line), void *arg)
{
    char path[PATH_MAX], text[1024];
    struct buf all;
    buf_init_secret(&all, FILE_MAX + CHUNK); /* passwords may be in there */
    if (run_home_read(run_home_path(file_variable, dir_variable, name, path), &all) == 0)
        for (struct slice rest = buf_slice(&all); rest.len;) {
            struct slice line = slice_trim(slice_cut(rest, '\n', &rest));
            if (line.len == 0 || line.len >= sizeof text || *line.ptr == '#' || *line.ptr == ';')
                continue;
            memcpy(text, line.ptr, line.len);
            text[line.len] = '\0';
            fn(arg, text);
        }
    explicit_bzero(text, sizeof text);
    buf_done(&all);
}
