/* Files of the system that the isolated program sees as ours. */
#include "app/cmd/isolate.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cmd/run_dir.h"

/* Bundles in PEM: distributions, and Go's list. */
static const char *const bundles[] = {
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/cert.pem",
    "/usr/lib/ssl/cert.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
};
static const char *const key_stores[] = {
    "/etc/ssl/certs/java/cacerts",
    "/etc/pki/java/cacerts",
    "/etc/pki/ca-trust/extracted/java/cacerts",
};
/* Daemons of the host that would look names up with the host's own name servers.  Without them the C library asks DNS.
 */
static const char *const resolvers[] = {
    "/run/nscd/socket",
    "/var/run/nscd/socket",
    "/run/systemd/resolve/io.systemd.Resolve",
};

/* Where there is such a file: the preload library of a run around this one shows stat(2) more than there are.  0;
 * -errno. */
static int cover(const char *target, const char *with)
{
    struct stat st, own;
    if (stat(with, &own) != 0)
        return -errno;
    if (stat(target, &st) != 0 || S_ISDIR(st.st_mode) || (own.st_dev == st.st_dev && own.st_ino == st.st_ino))
        return 0; /* or a link to one that is covered already */
    return mount(with, target, NULL, MS_BIND, NULL) == 0 || errno == ENOENT ? 0 : -errno;
}

static int cover_all(const char *const *targets, size_t count, const char *with)
{
    int failed = 0;
    for (size_t i = 0; i < count && !failed; i++)
        failed = cover(targets[i], with);
    return failed;
}

/* Of the Java in home. */
static int cover_java(const char *home, const char *jks)
{
    char path[PATH_MAX + 32];
    int failed = 0;
    static const char *const places[] = { "lib/security/cacerts", "jre/lib/security/cacerts" };
    for (size_t i = 0; i < sizeof places / sizeof *places && !failed; i++) {
        snprintf(path, sizeof path, "%s/%s", home, places[i]);
        failed = cover(path, jks);
    }
    return failed;
}

/* The Java that "java" starts: …/bin/java. */
static int cover_java_in_path(const char *jks)
{
    char candidate[PATH_MAX], real[PATH_MAX];
    const char *dirs = getenv("PATH");
    while (dirs && *dirs) {
        size_t len = strcspn(dirs, ":");
        snprintf(candidate, sizeof candidate, "%.*s/java", (int)len, dirs);
        dirs += len + (dirs[len] == ':');
        if (!realpath(candidate, real))
            continue;
        for (int up = 0; up < 2; up++) {
            char *slash = strrchr(real, '/');
            if (slash)
                *slash = '\0';
        }
        return cover_java(real, jks);
    }
    return 0;
}

/* Every server answers; 127.0.0.1 is the one that needs no explanation.  No search list: the worker looks a name up
 * outside, with the host's. */
static int cover_resolv_conf(const char *dir)
{
    char path[PATH_MAX];
    static const char text[] = "nameserver 127.0.0.1\n";
    int fd = open(run_dir_file(dir, "resolv.conf", path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0444);
    if (fd < 0)
        return -errno;
    int failed = write(fd, text, sizeof text - 1) == (ssize_t)(sizeof text - 1) && fchmod(fd, 0444) == 0 ? 0 : -errno;
    close(fd);
    return failed ? failed : cover("/etc/resolv.conf", path);
}

int isolate_mount(const char *dir)
{
    char pem[PATH_MAX], jks[PATH_MAX];
    const char *home = getenv("JAVA_HOME");
    run_dir_file(dir, "bundle.pem", pem);
    run_dir_file(dir, "bundle.jks", jks);
    int failed = cover_all(bundles, sizeof bundles / sizeof *bundles, pem);
    if (!failed)
        failed = cover_all(key_stores, sizeof key_stores / sizeof *key_stores, jks);
    if (!failed && home && *home)
        failed = cover_java(home, jks);
    if (!failed)
        failed = cover_java_in_path(jks);
    if (!failed)
        failed = cover_all(resolvers, sizeof resolvers / sizeof *resolvers, "/dev/null");
    if (!failed)
        failed = cover_resolv_conf(dir);
    return failed ? isolate_refused("cannot mount the CA bundle over the system's", -failed) : 0;
}
