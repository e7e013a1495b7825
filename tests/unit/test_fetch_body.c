/* The body of a token response: where it ends, and what came of it when its framing is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "refresh/fetch/fetch_body.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))
#define NONE (-1)

static struct fetch_head head(int status, int length, bool chunked)
{
    struct fetch_head h = { .status = status, .chunked = chunked, .has_length = length != NONE, .whole = true };
    h.length = length == NONE ? 0 : (uint64_t)length;
    return h;
}

static void a_body_with_wrong_framing_is_read_as_far_as_it_came(void **state)
{
    static const struct {
        int length; /* Content-Length; NONE: chunked */
        bool whole;
        const char *bytes, *body;
    } rows[] = {
        { 7, true, "{\"a\":1}", "{\"a\":1}" },
        { 4, true, "{\"a\":1}", "{\"a\":1}" },                        /* the length is too short */
        { 9, true, "{\"a\":1}\r\nHTTP/1.1 200 OK", "{\"a\":1}\r\n" }, /* more than was asked for */
        { 3, true, "a=1&b=2", "a=1&b=2" },
        { 0, true, "{}", "{}" },
        { 99, false, "{\"a\":1}", "{\"a\":1}" },
        { NONE, true, "7\r\n{\"a\":1}\r\n0\r\n\r\n", "{\"a\":1}" },
        { NONE, true, "4\r\n{\"a\"\r\n0003;x=\"y\"\r\n:1}\r\n000\r\ntrailer: x\r\n\r\n", "{\"a\":1}" },
        { NONE, true, "4\n{\"a\"\n3\n:1}\n0\n\n", "{\"a\":1}" },
        { NONE, true, "0\r\n\r\n", "" },
        { NONE, false, "{\"a\":1}", "{\"a\":1}" },                                /* no chunks at all */
        { NONE, false, "4\r\n{\"a\":1}\r\n0\r\n\r\n", "{\"a\":1}\r\n0\r\n\r\n" }, /* too short a chunk */
        { NONE, false, "ff\r\n{\"a\":1}", "{\"a\":1}" },                          /* too long a chunk */
        { NONE, false, "4;x=y\r\n{\"a\"\r\n3 \n:1}\nzz", "{\"a\":1}zz" },
        { NONE, false, "12345678901234567\r\nx", "12345678901234567\r\nx" }, /* more digits than any chunk has */
        { NONE, false, "", "" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fetch_body b;
        fetch_body_init(&b, 64);
        struct fetch_head h = head(200, rows[i].length, rows[i].length == NONE);
        struct slice body = fetch_body_get(&b, &h, slice_str(rows[i].bytes), rows[i].whole);
        if (!slice_eq(body, slice_str(rows[i].body)))
            fail_msg("row %zu: %.*s", i, (int)body.len, body.ptr);
        fetch_body_done(&b);
    }
}

static void the_end_is_known_when_it_has_come_and_doubted_where_json_has_none(void **state)
{
    static const struct {
        int status, length;
        bool chunked;
        const char *bytes;
        enum fetch_body_end end;
    } rows[] = {
        { 200, 2, false, "{", FETCH_BODY_OPEN },
        { 200, 2, false, "{}", FETCH_BODY_WHOLE },
        { 200, 2, false, "{}x", FETCH_BODY_WHOLE },
        { 200, 1, false, "{", FETCH_BODY_DOUBTED },
        { 200, 1, false, "{}", FETCH_BODY_WHOLE }, /* what the length leaves out has come all the same */
        { 200, 3, false, "a=1", FETCH_BODY_WHOLE },
        { 200, 0, false, "", FETCH_BODY_DOUBTED },
        { 400, 0, false, "", FETCH_BODY_WHOLE }, /* nothing is lost with it */
        { 204, NONE, false, "", FETCH_BODY_DOUBTED },
        { 204, NONE, false, "{\"a\":", FETCH_BODY_DOUBTED },
        { 304, 50, false, "{}", FETCH_BODY_WHOLE },
        { 200, NONE, false, "{}", FETCH_BODY_OPEN }, /* until the connection ends */
        { 200, NONE, true, "", FETCH_BODY_OPEN },
        { 200, NONE, true, "2\r\n{}\r\n", FETCH_BODY_OPEN },
        { 200, NONE, true, "2\r\n{}\r\n0\r\n", FETCH_BODY_OPEN },
        { 200, NONE, true, "2\r\n{}\r\n0\r\nx: y\r\n", FETCH_BODY_OPEN },
        { 200, NONE, true, "2\r\n{}\r\n0\r\nx: y\r\n\r\n", FETCH_BODY_WHOLE },
        { 200, NONE, true, "2\n{}\n0\n\n", FETCH_BODY_WHOLE },
        { 200, 1, true, "2\r\n{}\r\n0\r\n\r\n", FETCH_BODY_WHOLE }, /* chunks count more than a length */
        { 200, NONE, true, "{}\r\n0\r\n\r\n", FETCH_BODY_OPEN },
        { 200, NONE, true, "1\r\n{}\r\n0\r\n\r\n", FETCH_BODY_OPEN },
        { 200, NONE, true, "ffffffffffffffff\r\n{}", FETCH_BODY_OPEN },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        for (size_t step = 1; step <= 64; step += 63) { /* a byte at a time, and in one piece */
            struct fetch_head h = head(rows[i].status, rows[i].length, rows[i].chunked);
            struct fetch_body b;
            enum fetch_body_end end = FETCH_BODY_OPEN;
            size_t len = strlen(rows[i].bytes);
            fetch_body_init(&b, 64);
            for (size_t n = len < step ? len : step;; n++) {
                end = fetch_body_end(&b, &h, slice_of(rows[i].bytes, n));
                if (n == len)
                    break;
            }
            if (end != rows[i].end)
                fail_msg("row %zu, step %zu: %d", i, step, end);
            fetch_body_done(&b);
        }
}

static void what_came_before_the_cap_is_kept(void **state)
{
    struct fetch_body b;
    struct fetch_head h = head(200, NONE, true);
    (void)state;
    fetch_body_init(&b, 4);
    assert_true(slice_eq(fetch_body_get(&b, &h, SLICE("6\r\nabcdef\r\n"), false), SLICE("abcd")));
    fetch_body_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_with_wrong_framing_is_read_as_far_as_it_came),
        cmocka_unit_test(the_end_is_known_when_it_has_come_and_doubted_where_json_has_none),
        cmocka_unit_test(what_came_before_the_cap_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
