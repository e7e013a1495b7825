#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/own_env.h"

extern char **environ;

static char **before;

/* A block of our own, as the kernel hands one over. */
static int up(void **state)
{
    (void)state;
    before = environ;
    return 0;
}

static int down(void **state)
{
    (void)state;
    environ = before;
    return 0;
}

static void a_secret_is_taken_and_its_bytes_are_gone(void **state)
{
    char first[] = "TAKEN=very-secret", again[] = "TAKEN=older-secret", near[] = "TAKEN_NOT=stays", other[] = "HOME=/h";
    char *block[] = { first, near, again, other, NULL };
    (void)state;
    environ = block;
    assert_int_equal(own_env_take("TAKEN"), 0);
    assert_int_equal(own_env_take("TAKEN"), 0);
    assert_int_equal(own_env_take("NEVER_SET"), 0);
    assert_true(slice_eq(own_env_get("TAKEN"), SLICE("very-secret")));
    assert_null(getenv("TAKEN"));
    assert_string_equal(getenv("TAKEN_NOT"), "stays");
    assert_string_equal(getenv("HOME"), "/h");
    for (size_t i = 6; i < sizeof first; i++)
        assert_int_equal(first[i], 0);
    for (size_t i = 6; i < sizeof again; i++)
        assert_int_equal(again[i], 0);
}

static void what_was_not_taken_is_read_where_it_is(void **state)
{
    char empty[] = "EMPTY=", other[] = "OTHER=x";
    char *block[] = { empty, other, NULL };
    (void)state;
    environ = block;
    assert_true(slice_eq(own_env_get("OTHER"), SLICE("x")));
    assert_null(own_env_get("NEVER_SET").ptr);
    assert_int_equal(own_env_take("EMPTY"), 0);
    assert_non_null(own_env_get("EMPTY").ptr);
    assert_int_equal(own_env_get("EMPTY").len, 0);
}

static bool is_mine(void *arg, const char *name)
{
    return strcmp(arg, name) == 0;
}

static void a_process_keeps_what_it_has_a_use_for(void **state)
{
    char mine[] = "MINE=one", theirs[] = "THEIRS=two";
    char *block[] = { mine, theirs, NULL };
    (void)state;
    environ = block;
    assert_int_equal(own_env_take("MINE"), 0);
    assert_int_equal(own_env_take("THEIRS"), 0);
    own_env_keep(is_mine, (char[]){ "MINE" });
    assert_true(slice_eq(own_env_get("MINE"), SLICE("one")));
    assert_null(own_env_get("THEIRS").ptr);
    assert_null(own_env_get("TAKEN").ptr); /* of the test before */
}

static void libraries_see_no_variable_that_leads_them_astray_and_programs_do(void **state)
{
    static char keys[] = "SSLKEYLOGFILE=/k", conf[] = "OPENSSL_CONF=/c", roots[] = "SSL_CERT_FILE=/r",
                twice[] = "OPENSSL_CONF=/d"; /* they are kept beyond this test */
    char *block[] = { keys, conf, roots, twice, NULL };
    (void)state;
    environ = block;
    own_env_begin();
    assert_null(getenv("SSLKEYLOGFILE"));
    assert_null(getenv("OPENSSL_CONF"));
    assert_string_equal(getenv("SSL_CERT_FILE"), "/r");
    own_env_give_back();
    assert_string_equal(getenv("SSLKEYLOGFILE"), "/k");
    assert_string_equal(getenv("OPENSSL_CONF"), "/c");
}

static void another_sidekey_is_started_with_all_that_this_one_got(void **state)
{
    static char keys[] = "SSLKEYLOGFILE=/k", mine[] = "WHOLE=secret", empty[] = "WHOLE_EMPTY=", home[] = "HOME=/h";
    char *block[] = { keys, mine, empty, home, NULL };
    unsigned found = 0;
    (void)state;
    environ = block;
    own_env_begin();
    assert_int_equal(own_env_take("WHOLE"), 0);
    assert_int_equal(own_env_take("WHOLE_EMPTY"), 0);
    char **whole = own_env_whole();
    assert_non_null(whole);
    for (char **at = whole; *at; at++)
        found += !strcmp(*at, "SSLKEYLOGFILE=/k") || !strcmp(*at, "WHOLE=secret") || !strcmp(*at, "WHOLE_EMPTY=")
                 || !strcmp(*at, "HOME=/h");
    assert_int_equal(found, 4);
    own_env_whole_free(whole);
    own_env_whole_free(NULL);
    assert_null(getenv("WHOLE"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_secret_is_taken_and_its_bytes_are_gone, up, down),
        cmocka_unit_test_setup_teardown(what_was_not_taken_is_read_where_it_is, up, down),
        cmocka_unit_test_setup_teardown(a_process_keeps_what_it_has_a_use_for, up, down),
        cmocka_unit_test_setup_teardown(libraries_see_no_variable_that_leads_them_astray_and_programs_do, up, down),
        cmocka_unit_test_setup_teardown(another_sidekey_is_started_with_all_that_this_one_got, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
