/* base/metrics.h: counters and gauges of one process, as Prometheus text.   One thread.
 * A series is its full name with labels: "sidekey_requests_total{rule=\"crm\",code_class=\"2xx\",injected=\"yes\"}".
 * Hot paths keep the pointer: (*metrics_counter(…))++ costs one addition.  At most METRICS_SERIES_MAX series; beyond
 * that all share one dummy. */
#ifndef SIDEKEY_BASE_METRICS_H
#define SIDEKEY_BASE_METRICS_H

#include "base/buf.h"
#include "base/metrics_area.h"

#define METRICS_SERIES_MAX                                                                                             \
    32768 /* a thousand credentials have some 20 each; labels are names of the configuration and words of ours, never  \
             a peer's */

struct metrics;
/* An empty registry; NULL when out of memory.  metrics_free() accepts NULL and ends every series. */
MUST_CHECK struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
/* A registry that lives in area (borrowed; NULL or without memory: as metrics_new()).  Existing counters continue.
 * Gauges of the previous process have no value until they are requested again. NULL when out of memory. */
MUST_CHECK struct metrics *metrics_new_in(struct metrics_area *area);
/* The value of the series, made at 0 at the first call; valid until metrics_free().  Never NULL. */
double *metrics_at(struct metrics *m, const char *format, ...) PRINTF_LIKE(2, 3);
/* Ends the series: the gauge has no value until it is requested again. */
void metrics_drop(struct metrics *m, const char *format, ...) PRINTF_LIKE(2, 3);
/* Appends every series, a line each, sorted (families together, buckets by number). openmetrics: ends with "# EOF".
 * With # TYPE and # HELP lines from the table of known families in metrics.c. */
MUST_CHECK int metrics_write(const struct metrics *m, bool openmetrics, struct buf *out);
enum metrics_kind { METRICS_UNKNOWN, METRICS_COUNTER, METRICS_GAUGE };
enum metrics_take { METRICS_COUNTERS, METRICS_PROCESS, METRICS_ALL };
/* Adds what a process has written into its area to `to`: its counters, with METRICS_PROCESS its process_* gauges, with
 * METRICS_ALL every gauge.  Series of unknown families and values that no counter has are left out. */
void metrics_fold(struct metrics *to, const struct metrics_area *from, enum metrics_take take);

/* Histograms: one addition to a bucket, sum and count.  Buckets are fixed at metrics_histogram(). */
struct histogram {
    double *buckets[20], *sum, *count;
    const double *bounds; /* ascending, borrowed */
    size_t bound_count;   /* <= 19 */
};
/* name without labels, labels like rule="x" or "". */
struct histogram metrics_histogram(struct metrics *m, const char *name, const char *labels, const double *bounds,
                                   size_t count);
void metrics_observe(struct histogram *h, double value);

#endif
