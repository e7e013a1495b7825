#include "base/log_out.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum target { TO_FILE, TO_SOCKET, TO_PIPE }; /* a terminal is like a pipe: ^S stops it */

static struct {
    int fd;
    enum target target;
    uint64_t dropped, reported;
    uint64_t reported_before; /* what counts again when the line that reports a gap is dropped itself */
    bool gap_waits;           /* that line is the first in the buffer */
    bool torn;                /* the buffer begins inside of a line */
    size_t len;
    char bytes[32 * 1024];
} out = { .fd = STDERR_FILENO };

static enum target target_of(int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || S_ISREG(st.st_mode))
        return TO_FILE;
    return S_ISSOCK(st.st_mode) ? TO_SOCKET : TO_PIPE;
}

void log_out_to(int fd)
{
    out.fd = fd;
    out.target = target_of(fd);
    out.len = 0;
    out.torn = out.gap_waits = false;
    out.reported = out.dropped;
}

void log_out_forked(void)
{
    out.len = 0;
    out.torn = out.gap_waits = false;
    out.dropped = out.reported = 0;
}

/* Never waits.  -1 with errno; EAGAIN: no room now. */
static ssize_t write_now(const char *bytes, size_t n)
{
    struct iovec part = { (void *)(uintptr_t)bytes, n };
    struct pollfd ready = { .fd = out.fd, .events = POLLOUT };
    if (out.target == TO_FILE)
        return write(out.fd, bytes, n);
    if (out.target == TO_SOCKET)
        return send(out.fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    ssize_t put = pwritev2(out.fd, &part, 1, -1, RWF_NOWAIT);
    if (put >= 0 || (errno != EOPNOTSUPP && errno != EINVAL && errno != ENOSYS && errno != ESPIPE))
        return put;
    if (poll(&ready, 1, 0) != 1) { /* terminals, and pipes of old kernels */
        errno = EAGAIN;
        return -1;
    }
    return write(out.fd, bytes, n); /* a pipe that is ready has room for PIPE_BUF */
}

/* Whole lines, as many as one write may hold. */
static size_t batch_from(size_t done)
{
    size_t n = out.len - done < LOG_LINE_MAX_BYTES ? out.len - done : LOG_LINE_MAX_BYTES;
    while (n && out.bytes[done + n - 1] != '\n')
        n--;
    return n;
}

static uint64_t lines_from(size_t done)
{
    uint64_t count = 0;
    for (size_t i = done; i < out.len; i++)
        count += out.bytes[i] == '\n';
    return count;
}

static size_t line_end(size_t at)
{
    while (at < out.len && out.bytes[at] != '\n')
        at++;
    return at < out.len ? at + 1 : at;
}

/* The reader has closed, or the disk is full.  A line that was begun is finished when there is room again, so that
 * each line of the log can be read. */
static void drop_from(size_t done)
{
    size_t kept = out.torn ? line_end(done) : done;
    uint64_t lines = lines_from(kept);
    if (out.gap_waits && lines) {
        lines--;
        out.reported = out.reported_before;
    }
    out.gap_waits = false;
    out.dropped += lines;
    out.len = kept;
}

void log_out_flush(void)
{
    size_t done = 0, n;
    ssize_t put = 0;
    while ((n = batch_from(done)) > 0) {
        put = write_now(out.bytes + done, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            break;
        done += (size_t)put;
    }
    if (done) {
        out.torn = out.bytes[done - 1] != '\n';
        out.gap_waits = false;
    }
    if (put < 0 && errno != EAGAIN)
        drop_from(done);
    out.len -= done;
    if (done && out.len)
        memmove(out.bytes, out.bytes + done, out.len);
}

void log_out_add(const char *bytes, size_t n)
{
    if (out.len + n > sizeof out.bytes)
        log_out_flush();
    if (out.len + n > sizeof out.bytes || (out.len && out.dropped != out.reported)) {
        out.dropped++;
        return;
    }
    memcpy(out.bytes + out.len, bytes, n);
    out.len += n;
}

uint64_t log_out_gap(void)
{
    return out.len ? 0 : out.dropped - out.reported;
}

void log_out_gap_reported(void)
{
    out.reported_before = out.reported;
    out.gap_waits = true;
    out.reported = out.dropped;
}

uint64_t log_out_dropped(void)
{
    return out.dropped;
}
