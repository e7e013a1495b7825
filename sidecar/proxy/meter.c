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
    struct process_meter process;
    struct per_rule *rules;
    size_t rule_count; /* the last one is for requests without a rule */
    struct histogram duration, overhead;
    double *gauges[3], *streams[2], *waiters;
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

static const char *name_of(const struct rule *rule)
{
    return rule ? rule->name : "none";
}

#define RULES_FROM_THE_START 100 /* the series of more rules appear when they are first counted */

/* docs/metrics.md, "Reasons"; whoever refuses has the word as well. */
static const char *const reasons[] = { "proxy_auth",
                                       "peer_not_allowed",
                                       "peer_unknown",
                                       "not_a_proxy_request",
                                       "no_hint",
                                       "name_elsewhere",
                                       "gateway_host",
                                       "gateway_rule",
                                       "gateway_secret",
                                       "client_share",
                                       "crowded_out",
                                       "connect_target",
                                       "connect_inside",
                                       "port_not_allowed",
                                       "host_not_allowed",
                                       "method_or_path_not_allowed",
                                       "placeholder_missing",
                                       "placeholder_stray",
                                       "address_not_allowed",
                                       "plain_http",
                                       "absolute_https",
                                       "browser_request",
                                       "trace_refused",
                                       "target_escape",
                                       "scheme_differs",
                                       "http2_protocol",
                                       "max_forwards_invalid",
                                       "loop",
                                       "host_missing",
                                       "host_repeated",
                                       "host_malformed",
                                       "host_differs",
                                       "target_malformed",
                                       "target_differs",
                                       "length_with_transfer_encoding",
                                       "content_length_repeated",
                                       "content_length_invalid",
                                       "transfer_encoding_invalid",
                                       "connect_with_body",
                                       "chunk_size_invalid",
                                       "chunk_size_overflow",
                                       "chunk_extension_invalid",
                                       "chunk_extensions_too_long",
                                       "chunk_end_invalid",
                                       "data_after_close",
                                       "start_line_invalid",
                                       "method_unknown",
                                       "target_invalid",
                                       "version_unsupported",
                                       "request_line_too_long",
                                       "field_name_invalid",
                                       "field_value_invalid",
                                       "control_character",
                                       "bare_cr",
                                       "bare_lf",
                                       "folded_line",
                                       "too_many_fields",
                                       "head_too_large",
                                       "head_invalid",
                                       "client_tls",
                                       "client_tls_timeout",
                                       "no_leaf",
                                       "head_timeout",
                                       "body_timeout",
                                       "client_timeout",
                                       "token_unavailable",
                                       "token_throttled",
                                       "token_clock",
                                       "token_incomplete",
                                       "credential_misconfigured",
                                       "credential_dead",
                                       "credential_unknown",
                                       "store_unavailable",
                                       "unauthorized_lost",
                                       "token_request_refused",
                                       "token_request_too_large",
                                       "upstream_unreachable",
                                       "upstream_timeout",
                                       "upstream_certificate",
                                       "upstream_protocol",
                                       "upstream_renegotiation",
                                       "shutting_down",
                                       "response_head",
                                       "out_of_memory" };

static double *requests(const struct meter *m, const struct rule *rule, int class, enum meter_injected injected)
{
    return metrics_at(m->metrics, "sidekey_requests_total{rule=\"%s\",code_class=\"%dxx\",injected=\"%s\"}",
                      name_of(rule), class, injected == METER_YES ? "yes" : "no");
}

static double *unauthorized(const struct meter *m, const struct rule *rule, const char *action)
{
    return metrics_at(m->metrics, "sidekey_unauthorized_total{rule=\"%s\",action=\"%s\"}", name_of(rule), action);
}

/* A rate needs the value before the first one. */
static void meet_counters(struct meter *m)
{
    static const char *const actions[] = { "replayed", "refreshed", "passed", "too_large" };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        (void)metrics_at(m->metrics, "sidekey_refused_total{reason=\"%s\"}", reasons[i]);
    for (size_t i = 0; i < m->rule_count && m->rule_count <= RULES_FROM_THE_START; i++) {
        const struct rule *rule = m->rules[i].rule;
        for (int class = 2; class <= 5; class ++) {
            (void)requests(m, rule, class, METER_NO);
            if (rule)
                (void)requests(m, rule, class, METER_YES);
        }
        for (size_t k = 0; rule && k < sizeof actions / sizeof *actions; k++)
            (void)unauthorized(m, rule, actions[k]);
    }
}

struct meter *meter_new(const struct rule *rules, size_t count, struct metrics_area *area)
{
    struct meter *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->metrics = metrics_new_in(area);
    m->rules = calloc(count + 1, sizeof *m->rules);
    m->rule_count = count + 1;
    if (!m->metrics || !m->rules) {
        meter_free(m);
        return NULL;
    }
    process_meter_init(&m->process, m->metrics);
    for (size_t i = 0; i < count; i++)
        m->rules[i].rule = &rules[i];
    m->duration = metrics_histogram(m->metrics, "sidekey_request_duration_seconds", "", seconds_bounds,
                                    sizeof seconds_bounds / sizeof(double));
    m->overhead = metrics_histogram(m->metrics, "sidekey_overhead_seconds", "", overhead_bounds,
                                    sizeof overhead_bounds / sizeof(double));
    m->gauges[METER_CLIENT] = metrics_at(m->metrics, "sidekey_connections{leg=\"client\"}");
    m->gauges[METER_UPSTREAM] = metrics_at(m->metrics, "sidekey_connections{leg=\"upstream\"}");
    m->gauges[METER_TUNNEL] = metrics_at(m->metrics, "sidekey_tunnels");
    m->streams[METER_CLIENT] = metrics_at(m->metrics, "sidekey_h2_streams{leg=\"client\"}");
    m->streams[METER_UPSTREAM] = metrics_at(m->metrics, "sidekey_h2_streams{leg=\"upstream\"}");
    m->waiters = metrics_at(m->metrics, "sidekey_refresh_waiters");
    make_closes(m);
    meet_counters(m);
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
        *at = requests(m, rule, class, injected);
    **at += 1;
    metrics_observe(&m->duration, seconds < 0 ? 0 : seconds); /* the clock on the wall may have been set back */
    m->changed = true;
}

void meter_overhead(struct meter *m, double seconds)
{
    metrics_observe(&m->overhead, seconds < 0 ? 0 : seconds);
}

void meter_unauthorized(struct meter *m, const struct rule *rule, const char *action)
{
    *unauthorized(m, rule, action) += 1;
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

void meter_streams(struct meter *m, enum meter_leg leg, double change)
{
    set(m, m->streams[leg], *m->streams[leg] + change);
}

void meter_waiters(struct meter *m, double value)
{
    set(m, m->waiters, value);
}

void meter_measure(struct meter *m)
{
    if (m->changed)
        process_measure(&m->process);
    m->changed = false;
}

const struct metrics *meter_metrics(const struct meter *m)
{
    return m->metrics;
}
