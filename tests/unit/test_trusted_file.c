#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/trusted_file.h"

#define STRANGER 52342
#define MOST 1024

static char top[64];
static struct err e;

/* top/name; a new buffer each time, a few of them. */
static const char *in_top(const char *name)
{
    static char text[8][256];
    static unsigned at;
    char *here = text[at++ % 8];
    snprintf(here, sizeof text[0], "%s/%s", top, name);
    return here;
}

static void write_file(const char *name, mode_t mode)
{
    int fd = open(in_top(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, "x", 1) == 1);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void make_dir(const char *name, mode_t mode)
{
    assert_int_equal(mkdir(in_top(name), 0700), 0);
    assert_int_equal(chmod(in_top(name), mode), 0);
}

static int up(void **state)
{
    (void)state;
    snprintf(top, sizeof top, "/tmp/test-trusted-XXXXXX");
    return mkdtemp(top) ? 0 : -1;
}

static int down(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", top);
    return system(command);
}

static int judge(const char *name)
{
    int failed = trusted_file_check(in_top(name), MOST, &e);
    int fd = trusted_file_open(in_top(name), MOST, &e);
    assert_int_equal(fd < 0 ? fd : 0, failed);
    if (fd >= 0)
        close(fd);
    return failed;
}

static void modes_decide(void **state)
{
    static const struct {
        mode_t dir, file;
        int result;
    } rows[] = {
        { 0700, 0600, 0 },      { 0755, 0644, 0 },  { 0755, 0440, 0 },       { 0755, 0666, -EPERM },
        { 0777, 0600, -EPERM }, { 01777, 0600, 0 }, { 01777, 0602, -EPERM }, { 03777, 0440, 0 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[32], dir[32];
        snprintf(dir, sizeof dir, "d%zu", i);
        snprintf(name, sizeof name, "d%zu/f", i);
        make_dir(dir, 0700);
        write_file(name, rows[i].file);
        assert_int_equal(chmod(in_top(dir), rows[i].dir), 0);
        int result = judge(name);
        if (result != rows[i].result)
            fail_msg("row %zu: %d, %s", i, result, e.text);
        if (result)
            assert_non_null(strstr(e.text, "chmod go-w"));
    }
}

static void a_directory_further_up_counts_as_well(void **state)
{
    (void)state;
    make_dir("open", 0700);
    make_dir("open/inner", 0755);
    write_file("open/inner/f", 0600);
    assert_int_equal(judge("open/inner/f"), 0);
    assert_int_equal(chmod(in_top("open"), 0777), 0);
    assert_int_equal(judge("open/inner/f"), -EPERM);
    assert_non_null(strstr(e.text, "/open: "));
}

static void what_another_user_owns_is_refused_wherever_it_stands(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    make_dir("theirs", 0755);
    write_file("theirs/f", 0600);
    assert_int_equal(chown(in_top("theirs"), STRANGER, STRANGER), 0);
    assert_int_equal(judge("theirs/f"), -EPERM);
    assert_non_null(strstr(e.text, "belongs to uid 52342"));
    write_file("f", 0644);
    assert_int_equal(chown(in_top("f"), STRANGER, 0), 0);
    assert_int_equal(judge("f"), -EPERM);
    make_dir("sticky", 01777); /* another user's link in /tmp */
    write_file("ours", 0600);
    assert_int_equal(symlink(in_top("ours"), in_top("sticky/link")), 0);
    assert_int_equal(judge("sticky/link"), 0);
    assert_int_equal(lchown(in_top("sticky/link"), STRANGER, STRANGER), 0);
    assert_int_equal(judge("sticky/link"), -EPERM);
}

static void a_group_of_other_people_is_others(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    write_file("f", 0660);
    assert_int_equal(judge("f"), 0);               /* root's own group */
    assert_int_equal(chown(in_top("f"), 0, 1), 0); /* daemon's */
    assert_int_equal(judge("f"), -EPERM);
    assert_int_equal(chown(in_top("f"), 0, STRANGER), 0); /* has no name here, and we are not in it */
    assert_int_equal(judge("f"), -EPERM);
    gid_t volume = STRANGER;
    assert_int_equal(setgroups(1, &volume), 0); /* fsGroup */
    assert_int_equal(judge("f"), 0);
    assert_int_equal(setgroups(0, NULL), 0);
    assert_int_equal(chmod(in_top("f"), 0440), 0);
    assert_int_equal(judge("f"), 0);
}

static void a_volume_of_kubernetes_is_read_through_its_links(void **state)
{
    (void)state;
    make_dir("volume", 03777);
    make_dir("volume/..2026_01", 0755);
    write_file("volume/..2026_01/token", 0440);
    assert_int_equal(symlink("..2026_01", in_top("volume/..data")), 0);
    assert_int_equal(symlink("..data/token", in_top("volume/token")), 0);
    assert_int_equal(judge("volume/token"), 0);
    assert_int_equal(judge("volume/../volume/./token"), 0);
}

static void only_a_regular_file_of_bounded_size_is_opened(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(in_top("fifo"), 0600), 0);
    assert_int_equal(judge("fifo"), -EINVAL);
    assert_non_null(strstr(e.text, "not a regular file"));
    assert_int_equal(symlink("/dev/zero", in_top("zero")), 0);
    assert_int_equal(judge("zero") == 0, 0);
    make_dir("dir", 0700);
    assert_int_equal(judge("dir"), -EINVAL);
    write_file("big", 0600);
    assert_int_equal(truncate(in_top("big"), MOST + 1), 0);
    assert_int_equal(judge("big"), -EFBIG);
    assert_int_equal(truncate(in_top("big"), MOST), 0);
    assert_int_equal(judge("big"), 0);
    assert_int_equal(judge("missing"), -ENOENT);
    assert_non_null(strstr(e.text, "/missing: No such file"));
    assert_int_equal(symlink("loop", in_top("loop")), 0);
    assert_int_equal(judge("loop"), -ELOOP);
}

static void a_name_without_a_slash_is_judged_by_the_current_directory(void **state)
{
    char before[256];
    (void)state;
    assert_non_null(getcwd(before, sizeof before));
    make_dir("here", 0700);
    write_file("here/f", 0600);
    assert_int_equal(chdir(in_top("here")), 0);
    assert_int_equal(trusted_file_check("f", MOST, &e), 0);
    assert_int_equal(trusted_file_check("./f", MOST, &e), 0);
    assert_int_equal(chmod(".", 0777), 0);
    assert_int_equal(trusted_file_check("f", MOST, &e), -EPERM);
    assert_int_equal(chdir(before), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(modes_decide, up, down),
        cmocka_unit_test_setup_teardown(a_directory_further_up_counts_as_well, up, down),
        cmocka_unit_test_setup_teardown(what_another_user_owns_is_refused_wherever_it_stands, up, down),
        cmocka_unit_test_setup_teardown(a_group_of_other_people_is_others, up, down),
        cmocka_unit_test_setup_teardown(a_volume_of_kubernetes_is_read_through_its_links, up, down),
        cmocka_unit_test_setup_teardown(only_a_regular_file_of_bounded_size_is_opened, up, down),
        cmocka_unit_test_setup_teardown(a_name_without_a_slash_is_judged_by_the_current_directory, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
