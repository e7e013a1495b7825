#include "app/cmd/run_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cmd/run_dir.h"
#include "app/cmd/run_home.h"

#define FILE_MAX ((size_t)2 << 20)

/* Others of the run may read it (setpriv, apt's _apt), unless it holds the proxy's password. */
static int put(const char *dir, const char *name, const struct buf *text, bool is_private)
{
    char path[PATH_MAX];
    struct slice all = buf_slice(text);
    int fd = open(run_dir_file(dir, name, path), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int failed = write(fd, all.ptr, all.len) == (ssize_t)all.len ? 0 : -EIO;
    if (!failed && !is_private && fchmod(fd, 0444) != 0)
        failed = -errno;
    close(fd);
    return failed;
}

static int put_wgetrc(const char *dir, const char *bundle, const char *url, struct buf *out)
{
    char path[PATH_MAX];
    int failed = run_home_read(run_home_path("WGETRC", NULL, ".wgetrc", path), out);
    if (!failed)
        failed = buf_printf(out, "ca_certificate = %s\n", bundle);
    if (!failed && url) /* here a file's proxy wins over the variable */
        failed = buf_printf(
            out, "https_proxy = %s\nhttp_proxy = %s\nno_proxy = localhost,127.0.0.1,::1\nuse_proxy = on\n", url, url);
    if (!failed)
        failed = put(dir, "wgetrc", out, url != NULL);
    return failed || setenv("WGETRC", run_dir_file(dir, "wgetrc", path), 1) == 0 ? failed : -errno;
}

/* An empty part of PHP_INI_SCAN_DIR is the directory that PHP was built with. */
static int put_php(const char *dir, const char *bundle, struct buf *out)
{
    char text[PATH_MAX * 2];
    const char *old = getenv("PHP_INI_SCAN_DIR");
    int failed = buf_printf(out, "openssl.cafile = \"%s\"\ncurl.cainfo = \"%s\"\n", bundle, bundle);
    if (!failed)
        failed = put(dir, "sidekey.ini", out, false);
    snprintf(text, sizeof text, "%s:%s", old ? old : "", dir);
    return failed || setenv("PHP_INI_SCAN_DIR", text, 1) == 0 ? failed : -errno;
}

static int put_apt(const char *dir, const char *bundle, struct buf *out)
{
    char path[PATH_MAX];
    const char *old = getenv("APT_CONFIG");
    int failed = old ? run_home_read(old, out) : 0;
    if (!failed)
        failed = buf_printf(out, "Acquire::https::CaInfo \"%s\";\n", bundle);
    if (!failed)
        failed = put(dir, "apt.conf", out, false);
    return failed || setenv("APT_CONFIG", run_dir_file(dir, "apt.conf", path), 1) == 0 ? failed : -errno;
}

/* In a file the last of two options counts. */
static int put_curlrc(const char *dir, const char *url, struct buf *out)
{
    char path[PATH_MAX];
    int failed = run_home_read(run_home_path(NULL, "CURL_HOME", ".curlrc", path), out);
    if (!failed)
        failed = buf_printf(out, "proxy = \"%s\"\nnoproxy = \"localhost,127.0.0.1,::1\"\n", url);
    if (!failed)
        failed = put(dir, ".curlrc", out, true);
    return failed || setenv("CURL_HOME", dir, 1) == 0 ? failed : -errno;
}

int run_files_write(const char *dir, const char *proxy_url, const struct run_proxies *before)
{
    char bundle[PATH_MAX];
    struct buf text;
    run_dir_file(dir, "bundle.pem", bundle);
    buf_init_secret(&text, FILE_MAX);
    int failed = put_wgetrc(dir, bundle, before->in_wgetrc ? proxy_url : NULL, &text);
    buf_clear(&text);
    if (!failed)
        failed = put_php(dir, bundle, &text);
    buf_clear(&text);
    if (!failed)
        failed = put_apt(dir, bundle, &text);
    buf_clear(&text);
    if (!failed && proxy_url && before->in_curlrc)
        failed = put_curlrc(dir, proxy_url, &text);
    buf_done(&text);
    return failed;
}
