/* The head of a token response, whatever a server makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "refresh/fetch/fetch_curl.h"
#include "refresh/fetch/fetch_head.h"

#include <stdlib.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

static int setup(void **state)
{
    (void)state;
    return fetch_curl_load(NULL);
}

static void heads_are_read_however_they_are_written(void **state)
{
    static const struct {
        const char *bytes;
        int status; /* 0: no response, even at the end */
        const char *body;
    } rows[] = {
        { "HTTP/1.1 200 OK\r\na: b\r\n\r\n{}", 200, "{}" },
        { "HTTP/1.0 400\r\n\r\n", 400, "" },
        { "HTTP/1.1 200 \r\n\r\nx", 200, "x" },
        { "HTTP/1.1   201   OK\r\n\r\nx", 201, "x" },
        { "HTTP/1.1 200OK\r\n\r\nx", 200, "x" },
        { "HTTP/1.1 200 OK\n\nx", 200, "x" },
        { "HTTP/1.1 200 OK\na: b\r\n\nx", 200, "x" },
        { "HTTP/1.1 200 OK\r\r\na: b\r\r\n\r\r\nx", 200, "x" },
        { "HTTP/1.1 401 No\ra: b\r\rx", 401, "x" },       /* lines that end with CR alone */
        { "HTTP/1.1 200 OK\ra: b\r\n\r\nx", 200, "\nx" }, /* … and one that does so among others */
        { "HTTP/1.1 200 O\rK\r\na: b\r\n\r\nx", 200, "\nx" },
        { "HTTP/1.1 200 OK\r\na: b\rc: d\r\n\r\nx", 200, "x" },
        { "HTTP/1.1 200 OK\r\nbroken field\r\n: no name\r\n folded\r\n\r\nx", 200, "x" },
        { "HTTP/1.1 200 OK\r\na: b\r\n{\"a\":1}", 200, "{\"a\":1}" }, /* no empty line */
        { "HTTP/1.1 200 OK\r\n[1]", 200, "[1]" },
        { "HTTP/1.2 200 OK\r\n\r\nx", 200, "x" },
        { "HTTP/3.0 503 No\r\n\r\nx", 503, "x" },
        { "HTTP/9 999 x\r\n\r\n", 999, "" },
        { "HTTP/1.1 2000 OK\r\n\r\nx", 200, "x" }, /* nobody can read it: it may have been a success */
        { "HTTP/1.1 abc\r\n\r\nx", 200, "x" },
        { "HTTP/1.1\r\n\r\nx", 200, "x" },
        { "HTTP/1.1 099 x\r\n\r\nx", 200, "x" },
        { "HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 400 No\r\n\r\nx", 400, "x" },
        { "HTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 102 x\r\n\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx", 200, "x" },
        { "HTTP/1.1 100 Go\r\nHTTP/1.1 400 No\r\n\r\nx", 400, "x" },
        { "HTTP/1.1 100 Go\r\n\r\n{}", 200, "{}" },
        { "HTTP/1.1 100 Go\r\n{}", 200, "{}" },
        { "HTTP/1.1 101 Up\r\n\r\n", 0, "" },
        { "\r\n\r\n \tHTTP/1.1 400 No\r\n\r\nx", 400, "x" },
        { "ICY 200 OK\r\na: b\r\n\r\nx", 200, "x" },
        { "ICY 404 No\r\n\r\nx", 404, "x" },
        { "{\"a\":1}", 200, "{\"a\":1}" },
        { "\r\n[]", 200, "[]" },
        { "\xef\xbb\xbf{}", 200, "\xef\xbb\xbf{}" },
        { "SSH-2.0-x\r\n", 0, "" },
        { "220 mail.test\r\n", 0, "" },
        { "ICY 100 OK\r\n\r\n", 0, "" },
        { "<html>\r\n", 0, "" },
        { "HTTP/1.1 200 OK\r\na: b\r\n", 0, "" }, /* it may be that of a 1xx, or of what comes */
        { "HTTP/1.1 200 OK\r\na: b", 0, "" },
        { "HTTP/1.1 200", 0, "" },
        { "HTTP/1.1 200 OK\r", 0, "" },
        { "HTTP/1.1 100 Go\r\n\r\n", 0, "" },
        { "\r\n", 0, "" },
        { "", 0, "" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        for (size_t step = 1; step <= 256; step += 255) { /* a byte at a time, and in one piece */
            struct fetch_head h;
            struct slice bytes = slice_str(rows[i].bytes);
            fetch_head_init(&h);
            for (size_t n = step; n < bytes.len; n += step)
                fetch_head_read(&h, slice_of(bytes.ptr, n), false);
            fetch_head_read(&h, bytes, false);
            fetch_head_read(&h, bytes, true);
            int status = h.whole ? h.status : 0;
            struct slice body = h.whole ? slice_skip(bytes, h.body_at) : SLICE("");
            if (status != rows[i].status || !slice_eq(body, slice_str(rows[i].body)))
                fail_msg("row %zu, step %zu: %d, %.*s", i, step, status, (int)body.len, body.ptr);
            fetch_head_done(&h);
        }
}

static struct fetch_head read_fields(const char *fields)
{
    static char text[4096];
    struct fetch_head h;
    snprintf(text, sizeof text, "HTTP/1.1 302 x\r\n%s\r\n\r\n", fields);
    fetch_head_init(&h);
    fetch_head_read(&h, slice_str(text), false);
    assert_true(h.whole);
    return h;
}

static void of_fields_the_first_counts_and_of_lengths_the_greatest(void **state)
{
    static const struct {
        const char *fields;
        int length; /* -1: none */
        bool chunked;
    } rows[] = {
        { "content-length: 5", 5, false },
        { "CONTENT-LENGTH : 5\t", 5, false },
        { "Content-Length: 5\r\nContent-Length: 7", 7, false },
        { "Content-Length: 7, 5", 7, false },
        { "Content-Length: abc", -1, false },
        { "Content-Length: -1", -1, false },
        { "Content-Length: +1", -1, false },
        { "Content-Length: 99999999999999999999999", -1, false },
        { "Content-Length:", -1, false },
        { "Transfer-Encoding: chunked", -1, true },
        { "Transfer-Encoding: gzip, Chunked", -1, true },
        { "Transfer-Encoding: gzip", -1, false },
        { "Transfer-Encoding: chunked\r\nContent-Length: 5", 5, true },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fetch_head h = read_fields(rows[i].fields);
        if (h.has_length != (rows[i].length >= 0) || (h.has_length && h.length != (uint64_t)rows[i].length)
            || h.chunked != rows[i].chunked)
            fail_msg("%s: %d, %d", rows[i].fields, (int)h.length, h.chunked);
        fetch_head_done(&h);
    }
    struct fetch_head h = read_fields("retry-after: 7\r\nRetry-After: 8\r\nwww-authenticate: DPoP\r\nlocation: /x\r\n"
                                      "Location: /y\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT");
    assert_true(slice_eq(buf_slice(&h.retry_after), SLICE("7")));
    assert_true(slice_eq(buf_slice(&h.challenge), SLICE("DPoP")));
    assert_true(slice_eq(buf_slice(&h.location), SLICE("/x")));
    assert_int_equal(h.date_s, 784111777);
    fetch_head_done(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_read_however_they_are_written),
        cmocka_unit_test(of_fields_the_first_counts_and_of_lengths_the_greatest),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
