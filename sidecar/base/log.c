#include "base/log.h"

#include "base/clock.h"
#include "base/log_out.h"
#include "base/log_repeat.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

static struct {
    const char *proc;
    enum log_level least;
    enum log_format format;
    bool buffered;
} log_to = { "main", LOG_INFO, LOG_JSON, false };

static const char *const level_names[] = { "debug", "info", "warn", "error" };

/* The last three bytes are kept for what must follow whatever was cut: quote, brace, newline. */
struct line {
    char bytes[LOG_LINE_MAX_BYTES];
    size_t len;
    bool full; /* something did not fit: nothing is added any more */
};

void log_setup(const char *proc, enum log_level least, enum log_format format, int fd)
{
    log_to.proc = proc;
    log_to.least = least;
    log_to.format = format;
    log_out_to(fd);
    log_repeat_forget();
}

void log_proc(const char *proc)
{
    log_to.proc = proc;
    log_out_forked();
    log_repeat_forget();
}

bool log_enabled(enum log_level level)
{
    return level >= log_to.least;
}

void log_buffer(bool on)
{
    log_flush();
    log_to.buffered = on;
}

uint64_t log_dropped(void)
{
    return log_out_dropped();
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

static void start_line(struct line *l, enum log_level level)
{
    char ts[40];
    struct log_field head[] = { log_slice("ts", slice_of(ts, stamp(ts, sizeof ts))),
                                log_str("level", level_names[level]), log_str("proc", log_to.proc) };
    l->len = 0;
    l->full = false;
    for (size_t i = 0; i < sizeof head / sizeof *head; i++)
        put_field(l, &head[i]);
}

static void end_line(struct line *l)
{
    if (log_to.format == LOG_JSON)
        l->bytes[l->len++] = '}';
    l->bytes[l->len++] = '\n';
    log_out_add(l->bytes, l->len);
}

static void report_gap(void)
{
    struct line l;
    uint64_t missing = log_out_gap();
    struct log_field fields[] = { log_msg("log lines were dropped: the log could not be written for a while"),
                                  log_int("dropped", (int64_t)missing) };
    if (!missing)
        return;
    log_out_gap_reported();
    start_line(&l, LOG_WARN);
    put_field(&l, &fields[0]);
    put_field(&l, &fields[1]);
    end_line(&l);
}

static void report_repeat(const struct log_repeat *r)
{
    struct line l;
    struct log_field count = log_int("repeated", (int64_t)r->held);
    report_gap();
    start_line(&l, (enum log_level)r->level);
    put(&l, r->key, r->len);
    put_field(&l, &count);
    end_line(&l);
}

/* The fields that make two lines equal, as they are written after the head of a line. */
static bool is_held_back(enum log_level level, const struct log_field *fields)
{
    struct line key = { .bytes = { ' ' }, .len = 1 };
    if (level < LOG_WARN)
        return false;
    for (; fields->key; fields++)
        if (log_repeat_key_field(fields->key, fields->kind == LOG_FIELD_NUMBER))
            put_field(&key, fields);
    return log_repeat_held((int)level, slice_of(key.bytes + 1, key.len - 1), clock_mono_ms(), report_repeat);
}

void log_flush(void)
{
    if (log_repeat_waits())
        log_repeat_flush(clock_mono_ms(), false, report_repeat);
    log_out_flush();
}

void log_close(void)
{
    log_repeat_flush(clock_mono_ms(), true, report_repeat);
    log_out_flush();
}

void log_write(enum log_level level, const struct log_field *fields)
{
    struct line l;
    int saved = errno;
    if (!is_held_back(level, fields)) {
        report_gap();
        start_line(&l, level);
        for (; fields->key; fields++)
            put_field(&l, fields);
        end_line(&l);
        if (!log_to.buffered || level >= LOG_WARN)
            log_flush();
    }
    errno = saved;
}
