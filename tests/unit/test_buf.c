/* buf.c: a queue of bytes with a cap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "base/buf.h"

static void bytes_come_out_in_the_order_in_which_they_went_in(void **state)
{
    struct buf b;
    unsigned next_in = 0, next_out = 0;
    (void)state;
    buf_init(&b, 5000);
    for (int round = 0; round < 3000; round++) {
        char piece[97];
        size_t n = (size_t)(round * 7) % sizeof piece;
        for (size_t i = 0; i < n; i++)
            piece[i] = (char)(next_in + i);
        if (buf_add(&b, slice_of(piece, n)) == 0)
            next_in += (unsigned)n;
        size_t take = (size_t)(round * 5) % 61;
        for (size_t i = 0; i < take && i < b.len; i++)
            assert_int_equal(buf_slice(&b).ptr[i], (char)(next_out + i));
        take = take < b.len ? take : b.len;
        buf_consume(&b, take);
        next_out += (unsigned)take;
    }
    assert_int_equal(b.len, next_in - next_out);
    buf_done(&b);
}

static void the_cap_holds_and_a_failure_changes_nothing(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 5);
    assert_int_equal(buf_add(&b, SLICE("abc")), 0);
    assert_int_equal(buf_add(&b, SLICE("def")), -ENOBUFS);
    assert_int_equal(buf_printf(&b, "%d", 123), -ENOBUFS);
    assert_null(buf_reserve(&b, 3));
    assert_true(slice_eq(buf_slice(&b), SLICE("abc")) && buf_space(&b) == 2);
    assert_int_equal(buf_printf(&b, "%d", 12), 0); /* to the last byte */
    assert_true(slice_eq(buf_slice(&b), SLICE("abc12")) && buf_space(&b) == 0);
    assert_int_equal(buf_add(&b, SLICE("")), 0);
    assert_int_equal(buf_add(&b, slice_of("x", SIZE_MAX)), -ENOBUFS);
    buf_consume(&b, 4);
    assert_int_equal(buf_add_str(&b, "wxyz"), 0);
    assert_true(slice_eq(buf_slice(&b), SLICE("2wxyz")));
    buf_done(&b);
    assert_int_equal(buf_add_str(&b, "again"), 0); /* done is empty and usable */
    buf_done(&b);
}

static void reserved_room_is_written_in_place(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 1000);
    assert_int_equal(buf_add_str(&b, "a"), 0);
    char *at = buf_reserve(&b, 900);
    assert_non_null(at);
    memset(at, 'b', 900);
    buf_grow(&b, 2);
    assert_true(slice_eq(buf_slice(&b), SLICE("abb")));
    buf_clear(&b);
    assert_true(b.len == 0 && b.space > 0 && buf_slice(&b).len == 0);
    buf_done(&b);
}

static void a_secret_is_wiped_when_it_is_consumed(void **state)
{
    struct buf b;
    (void)state;
    buf_init_secret(&b, 1000);
    assert_int_equal(buf_add_str(&b, "hunter2hunter2"), 0);
    const char *memory = b.data;
    buf_consume(&b, 7);
    assert_memory_equal(memory, "\0\0\0\0\0\0\0hunter2", 14);
    buf_clear(&b);
    for (size_t i = 0; i < 14; i++)
        assert_int_equal(memory[i], 0);
    buf_done(&b);
}

static void an_empty_buf_has_no_memory(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 10);
    assert_true(!b.data && buf_slice(&b).len == 0);
    buf_consume(&b, 0);
    buf_clear(&b);
    buf_done(&b);
    assert_int_equal(buf_printf(&b, "%s", ""), 0);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_out_in_the_order_in_which_they_went_in),
        cmocka_unit_test(the_cap_holds_and_a_failure_changes_nothing),
        cmocka_unit_test(reserved_room_is_written_in_place),
        cmocka_unit_test(a_secret_is_wiped_when_it_is_consumed),
        cmocka_unit_test(an_empty_buf_has_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
