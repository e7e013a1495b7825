/* links: tests/fakes/fake_timer.c tests/fakes/fake_clock.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "proxy/tokens.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_timer.h"

static struct tokens *t;
static struct credential *crm;
static struct msg sent[64];
static int wants;

static void on_want(void *arg, const struct msg *want)
{
    (void)arg;
    sent[wants++] = *want;
}

static int up(void **state)
{
    (void)state;
    wants = 0;
    t = tokens_new(on_want, NULL);
    crm = t ? tokens_credential(t, "crm") : NULL;
    return crm ? 0 : -1;
}

static int down(void **state)
{
    (void)state;
    tokens_free(t);
    return fake_timer_count();
}

static void token(uint64_t generation, const char *text, int64_t refresh_ms, int64_t lifetime_ms)
{
    tokens_message(t, &(struct msg){ .type = MSG_TOKEN,
                                     .name = SLICE("crm"),
                                     .generation = generation,
                                     .state = MSG_USABLE,
                                     .token = slice_str(text),
                                     .refresh_at_ms = fake_mono_ms + refresh_ms,
                                     .expires_ms = fake_mono_ms + lifetime_ms });
}

static void fail_with(enum msg_class failure, int64_t after_ms)
{
    tokens_message(t, &(struct msg){ .type = MSG_FAIL,
                                     .name = SLICE("crm"),
                                     .failure = failure,
                                     .retry_after_ms = after_ms,
                                     .text = SLICE("because") });
}

static bool have(const char *text)
{
    const struct token *at = tokens_get(t, crm, fake_mono_ms);
    return text ? at && slice_eq(secret_peek(&at->secret), slice_str(text)) : !at;
}

struct waiter {
    struct token_wait wait;
    int calls;
    enum token_verdict verdict;
    struct token_refusal refusal;
    struct waiter *cancels, *again; /* what it does when it is told */
};

static void on_token(void *arg, enum token_verdict verdict, const struct token_refusal *refusal)
{
    struct waiter *w = arg;
    w->calls++;
    w->verdict = verdict;
    if (refusal)
        w->refusal = *refusal;
    if (w->cancels)
        tokens_wait_cancel(&w->cancels->wait);
    if (w->again)
        tokens_wait(t, crm, &w->again->wait, MSG_REJECTED, 99, 1000, on_token, w->again);
}

static void wait_for(struct waiter *w, enum msg_reason reason, uint64_t rejected, int64_t ms)
{
    tokens_wait(t, crm, &w->wait, reason, rejected, ms, on_token, w);
}

static void a_token_is_given_until_its_last_millisecond_and_never_after(void **state)
{
    (void)state;
    assert_true(have(NULL));
    token(1, "one", 1000, 1000);
    fake_mono_ms += 999;
    assert_true(have("one"));
    fake_mono_ms += 1;
    assert_true(have(NULL));
    assert_int_equal(tokens_generation(crm), 1);
}

static void an_empty_or_revoked_token_is_none(void **state)
{
    (void)state;
    token(1, "", 1000, 1000);
    assert_true(have(NULL));
    token(2, "two", 1000, 1000);
    tokens_message(t, &(struct msg){ .type = MSG_TOKEN, .name = SLICE("crm"), .generation = 2, .state = MSG_REAUTH });
    assert_true(have(NULL));
}

static void near_its_end_one_background_question_goes_out_per_five_seconds(void **state)
{
    (void)state;
    token(1, "one", 1000, 60000);
    have("one");
    assert_int_equal(wants, 0);
    fake_mono_ms += 1000;
    for (int i = 0; i < 100; i++)
        assert_true(have("one"));
    assert_int_equal(wants, 1);
    assert_int_equal(sent[0].reason, MSG_EXPIRING);
    fake_mono_ms += 5000;
    assert_true(have("one"));
    assert_int_equal(wants, 2);
    token(2, "two", 0, 60000); /* a new one may be asked for at once again */
    assert_true(have("two"));
    assert_int_equal(wants, 3);
}

static void an_older_generation_never_replaces_a_newer_one(void **state)
{
    (void)state;
    token(5, "five", 1000, 1000);
    token(4, "four", 1000, 1000);
    assert_true(have("five"));
    token(6, "six", 1000, 1000);
    assert_true(have("six"));
}

static void extras_come_along(void **state)
{
    (void)state;
    tokens_message(t, &(struct msg){ .type = MSG_TOKEN,
                                     .name = SLICE("crm"),
                                     .generation = 1,
                                     .state = MSG_USABLE,
                                     .token = SLICE("one"),
                                     .expires_ms = MSG_NEVER,
                                     .refresh_at_ms = MSG_NEVER,
                                     .extra_count = 1,
                                     .extras = { { SLICE("instance_url"), SLICE("https://a.test") } } });
    const struct token *at = tokens_get(t, crm, fake_mono_ms);
    assert_non_null(at);
    assert_int_equal(at->extra_count, 1);
    assert_string_equal(at->extras[0].key, "instance_url");
    assert_string_equal(at->extras[0].value, "https://a.test");
}

static void who_waits_is_told_of_a_token_that_is_new_enough_for_it(void **state)
{
    struct waiter any = { .calls = 0 }, newer = { .calls = 0 };
    (void)state;
    wait_for(&any, MSG_MISSING, 0, 1000);
    wait_for(&newer, MSG_REJECTED, 3, 1000);
    assert_true(wants == 2 && sent[1].reason == MSG_REJECTED && sent[1].generation == 3
                && sent[1].deadline_ms == fake_mono_ms + 1000);
    token(3, "three", 1000, 1000);
    assert_true(any.calls == 1 && any.verdict == TOKEN_OK && newer.calls == 0 && tokens_waiting(t) == 1);
    token(4, "four", 1000, 1000);
    assert_true(any.calls == 1 && newer.calls == 1 && tokens_waiting(t) == 0);
}

static void a_token_that_has_expired_on_the_way_wakes_nobody(void **state)
{
    struct waiter w = { .calls = 0 };
    (void)state;
    wait_for(&w, MSG_MISSING, 0, 1000);
    token(1, "one", 0, 0);
    assert_int_equal(w.calls, 0);
    fake_timer_run(1000);
    assert_true(w.calls == 1 && w.verdict == TOKEN_TIMEOUT && tokens_waiting(t) == 0);
}

static void a_refusal_ends_the_wait_unless_it_passes_in_time(void **state)
{
    static const struct {
        enum msg_class failure;
        int64_t after_ms;
        uint64_t rejected;
        bool told;
    } table[] = {
        { MSG_TRANSIENT, 500, 0, false }, { MSG_AMBIGUOUS, 500, 0, false }, { MSG_THROTTLE, 500, 0, false },
        { MSG_STORE, 500, 0, false },     { MSG_TRANSIENT, 0, 0, true },    { MSG_TRANSIENT, 1000, 0, true },
        { MSG_TRANSIENT, 500, 7, true },  { MSG_DEAD, 500, 0, true },       { MSG_CONFIG_ERROR, 500, 0, true },
        { MSG_CLOCK, 500, 0, true },      { MSG_RECENT, 500, 0, true },
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct waiter w = { .calls = 0 };
        wait_for(&w, MSG_MISSING, table[i].rejected, 1000);
        int before = wants;
        fail_with(table[i].failure, table[i].after_ms);
        assert_int_equal(w.calls, table[i].told);
        if (table[i].told) {
            assert_true(w.verdict == TOKEN_REFUSED && w.refusal.failure == table[i].failure
                        && w.refusal.retry_after_ms == table[i].after_ms);
            assert_string_equal(w.refusal.text, "because");
            continue;
        }
        fake_timer_run(600);
        assert_int_equal(wants, before + 1); /* asked anew when its time had come */
        tokens_wait_cancel(&w.wait);
    }
}

/* A refusal that passes in time is not told at once; it is what the waiter hears when its time is over. */
static void who_waits_in_vain_is_told_what_stood_in_the_way(void **state)
{
    struct waiter early = { .calls = 0 }, late = { .calls = 0 };
    (void)state;
    wait_for(&early, MSG_MISSING, 0, 1000);
    fail_with(MSG_STORE, 500);
    wait_for(&late, MSG_MISSING, 0, 1000);
    fake_timer_run(1000);
    assert_true(early.calls == 1 && early.verdict == TOKEN_TIMEOUT && early.refusal.failure == MSG_STORE
                && early.refusal.retry_after_ms > 0);
    assert_string_equal(early.refusal.text, "no token in time: because");
    assert_true(late.calls == 1 && late.verdict == TOKEN_TIMEOUT && late.refusal.failure == MSG_SLOW);
    /* while it waited nothing was said */
    assert_string_equal(late.refusal.text, "no token within limits.token_wait");
}

static void a_waiter_that_is_told_may_cancel_another_and_wait_anew(void **state)
{
    struct waiter first = { .calls = 0 }, second = { .calls = 0 }, third = { .calls = 0 }, again = { .calls = 0 };
    (void)state;
    first.cancels = &second;
    third.again = &again;
    wait_for(&first, MSG_MISSING, 0, 1000);
    wait_for(&second, MSG_MISSING, 0, 1000);
    wait_for(&third, MSG_MISSING, 0, 1000);
    token(1, "one", 1000, 1000);
    assert_true(first.calls == 1 && second.calls == 0 && third.calls == 1 && again.calls == 0
                && tokens_waiting(t) == 1);
    fail_with(MSG_DEAD, 0);
    assert_true(again.calls == 1 && tokens_waiting(t) == 0);
}

static void a_cancelled_wait_is_never_told_and_cancelling_is_harmless(void **state)
{
    struct waiter w = { .calls = 0 };
    struct token_wait zero = { .fn = NULL };
    (void)state;
    tokens_wait_cancel(&zero);
    wait_for(&w, MSG_MISSING, 0, 1000);
    tokens_wait_cancel(&w.wait);
    tokens_wait_cancel(&w.wait);
    token(1, "one", 1000, 1000);
    fake_timer_run(2000);
    assert_int_equal(w.calls, 0);
}

static void a_new_keeper_is_asked_for_everyone_who_waits(void **state)
{
    struct waiter a = { .calls = 0 }, b = { .calls = 0 };
    (void)state;
    wait_for(&a, MSG_MISSING, 0, 1000);
    wait_for(&b, MSG_REJECTED, 2, 2000);
    wants = 0;
    tokens_resend(t);
    assert_true(wants == 2 && sent[0].reason == MSG_MISSING && sent[1].reason == MSG_REJECTED
                && sent[1].generation == 2);
    tokens_wait_cancel(&a.wait);
    tokens_wait_cancel(&b.wait);
}

static void told(const char *name, enum msg_type type, uint64_t generation)
{
    tokens_message(t, &(struct msg){ .type = type,
                                     .name = slice_str(name),
                                     .generation = generation,
                                     .state = MSG_USABLE,
                                     .token = SLICE("secret"),
                                     .failure = MSG_DEAD,
                                     .text = SLICE("because"),
                                     .extra_count = 1,
                                     .extras = { { SLICE("instance_url"), SLICE("https://x") } },
                                     .expires_ms = fake_mono_ms + 1000 });
}

static void a_credential_that_no_rule_uses_can_be_waited_for_and_its_token_is_not_kept(void **state)
{
    (void)state;
    struct waiter a = { .calls = 0 };
    assert_null(tokens_find(t, SLICE("spare")));
    told("spare", MSG_FAIL, 0);
    assert_null(tokens_find(t, SLICE("spare")));
    told("spare", MSG_TOKEN, 1);
    struct credential *spare = tokens_find(t, SLICE("spare"));
    assert_non_null(spare);
    assert_string_equal(tokens_credential_name(spare), "spare");
    const struct token *at = tokens_get(t, spare, fake_mono_ms);
    assert_true(at && secret_empty(&at->secret) && at->extra_count == 0);
    tokens_wait(t, spare, &a.wait, MSG_FORCED, tokens_generation(spare), 1000, on_token, &a);
    told("spare", MSG_TOKEN, 1);
    assert_int_equal(a.calls, 0);
    told("spare", MSG_TOKEN, 2);
    assert_true(a.calls == 1 && a.verdict == TOKEN_OK);
    a = (struct waiter){ .calls = 0 };
    tokens_wait(t, spare, &a.wait, MSG_FORCED, tokens_generation(spare), 1000, on_token, &a);
    told("spare", MSG_FAIL, 2);
    assert_true(a.calls == 1 && a.verdict == TOKEN_REFUSED && a.refusal.failure == MSG_DEAD);
    assert_ptr_equal(tokens_credential(t, "crm"), crm);
    assert_string_equal(tokens_credential_name(crm), "crm");
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_token_is_given_until_its_last_millisecond_and_never_after),
        T(an_empty_or_revoked_token_is_none),
        T(near_its_end_one_background_question_goes_out_per_five_seconds),
        T(an_older_generation_never_replaces_a_newer_one),
        T(extras_come_along),
        T(who_waits_is_told_of_a_token_that_is_new_enough_for_it),
        T(a_token_that_has_expired_on_the_way_wakes_nobody),
        T(a_refusal_ends_the_wait_unless_it_passes_in_time),
        T(who_waits_in_vain_is_told_what_stood_in_the_way),
        T(a_waiter_that_is_told_may_cancel_another_and_wait_anew),
        T(a_cancelled_wait_is_never_told_and_cancelling_is_harmless),
        T(a_new_keeper_is_asked_for_everyone_who_waits),
        T(a_credential_that_no_rule_uses_can_be_waited_for_and_its_token_is_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
