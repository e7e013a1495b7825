/* Unit tests of app/cmd/init_value: what a person writes for sidekey init, and what the file gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/cmd/init_value.h"

static void each_value_becomes_what_the_file_needs(void **state)
{
    static const struct {
        const char *key, *text, *value; /* NULL: refused */
    } cases[] = {
        { "client_id", "a b", "a b" },
        { "client_id", "https://x/", "https://x/" },
        { "key", "/run/secrets/not-yet", "/run/secrets/not-yet" },
        { "key", "hosts", "/etc/hosts" },
        { "key", "./not-yet", "/etc/not-yet" },
        { "key", "../not-yet", "/etc/../not-yet" },
        { "key", "~/k", "/home/of-mine/k" },
        { "key", "sk-proj-1234", NULL },
        { "key", "YWJj/ZGVm+==", NULL },
        { "key", "~", NULL },
        { "key", "", NULL },
        { "client_secret", "env:SECRET_2", "env:SECRET_2" },
        { "client_secret", "env:", NULL },
        { "client_secret", "env:2", NULL },
        { "client_secret", "env:A-B", NULL },
        { "refresh_token", "1//0refresh", NULL },
        { "certificate", "env:_", "env:_" },
        { "domain", "x.okta.com", "x.okta.com" },
        { "domain", "https://x.okta.com/", "x.okta.com" },
        { "host", "https://api.example.com", "api.example.com" },
        { "domain", "https://", "" },
    };
    (void)state;
    assert_int_equal(chdir("/etc"), 0);
    assert_int_equal(setenv("HOME", "/home/of-mine", 1), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char value[INIT_VALUE_MAX] = "";
        const char *wrong = init_value_take(cases[i].key, cases[i].text, value);
        if (!wrong != !!cases[i].value)
            fail_msg("%s=%s: %s", cases[i].key, cases[i].text, wrong ? wrong : value);
        if (cases[i].value)
            assert_string_equal(value, cases[i].value);
    }
}

static void what_is_too_long_is_refused(void **state)
{
    static char text[2 * INIT_VALUE_MAX], value[INIT_VALUE_MAX];
    static const char *const keys[] = { "key", "client_id", "domain" };
    (void)state;
    memset(text, 'a', sizeof text - 1);
    text[0] = '/';
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_non_null(init_value_take(keys[i], text, value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_value_becomes_what_the_file_needs),
        cmocka_unit_test(what_is_too_long_is_refused),
    };
    return cmocka_run_group_tests_name("init_value", tests, NULL, NULL);
}
