/* Unit tests of app/config/config_seen: what a reload would read, the same or not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/config/config_seen.h"

static struct config_seen seen_of(const char *text, const char *path)
{
    struct config_seen seen = { 0 };
    config_seen_bytes(&seen, slice_str(text));
    config_seen_file(&seen, path);
    return seen;
}

static void bytes_and_files_count(void **state)
{
    (void)state;
    char path[] = "/tmp/sidekey-seen-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct config_seen first = seen_of("a", path), same = seen_of("a", path), other = seen_of("b", path);
    struct config_seen elsewhere = seen_of("a", "/nowhere/at/all");
    assert_true(config_seen_same(&first, &same));
    assert_false(config_seen_same(&first, &other));
    assert_false(config_seen_same(&first, &elsewhere));
    assert_int_equal(write(fd, "x", 1), 1);
    struct config_seen longer = seen_of("a", path);
    assert_false(config_seen_same(&first, &longer));
    assert_int_equal(futimens(fd, (struct timespec[]){ { 7, 0 }, { 7, 0 } }), 0);
    struct config_seen touched = seen_of("a", path);
    assert_false(config_seen_same(&longer, &touched));
    unlink(path);
    struct config_seen gone = seen_of("a", path);
    assert_false(config_seen_same(&touched, &gone));
    close(fd);
}

static void where_one_ends_and_the_next_begins_counts(void **state)
{
    (void)state;
    struct config_seen a = { 0 }, b = { 0 };
    config_seen_bytes(&a, SLICE("ab"));
    config_seen_bytes(&a, SLICE("c"));
    config_seen_bytes(&b, SLICE("a"));
    config_seen_bytes(&b, SLICE("bc"));
    assert_false(config_seen_same(&a, &b));
}

static void what_a_program_prints_is_never_the_same(void **state)
{
    (void)state;
    struct config_seen a = seen_of("a", "/"), b = a;
    assert_true(config_seen_same(&a, &b));
    b.unknown = true;
    assert_false(config_seen_same(&a, &b));
    assert_false(config_seen_same(&b, &b));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_and_files_count),
        cmocka_unit_test(where_one_ends_and_the_next_begins_counts),
        cmocka_unit_test(what_a_program_prints_is_never_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
