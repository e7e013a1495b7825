/* base/metrics.h: counters and gauges of one process, as Prometheus text.   One thread.
 * A series is its full name with labels: "sidekey_requests_total{rule=\"crm\",code_class=\"2xx\",injected=\"yes\"}".
 * Hot paths keep the pointer: (*metrics_counter(…))++ costs one addition.  At most METRICS_SERIES_MAX series; beyond
 * that all share one dummy. */
#ifndef SIDEKEY_BASE_METRICS_H
#define SIDEKEY_BASE_METRICS_H

#include "base/buf.h"

#define METRICS_SERIES_MAX                                                                                             \
    32768 /* a thousand credentials have some 20 each; labels are names of the configuration and words of ours, never  \
             a peer's */

struct metrics;
/* An empty registry; NULL when out of memory.  metrics_free() accepts NULL and ends every series. */
MUST_CHECK struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
/* The value of the series, made at 0 at the first call; valid until metrics_free().  Never NULL. */
double *metrics_at(struct metrics *m, const char *format, ...) PRINTF_LIKE(2, 3);
/* The series ends: a gauge that has no value.  Its pointer is not valid any more. */
void metrics_drop(struct metrics *m, const char *format, ...) PRINTF_LIKE(2, 3);
/* Appends every series, a line each, sorted (families together, buckets by number). openmetrics: ends with "# EOF".
 * With # TYPE and # HELP lines from the table of known families in metrics.c. */
MUST_CHECK int metrics_write(const struct metrics *m, bool openmetrics, struct buf *out);
/* Adds what another process wrote (lines "name value"; comments skipped) to m: counters and gauges are summed.  Lines
 * that do not parse are skipped. */
void metrics_merge(struct metrics *m, struct slice text);
/* Appends the lines of text whose family is in the table of known ones; everything else, comments too, is left out.
 * 0; as buf_add(). */
MUST_CHECK int metrics_known_lines(struct slice text, struct buf *out);
/* Every value to 0 (the series stay). */
void metrics_zero(struct metrics *m);

/* Histograms: one addition to a bucket, sum and count.  Buckets are fixed at metrics_histogram(). */
struct histogram {
    double *buckets[20], *sum, *count;
    const double *bounds; /* ascending, borrowed */
    size_t bound_count;   /* <= 19 */
};
/* name without labels, labels like rule="x" or "". */
struct histogram metrics_histogram(struct metrics *m, const char *name, const char *labels, const double *bounds,
                                   size_t count);
void histogram_observe(struct histogram *h, double value);

#endif
