/* jks.c: the store is read back as Java's sun.security.provider.JavaKeyStore reads it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "certs/jks.h"

static char folder[] = "/tmp/jks-XXXXXX", pem[64], jks[64];
static unsigned char store[65536];
static size_t store_len, at;

static int up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/jks-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(pem, sizeof pem, "%s/ca.pem", folder);
    snprintf(jks, sizeof jks, "%s/ca.jks", folder);
    return 0;
}

static int down(void **state)
{
    (void)state;
    unlink(pem);
    unlink(jks);
    return rmdir(folder); /* and nothing was left beside them */
}

static void write_pem(const char *text)
{
    FILE *f = fopen(pem, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    fclose(f);
}

static void read_store(void)
{
    FILE *f = fopen(jks, "r");
    assert_non_null(f);
    store_len = fread(store, 1, sizeof store, f);
    fclose(f);
    at = 0;
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
    struct err e;
    struct stat st;
    (void)state;
    write_pem("some text\n-----BEGIN CERTIFICATE-----\naGVs\nbG8=\n-----END CERTIFICATE-----\n# more\n"
              "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
              "-----BEGIN CERTIFICATE-----\r\nYSBzZWNvbmQgb25l\r\n-----END CERTIFICATE-----\r\n");
    assert_int_equal(jks_write(pem, jks, &e), 0);
    assert_int_equal(jks_write(pem, jks, &e), 0); /* replaced, though it may not be written to */
    assert_true(stat(jks, &st) == 0 && (st.st_mode & 0777) == 0444);
    read_store();
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
    unsigned char with_salt[sizeof store + 64] = "\0c\0h\0a\0n\0g\0e\0i\0tMighty Aphrodite", digest[SHA_DIGEST_LENGTH];
    memcpy(with_salt + 32, store, at);
    SHA1(with_salt, 32 + at, digest);
    expect_bytes((const char *)digest, sizeof digest);
    assert_int_equal(at, store_len);
}

static void what_holds_no_certificate_makes_no_store(void **state)
{
    static const char *const texts[] = { "", "text", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n",
                                         "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n" };
    struct err e;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_pem(texts[i]);
        assert_int_equal(jks_write(pem, jks, &e), -1);
        assert_int_equal(access(jks, F_OK), -1);
    }
}

static void a_failure_names_the_file(void **state)
{
    struct err e;
    (void)state;
    assert_int_equal(jks_write("/nonexistent/ca.pem", jks, &e), -1);
    assert_non_null(strstr(e.text, "/nonexistent/ca.pem"));
    write_pem("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n");
    assert_int_equal(jks_write(pem, "/nonexistent/ca.jks", &e), -1);
    assert_non_null(strstr(e.text, "/nonexistent/ca.jks"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(every_certificate_is_a_trusted_entry),
        T(what_holds_no_certificate_makes_no_store),
        T(a_failure_names_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
