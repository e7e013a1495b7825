/* How many token requests may be out at once, and whose turn it is (rule 1.2c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "refresh/flight/request_slots.h"

#include <stdio.h>

#define MANY 1000
#define A "a.test:443"

static struct request_slots all;
static struct request_slot slots[MANY];
static int granted[MANY], grants;

static void on_granted(void *arg)
{
    struct request_slot *s = arg;
    assert_true(s->held);
    granted[s - slots] = ++grants;
}

static int setup(void **state)
{
    (void)state;
    all = (struct request_slots){ .held = 0 };
    grants = 0;
    for (size_t i = 0; i < MANY; i++) {
        granted[i] = 0;
        request_slot_init(&slots[i], &all, on_granted, &slots[i]);
    }
    return 0;
}

static unsigned held(size_t from, size_t to)
{
    unsigned count = 0;
    for (size_t i = from; i < to; i++)
        count += slots[i].held;
    return count;
}

static void take(size_t from, size_t to, const char *host)
{
    for (size_t i = from; i < to; i++)
        (void)request_slot_take(&slots[i], host);
}

static void test_one_host_gets_eight_and_the_others_in_their_order(void **s)
{
    (void)s;
    take(0, MANY, A);
    assert_int_equal(held(0, 8), 8);
    assert_int_equal(held(8, MANY), 0);
    for (size_t i = 0; i < MANY; i++) {
        assert_true(slots[i].held);
        request_slot_give(&slots[i]);
        assert_int_equal(held(0, MANY), i + 8 < MANY ? 8 : MANY - i - 1);
    }
    for (size_t i = 8; i < MANY; i++)
        assert_int_equal(granted[i], (int)i - 7);
}

static void test_all_hosts_together_get_thirty_two(void **s)
{
    (void)s;
    for (size_t i = 0; i < MANY; i++) {
        char host[32];
        snprintf(host, sizeof host, "h%zu.test:443", i / 2);
        (void)request_slot_take(&slots[i], host);
        assert_true(held(0, MANY) <= REQUEST_SLOTS_ALL);
    }
    assert_int_equal(held(0, MANY), REQUEST_SLOTS_ALL);
    for (size_t i = 0; i < MANY; i++) {
        request_slot_give(&slots[i]);
        assert_true(held(0, MANY) <= REQUEST_SLOTS_ALL);
    }
    assert_int_equal(all.held, 0);
    assert_true(list_empty(&all.queue));
}

static void test_hosts_that_do_not_answer_leave_room_for_another(void **s)
{
    (void)s;
    for (size_t h = 0; h < 5; h++) {
        char host[32];
        snprintf(host, sizeof host, "dead%zu.test:443", h);
        take(100 * h, 100 * h + 100, host);
    }
    assert_int_equal(all.held, REQUEST_SLOTS_ALL - REQUEST_SLOTS_SPARE + 2); /* three take eight, two take one */
    assert_true(request_slot_take(&slots[900], "lives.test:443"));
}

static void test_a_free_slot_goes_to_the_host_with_the_fewest(void **s)
{
    (void)s;
    take(0, 50, A);
    take(50, 100, "b.test:443");
    take(100, 150, "c.test:443");
    for (size_t h = 0; h < 8; h++) {
        char host[32];
        snprintf(host, sizeof host, "x%zu.test:443", h);
        (void)request_slot_take(&slots[200 + h], host);
    }
    assert_int_equal(all.held, REQUEST_SLOTS_ALL);
    assert_false(request_slot_take(&slots[300], "late.test:443"));
    request_slot_give(&slots[0]);
    assert_int_equal(granted[300], 1);
}

static void test_a_host_name_that_only_begins_alike_is_another(void **s)
{
    (void)s;
    take(0, 8, A);
    assert_false(request_slot_take(&slots[8], A));
    assert_true(request_slot_take(&slots[9], A "3"));
}

static void test_who_leaves_the_queue_is_not_granted_and_takes_nothing_along(void **s)
{
    (void)s;
    take(0, 12, A);
    request_slot_give(&slots[8]);
    request_slot_give(&slots[8]);
    request_slot_give(&slots[0]);
    assert_int_equal(granted[8], 0);
    assert_int_equal(granted[9], 1);
    assert_int_equal(held(0, MANY), 8);
}

static void test_asking_again_changes_nothing_and_another_host_gives_the_first_back(void **s)
{
    (void)s;
    take(0, 9, A);
    assert_true(request_slot_take(&slots[0], A));
    assert_false(request_slot_take(&slots[8], A));
    assert_int_equal(all.held, 8);
    assert_true(request_slot_take(&slots[0], "b.test:443"));
    assert_int_equal(granted[8], 1);
    assert_int_equal(all.held, 9);
}

static void test_requests_without_a_host_count_in_all_only(void **s)
{
    (void)s;
    take(0, 100, "");
    assert_int_equal(all.held, REQUEST_SLOTS_ALL - REQUEST_SLOTS_SPARE);
    assert_true(request_slot_take(&slots[200], A));
}

#define T(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_one_host_gets_eight_and_the_others_in_their_order),
        T(test_all_hosts_together_get_thirty_two),
        T(test_hosts_that_do_not_answer_leave_room_for_another),
        T(test_a_free_slot_goes_to_the_host_with_the_fewest),
        T(test_a_host_name_that_only_begins_alike_is_another),
        T(test_who_leaves_the_queue_is_not_granted_and_takes_nothing_along),
        T(test_asking_again_changes_nothing_and_another_host_gives_the_first_back),
        T(test_requests_without_a_host_count_in_all_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
