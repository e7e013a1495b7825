/* jks.c: the store is read back as Java's sun.security.provider.JavaKeyStore reads it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/jks.h"

static const unsigned char *store;
static size_t store_len, at;

static int build(const char *pem, struct buf *out)
{
    buf_init(out, 1 << 16);
    return jks_build(slice_str(pem), out);
}

static uint64_t number(int bytes)
{
    uint64_t value = 0;
    assert_true(at + (size_t)bytes <= store_len);
    while (bytes--)
        value = value << 8 | store[at++];
    return value;
}

static void expect_bytes(const char *bytes, size_t len)
{
    assert_true(at + len <= store_len);
    assert_memory_equal(store + at, bytes, len);
    at += len;
}

static void expect_utf(const char *text)
{
    assert_int_equal(number(2), strlen(text));
    expect_bytes(text, strlen(text));
}

static void every_certificate_is_a_trusted_entry(void **state)
{
    static const char *const ders[] = { "hello", "a second one" };
    struct buf out;
    (void)state;
    assert_int_equal(build("some text\n-----BEGIN CERTIFICATE-----\naGVs\nbG8=\n-----END CERTIFICATE-----\n# more\n"
                           "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
                           "-----BEGIN CERTIFICATE-----\r\nYSBzZWNvbmQgb25l\r\n-----END CERTIFICATE-----\r\n",
                           &out),
                     0);
    store = (const unsigned char *)buf_slice(&out).ptr;
    store_len = out.len;
    at = 0;
    assert_int_equal(number(4), 0xfeedfeed);
    assert_int_equal(number(4), 2);
    assert_int_equal(number(4), 2);
    for (int i = 0; i < 2; i++) {
        char alias[32];
        snprintf(alias, sizeof alias, "sidekey-%d", i);
        assert_int_equal(number(4), 2);
        expect_utf(alias);
        number(8);
        expect_utf("X.509");
        assert_int_equal(number(4), strlen(ders[i]));
        expect_bytes(ders[i], strlen(ders[i]));
    }
    unsigned char with_salt[4096 + 64] = "\0c\0h\0a\0n\0g\0e\0i\0tMighty Aphrodite", digest[SHA_DIGEST_LENGTH];
    assert_true(at <= 4096);
    memcpy(with_salt + 32, store, at);
    SHA1(with_salt, 32 + at, digest);
    expect_bytes((const char *)digest, sizeof digest);
    assert_int_equal(at, store_len);
    buf_done(&out);
}

static void what_holds_no_certificate_makes_no_store(void **state)
{
    static const char *const texts[] = { "", "text", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n",
                                         "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n" };
    struct buf out;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(build(texts[i], &out), -ENODATA);
        assert_int_equal(out.len, 0);
        buf_done(&out);
    }
}

static void what_does_not_fit_is_told(void **state)
{
    struct buf out;
    (void)state;
    buf_init(&out, 40);
    assert_int_equal(jks_build(SLICE("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"), &out),
                     -ENOBUFS);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_certificate_is_a_trusted_entry),
        cmocka_unit_test(what_holds_no_certificate_makes_no_store),
        cmocka_unit_test(what_does_not_fit_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
