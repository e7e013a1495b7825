#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/dir_trust.h"

static char top[64];

/* The directories that were synced, in order.  This stands in the place of libc's. */
static ino_t synced[8];
static size_t synced_count;

int fsync(int fd)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) && synced_count < sizeof synced / sizeof *synced)
        synced[synced_count++] = st.st_ino;
    return (int)syscall(SYS_fsync, fd);
}

static int setup(void **state)
{
    (void)state;
    snprintf(top, sizeof top, "/tmp/test_dir_trust.XXXXXX");
    return mkdtemp(top) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return rmdir(top);
}

static const char *below(const char *name)
{
    static char path[4][96];
    static unsigned next;
    char *at = path[next++ % 4];
    snprintf(at, sizeof path[0], "%s%s", top, name);
    return at;
}

static struct stat stat_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st;
}

static void assert_synced(size_t i, const char *path)
{
    assert_true(i < synced_count);
    assert_int_equal(synced[i], stat_of(path).st_ino);
}

static void a_directory_that_is_made_is_on_disk_by_the_one_above_it(void **state)
{
    (void)state;
    synced_count = 0;
    assert_int_equal(dir_trust_make(below("/state"), 0700), 0);
    assert_int_equal(synced_count, 1);
    assert_synced(0, top);
    assert_int_equal(stat_of(below("/state")).st_mode & 07777, 0700);
    assert_int_equal(dir_trust_make(below("/state"), 0755), 0); /* it is there: nothing is made, nothing is changed */
    assert_int_equal(synced_count, 1);
    assert_int_equal(stat_of(below("/state")).st_mode & 07777, 0700);
    assert_int_equal(rmdir(below("/state")), 0);
}

static void each_one_on_the_way_from_the_home_directory_too(void **state)
{
    (void)state;
    assert_int_equal(setenv("HOME", top, 1), 0);
    synced_count = 0;
    assert_int_equal(dir_trust_make(below("/.local/state/sidekey"), 0700), 0);
    assert_int_equal(synced_count, 3);
    assert_synced(0, top);
    assert_synced(1, below("/.local"));
    assert_synced(2, below("/.local/state"));
    assert_int_equal(rmdir(below("/.local/state/sidekey")), 0);
    assert_int_equal(rmdir(below("/.local/state")), 0);
    assert_int_equal(rmdir(below("/.local")), 0);
}

static void elsewhere_only_the_last_one_is_made(void **state)
{
    (void)state;
    assert_int_equal(setenv("HOME", "/nonexistent", 1), 0);
    synced_count = 0;
    assert_int_equal(dir_trust_make(below("/a/b"), 0700), -1);
    assert_int_equal(synced_count, 0);
    assert_int_equal(access(below("/a"), F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_directory_that_is_made_is_on_disk_by_the_one_above_it),
        cmocka_unit_test(each_one_on_the_way_from_the_home_directory_too),
        cmocka_unit_test(elsewhere_only_the_last_one_is_made),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
