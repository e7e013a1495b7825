#include "app/cmd/run_roots.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cmd/env_table.h"
#include "certs/bundle.h"

#define ROOTS_MAX 512 /* files; a system's hashed directory has some 300 */
#define FILE_MAX (4 << 20)

struct roots {
    char **paths;
    size_t count;
    struct {
        dev_t device;
        ino_t inode;
    } there[ROOTS_MAX]; /* of files that are in the bundle: many variables name one and the same */
    size_t there_count;
    int failed;
};

/* Whether the file is in the bundle already. */
static bool is_there(const struct roots *r, const struct stat *st)
{
    for (size_t i = 0; i < r->there_count; i++)
        if (r->there[i].device == st->st_dev && r->there[i].inode == st->st_ino)
            return true;
    return false;
}

static void mark_there(struct roots *r, const char *path)
{
    struct stat st;
    if (r->there_count == ROOTS_MAX || stat(path, &st) != 0)
        return;
    r->there[r->there_count].device = st.st_dev;
    r->there[r->there_count++].inode = st.st_ino;
}

/* Is it a plain file with a certificate in PEM?  NULL, or what it is instead. */
static const char *fault(const char *path)
{
    struct stat st;
    const char *what = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return strerror(errno);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
        what = "not a plain file of at most 4 MiB";
    size_t size = what ? 0 : (size_t)st.st_size;
    char *text = size ? malloc(size) : NULL;
    ssize_t got = text ? read(fd, text, size) : 0;
    static const char begin[] = "-----BEGIN ";
    if (!what && (got <= 0 || !memmem(text, (size_t)got, begin, sizeof begin - 1)))
        what = "it contains no PEM certificate";
    free(text);
    close(fd);
    return what;
}

static void add(struct roots *r, const char *path)
{
    if (r->count == ROOTS_MAX || r->failed)
        return;
    char *copy = strdup(path);
    if (!copy) {
        r->failed = -ENOMEM;
        return;
    }
    r->paths[r->count++] = copy;
    mark_there(r, path);
}

/* NULL: path is in the bundle now; else why not. */
static const char *add_good(struct roots *r, const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && is_there(r, &st))
        return NULL;
    const char *what = fault(path);
    if (!what)
        add(r, path);
    return what;
}

static void add_named(struct roots *r, const char *variable, const char *path)
{
    const char *what = add_good(r, path);
    if (what)
        fprintf(stderr, "sidekey run: %s names %s: %s; it is left out of the program's CA bundle\n", variable, path,
                what);
}

/* OpenSSL's hashed names: 8 hexadecimal digits, a dot, a number. */
static bool is_hashed(const char *name)
{
    return strlen(name) >= 10 && strspn(name, "0123456789abcdef") == 8 && name[8] == '.'
           && isdigit((unsigned char)name[9]);
}

static void add_directories(struct roots *r, const char *list)
{
    char path[PATH_MAX];
    for (struct slice rest = slice_str(list); rest.len;) {
        struct slice one = slice_cut(rest, ':', &rest);
        snprintf(path, sizeof path, "%.*s", (int)one.len, one.ptr);
        DIR *dir = opendir(path);
        for (struct dirent *d; dir && (d = readdir(dir));)
            if (is_hashed(d->d_name)) {
                char file[PATH_MAX + 256];
                snprintf(file, sizeof file, "%s/%s", path, d->d_name);
                (void)add_good(r, file);
            }
        if (dir)
            closedir(dir);
    }
}

/* The distribution's bundle, whatever SSL_CERT_FILE says; without that variable it is in the bundle anyway. */
static void add_system(struct roots *r)
{
    const char *named = getenv("SSL_CERT_FILE");
    char *kept = named ? strdup(named) : NULL;
    if (!kept) {
        if (!named && bundle_system_path())
            mark_there(r, bundle_system_path());
        return;
    }
    unsetenv("SSL_CERT_FILE");
    const char *path = bundle_system_path();
    if (path)
        add(r, path);
    setenv("SSL_CERT_FILE", kept, 1);
    free(kept);
}

int run_roots_add(struct config *c)
{
    struct roots r = { .count = 0 };
    const char *dirs = getenv("SSL_CERT_DIR");
    while (c->extra_roots && c->extra_roots[r.count])
        r.count++;
    r.paths = reallocarray(c->extra_roots, r.count + ROOTS_MAX + 1, sizeof *r.paths);
    if (!r.paths)
        return -ENOMEM;
    c->extra_roots = r.paths;
    add_system(&r);
    for (const struct env_row *row = env_table_rows(); row->name; row++) {
        const char *value = row->kind == ENV_BUNDLE || row->kind == ENV_CA ? getenv(row->name) : NULL;
        if (value && *value)
            add_named(&r, row->name, value);
    }
    if (dirs)
        add_directories(&r, dirs);
    r.paths[r.count] = NULL;
    return r.failed;
}
