/* When a credential is refreshed: docs/refresh-rules.md 1.11, 2.10b, 2.11a and §4 as tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "refresh/schedule.h"

#define S 1000
#define M (60 * S)
#define NOW INT64_C(500000000)
#define WALL INT64_C(1700000000000)

static struct schedule_times times_of(int64_t lifetime_ms, unsigned jitter)
{
    const struct schedule_life life = { WALL, WALL + lifetime_ms, 0, 0 };
    return schedule_times(&life, jitter, NOW, WALL);
}

static void test_windows_follow_the_lifetime(void **s)
{
    static const struct {
        int64_t lifetime_ms, advisory_ms, mandatory_ms; /* before the end */
    } rows[] = {
        { 60 * M, 12 * M, 30 * S },      /* 20 % */
        { 24 * 60 * M, 15 * M, 30 * S }, /* at most 15 min */
        { 4 * M, 60 * S, 24 * S },       /* at least 60 s */
        { 90 * S, 45 * S, 9 * S },       /* at most half */
        { 5 * M, 60 * S, 30 * S },       { 60 * S, 30 * S, 6 * S }, { 10 * S, 5 * S, 1 * S }, { 1, 0, 0 }, { 0, 0, 0 },
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct schedule_times t = times_of(rows[i].lifetime_ms, 0);
        assert_int_equal(t.expires_ms, NOW + rows[i].lifetime_ms);
        assert_int_equal(t.expires_ms - t.advisory_ms, rows[i].advisory_ms);
        assert_int_equal(t.expires_ms - t.mandatory_ms, rows[i].mandatory_ms);
    }
}

static void test_jitter_shortens_the_advisory_window_by_a_tenth_at_most(void **s)
{
    (void)s;
    assert_int_equal(times_of(60 * M, 0).advisory_ms, NOW + 48 * M);
    assert_int_equal(times_of(60 * M, 50).advisory_ms, NOW + 48 * M + 36 * S);
    assert_int_equal(times_of(60 * M, 100).advisory_ms, NOW + 48 * M + 72 * S);
    assert_int_equal(times_of(60 * M, 5000).advisory_ms, NOW + 48 * M + 72 * S);
}

static void test_a_token_from_the_future_lives_no_longer_than_a_new_one(void **s)
{
    /* our clock is an hour behind the one that made it */
    struct schedule_life life = { WALL + 60 * M, WALL + 120 * M, 0, 0 };
    (void)s;
    struct schedule_times t = schedule_times(&life, 0, NOW, WALL);
    assert_int_equal(t.expires_ms, NOW + 60 * M);
    assert_int_equal(t.advisory_ms, NOW + 48 * M);
    assert_true(schedule_age_unknown(&life, WALL));
    schedule_times_end(&t, NOW);
    assert_true(t.expires_ms == NOW && t.mandatory_ms == NOW && t.advisory_ms == NOW);
    life.obtained_wall_ms = WALL + 60 * S; /* two clocks that do not quite agree */
    assert_false(schedule_age_unknown(&life, WALL));
    life = (struct schedule_life){ WALL + 60 * M, 0, 0, 0 }; /* without an end its age does not matter */
    assert_false(schedule_age_unknown(&life, WALL));
}

static void test_the_servers_hint_wins_but_not_over_the_end(void **s)
{
    struct schedule_life life = { WALL, WALL + 60 * M, 10 * M, 0 };
    (void)s;
    assert_int_equal(schedule_times(&life, 0, NOW, WALL).advisory_ms, NOW + 10 * M);
    life.refresh_in_ms = 300 * M;
    assert_int_equal(schedule_times(&life, 0, NOW, WALL).advisory_ms, NOW + 60 * M - 30 * S);
    life = (struct schedule_life){ WALL, 0, 10 * M, 0 };
    assert_int_equal(schedule_times(&life, 0, NOW, WALL).advisory_ms, NOW + 10 * M);
    assert_int_equal(schedule_times(&life, 0, NOW, WALL).expires_ms, MSG_NEVER);
}

static void test_a_refresh_token_that_ends_first_is_used_before_its_end(void **s)
{
    static const struct {
        int64_t access_ms, refresh_ms, advisory_ms; /* 0: unknown */
    } rows[] = {
        { 60 * M, 30 * M, 24 * M }, /* Keycloak: the session's idle time */
        { 60 * M, 60 * S, 30 * S }, { 60 * M, 600 * M, 48 * M }, { 0, 30 * M, 24 * M },
        { 60 * M, 0, 48 * M },      { 60 * M, -1, 48 * M }, /* ended before it came: a mistake */
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct schedule_life life = { WALL, rows[i].access_ms ? WALL + rows[i].access_ms : 0, 0,
                                      rows[i].refresh_ms ? WALL + rows[i].refresh_ms : 0 };
        assert_int_equal(schedule_times(&life, 0, NOW, WALL).advisory_ms, NOW + rows[i].advisory_ms);
        assert_int_equal(schedule_times(&life, 0, NOW, WALL).expires_ms,
                         rows[i].access_ms ? NOW + rows[i].access_ms : MSG_NEVER);
    }
    struct schedule_life hint = { WALL, WALL + 60 * M, 50 * M, WALL + 30 * M };
    assert_int_equal(schedule_times(&hint, 0, NOW, WALL).advisory_ms, NOW + 24 * M);
}

static void test_an_unknown_end_is_never(void **s)
{
    const struct schedule_life life = { WALL, 0, 0, 0 };
    struct schedule_times t = schedule_times(&life, 0, NOW, WALL);
    (void)s;
    assert_int_equal(t.expires_ms, MSG_NEVER);
    assert_int_equal(t.mandatory_ms, MSG_NEVER);
    assert_int_equal(t.advisory_ms, MSG_NEVER);
    schedule_times_same(&t, NOW);
    assert_int_equal(t.advisory_ms, MSG_NEVER);
}

static void test_stored_times_are_turned_to_this_processs_clock(void **s)
{
    const struct schedule_life life = { WALL - 50 * M, WALL + 10 * M, 0, 0 };
    struct schedule_times t = schedule_times(&life, 0, NOW, WALL);
    (void)s;
    assert_int_equal(t.expires_ms, NOW + 10 * M);
    assert_int_equal(t.advisory_ms, NOW - 2 * M); /* the window is of the whole life */
}

static void test_the_same_token_again_is_asked_for_at_half_its_remaining_time(void **s)
{
    struct schedule_times t = times_of(60 * M, 0);
    (void)s;
    schedule_times_same(&t, NOW + 50 * M);
    assert_int_equal(t.advisory_ms, NOW + 55 * M);
}

static void test_the_predicate(void **s)
{
    static const struct {
        enum msg_reason reason;
        uint64_t rejected;
        bool has_token;
        int64_t age_ms;
        bool needed;
    } rows[] = {
        { MSG_EXPIRING, 0, true, 47 * M, false }, { MSG_EXPIRING, 0, true, 48 * M, true },
        { MSG_MISSING, 0, true, 48 * M, false },  { MSG_MISSING, 0, true, 60 * M - 30 * S, true },
        { MSG_MISSING, 0, false, 0, true },       { MSG_EXPIRING, 0, false, 0, true },
        { MSG_REJECTED, 7, true, 0, true },       { MSG_REJECTED, 6, true, 0, false },
        { MSG_REJECTED, 8, true, 0, true },       { MSG_FORCED, 7, true, 0, true },
        { MSG_FORCED, 6, true, 0, false },        { MSG_REJECTED, 6, true, 60 * M, true }, /* newer, but expired */
    };
    struct schedule_times t = times_of(60 * M, 0);
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct schedule_need need = { rows[i].reason, rows[i].rejected, false };
        if (schedule_needs(&t, rows[i].has_token, 7, &need, NOW + rows[i].age_ms) != rows[i].needed)
            fail_msg("row %zu", i);
    }
}

static void test_merged_needs_cover_both(void **s)
{
    struct schedule_need a = { MSG_EXPIRING, 0, true };
    (void)s;
    schedule_need_merge(&a, &(struct schedule_need){ MSG_EXPIRING, 0, true });
    assert_true(a.background);
    schedule_need_merge(&a, &(struct schedule_need){ MSG_MISSING, 0, false });
    assert_false(a.background);
    assert_int_equal(a.reason, MSG_MISSING);
    schedule_need_merge(&a, &(struct schedule_need){ MSG_REJECTED, 5, false });
    schedule_need_merge(&a, &(struct schedule_need){ MSG_REJECTED, 4, false });
    schedule_need_merge(&a, &(struct schedule_need){ MSG_MISSING, 0, true });
    assert_int_equal(a.reason, MSG_REJECTED);
    assert_int_equal(a.rejected, 5);
    assert_false(a.background);
}

static const struct schedule_need waits = { MSG_MISSING, 0, false }, quiet = { MSG_EXPIRING, 0, true },
                                  forced = { MSG_REJECTED, 3, false };

static void test_eager_tries_keep_30_seconds_apart_and_waiters_do_not_care(void **s)
{
    struct schedule_tries t = { 0 };
    (void)s;
    assert_int_equal(schedule_may(&t, &quiet, 30 * S, NOW), SCHEDULE_GO);
    schedule_succeeded(&t, false, NOW);
    assert_int_equal(schedule_may(&t, &quiet, 30 * S, NOW + 30 * S - 1), SCHEDULE_LATER);
    assert_int_equal(schedule_may(&t, &quiet, 30 * S, NOW + 30 * S), SCHEDULE_GO);
    assert_int_equal(schedule_may(&t, &waits, 30 * S, NOW), SCHEDULE_GO);
    schedule_hurry(&t, 60 * M, NOW); /* a quarter of a long life is no reason to wait longer */
    assert_int_equal(t.quiet_ms, NOW + 30 * S);
    schedule_hurry(&t, 500, NOW);
    assert_int_equal(schedule_may(&t, &quiet, 30 * S, NOW + 499), SCHEDULE_LATER);
    assert_int_equal(schedule_may(&t, &quiet, 30 * S, NOW + 500), SCHEDULE_GO);
}

static void test_one_forced_refresh_per_floor(void **s)
{
    struct schedule_tries t = { 0 };
    (void)s;
    assert_int_equal(schedule_may(&t, &forced, 30 * S, NOW), SCHEDULE_GO);
    schedule_succeeded(&t, true, NOW);
    assert_int_equal(schedule_may(&t, &forced, 30 * S, NOW + 30 * S - 1), SCHEDULE_RECENT);
    assert_int_equal(schedule_may(&t, &forced, 30 * S, NOW + 30 * S), SCHEDULE_GO);
    assert_int_equal(schedule_may(&t, &forced, 0, NOW), SCHEDULE_GO);
    schedule_failed(&t, MSG_TRANSIENT, 0, false, 0, NOW + 40 * S); /* nothing was sent: it does not count */
    assert_int_equal(schedule_may(&t, &forced, 30 * S, NOW + 60 * S), SCHEDULE_GO);
}

static void test_pauses_double_up_to_their_caps(void **s)
{
    static const struct {
        enum msg_class failure;
        int64_t urgent_cap_ms, quiet_least_ms, quiet_cap_ms;
    } rows[] = {
        { MSG_TRANSIENT, 5 * S, 0, 5 * M }, { MSG_AMBIGUOUS, 5 * S, 0, 5 * M }, { MSG_CONFIG_ERROR, M, 5 * M, 15 * M },
        { MSG_STORE, 5 * S, 0, M },         { MSG_THROTTLE, M, S, 5 * M + S },
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct schedule_tries t = { 0 };
        for (int n = 0; n < 100; n++) {
            uint64_t random = (uint64_t)n * UINT64_C(0x9e3779b97f4a7c15);
            schedule_failed(&t, rows[i].failure, 0, false, random, NOW);
            assert_in_range(t.urgent_ms, NOW + 1, NOW + rows[i].urgent_cap_ms);
            assert_in_range(t.quiet_ms, NOW + 1 + rows[i].quiet_least_ms, NOW + rows[i].quiet_cap_ms);
        }
    }
}

static void test_the_first_pause_of_a_waiter_is_200_ms_at_most(void **s)
{
    struct schedule_tries t = { 0 };
    (void)s;
    schedule_failed(&t, MSG_TRANSIENT, 0, false, 199, NOW);
    assert_int_equal(t.urgent_ms, NOW + 200);
    schedule_failed(&t, MSG_TRANSIENT, 0, false, 399, NOW);
    assert_int_equal(t.urgent_ms, NOW + 400);
    schedule_failed(&t, MSG_STORE, 0, false, 399, NOW); /* another class begins anew */
    assert_int_equal(t.urgent_ms, NOW + 200);
    assert_int_equal(schedule_may(&t, &waits, 0, NOW), SCHEDULE_LATER);
    assert_int_equal(schedule_may(&t, &waits, 0, NOW + 200), SCHEDULE_GO);
}

static void test_retry_after_holds_everybody(void **s)
{
    struct schedule_tries t = { 0 };
    (void)s;
    schedule_failed(&t, MSG_THROTTLE, 120 * S, false, 0, NOW);
    assert_int_equal(schedule_may(&t, &waits, 0, NOW + 120 * S - 1), SCHEDULE_LATER);
    assert_int_equal(schedule_may(&t, &waits, 0, NOW + 120 * S), SCHEDULE_GO);
    schedule_hold(&t, NOW + 10 * S);
    assert_int_equal(t.urgent_ms, NOW + 120 * S); /* never sooner */
}

static void test_the_first_pause_is_as_long_as_the_server_said_and_then_longer(void **s)
{
    struct schedule_tries t = { 0 };
    (void)s;
    schedule_failed(&t, MSG_THROTTLE, S, false, UINT64_MAX, NOW);
    assert_int_equal(t.urgent_ms, NOW + S);
    for (int n = 0; n < 5; n++)
        schedule_failed(&t, MSG_THROTTLE, S, false, 59999, NOW);
    assert_int_equal(t.urgent_ms, NOW + M);
}

static void test_a_pause_that_others_were_asked_for_is_no_failure_of_ours(void **s)
{
    struct schedule_tries t = { 0 };
    (void)s;
    for (int n = 0; n < 10; n++)
        schedule_throttled(&t, NOW + 3 * S);
    assert_int_equal(t.urgent_ms, NOW + 3 * S);
    assert_int_equal(t.failures, 0);
    assert_true(t.failed);
    assert_int_equal(t.failure, MSG_THROTTLE);
    assert_int_equal(schedule_may(&t, &waits, 0, NOW + 3 * S), SCHEDULE_GO);
}

static void test_dead_is_stuck_for_an_hour_or_until_something_changes(void **s)
{
    struct schedule_tries t = { 0 };
    struct schedule_times at = times_of(60 * M, 0);
    (void)s;
    schedule_failed(&t, MSG_DEAD, 0, false, 0, NOW);
    int64_t next_ms = schedule_next_ms(&t, &at, true, NOW);
    assert_in_range(next_ms, NOW + 60 * M, NOW + 70 * M); /* a wrong verdict heals */
    assert_int_equal(schedule_may(&t, &waits, 0, next_ms - 1), SCHEDULE_STUCK);
    assert_int_equal(schedule_may(&t, &waits, 0, next_ms), SCHEDULE_GO);
    schedule_unstick(&t);
    assert_int_equal(schedule_may(&t, &waits, 0, NOW), SCHEDULE_GO);
    schedule_failed(&t, MSG_DEAD, 20 * M, false, 0, NOW); /* somebody else has looked 40 minutes ago */
    assert_int_equal(schedule_next_ms(&t, &at, true, NOW), NOW + 20 * M);
}

static void test_the_background_pass_looks_when_it_is_due_and_allowed(void **s)
{
    struct schedule_tries t = { 0 };
    struct schedule_times at = times_of(60 * M, 0),
                          never = { .expires_ms = MSG_NEVER, .mandatory_ms = MSG_NEVER, .advisory_ms = MSG_NEVER };
    (void)s;
    assert_int_equal(schedule_next_ms(&t, &at, true, NOW), NOW + 48 * M);
    assert_int_equal(schedule_next_ms(&t, &at, true, NOW + 50 * M), NOW + 50 * M);
    assert_int_equal(schedule_next_ms(&t, &never, true, NOW), MSG_NEVER);
    assert_int_equal(schedule_next_ms(&t, &never, false, NOW), NOW); /* nothing there: at once */
    schedule_failed(&t, MSG_TRANSIENT, 100 * S, false, 0, NOW);
    assert_int_equal(schedule_next_ms(&t, &never, false, NOW), NOW + 100 * S);
    schedule_unstick(&t);
    schedule_skipped(&t, NOW);
    assert_int_equal(schedule_next_ms(&t, &never, false, NOW), NOW + 5 * S);
    assert_int_equal(schedule_may(&t, &waits, 0, NOW), SCHEDULE_GO); /* a skip delays nobody who waits */
}

static void the_pace_of_forced_refreshes_follows_short_lives_and_yields_when_one_is_due(void **unused)
{
    (void)unused;
    static const struct {
        const char *what;
        int64_t lifetime_ms, age_ms, pace_ms;
    } rows[] = {
        { "an hour's token keeps the configured floor", 60 * M, 0, 30 * S },
        { "a token of two seconds has a floor of half a second", 2 * S, 0, 500 },
        { "in the advisory window a refresh is due anyway", 60 * M, 55 * M, 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct schedule_life life = { WALL - rows[i].age_ms, WALL - rows[i].age_ms + rows[i].lifetime_ms, 0, 0 };
        struct schedule_times t = schedule_times(&life, 0, NOW, WALL);
        if (schedule_pace(&t, 30 * S, NOW) != rows[i].pace_ms)
            fail_msg("%s: %lld", rows[i].what, (long long)schedule_pace(&t, 30 * S, NOW));
    }
    const struct schedule_life unknown = { WALL, 0, 0, 0 };
    struct schedule_times t = schedule_times(&unknown, 0, NOW, WALL);
    assert_int_equal(schedule_pace(&t, 30 * S, NOW), 30 * S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pace_of_forced_refreshes_follows_short_lives_and_yields_when_one_is_due),
        cmocka_unit_test(test_windows_follow_the_lifetime),
        cmocka_unit_test(test_jitter_shortens_the_advisory_window_by_a_tenth_at_most),
        cmocka_unit_test(test_a_token_from_the_future_lives_no_longer_than_a_new_one),
        cmocka_unit_test(test_the_servers_hint_wins_but_not_over_the_end),
        cmocka_unit_test(test_a_refresh_token_that_ends_first_is_used_before_its_end),
        cmocka_unit_test(test_an_unknown_end_is_never),
        cmocka_unit_test(test_stored_times_are_turned_to_this_processs_clock),
        cmocka_unit_test(test_the_same_token_again_is_asked_for_at_half_its_remaining_time),
        cmocka_unit_test(test_the_predicate),
        cmocka_unit_test(test_merged_needs_cover_both),
        cmocka_unit_test(test_eager_tries_keep_30_seconds_apart_and_waiters_do_not_care),
        cmocka_unit_test(test_one_forced_refresh_per_floor),
        cmocka_unit_test(test_pauses_double_up_to_their_caps),
        cmocka_unit_test(test_the_first_pause_of_a_waiter_is_200_ms_at_most),
        cmocka_unit_test(test_retry_after_holds_everybody),
        cmocka_unit_test(test_the_first_pause_is_as_long_as_the_server_said_and_then_longer),
        cmocka_unit_test(test_a_pause_that_others_were_asked_for_is_no_failure_of_ours),
        cmocka_unit_test(test_dead_is_stuck_for_an_hour_or_until_something_changes),
        cmocka_unit_test(test_the_background_pass_looks_when_it_is_due_and_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
