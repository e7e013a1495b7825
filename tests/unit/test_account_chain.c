/* links: tests/fakes/fake_clock.c tests/fakes/fake_timer.c tests/fakes/fake_store.c tests/fakes/fake_fetch.c
 * tests/fakes/fake_journal.c tests/fakes/fake_command.c */
/* Chained credentials: grandparent, parent, child.  The parent refreshes first, one flight for each link, and whoever
 * waits learns what became of it.  Real flights; time is a number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "refresh/account.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_command.h"
#include "tests/fakes/fake_fetch.h"
#include "tests/fakes/fake_journal.h"
#include "tests/fakes/fake_store.h"
#include "tests/fakes/fake_timer.h"

#include <stdio.h>
#include <stdlib.h>

#define S 1000
#define M (60 * S)
#define TEXT(text) ((char *)(uintptr_t)(text))

enum { GRAND, PARENT, CHILD, LINKS };

static struct world {
    struct fake_store stores[LINKS];
    struct flight_env flights[LINKS];
    struct account_env envs[LINKS];
    struct credential_spec specs[LINKS];
    struct account accounts[LINKS];
    int published[LINKS], refused[LINKS];
    enum msg_class failure;
    char text[256];
} w;

static void on_publish(void *arg, const struct account *a)
{
    (void)arg;
    w.published[a - w.accounts]++;
}

static void on_refuse(void *arg, const struct account *a, enum msg_class failure, int64_t retry_after_ms,
                      const char *text)
{
    (void)arg;
    (void)retry_after_ms;
    w.refused[a - w.accounts]++;
    w.failure = failure;
    snprintf(w.text, sizeof w.text, "%s", text);
}

static void on_throttled(void *arg, const char *host, int64_t until_ms, bool told)
{
    (void)arg, (void)host, (void)until_ms, (void)told;
}

static void on_idle(void *arg)
{
    (void)arg;
}

static bool chained(void *arg, const char *credential, struct secret *ret)
{
    (void)arg;
    for (size_t i = 0; i < LINKS; i++)
        if (strcmp(w.specs[i].name, credential) == 0)
            return account_token(&w.accounts[i], ret);
    return false;
}

static int setup(void **state)
{
    static const char *const names[] = { "grand", "parent", "child" };
    struct err e;
    (void)state;
    memset(&w, 0, sizeof w);
    memset(&fake_fetch, 0, sizeof fake_fetch);
    fake_journal_reset();
    fake_command_reset();
    fake_mono_ms = 1000000;
    fake_wall_ms = 1700000000000;
    for (size_t i = 0; i < LINKS; i++) {
        fake_store_init(&w.stores[i]);
        w.specs[i] = (struct credential_spec){ .name = TEXT(names[i]),
                                               .grant = i == GRAND ? GRANT_CLIENT_CREDENTIALS : GRANT_TOKEN_EXCHANGE,
                                               .token_url = TEXT("https://login.test/token"),
                                               .client_id = TEXT("id"),
                                               .client_auth = CLIENT_AUTH_NONE,
                                               .forced_floor_ms = 30 * S };
        if (i != GRAND)
            w.specs[i].subject_token = (struct secret_ref){ SECRET_REF_CREDENTIAL, TEXT(names[i - 1]), NULL };
        w.flights[i] = (struct flight_env){
            .store = &w.stores[i].store, .lease_ms = M, .request_timeout_ms = 30 * S, .chained = chained
        };
        w.flights[i].ring = seal_ring_new(SLICE("0123456789abcdef0123456789abcdef"), SLICE(""), &e);
        w.envs[i] = (struct account_env){ &w.flights[i], metrics_new(), on_publish, on_refuse,
                                          on_throttled,  on_idle,       NULL,       false };
        if (!w.flights[i].ring || !w.envs[i].metrics || account_init(&w.accounts[i], &w.specs[i], &w.envs[i]) != 0)
            return -1;
    }
    for (size_t i = 0; i < LINKS; i++)
        if (account_link(&w.accounts[i], w.accounts, LINKS) != 0)
            return -1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < LINKS; i++)
        account_done(&w.accounts[i]);
    int left = fake_timer_count();
    for (size_t i = 0; i < LINKS; i++) {
        fake_store_done(&w.stores[i]);
        metrics_free(w.envs[i].metrics);
        seal_ring_free((struct seal_ring *)(uintptr_t)w.flights[i].ring);
    }
    fake_journal_reset();
    return left;
}

static bool answer_stores(void)
{
    bool any = false;
    for (size_t i = 0; i < LINKS; i++)
        while (w.stores[i].pending != FAKE_NONE) {
            fake_store_answer(&w.stores[i]);
            any = true;
        }
    return any;
}

static void run(int64_t ms)
{
    int64_t end_ms = fake_mono_ms + ms;
    for (int turns = 0; turns < 100000; turns++) {
        while (answer_stores())
            ;
        if (!fake_timer_next(end_ms - fake_mono_ms))
            return;
    }
    fail_msg("it goes round and round");
}

static void want(size_t which)
{
    account_want(&w.accounts[which], &(struct schedule_need){ MSG_MISSING, 0, false });
    run(0);
}

/* The request that is out has this in it; it gets that answer. */
static void answered(const char *has, int status, const char *body)
{
    assert_true(fake_fetch.pending);
    if (!strstr(fake_fetch.body, has))
        fail_msg("%s is not in %s", has, fake_fetch.body);
    fake_fetch_say(status, body);
    run(0);
}

static void token(const char *has, const char *access)
{
    char body[128];
    snprintf(body, sizeof body, "{\"access_token\":\"%s\",\"expires_in\":3600}", access);
    answered(has, 200, body);
}

static void the_parents_refresh_first_and_once_for_all_who_wait(void **s)
{
    (void)s;
    for (int i = 0; i < 10; i++)
        want(CHILD);
    token("grant_type=client_credentials", "at-grand");
    assert_int_equal(w.published[CHILD], 0);
    token("subject_token=at-grand", "at-parent");
    token("subject_token=at-parent", "at-child");
    assert_int_equal(fake_fetch.starts, 3);
    assert_true(account_usable(&w.accounts[CHILD]));
    assert_true(w.published[CHILD] > 0);
    assert_int_equal(w.refused[CHILD], 0);
}

static void two_children_of_one_parent_share_its_flight(void **s)
{
    (void)s;
    w.accounts[CHILD].parents[0].account = &w.accounts[GRAND];
    w.specs[CHILD].subject_token.name = TEXT("grand");
    want(CHILD);
    want(PARENT);
    assert_true(w.accounts[CHILD].held_by == &w.accounts[GRAND] && w.accounts[PARENT].held_by == &w.accounts[GRAND]);
    assert_int_equal(fake_fetch.starts, 1);
    w.stores[PARENT].held = true; /* the fake has one request at a time: this one waits for its lease */
    token("grant_type=client_credentials", "at-grand");
    token("subject_token=at-grand", "at-child");
    w.stores[PARENT].held = false;
    run(S);
    token("subject_token=at-grand", "at-parent");
    assert_int_equal(fake_fetch.starts, 3);
}

static void a_parent_that_has_a_token_is_not_asked(void **s)
{
    (void)s;
    want(PARENT);
    token("grant_type=client_credentials", "at-grand");
    token("subject_token=at-grand", "at-parent");
    want(CHILD);
    token("subject_token=at-parent", "at-child");
    assert_int_equal(fake_fetch.starts, 3);
}

static void a_parent_that_fails_is_named_and_its_next_token_frees_the_child(void **s)
{
    (void)s;
    want(CHILD);
    answered("client_credentials", 503, "");
    run(0);
    assert_int_equal(w.refused[CHILD], 1);
    assert_int_equal(w.failure, MSG_AMBIGUOUS);
    assert_non_null(strstr(w.text, "credential parent: credential grand: "));
    assert_int_equal(fake_fetch.starts, 1);
    assert_false(w.accounts[CHILD].held || w.accounts[PARENT].held);
    want(CHILD); /* too early: the same reason, and no request */
    assert_int_equal(w.refused[CHILD], 2);
    assert_int_equal(fake_fetch.starts, 1);
    run(M);
    want(GRAND); /* whoever brings the parent's token back: the children may try again at once */
    token("client_credentials", "at-grand");
    want(CHILD);
    token("subject_token=at-grand", "at-parent");
    token("subject_token=at-parent", "at-child");
    assert_true(account_usable(&w.accounts[CHILD]));
    assert_string_equal(w.accounts[CHILD].last_error, "");
}

static void a_parent_that_is_refused_for_good_is_the_reason(void **s)
{
    (void)s;
    want(CHILD);
    answered("client_credentials", 401, "{\"error\":\"invalid_client\"}");
    assert_int_equal(w.refused[CHILD], 1);
    assert_int_equal(w.failure, MSG_CONFIG_ERROR);
    assert_non_null(strstr(w.text, "credential grand: "));
    assert_non_null(strstr(w.text, "invalid_client"));
    assert_non_null(strstr(w.accounts[CHILD].last_error, "invalid_client"));
    want(CHILD);
    assert_int_equal(w.refused[CHILD], 2);
    assert_int_equal(fake_fetch.starts, 1);
}

static void a_token_of_the_parent_that_is_refused_is_not_used_twice(void **s)
{
    (void)s;
    want(CHILD);
    token("client_credentials", "at-grand");
    token("at-grand", "at-parent");
    answered("subject_token=at-parent", 400, "{\"error\":\"invalid_grant\"}");
    assert_int_equal(w.refused[CHILD], 1);
    run(5 * M);
    want(CHILD);
    token("subject_token=at-grand", "at-parent-2");
    token("subject_token=at-parent-2", "at-child");
    assert_true(account_usable(&w.accounts[CHILD]));
}

static void a_drain_ends_the_waiting(void **s)
{
    (void)s;
    want(CHILD);
    assert_true(w.accounts[CHILD].held);
    for (size_t i = 0; i < LINKS; i++)
        account_drain(&w.accounts[LINKS - 1 - i]);
    run(0);
    assert_int_equal(w.refused[CHILD], 1);
    assert_false(w.accounts[CHILD].held);
    token("client_credentials", "at-grand"); /* what was sent is finished */
    assert_int_equal(fake_fetch.starts, 1);
}

static void who_is_not_there_cannot_be_a_parent(void **s)
{
    (void)s;
    w.specs[CHILD].subject_token.name = TEXT("nobody");
    w.accounts[CHILD].parent_count = 0;
    assert_int_equal(account_link(&w.accounts[CHILD], w.accounts, LINKS), -2);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_parents_refresh_first_and_once_for_all_who_wait),
        TEST(two_children_of_one_parent_share_its_flight),
        TEST(a_parent_that_has_a_token_is_not_asked),
        TEST(a_parent_that_fails_is_named_and_its_next_token_frees_the_child),
        TEST(a_parent_that_is_refused_for_good_is_the_reason),
        TEST(a_token_of_the_parent_that_is_refused_is_not_used_twice),
        TEST(a_drain_ends_the_waiting),
        TEST(who_is_not_there_cannot_be_a_parent),
    };
    log_setup("test", LOG_ERROR, LOG_LOGFMT, 2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
