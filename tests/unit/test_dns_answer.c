/* What an isolated program is told of names: every name has an address that leads back to it, and no query gets more
 * than one datagram can hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proxy/dns_answer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HEAD "\x12\x34\x01\x20\0\1\0\0\0\0\0\0"
#define A "\0\1\0\1"
#define AAAA "\0\x1c\0\1"

static char asked[DNS_NAME_MAX + 1];

/* "bad…" is no name, "full…" has no room. */
static int address_of(void *arg, const char *name, bool v6, uint8_t address[16])
{
    (void)arg;
    snprintf(asked, sizeof asked, "%s", name);
    if (strncmp(name, "bad", 3) == 0)
        return -EINVAL;
    if (strncmp(name, "full", 4) == 0)
        return -ENOSPC;
    memset(address, v6 ? 6 : 4, v6 ? 16 : 4);
    return 0;
}

static const struct dns_names both = { .address_of = address_of, .v6 = true };
static const struct dns_names v4_alone = { .address_of = address_of };
static uint8_t answer[DNS_ANSWER_MAX];

static size_t ask(const struct dns_names *names, const char *query, size_t len)
{
    asked[0] = '\0';
    memset(answer, 0xee, sizeof answer);
    return dns_answer(names, slice_of(query, len), answer);
}
#define ASK(names, text) ask(names, text, sizeof(text) - 1)

static int rcode(void)
{
    return answer[3] & 15;
}

static void a_name_gets_one_address_of_the_family_that_was_asked(void **state)
{
    (void)state;
    static const char q4[] = HEAD "\3aPi\7example\0" A, q6[] = HEAD "\3api\7example\0" AAAA;
    static const uint8_t rr[] = { 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 4, 4, 4, 4 };
    size_t len = ASK(&both, q4);
    assert_string_equal(asked, "api.example");
    assert_int_equal(len, sizeof q4 - 1 + sizeof rr);
    assert_memory_equal(answer + sizeof q4 - 1, rr, sizeof rr);
    assert_memory_equal(answer, "\x12\x34\x81\x80\0\1\0\1\0\0\0\0", 12);
    assert_memory_equal(answer + 12, q4 + 12, sizeof q4 - 13); /* the question comes back as it was, also in its case */
    assert_int_equal(ASK(&both, q6), sizeof q6 - 1 + 12 + 16);
    assert_int_equal(answer[sizeof q6 - 1 + 11], 16);
}

static void a_kind_that_a_name_has_not_is_an_empty_answer(void **state)
{
    (void)state;
    static const char *const kinds[] = { "\0\x0f\0\1", "\0\x10\0\1", "\0\x21\0\1", "\0\x41\0\1", "\0\xff\0\1" };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char query[64] = HEAD "\3api\7example";
        size_t len = sizeof(HEAD "\3api\7example");
        memcpy(query + len, kinds[i], 4);
        assert_int_equal(ask(&both, query, len + 4), len + 4);
        assert_int_equal(rcode(), 0);
        assert_int_equal(answer[7], 0);
    }
    assert_int_equal(ASK(&v4_alone, HEAD "\3api\7example\0" AAAA), sizeof(HEAD "\3api\7example\0" AAAA) - 1);
    assert_int_equal(rcode(), 0);
}

static void localhost_is_the_programs_own(void **state)
{
    (void)state;
    size_t len = ASK(&both, HEAD "\x03www\x09LocalHost\0" A);
    assert_memory_equal(answer + len - 4, "\177\0\0\1", 4);
    assert_string_equal(asked, "");
    len = ASK(&both, HEAD "\x09localhost\0" AAAA);
    assert_memory_equal(answer + len - 16, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16);
    (void)ASK(&both, HEAD "\x0cnotlocalhost\0" A);
    assert_string_equal(asked, "notlocalhost");
}

static void what_cannot_be_answered_has_its_code(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        size_t len;
        int rcode;
    } rows[] = {
#define ROW(text, code) { text, sizeof(text) - 1, code }
        ROW(HEAD "\3bad\0" A, 3),
        ROW(HEAD "\4full\0" A, 2),
        ROW(HEAD "\1"
                 "1\3"
                 "198\7in-addr\4arpa\0"
                 "\0\x0c\0\1",
            3),
        ROW(HEAD "\3api\0\0\1\0\3", 5),                    /* CHAOS */
        ROW("\x12\x34\x29\0\0\1\0\0\0\0\0\0\3api\0" A, 4), /* UPDATE */
        ROW("\x12\x34\1\0\0\0\0\0\0\0\0\0", 1),            /* no question */
        ROW("\x12\x34\1\0\0\2\0\0\0\0\0\0\3api\0" A "\3api\0" A, 1),
        ROW(HEAD "\3ap", 1),
        ROW(HEAD "\3api\0\0\1", 1),
        ROW(HEAD "\xc0\x0c" A, 1), /* a pointer to itself */
        ROW(HEAD "\x40"
                 "api\0" A,
            1),
#undef ROW
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t len = ask(&both, rows[i].query, rows[i].len);
        assert_true(len >= 12 && len <= rows[i].len);
        assert_int_equal(rcode(), rows[i].rcode);
        assert_int_equal(answer[7], 0);
    }
}

static void what_is_no_query_has_no_answer(void **state)
{
    (void)state;
    assert_int_equal(ASK(&both, ""), 0);
    assert_int_equal(ASK(&both, "\x12\x34\1\0\0\1\0\0\0\0\0"), 0);
    assert_int_equal(ASK(&both, "\x12\x34\x81\x80\0\1\0\0\0\0\0\0\3api\0" A), 0);
}

static void the_longest_name_fits_and_a_longer_one_is_malformed(void **state)
{
    (void)state;
    char query[12 + 300] = HEAD;
    size_t at = 12;
    for (int i = 0; i < 4; i++) { /* 63.63.63.61: 253 characters */
        size_t label = i == 3 ? 61 : 63;
        query[at++] = (char)label;
        memset(query + at, 'a' + i, label);
        at += label;
    }
    memcpy(query + at, "\0" AAAA, 5);
    assert_int_equal(ask(&both, query, at + 5), DNS_ANSWER_MAX);
    assert_int_equal(strlen(asked), DNS_NAME_MAX);
    query[12 + 3 * 64] = 62;
    memcpy(query + at, "d\0" AAAA, 6);
    assert_int_equal(ask(&both, query, at + 6), 12);
    assert_int_equal(rcode(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_gets_one_address_of_the_family_that_was_asked),
        cmocka_unit_test(a_kind_that_a_name_has_not_is_an_empty_answer),
        cmocka_unit_test(localhost_is_the_programs_own),
        cmocka_unit_test(what_cannot_be_answered_has_its_code),
        cmocka_unit_test(what_is_no_query_has_no_answer),
        cmocka_unit_test(the_longest_name_fits_and_a_longer_one_is_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
