/* links: tests/fakes/fake_leaf.c tests/fakes/fake_timer.c tests/fakes/fake_clock.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "proxy/leaves.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_timer.h"
#include "tests/fakes/fake_leaf.h"

static struct leaves *l;
static int mints;
static char minted[64];

static void on_mint(void *arg, const struct msg *m)
{
    (void)arg;
    mints++;
    snprintf(minted, sizeof minted, "%.*s", (int)m->name.len, m->name.ptr);
    assert_true(m->type == MSG_MINT && slice_eq(m->der, m->tag == TLS_LEAF_ECDSA ? SLICE("spki") : SLICE("rsa spki")));
}

static int up(void **state)
{
    (void)state;
    mints = 0;
    l = leaves_new(NULL, on_mint, NULL);
    return l ? 0 : -1;
}

static int down(void **state)
{
    (void)state;
    leaves_free(l);
    return fake_leaves + fake_timer_count();
}

struct waiter {
    struct leaf_wait wait;
    int calls, leaves;
    char error[128];
};

static void on_leaf(void *arg, struct tls_leaf *leaf, const char *error)
{
    struct waiter *w = arg;
    w->calls++;
    w->leaves += leaf != NULL;
    snprintf(w->error, sizeof w->error, "%s", error ? error : "");
    tls_leaf_free(leaf);
}

static void wait_for(struct waiter *w, const char *host)
{
    assert_int_equal(leaves_wait(l, TLS_LEAF_ECDSA, host, &w->wait, 1000, on_leaf, w), 0);
}

static void answer(const char *host, const char *der, int64_t lifetime_s)
{
    leaves_message(l, &(struct msg){ .type = MSG_LEAF,
                                     .name = slice_str(host),
                                     .der = slice_str(der),
                                     .text = SLICE("not this name"),
                                     .until_s = fake_wall_ms / 1000 + lifetime_s });
}

static bool have(const char *host)
{
    struct tls_leaf *leaf = leaves_get(l, TLS_LEAF_ECDSA, host);
    tls_leaf_free(leaf);
    return leaf != NULL;
}

static void keep_one(const char *host)
{
    struct waiter w = { .calls = 0 };
    wait_for(&w, host);
    answer(host, "der", 86400);
    assert_int_equal(w.leaves, 1);
}

static void all_who_wait_for_a_name_share_one_mint(void **state)
{
    struct waiter a = { .calls = 0 }, b = { .calls = 0 };
    (void)state;
    wait_for(&a, "a.test");
    wait_for(&b, "a.test");
    assert_int_equal(mints, 1);
    assert_string_equal(minted, "a.test");
    answer("a.test", "der", 86400);
    assert_true(a.leaves == 1 && b.leaves == 1 && have("a.test"));
    assert_int_equal(fake_leaves, 1);
}

static void a_refusal_reaches_all_who_wait_and_nothing_stays(void **state)
{
    struct waiter a = { .calls = 0 }, b = { .calls = 0 };
    (void)state;
    wait_for(&a, "a.test");
    wait_for(&b, "a.test");
    answer("a.test", "", 0);
    assert_true(a.calls == 1 && b.calls == 1 && a.leaves == 0);
    assert_string_equal(a.error, "not this name");
    wait_for(&a, "a.test");
    assert_int_equal(mints, 2);
    answer("a.test", "garbage", 86400);
    assert_true(a.calls == 2 && a.leaves == 0 && strstr(a.error, "does not match"));
    assert_false(have("a.test"));
}

static void who_waited_long_enough_is_told_and_the_late_answer_harms_nobody(void **state)
{
    struct waiter a = { .calls = 0 };
    (void)state;
    wait_for(&a, "a.test");
    fake_timer_run(1000);
    assert_true(a.calls == 1 && a.leaves == 0);
    answer("a.test", "der", 86400);
    assert_int_equal(a.calls, 1);
    answer("never-asked.test", "der", 86400);
    assert_false(have("never-asked.test"));
}

static void who_left_is_not_told(void **state)
{
    struct waiter a = { .calls = 0 }, b = { .calls = 0 };
    struct leaf_wait zero = { .fn = NULL };
    (void)state;
    leaves_wait_cancel(&zero);
    wait_for(&a, "a.test");
    wait_for(&b, "a.test");
    leaves_wait_cancel(&a.wait);
    leaves_wait_cancel(&a.wait);
    answer("a.test", "der", 86400);
    assert_true(a.calls == 0 && b.leaves == 1);
    leaves_wait_cancel(&b.wait);
    assert_true(have("a.test"));
}

static void the_last_one_who_leaves_takes_the_name_along(void **state)
{
    struct waiter a = { .calls = 0 };
    (void)state;
    for (int i = 0; i < 3; i++) {
        wait_for(&a, "a.test");
        leaves_wait_cancel(&a.wait);
    }
    assert_int_equal(mints, 3); /* each was the first again: nothing had stayed */
}

static void a_leaf_that_ends_within_the_hour_is_none(void **state)
{
    struct waiter a = { .calls = 0 };
    (void)state;
    wait_for(&a, "a.test");
    answer("a.test", "der", 3601);
    assert_true(have("a.test"));
    fake_wall_ms += 2000;
    assert_false(have("a.test"));
    fake_wall_ms -= 2000;
    assert_int_equal(fake_leaves, 0);
}

static void the_least_recently_used_name_makes_space(void **state)
{
    char host[32];
    (void)state;
    for (int i = 0; i < LEAVES_MAX; i++) {
        snprintf(host, sizeof host, "h%d.test", i);
        keep_one(host);
    }
    assert_true(have("h0.test"));
    keep_one("new.test");
    assert_true(have("h0.test") && have("new.test"));
    assert_false(have("h1.test"));
    assert_int_equal(fake_leaves, LEAVES_MAX);
}

static void a_new_keeper_is_asked_for_who_waits_and_what_was_signed_stays(void **state)
{
    struct waiter a = { .calls = 0 };
    (void)state;
    keep_one("kept.test");
    wait_for(&a, "a.test");
    mints = 0;
    leaves_resend(l);
    assert_true(mints == 1 && have("kept.test"));
    answer("a.test", "der", 86400);
    assert_int_equal(a.leaves, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

static void an_rsa_leaf_is_asked_for_when_its_key_is_there(void **state)
{
    struct waiter w = { .calls = 0 };
    (void)state;
    fake_rsa_there = false;
    assert_int_equal(leaves_wait(l, TLS_LEAF_RSA, "a.test", &w.wait, 1000, on_leaf, &w), 0);
    assert_int_equal(mints, 0);
    fake_rsa_made();
    assert_int_equal(mints, 1);
    assert_string_equal(minted, "a.test");
    /* The usual leaf of the same host is another one. */
    leaves_message(
        l, &(struct msg){ .type = MSG_LEAF, .name = SLICE("a.test"), .der = SLICE("der"), .until_s = INT64_MAX / 2 });
    assert_int_equal(w.calls, 0);
    leaves_message(l, &(struct msg){ .type = MSG_LEAF,
                                     .name = SLICE("a.test"),
                                     .tag = TLS_LEAF_RSA,
                                     .der = SLICE("der"),
                                     .until_s = INT64_MAX / 2 });
    assert_int_equal(w.leaves, 1);
    assert_null(leaves_get(l, TLS_LEAF_ECDSA, "a.test"));
    assert_null(leaves_get(l, TLS_LEAF_RSA_BY_RSA, "a.test"));
    struct tls_leaf *leaf = leaves_get(l, TLS_LEAF_RSA, "a.test");
    assert_non_null(leaf);
    tls_leaf_free(leaf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(all_who_wait_for_a_name_share_one_mint),
        T(an_rsa_leaf_is_asked_for_when_its_key_is_there),
        T(a_refusal_reaches_all_who_wait_and_nothing_stays),
        T(who_waited_long_enough_is_told_and_the_late_answer_harms_nobody),
        T(who_left_is_not_told),
        T(the_last_one_who_leaves_takes_the_name_along),
        T(a_leaf_that_ends_within_the_hour_is_none),
        T(the_least_recently_used_name_makes_space),
        T(a_new_keeper_is_asked_for_who_waits_and_what_was_signed_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
