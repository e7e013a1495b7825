/* links: tests/fakes/fake_clock.c tests/fakes/fake_timer.c tests/fakes/fake_store.c tests/fakes/fake_fetch.c
 * tests/fakes/fake_journal.c tests/fakes/fake_command.c */
/* The flight while its request is out, and what it makes of the response. */
#include "tests/fakes/flight_world.h"

/* ---- the turn ---- */

static struct request_slot others[REQUEST_SLOTS_HOST];

static void note_nothing(void *arg)
{
    (void)arg;
}

/* The token host has as many requests out as it may have. */
static void to_slot(void)
{
    for (size_t i = 0; i < REQUEST_SLOTS_HOST; i++) {
        request_slot_init(&others[i], &w.env.slots, note_nothing, NULL);
        assert_true(request_slot_take(&others[i], w.spec.token_url)); /* as fake_fetch.c reads hosts */
    }
    start(MSG_MISSING, 0, false, false);
    settle();
    in("slot");
    assert_int_equal(fake_fetch.starts, 0);
    assert_int_equal(fake_journal.intents, 0);
}

static void test_a_flight_waits_for_its_turn_under_the_lease_and_without_an_intent(void **s)
{
    (void)s;
    to_slot();
    int renewals = w.store.renews;
    fake_timer_run(LEASE_MS / 3 + 1);
    settle();
    in("slot");
    assert_int_equal(w.store.renews, renewals + 1);
    assert_int_equal(fake_journal.intents, 0);
    request_slot_give(&others[3]);
    in("slot"); /* nothing happens inside the other one's end */
    settle();
    in("fetch");
    assert_int_equal(fake_journal.kind, JOURNAL_INTENT);
    fake_fetch_say(200, GOOD);
    assert_int_equal(w.env.slots.held, REQUEST_SLOTS_HOST - 1); /* the request has ended: its commit needs no slot */
    settle();
    ended(FLIGHT_REFRESHED);
}

static void test_a_slot_is_given_back_however_a_flight_ends(void **s)
{
    static const struct {
        int status;
        const char *body;
    } ends[] = { { 200, GOOD },
                 { 400, "{\"error\":\"invalid_grant\"}" },
                 { 400, "{\"error\":\"invalid_client\"}" },
                 { 429, "{}" },
                 { 503, "" },
                 { 0, "" } };
    (void)s;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        teardown(NULL);
        setup(NULL);
        to_fetch();
        assert_int_equal(w.env.slots.held, 1);
        for (int turn = 0; w.flight && turn < 5; turn++) {
            if (fake_fetch.pending && ends[i].status)
                fake_fetch_say(ends[i].status, ends[i].body);
            else if (fake_fetch.pending)
                fake_fetch_fail(true, "cut");
            settle();
            fake_timer_run(FLIGHT_LOOK_AGAIN_MS);
            settle();
        }
        assert_null(w.flight);
        assert_int_equal(w.env.slots.held, 0);
    }
    teardown(NULL);
    setup(NULL);
    to_fetch();
    flight_free(w.flight);
    w.flight = NULL;
    assert_int_equal(w.env.slots.held, 0);
}

static void test_a_drain_ends_a_flight_that_waits_for_its_turn(void **s)
{
    (void)s;
    to_slot();
    flight_drain(w.flight);
    settle();
    ended(FLIGHT_SKIPPED);
    assert_int_equal(w.store.releases, 1);
    assert_true(list_empty(&w.env.slots.queue));
}

static void test_a_throttled_host_gets_no_request_from_those_who_wait(void **s)
{
    (void)s;
    to_slot();
    flight_hold(w.flight, fake_mono_ms + 7000);
    settle();
    failed(MSG_THROTTLE);
    assert_int_equal(w.result.retry_after_ms, 7000);
    assert_int_equal(fake_fetch.starts, 0);
}

static void test_a_lease_that_is_lost_in_the_queue_is_asked_for_again(void **s)
{
    (void)s;
    to_slot();
    int begins = w.store.begins;
    fake_timer_run(LEASE_MS / 3 + 1);
    fake_store_say(&w.store, &(struct store_answer){ .result = STORE_LOST });
    assert_true(list_empty(&w.env.slots.queue)); /* whoever has it now needs no competitor */
    settle();
    assert_int_equal(w.store.begins, begins + 1);
    assert_int_equal(fake_fetch.starts, 0);
    assert_int_equal(w.events[FLIGHT_LEASE_LOST], 0); /* no request was out */
}

static void test_a_turn_that_does_not_come_in_time_is_a_failure_that_says_so(void **s)
{
    (void)s;
    to_slot();
    for (int i = 0; w.flight && i < 20; i++) {
        fake_timer_run(LEASE_MS / 3);
        settle();
    }
    failed(MSG_TRANSIENT);
    assert_non_null(strstr(w.text, "too many token requests are in flight"));
    assert_int_equal(fake_journal.intents, 0);
    assert_int_equal(w.store.releases, 1);
}

static void test_the_first_refresh_token_comes_from_the_configuration(void **s)
{
    (void)s;
    state_done(&w.store.stored);
    state_done(&w.known);
    w.spec.refresh_token = (struct secret_ref){ SECRET_REF_INLINE, "rt-seed", NULL };
    to_fetch();
    assert_non_null(strstr(fake_fetch.body, "rt-seed"));
    fake_fetch_say(200, GOOD);
    settle();
    ended(FLIGHT_REFRESHED);
    assert_int_equal(w.store.stored.generation, 1);
}

static void test_no_refresh_token_anywhere_is_a_matter_of_configuration(void **s)
{
    (void)s;
    state_done(&w.store.stored);
    state_done(&w.known);
    start(MSG_MISSING, 0, false, false);
    settle();
    failed(MSG_CONFIG_ERROR);
}

static void test_the_request_ends_before_the_lease_does(void **s)
{
    (void)s;
    to_fetch();
    assert_int_equal(fake_fetch.timeout_ms, REQUEST_MS);
    teardown(NULL);
    setup(NULL);
    w.env.request_timeout_ms = 90000;
    to_fetch();
    assert_int_equal(fake_fetch.timeout_ms, LEASE_MS - 500);
    teardown(NULL);
    setup(NULL);
    w.env.lease_ms = 900; /* the begin took longer than is left */
    start(MSG_MISSING, 0, false, false);
    settle();
    failed(MSG_TRANSIENT);
    assert_int_equal(fake_fetch.starts, 0);
}

/* ---- while the request is out ---- */

static void test_the_lease_is_renewed_at_a_third_up_to_the_maximum_hold(void **s)
{
    (void)s;
    w.env.request_timeout_ms = 59000;
    w.env.lease_ms = 60000;
    to_fetch();
    fake_timer_run(20000);
    assert_int_equal(w.store.renews, 1);
    settle();
    fake_timer_run(20000);
    assert_int_equal(w.store.renews, 2);
    settle();
    assert_int_equal(w.store.renews, 2);
    fake_fetch_say(200, GOOD);
    settle();
    ended(FLIGHT_REFRESHED);
}

static void test_an_answer_during_a_renewal_does_not_mix_the_two_up(void **s)
{
    (void)s;
    to_fetch();
    fake_timer_run(20000);
    assert_int_equal(w.store.pending, FAKE_RENEW);
    fake_fetch_say(200, GOOD);
    assert_int_equal(w.store.pending, FAKE_COMMIT);
    settle();
    ended(FLIGHT_REFRESHED);
}

static void test_a_failed_renewal_is_tried_again_sooner(void **s)
{
    (void)s;
    to_fetch();
    fake_timer_run(20000);
    fake_store_say(&w.store, &(struct store_answer){ .result = STORE_ERROR, .error = "no" });
    fake_timer_run(9999);
    assert_int_equal(w.store.renews, 1);
    fake_timer_run(1);
    assert_int_equal(w.store.renews, 2);
    settle();
    in("fetch");
}

static void test_a_lost_lease_does_not_throw_the_answer_away(void **s)
{
    (void)s;
    to_fetch();
    fake_timer_run(20000);
    fake_store_say(&w.store, &(struct store_answer){ .result = STORE_LOST });
    in("fetch");
    assert_int_equal(w.leases[STORE_LOST], 1);
    assert_int_equal(w.events[FLIGHT_LEASE_LOST], 1);
    fake_fetch_say(200, GOOD);
    settle();
    ended(FLIGHT_REFRESHED); /* the parent still stood */
    assert_int_equal(w.store.stored.generation, 6);
}

static void test_a_request_that_libcurl_forgets_is_ambiguous(void **s)
{
    (void)s;
    to_fetch();
    w.store.down = false;
    for (int i = 0; i < 20 && fake_fetch.cancels == 0; i++) {
        fake_timer_next(10000);
        if (w.store.pending == FAKE_RENEW)
            fake_store_answer(&w.store);
    }
    assert_int_equal(fake_fetch.cancels, 1);
    settle();
    in("fetch"); /* the one try that an unknown outcome is worth */
    assert_int_equal(fake_fetch.starts, 2);
}

/* ---- what comes back ---- */

static void test_failures_that_spent_nothing_end_the_flight_and_the_intent(void **s)
{
    static const struct {
        int status;
        const char *body;
        enum msg_class failure;
    } rows[] = {
        { 0, NULL, MSG_TRANSIENT },
        { 400, "{\"error\":\"invalid_client\"}", MSG_CONFIG_ERROR },
        { 400, "{\"error\":\"invalid_scope\"}", MSG_CONFIG_ERROR },
        { 429, "", MSG_THROTTLE },
        { 403, "<html>blocked</html>", MSG_TRANSIENT },
        { 302, "", MSG_CONFIG_ERROR },
        { 503, "{\"error\":\"temporarily_unavailable\"}", MSG_TRANSIENT },
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        teardown(NULL);
        setup(NULL);
        to_fetch();
        if (rows[i].status)
            fake_fetch_say(rows[i].status, rows[i].body);
        else
            fake_fetch_fail(false, "could not connect");
        settle();
        failed(rows[i].failure);
        assert_int_equal(fake_journal.kind, JOURNAL_NONE);
        assert_int_equal(w.store.releases, 1);
        assert_int_equal(w.published, 0);
    }
}

static void test_retry_after_travels_to_the_keeper(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch.pending = false;
    fake_fetch.fn(fake_fetch.arg, &(struct fetch_answer){ .status = 429, .sent = true, .retry_after = SLICE("7") });
    settle();
    failed(MSG_THROTTLE);
    assert_int_equal(w.result.retry_after_ms, 7000);
}

/* ---- a 2xx response: what cannot be had again is kept first ---- */

static void say_cut(const char *body, bool capped)
{
    fake_fetch.pending = false;
    fake_fetch.fn(fake_fetch.arg, &(struct fetch_answer){ .status = 200,
                                                          .sent = true,
                                                          .body = slice_str(body),
                                                          .cut = true,
                                                          .capped = capped,
                                                          .error = "connection closed" });
    if (w.flight)
        settle();
}

static void test_a_response_is_sealed_before_it_is_judged_and_forgotten_when_it_is_kept(void **s)
{
    (void)s;
    to_fetch();
    fake_journal.fail_answer = ENOSPC; /* so that what was sealed before stays to be seen */
    fake_fetch_say(200, GOOD);
    assert_int_equal(fake_journal.responses, 1);
    assert_true(slice_eq(buf_slice(&fake_journal.response.body), SLICE(GOOD)));
    assert_int_equal(fake_journal.response.parent_gen, 5);
    assert_string_equal(fake_journal.response.refresh_fp, fake_journal.refresh_fp);
    settle();
    ended(FLIGHT_REFRESHED);
    teardown(NULL);
    setup(NULL);
    to_fetch();
    fake_fetch_say(200, GOOD);
    settle();
    ended(FLIGHT_REFRESHED);
    assert_int_equal(fake_journal.response.status, 0);
    assert_true(holds(&w.store.stored.replaced_refresh, "rt-old")); /* for one generation */
}

static void test_a_response_that_nobody_understands_is_kept_and_nothing_is_sent_again(void **s)
{
    static const struct {
        int status;
        const char *body, *why;
    } rows[] = {
        { 200, "", "the response is empty or unreadable" },
        { 204, "", "the response is empty or unreadable" },
        { 200, "<html>Welcome</html>", "the response is a web page" },
        { 202, "{\"ticket\":\"secret-1\"}", "members: ticket" },
        { 200, "{\"access_token\": \"half-an-answer\", \"expires_", "neither one JSON object nor a form" },
        { 200, "{\"name\":\"a\"b\",\"access_token\":\"x\",\"refresh_token\":\"y\"}", "neither one JSON" },
        { 203, "{\"refresh_token\":\"a\",\"refresh_token\":\"b\"}", "no access_token" },
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        teardown(NULL);
        setup(NULL);
        to_fetch();
        fake_fetch_say(rows[i].status, rows[i].body);
        settle();
        failed(MSG_DEAD);
        assert_int_equal(fake_fetch.starts, 1);
        assert_true(slice_eq(buf_slice(&fake_journal.response.body), slice_str(rows[i].body)));
        assert_int_equal(fake_journal.kind, JOURNAL_NONE);
        assert_true(holds(&w.store.stored.refresh_token, "rt-old"));
        assert_string_equal(w.store.stored.dead_fp, fake_journal.response.refresh_fp);
        if (!strstr(w.text, rows[i].why) || strstr(w.text, "secret-1") || strstr(w.text, "half-an"))
            fail_msg("%s: %s", rows[i].body, w.text);
        assert_non_null(strstr(w.text, "sealed in the journal"));
        assert_string_equal(w.store.stored.unread_fp, w.store.stored.dead_fp);
        /* nor by a later flight, which says the same */
        assert_int_equal(state_copy(&w.known, &w.store.stored), 0);
        w.ended = 0;
        start(MSG_FORCED, w.known.generation, false, false);
        settle();
        failed(MSG_DEAD);
        assert_int_equal(fake_fetch.starts, 1);
        assert_non_null(strstr(w.text, rows[i].why));
    }
}

static void test_a_machine_without_the_response_says_where_it_is(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_say(200, "{}");
    settle();
    failed(MSG_DEAD);
    fake_journal_reset();
    assert_int_equal(state_copy(&w.known, &w.store.stored), 0);
    w.ended = 0;
    start(MSG_FORCED, w.known.generation, false, false);
    settle();
    failed(MSG_DEAD);
    assert_int_equal(fake_fetch.starts, 1);
    assert_non_null(strstr(w.text, "the machine that sent the request keeps it sealed"));
}

static void test_a_disk_that_is_full_changes_nothing_about_that(void **s)
{
    (void)s;
    to_fetch();
    fake_journal.fail_response = ENOSPC;
    fake_fetch_say(200, "{}");
    settle();
    failed(MSG_DEAD);
    assert_int_equal(fake_fetch.starts, 1);
    assert_int_equal(w.events[FLIGHT_JOURNAL_FAILED], 1);
    assert_null(strstr(w.text, "sealed"));
}

/* rt-old has been used before, and is still the one that is stored. */
static void never_rotated(void)
{
    char fp[9];
    seal_fingerprint(w.env.ring, SLICE("rt-old"), fp);
    memcpy(w.store.stored.refresh_fp, fp, sizeof fp);
    memcpy(w.known.refresh_fp, fp, sizeof fp);
}

static void test_where_nothing_rotates_such_a_response_is_no_verdict(void **s)
{
    (void)s;
    never_rotated();
    to_fetch();
    fake_fetch_say(200, "<html>");
    settle();
    failed(MSG_CONFIG_ERROR); /* later, not at once */
    assert_int_equal(fake_fetch.starts, 1);
    assert_string_equal(w.store.stored.dead_fp, "");
    w.ended = 0;
    to_fetch_again();
    fake_fetch_say(200, GOOD);
    settle();
    ended(FLIGHT_REFRESHED);
}

static void test_tokens_under_a_wrong_status_are_sealed_and_kept(void **s)
{
    static const int statuses[] = { 302, 400, 500, 503 };
    (void)s;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        teardown(NULL);
        setup(NULL);
        to_fetch();
        fake_fetch_say(statuses[i], GOOD);
        assert_int_equal(fake_journal.kind, JOURNAL_ANSWER);
        settle();
        ended(FLIGHT_REFRESHED);
        assert_int_equal(fake_fetch.starts, 1);
        assert_int_equal(w.store.stored.generation, 6);
    }
}

static void test_a_refresh_token_is_kept_whatever_the_access_token_is_worth(void **s)
{
    static const char *const bodies[] = {
        "{\"refresh_token\":\"rt-new\"}",
        "{\"access_token\":\"a b\",\"refresh_token\":\"rt-new\"}",
        "{\"access_token\":5,\"refresh_token\":\"rt-new\",\"n\":99999999999999999999}",
        "{\"error\":\"server_error\",\"refresh_token\":\"rt-new\"}",
    };
    (void)s;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        teardown(NULL);
        setup(NULL);
        to_fetch();
        fake_fetch_say(200, bodies[i]);
        assert_int_equal(fake_journal.kind, JOURNAL_ANSWER);
        settle();
        failed(MSG_CONFIG_ERROR);
        assert_int_equal(fake_fetch.starts, 1);
        assert_int_equal(w.store.stored.generation, 6);
        assert_true(holds(&w.store.stored.refresh_token, "rt-new"));
        assert_true(holds(&w.store.stored.access_token, "at-old")); /* serves to its end */
        assert_non_null(strstr(w.text, "token endpoint: HTTP 200, "));
        assert_int_equal(state_copy(&w.known, &w.store.stored), 0);
        w.ended = 0;
        to_fetch_again();
        assert_non_null(strstr(fake_fetch.body, "rt-new"));
        fake_fetch_say(200, GOOD);
        settle();
        ended(FLIGHT_REFRESHED);
    }
}

static void test_an_access_token_that_was_refused_is_not_kept_with_it(void **s)
{
    (void)s;
    start(MSG_REJECTED, 5, false, false);
    settle();
    fake_fetch_say(200, "{\"refresh_token\":\"rt-new\"}");
    settle();
    failed(MSG_CONFIG_ERROR);
    assert_true(secret_empty(&w.store.stored.access_token));
    assert_true(holds(&w.store.stored.refresh_token, "rt-new"));
}

static void test_what_came_before_a_cut_is_kept(void **s)
{
    (void)s;
    to_fetch();
    say_cut("{\"access_token\":\"at-new\",\"refresh_token\":\"rt-new\",\"scope\":\"a", false);
    ended(FLIGHT_REFRESHED);
    assert_true(holds(&w.store.stored.refresh_token, "rt-new"));
    assert_string_equal(w.published_token, "at-new");
    teardown(NULL);
    setup(NULL);
    to_fetch();
    say_cut(GOOD, false); /* the object is whole: only HTTP is not */
    ended(FLIGHT_REFRESHED);
    teardown(NULL);
    setup(NULL);
    to_fetch();
    say_cut("{\"access_token\":\"at-new\",\"refresh_tok", false); /* it may be behind the cut: unknown, as silence */
    in("fetch");
    assert_int_equal(fake_fetch.starts, 2);
    refused_twice(400, "{\"error\":\"invalid_grant\"}");
    failed(MSG_DEAD);
    assert_non_null(strstr(w.text, "connection closed")); /* the first reason */
    teardown(NULL);
    setup(NULL);
    to_fetch();
    say_cut("{\"x\":\"yyyyyyyyyyyyyyyyyy", true); /* we have cut it: the server would say the same again */
    failed(MSG_DEAD);
    assert_int_equal(fake_fetch.starts, 1);
}

static void test_an_access_token_serves_although_its_refresh_token_is_lost(void **s)
{
    static const char *const bodies[] = {
        "{\"access_token\":\"at-new\",\"refresh_token\":\"a\",\"refresh_token\":\"b\"}",
        "{\"access_token\":\"at-new\",\"refresh_token\":\"a\\u0000b\"}",
        "{\"access_token\":\"at-new\",\"refresh_token\":{\"a\":1}}",
        "{\"access_token\":\"at-new\"",
    };
    (void)s;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        teardown(NULL);
        setup(NULL);
        to_fetch();
        fake_fetch_say(200, bodies[i]);
        settle();
        failed(MSG_DEAD);
        assert_string_equal(w.published_token, "at-new");
        assert_int_equal(fake_fetch.starts, 1);
        assert_string_equal(w.store.stored.dead_fp, w.store.stored.refresh_fp);
        assert_true(holds(&w.store.stored.access_token, "at-new"));
        assert_int_equal(fake_journal.response.status, 200); /* and is kept sealed */
        assert_non_null(strstr(w.text, "refresh token"));
    }
}

static void test_an_error_that_came_as_a_success_is_an_answer(void **s)
{
    (void)s;
    to_fetch();
    fake_fetch_say(200, "{\"error\":\"server_error\"}");
    settle();
    failed(MSG_TRANSIENT);
    assert_int_equal(fake_fetch.starts, 1);
    assert_int_equal(fake_journal.response.status, 0);
}

/* A keeper that died between its response and the verdict on it. */
static void leave_response(const char *body, const char *token)
{
    struct journal_response *r = &fake_journal.response;
    r->status = 200;
    r->parent_gen = 5;
    r->asked_wall_ms = fake_wall_ms - 60000;
    seal_fingerprint(w.env.ring, slice_str(token), r->refresh_fp);
    buf_init_secret(&r->body, 4096);
    assert_int_equal(buf_add_str(&r->body, body), 0);
}

static void test_a_sealed_response_is_read_before_anything_is_sent(void **s)
{
    (void)s;
    leave_response(GOOD, "rt-old");
    start(MSG_MISSING, 0, false, true);
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(fake_fetch.starts, 0);
    assert_true(holds(&w.store.stored.refresh_token, "rt-new"));
    assert_int_equal(w.store.stored.expires_wall_ms, fake_wall_ms - 60000 + 3600000);
    teardown(NULL);
    setup(NULL);
    leave_response("{}", "rt-old");
    start(MSG_MISSING, 0, false, true);
    settle();
    failed(MSG_DEAD);
    assert_int_equal(fake_fetch.starts, 0);
}

static void test_a_response_that_was_not_understood_is_read_again_when_the_configuration_says_where(void **s)
{
    static const char odd[] = "{\"payload\":{\"at\":\"at-new\",\"rt\":\"rt-new\",\"for\":600}}";
    (void)s;
    to_fetch();
    fake_fetch_say(200, odd);
    settle();
    failed(MSG_DEAD);
    assert_non_null(strstr(w.text, "members: payload"));
    assert_int_equal(state_copy(&w.known, &w.store.stored), 0);
    w.ended = 0;
    w.spec.response =
        (struct credential_spec_response){ (char *)(uintptr_t)"/payload/at", (char *)(uintptr_t)"/payload/rt",
                                           (char *)(uintptr_t)"/payload/for" };
    start(MSG_MISSING, 0, false, true);
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(fake_fetch.starts, 1);
    assert_int_equal(w.store.stored.generation, 7);
    assert_string_equal(w.store.stored.dead_fp, "");
    assert_true(holds(&w.store.stored.refresh_token, "rt-new"));
    assert_true(holds(&w.store.stored.access_token, "at-new"));
    assert_int_equal(fake_journal.response.status, 0);
}

static void test_an_old_response_is_forgotten(void **s)
{
    (void)s;
    leave_response(GOOD, "rt-older");
    fake_journal.response.parent_gen = 4;
    to_fetch();
    assert_int_equal(fake_journal.response.status, 0);
    fake_fetch_say(200, GOOD);
    settle();
    ended(FLIGHT_REFRESHED);
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_response_is_sealed_before_it_is_judged_and_forgotten_when_it_is_kept),
        T(a_response_that_nobody_understands_is_kept_and_nothing_is_sent_again),
        T(a_machine_without_the_response_says_where_it_is),
        T(a_disk_that_is_full_changes_nothing_about_that),
        T(where_nothing_rotates_such_a_response_is_no_verdict),
        T(tokens_under_a_wrong_status_are_sealed_and_kept),
        T(a_refresh_token_is_kept_whatever_the_access_token_is_worth),
        T(an_access_token_that_was_refused_is_not_kept_with_it),
        T(what_came_before_a_cut_is_kept),
        T(an_access_token_serves_although_its_refresh_token_is_lost),
        T(an_error_that_came_as_a_success_is_an_answer),
        T(a_sealed_response_is_read_before_anything_is_sent),
        T(a_response_that_was_not_understood_is_read_again_when_the_configuration_says_where),
        T(an_old_response_is_forgotten),
        T(a_flight_waits_for_its_turn_under_the_lease_and_without_an_intent),
        T(a_slot_is_given_back_however_a_flight_ends),
        T(a_drain_ends_a_flight_that_waits_for_its_turn),
        T(a_throttled_host_gets_no_request_from_those_who_wait),
        T(a_lease_that_is_lost_in_the_queue_is_asked_for_again),
        T(a_turn_that_does_not_come_in_time_is_a_failure_that_says_so),
        T(the_first_refresh_token_comes_from_the_configuration),
        T(no_refresh_token_anywhere_is_a_matter_of_configuration),
        T(the_request_ends_before_the_lease_does),
        T(the_lease_is_renewed_at_a_third_up_to_the_maximum_hold),
        T(an_answer_during_a_renewal_does_not_mix_the_two_up),
        T(a_failed_renewal_is_tried_again_sooner),
        T(a_lost_lease_does_not_throw_the_answer_away),
        T(a_request_that_libcurl_forgets_is_ambiguous),
        T(failures_that_spent_nothing_end_the_flight_and_the_intent),
        T(retry_after_travels_to_the_keeper),
    };
    log_setup("test", LOG_ERROR + 1, LOG_LOGFMT, 2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
