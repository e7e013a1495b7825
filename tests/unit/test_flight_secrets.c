/* links: tests/fakes/fake_clock.c tests/fakes/fake_timer.c tests/fakes/fake_store.c tests/fakes/fake_fetch.c
 * tests/fakes/fake_journal.c tests/fakes/fake_command.c */
/* The flight and secrets that programs print; its ways to end early: drain, static tokens, flights that join. */
#include "tests/fakes/flight_world.h"

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

#define T(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_program_that_prints_a_secret_is_waited_for_outside_the_loop),
        T(all_programs_of_a_request_run_together_and_one_that_fails_ends_the_others),
        T(the_lease_runs_on_while_a_program_does),
        T(a_program_without_end_is_ended),
        T(a_drain_does_not_wait_for_programs),
        T(a_program_that_cannot_be_started_is_a_matter_of_configuration),
        T(the_first_refresh_token_may_come_from_a_program),
        T(a_static_token_may_come_from_a_program),
        T(a_flight_that_is_freed_takes_its_programs_along),
        T(a_drain_ends_what_has_not_asked_and_finishes_what_has),
        T(a_drain_asks_no_second_time_and_gives_no_verdict),
        T(a_static_secret_gets_a_new_generation_only_when_it_changes),
        T(a_static_secret_that_was_refused_and_is_still_the_same_fails),
        T(a_static_secret_that_no_header_can_carry_is_refused),
        T(a_join_can_only_ask_for_more),
        T(the_clock_of_the_server_corrects_what_is_stored),
        T(a_token_hosts_date_counts_for_that_host_within_a_week_and_never_from_plain_http),
        T(a_slow_answer_takes_its_time_off_the_tokens_life),
    };
    log_setup("test", LOG_ERROR + 1, LOG_LOGFMT, 2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
