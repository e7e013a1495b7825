/* links: tests/fakes/fake_clock.c tests/fakes/fake_timer.c tests/fakes/fake_store.c tests/fakes/fake_fetch.c
 * tests/fakes/fake_journal.c tests/fakes/fake_command.c */
/* The flight from its response to the store, and the journal after a crash. */
#include "tests/fakes/flight_world.h"

/* ---- commit ---- */

static void test_a_store_that_is_down_gets_the_answer_again_and_again(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_say(200, GOOD);
    w.store.down = true;
    for (int i = 0; i < 20; i++) {
        settle();
        in("commit_wait");
        fake_timer_next(20000);
    }
    assert_in_range(w.store.commits, 5, 21);
    assert_int_equal(fake_journal.kind, JOURNAL_ANSWER);
    assert_int_equal(w.events[FLIGHT_PERSIST_FAILED], w.store.commits - (w.store.pending == FAKE_COMMIT));
    w.store.down = false;
    for (int i = 0; i < 5 && w.flight; i++) {
        settle();
        fake_timer_next(20000);
    }
    ended(FLIGHT_REFRESHED);
    assert_int_equal(w.store.stored.generation, 6);
    assert_int_equal(fake_journal.kind, JOURNAL_NONE);
}

static void test_a_commit_whose_answer_was_lost_is_recognised(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_say(200, GOOD);
    assert_int_equal(state_copy(&w.store.stored, &w.store.committed), 0); /* it was written … */
    w.store.stored.generation = 6;
    /* … and the answer lost */
    fake_store_say(&w.store, &(struct store_answer){ .result = STORE_ERROR, .error = "cut" });
    in("commit_wait");
    fake_timer_next(1000);
    settle();
    ended(FLIGHT_REFRESHED);
    assert_int_equal(w.store.stored.generation, 6);
}

static void test_a_losing_answer_is_kept_beside_the_winner(void **s)
{
    (void)s;
    to_fetch();
    fake_store_put(&w.store, 6, "at-winner", "rt-winner", fake_wall_ms + 3600000);
    fake_fetch_say(200, GOOD);
    assert_string_equal(w.published_token, "at-new");
    settle();
    ended(FLIGHT_ADOPTED);
    assert_non_null(strstr(w.text, "double_spend"));
    assert_int_equal(w.events[FLIGHT_DOUBLE_SPEND], 1);
    assert_string_equal(w.published_token, "at-winner");
    assert_int_equal(w.published_gen, 7);
    assert_true(slice_eq(secret_peek(&w.store.stored.refresh_token), SLICE("rt-winner")));
    assert_true(slice_eq(secret_peek(&w.store.stored.alt_refresh), SLICE("rt-new")));
    assert_int_equal(fake_journal.kind, JOURNAL_NONE);
}

static void test_where_nothing_is_spent_nothing_is_spent_twice(void **s)
{
    (void)s;
    w.spec.grant = GRANT_CLIENT_CREDENTIALS;
    to_fetch();
    fake_store_put(&w.store, 6, "at-winner", "", fake_wall_ms + 3600000);
    fake_fetch_say(200, "{\"access_token\":\"at-new\",\"expires_in\":60}");
    settle();
    ended(FLIGHT_ADOPTED);
    assert_null(strstr(w.text, "double_spend"));
    assert_int_equal(w.events[FLIGHT_DOUBLE_SPEND], 0);
    assert_string_equal(w.published_token, "at-winner");
}

static void test_an_answer_overrules_a_verdict_on_the_token_that_brought_it(void **s)
{
    (void)s;
    to_fetch();
    fake_store_put(&w.store, 6, "at-old", "rt-old", fake_wall_ms - 1000);
    seal_fingerprint(w.env.ring, SLICE("rt-old"), w.store.stored.dead_fp);
    fake_fetch_say(200, GOOD);
    settle();
    ended(FLIGHT_REFRESHED);
    assert_int_equal(w.store.stored.generation, 7);
    assert_string_equal(w.store.stored.dead_fp, "");
    assert_true(slice_eq(secret_peek(&w.store.stored.refresh_token), SLICE("rt-new")));
}

static void test_an_answer_whose_child_is_stored_already_is_no_fallback(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_say(200, GOOD);
    /* ours was stored, and the answer to that was slow */
    fake_store_put(&w.store, 7, "at-child", "rt-child", fake_wall_ms + 3600000);
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(w.published_gen, 7);
    assert_true(secret_empty(&w.store.stored.alt_refresh));
    assert_int_equal(w.events[FLIGHT_DOUBLE_SPEND], 0);
}

static void test_a_losing_answer_that_loses_again_gives_up(void **s)
{
    (void)s;
    to_fetch();
    fake_store_put(&w.store, 6, "at-winner", "rt-winner", fake_wall_ms + 3600000);
    fake_fetch_say(200, GOOD);
    fake_store_answer(&w.store);
    in("commit");
    fake_store_put(&w.store, 9, "at-9", "rt-9", fake_wall_ms + 3600000);
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(w.published_gen, 9);
    assert_int_equal(w.store.commits, 2);
}

static void test_an_answer_that_no_disk_takes_is_still_served_and_stored(void **s)
{
    (void)s;
    to_fetch();
    fake_journal.fail_answer = EIO;
    fake_fetch_say(200, GOOD);
    assert_string_equal(w.published_token, "at-new");
    assert_int_equal(w.events[FLIGHT_JOURNAL_FAILED], 1);
    settle();
    ended(FLIGHT_REFRESHED);
}

static void test_the_lease_is_kept_while_the_store_does_not_take_the_answer(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_say(200, GOOD);
    for (int i = 0; i < 40; i++) {
        if (w.store.pending == FAKE_COMMIT)
            fake_store_say(&w.store, &(struct store_answer){ .result = STORE_ERROR, .error = "no" });
        else if (w.store.pending == FAKE_RENEW)
            fake_store_answer(&w.store);
        fake_timer_next(10000);
    }
    assert_true(w.store.renews >= 2);
    assert_true(w.store.leased);
}

static void test_after_the_maximum_hold_a_lease_is_left_to_its_end(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_say(200, GOOD);
    int64_t hold_end_ms = fake_mono_ms + 5 * LEASE_MS, last_ms = 0;
    for (int renews = 0; fake_mono_ms < hold_end_ms + 2 * LEASE_MS; renews = w.store.renews) {
        if (w.store.pending == FAKE_COMMIT)
            fake_store_say(&w.store, &(struct store_answer){ .result = STORE_ERROR, .error = "no" });
        else if (w.store.pending == FAKE_RENEW)
            fake_store_answer(&w.store);
        fake_timer_next(10000);
        last_ms = w.store.renews > renews ? fake_mono_ms : last_ms;
    }
    assert_in_range(last_ms, hold_end_ms - LEASE_MS, hold_end_ms - 1);
    in(w.store.pending == FAKE_COMMIT ? "commit" : "commit_wait"); /* and the answer is still not given up */
}

/* ---- the journal after a crash ---- */

static void journalled_answer(uint64_t parent)
{
    fake_journal.kind = JOURNAL_ANSWER;
    fake_journal.parent_gen = parent;
    fake_journal.state.generation = parent + 1;
    fake_journal.state.expires_wall_ms = fake_wall_ms + 3600000;
    assert_int_equal(secret_set(&fake_journal.state.access_token, SLICE("at-spooled")), 0);
    assert_int_equal(secret_set(&fake_journal.state.refresh_token, SLICE("rt-spooled")), 0);
}

static void test_a_journalled_answer_is_committed_before_anything_else(void **s)
{
    static const struct {
        bool replay;
        enum msg_reason reason;
    } rows[] = { { true, MSG_MISSING }, { false, MSG_MISSING }, { false, MSG_REJECTED } };
    (void)s;
    for (size_t i = 0; i < 3; i++) {
        teardown(NULL);
        setup(NULL);
        journalled_answer(5);
        start(rows[i].reason, 5, false, rows[i].replay);
        settle();
        ended(FLIGHT_ADOPTED);
        assert_int_equal(fake_fetch.starts, 0);
        assert_int_equal(w.store.stored.generation, 6);
        assert_string_equal(w.published_token, "at-spooled");
        assert_int_equal(fake_journal.kind, JOURNAL_NONE);
    }
}

static void test_a_journalled_answer_that_was_stored_is_forgotten(void **s)
{
    (void)s;
    journalled_answer(4);
    start(MSG_MISSING, 0, false, true);
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(w.store.commits, 0);
    assert_int_equal(fake_journal.kind, JOURNAL_NONE);
    assert_int_equal(w.store.releases, 1);
}

static void test_a_journalled_answer_overrules_a_verdict_on_the_token_that_brought_it(void **s)
{
    (void)s;
    journalled_answer(4);
    seal_fingerprint(w.env.ring, SLICE("rt-old"), fake_journal.state.refresh_fp);
    memcpy(w.store.stored.dead_fp, fake_journal.state.refresh_fp, sizeof w.store.stored.dead_fp);
    start(MSG_MISSING, 0, false, true);
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(w.store.stored.generation, 6);
    assert_true(slice_eq(secret_peek(&w.store.stored.refresh_token), SLICE("rt-spooled")));
}

static void old_intent(uint64_t parent, int64_t pid)
{
    fake_journal.kind = JOURNAL_INTENT;
    fake_journal.parent_gen = parent;
    fake_journal.at_ms = fake_mono_ms - 1000;
    fake_journal.pid = pid;
    seal_fingerprint(w.env.ring, SLICE("rt-old"), fake_journal.refresh_fp);
}

static void test_after_a_crash_with_an_intent_the_same_token_is_tried_once(void **s)
{
    (void)s;
    old_intent(5, getpid());
    to_fetch();
    assert_non_null(strstr(fake_fetch.body, "rt-old"));
    refused_twice(400, "{\"error\":\"invalid_grant\"}");
    failed(MSG_DEAD);
    assert_non_null(strstr(w.text, "rotation probably lost in flight"));
}

static void test_an_intent_of_another_generation_tells_nothing(void **s)
{
    (void)s;
    old_intent(4, getpid());
    to_fetch();
    fake_fetch_say(400, "{\"error\":\"invalid_grant\"}");
    settle();
    failed(MSG_DEAD);
    assert_null(strstr(w.text, "lost in flight"));
}

static void test_another_living_keepers_intent_is_not_run_over(void **s)
{
    (void)s;
    old_intent(5, getppid());
    start(MSG_MISSING, 0, false, false);
    settle();
    failed(MSG_TRANSIENT);
    assert_int_equal(fake_fetch.starts, 0);
    assert_int_equal(fake_journal.kind, JOURNAL_INTENT);
    assert_int_equal(w.store.releases, 1);
    fake_mono_ms += 5 * LEASE_MS; /* nobody holds that long */
    w.ended = 0;
    w.store.begins = 0;
    to_fetch();
}

static void test_an_intent_of_another_boot_stops_nobody(void **s)
{
    (void)s;
    old_intent(5, getppid());
    fake_journal.at_ms = fake_mono_ms + 1;
    to_fetch();
}

static void test_while_the_journal_cannot_be_read_no_refresh_token_is_spent(void **s)
{
    static const int reasons[] = { EBADMSG, ENOKEY, EPROTO, EIO, ENOMEM };
    (void)s;
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        fake_journal.fail_read = reasons[i];
        start(MSG_MISSING, 0, false, false);
        settle();
        ended(FLIGHT_FAILED);
        assert_int_equal(w.result.failure, MSG_STORE);
        assert_int_equal(fake_fetch.starts, 0);
        teardown(NULL);
        setup(NULL);
    }
}

static void test_a_token_whose_answer_was_damaged_is_not_spent_again(void **s)
{
    static const struct {
        uint64_t parent_gen;
        const char *token;
    } rows[] = { { 5, "rt-old" }, { 5, NULL }, { 5, "rt-flipped" }, { 4, "rt-old" }, { 0, NULL } };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lost(rows[i].parent_gen, rows[i].token);
        start(MSG_MISSING, 0, false, false);
        settle();
        ended(FLIGHT_FAILED);
        assert_int_equal(w.result.failure, MSG_DEAD);
        assert_non_null(strstr(w.text, "is damaged"));
        assert_int_equal(fake_fetch.starts, 0);
        assert_true(w.store.stored.dead_fp[0]); /* others must not spend it either */
        assert_int_equal(fake_journal.lost_forgotten, 1);
        teardown(NULL);
        setup(NULL);
    }
}

static void test_a_damaged_answer_of_the_past_stops_nobody(void **s)
{
    (void)s;
    lost(4, "rt-older");
    to_fetch();
    assert_int_equal(fake_journal.lost_forgotten, 1);
}

static void test_where_nothing_rotates_a_damaged_answer_costs_one_careful_try(void **s)
{
    char fp[9];
    (void)s;
    seal_fingerprint(w.env.ring, SLICE("rt-old"), fp);
    memcpy(w.store.stored.refresh_fp, fp, sizeof fp); /* it brought itself */
    memcpy(w.known.refresh_fp, fp, sizeof fp);
    lost(5, "rt-old");
    to_fetch();
    refused_twice(400, "{\"error\":\"invalid_grant\"}");
    ended(FLIGHT_FAILED);
    assert_int_equal(fake_fetch.starts, 2);
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_store_that_is_down_gets_the_answer_again_and_again),
        T(a_commit_whose_answer_was_lost_is_recognised),
        T(a_losing_answer_is_kept_beside_the_winner),
        T(where_nothing_is_spent_nothing_is_spent_twice),
        T(a_losing_answer_that_loses_again_gives_up),
        T(an_answer_that_no_disk_takes_is_still_served_and_stored),
        T(the_lease_is_kept_while_the_store_does_not_take_the_answer),
        T(after_the_maximum_hold_a_lease_is_left_to_its_end),
        T(a_journalled_answer_is_committed_before_anything_else),
        T(a_journalled_answer_that_was_stored_is_forgotten),
        T(after_a_crash_with_an_intent_the_same_token_is_tried_once),
        T(an_intent_of_another_generation_tells_nothing),
        T(another_living_keepers_intent_is_not_run_over),
        T(while_the_journal_cannot_be_read_no_refresh_token_is_spent),
        T(a_token_whose_answer_was_damaged_is_not_spent_again),
        T(a_damaged_answer_of_the_past_stops_nobody),
        T(where_nothing_rotates_a_damaged_answer_costs_one_careful_try),
        T(an_answer_overrules_a_verdict_on_the_token_that_brought_it),
        T(an_answer_whose_child_is_stored_already_is_no_fallback),
        T(a_journalled_answer_overrules_a_verdict_on_the_token_that_brought_it),
        T(an_intent_of_another_boot_stops_nobody),
    };
    log_setup("test", LOG_ERROR + 1, LOG_LOGFMT, 2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
