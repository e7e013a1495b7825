#include "base/metrics.h"

#include "base/hash.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_MAX_BYTES 512 /* with the NUL */

struct metrics {
    struct hash *by_name;
    struct metrics_area *area; /* the series' memory; NULL: each has its own */
    double dummy;
};

static const struct {
    const char *name, *type, *help;
} families[] = {
    { "process_cpu_seconds_total", "counter", "CPU time of all sidekey processes." },
    { "process_open_fds", "gauge", "Open file descriptors of all sidekey processes." },
    { "process_resident_memory_bytes", "gauge",
      "Resident memory of all sidekey processes; shared pages count in each of them." },
    { "process_start_time_seconds", "gauge", "Start time of the keeper." },
    { "sidekey_build_info", "gauge", "Always 1; the version is a label." },
    { "sidekey_ca_certificates", "gauge", "Number of CA certificates in ca.pem." },
    { "sidekey_ca_expiry_timestamp_seconds", "gauge",
      "Expiry time of the CA that signs now; the next one is published long before." },
    { "sidekey_closes_total", "counter", "Closed connections, by leg and reason." },
    { "sidekey_connections", "gauge", "Open connections by leg." },
    { "sidekey_config_last_reload_successful", "gauge", "1 when the last reload of the configuration succeeded." },
    { "sidekey_credential_state", "gauge", "1 for the current state of the credential, 0 for the others." },
    { "sidekey_degraded", "gauge", "1 while this part does not work; valid tokens are sent all the same." },
    { "sidekey_h2_streams", "gauge", "Open streams of HTTP/2 by leg." },
    { "sidekey_lease_total", "counter", "Attempts to take the refresh lease, by result." },
    { "sidekey_leaves_total", "counter", "Requests for leaf certificates, by result." },
    { "sidekey_log_dropped_total", "counter", "Lines of the log that were dropped because they could not be written." },
    { "sidekey_overhead_seconds", "histogram", "Time a request spent in sidekey before it went upstream." },
    { "sidekey_refresh_duration_seconds", "histogram", "Duration of token requests." },
    { "sidekey_refresh_token_expiry_timestamp_seconds", "gauge", "Expiry time of the current refresh token." },
    { "sidekey_refresh_waiters", "gauge", "Requests that wait for a token." },
    { "sidekey_refresh_events_total", "counter", "Unusual events during refreshes, by event." },
    { "sidekey_refreshes_total", "counter", "Refreshes by trigger and result." },
    { "sidekey_refused_total", "counter", "Requests and connections refused by sidekey, by reason." },
    { "sidekey_request_duration_seconds", "histogram", "Time from the request head to the end of the response." },
    { "sidekey_requests_total", "counter",
      "Requests answered, by rule, status class and whether a credential was injected." },
    { "sidekey_store_up", "gauge", "1 when the credential store responds and accepts writes." },
    { "sidekey_token_expiry_timestamp_seconds", "gauge", "Expiry time of the current access token." },
    { "sidekey_token_generation", "gauge", "Generation of the current token." },
    { "sidekey_tunnels", "gauge", "Open tunnels that sidekey does not decrypt." },
    { "sidekey_unauthorized_total", "counter", "401 responses of upstreams, by what sidekey did." },
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

static bool is_kind(struct slice name, const char *kind)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (slice_eq(name, slice_str(families[i].name)))
            return families[i].type[0] == *kind;
    return false;
}

/* The family of a histogram's series is its name without the suffix. */
static struct slice family_of(struct slice name)
{
    static const char *const suffixes[] = { "_bucket", "_sum", "_count" };
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        struct slice suffix = slice_str(suffixes[i]);
        if (name.len <= suffix.len || !slice_eq(slice_skip(name, name.len - suffix.len), suffix))
            continue;
        struct slice base = slice_of(name.ptr, name.len - suffix.len);
        if (is_kind(base, "histogram"))
            return base;
    }
    return name;
}

/* Of a series' name, by the table of known families; a histogram's series are counters. */
static enum metrics_kind kind_of(struct slice series)
{
    struct slice name = slice_of(series.ptr, slice_find(series, '{')), family = family_of(name);
    if (is_kind(family, "counter") || family.len < name.len)
        return METRICS_COUNTER;
    return is_kind(family, "gauge") ? METRICS_GAUGE : METRICS_UNKNOWN;
}

struct metrics *metrics_new_in(struct metrics_area *area)
{
    struct metrics *m = metrics_new();
    struct metrics_series *s = NULL;
    if (!m || !area || !area->bytes)
        return m;
    m->area = area;
    while ((s = metrics_area_next(area, s))) {
        s->ended = kind_of(slice_str(s->name)) != METRICS_COUNTER;
        if (hash_put(m->by_name, slice_str(s->name), s) != 0) {
            metrics_free(m);
            return NULL;
        }
    }
    return m;
}

static void free_series(void *arg, struct slice key, void *value)
{
    const struct metrics *m = arg;
    (void)key;
    if (!m->area)
        free(value);
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    hash_each(m->by_name, free_series, m);
    hash_free(m->by_name);
    free(m);
}

static struct metrics_series *add(struct metrics *m, struct slice name)
{
    if (hash_count(m->by_name) >= METRICS_SERIES_MAX)
        return NULL;
    if (m->area)
        return metrics_area_add(m->area, name);
    struct metrics_series *s = calloc(1, sizeof *s + name.len + 1);
    if (s) {
        memcpy(s->name, name.ptr, name.len);
        s->family_bytes = (uint32_t)slice_find(name, '{');
    }
    return s;
}

static double *at(struct metrics *m, struct slice name)
{
    struct metrics_series *s = hash_get(m->by_name, name);
    if (s) {
        s->value = s->ended ? 0 : s->value;
        s->ended = 0;
        return &s->value;
    }
    if (!(s = add(m, name)))
        return &m->dummy;
    if (hash_put(m->by_name, name, s) != 0) {
        s->ended = 1; /* in an area it is lost, and no place is free again */
        free_series(m, name, s);
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
    struct metrics_series *s =
        len > 0 && (size_t)len < sizeof name ? hash_get(m->by_name, slice_of(name, (size_t)len)) : NULL;
    if (s)
        s->ended = 1;
}

struct collect {
    const struct metrics_series **list;
    size_t count;
};

static void collect_one(void *arg, struct slice key, void *value)
{
    struct collect *c = arg;
    (void)key;
    if (!((const struct metrics_series *)value)->ended)
        c->list[c->count++] = value;
}

/* A series taken apart for its place: family, labels without "le", then bucket by bucket. */
struct place {
    struct slice family, labels, suffix;
    double le;
};

static struct place place_of(const struct metrics_series *s)
{
    struct slice name = slice_str(s->name), labels = slice_skip(name, s->family_bytes);
    struct slice before_labels = slice_of(name.ptr, s->family_bytes);
    struct place p = { .family = family_of(before_labels), .le = 0 };
    p.suffix = slice_skip(before_labels, p.family.len);
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
    struct place x = place_of(*(const struct metrics_series *const *)a),
                 y = place_of(*(const struct metrics_series *const *)b);
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
        struct slice mine = family_of(slice_of(c.list[i]->name, c.list[i]->family_bytes));
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

struct fold {
    struct metrics *to;
    enum metrics_take take;
};

static void fold_one(void *arg, struct slice name, double value)
{
    const struct fold *f = arg;
    enum metrics_kind kind = kind_of(name);
    bool process = slice_starts(name, SLICE("process_"));
    bool wanted = f->take == METRICS_ALL || (process && f->take == METRICS_PROCESS);
    if (kind == METRICS_COUNTER ? value >= 0 : kind == METRICS_GAUGE && wanted)
        *at(f->to, name) += value;
}

void metrics_fold(struct metrics *to, const struct metrics_area *from, enum metrics_take take)
{
    if (from->bytes)
        metrics_area_each(from, fold_one, &(struct fold){ to, take });
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

void metrics_observe(struct histogram *h, double value)
{
    for (size_t i = h->bound_count; i-- > 0 && value <= h->bounds[i];)
        *h->buckets[i] += 1;
    *h->buckets[h->bound_count] += 1;
    *h->sum += value;
    *h->count += 1;
}
