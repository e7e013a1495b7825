/* What a browser brings back: one value a name, decoded, or nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>

#include "refresh/login/redirect_query.h"

static void a_value_is_there_once_and_decoded_or_it_is_not_there(void **state)
{
    static const struct {
        const char *query;
        int result;
        const char *value;
    } rows[] = {
        { "code=abc", 0, "abc" },
        { "state=x&code=abc&iss=y", 0, "abc" },
        { "code=a%2Fb+c%3D", 0, "a/b c=" },
        { "code=a=b", 0, "a=b" },
        { "xcode=1&code=abc", 0, "abc" },
        { "code=%C3%A4", 0, "\xc3\xa4" },
        { "", -ENOENT, "" },
        { "state=x", -ENOENT, "" },
        { "code", -ENOENT, "" },
        { "code=", -ENOENT, "" },
        { "code=a&code=a", -EINVAL, "" },
        { "code=&code=a", -EINVAL, "" },
        { "code=a%", -EINVAL, "" },
        { "code=a%2", -EINVAL, "" },
        { "code=a%2g", -EINVAL, "" },
        { "code=a%00b", -EINVAL, "" },
        { "code=a%0d%0ab", -EINVAL, "" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf out;
        buf_init(&out, 64);
        int result = redirect_query_get(slice_str(rows[i].query), "code", &out);
        if (result != rows[i].result || !slice_eq(buf_slice(&out), slice_str(rows[i].value)))
            fail_msg("%s gave %d", rows[i].query, result);
        buf_done(&out);
    }
}

static void a_value_that_does_not_fit_changes_nothing(void **state)
{
    struct buf out;
    (void)state;
    buf_init(&out, 4);
    assert_int_equal(redirect_query_get(SLICE("code=12345"), "code", &out), -ENOBUFS);
    assert_int_equal(out.len, 0);
    buf_done(&out);
}

static void the_query_is_what_stands_between_the_mark_and_the_fragment(void **state)
{
    static const struct {
        const char *url, *query;
    } rows[] = {
        { "http://127.0.0.1:1/callback?code=a&state=b", "code=a&state=b" },
        { "/callback?code=a#x?y", "code=a" },
        { "/callback#?code=a", "" },
        { "/callback", "" },
        { "", "" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_true(slice_eq(redirect_query_of(slice_str(rows[i].url)), slice_str(rows[i].query)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_there_once_and_decoded_or_it_is_not_there),
        cmocka_unit_test(a_value_that_does_not_fit_changes_nothing),
        cmocka_unit_test(the_query_is_what_stands_between_the_mark_and_the_fragment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
