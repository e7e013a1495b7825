#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/spawn.h"

/* What sh prints for script; its exit status must be 0. */
static const char *output_of(const char *script, char *extra)
{
    static char text[8192];
    char *argv[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char *)(uintptr_t)script, NULL };
    int ends[2], status;
    pid_t pid;
    size_t len = 0;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(spawn_program(argv, extra, ends[1], &pid), 0);
    close(ends[1]);
    for (ssize_t n; (n = read(ends[0], text + len, sizeof text - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    return text;
}

static void only_listed_variables_are_passed_on(void **state)
{
    static const struct {
        const char *name;
        bool passed;
    } rows[] = {
        { "LC_ALL", true },         { "LC_TIME", true },       { "LANG", true },           { "TZ", true },
        { "VAULT_ADDR", true },     { "VAULT_TOKEN", false },  { "LCX", false },           { "LANGX", false },
        { "SOME_PASSWORD", false }, { "LD_PRELOAD_X", false }, { "SSLKEYLOGFILE", false }, { "SIDEKEY_CONFIG", false },
        { "NOTIFY_SOCKET", false }, { "LISTEN_FDS", false }
    };
    char script[128];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        setenv(rows[i].name, "C", 1);
        snprintf(script, sizeof script, "env | grep -c '^%s=' || true", rows[i].name);
        if ((atoi(output_of(script, NULL)) == 1) != rows[i].passed)
            fail_msg("%s is %s", rows[i].name, rows[i].passed ? "not passed on" : "passed on");
        unsetenv(rows[i].name);
    }
    assert_string_equal(output_of("printf %s \"$ONE_MORE\"", (char[]){ "ONE_MORE=yes" }), "yes");
}

static void no_descriptor_but_three_even_without_close_on_exec(void **state)
{
    int leaks[2];
    (void)state;
    assert_int_equal(pipe(leaks), 0);
    assert_string_equal(output_of("exec ls /proc/self/fd", NULL), "0\n1\n2\n3\n"); /* 3: the listing's own */
    assert_string_equal(output_of("readlink /proc/$$/fd/0 /proc/$$/fd/2 | tr '\\n' ' '", NULL), "/dev/null /dev/null ");
    close(leaks[0]);
    close(leaks[1]);
}

static void signals_are_as_a_shell_would_have_them(void **state)
{
    sigset_t all, old;
    (void)state;
    sigfillset(&all);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &all, &old);
    const char *seen = output_of("exec grep -E '^Sig(Blk|Ign)' /proc/self/status", NULL);
    uint64_t blocked = strtoull(strchr(seen, '\t'), NULL, 16), ignored = strtoull(strrchr(seen, '\t'), NULL, 16);
    assert_int_equal(blocked, 0);
    assert_int_equal(ignored & 0x7fffffff, 0); /* beyond: the C library's own two */
    sigprocmask(SIG_SETMASK, &old, NULL);
    signal(SIGPIPE, SIG_DFL);
}

static void a_program_that_is_not_there_is_an_error(void **state)
{
    char *argv[] = { (char[]){ "/nowhere/program" }, NULL };
    pid_t pid;
    (void)state;
    assert_int_equal(spawn_program(argv, NULL, STDOUT_FILENO, &pid), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_listed_variables_are_passed_on),
        cmocka_unit_test(no_descriptor_but_three_even_without_close_on_exec),
        cmocka_unit_test(signals_are_as_a_shell_would_have_them),
        cmocka_unit_test(a_program_that_is_not_there_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
