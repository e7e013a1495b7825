/* Unit tests of http/basic: Basic credentials as clients write them, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "http/basic.h"

static void the_user_ends_at_the_first_colon(void **state)
{
    static const struct {
        const char *field, *user, *password;
    } cases[] = {
        { "Basic YXBwOnNlY3JldA==", "app", "secret" },
        { "basic YXBwOnNlY3JldA", "app", "secret" },
        { "BASIC   YXBwOnNlY3JldA==  ", "app", "secret" },
        { "Basic YTpiOmM=", "a", "b:c" },
        { "Basic Og==", "", "" },
        { "Basic OnA=", "", "p" },
        { "Basic dTo=", "u", "" },
        { "Basic dTo_Pz8_", "u", "\?\?\?\?" },
        { "Basic dTo/Pz8/", "u", "\?\?\?\?" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf plain;
        struct slice user, password;
        buf_init_secret(&plain, 256);
        assert_int_equal(basic_read(slice_str(cases[i].field), &plain, &user, &password), 0);
        assert_true(slice_eq(user, slice_str(cases[i].user)) && slice_eq(password, slice_str(cases[i].password)));
        buf_done(&plain);
    }
}

static void what_is_no_basic_credential_is_refused(void **state)
{
    static const char *const cases[] = { "",          "Basic",      "Basic ",           "Bearer YXBwOnNlY3JldA==",
                                         "Basic*",    "Basic YXBw", "Basic YXBw*nNlYw", "Basic YXBwOnNlY3JldA== x",
                                         "Basi YTpi", "BasicYTpi" };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf plain;
        struct slice user = SLICE("untouched"), password = SLICE("untouched");
        buf_init_secret(&plain, 256);
        assert_int_equal(basic_read(slice_str(cases[i]), &plain, &user, &password), -EINVAL);
        assert_true(slice_eq(user, SLICE("untouched")) && slice_eq(password, SLICE("untouched")));
        buf_done(&plain);
    }
}

static void what_does_not_fit_is_told(void **state)
{
    struct buf plain;
    struct slice user, password;
    (void)state;
    buf_init_secret(&plain, 4);
    assert_int_equal(basic_read(SLICE("Basic YXBwOnNlY3JldA=="), &plain, &user, &password), -ENOBUFS);
    buf_done(&plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_user_ends_at_the_first_colon),
        cmocka_unit_test(what_is_no_basic_credential_is_refused),
        cmocka_unit_test(what_does_not_fit_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
