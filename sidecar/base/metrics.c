#include "base/metrics.h"

#include "base/hash.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_MAX_BYTES 512

struct series {
    double value;
    size_t family_len; /* bytes of the name before '{' */
    char name[];
};

struct metrics {
    struct hash *by_name;
    double dummy;
};

static const struct {
    const char *name, *type, *help;
} families[] = {
    { "process_cpu_seconds_total", "counter", "CPU time of all processes together." },
    { "process_open_fds", "gauge", "Open descriptors of all processes together." },
    { "process_resident_memory_bytes", "gauge", "Resident memory of all processes, shared pages counted in each." },
    { "process_start_time_seconds", "gauge", "When the keeper started." },
    { "sidekey_build_info", "gauge", "Always 1; the version is a label." },
    { "sidekey_ca_certificates", "gauge", "CA certificates that are published in ca.pem." },
    { "sidekey_ca_expiry_timestamp_seconds", "gauge",
      "When the CA that signs now ends; the next one is published long before." },
    { "sidekey_closes_total", "counter", "Connections that have ended, by leg and reason." },
    { "sidekey_connections", "gauge", "Open connections by leg." },
    { "sidekey_config_last_reload_successful", "gauge", "1 when the last reload of the configuration was good." },
    { "sidekey_credential_state", "gauge", "1 for the state that the credential is in." },
    { "sidekey_lease_total", "counter", "Attempts to take the refresh lease, by result." },
    { "sidekey_leaves_total", "counter", "Leaf certificates asked for, by result." },
    { "sidekey_log_dropped_total", "counter", "Lines of the log that were dropped because they could not be written." },
    { "sidekey_overhead_seconds", "histogram", "Time a request spent in sidekey before it went upstream." },
    { "sidekey_refresh_duration_seconds", "histogram", "Duration of token requests." },
    { "sidekey_refresh_token_expiry_timestamp_seconds", "gauge", "When the current refresh token expires." },
    { "sidekey_refresh_waiters", "gauge", "Requests that wait for a token." },
    { "sidekey_refresh_events_total", "counter", "What happened to refreshes and is worth a look, by event." },
    { "sidekey_refreshes_total", "counter", "Refreshes by trigger and result." },
    { "sidekey_refused_total", "counter", "Requests and connections refused by sidekey, by reason." },
    { "sidekey_request_duration_seconds", "histogram", "From request head to the end of the answer." },
    { "sidekey_requests_total", "counter",
      "Requests answered, by rule, status class and whether a credential was injected." },
    { "sidekey_store_up", "gauge", "1 when the credential store answers, and takes what is to be stored." },
    { "sidekey_token_expiry_timestamp_seconds", "gauge", "When the current access token expires." },
    { "sidekey_token_generation", "gauge", "Generation of the current token." },
    { "sidekey_tunnels", "gauge", "Open tunnels that are passed through." },
    { "sidekey_unauthorized_total", "counter", "401 answers of upstreams by what was done." },
};

struct metrics *metrics_new(void)
{
    struct metrics *m = calloc(1, sizeof *m);
    if (m && !(m->by_name = hash_new())) {
        free(m);
        m = NULL;
    }
    return m;
}

static void free_series(void *arg, struct slice key, void *value)
{
    (void)arg;
    (void)key;
    free(value);
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    hash_each(m->by_name, free_series, NULL);
    hash_free(m->by_name);
    free(m);
}

static double *at(struct metrics *m, struct slice name)
{
    struct series *s = hash_get(m->by_name, name);
    if (s)
        return &s->value;
    if (hash_count(m->by_name) >= METRICS_SERIES_MAX || !(s = calloc(1, sizeof *s + name.len + 1)))
        return &m->dummy;
    memcpy(s->name, name.ptr, name.len);
    s->family_len = slice_find(name, '{');
    if (hash_put(m->by_name, name, s) != 0) {
        free(s);
        return &m->dummy;
    }
    return &s->value;
}

double *metrics_at(struct metrics *m, const char *format, ...)
{
    char name[NAME_MAX_BYTES];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(name, sizeof name, format, args);
    va_end(args);
    if (len <= 0 || (size_t)len >= sizeof name)
        return &m->dummy;
    return at(m, slice_of(name, (size_t)len));
}

void metrics_drop(struct metrics *m, const char *format, ...)
{
    char name[NAME_MAX_BYTES];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(name, sizeof name, format, args);
    va_end(args);
    if (len > 0 && (size_t)len < sizeof name)
        free(hash_remove(m->by_name, slice_of(name, (size_t)len)));
}

struct collect {
    const struct series **list;
    size_t count;
};

static void collect_one(void *arg, struct slice key, void *value)
{
    struct collect *c = arg;
    (void)key;
    c->list[c->count++] = value;
}

/* The family of a histogram's series is its name without the suffix. */
static struct slice family_of(const struct series *s)
{
    static const char *const suffixes[] = { "_bucket", "_sum", "_count" };
    struct slice name = slice_of(s->name, s->family_len);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        struct slice suffix = slice_str(suffixes[i]);
        if (name.len > suffix.len && slice_eq(slice_skip(name, name.len - suffix.len), suffix)) {
            struct slice base = slice_of(name.ptr, name.len - suffix.len);
            for (size_t k = 0; k < sizeof families / sizeof *families; k++)
                if (slice_eq(base, slice_str(families[k].name)) && families[k].type[0] == 'h')
                    return base;
        }
    }
    return name;
}

/* A series taken apart for its place: family, labels without "le", then bucket by bucket. */
struct place {
    struct slice family, labels, suffix;
    double le;
};

static struct place place_of(const struct series *s)
{
    struct slice name = slice_str(s->name), labels = slice_skip(name, s->family_len);
    struct place p = { .family = family_of(s), .le = 0 };
    p.suffix = slice_skip(slice_of(name.ptr, s->family_len), p.family.len);
    if (labels.len >= 2) /* without the braces */
        labels = slice_of(labels.ptr + 1, labels.len - 2);
    size_t at = labels.len;
    while (at > 0 && strncmp(labels.ptr + at - 1, "le=\"", 4) != 0)
        at--;
    if (p.suffix.len && at > 0) {
        p.le = strtod(labels.ptr + at + 3, NULL); /* "+Inf" is infinity */
        labels.len = at > 1 ? at - 2 : 0;         /* nor the comma */
    }
    p.labels = labels;
    return p;
}

static int compare(struct slice a, struct slice b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter ? memcmp(a.ptr, b.ptr, shorter) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* Families together, in a histogram what belongs to one set of labels, and its buckets by number. */
static int by_place(const void *a, const void *b)
{
    struct place x = place_of(*(const struct series *const *)a), y = place_of(*(const struct series *const *)b);
    int order = compare(x.family, y.family);
    if (order == 0)
        order = compare(x.labels, y.labels);
    if (order == 0)
        order = compare(x.suffix, y.suffix);
    return order ? order : (x.le > y.le) - (x.le < y.le);
}

static int write_header(struct slice family, bool openmetrics, struct buf *out)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        struct slice name = slice_str(families[i].name);
        if (!slice_eq(family, name))
            continue;
        if (openmetrics && name.len > 6 && families[i].type[0] == 'c') /* OpenMetrics 1.0: the family has no _total */
            name.len -= 6;
        return buf_printf(out, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int)name.len, name.ptr, families[i].help,
                          (int)name.len, name.ptr, families[i].type);
    }
    return 0;
}

int metrics_write(const struct metrics *m, bool openmetrics, struct buf *out)
{
    size_t n = hash_count(m->by_name);
    struct collect c = { calloc(n + 1, sizeof *c.list), 0 };
    struct slice family = { NULL, 0 };
    int failed = c.list ? 0 : -ENOMEM;
    if (failed == 0) {
        hash_each(m->by_name, collect_one, &c);
        qsort(c.list, c.count, sizeof *c.list, by_place);
    }
    for (size_t i = 0; i < c.count && failed == 0; i++) {
        struct slice mine = family_of(c.list[i]);
        if (!slice_eq(mine, family))
            failed = write_header(mine, openmetrics, out);
        family = mine;
        if (failed == 0)
            failed = buf_printf(out, "%s %.15g\n", c.list[i]->name, c.list[i]->value);
    }
    free(c.list);
    if (failed)
        return failed;
    return openmetrics ? buf_add_str(out, "# EOF\n") : 0;
}

void metrics_merge(struct metrics *m, struct slice text)
{
    char number[64];
    while (text.len) {
        struct slice line = slice_cut(text, '\n', &text);
        size_t split = line.len;
        while (split && line.ptr[split - 1] != ' ')
            split--;
        if (line.len == 0 || line.ptr[0] == '#' || split < 2 || split > NAME_MAX_BYTES
            || line.len - split >= sizeof number)
            continue;
        memcpy(number, line.ptr + split, line.len - split);
        number[line.len - split] = '\0';
        char *end;
        double value = strtod(number, &end);
        if (end != number && *end == '\0')
            *at(m, slice_of(line.ptr, split - 1)) += value;
    }
}

/* "sidekey_x_seconds" of the table also stands for the histogram's "sidekey_x_seconds_bucket", "_sum" and "_count". */
static bool is_known(struct slice name)
{
    static const char *const ends[] = { "", "_bucket", "_sum", "_count" };
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        size_t len = strlen(families[i].name);
        if (name.len < len || memcmp(name.ptr, families[i].name, len) != 0)
            continue;
        for (size_t j = 0; j < sizeof ends / sizeof *ends; j++)
            if (slice_eq(slice_skip(name, len), slice_str(ends[j])))
                return true;
    }
    return false;
}

int metrics_known_lines(struct slice text, struct buf *out)
{
    int failed = 0;
    while (text.len && failed == 0) {
        struct slice line = slice_cut(text, '\n', &text);
        size_t brace = slice_find(line, '{'), space = slice_find(line, ' ');
        if (is_known(slice_of(line.ptr, brace < space ? brace : space)) && (failed = buf_add(out, line)) == 0)
            failed = buf_add_str(out, "\n");
    }
    return failed;
}

static void zero_one(void *arg, struct slice key, void *value)
{
    (void)arg;
    (void)key;
    ((struct series *)value)->value = 0;
}

void metrics_zero(struct metrics *m)
{
    hash_each(m->by_name, zero_one, NULL);
}

struct histogram metrics_histogram(struct metrics *m, const char *name, const char *labels, const double *bounds,
                                   size_t count)
{
    const char *comma = *labels ? "," : "";
    const char *open = *labels ? "{" : "", *shut = *labels ? "}" : "";
    struct histogram h = { .bounds = bounds, .bound_count = count < 19 ? count : 19 };
    for (size_t i = 0; i < h.bound_count; i++) {
        char bound[32]; /* OpenMetrics 1.0, "Considerations: Canonical Numbers": 1 is "1.0" */
        snprintf(bound, sizeof bound, "%g", bounds[i]);
        h.buckets[i] =
            metrics_at(m, "%s_bucket{%s%sle=\"%s%s\"}", name, labels, comma, bound, strpbrk(bound, ".e") ? "" : ".0");
    }
    h.buckets[h.bound_count] = metrics_at(m, "%s_bucket{%s%sle=\"+Inf\"}", name, labels, comma);
    h.sum = metrics_at(m, "%s_sum%s%s%s", name, open, labels, shut);
    h.count = metrics_at(m, "%s_count%s%s%s", name, open, labels, shut);
    return h;
}

void histogram_observe(struct histogram *h, double value)
{
    for (size_t i = h->bound_count; i-- > 0 && value <= h->bounds[i];)
        *h->buckets[i] += 1;
    *h->buckets[h->bound_count] += 1;
    *h->sum += value;
    *h->count += 1;
}
