/* Unit tests of the commands that only read: check, why, env.  Their output is what users see and scripts parse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/cmd/cmd.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static char config[] = "/tmp/test-cmd-XXXXXX";
static char out[16 * 1024];

/* Runs a command with -c config and the words; leaves what it printed on either stream in out. */
static int run(int (*command)(int, char **), const char *const *words)
{
    char *argv[16] = { (char *)"cmd", (char *)"-c", config };
    int argc = 3, kept[2] = { dup(1), dup(2) };
    FILE *to = tmpfile();
    assert_non_null(to);
    while (*words)
        argv[argc++] = (char *)(uintptr_t)*words++;
    fflush(stdout);
    dup2(fileno(to), 1);
    dup2(fileno(to), 2);
    optind = 1;
    int status = command(argc, argv);
    fflush(stdout);
    for (int fd = 1; fd <= 2; fd++) {
        dup2(kept[fd - 1], fd);
        close(kept[fd - 1]);
    }
    rewind(to);
    out[fread(out, 1, sizeof out - 1, to)] = '\0';
    fclose(to);
    return status;
}

#define RUN(command, ...) run(command, (const char *const[]){ __VA_ARGS__, NULL })

static int write_config(void **state)
{
    (void)state;
    static const char text[] =
        "listen: {proxy: 0.0.0.0:8118}\nca: {publish: /p}\ncredentials: {crm: {grant: static, token: {env: PATH}}}\n"
        "rules:\n  - match: {host: api.test, paths: [/v2/*], methods: [GET, TRACE]}\n    credential: crm\n"
        "    strip: [x-api-key]\n    append: {anthropic-beta: oauth}\n"
        "  - {match: {host: '*.test'}, credential: crm, inject: [{in: query, name: key}]}\n";
    int fd = mkstemp(config);
    return fd < 0 || write(fd, text, sizeof text - 1) != (ssize_t)sizeof text - 1 || close(fd) != 0;
}

static int remove_config(void **state)
{
    (void)state;
    return unlink(config);
}

static void check_counts_what_it_found(void **state)
{
    (void)state;
    assert_int_equal(RUN(cmd_check, "--set", "workers=2"), 0);
    assert_non_null(strstr(out, ": ok: 1 credential, 2 rules\n"));
    assert_non_null(strstr(out, "warning: "));
    assert_int_equal(RUN(cmd_check, "--set", "workers=0"), 78);
    assert_non_null(strstr(out, "--set: workers: 0 is out of range"));
}

static void why_shows_the_change_and_never_a_value(void **state)
{
    char value[4096];
    (void)state;
    assert_true(snprintf(value, sizeof value, "%s", getenv("PATH")) > 0); /* {env: PATH} is taken out by the command */
    assert_int_equal(RUN(cmd_why, "GET", "https://api.test/v2/x?q=1"), 0);
    setenv("PATH", value, 1);
    static const char *const said[] = { "rules[0]:   api.test                 wins",
                                        "rules[1]:   *.test                   matches, but",
                                        "  set     authorization: Bearer <access_token of crm>\n",
                                        "  strip   x-api-key\n", "  append  anthropic-beta: oauth\n" };
    for (size_t i = 0; i < COUNT(said); i++)
        if (!strstr(out, said[i]))
            fail_msg("\"%s\" is not in\n%s", said[i], out);
    assert_null(strstr(out, value));
    assert_null(strstr(out, "rules:      ")); /* all of them are of this host */
}

static void why_lists_the_rules_of_the_host_and_counts_the_rest(void **state)
{
    (void)state;
    assert_int_equal(RUN(cmd_why, "GET", "https://api.example/"), 1);
    assert_null(strstr(out, "rules[0]:"));
    assert_non_null(strstr(out, "rules:      "));
    assert_non_null(strstr(out, " more for other hosts or ports\n"));
}

static void why_says_what_happens_when_no_rule_injects(void **state)
{
    (void)state;
    static const struct {
        const char *method, *url, *said;
        int status;
    } rows[] = {
        { "GET", "https://api.example/", "no rule names api.example:443: the connection is tunnelled", 1 },
        { "PUT", "https://api.test:8443/", "no rule names api.test:8443", 1 },
        { "TRACE", "https://api.test/v2/", "405: TRACE", 1 },
        { "GET", "http://api.test:443/v2/", "403: sidekey does not send a credential over plain http", 1 },
        { "GET", "https://api.test/v2/%zz", "400: the path has a percent sign", 1 },
        { "POST", "https://api.test/v2/", "?key=<access_token of crm>", 0 },
        { "GET", "api.test", "must begin with http:// or https://", 64 },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(RUN(cmd_why, rows[i].method, rows[i].url), rows[i].status);
        if (!strstr(out, rows[i].said))
            fail_msg("\"%s\" is not in\n%s", rows[i].said, out);
    }
    assert_int_equal(RUN(cmd_why, "--set", "unmatched=deny", "GET", "https://api.example/"), 1);
    assert_non_null(strstr(out, "403: no rule names this host, and unmatched is deny"));
}

static void env_quotes_for_each_reader(void **state)
{
    (void)state;
    static const struct {
        const char *format, *said;
    } rows[] = {
        { "sh", "export DENO_CERT='/it'\\''s/ca.pem'\n" },
        { "docker", "DENO_CERT=/it's/ca.pem\n" },
        { "k8s", "- {name: DENO_CERT, value: \"/it's/ca.pem\"}\n" },
        { "json", "\"DENO_CERT\": \"/it's/ca.pem\"" },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(RUN(cmd_env, "--format", rows[i].format, "--ca-dir", "/it's"), 0);
        assert_non_null(strstr(out, rows[i].said));
        assert_non_null(strstr(out, "http://127.0.0.1:8118")); /* not 0.0.0.0 */
    }
}

static void env_needs_a_port_that_is_known(void **state)
{
    (void)state;
    assert_int_equal(RUN(cmd_env, "--set", "listen.proxy=127.0.0.1:0"), 78);
    assert_non_null(strstr(out, "--proxy HOST:PORT"));
    assert_int_equal(RUN(cmd_env, "--set", "listen.proxy=127.0.0.1:0", "--proxy", "sidecar:99"), 0);
    assert_non_null(strstr(out, "export https_proxy='http://sidecar:99'\n"));
}

static void wrong_use_says_what_is_right(void **state)
{
    (void)state;
    static const struct {
        const char *word, *said;
    } rows[] = { { "--frmat", "did you mean --format?" },       { "--zebra", "unknown flag --zebra" },
                 { "--format", "--format needs a value" },      { "word", "takes no arguments" },
                 { "--format=xml", "sh, docker, k8s or json" }, { "--set=x", "needs SECTION.KEY=VALUE" } };
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(RUN(cmd_env, rows[i].word), 64);
        if (!strstr(out, rows[i].said))
            fail_msg("\"%s\" is not in\n%s", rows[i].said, out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_counts_what_it_found),
        cmocka_unit_test(why_shows_the_change_and_never_a_value),
        cmocka_unit_test(why_lists_the_rules_of_the_host_and_counts_the_rest),
        cmocka_unit_test(why_says_what_happens_when_no_rule_injects),
        cmocka_unit_test(env_quotes_for_each_reader),
        cmocka_unit_test(env_needs_a_port_that_is_known),
        cmocka_unit_test(wrong_use_says_what_is_right),
    };
    return cmocka_run_group_tests(tests, write_config, remove_config);
}
