/* slice.c, hash.c, list.h, secret.c: the small things that all rooms stand on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/list.h"
#include "base/secret.h"

static const struct slice none = { NULL, 0 };

static void slices_compare_by_bytes(void **state)
{
    (void)state;
    assert_true(slice_eq(none, SLICE("")) && slice_eq(SLICE("ab"), SLICE("ab")) && !slice_eq(SLICE("ab"), SLICE("aB"))
                && !slice_eq(SLICE("a"), SLICE("ab")));
    assert_true(slice_ieq(SLICE("aBz"), SLICE("AbZ")) && !slice_ieq(SLICE("["), SLICE("{"))
                && !slice_ieq(SLICE("@"), SLICE("`")) && slice_ieq(none, none));
    assert_true(slice_eq(slice_of("a\0b", 3), slice_of("a\0b", 3))
                && !slice_eq(slice_of("a\0b", 3), slice_of("a\0c", 3)));
    assert_true(slice_eq_secret(SLICE("abc"), SLICE("abc")) && !slice_eq_secret(SLICE("abc"), SLICE("abd"))
                && !slice_eq_secret(SLICE("abcabc"), SLICE("abc")));
    for (size_t at = 0; at < 19; at++) { /* each of its bytes counts */
        char text[] = "eighteen and some..", other[sizeof text];
        memcpy(other, text, sizeof text);
        assert_true(slice_eq_secret(slice_str(text), slice_str(other)));
        other[at] ^= 0x40;
        assert_false(slice_eq_secret(slice_str(text), slice_str(other)));
    }
    assert_true(!slice_eq_secret(SLICE("abc"), none) && !slice_eq_secret(none, SLICE("abc"))
                && slice_eq_secret(none, none));
    assert_true(slice_starts(SLICE("abc"), SLICE("ab")) && slice_starts(SLICE("a"), none)
                && !slice_starts(SLICE("a"), SLICE("ab")));
}

static void slices_are_cut_without_reading_beyond(void **state)
{
    struct slice rest;
    (void)state;
    assert_true(slice_eq(slice_trim(SLICE(" \t a b\t ")), SLICE("a b")) && slice_trim(SLICE(" \t")).len == 0
                && slice_trim(none).len == 0);
    assert_true(slice_eq(slice_skip(SLICE("abc"), 1), SLICE("bc")) && slice_skip(SLICE("abc"), 9).len == 0
                && slice_skip(none, 3).len == 0);
    assert_true(slice_find(SLICE("abc"), 'c') == 2 && slice_find(SLICE("abc"), 'x') == 3 && slice_find(none, 'x') == 0);
    assert_true(slice_eq(slice_cut(SLICE("a=b=c"), '=', &rest), SLICE("a")) && slice_eq(rest, SLICE("b=c")));
    assert_true(slice_eq(slice_cut(SLICE("abc"), '=', &rest), SLICE("abc")) && rest.len == 0 && !rest.ptr);
    assert_true(slice_cut(SLICE("=b"), '=', &rest).len == 0 && slice_eq(rest, SLICE("b")));
    assert_true(slice_cut(SLICE("a="), '=', &rest).len == 1 && rest.len == 0);
}

static void numbers_are_plain_digits_within_their_limit(void **state)
{
    static const struct {
        const char *text;
        uint64_t max, value;
        int failed;
    } table[] = {
        { "0", 0, 0, 0 },
        { "7", 7, 7, 0 },
        { "8", 7, 0, -ERANGE },
        { "18446744073709551615", UINT64_MAX, UINT64_MAX, 0 },
        { "18446744073709551616", UINT64_MAX, 0, -ERANGE },
        { "99999999999999999999999", UINT64_MAX, 0, -ERANGE },
        { "007", 7, 7, 0 },
        { "", 9, 0, -EINVAL },
        { "+1", 9, 0, -EINVAL },
        { "-1", 9, 0, -EINVAL },
        { " 1", 9, 0, -EINVAL },
        { "1 ", 9, 0, -EINVAL },
        { "0x1", 9, 0, -EINVAL },
        { "5", 3, 0, -ERANGE },
        { "10", 9, 0, -ERANGE },
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint64_t value = 42;
        assert_int_equal(slice_u64(slice_str(table[i].text), table[i].max, &value), table[i].failed);
        assert_int_equal(value, table[i].failed ? 42 : table[i].value);
    }
}

static void copies_end_with_a_nul(void **state)
{
    (void)state;
    char *a = slice_dup(SLICE("abc")), *b = slice_dup(none);
    assert_string_equal(a, "abc");
    assert_string_equal(b, "");
    free(a);
    free(b);
}

static void count_and_remove_even(void *arg, struct slice key, void *value)
{
    struct hash *h = arg;
    size_t number = *(size_t *)value;
    if (number % 2 == 0)
        assert_ptr_equal(hash_remove(h, key), value); /* the key lies in the table itself */
}

static void a_table_finds_what_was_put_and_nothing_else(void **state)
{
    enum { MANY = 5000 };
    static size_t values[MANY];
    char key[32];
    (void)state;
    struct hash *h = hash_new();
    assert_non_null(h);
    for (size_t i = 0; i < MANY; i++) {
        values[i] = i;
        snprintf(key, sizeof key, "key-%zu", i);
        assert_int_equal(hash_put(h, slice_str(key), &values[i]), 0);
    }
    assert_int_equal(hash_put(h, SLICE("key-7"), &values[8]), 0); /* replaces */
    assert_ptr_equal(hash_get(h, SLICE("key-7")), &values[8]);
    assert_int_equal(hash_put(h, SLICE("key-7"), &values[7]), 0);
    assert_int_equal(hash_count(h), MANY);
    hash_each(h, count_and_remove_even, h);
    assert_int_equal(hash_count(h), MANY / 2);
    for (size_t i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "key-%zu", i);
        assert_ptr_equal(hash_get(h, slice_str(key)), i % 2 ? &values[i] : NULL);
    }
    assert_null(hash_get(h, SLICE("")));
    assert_null(hash_remove(h, SLICE("key-0")));
    assert_int_equal(hash_put(h, slice_of("a\0b", 3), &values[0]), 0);
    assert_null(hash_get(h, SLICE("a")));
    hash_free(h);
    hash_free(NULL);
}

static void a_list_keeps_its_order_and_nodes_leave_any_number_of_times(void **state)
{
    struct list head, other, nodes[3];
    (void)state;
    list_init(&head);
    for (int i = 0; i < 3; i++) {
        list_init(&nodes[i]);
        list_push(&head, &nodes[i]);
    }
    list_remove(&nodes[1]);
    list_remove(&nodes[1]);
    list_unshift(&head, &nodes[1]);
    list_take(&other, &head);
    assert_true(list_empty(&head));
    assert_ptr_equal(list_shift(&other), &nodes[1]);
    assert_ptr_equal(list_shift(&other), &nodes[0]);
    assert_ptr_equal(list_shift(&other), &nodes[2]);
    assert_null(list_shift(&other));
    list_take(&other, &head);
    assert_true(list_empty(&other));
}

static void a_secret_is_a_copy_and_empty_when_it_is_done(void **state)
{
    char text[] = "hunter2";
    struct secret s = { NULL, 0, 0 };
    (void)state;
    assert_true(secret_empty(&s));
    assert_int_equal(secret_set(&s, slice_str(text)), 0);
    memset(text, 'x', sizeof text - 1);
    assert_true(slice_eq(secret_peek(&s), SLICE("hunter2")));
    assert_int_equal(secret_set(&s, slice_skip(secret_peek(&s), 6)), 0); /* from itself */
    assert_true(slice_eq(secret_peek(&s), SLICE("2")));
    assert_int_equal(secret_set(&s, none), 0);
    assert_true(secret_empty(&s) && !s.ptr);
    secret_done(&s);
    secret_done(&s);
}

/* VmFlags: "dd" = left out of core dumps. */
static void a_secret_stays_out_of_core_dumps(void **state)
{
    struct secret s = { NULL, 0, 0 };
    char line[512], start[32];
    bool mine = false, kept_out = false;
    (void)state;
    assert_int_equal(secret_set(&s, SLICE("hunter2")), 0);
    snprintf(start, sizeof start, "%lx-", (unsigned long)(uintptr_t)s.ptr);
    FILE *maps = fopen("/proc/self/smaps", "r");
    if (!maps)
        skip();
    while (fgets(line, sizeof line, maps)) {
        if (strncmp(line, start, strlen(start)) == 0)
            mine = true;
        else if (mine && strncmp(line, "VmFlags:", 8) == 0) {
            kept_out = strstr(line, " dd") != NULL;
            break;
        }
    }
    fclose(maps);
    assert_true(mine && kept_out);
    secret_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_compare_by_bytes),
        cmocka_unit_test(slices_are_cut_without_reading_beyond),
        cmocka_unit_test(numbers_are_plain_digits_within_their_limit),
        cmocka_unit_test(copies_end_with_a_nul),
        cmocka_unit_test(a_table_finds_what_was_put_and_nothing_else),
        cmocka_unit_test(a_list_keeps_its_order_and_nodes_leave_any_number_of_times),
        cmocka_unit_test(a_secret_is_a_copy_and_empty_when_it_is_done),
        cmocka_unit_test(a_secret_stays_out_of_core_dumps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
