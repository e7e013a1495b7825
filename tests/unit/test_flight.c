/* links: tests/fakes/fake_clock.c tests/fakes/fake_timer.c tests/fakes/fake_store.c tests/fakes/fake_fetch.c
 * tests/fakes/fake_journal.c tests/fakes/fake_command.c */
/* Every row of the flight's state table, and every way out of it, under a store, a token endpoint, a journal and a
 * clock that do as they are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "refresh/flight/flight.h"
#include "tests/fakes/fake_timer.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_command.h"
#include "tests/fakes/fake_fetch.h"
#include "tests/fakes/fake_journal.h"
#include "tests/fakes/fake_store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LEASE_MS 60000
#define REQUEST_MS 30000
#define FLIGHT_LOOK_AGAIN_MS 5000
#define GOOD "{\"access_token\":\"at-new\",\"refresh_token\":\"rt-new\",\"expires_in\":3600}"

static struct world {
    struct fake_store store;
    struct flight_env env;
    struct credential_spec spec;
    struct state known;
    struct flight *flight;
    int published, ended;
    uint64_t published_gen;
    char published_token[64], published_dead[9];
    struct flight_result result;
    char text[256];
    int leases[STORE_ERROR + 1], events[FLIGHT_EVENTS];
} w;

static void on_state(void *arg, const struct state *s)
{
    struct slice token = secret_peek(&s->access_token);
    (void)arg;
    w.published++;
    w.published_gen = s->generation;
    snprintf(w.published_token, sizeof w.published_token, "%.*s", (int)token.len, token.ptr ? token.ptr : "");
    snprintf(w.published_dead, sizeof w.published_dead, "%s", s->dead_fp);
}

static void on_lease(void *arg, enum store_result r)
{
    (void)arg;
    w.leases[r]++;
}

static void on_event(void *arg, enum flight_event event)
{
    (void)arg;
    w.events[event]++;
}

static void on_end(void *arg, const struct flight_result *r)
{
    (void)arg;
    w.ended++;
    w.result = *r;
    snprintf(w.text, sizeof w.text, "%s", r->text ? r->text : "");
    flight_free(w.flight); /* allowed here, and what the keeper does */
    w.flight = NULL;
}

static int setup(void **state)
{
    struct err e;
    (void)state;
    memset(&w, 0, sizeof w);
    memset(&fake_fetch, 0, sizeof fake_fetch);
    fake_journal_reset();
    fake_command_reset();
    fake_store_init(&w.store);
    fake_mono_ms = 1000000;
    fake_wall_ms = 1700000000000;
    w.spec = (struct credential_spec){ .name = "crm",
                                       .grant = GRANT_REFRESH_TOKEN,
                                       .token_url = "https://login.test/token",
                                       .client_id = "id",
                                       .client_auth = CLIENT_AUTH_NONE,
                                       .forced_floor_ms = 30000 };
    w.env = (struct flight_env){ .store = &w.store.store, .lease_ms = LEASE_MS, .request_timeout_ms = REQUEST_MS };
    w.env.clocks = token_clocks_new();
    w.env.ring = seal_ring_new(SLICE("0123456789abcdef0123456789abcdef"), SLICE(""), &e);
    state_init(&w.known);
    fake_store_put(&w.store, 5, "at-old", "rt-old", fake_wall_ms - 1000);
    assert_int_equal(state_copy(&w.known, &w.store.stored), 0);
    return w.env.ring ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    flight_free(w.flight);
    int left = fake_timer_count();
    state_done(&w.known);
    fake_store_done(&w.store);
    fake_journal_reset();
    token_clocks_free(w.env.clocks);
    seal_ring_free((struct seal_ring *)(uintptr_t)w.env.ring);
    return left; /* an alarm that outlives its flight is a bug */
}

static void start(enum msg_reason reason, uint64_t rejected, bool background, bool replay)
{
    const struct flight_hooks hooks = { on_state, on_lease, on_event, on_end, NULL };
    w.flight = flight_start(&w.env, &w.spec, &w.known, &(struct schedule_need){ reason, rejected, background }, replay,
                            &hooks);
    assert_non_null(w.flight);
    assert_string_equal(flight_state_name(w.flight), "new"); /* nothing happens inside the call */
    assert_int_equal(w.store.pending, FAKE_NONE);
}

/* Lets everything happen that is due now: alarms, and answers of the store as its state demands. */
static void settle(void)
{
    bool moved = true;
    while (moved) {
        moved = fake_timer_next(0);
        if (w.store.pending != FAKE_NONE) {
            fake_store_answer(&w.store);
            moved = true;
        }
    }
}

static void in(const char *state)
{
    assert_non_null(w.flight);
    assert_string_equal(flight_state_name(w.flight), state);
}

static void ended(enum flight_end end)
{
    assert_null(w.flight);
    assert_int_equal(w.ended, 1);
    if (w.result.end != end)
        print_error("ended %d: %s\n", w.result.end, w.text);
    assert_int_equal(w.result.end, end);
    assert_false(fake_fetch.pending);
    assert_int_equal(w.store.pending, FAKE_NONE);
}

static void failed(enum msg_class failure)
{
    ended(FLIGHT_FAILED);
    if (w.result.failure != failure)
        print_error("failed with %s: %s\n", msg_class_name(w.result.failure), w.text);
    assert_int_equal(w.result.failure, failure);
}

static void to_fetch(void)
{
    start(MSG_MISSING, 0, false, false);
    settle();
    in("fetch");
    assert_int_equal(fake_fetch.starts, 1);
}

/* After a flight that ended: the store has what it has. */
static void to_fetch_again(void)
{
    int starts = fake_fetch.starts;
    start(MSG_MISSING, 0, false, false);
    settle();
    in("fetch");
    assert_int_equal(fake_fetch.starts, starts + 1);
}

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

static void begin_fails(void)
{
    start(MSG_MISSING, 0, false, false);
    fake_timer_next(0);
    fake_store_say(&w.store, &(struct store_answer){ .result = STORE_ERROR, .error = "no" });
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

/* ---- secrets that programs print ---- */

static struct secret_ref program(const char *name)
{
    static char *lists[8][2];
    static unsigned next;
    char **argv = lists[next++ % 8];
    argv[0] = (char *)(uintptr_t)name;
    return (struct secret_ref){ SECRET_REF_COMMAND, NULL, argv };
}

static void test_a_program_that_prints_a_secret_is_waited_for_outside_the_loop(void **s)
{
    (void)s;
    w.spec.client_auth = CLIENT_AUTH_BODY;
    w.spec.client_secret = program("print-secret");
    start(MSG_MISSING, 0, false, false);
    settle();
    in("secrets");
    assert_int_equal(fake_command.timeout_ms, 10000);
    assert_int_equal(fake_journal.intents, 0); /* nothing is said before there is something to send */
    fake_command_end("print-secret", "cs-1\n");
    settle();
    in("fetch");
    assert_non_null(strstr(fake_fetch.body, "client_secret=cs-1"));
    fake_fetch_say(200, GOOD);
    settle();
    ended(FLIGHT_REFRESHED);
}

static void test_all_programs_of_a_request_run_together_and_one_that_fails_ends_the_others(void **s)
{
    (void)s;
    w.spec.grant = GRANT_TOKEN_EXCHANGE;
    w.spec.client_secret = program("one");
    w.spec.subject_token = program("two");
    w.spec.actor_token = (struct secret_ref){ SECRET_REF_INLINE, "actor", NULL };
    start(MSG_MISSING, 0, false, false);
    settle();
    assert_true(fake_command_runs("one") && fake_command_runs("two"));
    fake_command_end("two", "subject");
    settle();
    in("secrets");
    fake_command_end("one", NULL);
    settle();
    failed(MSG_CONFIG_ERROR);
    assert_string_equal(w.text, "cannot read the secret from command exit status 3");
    w.ended = w.store.begins = 0;
    start(MSG_MISSING, 0, false, false);
    settle();
    fake_command_end("one", NULL);
    settle();
    failed(MSG_CONFIG_ERROR);
    assert_false(fake_command_runs("two"));
    assert_int_equal(fake_fetch.starts, 0);
}

static void test_the_lease_runs_on_while_a_program_does(void **s)
{
    (void)s;
    w.env.lease_ms = 5000;
    w.spec.client_secret = program("slow");
    start(MSG_MISSING, 0, false, false);
    settle();
    fake_timer_run(4500);
    in("secrets");
    fake_command_end("slow", "cs-1");
    settle();
    failed(MSG_TRANSIENT);
    assert_non_null(strstr(w.text, "too little of the lease is left"));
    assert_int_equal(fake_journal.intents, 0);
}

static void test_a_program_without_end_is_ended(void **s)
{
    (void)s;
    w.spec.client_secret = program("endless");
    start(MSG_MISSING, 0, false, false);
    settle();
    fake_timer_run(12000); /* the fake does not keep the program's own limit */
    settle();
    failed(MSG_CONFIG_ERROR);
    assert_false(fake_command_runs("endless"));
    assert_int_equal(w.store.releases, 1);
}

static void test_a_drain_does_not_wait_for_programs(void **s)
{
    (void)s;
    w.spec.client_secret = program("slow");
    start(MSG_MISSING, 0, false, false);
    settle();
    in("secrets");
    flight_drain(w.flight);
    settle();
    ended(FLIGHT_SKIPPED);
    assert_false(fake_command_runs("slow"));
    assert_int_equal(w.store.releases, 1);
}

static void test_a_program_that_cannot_be_started_is_a_matter_of_configuration(void **s)
{
    (void)s;
    fake_command.refuse = true;
    w.spec.client_secret = program("missing");
    start(MSG_MISSING, 0, false, false);
    settle();
    failed(MSG_CONFIG_ERROR);
    assert_non_null(strstr(w.text, "missing cannot be started"));
}

static void test_the_first_refresh_token_may_come_from_a_program(void **s)
{
    (void)s;
    state_done(&w.store.stored);
    state_done(&w.known);
    w.spec.refresh_token = program("seed");
    start(MSG_MISSING, 0, false, false);
    settle();
    in("seed");
    fake_command_end("seed", "rt-seed\n");
    settle();
    in("fetch");
    assert_non_null(strstr(fake_fetch.body, "refresh_token=rt-seed"));
    fake_fetch_say(200, GOOD);
    settle();
    ended(FLIGHT_REFRESHED);
    assert_int_equal(fake_command.starts, 1); /* the next one has the stored token */
}

static void test_a_static_token_may_come_from_a_program(void **s)
{
    (void)s;
    state_done(&w.store.stored);
    state_done(&w.known);
    w.spec.grant = GRANT_STATIC;
    w.spec.token = program("token");
    start(MSG_MISSING, 0, false, false);
    settle();
    in("seed");
    fake_command_end("token", "key-1\n");
    settle();
    ended(FLIGHT_REFRESHED);
    assert_string_equal(w.published_token, "key-1");
    w.ended = w.store.begins = 0;
    start(MSG_MISSING, 0, false, false);
    settle();
    fake_command_end("token", "\n");
    settle();
    failed(MSG_CONFIG_ERROR);
    assert_non_null(strstr(w.text, "the secret from command token is empty"));
}

static void test_a_flight_that_is_freed_takes_its_programs_along(void **s)
{
    (void)s;
    w.spec.client_secret = program("slow");
    start(MSG_MISSING, 0, false, false);
    settle();
    flight_free(w.flight);
    w.flight = NULL;
    assert_false(fake_command_runs("slow"));
}

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

static void refused_twice(int status, const char *body)
{
    fake_fetch_say(status, body);
    settle();
    in("pause");
    assert_int_equal(w.store.commits, 0);
    int64_t began_ms = fake_mono_ms;
    fake_timer_next(FLIGHT_LOOK_AGAIN_MS);
    assert_int_equal(fake_mono_ms - began_ms, FLIGHT_LOOK_AGAIN_MS);
    settle();
    in("fetch");
    assert_non_null(strstr(fake_fetch.body, "refresh_token=rt-old"));
    fake_fetch_say(status, body);
    settle();
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

static void lose_lease_and_be_refused(void)
{
    to_fetch();
    fake_timer_run(20000);
    fake_store_say(&w.store, &(struct store_answer){ .result = STORE_LOST });
    fake_fetch_say(400, "{\"error\":\"invalid_grant\"}");
    settle();
    in("recover_wait");
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

static void again(bool look)
{
    assert_null(w.flight);
    assert_int_equal(state_copy(&w.known, &w.store.stored), 0);
    w.ended = w.store.begins = w.store.commits = 0;
    start(MSG_MISSING, 0, false, false);
    if (look)
        flight_look(w.flight);
    settle();
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

static void lost(uint64_t parent_gen, const char *token)
{
    fake_journal.kind = JOURNAL_LOST;
    fake_journal.parent_gen = parent_gen;
    if (token)
        seal_fingerprint(w.env.ring, slice_str(token), fake_journal.refresh_fp);
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

/* ---- drain, static, join ---- */

static void test_a_drain_ends_what_has_not_asked_and_finishes_what_has(void **s)
{
    (void)s;
    start(MSG_MISSING, 0, false, false);
    flight_drain(w.flight);
    settle();
    ended(FLIGHT_SKIPPED);
    assert_int_equal(w.store.begins, 0);

    teardown(NULL);
    setup(NULL);
    start(MSG_MISSING, 0, false, false);
    fake_timer_next(0);
    flight_drain(w.flight); /* the lease is on its way */
    settle();
    ended(FLIGHT_SKIPPED);
    assert_int_equal(w.store.releases, 1);

    teardown(NULL);
    setup(NULL);
    w.store.held = true;
    start(MSG_MISSING, 0, false, false);
    settle();
    in("busy");
    flight_drain(w.flight);
    settle();
    ended(FLIGHT_SKIPPED);

    teardown(NULL);
    setup(NULL);
    to_fetch();
    flight_drain(w.flight);
    settle();
    in("fetch");
    fake_fetch_say(200, GOOD);
    settle();
    ended(FLIGHT_REFRESHED);
    assert_int_equal(w.store.stored.generation, 6);
}

static void test_a_drain_asks_no_second_time_and_gives_no_verdict(void **s)
{
    (void)s;
    to_fetch();
    flight_drain(w.flight);
    fake_fetch_fail(true, "reset");
    settle();
    failed(MSG_AMBIGUOUS);
    assert_int_equal(fake_fetch.starts, 1);
    assert_int_equal(fake_journal.kind, JOURNAL_INTENT);

    teardown(NULL);
    setup(NULL);
    lose_lease_and_be_refused();
    flight_drain(w.flight);
    settle();
    failed(MSG_DEAD);
    assert_int_equal(w.store.commits, 0);

    teardown(NULL);
    setup(NULL);
    begin_fails();
    in("degraded");
    flight_drain(w.flight);
    settle();
    ended(FLIGHT_SKIPPED);
}

static void test_a_static_secret_gets_a_new_generation_only_when_it_changes(void **s)
{
    (void)s;
    state_done(&w.store.stored);
    state_done(&w.known);
    w.spec.grant = GRANT_STATIC;
    w.spec.token = (struct secret_ref){ SECRET_REF_INLINE, "key-1", NULL };
    static const struct {
        const char *key;
        uint64_t generation;
        enum flight_end end;
    } rows[] = { { "key-1", 1, FLIGHT_REFRESHED }, { "key-1", 1, FLIGHT_ADOPTED }, { "key-2", 2, FLIGHT_REFRESHED } };
    for (size_t i = 0; i < 3; i++) {
        w.spec.token.name = (char *)(uintptr_t)rows[i].key;
        w.ended = w.store.begins = 0;
        start(MSG_MISSING, 0, false, false);
        settle();
        ended(rows[i].end);
        assert_int_equal(w.published_gen, rows[i].generation);
        assert_string_equal(w.published_token, rows[i].key);
        assert_true(secret_empty(&w.store.stored.access_token)); /* its place is its file */
    }
    assert_int_equal(fake_fetch.starts, 0);
}

/* An upstream refused it, and there is no other: who waits is told, or it would be asked for again and again. */
static void test_a_static_secret_that_was_refused_and_is_still_the_same_fails(void **s)
{
    (void)s;
    state_done(&w.store.stored);
    state_done(&w.known);
    w.spec.grant = GRANT_STATIC;
    w.spec.token = (struct secret_ref){ SECRET_REF_INLINE, "key-1", NULL };
    start(MSG_MISSING, 0, false, false);
    settle();
    ended(FLIGHT_REFRESHED);
    w.ended = w.store.begins = 0;
    start(MSG_REJECTED, 1, false, false);
    settle();
    failed(MSG_CONFIG_ERROR);
    assert_string_equal(w.published_token, "key-1"); /* it serves on: not every path refuses it */
    w.spec.token.name = (char *)(uintptr_t)"key-2";
    w.ended = w.store.begins = 0;
    start(MSG_REJECTED, 1, false, false);
    settle();
    ended(FLIGHT_REFRESHED);
    assert_int_equal(w.published_gen, 2);
}

static void test_a_static_secret_that_no_header_can_carry_is_refused(void **s)
{
    (void)s;
    w.spec.grant = GRANT_STATIC;
    static const char *const bad[] = { "two words", "line\nbreak", "\x7f", "caf\xc3\xa9" };
    for (size_t i = 0; i < 4; i++) {
        teardown(NULL);
        setup(NULL);
        w.spec.grant = GRANT_STATIC;
        w.spec.token = (struct secret_ref){ SECRET_REF_INLINE, (char *)(uintptr_t)bad[i], NULL };
        start(MSG_MISSING, 0, false, false);
        settle();
        failed(MSG_CONFIG_ERROR);
        assert_int_equal(w.published, 0);
    }
}

static void test_a_join_can_only_ask_for_more(void **s)
{
    (void)s;
    fake_store_put(&w.store, 5, "at-old", "rt-old", fake_wall_ms + 3600000);
    start(MSG_EXPIRING, 0, true, false);
    flight_join(w.flight, &(struct schedule_need){ MSG_REJECTED, 5, false });
    flight_join(w.flight, &(struct schedule_need){ MSG_REJECTED, 3, false }); /* a late one */
    flight_join(w.flight, &(struct schedule_need){ MSG_EXPIRING, 0, true });
    settle();
    in("fetch");
}

static int64_t skew_ms_of_host(void)
{
    return token_clock_skew_ms(token_clocks_at(w.env.clocks, w.spec.token_url));
}

static void test_a_slow_answer_takes_its_time_off_the_tokens_life(void **s)
{
    (void)s;
    to_fetch();
    int64_t asked_wall_ms = fake_wall_ms;
    fake_timer_run(15000);
    fake_fetch.pending = false;
    fake_fetch.fn(
        fake_fetch.arg,
        &(struct fetch_answer){ .status = 200, .sent = true, .body = SLICE(GOOD), .date_s = asked_wall_ms / 1000 });
    settle();
    ended(FLIGHT_REFRESHED);
    assert_int_equal(skew_ms_of_host(), 0); /* nor is our clock ahead because the answer was long under way */
    assert_int_equal(w.store.stored.expires_wall_ms, asked_wall_ms + 3600000);
}

static void test_the_clock_of_the_server_corrects_what_is_stored(void **s)
{
    static const int64_t ahead_s[] = { 600, 2 * 86400, 6 * 86400, -600, -2 * 86400 };
    (void)s;
    for (size_t i = 0; i < sizeof ahead_s / sizeof *ahead_s; i++) {
        /* Date has whole seconds: the smaller error */
        int64_t skew_ms = ahead_s[i] * 1000 + (ahead_s[i] < 0 ? 1000 : 0);
        to_fetch();
        fake_fetch.pending = false;
        fake_fetch.fn(fake_fetch.arg, &(struct fetch_answer){ .status = 200,
                                                              .sent = true,
                                                              .body = SLICE(GOOD),
                                                              .date_s = fake_wall_ms / 1000 + ahead_s[i] });
        settle();
        ended(FLIGHT_REFRESHED);
        assert_int_equal(skew_ms_of_host(), skew_ms);
        assert_int_equal(w.store.stored.expires_wall_ms, fake_wall_ms + skew_ms + 3600000);
        teardown(NULL);
        setup(NULL);
    }
    to_fetch();
    fake_fetch.pending = false;
    fake_fetch.fn(fake_fetch.arg,
                  &(struct fetch_answer){ .status = 200, .sent = true, .body = SLICE(GOOD), .date_s = 86400 });
    settle();
    assert_int_equal(skew_ms_of_host(), 0); /* 1970 is the server's trouble */
}

/* Answers that say Date date_s, after a flight of this URL. */
static int64_t skew_after(const char *url, int64_t ahead_s)
{
    teardown(NULL);
    setup(NULL);
    w.spec.token_url = (char *)(uintptr_t)url;
    to_fetch();
    fake_fetch.pending = false;
    fake_fetch.fn(fake_fetch.arg,
                  &(struct fetch_answer){
                      .status = 200, .sent = true, .body = SLICE(GOOD), .date_s = fake_wall_ms / 1000 + ahead_s });
    settle();
    return skew_ms_of_host();
}

static void test_a_token_hosts_date_counts_for_that_host_within_a_week_and_never_from_plain_http(void **s)
{
    (void)s;
    assert_int_equal(skew_after("https://login.test/token", 3600), 3600000);
    assert_int_equal(token_clock_skew_ms(token_clocks_at(w.env.clocks, "https://other.test/token")), 0);
    assert_int_equal(token_clock_skew_ms(token_clocks_at(w.env.clocks, "https://login.test:8443/token")), 0);
    assert_int_equal(skew_after("https://login.test/token", 399 * 86400), 0);
    assert_int_equal(skew_after("https://login.test/token", -8 * 86400), 0);
    assert_int_equal(skew_after("http://127.0.0.1:80/token", 3600), 0);
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

static bool holds(const struct secret *secret, const char *text)
{
    return slice_eq(secret_peek(secret), slice_str(text));
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
        T(lease_intent_request_journal_publish_commit_in_this_order),
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
        T(a_program_that_prints_a_secret_is_waited_for_outside_the_loop),
        T(all_programs_of_a_request_run_together_and_one_that_fails_ends_the_others),
        T(the_lease_runs_on_while_a_program_does),
        T(a_program_without_end_is_ended),
        T(a_drain_does_not_wait_for_programs),
        T(a_program_that_cannot_be_started_is_a_matter_of_configuration),
        T(the_first_refresh_token_may_come_from_a_program),
        T(a_static_token_may_come_from_a_program),
        T(a_flight_that_is_freed_takes_its_programs_along),
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
        T(a_drain_ends_what_has_not_asked_and_finishes_what_has),
        T(a_drain_asks_no_second_time_and_gives_no_verdict),
        T(a_static_secret_gets_a_new_generation_only_when_it_changes),
        T(a_static_secret_that_was_refused_and_is_still_the_same_fails),
        T(a_static_secret_that_no_header_can_carry_is_refused),
        T(a_join_can_only_ask_for_more),
        T(the_clock_of_the_server_corrects_what_is_stored),
        T(a_token_hosts_date_counts_for_that_host_within_a_week_and_never_from_plain_http),
        T(a_failed_reread_is_no_matter_where_nothing_rotates),
        T(news_from_elsewhere_serve_when_the_reread_fails),
        T(a_reread_that_is_older_than_the_news_is_made_again),
        T(a_token_that_has_ended_is_not_fresh_because_the_wall_clock_went_back),
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
        T(an_answer_overrules_a_verdict_on_the_token_that_brought_it),
        T(an_answer_whose_child_is_stored_already_is_no_fallback),
        T(a_journalled_answer_overrules_a_verdict_on_the_token_that_brought_it),
        T(an_intent_of_another_boot_stops_nobody),
        T(what_is_stored_is_read_once_more_before_the_request),
        T(a_store_that_fails_between_lease_and_request_stops_it),
        T(the_intent_is_in_the_store_before_the_request_and_goes_with_the_outcome),
        T(another_machines_intent_for_the_same_token_is_waited_for),
        T(what_a_dead_keeper_of_this_machine_meant_to_spend_is_not_waited_for),
        T(a_keeper_that_stood_still_after_its_mark_sends_nothing),
        T(a_drain_comes_before_the_request),
        T(a_slow_answer_takes_its_time_off_the_tokens_life),
    };
    log_setup("test", LOG_ERROR + 1, LOG_LOGFMT, 2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
