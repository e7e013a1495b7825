/* The body of a token response whose framing is wrong: what came is not lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "refresh/fetch/fetch_body.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))

static void what_libcurl_gave_up_is_taken_from_the_bytes(void **state)
{
    static const struct {
        bool chunked, broken;
        const char *given, *raw, *body;
    } rows[] = {
        { false, false, "{\"a\":1}", "{\"a\":1}", "{\"a\":1}" },
        { false, false, "{\"a\"", "{\"a\":1}", "{\"a\":1}" }, /* Content-Length too short */
        { false, false, "{\"a\":1}\r\n", "{\"a\":1}\r\nHTTP/1.1 200 OK",
          "{\"a\":1}\r\n" }, /* more than was asked for */
        { false, false, "a=1", "a=1&b=2", "a=1&b=2" },
        { false, true, "{\"a\":1}", "", "{\"a\":1}" },
        { true, false, "7\r\n{\"a\":1}\r\n0\r\n\r\n", "", "{\"a\":1}" },
        { true, false, "4\r\n{\"a\"\r\n0003;x=\"y\"\r\n:1}\r\n000\r\ntrailer: x\r\n\r\n", "", "{\"a\":1}" },
        { true, false, "0\r\n\r\n", "", "" },
        { true, true, "{\"a\":1}", "", "{\"a\":1}" },                                           /* no chunks at all */
        { true, true, "4\r\n{\"a\":1}\r\n0\r\n\r\n", "", "{\"a\":1}\r\n0\r\n\r\n" },            /* too short a chunk */
        { true, true, "4\r\n{\"a\"", "4\r\n{\"a\":1}\r\n0\r\n\r\n", "{\"a\":1}\r\n0\r\n\r\n" }, /* … libcurl has less */
        { true, true, "ff\r\n{\"a\":1}", "", "{\"a\":1}" },                                     /* too long a chunk */
        { true, true, "4;x=y\r\n{\"a\"\r\n3 \n:1}\nzz", "", "{\"a\":1}zz" },
        { true, true, "12345678901234567\r\nx", "", "12345678901234567\r\nx" }, /* more digits than any chunk has */
        { true, true, "", "", "" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fetch_body b;
        fetch_body_init(&b, 64);
        b.chunked = rows[i].chunked;
        fetch_body_saw(&b, slice_str(rows[i].raw));
        assert_true(fetch_body_add(&b, slice_str(rows[i].given)));
        struct slice body = fetch_body_get(&b, rows[i].broken);
        if (!slice_eq(body, slice_str(rows[i].body)))
            fail_msg("row %zu: %.*s", i, (int)body.len, body.ptr);
        fetch_body_done(&b);
    }
}

static void what_came_before_the_cap_is_kept(void **state)
{
    struct fetch_body b;
    (void)state;
    fetch_body_init(&b, 4);
    assert_true(fetch_body_add(&b, SLICE("abc")));
    fetch_body_saw(&b, SLICE("abcdef"));
    assert_false(fetch_body_add(&b, SLICE("def")));
    assert_true(b.too_large);
    assert_true(slice_eq(fetch_body_get(&b, true), SLICE("abcd")));
    fetch_body_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_libcurl_gave_up_is_taken_from_the_bytes),
        cmocka_unit_test(what_came_before_the_cap_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
