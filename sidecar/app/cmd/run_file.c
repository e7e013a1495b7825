#include "app/cmd/run_file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/config/config_file.h"
#include "base/dir_trust.h"
#include "base/json_safe.h"
#include "base/trusted_file.h"

#define RUN_FILE_MAX_BYTES 16384

static pid_t written_by; /* 0: nothing is written */

static int path_of(char path[PATH_MAX], bool make)
{
    char *state = config_file_default_state(), *dir = state ? config_file_default_publish(state) : NULL;
    int failed = dir ? 0 : -ENOMEM;
    if (!failed && make && dir_trust_make(dir, 0755) != 0)
        failed = -errno;
    if (!failed && snprintf(path, PATH_MAX, "%s/" RUN_FILE_NAME, dir) >= PATH_MAX)
        failed = -ENAMETOOLONG;
    free(dir);
    free(state);
    return failed;
}

static int write_text(const char *path, const char *text)
{
    char beside[PATH_MAX];
    if (snprintf(beside, sizeof beside, "%s.%d", path, (int)getpid()) >= PATH_MAX)
        return -ENAMETOOLONG;
    (void)unlink(beside);
    int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    size_t len = strlen(text);
    int failed = write(fd, text, len) == (ssize_t)len ? 0 : -EIO;
    close(fd);
    if (failed == 0 && rename(beside, path) != 0)
        failed = -errno;
    if (failed)
        (void)unlink(beside);
    return failed;
}

int run_file_write(const struct config *c, const struct listeners *listeners)
{
    char path[PATH_MAX], config[PATH_MAX];
    bool local = listeners->admin_local.fd >= 0;
    int failed = path_of(path, true);
    if (failed)
        return failed;
    json_t *root = json_pack(
        "{s:i, s:s, s:s, s:s}", "pid", (int)getpid(), "config", realpath(c->path, config) ? config : c->path, "admin",
        listeners->admin >= 0 ? listeners->admin_text : "", "admin_socket", local ? listeners->admin_local.path : "");
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    failed = text ? write_text(path, text) : -ENOMEM;
    free(text);
    json_decref(root);
    if (!failed)
        written_by = getpid();
    return failed;
}

static const char *text_of(const json_t *root, const char *key)
{
    const char *text = json_string_value(json_object_get(root, key));
    return text ? text : "";
}

static int parse(struct slice text, struct run_file *ret)
{
    json_t *root = json_safe_load(text, 0, NULL);
    json_int_t pid = json_integer_value(json_object_get(root, "pid"));
    *ret = (struct run_file){ .pid = pid > 0 && pid < INT_MAX ? (pid_t)pid : 0 };
    snprintf(ret->config, sizeof ret->config, "%s", text_of(root, "config"));
    snprintf(ret->admin, sizeof ret->admin, "%s", text_of(root, "admin"));
    snprintf(ret->admin_socket, sizeof ret->admin_socket, "%s", text_of(root, "admin_socket"));
    json_decref(root);
    return ret->pid ? 0 : -EBADMSG;
}

int run_file_read(struct run_file *ret)
{
    char path[PATH_MAX];
    struct err e;
    struct buf text;
    int failed = path_of(path, false), fd = failed ? failed : trusted_file_open(path, RUN_FILE_MAX_BYTES, &e);
    if (fd < 0)
        return fd;
    buf_init(&text, RUN_FILE_MAX_BYTES);
    char *at = buf_reserve(&text, RUN_FILE_MAX_BYTES);
    ssize_t got = at ? read(fd, at, RUN_FILE_MAX_BYTES) : -1;
    if (got > 0)
        buf_grow(&text, (size_t)got);
    close(fd);
    failed = parse(buf_slice(&text), ret);
    buf_done(&text);
    bool alive = failed == 0 && (kill(ret->pid, 0) == 0 || errno == EPERM);
    if (failed)
        return failed;
    return alive ? 0 : -ENOENT;
}

void run_file_remove(void)
{
    char path[PATH_MAX];
    struct run_file there;
    if (written_by == getpid() && run_file_read(&there) == 0 && there.pid == getpid() && path_of(path, false) == 0)
        (void)unlink(path);
}
