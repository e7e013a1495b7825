#include "app/config/config_file.h"

#include "base/trusted_file.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define CONFIG_MAX_BYTES (1024 * 1024)

/* Heap text; NULL without memory. */
static char *PRINTF_LIKE(1, 2) text_of(const char *format, ...)
{
    va_list args;
    char *text;
    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    return len < 0 ? NULL : text;
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* $XDG_…, else the place under $HOME that stands for it. */
static char *xdg(const char *name, const char *under_home, const char *tail)
{
    const char *base = variable(name), *home = variable("HOME");
    if (base)
        return text_of("%s/%s", base, tail);
    return text_of("%s/%s/%s", home ? home : "", under_home, tail);
}

int config_file_find(const char *path, char **ret, int *ret_exit, struct err *e)
{
    const char *named = path ? path : variable("SIDEKEY_CONFIG");
    char *places[] = { NULL, NULL, NULL };
    size_t count = sizeof places / sizeof *places, chosen = count;
    if (named) {
        *ret = strdup(named);
        *ret_exit = EX_SOFTWARE;
        return *ret ? 0 : err_set(e, "out of memory");
    }
    places[0] = strdup("./sidekey.yaml");
    places[1] = xdg("XDG_CONFIG_HOME", ".config", "sidekey/sidekey.yaml");
    places[2] = strdup("/etc/sidekey/sidekey.yaml");
    for (size_t i = count; i-- > 0;)
        if (places[i] && access(places[i], F_OK) == 0)
            chosen = i;
    *ret_exit = EX_NOINPUT;
    int failed = 0;
    if (chosen >= count)
        failed = err_set(e, "no configuration found (looked at $SIDEKEY_CONFIG, %s, %s, %s): name it with -c FILE",
                         places[0] ? places[0] : "?", places[1] ? places[1] : "?", places[2] ? places[2] : "?");
    for (size_t i = 0; i < count; i++)
        if (i == chosen)
            *ret = places[i];
        else
            free(places[i]);
    return failed;
}

static int read_all(int fd, struct buf *out)
{
    for (;;) {
        char *space = buf_reserve(out, 4096);
        if (!space)
            return -EFBIG;
        ssize_t got = read(fd, space, 4096);
        if (got == 0)
            return 0;
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got > 0)
            buf_grow(out, (size_t)got);
    }
}

/* A descriptor that our caller has opened ("-", a shell's <(…)); -1: path is a name like any other. */
static int descriptor_of(const char *path)
{
    static const char *const names[] = { "/dev/fd/", "/proc/self/fd/" };
    char *end;
    if (strcmp(path, "-") == 0 || strcmp(path, "/dev/stdin") == 0)
        return STDIN_FILENO;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(path, names[i], strlen(names[i])) == 0) {
            long fd = strtol(path + strlen(names[i]), &end, 10);
            return *end || fd < 0 || fd > INT_MAX ? -1 : (int)fd;
        }
    return -1;
}

int config_file_read(const char *path, struct buf *out, int *ret_exit, struct err *e)
{
    int given = descriptor_of(path), fd = given >= 0 ? given : trusted_file_open(path, CONFIG_MAX_BYTES, e);
    int failed = fd < 0 ? fd : read_all(fd, out);
    if (fd >= 0 && given < 0)
        close(fd);
    if (!failed)
        return 0;
    if (failed == -ENOENT)
        *ret_exit = EX_NOINPUT;
    else if (failed == -EACCES || failed == -EPERM)
        *ret_exit = EX_NOPERM;
    else
        *ret_exit = EX_IOERR;
    if (fd < 0)
        return -1;
    return err_set(e, "%s: %s", path, failed == -EFBIG ? "larger than 1 MiB" : strerror(-failed));
}

/* systemd gives colon-separated lists. */
static char *first_of(const char *list)
{
    return strndup(list, strcspn(list, ":"));
}

char *config_file_default_state(void)
{
    const char *given = variable("STATE_DIRECTORY");
    if (given)
        return first_of(given);
    return geteuid() == 0 ? strdup("/var/lib/sidekey") : xdg("XDG_STATE_HOME", ".local/state", "sidekey");
}

char *config_file_default_publish(const char *state_dir)
{
    const char *given = variable("RUNTIME_DIRECTORY"), *runtime = variable("XDG_RUNTIME_DIR");
    if (given)
        return first_of(given);
    if (geteuid() == 0)
        return strdup("/run/sidekey");
    return runtime ? text_of("%s/sidekey", runtime) : text_of("%s/public", state_dir);
}

char *config_file_default_admin_socket(const char *state_dir)
{
    const char *given = variable("RUNTIME_DIRECTORY");
    char *runtime = given ? first_of(given) : NULL,
         *path = text_of("%s/" CONFIG_ADMIN_SOCKET, runtime ? runtime : state_dir);
    free(runtime);
    return path;
}
