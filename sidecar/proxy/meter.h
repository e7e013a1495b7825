/* proxy/meter.h: the worker's counters. Each is looked up once; counting is one addition.   Worker process. */
#ifndef SIDEKEY_PROXY_METER_H
#define SIDEKEY_PROXY_METER_H

#include "base/metrics.h"
#include "proxy/close_reason.h"
#include "proxy/rule.h"

struct meter;

enum meter_leg { METER_CLIENT, METER_UPSTREAM, METER_TUNNEL };
enum meter_injected { METER_NO, METER_YES };

/* rules and area (NULL: none; its counters go on) are borrowed and must outlive it.  NULL when out of memory.
 * meter_free() accepts NULL. */
MUST_CHECK struct meter *meter_new(const struct rule *rules, size_t count, struct metrics_area *area);
void meter_free(struct meter *m);
/* rule: NULL for requests that no rule knows. seconds: from head to end. */
void meter_request(struct meter *m, const struct rule *rule, int status, enum meter_injected injected, double seconds);
/* seconds: from the request's head to its first byte upstream, waiting for a token or a connection included. */
void meter_overhead(struct meter *m, double seconds);
/* action: replayed, refreshed, passed, too_large. */
void meter_unauthorized(struct meter *m, const struct rule *rule, const char *action);
/* reason: a constant from a bounded set. */
void meter_refused(struct meter *m, const char *reason);
/* leg: METER_CLIENT or METER_UPSTREAM, which ends for this reason. */
void meter_close(struct meter *m, enum meter_leg leg, enum close_reason reason);
void meter_gauge(struct meter *m, enum meter_leg leg, double value);
void meter_gauge_add(struct meter *m, enum meter_leg leg, double change);
/* Streams of HTTP/2 that are open; leg: METER_CLIENT or METER_UPSTREAM. */
void meter_streams(struct meter *m, enum meter_leg leg, double change);
void meter_waiters(struct meter *m, double value);
/* Measures the process, when something has changed since the last call. */
void meter_measure(struct meter *m);
/* What it has counted, for tests. */
const struct metrics *meter_metrics(const struct meter *m);

#endif
