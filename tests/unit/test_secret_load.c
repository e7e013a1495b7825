/* links: tests/fakes/fake_clock.c tests/fakes/fake_timer.c */
/* secret_load.c and command.c with real programs; only their time limit is a number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "refresh/flight/secret_load.h"
#include "tests/fakes/fake_timer.h"
#include "tests/fakes/fake_clock.h"

static struct secret_load g;
static struct secret_ref refs[SECRET_LOAD_MAX];
static char *argvs[SECRET_LOAD_MAX][4];
static int called;
static char error[512];

static int up(void **state)
{
    (void)state;
    memset(refs, 0, sizeof refs);
    called = 0;
    *error = '\0';
    fake_mono_ms = 1000;
    return 0;
}

static int down(void **state)
{
    (void)state;
    secret_load_stop(&g);
    return fake_timer_count();
}

static void on_gathered(void *arg, const char *why)
{
    assert_ptr_equal(arg, &called);
    called++;
    snprintf(error, sizeof error, "%s", why ? why : "");
}

static void shell(size_t i, const char *script)
{
    argvs[i][0] = (char *)(uintptr_t)"sh";
    argvs[i][1] = (char *)(uintptr_t)"-c";
    argvs[i][2] = (char *)(uintptr_t)script;
    refs[i] = (struct secret_ref){ SECRET_REF_COMMAND, NULL, argvs[i] };
}

static enum secret_load_result start(struct err *e)
{
    const struct secret_ref *list[SECRET_LOAD_MAX];
    for (size_t i = 0; i < SECRET_LOAD_MAX; i++)
        list[i] = &refs[i];
    return secret_load_start(&g, list, SECRET_LOAD_MAX, on_gathered, &called, e);
}

static void wait_end(void)
{
    while (!called)
        ev_run(loop_get(), EVRUN_ONCE);
}

static void run(const char *why)
{
    struct err e;
    assert_int_equal(start(&e), SECRET_LOAD_RUNNING);
    assert_int_equal(called, 0);
    wait_end();
    assert_int_equal(called, 1);
    assert_string_equal(error, why);
}

static void what_needs_no_program_is_there_at_once(void **state)
{
    struct err e;
    (void)state;
    setenv("SECRET_LOAD_TEST", "from-env", 1);
    refs[0] = (struct secret_ref){ SECRET_REF_INLINE, (char *)(uintptr_t)"inline", NULL };
    refs[3] = (struct secret_ref){ SECRET_REF_ENV, (char *)(uintptr_t)"SECRET_LOAD_TEST", NULL };
    assert_int_equal(start(&e), SECRET_LOAD_THERE);
    assert_true(slice_eq(secret_load_secret(&g, 0), SLICE("inline"))
                && slice_eq(secret_load_secret(&g, 3), SLICE("from-env")));
    assert_int_equal(secret_load_secret(&g, 1).len, 0);
    secret_load_stop(&g);
    assert_int_equal(secret_load_secret(&g, 0).len, 0);
}

static void what_editors_and_shells_add_is_dropped_at_both_ends(void **state)
{
    static const char *const rows[] = {
        "v w",         "v w\n",           "v w\r\n",   "v w\n\n",
        "v w\r\n\r\n", "\xef\xbb\xbfv w", "\r\nv w\r", "\n\xef\xbb\xbfv w\xef\xbb\xbf\n"
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct secret_ref ref = { SECRET_REF_ENV, (char *)(uintptr_t)"SECRET_LOAD_TEST", NULL };
        struct secret got = { 0 };
        struct err e;
        setenv("SECRET_LOAD_TEST", rows[i], 1);
        assert_int_equal(secret_ref_read(&ref, &got, &e), 0);
        assert_true(slice_eq(secret_peek(&got), SLICE("v w")));
        assert_int_equal(secret_ref_read_exact(&ref, &got, &e), 0); /* a key may hold any bytes */
        assert_int_equal(secret_peek(&got).len, strlen(rows[i]) - (rows[i][strlen(rows[i]) - 1] == '\n'));
        secret_done(&got);
    }
}

static void a_byte_that_no_token_has_is_named_by_its_place(void **state)
{
    static const struct {
        struct slice value;
        const char *why;
    } rows[] = {
        { { "!azAZ09 +/=%~", 13 }, NULL },
        { { "ab\r\ncd", 6 }, "byte 3 is a line break" },
        { { "ab\tcd", 5 }, "byte 3 is a control character" },
        { { "ab\x7f", 3 }, "byte 3 is a control character" },
        { { "a\0b\0", 4 }, "byte 2 is a NUL byte (is it UTF-16? then save it as UTF-8)" },
        { { "\xff\xfe"
            "a\0",
            4 },
          "byte 1 is a character that is not ASCII (is it UTF-16? then save it as UTF-8)" },
        { { "caf\xc3\xa9", 5 }, "byte 4 is a character that is not ASCII (is it UTF-16? then save it as UTF-8)" },
    };
    const struct secret_ref ref = { SECRET_REF_FILE, (char *)(uintptr_t)"/run/s", NULL };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char want[256];
        struct err e;
        assert_int_equal(secret_ref_check_vschar(&ref, rows[i].value, &e), rows[i].why ? -1 : 0);
        snprintf(want, sizeof want, "the secret from file /run/s is not valid: %s", rows[i].why ? rows[i].why : "");
        if (rows[i].why)
            assert_string_equal(e.text, want);
    }
}

static void programs_run_together_and_their_output_is_the_secret(void **state)
{
    (void)state;
    shell(0, "printf 'one\\n'");
    shell(1, "echo two; cat"); /* its input is at its end */
    shell(4, "echo complaint >&2; echo four");
    refs[2] = (struct secret_ref){ SECRET_REF_INLINE, (char *)(uintptr_t)"inline", NULL };
    run("");
    assert_true(slice_eq(secret_load_secret(&g, 0), SLICE("one")) && slice_eq(secret_load_secret(&g, 1), SLICE("two")));
    assert_true(slice_eq(secret_load_secret(&g, 2), SLICE("inline"))
                && slice_eq(secret_load_secret(&g, 4), SLICE("four")));
}

static void one_that_fails_ends_all_and_is_named(void **state)
{
    static const struct {
        const char *script, *why;
    } rows[] = {
        { "exit 3", "cannot read the secret from command sh: exit status 3 (run it as sidekey's user to see why)" },
        { "kill -9 $$", "cannot read the secret from command sh: ended by signal 9" },
        { "true", "the secret from command sh is empty" },
        { "head -c 70000 /dev/zero", "cannot read the secret from command sh: larger than 64 KiB" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        called = 0;
        shell(0, "sleep 1000");
        shell(1, rows[i].script);
        run(rows[i].why);
        assert_int_equal(g.count, 0); /* nothing is kept, nothing runs */
        assert_int_equal(fake_timer_count(), 0);
    }
}

static void a_program_that_is_not_there_fails_at_once(void **state)
{
    struct err e;
    (void)state;
    shell(0, "sleep 1000");
    shell(1, "true");
    argvs[1][0] = (char *)(uintptr_t)"/nonexistent/program";
    assert_int_equal(start(&e), SECRET_LOAD_FAILED);
    assert_non_null(strstr(e.text, "/nonexistent/program cannot be started: No such file or directory"));
    assert_int_equal(fake_timer_count(), 0);
}

static void a_program_without_end_is_killed_at_its_limit(void **state)
{
    struct err e;
    (void)state;
    shell(0, "sleep 1000");
    assert_int_equal(start(&e), SECRET_LOAD_RUNNING);
    fake_timer_run(SECRET_REF_COMMAND_MS - 1);
    assert_int_equal(called, 0);
    fake_timer_run(1);
    assert_int_equal(called, 1);
    assert_string_equal(error, "cannot read the secret from command sh: it did not end in time");
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_needs_no_program_is_there_at_once),         T(programs_run_together_and_their_output_is_the_secret),
        T(one_that_fails_ends_all_and_is_named),           T(a_program_that_is_not_there_fails_at_once),
        T(a_program_without_end_is_killed_at_its_limit),   T(what_editors_and_shells_add_is_dropped_at_both_ends),
        T(a_byte_that_no_token_has_is_named_by_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
