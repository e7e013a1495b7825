/* One spelling for each authority, and none for what could be read in two ways (docs/http.md 1.1a, 1.1b). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "http/authority.h"

#define RAW(literal) { literal, sizeof(literal) - 1 }
#define L63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define L61 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
    const char *name;
    struct slice text;
    const char *key; /* NULL: refused */
} rows[] = {
    { "a name gets the default port", RAW("example.com"), "example.com:443" },
    { "a port is kept", RAW("example.com:8443"), "example.com:8443" },
    { "upper case is folded", RAW("ExAmPle.COM"), "example.com:443" },
    { "one trailing dot is dropped", RAW("example.com."), "example.com:443" },
    { "a trailing dot before a port is dropped", RAW("example.com.:80"), "example.com:80" },
    { "a single label is a name", RAW("localhost"), "localhost:443" },
    { "an underscore is let through", RAW("_a.b_c.d"), "_a.b_c.d:443" },
    { "an A-label is a name", RAW("XN--bcher-kva.example"), "xn--bcher-kva.example:443" },
    { "digits in a label that is not the last are a name", RAW("1.2.3.4.nip.io"), "1.2.3.4.nip.io:443" },
    { "a last label with a letter is a name", RAW("a.1b"), "a.1b:443" },
    { "0x with other letters is a name", RAW("0xyz"), "0xyz:443" },
    { "a label of 63 bytes is a name", RAW(L63 ".b"), L63 ".b:443" },
    { "a name of 253 bytes is a name", RAW(L63 "." L63 "." L63 "." L61), L63 "." L63 "." L63 "." L61 ":443" },
    { "port 1 is a port", RAW("a:1"), "a:1" },
    { "port 65535 is a port", RAW("a:65535"), "a:65535" },
    { "a dotted quad is an address", RAW("127.0.0.1"), "127.0.0.1:443" },
    { "a dotted quad with a dot behind is an address", RAW("127.0.0.1.:8"), "127.0.0.1:8" },
    { "IPv6 in brackets is an address", RAW("[::1]"), "[::1]:443" },
    { "IPv6 is written in its shortest form", RAW("[2001:DB8:0:0:0:0:0:1]:8443"), "[2001:db8::1]:8443" },
    { "IPv4 in IPv6 stays IPv6", RAW("[::ffff:1.2.3.4]"), "[::ffff:1.2.3.4]:443" },

    { "an empty text is refused", RAW(""), NULL },
    { "an empty host is refused", RAW(":443"), NULL },
    { "a dot alone is refused", RAW("."), NULL },
    { "two trailing dots are refused", RAW("example.com.."), NULL },
    { "an empty label is refused", RAW("a..b"), NULL },
    { "a leading dot is refused", RAW(".a"), NULL },
    { "a label of 64 bytes is refused", RAW(L63 "a.b"), NULL },
    { "a name of 254 bytes is refused", RAW(L63 "." L63 "." L63 "." L61 "a"), NULL },
    { "userinfo is refused", RAW("user@example.com"), NULL },
    { "userinfo with a password is refused", RAW("user:pass@example.com"), NULL },
    { "NUL is refused", RAW("example.com\0.evil.org"), NULL },
    { "NUL at the end is refused", RAW("example.com\0"), NULL },
    { "a space is refused", RAW("example.com "), NULL },
    { "a space before is refused", RAW(" example.com"), NULL },
    { "a tab is refused", RAW("a\tb"), NULL },
    { "a backslash is refused", RAW("example.com\\.evil.org"), NULL },
    { "a percent sign is refused", RAW("ex%61mple.com"), NULL },
    { "a slash is refused", RAW("example.com/"), NULL },
    { "a question mark is refused", RAW("example.com?"), NULL },
    { "a fragment is refused", RAW("example.com#"), NULL },
    { "a comma is refused", RAW("a,b"), NULL },
    { "a star is refused", RAW("*.example.com"), NULL },
    { "a U-label is refused",
      RAW("b\xc3\xbc"
          "cher.example"),
      NULL },
    { "a full-width dot is refused",
      RAW("a\xef\xbc\x8e"
          "b"),
      NULL },
    { "CR LF is refused", RAW("a\r\nb"), NULL },
    { "an integer IPv4 is refused", RAW("2130706433"), NULL },
    { "a hexadecimal IPv4 is refused", RAW("0x7f000001"), NULL },
    { "0x alone is refused", RAW("0x"), NULL },
    { "a hexadecimal part is refused", RAW("0x7f.0.0.1"), NULL },
    { "a hexadecimal last part is refused", RAW("127.0.0.0X1"), NULL },
    { "a short IPv4 is refused", RAW("127.1"), NULL },
    { "an IPv4 of three parts is refused", RAW("127.0.1"), NULL },
    { "an IPv4 of five parts is refused", RAW("1.2.3.4.5"), NULL },
    { "an octal IPv4 is refused", RAW("0177.0.0.1"), NULL },
    { "leading zeros in an IPv4 are refused", RAW("127.0.0.01"), NULL },
    { "a part over 255 is refused", RAW("127.0.0.256"), NULL },
    { "a last label of digits is refused", RAW("example.123"), NULL },
    { "a last label of hexadecimal digits is refused", RAW("example.0xabc"), NULL },
    { "port 0 is refused", RAW("a:0"), NULL },
    { "a port over 65535 is refused", RAW("a:65536"), NULL },
    { "a port of six digits is refused", RAW("a:000443"), NULL },
    { "an empty port is none", RAW("a:"), "a:443" },
    { "a port with a sign is refused", RAW("a:+80"), NULL },
    { "a port with a space is refused", RAW("a: 80"), NULL },
    { "a port of letters is refused", RAW("a:http"), NULL },
    { "two ports are refused", RAW("a:1:2"), NULL },
    { "IPv6 without brackets is refused", RAW("::1"), NULL },
    { "IPv6 with a zone is refused", RAW("[fe80::1%eth0]"), NULL },
    { "IPv6 with an encoded zone is refused", RAW("[fe80::1%25eth0]"), NULL },
    { "empty brackets are refused", RAW("[]"), NULL },
    { "an open bracket is refused", RAW("[::1"), NULL },
    { "words behind a bracket are refused", RAW("[::1]a"), NULL },
    { "a dot behind a bracket is refused", RAW("[::1]."), NULL },
    { "IPv4 in brackets is refused", RAW("[127.0.0.1]"), NULL },
    { "a name in brackets is refused", RAW("[a]"), NULL },
    { "NUL in brackets is refused", RAW("[::1\0]"), NULL },
    { "an IPvFuture literal is refused", RAW("[v1.a]"), NULL },
    { "brackets that are too long are refused", RAW("[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]"), NULL },
};

static void each_authority_has_one_spelling_or_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct authority a, again;
        char text[AUTHORITY_TEXT_MAX];
        /* in memory of its own size, so that reading beyond it is found */
        char *exact = malloc(rows[i].text.len + (rows[i].text.len == 0));
        memcpy(exact, rows[i].text.ptr, rows[i].text.len);
        int failed = authority_parse(slice_of(exact, rows[i].text.len), SCHEME_HTTPS, 443, &a);
        free(exact);
        if (failed != (rows[i].key ? 0 : -EINVAL))
            fail_msg("%s: %d", rows[i].name, failed);
        if (failed)
            continue;
        if (strcmp(authority_key(&a, text), rows[i].key) != 0)
            fail_msg("%s: %s", rows[i].name, text);
        assert_int_equal(authority_parse(slice_str(text), SCHEME_HTTPS, 443, &again), 0);
        assert_true(authority_eq(&a, &again));
    }
}

static void the_kind_of_host_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum host_kind kind;
        const char *host;
    } kinds[] = {
        { "A.b", HOST_NAME, "a.b" },
        { "1.2.3.4", HOST_IPV4, "1.2.3.4" },
        { "[::1]", HOST_IPV6, "::1" },
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct authority a;
        assert_int_equal(authority_parse(slice_str(kinds[i].text), SCHEME_HTTP, 80, &a), 0);
        assert_int_equal(a.kind, kinds[i].kind);
        assert_string_equal(a.host, kinds[i].host);
    }
}

static void without_a_default_a_port_is_required(void **state)
{
    (void)state;
    struct authority a = { .port = 7 };
    assert_int_equal(authority_parse(SLICE("a"), SCHEME_HTTPS, 0, &a), -EINVAL);
    assert_int_equal(authority_parse(SLICE("[::1]"), SCHEME_HTTPS, 0, &a), -EINVAL);
    assert_int_equal(a.port, 7); /* untouched on failure */
    assert_int_equal(authority_parse(SLICE("a:443"), SCHEME_HTTPS, 0, &a), 0);
}

static void the_default_port_is_left_out_of_a_host_field(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum scheme scheme;
        const char *host;
    } texts[] = {
        { "a:443", SCHEME_HTTPS, "a" },
        { "a:80", SCHEME_HTTPS, "a:80" },
        { "a:80", SCHEME_HTTP, "a" },
        { "a:443", SCHEME_HTTP, "a:443" },
        { "[::1]:443", SCHEME_HTTPS, "[::1]" },
        { "[::1]:80", SCHEME_HTTPS, "[::1]:80" },
        { L63 "." L63 "." L63 "." L61 ":65535", SCHEME_HTTPS, L63 "." L63 "." L63 "." L61 ":65535" },
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct authority a;
        char text[AUTHORITY_TEXT_MAX];
        assert_int_equal(authority_parse(slice_str(texts[i].text), texts[i].scheme, 0, &a), 0);
        assert_string_equal(authority_text(&a, text), texts[i].host);
    }
}

static void scheme_host_and_port_make_the_authority(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum scheme scheme;
        bool same;
    } others[] = {
        { "a:443", SCHEME_HTTPS, true }, { "A.", SCHEME_HTTPS, true },    { "a:444", SCHEME_HTTPS, false },
        { "b", SCHEME_HTTPS, false },    { "a:443", SCHEME_HTTP, false }, { "a.a", SCHEME_HTTPS, false },
    };
    struct authority a, b;
    assert_int_equal(authority_parse(SLICE("a"), SCHEME_HTTPS, 443, &a), 0);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_int_equal(authority_parse(slice_str(others[i].text), others[i].scheme, 443, &b), 0);
        assert_int_equal(authority_eq(&a, &b), others[i].same);
    }
}

static const struct {
    const char *name, *uri, *key, *path;
} uris[] = {
    { "a path is kept as it is", "http://a/b%20c?d=/e", "a:80", "/b%20c?d=/e" },
    { "https has its own port", "https://a:8443/", "a:8443", "/" },
    { "https is 443", "HTTPS://A/", "a:443", "/" },
    { "an empty path is empty", "http://a", "a:80", "" },
    { "a query without a path is kept", "http://a?b/c", "a:80", "?b/c" },
    { "IPv6 is read", "http://[::1]:8/x", "[::1]:8", "/x" },
    { "an at sign in the path is no userinfo", "http://a/@b", "a:80", "/@b" },
    { "userinfo is refused", "http://u@a/", NULL, NULL },
    { "userinfo that looks like a host is refused", "https://a:443@evil/", NULL, NULL },
    { "a fragment is refused", "http://a/#b", NULL, NULL },
    { "an empty host is refused", "http:///b", NULL, NULL },
    { "ftp is refused", "ftp://a/", NULL, NULL },
    { "a path alone is refused", "/a", NULL, NULL },
    { "one slash is refused", "http:/a", NULL, NULL },
    { "a backslash for a slash is refused", "http://a\\b/", NULL, NULL },
    { "an authority alone is refused", "a:80", NULL, NULL },
    { "an empty text is refused", "", NULL, NULL },
};

static void an_absolute_form_gives_authority_and_path(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof uris / sizeof *uris; i++) {
        struct authority a;
        struct slice path;
        char text[AUTHORITY_TEXT_MAX];
        int failed = authority_parse_uri(slice_str(uris[i].uri), &a, &path);
        if (failed != (uris[i].key ? 0 : -EINVAL))
            fail_msg("%s: %d", uris[i].name, failed);
        if (failed == 0
            && (strcmp(authority_key(&a, text), uris[i].key) != 0 || !slice_eq(path, slice_str(uris[i].path))))
            fail_msg("%s: %s %.*s", uris[i].name, text, (int)path.len, path.ptr);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_authority_has_one_spelling_or_is_refused),
        cmocka_unit_test(the_kind_of_host_is_told),
        cmocka_unit_test(without_a_default_a_port_is_required),
        cmocka_unit_test(the_default_port_is_left_out_of_a_host_field),
        cmocka_unit_test(scheme_host_and_port_make_the_authority),
        cmocka_unit_test(an_absolute_form_gives_authority_and_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
