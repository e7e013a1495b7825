#include "proxy/meter.h"

#include "base/process.h"

#include <assert.h>
#include <stdlib.h>

static const double seconds_bounds[] = { .005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10 };
static const double overhead_bounds[] = { 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3 };

struct per_rule {
    const struct rule *rule;
    double *by_class[6][2]; /* [status / 100][injected] */
};

struct meter {
    struct metrics *metrics;
    struct per_rule *rules;
    size_t rule_count; /* the last one is for requests without a rule */
    struct histogram duration, overhead;
    double *gauges[3], *waiters;
    double *closes[2][CLOSE_REASONS]; /* [METER_CLIENT or METER_UPSTREAM] */
    bool changed;
};

/* Every word is there from the start, at 0. */
static void make_closes(struct meter *m)
{
    static const char series[] = "sidekey_closes_total{leg=\"%s\",reason=\"%s\"}";
    for (enum close_reason r = 0; r < CLOSE_REASONS; r++) {
        if (close_reason_of_client(r))
            m->closes[METER_CLIENT][r] = metrics_at(m->metrics, series, "client", close_reason_word(r));
        if (close_reason_of_upstream(r))
            m->closes[METER_UPSTREAM][r] = metrics_at(m->metrics, series, "upstream", close_reason_word(r));
    }
}

struct meter *meter_new(const struct rule *rules, size_t count)
{
    struct meter *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->metrics = metrics_new();
    m->rules = calloc(count + 1, sizeof *m->rules);
    m->rule_count = count + 1;
    if (!m->metrics || !m->rules) {
        meter_free(m);
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        m->rules[i].rule = &rules[i];
    m->duration = metrics_histogram(m->metrics, "sidekey_request_duration_seconds", "", seconds_bounds,
                                    sizeof seconds_bounds / sizeof(double));
    m->overhead = metrics_histogram(m->metrics, "sidekey_overhead_seconds", "", overhead_bounds,
                                    sizeof overhead_bounds / sizeof(double));
    m->gauges[METER_CLIENT] = metrics_at(m->metrics, "sidekey_connections{leg=\"client\"}");
    m->gauges[METER_UPSTREAM] = metrics_at(m->metrics, "sidekey_connections{leg=\"upstream\"}");
    m->gauges[METER_TUNNEL] = metrics_at(m->metrics, "sidekey_tunnels");
    m->waiters = metrics_at(m->metrics, "sidekey_refresh_waiters");
    make_closes(m);
    m->changed = true;
    return m;
}

void meter_free(struct meter *m)
{
    if (!m)
        return;
    metrics_free(m->metrics);
    free(m->rules);
    free(m);
}

static const char *name_of(const struct rule *rule)
{
    return rule ? rule->name : "none";
}

static struct per_rule *find(struct meter *m, const struct rule *rule)
{
    size_t none = m->rule_count - 1;
    uintptr_t first = (uintptr_t)m->rules[0].rule; /* the rules are one array, in this order */
    size_t at = none && rule ? ((uintptr_t)rule - first) / sizeof *rule : none;
    return &m->rules[at < none ? at : none];
}

void meter_request(struct meter *m, const struct rule *rule, int status, enum meter_injected injected, double seconds)
{
    int class = status >= 600 ? 5 : status / 100; /* RFC 9110 §15: an unknown class is a 5xx */
    double **at = &find(m, rule)->by_class[class][injected];
    if (!*at)
        *at = metrics_at(m->metrics, "sidekey_requests_total{rule=\"%s\",code_class=\"%dxx\",injected=\"%s\"}",
                         name_of(rule), class, injected == METER_YES ? "yes" : "no");
    **at += 1;
    histogram_observe(&m->duration, seconds < 0 ? 0 : seconds); /* the clock on the wall may have been set back */
    m->changed = true;
}

void meter_overhead(struct meter *m, double seconds)
{
    histogram_observe(&m->overhead, seconds < 0 ? 0 : seconds);
}

void meter_unauthorized(struct meter *m, const struct rule *rule, const char *action)
{
    *metrics_at(m->metrics, "sidekey_unauthorized_total{rule=\"%s\",action=\"%s\"}", name_of(rule), action) += 1;
    m->changed = true;
}

void meter_refused(struct meter *m, const char *reason)
{
    *metrics_at(m->metrics, "sidekey_refused_total{reason=\"%s\"}", reason) += 1;
    m->changed = true;
}

void meter_close(struct meter *m, enum meter_leg leg, enum close_reason reason)
{
    assert(leg != METER_TUNNEL && m->closes[leg][reason]);
    *m->closes[leg][reason] += 1;
    m->changed = true;
}

static void set(struct meter *m, double *at, double value)
{
    if (*at != value)
        m->changed = true;
    *at = value;
}

void meter_gauge(struct meter *m, enum meter_leg leg, double value)
{
    set(m, m->gauges[leg], value);
}

void meter_gauge_add(struct meter *m, enum meter_leg leg, double change)
{
    set(m, m->gauges[leg], *m->gauges[leg] + change);
}

void meter_waiters(struct meter *m, double value)
{
    set(m, m->waiters, value);
}

int meter_write(struct meter *m, struct buf *out, bool *ret_changed)
{
    *ret_changed = m->changed;
    if (!m->changed)
        return 0;
    m->changed = false;
    process_measure(m->metrics);
    return metrics_write(m->metrics, false, out);
}
