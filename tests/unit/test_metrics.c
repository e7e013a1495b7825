/* metrics.c and meter.c: numbers as Prometheus reads them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/process.h"
#include "proxy/meter.h"

static struct metrics *m;
static struct buf out;

static int up(void **state)
{
    (void)state;
    m = metrics_new();
    buf_init(&out, 1 << 20);
    return m ? 0 : -1;
}

static int down(void **state)
{
    (void)state;
    metrics_free(m);
    buf_done(&out);
    return 0;
}

static const char *text(bool openmetrics)
{
    buf_clear(&out);
    assert_int_equal(metrics_write(m, openmetrics, &out), 0);
    assert_int_equal(buf_add(&out, slice_of("", 1)), 0);
    return buf_slice(&out).ptr;
}

static void a_series_is_one_line_and_its_pointer_stays(void **state)
{
    (void)state;
    double *a = metrics_at(m, "x_total{rule=\"%s\"}", "a");
    for (int i = 0; i < 1000; i++)
        *metrics_at(m, "y%d", i) += 1;
    *a += 2;
    assert_ptr_equal(metrics_at(m, "x_total{rule=\"a\"}"), a);
    assert_non_null(strstr(text(false), "x_total{rule=\"a\"} 2\n"));
}

static void families_stand_together_under_one_header(void **state)
{
    (void)state;
    *metrics_at(m, "sidekey_refused_total{reason=\"b\"}") = 1;
    *metrics_at(m, "sidekey_connections{leg=\"client\"}") = 3;
    *metrics_at(m, "sidekey_refused_total{reason=\"a\"}") = 2;
    const char *all = text(false), *type = strstr(all, "# TYPE sidekey_refused_total counter\n");
    assert_non_null(type);
    assert_null(strstr(type + 1, "# TYPE sidekey_refused_total"));
    assert_non_null(strstr(all, "sidekey_refused_total{reason=\"a\"} 2\nsidekey_refused_total{reason=\"b\"} 1\n"));
    assert_non_null(strstr(all, "# TYPE sidekey_connections gauge\n"));
    assert_null(strstr(all, "# EOF"));
    assert_string_equal(strstr(text(true), "# EOF"), "# EOF\n");
    assert_non_null(strstr(text(true), "# TYPE sidekey_refused counter\n"));
}

static void a_histogram_counts_upwards(void **state)
{
    static const double bounds[] = { .1, 1, 10 };
    static const double values[] = { .05, .1, .5, 5, 50 };
    (void)state;
    struct histogram h = metrics_histogram(m, "d", "rule=\"a\"", bounds, 3);
    for (size_t i = 0; i < 5; i++)
        metrics_observe(&h, values[i]);
    const char *all = text(false);
    static const char *const lines[] = { "d_bucket{rule=\"a\",le=\"0.1\"} 2\n",
                                         "d_bucket{rule=\"a\",le=\"1.0\"} 3\n",
                                         "d_bucket{rule=\"a\",le=\"10.0\"} 4\n",
                                         "d_bucket{rule=\"a\",le=\"+Inf\"} 5\n",
                                         "d_sum{rule=\"a\"} 55.65\n",
                                         "d_count{rule=\"a\"} 5\n" };
    for (size_t i = 0; i < 6; i++)
        assert_non_null(strstr(all, lines[i]));
}

static void buckets_stand_by_number_beside_their_sum_and_count(void **state)
{
    static const double bounds[] = { .00005, .25, 2.5, 10, 30 };
    (void)state;
    (void)metrics_histogram(m, "sidekey_refresh_duration_seconds", "credential=\"b\"", bounds, 5);
    (void)metrics_histogram(m, "sidekey_refresh_duration_seconds", "credential=\"a\"", bounds, 5);
    (void)metrics_histogram(m, "sidekey_overhead_seconds", "", bounds, 5);
    static const char *const order[] = { "sidekey_overhead_seconds_bucket{le=\"5e-05\"}",
                                         "_bucket{le=\"0.25\"}",
                                         "_bucket{le=\"2.5\"}",
                                         "_bucket{le=\"10.0\"}",
                                         "_bucket{le=\"30.0\"}",
                                         "_bucket{le=\"+Inf\"}",
                                         "sidekey_overhead_seconds_count ",
                                         "sidekey_overhead_seconds_sum ",
                                         "{credential=\"a\",le=\"5e-05\"}",
                                         "{credential=\"a\",le=\"30.0\"}",
                                         "{credential=\"a\",le=\"+Inf\"}",
                                         "_count{credential=\"a\"}",
                                         "_sum{credential=\"a\"}",
                                         "{credential=\"b\",le=\"5e-05\"}",
                                         "_sum{credential=\"b\"}" };
    const char *at = text(true);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        const char *found = strstr(at, order[i]);
        if (!found)
            fail_msg("%s is not in its place: %s", order[i], at);
        at = found;
    }
}

static void a_series_that_was_dropped_is_not_written(void **state)
{
    (void)state;
    *metrics_at(m, "x{a=\"%s\"}", "b") = 1;
    metrics_drop(m, "x{a=\"%s\"}", "b");
    metrics_drop(m, "x{a=\"%s\"}", "b");
    assert_null(strstr(text(false), "x{"));
}

static void series_beyond_the_limit_share_one_and_do_no_harm(void **state)
{
    (void)state;
    for (int i = 0; i < METRICS_SERIES_MAX + 10; i++)
        *metrics_at(m, "s%d", i) += 1;
    assert_ptr_equal(metrics_at(m, "more1"), metrics_at(m, "more2"));
    assert_ptr_not_equal(metrics_at(m, "s1"), metrics_at(m, "more1"));
}

static struct metrics_area area;

static const char *folded(enum metrics_take take)
{
    metrics_free(m);
    assert_non_null(m = metrics_new());
    metrics_fold(m, &area, take);
    return text(false);
}

static void who_takes_a_place_counts_on_and_has_gauges_of_its_own(void **state)
{
    static const double bounds[] = { 1 };
    (void)state;
    assert_int_equal(metrics_area_open(&area), 0);
    for (int life = 1; life <= 3; life++) {
        struct metrics *mine = metrics_new_in(&area);
        struct histogram h = metrics_histogram(mine, "sidekey_overhead_seconds", "", bounds, 1);
        metrics_observe(&h, .5);
        *metrics_at(mine, "sidekey_requests_total{rule=\"a\"}") += 2;
        if (life < 3)
            *metrics_at(mine, "sidekey_tunnels") += life;
        metrics_free(mine); /* or kill -9: nothing is written at the end */
        const char *all = folded(METRICS_ALL);
        char line[80];
        snprintf(line, sizeof line, "sidekey_requests_total{rule=\"a\"} %d\n", 2 * life);
        assert_non_null(strstr(all, line));
        snprintf(line, sizeof line, "sidekey_overhead_seconds_bucket{le=\"+Inf\"} %d\n", life);
        assert_non_null(strstr(all, line));
        snprintf(line, sizeof line, "\nsidekey_tunnels %d\n", life);
        assert_true((strstr(all, line) != NULL) == (life < 3));
    }
    metrics_area_close(&area);
}

static void counters_of_every_process_are_added_and_only_wanted_gauges(void **state)
{
    static const struct {
        enum metrics_take take;
        bool process, gauge;
    } table[] = { { METRICS_COUNTERS, false, false }, { METRICS_PROCESS, true, false }, { METRICS_ALL, true, true } };
    (void)state;
    assert_int_equal(metrics_area_open(&area), 0);
    struct metrics *mine = metrics_new_in(&area);
    *metrics_at(mine, "sidekey_refused_total{reason=\"x\"}") = 7;
    *metrics_at(mine, "sidekey_store_up") = 1;
    *metrics_at(mine, "process_open_fds") = 9;
    *metrics_at(mine, "sidekey_tunnels") = 4;
    metrics_drop(mine, "sidekey_tunnels");
    *metrics_at(mine, "evil_total") = 3;
    *metrics_at(mine, "sidekey_lease_total{result=\"lost\"}") = -5;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const char *all = folded(table[i].take);
        assert_non_null(strstr(all, "sidekey_refused_total{reason=\"x\"} 7\n"));
        assert_true((strstr(all, "process_open_fds 9\n") != NULL) == table[i].process);
        assert_true((strstr(all, "sidekey_store_up 1\n") != NULL) == table[i].gauge);
        assert_true(!strstr(all, "evil") && !strstr(all, "tunnels") && !strstr(all, "lease"));
    }
    metrics_fold(m, &area, METRICS_COUNTERS);
    assert_non_null(strstr(text(false), "sidekey_refused_total{reason=\"x\"} 14\n"));
    metrics_free(mine);
    metrics_area_close(&area);
}

/* Every byte of what it wrote, changed to values that are likely to mislead. */
static void nothing_that_a_child_writes_harms_its_reader(void **state)
{
    static const unsigned char values[] = { 0, 1, 7, 0x7f, 0x80, 0xff };
    (void)state;
    assert_int_equal(metrics_area_open(&area), 0);
    struct metrics *mine = metrics_new_in(&area);
    *metrics_at(mine, "sidekey_tunnels") = 1;
    *metrics_at(mine, "sidekey_refused_total{reason=\"x\"}") = 2;
    char *last = (char *)metrics_at(mine, "sidekey_lease_total{result=\"won\"}") + 64;
    for (char *at = area.bytes; at < last; at++)
        for (size_t i = 0; i < sizeof values; i++) {
            char was = *at;
            *at = (char)values[i];
            (void)folded(METRICS_ALL);
            *at = was;
        }
    assert_non_null(strstr(folded(METRICS_ALL), "sidekey_refused_total{reason=\"x\"} 2\n"));
    assert_int_equal(ftruncate(area.fd, 0), -1); /* the reader would end by SIGBUS */
    metrics_free(mine);
    metrics_area_close(&area);
}

static void an_area_outlives_its_mapping_and_an_exec(void **state)
{
    struct metrics_area again, none;
    int other = memfd_create("other", 0);
    (void)state;
    assert_int_equal(metrics_area_open(&area), 0);
    struct metrics *mine = metrics_new_in(&area);
    *metrics_at(mine, "sidekey_refused_total{reason=\"x\"}") = 2;
    metrics_free(mine);
    assert_int_equal(metrics_area_adopt(&again, dup(area.fd)), 0);
    metrics_area_close(&area);
    area = again;
    assert_non_null(strstr(folded(METRICS_ALL), "sidekey_refused_total{reason=\"x\"} 2\n"));
    assert_int_equal(metrics_area_adopt(&none, other), -EINVAL);
    assert_int_equal(fcntl(other, F_GETFD), -1);
    metrics_area_close(&area);
    metrics_area_close(&area);
}

static void a_process_adds_what_it_has_used_since_the_last_time(void **state)
{
    struct process_meter p;
    (void)state;
    *metrics_at(m, "process_cpu_seconds_total") = 1000; /* of one that was there before */
    process_meter_init(&p, m);
    p.cpu_s -= 5;
    process_measure(&p);
    double *cpu = metrics_at(m, "process_cpu_seconds_total"), once = *cpu;
    assert_true(once >= 1005 && once < 1500);
    p.cpu_s += 100; /* a clock that went back takes nothing away */
    process_measure(&p);
    assert_true(*cpu == once);
    assert_true(*metrics_at(m, "process_open_fds") > 0 && *metrics_at(m, "process_resident_memory_bytes") > 0);
}

static void a_worker_counts_by_rule_class_and_reason(void **state)
{
    static char a[] = "a", b[] = "b";
    struct rule rules[] = { { .name = a }, { .name = b } }, other = { .name = a };
    (void)state;
    struct meter *meter = meter_new(rules, 2, NULL);
    assert_non_null(meter);
    meter_request(meter, &rules[1], 204, METER_YES, -1);
    meter_request(meter, NULL, 999, METER_NO, .3);
    meter_request(meter, &other, 500, METER_NO, 1e9);
    meter_overhead(meter, -1);
    meter_unauthorized(meter, &rules[0], "passed");
    meter_refused(meter, "why");
    meter_gauge_add(meter, METER_TUNNEL, 1);
    meter_gauge_add(meter, METER_TUNNEL, 1);
    meter_gauge_add(meter, METER_TUNNEL, -1);
    assert_int_equal(metrics_write(meter_metrics(meter), false, &out) | buf_add(&out, slice_of("", 1)), 0);
    static const char *const lines[] = { "sidekey_requests_total{rule=\"b\",code_class=\"2xx\",injected=\"yes\"} 1\n",
                                         "sidekey_tunnels 1\n",
                                         "{rule=\"none\",code_class=\"5xx\",injected=\"no\"} 2\n",
                                         "sidekey_refused_total{reason=\"why\"} 1\n",
                                         "sidekey_unauthorized_total{rule=\"a\",action=\"passed\"} 1\n",
                                         "sidekey_request_duration_seconds_count 3\n",
                                         "sidekey_overhead_seconds_sum 0\n" };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_non_null(strstr(buf_slice(&out).ptr, lines[i]));
    meter_free(meter);
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_series_is_one_line_and_its_pointer_stays),
        T(families_stand_together_under_one_header),
        T(a_histogram_counts_upwards),
        T(buckets_stand_by_number_beside_their_sum_and_count),
        T(a_series_that_was_dropped_is_not_written),
        T(series_beyond_the_limit_share_one_and_do_no_harm),
        T(who_takes_a_place_counts_on_and_has_gauges_of_its_own),
        T(counters_of_every_process_are_added_and_only_wanted_gauges),
        T(nothing_that_a_child_writes_harms_its_reader),
        T(an_area_outlives_its_mapping_and_an_exec),
        T(a_process_adds_what_it_has_used_since_the_last_time),
        T(a_worker_counts_by_rule_class_and_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
