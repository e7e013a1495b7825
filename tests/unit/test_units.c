/* Unit tests of app/words and app/url: durations, sizes, near words, URLs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "app/config/url.h"
#include "app/config/units.h"
#include "net/address.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void durations_need_a_unit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int result;
        int64_t ms;
    } rows[] = {
        { "250ms", 0, 250 },
        { "30s", 0, 30000 },
        { "5m", 0, 300000 },
        { "1h", 0, 3600000 },
        { "0", 0, 0 },
        { "0s", 0, 0 },
        { "30", -EINVAL, 7 },
        { "", -EINVAL, 7 },
        { "s", -EINVAL, 7 },
        { "-1s", -EINVAL, 7 },
        { "1.5s", -EINVAL, 7 },
        { "1 s", -EINVAL, 7 },
        { "1S", -EINVAL, 7 },
        { "1d", -EINVAL, 7 },
        { "1m30s", -EINVAL, 7 },
        { "1msx", -EINVAL, 7 },
        { "99999999999999999999s", -ERANGE, 7 },
        { "900000h", -ERANGE, 7 },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t ms = 7;
        assert_int_equal(units_duration(slice_str(rows[i].text), &ms), rows[i].result);
        assert_int_equal(ms, rows[i].ms);
    }
}

static void sizes_need_a_binary_unit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int result;
        uint64_t bytes;
    } rows[] = {
        { "512B", 0, 512 },    { "64KiB", 0, 65536 },           { "1MiB", 0, 1048576 }, { "2GiB", 0, 2147483648 },
        { "0", 0, 0 },         { "1MB", -EINVAL, 7 },           { "1mib", -EINVAL, 7 }, { "1024", -EINVAL, 7 },
        { "MiB", -EINVAL, 7 }, { "9999999999GiB", -ERANGE, 7 },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint64_t bytes = 7;
        assert_int_equal(units_size(slice_str(rows[i].text), &bytes), rows[i].result);
        assert_int_equal(bytes, rows[i].bytes);
    }
}

static void what_is_said_can_be_read_back(void **state)
{
    (void)state;
    static const int64_t durations[] = { 0, 1, 999, 1000, 1500, 60000, 90000, 3600000, 3600001 };
    static const uint64_t sizes[] = { 0, 1, 1023, 1024, 1025, 1 << 20, 3 << 20, 1u << 30 };
    char text[32];
    for (size_t i = 0; i < COUNT(durations); i++) {
        int64_t ms = -1;
        assert_int_equal(units_duration(slice_str(units_duration_text(durations[i], text, sizeof text)), &ms), 0);
        assert_int_equal(ms, durations[i]);
    }
    for (size_t i = 0; i < COUNT(sizes); i++) {
        uint64_t bytes = 0;
        assert_int_equal(units_size(slice_str(units_size_text(sizes[i], text, sizeof text)), &bytes), 0);
        assert_int_equal(bytes, sizes[i]);
    }
    assert_string_equal(units_duration_text(300000, text, sizeof text), "5m");
    assert_string_equal(units_size_text(1 << 20, text, sizeof text), "1MiB");
}

static void the_distance_counts_single_slips(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        unsigned distance;
    } rows[] = {
        { "", "", 0 },
        { "rule", "rules", 1 },
        { "proxy", "prxy", 1 },
        { "chekc", "check", 1 },
        { "UNMATCHED", "unmatched", 0 },
        { "abc", "", 3 },
        { "kitten", "sitting", 3 },
        { "strip", "append", 6 },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(units_distance(rows[i].a, rows[i].b), rows[i].distance);
        assert_int_equal(units_distance(rows[i].b, rows[i].a), rows[i].distance);
    }
    char longer[80];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(units_distance(longer, longer), 64);
}

static void only_what_is_near_is_proposed_and_the_nearest_wins(void **state)
{
    (void)state;
    const char *best = NULL;
    units_nearer("zebra", "proxy", &best);
    assert_null(best);
    units_nearer("on", "env", &best);
    assert_null(best);
    units_nearer("path", "match", &best);
    units_nearer("path", "paths", &best);
    units_nearer("path", "match", &best);
    assert_string_equal(best, "paths");
}

static void urls_are_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host, *path;
        enum scheme scheme;
        uint16_t port;
        bool loopback;
    } rows[] = {
        { "https://Login.Example.com/oauth2/token", "login.example.com", "/oauth2/token", SCHEME_HTTPS, 443, false },
        { "https://h.test", "h.test", "/", SCHEME_HTTPS, 443, false },
        { "HTTPS://h.test:8443/a?b=/c", "h.test", "/a?b=/c", SCHEME_HTTPS, 8443, false },
        { "http://127.0.0.1:99/t", "127.0.0.1", "/t", SCHEME_HTTP, 99, true },
        { "http://[::1]/t", "::1", "/t", SCHEME_HTTP, 80, true },
        { "http://localhost", "localhost", "/", SCHEME_HTTP, 80, true },
        { "http://127.example.com/", "127.example.com", "/", SCHEME_HTTP, 80, false },
        { "http://app.localhost/", "app.localhost", "/", SCHEME_HTTP, 80, true },
        { "http://notlocalhost/", "notlocalhost", "/", SCHEME_HTTP, 80, false },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct authority a;
        struct slice path;
        assert_int_equal(url_parse(slice_str(rows[i].text), &a, &path), 0);
        assert_string_equal(a.host, rows[i].host);
        assert_true(slice_eq(path, slice_str(rows[i].path)));
        assert_int_equal(a.scheme, rows[i].scheme);
        assert_int_equal(a.port, rows[i].port);
        assert_int_equal(address_names_loopback(slice_str(a.host)), rows[i].loopback);
    }
}

static void urls_that_could_mean_two_hosts_are_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "h.test/x",
        "ftp://h.test/",
        "https:/h.test/",
        "https://",
        "https:///x",
        "https://u@h.test/",
        "https://u:p@h.test/",
        "https://h.test/#f",
        "https://h.test#@evil.test/",
        "https://h.test?x=1",
        "https://h.test /",
        "https://h.test/a b",
        "https://h.test/\n",
        "https://h.test:0/",
        "https://h.test:99999/",
        "https://h.test\\@evil.test/",
        "https://%68.test/",
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct authority a;
        struct slice path;
        if (url_parse(slice_str(rows[i]), &a, &path) != -EINVAL)
            fail_msg("%s was taken", rows[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_need_a_unit),
        cmocka_unit_test(sizes_need_a_binary_unit),
        cmocka_unit_test(what_is_said_can_be_read_back),
        cmocka_unit_test(the_distance_counts_single_slips),
        cmocka_unit_test(only_what_is_near_is_proposed_and_the_nearest_wins),
        cmocka_unit_test(urls_are_taken_apart),
        cmocka_unit_test(urls_that_could_mean_two_hosts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
