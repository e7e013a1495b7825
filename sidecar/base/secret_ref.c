#include "base/secret_ref.h"

#include "base/clock.h"
#include "base/own_env.h"
#include "base/spawn.h"
#include "base/trusted_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

const char *secret_ref_text(const struct secret_ref *ref, char *text, size_t size)
{
    static const char *const words[] = { "nothing", "file", "env", "command", "inline value", "http", "credential" };
    const char *name;
    if (ref->kind == SECRET_REF_COMMAND || ref->kind == SECRET_REF_HTTP)
        name = ref->argv[0];
    else if (ref->kind == SECRET_REF_INLINE)
        name = "";
    else
        name = ref->name;
    snprintf(text, size, "%s%s%s", words[ref->kind], name && *name ? " " : "", name ? name : "");
    return text;
}

/* Reads fd to its end, or to the deadline, or over the cap.  Returns bytes, -errno. */
static ssize_t read_all(int fd, char *bytes, size_t size, int64_t deadline_ms)
{
    size_t len = 0;
    for (;;) {
        int64_t left = deadline_ms - clock_mono_ms();
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (left <= 0 || poll(&p, 1, (int)left) == 0)
            return -ETIMEDOUT;
        ssize_t got = read(fd, bytes + len, size - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            return (ssize_t)len;
        len += (size_t)got;
        if (len == size)
            return -EFBIG;
    }
}

static int run_command(const struct secret_ref *ref, int *ret_fd, pid_t *ret_pid)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    int failed = spawn_program(ref->argv, NULL, ends[1], ret_pid);
    close(ends[1]);
    if (failed) {
        close(ends[0]);
        return failed;
    }
    *ret_fd = ends[0];
    return 0;
}

static ssize_t command_output(const struct secret_ref *ref, char *bytes, size_t size)
{
    int fd = -1, status = 0;
    pid_t pid = -1;
    int failed = run_command(ref, &fd, &pid);
    if (failed)
        return failed;
    ssize_t len = read_all(fd, bytes, size, clock_mono_ms() + SECRET_REF_COMMAND_MS);
    close(fd);
    if (len < 0)
        kill(-pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (len < 0)
        return len;
    return status != 0 ? -ECHILD : len;
}

/* A regular file: reading never waits.  e says why not. */
static ssize_t file_content(const char *path, char *bytes, size_t size, struct err *e)
{
    int fd = trusted_file_open(path, SECRET_REF_MAX_BYTES, e);
    if (fd < 0)
        return fd;
    ssize_t len = read_all(fd, bytes, size, clock_mono_ms() + SECRET_REF_COMMAND_MS);
    close(fd);
    if (len < 0)
        err_set(e, "%.300s: %s", path, len == -EFBIG ? "larger than 64 KiB" : strerror((int)-len));
    return len;
}

static ssize_t env_value(const char *name, char *bytes, size_t size)
{
    struct slice value = own_env_get(name);
    if (!value.ptr)
        return -ENOENT;
    if (value.len >= size)
        return -EFBIG;
    memcpy(bytes, value.ptr, value.len);
    return (ssize_t)value.len;
}

static const char *why(ssize_t failed)
{
    switch (-failed) {
    case ECHILD: return "the command failed";
    case ETIMEDOUT: return "its output did not end within 10 s";
    case EFBIG: return "larger than 64 KiB";
    default: return strerror((int)-failed);
    }
}

static int refuse(const struct secret_ref *ref, ssize_t failed, struct err *e)
{
    char text[256];
    return err_set(e, "cannot read the secret from %s: %s", secret_ref_text(ref, text, sizeof text), why(failed));
}

static bool cut_start(struct slice *bytes, struct slice what)
{
    bool there = bytes->len >= what.len && memcmp(bytes->ptr, what.ptr, what.len) == 0;
    if (there)
        *bytes = slice_skip(*bytes, what.len);
    return there;
}

static bool cut_end(struct slice *bytes, struct slice what)
{
    bool there = bytes->len >= what.len && memcmp(bytes->ptr + bytes->len - what.len, what.ptr, what.len) == 0;
    if (there)
        bytes->len -= what.len;
    return there;
}

/* What editors and shells add: line ends, and the byte order mark of UTF-8. */
static struct slice strip(struct slice bytes)
{
    static const struct slice added[] = { { "\n", 1 }, { "\r", 1 }, { "\xef\xbb\xbf", 3 } };
    for (size_t i = 0; i < sizeof added / sizeof *added;)
        i = cut_start(&bytes, added[i]) || cut_end(&bytes, added[i]) ? 0 : i + 1;
    return bytes;
}

static int keep(const struct secret_ref *ref, struct slice bytes, struct secret *ret, struct err *e)
{
    char text[256];
    if (bytes.len == 0)
        return err_set(e, "the secret from %s is empty", secret_ref_text(ref, text, sizeof text));
    return secret_set(ret, bytes) ? err_set(e, "out of memory") : 0;
}

int secret_ref_take(const struct secret_ref *ref, struct slice bytes, struct secret *ret, struct err *e)
{
    return bytes.len > SECRET_REF_MAX_BYTES ? refuse(ref, -EFBIG, e) : keep(ref, strip(bytes), ret, e);
}

static const char *kind_of_byte(unsigned char c)
{
    if (c == '\r' || c == '\n')
        return "a line break";
    if (c == '\0')
        return "a NUL byte (is it UTF-16? then save it as UTF-8)";
    return c < 0x80 ? "a control character" : "a character that is not ASCII (is it UTF-16? then save it as UTF-8)";
}

int secret_ref_check_vschar(const struct secret_ref *ref, struct slice value, struct err *e)
{
    char text[256];
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c < ' ' || c > '~')
            return err_set(e, "the secret from %s is not valid: byte %zu is %s",
                           secret_ref_text(ref, text, sizeof text), i + 1, kind_of_byte(c));
    }
    return 0;
}

static int read_as(const struct secret_ref *ref, bool exact, struct secret *ret, struct err *e)
{
    char bytes[SECRET_REF_MAX_BYTES + 1];
    ssize_t len = -EINVAL;
    switch (ref->kind) {
    case SECRET_REF_NONE: return err_set(e, "no secret is configured");
    case SECRET_REF_HTTP: return err_set(e, "a secret that is fetched cannot be used here");
    case SECRET_REF_CREDENTIAL: return err_set(e, "the token of another credential cannot be used here");
    case SECRET_REF_FILE:
        if ((len = file_content(ref->name, bytes, sizeof bytes, e)) < 0)
            return err_wrap(e, "cannot read the secret from file ");
        break;
    case SECRET_REF_ENV: len = env_value(ref->name, bytes, sizeof bytes); break;
    case SECRET_REF_COMMAND: len = command_output(ref, bytes, sizeof bytes); break;
    case SECRET_REF_INLINE:
        return exact ? keep(ref, slice_str(ref->name), ret, e) : secret_ref_take(ref, slice_str(ref->name), ret, e);
    }
    struct slice all = slice_of(bytes, len < 0 ? 0 : (size_t)len);
    int failed = len < 0 ? refuse(ref, len, e) : 0;
    if (!failed && exact) {
        (void)cut_end(&all, SLICE("\n"));
        failed = keep(ref, all, ret, e);
    } else if (!failed)
        failed = secret_ref_take(ref, all, ret, e);
    explicit_bzero(bytes, sizeof bytes);
    return failed;
}

int secret_ref_read(const struct secret_ref *ref, struct secret *ret, struct err *e)
{
    return read_as(ref, false, ret, e);
}

int secret_ref_read_exact(const struct secret_ref *ref, struct secret *ret, struct err *e)
{
    return read_as(ref, true, ret, e);
}

void secret_ref_done(struct secret_ref *ref)
{
    for (char **arg = ref->argv; arg && *arg; arg++)
        free(*arg);
    free(ref->argv);
    free(ref->name);
    *ref = (struct secret_ref){ SECRET_REF_NONE, NULL, NULL };
}
