#include "certs/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/hash.h"
#include "certs/jks.h"
#include "certs/publish.h"

#define BUNDLE_MAX (16U << 20) /* the largest in the wild is 0.5 MiB */
#define CHUNK (64 * 1024)
#define PEM_BEGIN "-----BEGIN CERTIFICATE-----"
#define PEM_BEGIN_TRUSTED "-----BEGIN TRUSTED CERTIFICATE-----"

static const char *const places[] = {
    "/etc/ssl/certs/ca-certificates.crt",                /* Debian, Ubuntu, Alpine, Arch, distroless */
    "/etc/pki/tls/certs/ca-bundle.crt",                  /* Fedora, RHEL */
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* RHEL, UBI */
    "/etc/ssl/ca-bundle.pem",                            /* SUSE */
    "/etc/ssl/certs/ca-bundle.crt",                      /* NixOS */
    "/etc/pki/tls/cacert.pem",                           /* OpenELEC */
    "/etc/ssl/cert.pem",                                 /* Alpine without ca-certificates, BSD */
    NULL,
};

static bool is_file(const char *path, struct stat *ret)
{
    return stat(path, ret) == 0 && S_ISREG(ret->st_mode) && access(path, R_OK) == 0;
}

/* $SSL_CERT_FILE may be what an earlier start published (a program under "run" starts another): reading that back would
 * add one more of our certificates with every start. */
static const char *system_path(const char *not_this)
{
    const char *named = getenv("SSL_CERT_FILE");
    struct stat ours, theirs;
    bool known = not_this && stat(not_this, &ours) == 0;
    if (named && *named && is_file(named, &theirs)
        && !(known && ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino))
        return named;
    for (size_t i = 0; places[i]; i++)
        if (is_file(places[i], &theirs))
            return places[i];
    return NULL;
}

const char *bundle_system_path(void)
{
    return system_path(NULL);
}

static int read_all(int fd, struct buf *out)
{
    for (;;) {
        char *at = buf_space(out) < CHUNK ? NULL : buf_reserve(out, CHUNK);
        if (!at)
            return -EFBIG;
        ssize_t got = read(fd, at, CHUNK);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0 ? 0 : -errno;
        buf_grow(out, (size_t)got);
    }
}

static bool holds(struct slice text, struct slice part)
{
    return text.len && memmem(text.ptr, text.len, part.ptr, part.len) != NULL;
}

/* The first PEM block of text with the end of its last line; empty: none. */
static struct slice first_block(struct slice text)
{
    static const char begin[] = "-----BEGIN ", end[] = "-----END ";
    const char *from = text.len ? memmem(text.ptr, text.len, begin, sizeof begin - 1) : NULL;
    if (!from)
        return slice_of(text.ptr, 0);
    struct slice rest = slice_skip(text, (size_t)(from - text.ptr));
    const char *last = memmem(rest.ptr, rest.len, end, sizeof end - 1);
    const char *stop = last ? memchr(last, '\n', rest.len - (size_t)(last - rest.ptr)) : NULL;
    return last && stop ? slice_of(from, (size_t)(stop - from) + 1) : rest;
}

/* Appends text without the certificates that are there already: variables of before often name the system's own bundle,
 * and each root twice would cost every program that reads the result. */
static int add_new(struct buf *out, struct slice text, struct hash *seen)
{
    int failed = 0;
    while (text.len && !failed) {
        struct slice block = first_block(text), key = block;
        size_t before = block.len ? (size_t)(block.ptr - text.ptr) : text.len;
        while (key.len && key.ptr[key.len - 1] <= ' ')
            key.len--;
        failed = buf_add(out, slice_of(text.ptr, before));
        if (!failed && block.len && !hash_get(seen, key) && (failed = hash_put(seen, key, out)) == 0)
            failed = buf_add(out, block);
        text = slice_skip(text, before + block.len);
    }
    if (!failed && out->len && buf_slice(out).ptr[out->len - 1] != '\n')
        failed = buf_add_str(out, "\n");
    return failed;
}

/* Appends a PEM file and ends its last line. */
static int add_file(struct buf *out, const char *path, struct hash *seen, struct err *e)
{
    struct buf text;
    buf_init(&text, BUNDLE_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int failed = fd < 0 ? -errno : read_all(fd, &text);
    if (fd >= 0)
        close(fd);
    if (failed)
        failed = err_set(e, "cannot read the certificates in %s: %s", path, strerror(-failed));
    else if (!holds(buf_slice(&text), SLICE(PEM_BEGIN)) && !holds(buf_slice(&text), SLICE(PEM_BEGIN_TRUSTED)))
        failed = err_set(e, "%s holds no PEM certificate", path);
    else if (add_new(out, buf_slice(&text), seen) != 0)
        failed = err_set(e, "out of memory");
    buf_done(&text);
    return failed;
}

static int fill(struct buf *out, const char *not_this, struct slice ca_pem, const char *const *extra_roots,
                struct err *e)
{
    const char *path = system_path(not_this);
    struct hash *seen = hash_new();
    int failed = seen ? 0 : err_set(e, "out of memory");
    if (!failed && path)
        failed = add_file(out, path, seen, e);
    for (; !failed && extra_roots && *extra_roots; extra_roots++)
        failed = add_file(out, *extra_roots, seen, e);
    if (!failed && buf_add(out, ca_pem) != 0)
        failed = err_set(e, "out of memory");
    hash_free(seen);
    return failed;
}

static int put_files(const char *dir, struct slice ca_pem, const struct buf *all, const struct buf *jks, bool lasting,
                     struct err *e)
{
    struct publish_dir d;
    struct publish_file files[] = { { .name = "ca.pem", .bytes = ca_pem },
                                    { .name = "bundle.pem", .bytes = buf_slice(all) },
                                    { .name = "bundle.jks", .bytes = buf_slice(jks) } };
    if (publish_open(&d, dir, e) != 0)
        return -1;
    d.lasting = lasting;
    int failed = publish_files(&d, files, sizeof files / sizeof *files, e);
    publish_close(&d);
    return failed;
}

int bundle_publish(const char *dir, struct slice ca_pem, const char *const *extra_roots, bool lasting, struct err *e)
{
    char bundle[PATH_MAX];
    struct buf all, jks;
    if (snprintf(bundle, sizeof bundle, "%s/bundle.pem", dir) >= (int)sizeof bundle)
        return err_set(e, "cannot publish certificates in %.200s: %s", dir, strerror(ENAMETOOLONG));
    buf_init(&all, BUNDLE_MAX);
    buf_init(&jks, BUNDLE_MAX);
    int failed = fill(&all, bundle, ca_pem, extra_roots, e);
    if (!failed && jks_build(buf_slice(&all), &jks) != 0)
        failed =
            err_set(e, "cannot make %.200s/bundle.jks: it has no certificate that can be read, or out of memory", dir);
    if (!failed)
        failed = put_files(dir, ca_pem, &all, &jks, lasting, e);
    buf_done(&all);
    buf_done(&jks);
    return failed;
}
