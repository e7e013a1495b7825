/* replay.c: the copy of a body, and the account of all copies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/replay.h"

static void a_body_within_the_cap_is_kept_whole(void **state)
{
    struct replay_pool pool;
    replay_pool_init(&pool, 100, 0, 100);
    struct replay r = { .pool = NULL };
    (void)state;
    replay_init(&r, &pool, NULL, 10);
    replay_add(&r, SLICE("hello"), 0);
    replay_add(&r, SLICE(""), 0);
    replay_add(&r, SLICE("world"), 0);
    assert_true(r.whole && slice_eq(buf_slice(&r.bytes), SLICE("helloworld")) && pool.used == 10
                && replay_space(&r, 100, 0) == 0);
    replay_done(&r);
    assert_int_equal(pool.used, 0);
}

static void one_byte_beyond_drops_everything_and_gives_it_back(void **state)
{
    struct replay_pool pool;
    replay_pool_init(&pool, 100, 0, 100);
    struct replay r;
    (void)state;
    replay_init(&r, &pool, NULL, 10);
    replay_add(&r, SLICE("hello"), 0);
    replay_add(&r, SLICE("worlds"), 0);
    assert_true(!r.whole && r.bytes.len == 0 && pool.used == 0 && replay_space(&r, 100, 0) == 0);
    replay_add(&r, SLICE("x"), 0); /* a part of it would be worse than nothing */
    assert_true(!r.whole && r.bytes.len == 0 && pool.used == 0);
    replay_done(&r);
    replay_done(&r);
    assert_int_equal(pool.used, 0);
}

static void all_copies_together_keep_to_the_pool(void **state)
{
    struct replay_pool pool;
    replay_pool_init(&pool, 12, 0, 12);
    struct replay a, b;
    (void)state;
    replay_init(&a, &pool, NULL, 10);
    replay_init(&b, &pool, NULL, 10);
    replay_add(&a, SLICE("12345678"), 0);
    assert_int_equal(replay_space(&a, 100, 0), 2);
    assert_int_equal(replay_space(&b, 100, 0), 4);
    replay_add(&b, SLICE("12345"), 0);
    assert_true(!b.whole && a.whole && pool.used == 8);
    replay_done(&b);
    assert_int_equal(pool.used, 8);
    replay_done(&a);
    assert_int_equal(pool.used, 0);
}

static void with_no_room_at_all_only_an_empty_body_is_whole(void **state)
{
    struct replay_pool pool;
    replay_pool_init(&pool, 100, 0, 100);
    struct replay r;
    (void)state;
    replay_init(&r, &pool, NULL, 0);
    replay_add(&r, SLICE(""), 0);
    assert_true(r.whole);
    replay_add(&r, SLICE("x"), 0);
    assert_false(r.whole);
    replay_done(&r);
}

static void the_first_bytes_of_each_copy_are_its_own(void **state)
{
    struct replay_pool pool;
    struct replay big, small, late;
    (void)state;
    replay_pool_init(&pool, 10, 4, 10);
    replay_init(&big, &pool, NULL, 100);
    replay_init(&small, &pool, NULL, 100);
    replay_init(&late, &pool, NULL, 100);
    replay_add(&big, SLICE("12345678901234"), 0);
    assert_true(big.whole && pool.used == 10);
    replay_add(&small, SLICE("123"), 0);
    replay_add(&small, SLICE("4"), 0);
    assert_true(small.whole && pool.used == 10 && replay_space(&small, 100, 0) == 0);
    replay_add(&late, SLICE("12345"), 0);
    assert_true(!late.whole && big.whole && small.whole && pool.used == 10);
    replay_done(&big);
    assert_int_equal(pool.used, 0);
    assert_int_equal(replay_space(&small, 100, 0), 10);
    replay_done(&small);
}

static void copies_that_stand_still_are_given_up_first(void **state)
{
    struct replay_pool pool;
    struct replay r[4];
    (void)state;
    replay_pool_init(&pool, 9, 0, 9);
    for (int i = 0; i < 4; i++)
        replay_init(&r[i], &pool, NULL, 100);
    replay_add(&r[0], SLICE("123"), 0);
    replay_add(&r[1], SLICE("123"), 1000);
    replay_add(&r[2], SLICE("123"), REPLAY_STALLED_MS - 1);
    assert_int_equal(replay_space(&r[3], 3, REPLAY_STALLED_MS - 1), 0); /* nobody stands still yet */
    assert_int_equal(replay_space(&r[3], 3, REPLAY_STALLED_MS), 3);
    assert_true(!r[0].whole && r[1].whole && r[2].whole && pool.used == 6);
    replay_add(&r[1], SLICE("4"), 3500); /* it moves */
    replay_add(&r[3], SLICE("1234"), 5000);
    assert_true(r[1].whole && !r[2].whole && r[3].whole && pool.used == 8);
    r[1].pinned = true; /* its second send is under way */
    replay_init(&r[0], &pool, NULL, 100);
    replay_add(&r[0], SLICE("12"), 6000);
    assert_true(r[1].whole && r[3].whole && !r[0].whole);
    replay_add(&r[3], SLICE("56789"), 60000); /* never itself */
    assert_true(r[1].whole && !r[3].whole && pool.used == 4);
    replay_done(&r[1]);
    assert_int_equal(pool.used, 0);
}

static void a_client_has_its_share_and_pays_with_its_own_copies(void **state)
{
    struct replay_pool pool;
    struct replay_share greedy = { 0 }, modest = { 0 };
    struct replay r[5];
    (void)state;
    replay_pool_init(&pool, 10, 1, 5);
    for (int i = 0; i < 5; i++)
        replay_init(&r[i], &pool, i < 3 ? &greedy : &modest, 100);
    replay_add(&r[3], SLICE("1234"), 0);
    replay_add(&r[0], SLICE("1234"), 0);
    replay_add(&r[1], SLICE("123"), 1000);
    assert_true(r[0].whole && r[1].whole && greedy.used == 5);
    replay_add(&r[2], SLICE("12"), 1000);
    assert_true(!r[2].whole && greedy.used == 5);
    replay_add(&r[4], SLICE("123"), 1000);
    assert_true(r[4].whole && modest.used == 5 && pool.used == 10);
    replay_init(&r[2], &pool, &greedy, 100);
    replay_add(&r[2], SLICE("12"), REPLAY_STALLED_MS);
    assert_true(r[2].whole && !r[0].whole && r[3].whole);
    for (int i = 0; i < 5; i++)
        replay_done(&r[i]);
    assert_true(pool.used == 0 && greedy.used == 0 && modest.used == 0);
}

static void what_never_began_can_be_ended(void **state)
{
    struct replay r = { .pool = NULL };
    (void)state;
    replay_done(&r);
    assert_false(r.whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_within_the_cap_is_kept_whole),
        cmocka_unit_test(one_byte_beyond_drops_everything_and_gives_it_back),
        cmocka_unit_test(all_copies_together_keep_to_the_pool),
        cmocka_unit_test(with_no_room_at_all_only_an_empty_body_is_whole),
        cmocka_unit_test(the_first_bytes_of_each_copy_are_its_own),
        cmocka_unit_test(copies_that_stand_still_are_given_up_first),
        cmocka_unit_test(a_client_has_its_share_and_pays_with_its_own_copies),
        cmocka_unit_test(what_never_began_can_be_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
