#include "refresh/fetch/fetch_roots.h"

#include "certs/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct fetch_roots_entry {
    struct fetch_roots_entry *next;
    char *ca_file; /* NULL: none */
    struct timespec system_time, own_time;
    struct buf pem;
};

void fetch_roots_init(struct fetch_roots *r)
{
    r->entries = NULL;
}

static void free_entry(struct fetch_roots_entry *e)
{
    buf_done(&e->pem);
    free(e->ca_file);
    free(e);
}

void fetch_roots_done(struct fetch_roots *r)
{
    while (r->entries) {
        struct fetch_roots_entry *e = r->entries;
        r->entries = e->next;
        free_entry(e);
    }
}

static struct timespec changed(const char *path)
{
    struct stat st;
    return path && stat(path, &st) == 0 ? st.st_mtim : (struct timespec){ 0, 0 };
}

static int add_file(struct buf *out, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), failed = 0;
    if (fd < 0)
        return -errno;
    for (;;) {
        char *at = buf_reserve(out, 16384);
        ssize_t got = at ? read(fd, at, 16384) : -1;
        if (got < 0 && at && errno == EINTR)
            continue;
        if (got <= 0) {
            failed = got == 0 ? 0 : -EIO;
            break;
        }
        buf_grow(out, (size_t)got);
    }
    close(fd);
    return failed ? failed : buf_add(out, SLICE("\n"));
}

static struct fetch_roots_entry *find(struct fetch_roots *r, const char *ca_file)
{
    struct fetch_roots_entry *e = r->entries;
    while (e && !(ca_file == e->ca_file || (ca_file && e->ca_file && strcmp(ca_file, e->ca_file) == 0)))
        e = e->next;
    if (e || !(e = calloc(1, sizeof *e)))
        return e;
    buf_init(&e->pem, FETCH_ROOTS_MAX);
    if (ca_file && !(e->ca_file = strdup(ca_file))) {
        free_entry(e);
        return NULL;
    }
    e->next = r->entries;
    r->entries = e;
    return e;
}

static bool same(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool fetch_roots_for(struct fetch_roots *r, const char *ca_file, void **ret_data, size_t *ret_len)
{
    const char *system = bundle_system_path();
    struct timespec system_time = changed(system), own_time = changed(ca_file);
    struct fetch_roots_entry *e = find(r, ca_file);
    if (!e)
        return false;
    if (e->pem.len == 0 || !same(e->system_time, system_time) || !same(e->own_time, own_time)) {
        buf_clear(&e->pem);
        if ((system && add_file(&e->pem, system) != 0) || (ca_file && add_file(&e->pem, ca_file) != 0)) {
            buf_clear(&e->pem);
            return false;
        }
        e->system_time = system_time;
        e->own_time = own_time;
    }
    struct slice pem = buf_slice(&e->pem);
    *ret_data = (void *)(uintptr_t)pem.ptr;
    *ret_len = pem.len;
    return pem.len > 0;
}
