/* links: tests/fakes/fake_clock.c tests/fakes/fake_timer.c tests/fakes/fake_store.c tests/fakes/fake_fetch.c
 * tests/fakes/fake_journal.c tests/fakes/fake_command.c */
/* Every row of the flight's state table, and every way out of it, under a store, a token endpoint, a journal and a
 * clock that do as they are told. */
#include "tests/fakes/flight_world.h"

/* ---- the straight way ---- */

static void test_lease_intent_request_journal_publish_commit_in_this_order(void **s)
{
    (void)s;
    to_fetch();
    assert_int_equal(fake_journal.kind, JOURNAL_INTENT);
    assert_int_equal(fake_journal.parent_gen, 5);
    assert_non_null(strstr(fake_fetch.body, "grant_type=refresh_token&refresh_token=rt-old"));
    assert_int_equal(w.store.known_gen, 5);
    fake_fetch_say(200, GOOD);
    in("commit");
    assert_int_equal(fake_journal.kind, JOURNAL_ANSWER); /* durable before the store is asked */
    assert_int_equal(w.published_gen, 6);                /* and served before it has answered */
    assert_string_equal(w.published_token, "at-new");
    assert_int_equal(w.store.parent_gen, 5);
    settle();
    ended(FLIGHT_REFRESHED);
    assert_true(w.result.requested);
    assert_int_equal(w.store.stored.generation, 6);
    assert_string_equal(w.store.stored.refresh_fp, fake_journal.refresh_fp);
    assert_int_equal(fake_journal.kind, JOURNAL_NONE);
    assert_int_equal(w.store.releases, 0); /* the commit releases */
    assert_int_equal(w.published, 1);
}

static void test_client_credentials_need_no_journal(void **s)
{
    (void)s;
    w.spec.grant = GRANT_CLIENT_CREDENTIALS;
    to_fetch();
    assert_non_null(strstr(fake_fetch.body, "grant_type=client_credentials"));
    fake_fetch_say(200, "{\"access_token\":\"at-new\",\"expires_in\":60}");
    settle();
    ended(FLIGHT_REFRESHED);
    assert_int_equal(fake_journal.intents + fake_journal.answers + fake_journal.clears, 0);
}

static void test_an_answer_without_a_refresh_token_keeps_the_old_one(void **s)
{
    static const char *const bodies[] = { "{\"access_token\":\"at-new\",\"expires_in\":60}",
                                          "{\"access_token\":\"at-new\",\"expires_in\":60,\"refresh_token\":\"\"}",
                                          "{\"access_token\":\"at-new\",\"expires_in\":60,\"refresh_token\":null}",
                                          "{\"access_token\":\"at-new\",\"expires_in\":60,\"refresh_token\":false}",
                                          "{\"access_token\":\"at-new\",\"refresh_token\":\" \\r\\n\"}",
                                          "access_token=at-new&refresh_token=&expires_in=60" };
    (void)s;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        teardown(NULL);
        setup(NULL);
        to_fetch();
        fake_fetch_say(200, bodies[i]);
        settle();
        ended(FLIGHT_REFRESHED);
        assert_true(slice_eq(secret_peek(&w.store.stored.refresh_token), SLICE("rt-old")));
    }
}

/* ---- begin ---- */

static void test_newer_state_is_adopted_without_a_request(void **s)
{
    (void)s;
    fake_store_put(&w.store, 7, "at-other", "rt-other", fake_wall_ms + 3600000);
    start(MSG_MISSING, 0, false, false);
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(w.published_gen, 7);
    assert_int_equal(fake_fetch.starts, 0);
    assert_int_equal(w.store.releases, 0); /* FRESH took no lease */
    assert_int_equal(w.leases[STORE_FRESH], 1);
}

static void test_newer_state_that_has_expired_as_well_leads_to_the_lease(void **s)
{
    (void)s;
    fake_store_put(&w.store, 7, "at-other", "rt-other", fake_wall_ms - 1);
    start(MSG_MISSING, 0, false, false);
    settle();
    in("fetch");
    assert_int_equal(w.store.begins, 2);
    assert_int_equal(w.store.known_gen, 7);
    assert_non_null(strstr(fake_fetch.body, "rt-other")); /* never the stale copy's token */
}

static void test_state_that_is_fresh_under_the_lease_is_success_without_a_request(void **s)
{
    (void)s;
    fake_store_put(&w.store, 5, "at-old", "rt-old", fake_wall_ms + 3600000);
    start(MSG_MISSING, 0, false, false);
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(fake_fetch.starts, 0);
    assert_int_equal(w.store.releases, 1);
}

static void test_a_lease_that_cannot_be_released_is_told(void **s)
{
    (void)s;
    fake_store_put(&w.store, 5, "at-old", "rt-old", fake_wall_ms + 3600000);
    start(MSG_MISSING, 0, false, false);
    fake_timer_next(0);
    fake_store_answer(&w.store);
    in("release");
    fake_store_say(&w.store, &(struct store_answer){ .result = STORE_ERROR, .error = "no" });
    ended(FLIGHT_ADOPTED);
    assert_int_equal(w.events[FLIGHT_RELEASE_FAILED], 1);
}

static void test_a_rejected_generation_is_refreshed_although_it_looks_fresh(void **s)
{
    (void)s;
    fake_store_put(&w.store, 5, "at-old", "rt-old", fake_wall_ms + 3600000);
    start(MSG_REJECTED, 5, false, false);
    settle();
    in("fetch");
}

static void test_a_rejected_generation_that_is_not_current_costs_no_request(void **s)
{
    (void)s;
    fake_store_put(&w.store, 6, "at-new", "rt-new", fake_wall_ms + 3600000);
    start(MSG_REJECTED, 5, false, false);
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(fake_fetch.starts, 0);
}

static void test_each_flight_is_an_owner_of_its_own(void **s)
{
    struct store_owner seen[8];
    (void)s;
    assert_int_equal(sizeof seen->bytes, 16); /* 128 random bits */
    for (size_t i = 0; i < 8; i++) {
        teardown(NULL);
        setup(NULL);
        to_fetch();
        seen[i] = w.store.owner;
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(seen[i].bytes, seen[k].bytes, 8); /* neither half repeats */
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(seen[i].bytes + 8, seen[k].bytes + 8, 8);
    }
}

static void test_held_elsewhere_is_skipped_when_nobody_waits(void **s)
{
    (void)s;
    w.store.held = true;
    start(MSG_EXPIRING, 0, true, false);
    settle();
    ended(FLIGHT_SKIPPED);
    assert_int_equal(w.store.releases, 0);
    assert_int_equal(w.store.commits + w.store.loads, 0);
}

static void test_a_waiter_polls_100_200_400_ms_until_the_winner_commits(void **s)
{
    static const int64_t pauses[] = { 100, 200, 400, 400 };
    (void)s;
    w.store.held = true;
    start(MSG_MISSING, 0, false, false);
    settle();
    for (int i = 0; i < 4; i++) {
        in("busy");
        assert_int_equal(w.store.begins, i + 1);
        fake_timer_run(pauses[i] - 1);
        assert_int_equal(w.store.begins, i + 1);
        fake_timer_run(1);
        settle();
    }
    fake_store_put(&w.store, 6, "at-winner", "rt-winner", fake_wall_ms + 3600000);
    fake_timer_run(400);
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(w.published_gen, 6);
    assert_int_equal(fake_fetch.starts, 0);
}

static void test_a_change_in_the_store_wakes_a_waiter_at_once(void **s)
{
    (void)s;
    w.store.held = true;
    start(MSG_MISSING, 0, false, false);
    settle();
    in("busy");
    fake_store_put(&w.store, 6, "at-winner", "rt-winner", fake_wall_ms + 3600000);
    flight_wake(w.flight);
    settle();
    ended(FLIGHT_ADOPTED);
}

static void test_when_the_lease_runs_out_a_waiter_wins_it(void **s)
{
    (void)s;
    w.store.held = true;
    w.store.busy_ttl_ms = 40;
    start(MSG_MISSING, 0, false, false);
    settle();
    w.store.held = false;
    fake_timer_run(40); /* sooner than the poll */
    settle();
    in("fetch");
}

static void test_a_holder_that_never_ends_is_waited_for_up_to_the_maximum_hold(void **s)
{
    (void)s;
    w.store.held = true;
    start(MSG_MISSING, 0, false, false);
    for (int i = 0; i < 2000 && w.flight; i++) {
        settle();
        fake_timer_next(1000);
    }
    failed(MSG_TRANSIENT);
    assert_in_range(fake_mono_ms, 1000000 + 5 * LEASE_MS, 1000000 + 5 * LEASE_MS + 1000);
}

static void test_a_background_flight_that_somebody_joins_waits_for_the_holder(void **s)
{
    (void)s;
    w.store.held = true;
    start(MSG_EXPIRING, 0, true, false);
    flight_join(w.flight, &(struct schedule_need){ MSG_MISSING, 0, false });
    settle();
    in("busy");
}

/* ---- a store in trouble ---- */

static void test_lock_error_policies(void **s)
{
    static const struct {
        enum on_lock_error policy;
        const char *state;
    } rows[] = { { ON_LOCK_ERROR_PROCEED, "degraded" },
                 { ON_LOCK_ERROR_WAIT, "store_wait" },
                 { ON_LOCK_ERROR_FAIL, NULL } };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        teardown(NULL);
        setup(NULL);
        w.store.down = true;
        w.env.on_lock_error = rows[i].policy;
        start(MSG_MISSING, 0, false, false);
        fake_timer_next(0);
        fake_store_answer(&w.store);
        assert_int_equal(w.leases[STORE_ERROR], 1);
        assert_int_equal(w.events[FLIGHT_LOCK_DEGRADED], 1);
        if (rows[i].state)
            in(rows[i].state);
        else
            failed(MSG_STORE);
    }
}

static void test_waiting_for_the_store_ends_with_the_lease_or_with_the_hold(void **s)
{
    (void)s;
    w.env.on_lock_error = ON_LOCK_ERROR_WAIT;
    begin_fails();
    in("store_wait");
    fake_timer_run(400);
    settle();
    in("fetch");
    teardown(NULL);
    setup(NULL);
    w.env.on_lock_error = ON_LOCK_ERROR_WAIT;
    w.store.down = true;
    start(MSG_MISSING, 0, false, false);
    for (int i = 0; i < 3000 && w.flight; i++) {
        settle();
        fake_timer_next(1000);
    }
    failed(MSG_STORE);
}

static void test_proceeding_unlocked_rereads_and_never_releases(void **s)
{
    (void)s;
    begin_fails();
    in("degraded");
    fake_store_put(&w.store, 6, "at-6", "rt-6", fake_wall_ms - 1);
    fake_timer_run(2000);
    settle();
    in("fetch");
    assert_int_equal(w.store.loads, 2);
    assert_non_null(strstr(fake_fetch.body, "rt-6"));
    fake_fetch_say(400, "{\"error\":\"invalid_client\"}");
    settle();
    failed(MSG_CONFIG_ERROR);
    assert_int_equal(w.store.releases, 0);
}

static void reread_fails(int64_t expires_wall_ms, uint64_t generation)
{
    teardown(NULL);
    setup(NULL);
    w.known.generation = generation;
    w.known.expires_wall_ms = expires_wall_ms;
    w.known.obtained_wall_ms = expires_wall_ms - 600000;
    w.store.down = true;
    start(MSG_EXPIRING, 0, true, false);
    fake_timer_next(0);
    fake_store_answer(&w.store);
    fake_timer_run(2000);
    if (w.store.pending == FAKE_LOAD)
        fake_store_answer(&w.store);
}

static void test_a_failed_reread_closes_while_the_token_serves_and_at_generation_0(void **s)
{
    (void)s;
    reread_fails(1700000000000 + 45000, 5); /* inside the advisory window, before the mandatory one */
    failed(MSG_STORE);
    assert_int_equal(w.events[FLIGHT_REREAD_FAILED], 1);
    assert_int_equal(fake_fetch.starts, 0);
    reread_fails(1700000000000 - 1, 0); /* a seed is always old */
    failed(MSG_STORE);
    assert_int_equal(fake_fetch.starts, 0);
    /* nothing serves any more; but somebody else may have spent this refresh token meanwhile */
    reread_fails(1700000000000 - 1, 5);
    failed(MSG_STORE);
    assert_int_equal(fake_fetch.starts, 0);
}

static void test_a_failed_reread_is_no_matter_where_nothing_rotates(void **s)
{
    (void)s;
    /* the last refresh has brought the same one back */
    seal_fingerprint(w.env.ring, SLICE("rt-old"), w.known.refresh_fp);
    w.store.down = true;
    start(MSG_MISSING, 0, false, false);
    fake_timer_next(0);
    fake_store_answer(&w.store);
    fake_timer_run(2000);
    settle();
    in("fetch");
}

static void test_news_from_elsewhere_serve_when_the_reread_fails(void **s)
{
    (void)s;
    struct fake_store news;
    fake_store_init(&news);
    fake_store_put(&news, 6, "at-6", "rt-6", fake_wall_ms + 3600000);
    begin_fails();
    in("degraded");
    flight_state_changed(w.flight, &news.stored);
    w.store.down = true;
    fake_timer_run(2000);
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(fake_fetch.starts, 0);
    fake_store_done(&news);
}

static void test_a_reread_that_is_older_than_the_news_is_made_again(void **s)
{
    (void)s;
    struct fake_store news;
    fake_store_init(&news);
    fake_store_put(&news, 6, "at-6", "rt-6", fake_wall_ms - 1);
    start(MSG_MISSING, 0, false, false);
    fake_timer_next(0);
    flight_state_changed(w.flight, &news.stored);
    fake_store_answer(&w.store); /* WON, as of generation 5 */
    in("load");
    fake_store_put(&w.store, 6, "at-6", "rt-6", fake_wall_ms - 1);
    settle();
    in("fetch");
    assert_non_null(strstr(fake_fetch.body, "rt-6"));
    fake_fetch_say(200, GOOD);
    assert_int_equal(w.store.parent_gen, 6);
    fake_store_done(&news);
}

static void test_a_token_that_has_ended_is_not_fresh_because_the_wall_clock_went_back(void **s)
{
    (void)s;
    fake_store_put(&w.store, 5, "at-old", "rt-old", fake_wall_ms + 3600000);
    start(MSG_MISSING, 0, false, false);
    flight_expire_generation(w.flight, 5);
    settle();
    in("fetch");
}

static void test_client_credentials_need_no_stored_state(void **s)
{
    (void)s;
    w.spec.grant = GRANT_CLIENT_CREDENTIALS;
    w.store.down = true;
    start(MSG_MISSING, 0, false, false);
    fake_timer_next(0);
    fake_store_answer(&w.store);
    fake_timer_run(2000);
    fake_store_answer(&w.store);
    in("fetch");
}

static void test_a_store_that_is_silent_is_an_error_after_its_deadline(void **s)
{
    (void)s;
    start(MSG_MISSING, 0, false, false);
    fake_timer_next(0);
    in("begin");
    fake_timer_next(10000);
    assert_int_equal(w.store.cancels, 1);
    in("degraded");
}

static void test_a_store_that_takes_no_operation_is_an_error_too(void **s)
{
    (void)s;
    w.store.refuse_null = true;
    w.env.on_lock_error = ON_LOCK_ERROR_FAIL;
    start(MSG_MISSING, 0, false, false);
    fake_timer_run(1);
    failed(MSG_STORE);
}

static void test_what_the_store_has_forgotten_does_not_come_back_from_the_dead(void **s)
{
    (void)s;
    fake_store_put(&w.store, 3, "at-3", "rt-3", fake_wall_ms - 9000);
    to_fetch();
    assert_non_null(strstr(fake_fetch.body, "rt-old")); /* generation 5's, which we know */
    fake_fetch_say(200, GOOD);
    assert_int_equal(w.store.parent_gen, 3);
    settle();
    ended(FLIGHT_REFRESHED);
}

/* ---- before the request ---- */

static void test_what_is_stored_is_read_once_more_before_the_request(void **s)
{
    (void)s;
    start(MSG_MISSING, 0, false, false);
    fake_timer_next(0);
    fake_store_answer(&w.store);
    in("confirm");
    assert_int_equal(fake_journal.kind, JOURNAL_INTENT);
    /* by somebody who had lost the lease before we won it */
    fake_store_put(&w.store, 6, "at-late", "rt-late", fake_wall_ms + 3600000);
    settle();
    ended(FLIGHT_ADOPTED);
    assert_int_equal(fake_fetch.starts, 0);
    assert_int_equal(fake_journal.kind, JOURNAL_NONE);
    assert_int_equal(w.store.releases, 1);
}

static void test_a_store_that_fails_between_lease_and_request_stops_it(void **s)
{
    (void)s;
    start(MSG_MISSING, 0, false, false);
    fake_timer_next(0);
    fake_store_answer(&w.store);
    in("confirm");
    fake_store_say(&w.store, &(struct store_answer){ .result = STORE_ERROR, .error = "no" });
    settle();
    failed(MSG_STORE);
    assert_int_equal(fake_fetch.starts, 0);
    assert_int_equal(fake_journal.kind, JOURNAL_NONE);
}

static void test_the_intent_is_in_the_store_before_the_request_and_goes_with_the_outcome(void **s)
{
    (void)s;
    fake_store_marks(&w.store);
    to_fetch();
    assert_int_equal(w.store.marks, 1);
    assert_int_equal(w.store.marked_gen, 5);
    assert_string_equal(w.store.marked_fp, fake_journal.refresh_fp);
    assert_string_equal(w.store.marked_instead, "");
    assert_int_equal(w.store.marked_hold_ms, 5 * w.env.lease_ms);
    w.store.leased = false; /* lost: there is no lease to give back, but others wait for the intent */
    fake_fetch_say(0, "");
    settle();
    assert_int_equal(w.store.marks, 2); /* no answer: once more */
    fake_fetch_say(0, "");
    settle();
    failed(MSG_AMBIGUOUS);
    assert_int_equal(w.store.releases, 1);
}

static void test_another_machines_intent_for_the_same_token_is_waited_for(void **s)
{
    (void)s;
    fake_store_marks(&w.store);
    start(MSG_MISSING, 0, false, false);
    fake_timer_next(0);
    fake_store_answer(&w.store);
    in("confirm");
    fake_store_say(&w.store, &(struct store_answer){ .result = STORE_BUSY });
    settle();
    failed(MSG_TRANSIENT);
    assert_int_equal(fake_fetch.starts, 0);
    assert_int_equal(fake_journal.kind, JOURNAL_NONE);
    assert_int_equal(w.store.releases, 1);
}

static void test_what_a_dead_keeper_of_this_machine_meant_to_spend_is_not_waited_for(void **s)
{
    (void)s;
    fake_store_marks(&w.store);
    fake_journal.kind = JOURNAL_INTENT;
    fake_journal.parent_gen = 5;
    fake_journal.at_ms = 77;
    fake_journal.pid = 0;
    to_fetch();
    assert_string_equal(w.store.marked_instead, "0.77");
    assert_string_not_equal(w.store.marked_tag, "0.77");
}

static void test_a_keeper_that_stood_still_after_its_mark_sends_nothing(void **s)
{
    (void)s;
    fake_store_marks(&w.store);
    w.env.on_lock_error = ON_LOCK_ERROR_PROCEED;
    start(MSG_MISSING, 0, false, false);
    fake_timer_next(0);
    fake_store_say(&w.store, &(struct store_answer){ .result = STORE_ERROR, .error = "no lease" });
    fake_timer_run(2000);
    fake_store_answer(&w.store);
    in("confirm");
    fake_mono_ms += w.env.lease_ms + 1;
    fake_store_answer(&w.store);
    settle();
    failed(MSG_TRANSIENT);
    assert_int_equal(fake_fetch.starts, 0);
}

static void test_a_drain_comes_before_the_request(void **s)
{
    (void)s;
    start(MSG_MISSING, 0, false, false);
    fake_timer_next(0);
    fake_store_answer(&w.store);
    in("confirm");
    flight_drain(w.flight);
    settle();
    ended(FLIGHT_SKIPPED);
    assert_int_equal(fake_fetch.starts, 0);
}

static void test_no_journal_no_request(void **s)
{
    (void)s;
    fake_journal.fail_intent = ENOSPC;
    start(MSG_MISSING, 0, false, false);
    settle();
    failed(MSG_STORE);
    assert_int_equal(fake_fetch.starts, 0);
    assert_int_equal(w.events[FLIGHT_JOURNAL_FAILED], 1);
    assert_int_equal(w.store.releases, 1);
}

static void test_a_request_that_cannot_start_was_not_sent(void **s)
{
    (void)s;
    fake_fetch.refuse = true;
    start(MSG_MISSING, 0, false, false);
    settle();
    failed(MSG_TRANSIENT);
    assert_int_equal(fake_journal.kind, JOURNAL_NONE);
    assert_false(w.result.requested);
}

static void test_a_missing_secret_is_a_matter_of_configuration(void **s)
{
    (void)s;
    w.spec.client_secret = (struct secret_ref){ SECRET_REF_FILE, "/nonexistent/secret", NULL };
    start(MSG_MISSING, 0, false, false);
    settle();
    failed(MSG_CONFIG_ERROR);
    assert_int_equal(w.store.releases, 1);
    assert_non_null(strstr(w.text, "/nonexistent/secret"));
}

static void test_a_refused_client_that_basic_encodes_is_told_what_to_try(void **s)
{
    static const struct {
        enum client_auth client_auth;
        const char *secret;
        int status;
        const char *body;
        bool told;
    } rows[] = {
        { CLIENT_AUTH_BASIC, "a+b/c=", 401, "{\"error\":\"invalid_client\"}", true },
        { CLIENT_AUTH_BASIC, "100%", 400, "{\"error\":\"invalid_client\"}", true },
        { CLIENT_AUTH_BASIC, "a b", 400, "{\"error\":\"x\",\"error_description\":\"Bad Client credentials\"}", true },
        { CLIENT_AUTH_BASIC, "a~b", 401, "", true },
        { CLIENT_AUTH_BASIC, "a+b", 400, "", true }, /* glewlwyd */
        { CLIENT_AUTH_BASIC, "a-b_c.d", 401, "{\"error\":\"invalid_client\"}", false },
        { CLIENT_AUTH_BASIC, "a+b", 400, "{\"error\":\"invalid_scope\"}", false },
        { CLIENT_AUTH_BASIC, "a+b", 503, "{\"error\":\"client\"}", false },
        { CLIENT_AUTH_BASIC_RAW, "a+b", 401, "{\"error\":\"invalid_client\"}", false },
        { CLIENT_AUTH_BODY, "a+b", 401, "{\"error\":\"invalid_client\"}", false },
    };
    static const char hint[] = "(the client's id or secret has characters that Basic encodes: try client_auth: body, "
                               "or basic_raw)";
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        teardown(NULL);
        setup(NULL);
        w.spec.grant = GRANT_CLIENT_CREDENTIALS;
        w.spec.client_auth = rows[i].client_auth;
        w.spec.client_secret = (struct secret_ref){ SECRET_REF_INLINE, (char *)(uintptr_t)rows[i].secret, NULL };
        start(MSG_MISSING, 0, false, false);
        settle();
        fake_fetch_say(rows[i].status, rows[i].body);
        settle();
        assert_int_equal(strstr(w.text, hint) != NULL, rows[i].told);
        assert_null(strstr(w.text, rows[i].secret));
    }
}

static void test_a_redirect_is_told_with_the_host_that_it_leads_to(void **s)
{
    (void)s;
    start(MSG_MISSING, 0, false, false);
    settle();
    fake_fetch_redirect(302, "elsewhere.test:443");
    settle();
    failed(MSG_CONFIG_ERROR);
    assert_non_null(strstr(w.text, "HTTP 302"));
    assert_non_null(strstr(w.text, "(a redirect to elsewhere.test:443, which is not followed: check token_url)"));
}

static void test_a_secret_with_bytes_that_no_token_has_is_not_sent(void **s)
{
    static const char bad[] = "caf\xc3\xa9";
    (void)s;
    for (unsigned i = 0; i < CREDENTIAL_SECRETS; i++) {
        if (i == CREDENTIAL_SIGNING_KEY || i == CREDENTIAL_CERTIFICATE
            || i == CREDENTIAL_REFRESH_TOKEN) /* judged by its reader; see below */
            continue;
        teardown(NULL);
        setup(NULL);
        w.spec.grant = i == CREDENTIAL_STATIC_TOKEN ? GRANT_STATIC : GRANT_REFRESH_TOKEN;
        *credential_spec_secret(&w.spec, i) = (struct secret_ref){ SECRET_REF_INLINE, (char *)(uintptr_t)bad, NULL };
        start(MSG_MISSING, 0, false, false);
        settle();
        failed(MSG_CONFIG_ERROR);
        assert_non_null(strstr(w.text, "byte 4 is a character that is not ASCII"));
        assert_int_equal(fake_journal.intents, 0);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(lease_intent_request_journal_publish_commit_in_this_order),
        T(client_credentials_need_no_journal),
        T(an_answer_without_a_refresh_token_keeps_the_old_one),
        T(newer_state_is_adopted_without_a_request),
        T(newer_state_that_has_expired_as_well_leads_to_the_lease),
        T(state_that_is_fresh_under_the_lease_is_success_without_a_request),
        T(a_lease_that_cannot_be_released_is_told),
        T(a_rejected_generation_is_refreshed_although_it_looks_fresh),
        T(a_rejected_generation_that_is_not_current_costs_no_request),
        T(each_flight_is_an_owner_of_its_own),
        T(held_elsewhere_is_skipped_when_nobody_waits),
        T(a_waiter_polls_100_200_400_ms_until_the_winner_commits),
        T(a_change_in_the_store_wakes_a_waiter_at_once),
        T(when_the_lease_runs_out_a_waiter_wins_it),
        T(a_holder_that_never_ends_is_waited_for_up_to_the_maximum_hold),
        T(a_background_flight_that_somebody_joins_waits_for_the_holder),
        T(lock_error_policies),
        T(waiting_for_the_store_ends_with_the_lease_or_with_the_hold),
        T(proceeding_unlocked_rereads_and_never_releases),
        T(a_failed_reread_closes_while_the_token_serves_and_at_generation_0),
        T(client_credentials_need_no_stored_state),
        T(a_store_that_is_silent_is_an_error_after_its_deadline),
        T(a_store_that_takes_no_operation_is_an_error_too),
        T(what_the_store_has_forgotten_does_not_come_back_from_the_dead),
        T(no_journal_no_request),
        T(a_request_that_cannot_start_was_not_sent),
        T(a_missing_secret_is_a_matter_of_configuration),
        T(a_refused_client_that_basic_encodes_is_told_what_to_try),
        T(a_redirect_is_told_with_the_host_that_it_leads_to),
        T(a_secret_with_bytes_that_no_token_has_is_not_sent),
        T(a_failed_reread_is_no_matter_where_nothing_rotates),
        T(news_from_elsewhere_serve_when_the_reread_fails),
        T(a_reread_that_is_older_than_the_news_is_made_again),
        T(a_token_that_has_ended_is_not_fresh_because_the_wall_clock_went_back),
        T(what_is_stored_is_read_once_more_before_the_request),
        T(a_store_that_fails_between_lease_and_request_stops_it),
        T(the_intent_is_in_the_store_before_the_request_and_goes_with_the_outcome),
        T(another_machines_intent_for_the_same_token_is_waited_for),
        T(what_a_dead_keeper_of_this_machine_meant_to_spend_is_not_waited_for),
        T(a_keeper_that_stood_still_after_its_mark_sends_nothing),
        T(a_drain_comes_before_the_request),
    };
    log_setup("test", LOG_ERROR + 1, LOG_LOGFMT, 2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
