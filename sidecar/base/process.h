/* base/process.h: what the kernel knows of this process, as process_* metrics (Prometheus' standard names).   Any
 * process. Each process measures itself; where their texts are merged the values add up. */
#ifndef SIDEKEY_BASE_PROCESS_H
#define SIDEKEY_BASE_PROCESS_H

#include "base/metrics.h"

/* Sets sidekey_log_dropped_total, process_cpu_seconds_total, process_resident_memory_bytes and process_open_fds in m.
 * What cannot be read keeps its value. */
void process_measure(struct metrics *m);

#endif
