#include "app/cmd/doctor_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/own_env.h"
#include "base/probe_host.h"

#define OUTPUT_MAX ((size_t)64 << 10) /* the rest of what a script prints is dropped */
#define CHUNK 4096

enum outcome { OUTCOME_ENDED, OUTCOME_LATE };

static _Noreturn void become_script(const struct doctor_finding *f, bool insecure, const char *dir, int output)
{
    int null = open("/dev/null", O_RDWR);
    setsid(); /* nobody asks the terminal for a password, and all of it can be ended */
    dup2(null, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    own_env_give_back();
    execl("/bin/sh", "sh", "-c", f->runtime->script, "doctor", f->program, PROBE_HOST, insecure ? "insecure" : "", dir,
          (char *)NULL);
    _exit(127);
}

static void drain(int fd, struct buf *out)
{
    char bytes[CHUNK];
    for (ssize_t got; (got = read(fd, bytes, sizeof bytes)) > 0;) {
        size_t room = buf_space(out);
        if ((size_t)got > room)
            got = (ssize_t)room;
        if (got && buf_add(out, slice_of(bytes, (size_t)got)) != 0)
            return;
    }
}

/* Until the script has ended; its children may outlive it, and hold its output. */
static enum outcome watch(int pidfd, int output, int64_t end_ms, struct buf *out)
{
    struct pollfd fds[] = { { .fd = pidfd, .events = POLLIN }, { .fd = output, .events = POLLIN } };
    for (int64_t left_ms; (left_ms = end_ms - clock_mono_ms()) > 0;) {
        if (poll(fds, 2, (int)left_ms) < 0 && errno != EINTR)
            return OUTCOME_LATE;
        if (fds[1].revents)
            drain(output, out);
        if (fds[1].revents & (POLLHUP | POLLERR) && !(fds[1].revents & POLLIN))
            fds[1].fd = -1;
        if (fds[0].revents) {
            drain(output, out);
            return OUTCOME_ENDED;
        }
    }
    return OUTCOME_LATE;
}

static int run_script(const struct doctor_finding *f, bool insecure, const char *dir, int64_t timeout_ms,
                      struct buf *out, enum outcome *ret)
{
    int ends[2];
    buf_clear(out);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        become_script(f, insecure, dir, ends[1]);
    int failed = pid < 0 ? -errno : 0, pidfd = failed ? -1 : (int)syscall(SYS_pidfd_open, pid, 0u);
    close(ends[1]);
    if (!failed && pidfd < 0)
        failed = -errno;
    if (!failed && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0)
        *ret = watch(pidfd, ends[0], clock_mono_ms() + timeout_ms, out);
    if (pid > 0) {
        kill(-pid, SIGKILL);
        kill(pid, SIGKILL); /* it may not have made its session yet */
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    close(ends[0]);
    if (pidfd >= 0)
        close(pidfd);
    return failed;
}

/* What follows mark in the output, up to the end of its line; false: mark is not there. */
static bool after(const struct buf *out, const char *mark, char *text, size_t size)
{
    struct slice all = buf_slice(out);
    const char *at = all.len ? memmem(all.ptr, all.len, mark, strlen(mark)) : NULL;
    if (!at)
        return false;
    struct slice line = slice_skip(all, (size_t)(at - all.ptr) + strlen(mark));
    size_t len = 0;
    while (len < line.len && len + 1 < size && line.ptr[len] > ' ' - 1 && line.ptr[len] < 0x7f)
        text[len] = line.ptr[len], len++;
    text[len] = '\0';
    return true;
}

static bool has_letters(struct slice line)
{
    size_t n = 0;
    for (size_t i = 0; i < line.len; i++)
        n += (unsigned)(line.ptr[i] | 0x20) - 'a' < 26;
    return n > 3;
}

/* Which line says why: the first that looks like an error, else the last one with words. */
static void take_words(struct doctor_finding *f, const struct buf *out)
{
    struct slice best = { NULL, 0 };
    bool sure = false;
    size_t len = 0;
    for (struct slice rest = buf_slice(out); rest.len && !sure;) {
        struct slice line = slice_trim(slice_cut(rest, '\n', &rest));
        if (!has_letters(line) || slice_starts(line, SLICE(DOCTOR_WISH)))
            continue;
        sure = slice_starts(line, SLICE("curl: ")) || slice_starts(line, SLICE("fatal: "))
               || slice_starts(line, SLICE("Caused by: ")) || slice_starts(line, SLICE("Exception in "));
        best = line;
    }
    for (size_t i = 0; i < best.len && len + 1 < sizeof f->said; i++)
        f->said[len++] = best.ptr[i];
    f->said[len] = '\0';
    for (char *c = f->said; *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = '?';
}

/* The first request is the runtime's own; where it fails, a second one without verification tells whether it is the
 * trust that is missing. */
static int ask_twice(struct doctor_finding *f, const char *dir, int64_t timeout_ms, struct buf *out)
{
    enum outcome outcome = OUTCOME_LATE;
    char cannot[sizeof f->said];
    int failed = run_script(f, false, dir, timeout_ms, out, &outcome);
    if (failed)
        return failed;
    if (after(out, PROBE_MARK, f->way, sizeof f->way)) {
        f->state = DOCTOR_WELL;
        return 0;
    }
    take_words(f, out);
    (void)after(out, DOCTOR_WISH, f->wish, sizeof f->wish);
    if (after(out, DOCTOR_CANNOT, cannot, sizeof cannot)) {
        memcpy(f->said, cannot, sizeof cannot);
        f->state = DOCTOR_UNTRIED;
        return 0;
    }
    f->state = DOCTOR_LATE;
    if (outcome == OUTCOME_LATE)
        return 0;
    failed = run_script(f, true, dir, timeout_ms, out, &outcome);
    if (!failed)
        f->state = after(out, PROBE_MARK, f->way, sizeof f->way) ? DOCTOR_NO_TRUST : DOCTOR_NO_ARRIVAL;
    return failed;
}

int doctor_probe(struct doctor_finding *f, const char *dir, int64_t timeout_ms)
{
    struct buf out;
    buf_init(&out, OUTPUT_MAX);
    f->way[0] = f->wish[0] = f->said[0] = '\0';
    int failed = ask_twice(f, dir, timeout_ms, &out);
    buf_done(&out);
    return failed;
}
