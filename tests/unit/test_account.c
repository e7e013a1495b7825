/* links: tests/fakes/fake_clock.c tests/fakes/fake_timer.c tests/fakes/fake_store.c tests/fakes/fake_fetch.c
 * tests/fakes/fake_journal.c tests/fakes/fake_command.c */
/* One credential over hours: when it asks by itself, what it tells those who wait, and what wakes it up again.  Real
 * flights; time is a number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "refresh/account.h"
#include "tests/fakes/fake_timer.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_command.h"
#include "tests/fakes/fake_fetch.h"
#include "tests/fakes/fake_journal.h"
#include "tests/fakes/fake_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define S 1000
#define M (60 * S)
#define GOOD "{\"access_token\":\"at-new\",\"refresh_token\":\"rt-new\",\"expires_in\":3600}"

static struct world {
    struct fake_store store;
    struct flight_env flights;
    struct account_env env;
    struct credential_spec spec;
    struct account account;
    char secret_file[64];
    int published, refused;
    enum msg_class failure;
    int64_t after_ms;
    char text[256];
} w;

static void on_publish(void *arg, const struct account *a)
{
    (void)arg;
    (void)a;
    w.published++;
}

static void on_refuse(void *arg, const struct account *a, enum msg_class failure, int64_t retry_after_ms,
                      const char *text)
{
    (void)arg;
    (void)a;
    snprintf(w.text, sizeof w.text, "%s", text);
    w.refused++;
    w.failure = failure;
    w.after_ms = retry_after_ms;
}

static void on_throttled(void *arg, const char *host, int64_t until_ms, bool told)
{
    (void)arg;
    (void)host;
    (void)until_ms;
    (void)told;
}

static void on_idle(void *arg)
{
    (void)arg;
}

static void write_secret(const char *text)
{
    FILE *f = fopen(w.secret_file, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
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
    strcpy(w.secret_file, "/tmp/sidekey-account-XXXXXX");
    int fd = mkstemp(w.secret_file);
    if (fd < 0)
        return -1;
    close(fd);
    write_secret("cs");
    w.spec = (struct credential_spec){ .name = "crm",
                                       .grant = GRANT_REFRESH_TOKEN,
                                       .token_url = "https://login.test/token",
                                       .client_id = "id",
                                       .client_auth = CLIENT_AUTH_BASIC,
                                       .client_secret = { SECRET_REF_FILE, w.secret_file, NULL },
                                       .forced_floor_ms = 30 * S };
    w.flights = (struct flight_env){ .store = &w.store.store, .lease_ms = M, .request_timeout_ms = 30 * S };
    w.flights.ring = seal_ring_new(SLICE("0123456789abcdef0123456789abcdef"), SLICE(""), &e);
    w.env =
        (struct account_env){ &w.flights, metrics_new(), on_publish, on_refuse, on_throttled, on_idle, NULL, false };
    /* it is new: its window begins in 48 minutes */
    fake_store_put(&w.store, 5, "at-old", "rt-old", fake_wall_ms + 60 * M);
    return w.flights.ring && w.env.metrics ? account_init(&w.account, &w.spec, &w.env) : -1;
}

static int teardown(void **state)
{
    (void)state;
    account_done(&w.account);
    int left = fake_timer_count();
    fake_store_done(&w.store);
    fake_journal_reset();
    metrics_free(w.env.metrics);
    seal_ring_free((struct seal_ring *)(uintptr_t)w.flights.ring);
    unlink(w.secret_file);
    return left;
}

/* Everything that is due within ms; the store answers as its state demands. */
static void run(int64_t ms)
{
    int64_t end_ms = fake_mono_ms + ms;
    for (int turns = 0; turns < 100000; turns++) {
        while (w.store.pending != FAKE_NONE)
            fake_store_answer(&w.store);
        if (!fake_timer_next(end_ms - fake_mono_ms))
            return;
    }
    fail_msg("it goes round and round");
}

/* The stored state is known. */
static void begin(void)
{
    account_start(&w.account);
    run(0);
}

static void want(enum msg_reason reason, uint64_t rejected)
{
    account_want(&w.account, &(struct schedule_need){ reason, rejected, false });
    run(0);
}

static void answered(int status, const char *body)
{
    assert_true(fake_fetch.pending);
    fake_fetch_say(status, body);
    run(0);
}

static int count(const char *trigger, const char *result)
{
    return (int)*metrics_at(w.env.metrics, "sidekey_refreshes_total{credential=\"crm\",trigger=\"%s\",result=\"%s\"}",
                            trigger, result);
}

/* ---- the background pass ---- */

static void the_background_pass_asks_once_when_the_window_begins(void **s)
{
    static const struct {
        unsigned jitter;
        int64_t at_ms;
        /* another moment in each replica */
    } rows[] = { { 0, 48 * M }, { 50, 48 * M + 36 * S }, { 100, 48 * M + 72 * S } };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        teardown(NULL);
        setup(NULL);
        w.flights.jitter = rows[i].jitter;
        begin();
        run(rows[i].at_ms - 1);
        assert_int_equal(fake_fetch.starts, 0);
        run(1);
        assert_int_equal(fake_fetch.starts, 1);
        answered(200, GOOD);
        assert_int_equal(count("background", "refreshed"), 1);
        assert_int_equal(w.account.state.generation, 6);
        run(47 * M);
        assert_int_equal(fake_fetch.starts, 1);
    }
}

static void held_elsewhere_is_skipped_and_looked_at_again_in_five_seconds(void **s)
{
    (void)s;
    begin();
    w.store.held = true;
    run(48 * M);
    assert_int_equal(w.store.begins, 1);
    assert_int_equal(count("background", "skipped"), 1);
    assert_false(w.account.tries.failed);
    assert_int_equal(w.refused, 0);
    run(5 * S - 1);
    assert_int_equal(w.store.begins, 1);
    w.store.held = false;
    run(1);
    assert_int_equal(fake_fetch.starts, 1);
}

static void what_somebody_else_has_refreshed_is_taken_and_no_failure(void **s)
{
    (void)s;
    begin();
    fake_store_put(&w.store, 6, "at-other", "rt-other", fake_wall_ms + 90 * M);
    run(48 * M);
    assert_int_equal(count("background", "adopted"), 1);
    assert_int_equal(w.account.state.generation, 6);
    assert_int_equal(fake_fetch.starts, 0);
    assert_false(w.account.tries.failed);
    assert_int_equal(w.refused, 0);
}

static void the_same_token_again_is_asked_for_at_half_of_what_is_left(void **s)
{
    (void)s;
    begin();
    run(48 * M);
    answered(200, "{\"access_token\":\"at-old\",\"refresh_token\":\"rt-new\",\"expires_in\":720}");
    assert_int_equal(w.account.state.generation, 6);
    assert_int_equal(account_next_ms(&w.account), fake_mono_ms + 6 * M);
    run(6 * M - 1);
    assert_int_equal(fake_fetch.starts, 1);
    run(1);
    assert_int_equal(fake_fetch.starts, 2);
}

static void the_servers_hint_is_the_time_of_the_next_pass(void **s)
{
    (void)s;
    begin();
    run(48 * M);
    answered(200, "{\"access_token\":\"at-new\",\"refresh_token\":\"rt-new\",\"expires_in\":3600,\"refresh_in\":1200}");
    run(20 * M - 1);
    assert_int_equal(fake_fetch.starts, 1);
    run(1);
    assert_int_equal(fake_fetch.starts, 2);
}

/* Answers every request at once, for ten seconds; with those who ask every 10 ms.  How many requests there were. */
static int ask_for_ten_seconds(const char *body, enum msg_reason reason, bool traffic)
{
    for (int turn = 0; turn < 1000; turn++) {
        if (traffic)
            account_want(&w.account, &(struct schedule_need){ reason, w.account.state.generation, false });
        run(10);
        if (fake_fetch.pending)
            fake_fetch_say(200, body);
    }
    run(0);
    return fake_fetch.starts;
}

static void whatever_the_server_says_there_is_one_request_a_second_at_most(void **s)
{
    static const char *const bodies[] = {
        "{\"access_token\":\"at-new\",\"refresh_token\":\"rt-new\",\"expires_in\":0.002}",
        "{\"access_token\":\"at-new\",\"refresh_token\":\"rt-new\",\"expires_in\":1}",
        "{\"access_token\":\"at-new\",\"refresh_token\":\"rt-new\",\"expires_in\":3600,\"refresh_in\":0.001}",
        "{\"access_token\":\"at-new\",\"refresh_token\":\"rt-new\",\"expires_in\":1,\"refresh_in\":0.001}",
    };
    static const enum msg_reason reasons[] = { MSG_EXPIRING, MSG_MISSING, MSG_REJECTED };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        for (size_t n = 0; n < 4; n++) {
            assert_int_equal(teardown(s), 0);
            assert_int_equal(setup(s), 0);
            fake_store_put(&w.store, 5, "at-old", "rt-old", fake_wall_ms - 1000);
            begin();
            int asked = ask_for_ten_seconds(bodies[i], reasons[n % 3], n < 3);
            if (asked < 1 || asked > 11)
                fail_msg("body %zu, reason %zu: %d requests", i, n, asked);
        }
}

/* ---- those who wait ---- */

static void who_joins_too_late_for_a_flight_gets_one_of_its_own(void **s)
{
    (void)s;
    fake_journal.kind = JOURNAL_ANSWER;
    fake_journal.parent_gen = 5;
    fake_journal.state.generation = 6;
    fake_journal.state.obtained_wall_ms = fake_wall_ms;
    fake_journal.state.expires_wall_ms = fake_wall_ms + 60 * M;
    assert_int_equal(secret_set(&fake_journal.state.access_token, SLICE("at-spooled")), 0);
    assert_int_equal(secret_set(&fake_journal.state.refresh_token, SLICE("rt-spooled")), 0);
    account_start(&w.account);
    assert_true(fake_timer_next(0));
    fake_store_answer(&w.store);
    assert_int_equal(w.store.pending, FAKE_COMMIT);
    assert_int_equal(w.account.state.generation, 6);
    /* its answer is on its way: this flight cannot help */
    account_want(&w.account, &(struct schedule_need){ MSG_REJECTED, 6, false });
    assert_int_equal(fake_fetch.starts, 0);
    run(0);
    assert_int_equal(fake_fetch.starts, 1);
    assert_non_null(strstr(fake_fetch.body, "rt-spooled"));
    assert_int_equal(w.refused, 0);
}

static void who_joins_after_the_answer_is_told_so_and_the_floor_counts_from_there(void **s)
{
    (void)s;
    begin();
    run(48 * M);
    fake_fetch_say(200, GOOD);
    assert_int_equal(w.store.pending, FAKE_COMMIT);
    /* the new token was refused before it was stored */
    account_want(&w.account, &(struct schedule_need){ MSG_REJECTED, 6, false });
    run(0);
    assert_int_equal(w.refused, 1);
    assert_int_equal(w.failure, MSG_TRANSIENT);
    assert_int_equal(w.after_ms, S);
    assert_string_equal(w.text, "the new token was refused already");
    assert_int_equal(fake_fetch.starts, 1);
    run(S);
    want(MSG_REJECTED, 6);
    assert_int_equal(w.failure, MSG_RECENT); /* a refresh has just been made: 401s pass */
    run(29 * S);
    want(MSG_REJECTED, 6);
    assert_int_equal(fake_fetch.starts, 2);
}

static void refusals_of_one_generation_cost_one_refresh_and_further_ones_are_passed(void **s)
{
    (void)s;
    begin();
    for (int i = 0; i < 50; i++)
        want(MSG_REJECTED, 5);
    assert_int_equal(fake_fetch.starts, 1);
    answered(200, GOOD);
    int published = w.published;
    want(MSG_REJECTED, 5); /* a late one: the newer token is there */
    assert_int_equal(w.published, published + 1);
    want(MSG_REJECTED, 6);
    assert_int_equal(w.failure, MSG_RECENT);
    assert_int_equal(w.after_ms, 30 * S);
    run(30 * S - 1);
    want(MSG_REJECTED, 6);
    assert_int_equal(w.after_ms, 1);
    assert_int_equal(fake_fetch.starts, 1);
    run(1);
    want(MSG_REJECTED, 6);
    assert_int_equal(fake_fetch.starts, 2);
}

static void a_failure_is_remembered_until_its_pause_is_over(void **s)
{
    (void)s;
    w.store.stored.expires_wall_ms = fake_wall_ms - 1;
    begin();
    fake_fetch_fail(false, "no route");
    run(0);
    want(MSG_MISSING, 0);
    assert_int_equal(w.failure, MSG_TRANSIENT);
    int64_t after_ms = w.after_ms;
    assert_in_range(after_ms, 1, 200);
    for (int i = 0; i < 20; i++)
        want(MSG_MISSING, 0);
    assert_int_equal(fake_fetch.starts, 1);
    assert_int_equal(w.refused, 21);
    run(after_ms);
    want(MSG_MISSING, 0);
    assert_int_equal(fake_fetch.starts, 2);
}

/* An hour of outage, and then the pause that is left. */
static int64_t pause_after_an_outage(void)
{
    int64_t before_ms = fake_mono_ms;
    w.store.stored.expires_wall_ms = fake_wall_ms - 1;
    begin();
    while (fake_mono_ms - before_ms < 60 * M) {
        if (fake_fetch.pending)
            fake_fetch_fail(false, "no route");
        run(S);
    }
    while (fake_fetch.pending) {
        fake_fetch_fail(false, "no route");
        run(0);
    }
    return account_next_ms(&w.account) - fake_mono_ms;
}

static void after_an_outage_a_required_credential_is_asked_for_within_ten_seconds(void **s)
{
    (void)s;
    int64_t longest_ms = 0;
    for (int i = 0; i < 10; i++) {
        teardown(NULL);
        setup(NULL);
        w.spec.required = true;
        int64_t pause_ms = pause_after_an_outage();
        longest_ms = pause_ms > longest_ms ? pause_ms : longest_ms;
    }
    assert_in_range(longest_ms, 1, 10 * S);
}

static void a_required_credential_keeps_to_a_pause_that_was_asked_for(void **s)
{
    (void)s;
    w.spec.required = true;
    w.store.stored.expires_wall_ms = fake_wall_ms - 1;
    begin();
    fake_fetch_say_later(429, "{}", "120");
    run(0);
    assert_true(account_next_ms(&w.account) - fake_mono_ms >= 119 * S);
}

/* ---- what only a person can mend ---- */

static void a_wrong_client_is_tried_again_in_5_to_15_minutes_or_when_its_secret_changes(void **s)
{
    (void)s;
    w.store.stored.expires_wall_ms = fake_wall_ms - 1;
    begin();
    answered(401, "{\"error\":\"invalid_client\"}");
    assert_int_equal(count("background", "config"), 1);
    int64_t left_ms = account_next_ms(&w.account) - fake_mono_ms;
    assert_in_range(left_ms, 5 * M, 15 * M);
    run(left_ms - 1);
    assert_int_equal(fake_fetch.starts, 1);
    run(1);
    assert_int_equal(fake_fetch.starts, 2);
    answered(401, "{\"error\":\"invalid_client\"}");
    write_secret("another secret");
    run(10 * S); /* where inotify is silent; it is not looked at here */
    assert_int_equal(fake_fetch.starts, 3);
    answered(200, GOOD);
    assert_int_equal(w.account.state.generation, 6);
}

static void a_wrong_client_is_tried_again_when_the_token_of_another_machine_has_ended(void **s)
{
    (void)s;
    w.store.stored.expires_wall_ms = fake_wall_ms - 1;
    begin();
    answered(401, "{\"error\":\"invalid_client\"}");
    run(2 * S);
    fake_store_put(&w.store, 6, "at-other", "rt-other", fake_wall_ms - 1); /* by our clock, which is wrong */
    account_changed(&w.account);
    fake_store_answer(&w.store);
    run(10 * S);
    assert_int_equal(fake_fetch.starts, 2);
    answered(200, GOOD);
    assert_int_equal(w.account.state.generation, 7);
}

static void a_dead_credential_asks_once_an_hour(void **s)
{
    (void)s;
    begin();
    run(48 * M);
    answered(400, "{\"error\":\"invalid_grant\"}");
    for (int hour = 2; hour < 5; hour++) {
        fake_wall_ms += 60 * M;
        run(60 * M - 1);
        assert_int_equal(fake_fetch.starts, hour - 1);
        for (int i = 0; i < 11 * 60 && !fake_fetch.pending; i++)
            run(S);
        assert_int_equal(fake_fetch.starts, hour);
        answered(400, "{\"error\":\"invalid_grant\"}");
    }
    assert_int_equal(account_state(&w.account), MSG_REAUTH);
    write_secret("another secret"); /* and at once when another secret changes */
    run(10 * S);
    assert_int_equal(fake_fetch.starts, 5);
    answered(200, GOOD);
    assert_int_equal(account_state(&w.account), MSG_USABLE);
}

static void watch_refresh_token(void)
{
    account_done(&w.account);
    w.spec.client_auth = CLIENT_AUTH_NONE;
    w.spec.client_secret = (struct secret_ref){ SECRET_REF_NONE, NULL, NULL };
    w.spec.refresh_token = (struct secret_ref){ SECRET_REF_FILE, w.secret_file, NULL };
    assert_int_equal(account_init(&w.account, &w.spec, &w.env), 0);
}

static void a_new_refresh_token_in_its_file_is_tried_at_once_whatever_the_class(void **s)
{
    (void)s;
    write_secret("rt-seed");
    seal_fingerprint(w.flights.ring, SLICE("rt-seed"), w.store.stored.seed_fp);
    watch_refresh_token();
    begin();
    assert_int_equal(fake_fetch.starts, 0); /* the configured one is known */
    run(48 * M);
    answered(400, "{\"error\":\"something_new\"}");
    assert_int_equal(count("background", "config"), 1);
    write_secret("rt-person");
    run(10 * S);
    assert_int_equal(fake_fetch.starts, 2);
    assert_non_null(strstr(fake_fetch.body, "rt-person"));
    answered(200, GOOD);
    assert_int_equal(w.account.state.generation, 6);
    write_secret("rt-another"); /* and while all is well */
    run(10 * S);
    assert_int_equal(fake_fetch.starts, 3);
    assert_non_null(strstr(fake_fetch.body, "rt-another"));
    answered(400, "{\"error\":\"invalid_grant\"}");
    assert_int_equal(account_state(&w.account), MSG_USABLE); /* it was not the stored one */
    assert_int_equal(w.refused, 0);
    write_secret("rt-person"); /* known as spent */
    run(10 * S);
    assert_int_equal(fake_fetch.starts, 3);
}

static void a_new_refresh_token_that_came_during_a_restart_is_tried_once(void **s)
{
    (void)s;
    write_secret("rt-person");
    watch_refresh_token();
    begin();
    assert_int_equal(fake_fetch.starts, 1);
    assert_non_null(strstr(fake_fetch.body, "rt-person"));
    answered(400, "{\"error\":\"invalid_grant\"}");
    for (int restart = 0; restart < 3; restart++) {
        account_done(&w.account);
        assert_int_equal(account_init(&w.account, &w.spec, &w.env), 0);
        begin();
        run(S);
        assert_int_equal(fake_fetch.starts, 1);
    }
    account_reset(&w.account);
    run(0);
    assert_int_equal(fake_fetch.starts, 2);
    assert_non_null(strstr(fake_fetch.body, "rt-person"));
}

static void a_dead_credential_asks_nobody_until_the_stored_state_changes(void **s)
{
    (void)s;
    begin();
    run(48 * M);
    answered(400, "{\"error\":\"invalid_grant\"}");
    assert_int_equal(account_state(&w.account), MSG_REAUTH);
    assert_true(account_usable(&w.account)); /* the token serves to its end */
    run(12 * M - 1);
    assert_true(account_usable(&w.account));
    run(47 * M);
    assert_false(account_usable(&w.account));
    want(MSG_MISSING, 0);
    assert_int_equal(w.failure, MSG_DEAD);
    assert_int_equal(fake_fetch.starts, 1);
    w.store.stored.dead_fp[0] = '\0';
    fake_store_put(&w.store, 9, "at-login", "rt-login", fake_wall_ms - 1);
    account_changed(&w.account);
    run(0);
    assert_int_equal(fake_fetch.starts, 2);
    assert_non_null(strstr(fake_fetch.body, "rt-login"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_background_pass_asks_once_when_the_window_begins),
        T(held_elsewhere_is_skipped_and_looked_at_again_in_five_seconds),
        T(what_somebody_else_has_refreshed_is_taken_and_no_failure),
        T(the_same_token_again_is_asked_for_at_half_of_what_is_left),
        T(the_servers_hint_is_the_time_of_the_next_pass),
        T(whatever_the_server_says_there_is_one_request_a_second_at_most),
        T(who_joins_too_late_for_a_flight_gets_one_of_its_own),
        T(who_joins_after_the_answer_is_told_so_and_the_floor_counts_from_there),
        T(refusals_of_one_generation_cost_one_refresh_and_further_ones_are_passed),
        T(a_failure_is_remembered_until_its_pause_is_over),
        T(after_an_outage_a_required_credential_is_asked_for_within_ten_seconds),
        T(a_required_credential_keeps_to_a_pause_that_was_asked_for),
        T(a_wrong_client_is_tried_again_in_5_to_15_minutes_or_when_its_secret_changes),
        T(a_wrong_client_is_tried_again_when_the_token_of_another_machine_has_ended),
        T(a_dead_credential_asks_once_an_hour),
        T(a_new_refresh_token_in_its_file_is_tried_at_once_whatever_the_class),
        T(a_new_refresh_token_that_came_during_a_restart_is_tried_once),
        T(a_dead_credential_asks_nobody_until_the_stored_state_changes),
    };
    log_setup("test", LOG_ERROR + 1, LOG_LOGFMT, 2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
