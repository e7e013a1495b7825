/* metrics.c and meter.c: numbers as Prometheus reads them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

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
        histogram_observe(&h, values[i]);
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

static void what_others_counted_is_added_and_garbage_skipped(void **state)
{
    (void)state;
    *metrics_at(m, "a") = 1;
    metrics_merge(m, SLICE("# TYPE a counter\na 2\nb{l=\"x y\"} 3.5\n\nc\nd \n 7\ne 1x\nf nan nan\na 4"));
    const char *all = text(false);
    assert_non_null(strstr(all, "a 7\n"));
    assert_non_null(strstr(all, "b{l=\"x y\"} 3.5\n"));
    assert_null(strstr(all, "e 1"));
    metrics_zero(m);
    assert_non_null(strstr(text(false), "a 0\n"));
}

static void series_beyond_the_limit_share_one_and_do_no_harm(void **state)
{
    (void)state;
    for (int i = 0; i < METRICS_SERIES_MAX + 10; i++)
        *metrics_at(m, "s%d", i) += 1;
    assert_ptr_equal(metrics_at(m, "more1"), metrics_at(m, "more2"));
    assert_ptr_not_equal(metrics_at(m, "s1"), metrics_at(m, "more1"));
}

static void a_worker_tells_only_what_has_changed(void **state)
{
    static char a[] = "a", b[] = "b";
    struct rule rules[] = { { .name = a }, { .name = b } }, other = { .name = a };
    bool changed;
    (void)state;
    struct meter *meter = meter_new(rules, 2);
    assert_non_null(meter);
    assert_int_equal(meter_write(meter, &out, &changed), 0);
    assert_true(changed);
    buf_clear(&out);
    assert_int_equal(meter_write(meter, &out, &changed), 0);
    assert_true(!changed && out.len == 0);
    meter_request(meter, &rules[1], 204, METER_YES, -1);
    meter_request(meter, NULL, 999, METER_NO, .3);
    meter_request(meter, &other, 500, METER_NO, 1e9);
    meter_overhead(meter, -1);
    meter_unauthorized(meter, &rules[0], "passed");
    meter_refused(meter, "why");
    meter_gauge_add(meter, METER_TUNNEL, 1);
    meter_gauge_add(meter, METER_TUNNEL, 1);
    meter_gauge_add(meter, METER_TUNNEL, -1);
    assert_int_equal(meter_write(meter, &out, &changed), 0);
    assert_true(changed && buf_add(&out, slice_of("", 1)) == 0);
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

static void lines_of_unknown_families_are_left_out(void **state)
{
    struct buf kept;
    (void)state;
    buf_init(&kept, 4096);
    assert_int_equal(
        metrics_known_lines(SLICE("# HELP sidekey_tunnels x\nsidekey_tunnels 3\nevil_total 1\n"
                                  "sidekey_tunnels_of_mine 4\nsidekey_overhead_seconds_bucket{le=\"1\"} 2\n"
                                  "sidekey_overhead_seconds_sum 0.5\nsidekey_overhead_seconds_evil 9\n"
                                  "sidekey_refused_total{reason=\"x\"} 5\n\n{} 1\nno newline"),
                            &kept),
        0);
    assert_true(
        slice_eq(buf_slice(&kept), SLICE("sidekey_tunnels 3\nsidekey_overhead_seconds_bucket{le=\"1\"} 2\n"
                                         "sidekey_overhead_seconds_sum 0.5\nsidekey_refused_total{reason=\"x\"} 5\n")));
    buf_done(&kept);
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
        T(what_others_counted_is_added_and_garbage_skipped),
        T(series_beyond_the_limit_share_one_and_do_no_harm),
        T(lines_of_unknown_families_are_left_out),
        T(a_worker_tells_only_what_has_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
