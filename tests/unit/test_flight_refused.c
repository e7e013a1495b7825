/* links: tests/fakes/fake_clock.c tests/fakes/fake_timer.c tests/fakes/fake_store.c tests/fakes/fake_fetch.c
 * tests/fakes/fake_journal.c tests/fakes/fake_command.c */
/* The flight when the token endpoint refuses: pauses, dead refresh tokens, lost races, verdicts that may be wrong. */
#include "tests/fakes/flight_world.h"

/* ---- the token host wants a pause ---- */

static void throttle_with(struct slice retry_after)
{
    fake_fetch.pending = false;
    fake_fetch.fn(fake_fetch.arg, &(struct fetch_answer){ .status = 429, .sent = true, .retry_after = retry_after });
}

static void test_a_pause_is_in_the_store_before_the_lease_is_free(void **s)
{
    static const struct {
        const char *retry_after;
        int64_t ms;
    } rows[] = { { "7", 7000 }, { "0", 1000 }, { "86400", 300000 }, { "", 5000 }, { "soon", 5000 } };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        teardown(NULL);
        setup(NULL);
        to_fetch();
        throttle_with(slice_str(rows[i].retry_after));
        in("throttle");
        assert_int_equal(w.store.throttled_ms, rows[i].ms);
        assert_true(w.store.leased);
        assert_int_equal(fake_journal.kind, JOURNAL_NONE); /* nothing was spent */
        settle();
        failed(MSG_THROTTLE);
        assert_true(w.result.told);
        assert_int_equal(w.result.retry_after_ms, rows[i].ms);
        assert_int_equal(w.store.releases, 1);
    }
}

static void test_a_pause_that_the_store_does_not_take_is_told_to_our_own_keeper_all_the_same(void **s)
{
    (void)s;
    to_fetch();
    throttle_with(SLICE("7"));
    w.store.down = true;
    settle();
    failed(MSG_THROTTLE);
    assert_int_equal(w.result.retry_after_ms, 7000);
    assert_int_equal(w.events[FLIGHT_THROTTLE_UNSHARED], 1);
}

static void test_a_pause_that_others_were_asked_for_is_kept(void **s)
{
    (void)s;
    w.store.throttled_ms = 42000;
    start(MSG_MISSING, 0, false, false);
    settle();
    failed(MSG_THROTTLE);
    assert_false(w.result.told);
    assert_false(w.result.requested);
    assert_int_equal(w.result.retry_after_ms, 42000);
    assert_int_equal(fake_fetch.starts, 0);
    assert_int_equal(w.store.begins + w.store.releases, 2);
    assert_int_equal(w.store.throttles, 0); /* told once more by everybody who hears of it, a pause would never end */
}

static void test_a_pause_that_comes_between_lease_and_request_is_kept_too(void **s)
{
    (void)s;
    start(MSG_MISSING, 0, false, false);
    fake_timer_next(0);
    fake_store_answer(&w.store);
    in("confirm");
    w.store.throttled_ms = 1000;
    settle();
    failed(MSG_THROTTLE);
    assert_int_equal(fake_fetch.starts, 0);
    assert_int_equal(fake_journal.kind, JOURNAL_NONE);
}

static void test_a_pause_binds_a_keeper_that_has_no_lease_as_well(void **s)
{
    (void)s;
    w.env.on_lock_error = ON_LOCK_ERROR_PROCEED;
    start(MSG_MISSING, 0, false, false);
    w.store.down = true;
    settle();
    in("degraded");
    w.store.down = false;
    w.store.throttled_ms = 9000;
    fake_timer_next(2000);
    settle();
    failed(MSG_THROTTLE);
    assert_int_equal(fake_fetch.starts, 0);
}

static void test_a_pause_keeps_no_token_back(void **s)
{
    (void)s;
    w.store.throttled_ms = 42000;
    fake_store_put(&w.store, 5, "at-old", "rt-old", fake_wall_ms + 3600000);
    start(MSG_MISSING, 0, false, false);
    settle();
    ended(FLIGHT_ADOPTED);
    teardown(NULL);
    setup(NULL);
    w.store.throttled_ms = 42000;
    fake_journal.kind = JOURNAL_ANSWER; /* an answer that never reached the store */
    fake_journal.parent_gen = 5;
    assert_int_equal(state_copy(&fake_journal.state, &w.known), 0);
    assert_int_equal(secret_set(&fake_journal.state.access_token, SLICE("at-new")), 0);
    start(MSG_MISSING, 0, false, true);
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(w.store.stored.generation, 6);
}

static void ambiguous_once(void)
{
    to_fetch();
    fake_fetch_fail(true, "reset");
    in("recover");
    settle();
}

static void test_an_unknown_outcome_is_reread_and_tried_once_more_with_the_same_token(void **s)
{
    (void)s;
    ambiguous_once();
    in("fetch");
    assert_int_equal(fake_fetch.starts, 2);
    assert_non_null(strstr(fake_fetch.body, "rt-old"));
    fake_fetch_say(200, GOOD);
    settle();
    ended(FLIGHT_REFRESHED);
}

static void test_two_unknown_outcomes_leave_the_intent_in_the_journal(void **s)
{
    static const int statuses[] = { 500, 503, 408 };
    (void)s;
    for (size_t i = 0; i < 3; i++) {
        teardown(NULL);
        setup(NULL);
        ambiguous_once();
        fake_fetch_say(statuses[i], "");
        settle();
        failed(MSG_AMBIGUOUS);
        assert_int_equal(fake_fetch.starts, 2);
        assert_int_equal(fake_journal.kind, JOURNAL_INTENT);
        assert_int_equal(w.store.releases, 1);
    }
}

static void test_a_refusal_after_an_unknown_outcome_says_what_was_probably_lost(void **s)
{
    (void)s;
    ambiguous_once();
    refused_twice(400, "{\"error\":\"invalid_grant\"}");
    failed(MSG_DEAD);
    assert_non_null(strstr(w.text, "rotation probably lost in flight"));
}

static void test_an_unknown_outcome_whose_token_was_stored_by_another_is_success(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_fail(true, "reset");
    fake_store_put(&w.store, 6, "at-other", "rt-other", fake_wall_ms + 3600000);
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(fake_fetch.starts, 1);
    assert_int_equal(w.published_gen, 6);
}

static void test_another_refusal_after_an_unknown_outcome_keeps_the_intent(void **s)
{
    (void)s;
    ambiguous_once();
    fake_fetch_say(429, "");
    settle();
    failed(MSG_THROTTLE);
    assert_int_equal(fake_journal.kind, JOURNAL_INTENT);
}

static void test_an_unknown_outcome_without_a_refresh_token_is_no_drama(void **s)
{
    (void)s;
    w.spec.grant = GRANT_CLIENT_CREDENTIALS;
    to_fetch();
    fake_fetch_fail(true, "reset");
    settle();
    failed(MSG_AMBIGUOUS);
    assert_int_equal(fake_fetch.starts, 1);
    assert_int_equal(w.store.loads, 0);
}

/* ---- dead, or a lost race ---- */

static void test_a_refused_token_that_is_still_the_stored_one_is_buried_by_compare_and_swap(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_say(400, "{\"error\":\"invalid_grant\",\"error_description\":\"rt-old is bad\"}");
    in("recover");
    settle();
    failed(MSG_DEAD);
    assert_int_equal(w.store.parent_gen, 5);
    assert_int_equal(w.store.stored.generation, 6);
    assert_string_equal(w.store.stored.dead_fp, fake_journal.refresh_fp);
    assert_true(slice_eq(secret_peek(&w.store.stored.access_token), SLICE("at-old"))); /* it serves until it expires */
    assert_string_equal(w.published_dead, w.store.stored.dead_fp);
    assert_int_equal(fake_journal.kind, JOURNAL_NONE);
    assert_null(strstr(w.text, "rt-old")); /* a description may echo anything */
}

static void test_a_refused_token_that_has_a_stored_successor_is_a_recovered_race(void **s)
{
    (void)s;
    to_fetch();
    fake_store_put(&w.store, 6, "at-winner", "rt-winner", fake_wall_ms + 3600000);
    fake_fetch_say(400, "{\"error\":\"invalid_grant\"}");
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(w.published_gen, 6);
    assert_int_equal(w.events[FLIGHT_RACE_RECOVERED], 1);
    assert_int_equal(w.store.commits, 0);
}

static void test_while_another_owner_may_store_a_refusal_is_no_verdict(void **s)
{
    (void)s;
    lose_lease_and_be_refused();
    for (int i = 0; i < 50; i++) {
        fake_timer_run(400);
        settle();
        in("recover_wait");
    }
    fake_store_put(&w.store, 6, "at-winner", "rt-winner", fake_wall_ms + 3600000);
    flight_wake(w.flight);
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(w.store.commits, 0);
}

/* The server has taken it, and the store must know before the hold ends. */
static void test_what_nobody_understood_is_stored_at_once_whoever_has_the_lease(void **s)
{
    (void)s;
    to_fetch();
    fake_timer_run(20000);
    fake_store_say(&w.store, &(struct store_answer){ .result = STORE_LOST });
    fake_fetch_say(200, "{\"ticket\":\"x\"}");
    settle();
    failed(MSG_DEAD);
    assert_string_not_equal(w.store.stored.unread_fp, "");
    assert_in_range(fake_mono_ms, 1000000, 1000000 + LEASE_MS);
}

static void test_after_the_maximum_hold_the_verdict_falls(void **s)
{
    (void)s;
    lose_lease_and_be_refused();
    for (int i = 0; i < 1000 && w.flight; i++) {
        fake_timer_next(400);
        settle();
    }
    failed(MSG_DEAD);
    assert_in_range(fake_mono_ms, 1000000 + 5 * LEASE_MS, 1000000 + 5 * LEASE_MS + 500);
}

static void test_a_verdict_never_overwrites_a_newer_generation(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_say(400, "{\"error\":\"invalid_grant\"}");
    fake_store_answer(&w.store); /* the re-read: unchanged */
    in("mark_dead");
    fake_store_put(&w.store, 6, "at-late", "rt-late", fake_wall_ms + 3600000);
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(w.published_gen, 6);
    assert_string_equal(w.published_dead, "");
    assert_string_equal(w.store.stored.dead_fp, "");
}

static void test_a_verdict_that_the_store_does_not_take_stands_in_memory(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_say(400, "{\"error\":\"invalid_grant\"}");
    fake_store_answer(&w.store);
    in("mark_dead");
    w.store.down = true;
    settle();
    failed(MSG_DEAD);
    assert_int_equal(w.events[FLIGHT_PERSIST_FAILED], 1);
    assert_int_equal(w.store.commits, 3);
    assert_string_not_equal(w.published_dead, "");
}

static void test_no_verdict_while_the_store_cannot_be_read(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_say(400, "{\"error\":\"invalid_grant\"}");
    w.store.down = true;
    settle();
    in("recover_wait");
    for (int i = 0; i < 1000 && w.flight; i++) {
        fake_timer_next(400);
        settle();
    }
    failed(MSG_STORE);
    assert_int_equal(w.store.commits, 0);
    assert_true(w.events[FLIGHT_REREAD_FAILED] > 1);
}

static void test_a_dead_token_is_not_sent_again_until_the_configured_one_differs(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_say(400, "{\"error\":\"invalid_grant\"}");
    settle();
    failed(MSG_DEAD);
    assert_int_equal(state_copy(&w.known, &w.store.stored), 0);
    w.ended = 0;
    w.store.begins = 0;
    start(MSG_MISSING, 0, false, false);
    settle();
    failed(MSG_DEAD);
    assert_int_equal(fake_fetch.starts, 1);
    w.spec.refresh_token = (struct secret_ref){ SECRET_REF_INLINE, "rt-old", NULL }; /* the same one */
    w.ended = 0;
    w.store.begins = 0;
    start(MSG_MISSING, 0, false, false);
    settle();
    failed(MSG_DEAD);
    assert_int_equal(fake_fetch.starts, 1);
    w.spec.refresh_token.name = "rt-by-a-person";
    w.ended = 0;
    w.store.begins = 0;
    start(MSG_MISSING, 0, false, false);
    settle();
    in("fetch");
    assert_non_null(strstr(fake_fetch.body, "rt-by-a-person"));
    fake_fetch_say(200, GOOD);
    settle();
    ended(FLIGHT_REFRESHED);
    assert_string_equal(w.store.stored.dead_fp, "");
}

static void test_the_losing_child_gets_one_fallback_try(void **s)
{
    (void)s;
    assert_int_equal(secret_set(&w.store.stored.alt_refresh, SLICE("rt-alt")), 0);
    to_fetch();
    fake_fetch_say(400, "{\"error\":\"invalid_grant\"}");
    settle();
    in("fetch");
    assert_non_null(strstr(fake_fetch.body, "rt-alt"));
    fake_fetch_say(400, "{\"error\":\"invalid_grant\"}");
    settle();
    failed(MSG_DEAD);
    assert_int_equal(fake_fetch.starts, 2);
    assert_true(secret_empty(&w.store.stored.alt_refresh));
    /* The verdict names the stored token: the next flight must not send it. */
    char fp[9];
    assert_string_equal(w.store.stored.dead_fp, seal_fingerprint(w.env.ring, SLICE("rt-old"), fp));
}

static void dead_with(const char *alt, const char *seed)
{
    char fp[9];
    seal_fingerprint(w.env.ring, SLICE("rt-old"), fp);
    memcpy(w.store.stored.dead_fp, fp, sizeof fp);
    assert_int_equal(secret_set(&w.store.stored.alt_refresh, slice_str(alt)), 0);
    w.spec.refresh_token = (struct secret_ref){ SECRET_REF_INLINE, (char *)(uintptr_t)seed, NULL };
}

static void test_a_dead_token_has_a_losing_child_to_fall_back_on(void **s)
{
    (void)s;
    dead_with("rt-alt", "rt-seed");
    to_fetch();
    assert_non_null(strstr(fake_fetch.body, "rt-alt"));
}

static void test_the_configured_token_is_spent_once(void **s)
{
    (void)s;
    dead_with("", "rt-seed");
    to_fetch();
    assert_non_null(strstr(fake_fetch.body, "rt-seed"));
    fake_fetch_say(200, GOOD);
    settle();
    ended(FLIGHT_REFRESHED);
    assert_string_not_equal(w.store.stored.seed_fp, ""); /* and so it is known for ever */
    w.ended = w.store.begins = 0;
    w.store.stored.expires_wall_ms = fake_wall_ms - 1;
    assert_int_equal(state_copy(&w.known, &w.store.stored), 0);
    seal_fingerprint(w.env.ring, SLICE("rt-new"), w.store.stored.dead_fp);
    w.store.stored.dead_wall_ms = fake_wall_ms;
    start(MSG_MISSING, 0, false, false);
    settle();
    failed(MSG_DEAD);
    assert_int_equal(fake_fetch.starts, 1);
}

static void test_a_refused_configured_token_leaves_the_stored_one_dead(void **s)
{
    (void)s;
    dead_with("", "rt-seed");
    to_fetch();
    char fp[9];
    fake_fetch_say(400, "{\"error\":\"invalid_grant\"}");
    settle();
    failed(MSG_DEAD);
    assert_string_equal(w.store.stored.dead_fp, seal_fingerprint(w.env.ring, SLICE("rt-old"), fp));
    assert_string_equal(w.store.stored.seed_fp, seal_fingerprint(w.env.ring, SLICE("rt-seed"), fp));
}

static void test_a_reused_token_is_named_foreign_rotation(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_say(401, "{\"error\":{\"code\":\"refresh_token_reused\"}}");
    settle();
    failed(MSG_DEAD);
    assert_non_null(strstr(w.text, "foreign_rotation"));
    assert_int_equal(w.events[FLIGHT_FOREIGN_ROTATION], 1);
}

static void test_a_token_that_one_of_ours_has_spent_is_no_foreign_rotation(void **s)
{
    (void)s;
    to_fetch();
    fake_store_put(&w.store, 6, "at-winner", "rt-winner", fake_wall_ms + 3600000);
    fake_fetch_say(401, "{\"error\":{\"code\":\"refresh_token_reused\"}}");
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(w.events[FLIGHT_FOREIGN_ROTATION], 0);
    teardown(NULL);
    setup(NULL);
    to_fetch();
    fake_fetch_fail(true, "connection reset"); /* then it was ourselves, most likely */
    settle();
    in("fetch");
    refused_twice(401, "{\"error\":{\"code\":\"refresh_token_reused\"}}");
    failed(MSG_DEAD);
    assert_int_equal(w.events[FLIGHT_FOREIGN_ROTATION], 0);
}

/* ---- verdicts that may be wrong, and the way back ---- */

static void test_a_server_that_was_busy_with_the_first_request_is_believed_only_later(void **s)
{
    (void)s;
    ambiguous_once();
    fake_fetch_say(400, "{\"error\":\"invalid_grant\"}");
    settle();
    in("pause");
    fake_timer_next(FLIGHT_LOOK_AGAIN_MS);
    settle();
    in("fetch");
    fake_fetch_say(200, GOOD); /* it does not rotate, or has a grace */
    settle();
    ended(FLIGHT_REFRESHED);
    assert_string_equal(w.store.stored.dead_fp, "");
}

static void test_what_a_gateway_may_have_said_must_be_said_twice(void **s)
{
    static const char *const seconds[] = { "{\"error\":\"invalid_token\"}", "", GOOD };
    (void)s;
    for (size_t i = 0; i < 3; i++) {
        teardown(NULL);
        setup(NULL);
        to_fetch();
        fake_fetch_say(401, "{\"error\":\"invalid_token\"}");
        settle();
        in("pause");
        fake_timer_next(FLIGHT_LOOK_AGAIN_MS);
        settle();
        in("fetch");
        fake_fetch_say(i == 2 ? 200 : 401, seconds[i]);
        settle();
        if (i == 0)
            failed(MSG_DEAD);
        else if (i == 1)
            failed(MSG_TRANSIENT);
        else
            ended(FLIGHT_REFRESHED);
        assert_int_equal(w.store.stored.dead_fp[0] != '\0', i == 0);
    }
}

static void test_a_pause_before_the_second_look_ends_with_the_drain(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_say(401, "{\"error\":\"invalid_token\"}");
    settle();
    in("pause");
    flight_drain(w.flight);
    settle();
    ended(FLIGHT_FAILED);
    assert_string_equal(w.store.stored.dead_fp, "");
}

static void test_refusals_that_nobody_knows_become_a_verdict(void **s)
{
    struct refusals counted = { .count = 0 };
    (void)s;
    for (int i = 0; i < 5; i++) {
        w.ended = w.store.begins = 0;
        start(MSG_MISSING, 0, false, false);
        flight_count_refusals(w.flight, &counted);
        settle();
        in("fetch");
        fake_fetch_say(400, "{\"error\":\"invalid_request\",\"error_description\":\"No session for rt-old\\n\"}");
        settle();
        failed(i < 4 ? MSG_CONFIG_ERROR : MSG_DEAD);
        assert_int_equal(w.store.stored.dead_fp[0] != '\0', i == 4);
        fake_mono_ms += 150000;
    }
    assert_non_null(strstr(w.text, "HTTP 400, error invalid_request: \"No session for ****** \"")); /* never a token */
}

static void test_a_grant_without_a_refresh_token_never_needs_a_person(void **s)
{
    struct refusals counted = { .count = 0 };
    (void)s;
    w.spec.grant = GRANT_CLIENT_CREDENTIALS;
    for (int i = 0; i < 10; i++) {
        w.ended = w.store.begins = 0;
        start(MSG_MISSING, 0, false, false);
        flight_count_refusals(w.flight, &counted);
        settle();
        fake_fetch_say(400, "{\"error\":\"invalid_request\"}");
        settle();
        failed(MSG_CONFIG_ERROR);
        fake_mono_ms += 600000;
    }
    assert_int_equal(w.store.commits, 0);
}

static void test_a_dead_token_is_tried_once_an_hour_whoever_was_last(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_say(400, "{\"error\":\"invalid_grant\"}");
    settle();
    failed(MSG_DEAD);
    fake_wall_ms += 3599000;
    again(false);
    failed(MSG_DEAD);
    assert_int_equal(fake_fetch.starts, 1);
    assert_int_equal(w.result.retry_after_ms, 1000);
    fake_wall_ms += 1000;
    again(false);
    in("fetch");
    fake_fetch_say(400, "{\"error\":\"invalid_grant\"}");
    settle();
    failed(MSG_DEAD);
    again(false);
    failed(MSG_DEAD);
    assert_int_equal(fake_fetch.starts, 2);
    w.ended = w.store.begins = 0;
    start(MSG_MISSING, 0, false, false);
    flight_probe(w.flight); /* another client secret */
    settle();
    in("fetch");
    fake_fetch_say(200, GOOD);
    settle();
    ended(FLIGHT_REFRESHED);
    assert_string_equal(w.store.stored.dead_fp, "");
    assert_int_equal(w.store.stored.dead_wall_ms, 0);
}

static void test_a_token_that_we_know_as_spent_is_never_tried_again(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_say(200, "{\"ticket\":1}"); /* a success that nobody understands */
    settle();
    failed(MSG_DEAD);
    fake_wall_ms += 24 * 3600000;
    w.ended = w.store.begins = 0;
    assert_int_equal(state_copy(&w.known, &w.store.stored), 0);
    start(MSG_MISSING, 0, false, false);
    flight_probe(w.flight);
    settle();
    failed(MSG_DEAD);
    assert_int_equal(fake_fetch.starts, 1);
}

static void configured(const char *token)
{
    w.spec.refresh_token = (struct secret_ref){ SECRET_REF_INLINE, (char *)(uintptr_t)token, NULL };
}

static void test_a_new_configured_token_is_tried_once_while_the_stored_one_lives(void **s)
{
    (void)s;
    fake_store_put(&w.store, 5, "at-old", "rt-old", fake_wall_ms + 3600000); /* and nothing is due */
    configured("rt-person");
    again(true);
    in("fetch");
    assert_non_null(strstr(fake_fetch.body, "rt-person"));
    fake_fetch_say(200, GOOD);
    settle();
    ended(FLIGHT_REFRESHED);
    assert_true(w.result.looked);
    assert_true(slice_eq(secret_peek(&w.store.stored.refresh_token), SLICE("rt-new")));
    again(true);
    ended(FLIGHT_ADOPTED);
    assert_true(w.result.looked);
    assert_int_equal(fake_fetch.starts, 1);
}

static void test_a_refused_configured_token_is_known_and_the_stored_one_goes_on(void **s)
{
    char fp[9];
    (void)s;
    configured("rt-person");
    again(true); /* the stored access token has ended */
    in("fetch");
    assert_non_null(strstr(fake_fetch.body, "rt-person"));
    fake_fetch_say(400, "{\"error\":\"invalid_request\"}");
    settle();
    in("fetch");
    assert_non_null(strstr(fake_fetch.body, "rt-old"));
    fake_fetch_say(200, GOOD);
    settle();
    ended(FLIGHT_REFRESHED);
    assert_true(w.result.looked);
    assert_true(state_has_tried(&w.store.stored, seal_fingerprint(w.env.ring, SLICE("rt-person"), fp)));
    assert_string_equal(w.store.stored.seed_fp, "");
    assert_int_equal(fake_journal.kind, JOURNAL_NONE);
    w.store.stored.expires_wall_ms = fake_wall_ms - 1;
    again(true); /* another keeper, or after a restart */
    in("fetch");
    assert_non_null(strstr(fake_fetch.body, "rt-new"));
}

static void test_a_configured_token_that_was_not_judged_is_tried_again(void **s)
{
    static const struct {
        int status;
        const char *body;
        enum msg_class failure;
    } rows[] = {
        { 401, "{\"error\":\"invalid_client\"}", MSG_CONFIG_ERROR },
        { 429, "", MSG_THROTTLE },
        { 403, "<html>Just a moment</html>", MSG_TRANSIENT },
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        teardown(NULL);
        setup(NULL);
        configured("rt-person");
        again(true);
        fake_fetch_say(rows[i].status, rows[i].body);
        settle();
        failed(rows[i].failure);
        assert_false(w.result.looked);
        assert_string_equal(w.store.stored.tried, "");
        w.store.throttled_ms = 0;
        again(true);
        in("fetch");
        assert_non_null(strstr(fake_fetch.body, "rt-person"));
        fake_fetch_fail(false, "no route");
        settle();
    }
}

static void test_a_configured_token_that_cannot_be_read_stops_nothing(void **s)
{
    (void)s;
    static const struct secret_ref rows[] = { { SECRET_REF_FILE, "/nonexistent/token", NULL },
                                              { SECRET_REF_INLINE, "rt\nnew", NULL } };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        teardown(NULL);
        setup(NULL);
        w.spec.refresh_token = rows[i];
        again(true);
        in("fetch");
        assert_non_null(strstr(fake_fetch.body, "rt-old"));
    }
}

static void test_a_reset_forgets_what_was_tried_and_found_dead(void **s)
{
    (void)s;
    configured("rt-person");
    w.store.stored.dead_wall_ms = fake_wall_ms;
    seal_fingerprint(w.env.ring, SLICE("rt-old"), w.store.stored.dead_fp);
    seal_fingerprint(w.env.ring, SLICE("rt-person"), w.store.stored.tried);
    memcpy(w.store.stored.seed_fp, w.store.stored.tried, 9);
    again(true);
    failed(MSG_DEAD);
    assert_int_equal(fake_fetch.starts, 0);
    assert_int_equal(state_copy(&w.known, &w.store.stored), 0);
    w.ended = w.store.begins = 0;
    start(MSG_FORCED, 5, false, false);
    flight_reset(w.flight);
    settle();
    in("fetch");
    assert_non_null(strstr(fake_fetch.body, "rt-person"));
    assert_string_equal(w.store.stored.tried, "");
    assert_string_equal(w.store.stored.dead_fp, "");
    fake_fetch_say(400, "{\"error\":\"invalid_grant\"}");
    settle();
    in("fetch"); /* and the stored one has its chance as well */
    assert_non_null(strstr(fake_fetch.body, "rt-old"));
    fake_fetch_say(200, GOOD);
    settle();
    ended(FLIGHT_REFRESHED);
    assert_true(w.result.reset);
}

static void test_a_reset_does_not_spend_what_began_a_chain_that_lives(void **s)
{
    (void)s;
    configured("rt-person");
    seal_fingerprint(w.env.ring, SLICE("rt-person"), w.store.stored.seed_fp);
    assert_int_equal(state_copy(&w.known, &w.store.stored), 0);
    start(MSG_FORCED, 5, false, false);
    flight_reset(w.flight);
    settle();
    in("fetch");
    assert_non_null(strstr(fake_fetch.body, "rt-old"));
}

static void test_told_to_come_later_nobody_sends_the_token_again(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_say_later(503, "", "20");
    settle();
    failed(MSG_THROTTLE);
    assert_int_equal(fake_fetch.starts, 1);
    assert_int_equal(w.store.throttled_ms, 20000);       /* every machine knows */
    assert_int_equal(fake_journal.kind, JOURNAL_INTENT); /* it may have acted all the same */
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_pause_is_in_the_store_before_the_lease_is_free),
        T(a_pause_that_the_store_does_not_take_is_told_to_our_own_keeper_all_the_same),
        T(a_pause_that_others_were_asked_for_is_kept),
        T(a_pause_that_comes_between_lease_and_request_is_kept_too),
        T(a_pause_binds_a_keeper_that_has_no_lease_as_well),
        T(a_pause_keeps_no_token_back),
        T(an_unknown_outcome_is_reread_and_tried_once_more_with_the_same_token),
        T(two_unknown_outcomes_leave_the_intent_in_the_journal),
        T(a_refusal_after_an_unknown_outcome_says_what_was_probably_lost),
        T(an_unknown_outcome_whose_token_was_stored_by_another_is_success),
        T(another_refusal_after_an_unknown_outcome_keeps_the_intent),
        T(an_unknown_outcome_without_a_refresh_token_is_no_drama),
        T(a_refused_token_that_is_still_the_stored_one_is_buried_by_compare_and_swap),
        T(a_refused_token_that_has_a_stored_successor_is_a_recovered_race),
        T(while_another_owner_may_store_a_refusal_is_no_verdict),
        T(what_nobody_understood_is_stored_at_once_whoever_has_the_lease),
        T(after_the_maximum_hold_the_verdict_falls),
        T(a_verdict_never_overwrites_a_newer_generation),
        T(a_verdict_that_the_store_does_not_take_stands_in_memory),
        T(no_verdict_while_the_store_cannot_be_read),
        T(a_dead_token_is_not_sent_again_until_the_configured_one_differs),
        T(the_losing_child_gets_one_fallback_try),
        T(a_reused_token_is_named_foreign_rotation),
        T(a_token_that_one_of_ours_has_spent_is_no_foreign_rotation),
        T(a_dead_token_has_a_losing_child_to_fall_back_on),
        T(the_configured_token_is_spent_once),
        T(a_refused_configured_token_leaves_the_stored_one_dead),
        T(a_server_that_was_busy_with_the_first_request_is_believed_only_later),
        T(what_a_gateway_may_have_said_must_be_said_twice),
        T(a_pause_before_the_second_look_ends_with_the_drain),
        T(refusals_that_nobody_knows_become_a_verdict),
        T(a_grant_without_a_refresh_token_never_needs_a_person),
        T(a_dead_token_is_tried_once_an_hour_whoever_was_last),
        T(a_token_that_we_know_as_spent_is_never_tried_again),
        T(a_new_configured_token_is_tried_once_while_the_stored_one_lives),
        T(a_refused_configured_token_is_known_and_the_stored_one_goes_on),
        T(a_configured_token_that_was_not_judged_is_tried_again),
        T(a_configured_token_that_cannot_be_read_stops_nothing),
        T(a_reset_forgets_what_was_tried_and_found_dead),
        T(a_reset_does_not_spend_what_began_a_chain_that_lives),
        T(told_to_come_later_nobody_sends_the_token_again),
    };
    log_setup("test", LOG_ERROR + 1, LOG_LOGFMT, 2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
