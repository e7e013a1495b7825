#include "certs/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
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

/* Appends a PEM file and ends its last line. */
static int add_file(struct buf *out, const char *path, struct err *e)
{
    size_t before = out->len;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int failed = fd < 0 ? -errno : read_all(fd, out);
    if (fd >= 0)
        close(fd);
    if (failed)
        return err_set(e, "cannot read the certificates in %s: %s", path, strerror(-failed));
    struct slice added = slice_skip(buf_slice(out), before);
    if (!holds(added, SLICE(PEM_BEGIN)) && !holds(added, SLICE(PEM_BEGIN_TRUSTED)))
        return err_set(e, "%s holds no PEM certificate", path);
    if (added.ptr[added.len - 1] != '\n' && buf_add_str(out, "\n") != 0)
        return err_set(e, "out of memory");
    return 0;
}

static int fill(struct buf *out, const char *not_this, struct slice ca_pem, const char *const *extra_roots,
                struct err *e)
{
    const char *path = system_path(not_this);
    if (path && add_file(out, path, e) != 0)
        return -1;
    for (; extra_roots && *extra_roots; extra_roots++)
        if (add_file(out, *extra_roots, e) != 0)
            return -1;
    return buf_add(out, ca_pem) == 0 ? 0 : err_set(e, "out of memory");
}

static int put_files(const char *dir, struct slice ca_pem, const struct buf *all, const struct buf *jks, struct err *e)
{
    struct publish_dir d;
    struct publish_file files[] = { { .name = "ca.pem", .bytes = ca_pem },
                                    { .name = "bundle.pem", .bytes = buf_slice(all) },
                                    { .name = "bundle.jks", .bytes = buf_slice(jks) } };
    if (publish_open(&d, dir, e) != 0)
        return -1;
    int failed = publish_files(&d, files, sizeof files / sizeof *files, e);
    publish_close(&d);
    return failed;
}

int bundle_publish(const char *dir, struct slice ca_pem, const char *const *extra_roots, struct err *e)
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
        failed = put_files(dir, ca_pem, &all, &jks, e);
    buf_done(&all);
    buf_done(&jks);
    return failed;
}
