#include "base/log.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096 /* one pipe write below this is atomic (PIPE_BUF) */

static struct {
    const char *proc;
    enum log_level least;
    enum log_format format;
    int fd;
} log_to = { "main", LOG_INFO, LOG_JSON, STDERR_FILENO };

static struct {
    bool on;
    size_t len;
    char bytes[32 * 1024];
} waiting;

static const char *const level_names[] = { "debug", "info", "warn", "error" };

/* The last three bytes are kept for what must follow whatever was cut: quote, brace, newline. */
struct line {
    char bytes[LINE_MAX_BYTES];
    size_t len;
    bool full; /* something did not fit: nothing is added any more */
};

void log_setup(const char *proc, enum log_level least, enum log_format format, int fd)
{
    log_to.proc = proc;
    log_to.least = least;
    log_to.format = format;
    log_to.fd = fd;
}

void log_proc(const char *proc)
{
    log_to.proc = proc;
}

bool log_enabled(enum log_level level)
{
    return level >= log_to.least;
}

int log_level_parse(struct slice text, enum log_level *ret)
{
    for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++)
        if (slice_eq(text, slice_str(level_names[i]))) {
            *ret = (enum log_level)i;
            return 0;
        }
    return -EINVAL;
}

void log_buffer(bool on)
{
    log_flush();
    waiting.on = on;
}

/* Whole lines, at most PIPE_BUF bytes: a pipe that several processes write to never mixes them. */
static size_t batch_from(size_t done)
{
    size_t n = waiting.len - done < LINE_MAX_BYTES ? waiting.len - done : LINE_MAX_BYTES;
    while (n && waiting.bytes[done + n - 1] != '\n')
        n--;
    return n;
}

void log_flush(void)
{
    size_t done = 0, n;
    while ((n = batch_from(done)) > 0) {
        ssize_t put = write(log_to.fd, waiting.bytes + done, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            break; /* nobody reads: a log must not stop the proxy */
        done += (size_t)put;
    }
    waiting.len = 0;
}

/* All of it or nothing: half an escape would break the line. */
static void put(struct line *l, const char *bytes, size_t n)
{
    if (l->full || l->len + n > sizeof l->bytes - 3) {
        l->full = true;
        return;
    }
    memcpy(l->bytes + l->len, bytes, n);
    l->len += n;
}

static void put_escaped(struct line *l, struct slice text)
{
    char hex[8];
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c == '"' || c == '\\')
            put(l, (char[]){ '\\', (char)c }, 2);
        else if (c < 0x20 || c >= 0x7f)
            put(l, hex, (size_t)snprintf(hex, sizeof hex, "\\u%04x", c));
        else
            put(l, (const char *)&text.ptr[i], 1);
    }
}

static bool plain(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] <= ' ' || text.ptr[i] == '"' || text.ptr[i] == '=' || text.ptr[i] == '\\'
            || text.ptr[i] >= 0x7f)
            return false;
    return text.len > 0;
}

static void put_value(struct line *l, const struct log_field *f, bool quoted)
{
    char number[24] = "";
    if (f->kind == LOG_FIELD_NUMBER)
        put(l, number, (size_t)snprintf(number, sizeof number, "%lld", (long long)f->number));
    else if (!quoted)
        for (size_t i = 0; i < f->text.len; i++)
            put(l, &f->text.ptr[i], 1);
    else {
        put_escaped(l, f->text);
        l->bytes[l->len++] = '"';
    }
}

static void put_field(struct line *l, const struct log_field *f)
{
    bool json = log_to.format == LOG_JSON;
    bool quoted = f->kind == LOG_FIELD_TEXT && (json || !plain(f->text));
    size_t before = l->len;
    if (l->full)
        return;
    const char *glue = l->len ? "," : "{";
    put(l, json ? glue : " ", l->len || json);
    if (json)
        put(l, "\"", 1);
    put(l, f->key, strlen(f->key));
    put(l, json ? "\":" : "=", json ? 2 : 1);
    if (quoted)
        put(l, "\"", 1);
    if (l->full)
        l->len = before; /* no room for as much as the name */
    else
        put_value(l, f, quoted);
    if (l->full && f->kind == LOG_FIELD_NUMBER)
        l->len = before; /* half a number is another number */
}

static size_t stamp(char *out, size_t size)
{
    int64_t now = clock_wall_ms();
    time_t seconds = (time_t)(now / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    size_t n = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &utc);
    return n + (size_t)snprintf(out + n, size - n, ".%03dZ", (int)(now % 1000));
}

void log_write(enum log_level level, const struct log_field *fields)
{
    struct line l = { .len = 0 };
    char ts[40];
    struct log_field head[] = { log_slice("ts", slice_of(ts, stamp(ts, sizeof ts))),
                                log_str("level", level_names[level]), log_str("proc", log_to.proc) };
    int saved = errno;
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        put_field(&l, &head[i]);
    for (; fields->key; fields++)
        put_field(&l, fields);
    if (log_to.format == LOG_JSON)
        l.bytes[l.len++] = '}';
    l.bytes[l.len++] = '\n';
    if (waiting.len + l.len > sizeof waiting.bytes)
        log_flush();
    memcpy(waiting.bytes + waiting.len, l.bytes, l.len);
    waiting.len += l.len;
    if (!waiting.on || level >= LOG_WARN)
        log_flush();
    errno = saved;
}
