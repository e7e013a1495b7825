/* links: tests/fakes/fake_clock.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/timer.h"
#include "tests/fakes/fake_clock.h"

static int calls;
static struct timer d;

static void on_time(void *arg)
{
    assert_ptr_equal(arg, &calls);
    calls++;
}

static int up(void **state)
{
    (void)state;
    calls = 0;
    timer_init(&d, on_time, &calls);
    return 0;
}

static int down(void **state)
{
    (void)state;
    timer_stop(&d);
    return ev_is_active(&d.watcher);
}

/* The timer fires now, whatever the loop thinks. */
static void fire(void)
{
    assert_true(ev_is_active(&d.watcher));
    ev_timer_stop(loop_get(), &d.watcher); /* as libev does before it calls */
    ev_invoke(loop_get(), &d.watcher, EV_TIMER);
}

static void it_fires_once_when_its_time_has_come(void **state)
{
    (void)state;
    timer_set(&d, 1000);
    fake_mono_ms += 1000;
    fire();
    assert_int_equal(calls, 1);
    assert_false(ev_is_active(&d.watcher));
}

static void pushed_back_it_sleeps_on_for_what_is_left(void **state)
{
    (void)state;
    timer_set(&d, 1000);
    fake_mono_ms += 900;
    timer_set(&d, 1000);
    fake_mono_ms += 100;
    fire();
    assert_int_equal(calls, 0);
    assert_true(ev_timer_remaining(loop_get(), &d.watcher) > 0.85);
    fake_mono_ms += 900;
    fire();
    assert_int_equal(calls, 1);
}

static void pushing_it_back_touches_no_timer(void **state)
{
    (void)state;
    timer_set(&d, 1000);
    ev_tstamp before = d.watcher.at;
    fake_mono_ms += 500;
    timer_set(&d, 5000);
    assert_true(d.watcher.at <= before && d.watcher.at >= before);
}

static void a_sooner_time_counts_at_once(void **state)
{
    (void)state;
    timer_set(&d, 600000);
    timer_set(&d, 1000);
    assert_true(ev_timer_remaining(loop_get(), &d.watcher) < 1.1);
    fake_mono_ms += 1000;
    fire();
    assert_int_equal(calls, 1);
}

static void stopped_it_stays_silent_and_can_be_set_again(void **state)
{
    (void)state;
    timer_set(&d, 1000);
    timer_stop(&d);
    timer_stop(&d);
    assert_false(ev_is_active(&d.watcher));
    timer_set(&d, 50);
    fake_mono_ms += 50;
    fire();
    assert_int_equal(calls, 1);
}

static void a_jump_of_the_clock_on_the_wall_changes_nothing(void **state)
{
    (void)state;
    timer_set(&d, 1000);
    timer_set(&d, 2000);
    fake_wall_ms += 3600000;
    fake_mono_ms += 1000;
    fire();
    assert_int_equal(calls, 0);
}

static void the_loop_runs_it(void **state)
{
    (void)state;
    timer_set(&d, 0);
    fake_mono_ms += 1;
    ev_run(loop_get(), EVRUN_ONCE);
    assert_int_equal(calls, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(it_fires_once_when_its_time_has_come),
        T(pushed_back_it_sleeps_on_for_what_is_left),
        T(pushing_it_back_touches_no_timer),
        T(a_sooner_time_counts_at_once),
        T(stopped_it_stays_silent_and_can_be_set_again),
        T(a_jump_of_the_clock_on_the_wall_changes_nothing),
        T(the_loop_runs_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
