/* base/process.h: what the kernel knows of this process, as process_* metrics (Prometheus' standard names).   Any
 * process. Each process measures itself; where their texts are merged the values add up. */
#ifndef SIDEKEY_BASE_PROCESS_H
#define SIDEKEY_BASE_PROCESS_H

#include "base/metrics.h"

struct process_meter {
    struct metrics *metrics;
    double cpu_s, dropped; /* as they were last */
};

/* From here on what this process uses is measured, into m (borrowed). */
void process_meter_init(struct process_meter *p, struct metrics *m);
/* Adds to sidekey_log_dropped_total and process_cpu_seconds_total, sets process_resident_memory_bytes and
 * process_open_fds.  What cannot be read keeps its value. */
void process_measure(struct process_meter *p);

#endif
