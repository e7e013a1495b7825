/* replay.c: the copy of a body, and the account of all copies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proxy/replay.h"

static void a_body_within_the_cap_is_kept_whole(void **state)
{
    struct replay_pool pool = { 0, 100 };
    struct replay r = { .pool = NULL };
    (void)state;
    replay_init(&r, &pool, 10);
    replay_add(&r, SLICE("hello"));
    replay_add(&r, SLICE(""));
    replay_add(&r, SLICE("world"));
    assert_true(r.whole && slice_eq(buf_slice(&r.bytes), SLICE("helloworld")) && pool.used == 10
                && replay_space(&r) == 0);
    replay_done(&r);
    assert_int_equal(pool.used, 0);
}

static void one_byte_beyond_drops_everything_and_gives_it_back(void **state)
{
    struct replay_pool pool = { 0, 100 };
    struct replay r;
    (void)state;
    replay_init(&r, &pool, 10);
    replay_add(&r, SLICE("hello"));
    replay_add(&r, SLICE("worlds"));
    assert_true(!r.whole && r.bytes.len == 0 && pool.used == 0 && replay_space(&r) == 0);
    replay_add(&r, SLICE("x")); /* a part of it would be worse than nothing */
    assert_true(!r.whole && r.bytes.len == 0 && pool.used == 0);
    replay_done(&r);
    replay_done(&r);
    assert_int_equal(pool.used, 0);
}

static void all_copies_together_keep_to_the_pool(void **state)
{
    struct replay_pool pool = { 0, 12 };
    struct replay a, b;
    (void)state;
    replay_init(&a, &pool, 10);
    replay_init(&b, &pool, 10);
    replay_add(&a, SLICE("12345678"));
    assert_int_equal(replay_space(&a), 2);
    assert_int_equal(replay_space(&b), 4);
    replay_add(&b, SLICE("12345"));
    assert_true(!b.whole && a.whole && pool.used == 8);
    replay_done(&b);
    assert_int_equal(pool.used, 8);
    replay_done(&a);
    assert_int_equal(pool.used, 0);
}

static void with_no_room_at_all_only_an_empty_body_is_whole(void **state)
{
    struct replay_pool pool = { 0, 100 };
    struct replay r;
    (void)state;
    replay_init(&r, &pool, 0);
    replay_add(&r, SLICE(""));
    assert_true(r.whole);
    replay_add(&r, SLICE("x"));
    assert_false(r.whole);
    replay_done(&r);
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
        cmocka_unit_test(what_never_began_can_be_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
