/* Unit tests of net/address: the class table, what a policy lets through, and the text forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "net/address.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct sockaddr *sockaddr_of(const char *ip, struct address *a)
{
    if (address_parse_network(slice_str(ip), a) != 0)
        fail_msg("%s is no address", ip);
    return (const struct sockaddr *)&a->sa;
}

static enum address_class class_of(const char *ip)
{
    struct address a;
    return address_class_of(sockaddr_of(ip, &a));
}

/* The first and the last address of each range, and the neighbours outside. */
static void every_ipv4_range_has_its_class_from_edge_to_edge(void **state)
{
    (void)state;
    static const struct {
        const char *before, *first, *last, *after;
        enum address_class failure, class_before, class_after;
    } rows[] = {
        { NULL, "0.0.0.0", "0.255.255.255", "1.0.0.0", ADDRESS_UNUSABLE, 0, ADDRESS_PUBLIC },
        { "9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0", ADDRESS_PRIVATE, ADDRESS_PUBLIC, ADDRESS_PUBLIC },
        { "100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0", ADDRESS_PRIVATE, ADDRESS_PUBLIC,
          ADDRESS_PUBLIC },
        { "126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0", ADDRESS_LOOPBACK, ADDRESS_PUBLIC,
          ADDRESS_PUBLIC },
        { "169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0", ADDRESS_LINK_LOCAL, ADDRESS_PUBLIC,
          ADDRESS_PUBLIC },
        { "169.254.169.253", "169.254.169.254", "169.254.169.254", "169.254.169.255", ADDRESS_METADATA,
          ADDRESS_LINK_LOCAL, ADDRESS_LINK_LOCAL },
        { "172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0", ADDRESS_PRIVATE, ADDRESS_PUBLIC,
          ADDRESS_PUBLIC },
        { "191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0", ADDRESS_UNUSABLE, ADDRESS_PUBLIC,
          ADDRESS_PUBLIC },
        { "192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0", ADDRESS_UNUSABLE, ADDRESS_PUBLIC, ADDRESS_PUBLIC },
        { "192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0", ADDRESS_UNUSABLE, ADDRESS_PUBLIC,
          ADDRESS_PUBLIC },
        { "192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0", ADDRESS_PRIVATE, ADDRESS_PUBLIC,
          ADDRESS_PUBLIC },
        { "198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0", ADDRESS_PRIVATE, ADDRESS_PUBLIC,
          ADDRESS_PUBLIC },
        { "198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0", ADDRESS_UNUSABLE, ADDRESS_PUBLIC,
          ADDRESS_PUBLIC },
        { "203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0", ADDRESS_UNUSABLE, ADDRESS_PUBLIC,
          ADDRESS_PUBLIC },
        { "223.255.255.255", "224.0.0.0", "255.255.255.255", NULL, ADDRESS_UNUSABLE, ADDRESS_PUBLIC, 0 },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_int_equal(class_of(rows[i].first), rows[i].failure);
        assert_int_equal(class_of(rows[i].last), rows[i].failure);
        if (rows[i].before)
            assert_int_equal(class_of(rows[i].before), rows[i].class_before);
        if (rows[i].after)
            assert_int_equal(class_of(rows[i].after), rows[i].class_after);
    }
}

static const struct {
    const char *ip;
    enum address_class failure;
} single[] = {
    { "8.8.8.8", ADDRESS_PUBLIC },
    { "169.254.170.2", ADDRESS_METADATA },
    { "169.254.170.23", ADDRESS_METADATA },
    { "169.254.170.3", ADDRESS_LINK_LOCAL },
    { "100.100.100.200", ADDRESS_METADATA },
    { "100.100.100.201", ADDRESS_PRIVATE },
    { "168.63.129.16", ADDRESS_METADATA },
    { "168.63.129.17", ADDRESS_PUBLIC },
    { "192.0.0.192", ADDRESS_METADATA },
    { "::", ADDRESS_UNUSABLE },
    { "::1", ADDRESS_LOOPBACK },
    { "::2", ADDRESS_UNUSABLE },
    { "::127.0.0.1", ADDRESS_UNUSABLE },
    { "::8.8.8.8", ADDRESS_UNUSABLE },
    { "::ffff:0.0.0.0", ADDRESS_UNUSABLE },
    { "::ffff:224.0.0.1", ADDRESS_UNUSABLE },
    { "64:ff9b::255.255.255.255", ADDRESS_UNUSABLE },
    { "2002::1", ADDRESS_UNUSABLE },
    { "2606:4700::1111", ADDRESS_PUBLIC },
    { "2000::1", ADDRESS_PUBLIC },
    { "3ffe:ffff::1", ADDRESS_PUBLIC },
    { "3fff::1", ADDRESS_UNUSABLE },
    { "3fff:fff::1", ADDRESS_UNUSABLE },
    { "4000::1", ADDRESS_UNUSABLE },
    { "5f00::1", ADDRESS_UNUSABLE },
    { "100::1", ADDRESS_UNUSABLE },
    { "2001:db8::1", ADDRESS_UNUSABLE },
    { "2001:db9::1", ADDRESS_PUBLIC },
    { "2001:2::1", ADDRESS_PRIVATE },
    { "2001:2:1::1", ADDRESS_UNUSABLE },
    { "2001:10::1", ADDRESS_UNUSABLE },
    { "2001:1ff:ffff::1", ADDRESS_UNUSABLE },
    { "2001:200::1", ADDRESS_PUBLIC },
    { "fbff::1", ADDRESS_UNUSABLE },
    { "fc00::1", ADDRESS_PRIVATE },
    { "fdff:ffff::1", ADDRESS_PRIVATE },
    { "fd00:ec2::254", ADDRESS_METADATA },
    { "fd00:ec2::23", ADDRESS_METADATA },
    { "fd00:ec2::253", ADDRESS_PRIVATE },
    { "fd20:ce::254", ADDRESS_METADATA },
    { "fe80::1", ADDRESS_LINK_LOCAL },
    { "fe80::a9fe:a9fe", ADDRESS_LINK_LOCAL },
    { "febf:ffff::1", ADDRESS_LINK_LOCAL },
    { "fec0::1", ADDRESS_PRIVATE },
    { "ff02::1", ADDRESS_UNUSABLE },
};

static void single_addresses_have_their_class(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(single); i++)
        if (class_of(single[i].ip) != single[i].failure)
            fail_msg("%s is %s", single[i].ip, address_class_name(class_of(single[i].ip)));
}

/* prefix with the four bytes of inner at these places. */
static void wrap(struct address *a, const char *prefix, const uint8_t at[4], uint8_t invert, const char *inner)
{
    uint8_t v4[4], *bytes = ((struct sockaddr_in6 *)(void *)&a->sa)->sin6_addr.s6_addr;
    (void)sockaddr_of(prefix, a);
    assert_int_equal(inet_pton(AF_INET, inner, v4), 1);
    for (size_t i = 0; i < 4; i++)
        bytes[at[i]] = v4[i] ^ invert;
}

static void ipv6_that_carries_ipv4_is_judged_by_what_it_carries(void **state)
{
    (void)state;
    static const struct {
        const char *prefix;
        uint8_t at[4], invert;
    } wrappers[] = {
        { "::ffff:0:0", { 12, 13, 14, 15 }, 0 },          { "::ffff:0:0:0", { 12, 13, 14, 15 }, 0 },
        { "64:ff9b::", { 12, 13, 14, 15 }, 0 },           { "2002::1", { 2, 3, 4, 5 }, 0 },
        { "2001:0:808:808::", { 12, 13, 14, 15 }, 0xff }, { "64:ff9b:1::", { 12, 13, 14, 15 }, 0 },
        { "64:ff9b:1:a:b:c::", { 12, 13, 14, 15 }, 0 },   { "64:ff9b:1::", { 6, 7, 9, 10 }, 0 },
        { "64:ff9b:1:500::", { 7, 9, 10, 11 }, 0 },       { "64:ff9b:1:506::", { 9, 10, 11, 12 }, 0 },
    };
    static const struct {
        const char *inner;
        enum address_class failure;
    } rows[] = {
        { "127.0.0.1", ADDRESS_LOOPBACK },     { "169.254.169.254", ADDRESS_METADATA },
        { "169.254.1.1", ADDRESS_LINK_LOCAL }, { "10.1.2.3", ADDRESS_PRIVATE },
        { "192.168.1.1", ADDRESS_PRIVATE },    { "9.9.9.9", ADDRESS_PUBLIC },
    };
    for (size_t w = 0; w < COUNT(wrappers); w++)
        for (size_t i = 0; i < COUNT(rows); i++) {
            struct address a;
            char text[64];
            wrap(&a, wrappers[w].prefix, wrappers[w].at, wrappers[w].invert, rows[i].inner);
            enum address_class got = address_class_of((const struct sockaddr *)&a.sa);
            if (got != rows[i].failure)
                fail_msg("%s (%s inside) is %s", address_text((const struct sockaddr *)&a.sa, text, sizeof text),
                         rows[i].inner, address_class_name(got));
        }
}

static void a_local_nat64_address_without_ipv4_is_unusable(void **state)
{
    (void)state;
    assert_int_equal(class_of("64:ff9b:1::"), ADDRESS_UNUSABLE);
    assert_int_equal(class_of("64:ff9b:2::808:808"), ADDRESS_UNUSABLE);
}

static void other_families_are_unusable(void **state)
{
    (void)state;
    const struct sockaddr_un path = { .sun_family = AF_UNIX, .sun_path = "/run/x" };
    char text[64];
    struct address_policy nothing = { NULL, 0 };
    assert_int_equal(address_class_of((const struct sockaddr *)&path), ADDRESS_UNUSABLE);
    assert_false(address_allowed(&nothing, (const struct sockaddr *)&path));
    assert_string_equal(address_text((const struct sockaddr *)&path, text, sizeof text), "?");
}

static bool allowed(const char *networks, const char *ip)
{
    struct address list[4], a;
    struct address_policy policy = { list, 0 };
    for (struct slice rest = slice_str(networks), one; rest.len; policy.allow_count++) {
        one = slice_cut(rest, ' ', &rest);
        assert_int_equal(address_parse_network(one, &list[policy.allow_count]), 0);
    }
    return address_allowed(&policy, sockaddr_of(ip, &a));
}

static void private_and_loopback_need_to_be_listed(void **state)
{
    (void)state;
    static const struct {
        const char *networks, *ip;
        bool allowed;
    } rows[] = {
        { "", "8.8.8.8", true },
        { "", "2606:4700::1111", true },
        { "", "10.20.0.1", false },
        { "", "127.0.0.1", false },
        { "", "::1", false },
        { "10.20.0.0/16", "10.20.255.255", true },
        { "10.20.0.0/16", "10.21.0.0", false },
        { "10.20.0.0/16 127.0.0.1", "127.0.0.1", true },
        { "127.0.0.1", "127.0.0.2", false },
        { "127.0.0.1", "::1", false },
        { "::1", "::1", true },
        { "::1", "127.0.0.1", false },
        { "fd00:1::/32", "fd00:1:ffff::1", true },
        { "fd00:1::/32", "fd00:2::1", false },
        { "172.16.0.0/12", "172.31.9.9", true },
        { "192.168.0.0/23", "192.168.1.255", true },
        { "192.168.0.0/23", "192.168.2.0", false },
        /* the same host in its other clothes */
        { "", "::ffff:10.20.0.1", false },
        { "10.20.0.0/16", "::ffff:10.20.0.1", true },
        { "10.20.0.0/16", "64:ff9b::10.20.0.1", true },
        { "10.20.0.0/16", "::ffff:10.21.0.1", false },
        { "::ffff:10.20.0.0/112", "::ffff:10.20.0.1", true },
        { "::ffff:127.0.0.1", "127.0.0.1", false },
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        if (allowed(rows[i].networks, rows[i].ip) != rows[i].allowed)
            fail_msg("\"%s\" and %s", rows[i].networks, rows[i].ip);
}

static void metadata_link_local_and_unusable_are_refused_even_when_listed(void **state)
{
    (void)state;
    static const char *const never[] = {
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "169.254.1.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "fd00:ec2::254",
        "fe80::1",
        "ff02::1",
        "::",
    };
    for (size_t i = 0; i < COUNT(never); i++)
        if (allowed("0.0.0.0/0 ::/0", never[i]) || allowed(never[i], never[i]))
            fail_msg("%s was allowed", never[i]);
    assert_true(allowed("0.0.0.0/0", "127.0.0.1"));
}

static void socket_addresses_are_parsed_and_printed(void **state)
{
    (void)state;
    static const struct {
        const char *text, *printed; /* NULL: refused */
    } rows[] = {
        { "1.2.3.4", "1.2.3.4:443" },
        { "1.2.3.4:80", "1.2.3.4:80" },
        { "127.0.0.1:0", "127.0.0.1:0" },
        { "127.0.0.1:65535", "127.0.0.1:65535" },
        { "[::1]", "[::1]:443" },
        { "[2001:DB8::1]:8443", "[2001:db8::1]:8443" },
        { "[::ffff:1.2.3.4]:1", "[::ffff:1.2.3.4]:1" },
        { "", NULL },
        { ":80", NULL },
        { "::1", NULL },
        { "[::1", NULL },
        { "::1]", NULL },
        { "[]", NULL },
        { "[::1]x", NULL },
        { "[::1]80", NULL },
        { "[1.2.3.4]:80", NULL },
        { "[fe80::1%lo]:80", NULL },
        { "1.2.3.4:", NULL },
        { "1.2.3.4:65536", NULL },
        { "1.2.3.4:+1", NULL },
        { "1.2.3.4:1:1", NULL },
        { "1.2.3", NULL },
        { "127.1", NULL },
        { "0x7f.0.0.1", NULL },
        { "010.0.0.1", NULL },
        { "2130706433", NULL },
        { " 1.2.3.4", NULL },
        { "localhost:80", NULL },
        { "[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb]:1", NULL },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct address a;
        char text[64];
        int failed = address_parse(slice_str(rows[i].text), 443, &a);
        if (failed != (rows[i].printed ? 0 : -EINVAL))
            fail_msg("\"%s\": %d", rows[i].text, failed);
        if (rows[i].printed) {
            assert_string_equal(address_text((struct sockaddr *)&a.sa, text, sizeof text), rows[i].printed);
            assert_int_equal(a.len,
                             a.sa.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
            assert_int_equal(a.prefix, a.sa.ss_family == AF_INET ? 32 : 128);
        }
    }
}

static void a_byte_after_nul_is_not_hidden(void **state)
{
    (void)state;
    struct address a;
    assert_int_equal(address_parse(SLICE("1.2.3.4\0.evil"), 1, &a), -EINVAL);
    assert_int_equal(address_parse_network(SLICE("10.0.0.0\0"), &a), -EINVAL);
}

static void networks_are_parsed_and_their_host_bits_cleared(void **state)
{
    (void)state;
    static const struct {
        const char *text, *first;
        unsigned prefix;
    } rows[] = {
        { "10.0.0.0/8", "10.0.0.0:0", 8 },
        { "10.1.2.3/8", "10.0.0.0:0", 8 },
        { "10.1.2.3/31", "10.1.2.2:0", 31 },
        { "10.1.2.3", "10.1.2.3:0", 32 },
        { "10.1.2.3/0", "0.0.0.0:0", 0 },
        { "fd00::/8", "[fd00::]:0", 8 },
        { "fdff:1::1/9", "[fd80::]:0", 9 },
        { "::1/128", "[::1]:0", 128 },
        { "10.0.0.0/33", NULL, 0 },
        { "10.0.0.0/", NULL, 0 },
        { "10.0.0.0/-1", NULL, 0 },
        { "10.0.0.0/8/8", NULL, 0 },
        { "10/8", NULL, 0 },
        { "::/129", NULL, 0 },
        { "[::1]/128", NULL, 0 },
        { "/8", NULL, 0 },
        { "", NULL, 0 },
        { "example.com/8", NULL, 0 },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct address a;
        char text[64];
        int failed = address_parse_network(slice_str(rows[i].text), &a);
        if (failed != (rows[i].first ? 0 : -EINVAL))
            fail_msg("\"%s\": %d", rows[i].text, failed);
        if (rows[i].first) {
            assert_string_equal(address_text((struct sockaddr *)&a.sa, text, sizeof text), rows[i].first);
            assert_int_equal(a.prefix, rows[i].prefix);
        }
    }
}

static void failure_leaves_the_result_untouched(void **state)
{
    (void)state;
    struct address a = { .prefix = 77 };
    assert_int_equal(address_parse(SLICE("1.2.3.4:x"), 1, &a), -EINVAL);
    assert_int_equal(address_parse_network(SLICE("1.2.3.4/99"), &a), -EINVAL);
    assert_int_equal(a.prefix, 77);
}

static void a_short_text_buffer_is_not_overrun(void **state)
{
    (void)state;
    struct address a;
    char text[8];
    assert_string_equal(address_text(sockaddr_of("192.168.100.200", &a), text, sizeof text), "192.168");
}

static void every_class_has_a_name(void **state)
{
    (void)state;
    for (int c = ADDRESS_PUBLIC; c <= ADDRESS_UNUSABLE; c++)
        assert_true(strlen(address_class_name((enum address_class)c)) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_ipv4_range_has_its_class_from_edge_to_edge),
        cmocka_unit_test(single_addresses_have_their_class),
        cmocka_unit_test(ipv6_that_carries_ipv4_is_judged_by_what_it_carries),
        cmocka_unit_test(a_local_nat64_address_without_ipv4_is_unusable),
        cmocka_unit_test(other_families_are_unusable),
        cmocka_unit_test(private_and_loopback_need_to_be_listed),
        cmocka_unit_test(metadata_link_local_and_unusable_are_refused_even_when_listed),
        cmocka_unit_test(socket_addresses_are_parsed_and_printed),
        cmocka_unit_test(a_byte_after_nul_is_not_hidden),
        cmocka_unit_test(networks_are_parsed_and_their_host_bits_cleared),
        cmocka_unit_test(failure_leaves_the_result_untouched),
        cmocka_unit_test(a_short_text_buffer_is_not_overrun),
        cmocka_unit_test(every_class_has_a_name),
    };
    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
