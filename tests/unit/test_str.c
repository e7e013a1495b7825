/* str.c: encodings against the vectors of their RFCs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "base/str.h"

static struct buf out;

static int up(void **state)
{
    (void)state;
    buf_init(&out, 256);
    return 0;
}

static int down(void **state)
{
    (void)state;
    buf_done(&out);
    return 0;
}

static bool gives(int (*add)(struct buf *, struct slice), struct slice in, const char *text)
{
    buf_clear(&out);
    return add(&out, in) == 0 && slice_eq(buf_slice(&out), slice_str(text));
}

static void pieces_are_joined_or_nothing_is_written(void **state)
{
    char text[8], digits[20];
    const struct slice pieces[] = { SLICE("ab"), { NULL, 0 }, SLICE(":"), str_u64(8443, digits) };
    (void)state;
    assert_int_equal(str_join(text, sizeof text, pieces, 4), 7);
    assert_string_equal(text, "ab:8443");
    assert_int_equal(str_join(text, 7, pieces, 4), 7);
    assert_string_equal(text, "");
    assert_int_equal(str_join(text, sizeof text, pieces, 0), 0);
    assert_string_equal(text, "");
    assert_int_equal(str_join(NULL, 0, pieces, 4), 0);
    assert_true(slice_eq(str_u64(0, digits), SLICE("0")));
    assert_true(slice_eq(str_u64(UINT64_MAX, digits), SLICE("18446744073709551615")));
}

static void base64_is_that_of_rfc_4648(void **state)
{
    static const char *const rows[][3] = {
        /* §10; the URL form has no padding */
        { "", "", "" },
        { "f", "Zg==", "Zg" },
        { "fo", "Zm8=", "Zm8" },
        { "foo", "Zm9v", "Zm9v" },
        { "foob", "Zm9vYg==", "Zm9vYg" },
        { "fooba", "Zm9vYmE=", "Zm9vYmE" },
        { "foobar", "Zm9vYmFy", "Zm9vYmFy" },
        { "\xfb\xff\xfe", "+//+", "-__-" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_true(gives(str_add_base64, slice_str(rows[i][0]), rows[i][1]));
        assert_true(gives(str_add_base64url, slice_str(rows[i][0]), rows[i][2]));
        assert_true(gives(str_add_unbase64, slice_str(rows[i][1]), rows[i][0]));
        assert_true(gives(str_add_unbase64, slice_str(rows[i][2]), rows[i][0]));
    }
    assert_true(gives(str_add_base64, slice_of("\0\0", 2), "AAA="));
}

static void what_is_no_base64_is_refused_and_adds_nothing(void **state)
{
    static const char *const rows[] = { "A", "AAAAA", "Zg=a", "Z g=", "Zg\n", "Zg%3d", "=A=" };
    (void)state;
    assert_int_equal(buf_add_str(&out, "kept"), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(str_add_unbase64(&out, slice_str(rows[i])), -EINVAL);
        assert_true(slice_eq(buf_slice(&out), SLICE("kept")));
    }
}

static void hex_has_two_lower_case_digits_a_byte(void **state)
{
    (void)state;
    assert_true(gives(str_add_hex, slice_of("\x00\x0f\xa5\xff", 4), "000fa5ff"));
}

static void forms_keep_what_is_unreserved_alone(void **state)
{
    (void)state;
    assert_true(gives(str_add_form, SLICE("azAZ09-_.*"), "azAZ09-_.*"));
    assert_true(gives(str_add_form, SLICE("a b&c=d+e%f~/"), "a+b%26c%3Dd%2Be%25f%7E%2F"));
    assert_true(gives(str_add_form, slice_of("\0\xff\n", 3), "%00%FF%0A"));
}

static void json_strings_are_valid_whatever_goes_in(void **state)
{
    static const char *const rows[][2] = {
        { "", "\"\"" },
        { "a\"b\\c", "\"a\\\"b\\\\c\"" },
        { "\x01\n\x1f", "\"\\u0001\\u000a\\u001f\"" },
        { "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"" },
        { "\xff", "\"\\ufffd\"" },
        { "\xc3", "\"\\ufffd\"" },
        { "\xc0\xaf", "\"\\ufffd\\ufffd\"" },            /* too long for a slash */
        { "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" }, /* a surrogate */
        { "\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
        { "\xe2\x82x", "\"\\ufffd\\ufffdx\"" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_true(gives(str_add_json, slice_str(rows[i][0]), rows[i][1]));
}

static void the_cap_of_the_buffer_holds(void **state)
{
    int (*const all[])(struct buf *, struct slice) = { str_add_hex,      str_add_base64, str_add_base64url,
                                                       str_add_unbase64, str_add_form,   str_add_json };
    static char large[300];
    (void)state;
    memset(large, 'A', sizeof large);
    buf_done(&out);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        buf_init(&out, 64);
        assert_int_equal(all[i](&out, slice_of(large, sizeof large)), -ENOBUFS);
        assert_in_range(out.len, 0, 64);
        buf_done(&out);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(pieces_are_joined_or_nothing_is_written),
        T(base64_is_that_of_rfc_4648),
        T(what_is_no_base64_is_refused_and_adds_nothing),
        T(hex_has_two_lower_case_digits_a_byte),
        T(forms_keep_what_is_unreserved_alone),
        T(json_strings_are_valid_whatever_goes_in),
        T(the_cap_of_the_buffer_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
