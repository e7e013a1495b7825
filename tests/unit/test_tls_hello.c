/* Unit tests of net/tls/tls_hello: which certificate a client can take, from the bytes of its ClientHello. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "net/tls/tls_hello.h"

struct hello {
    unsigned char bytes[512];
    size_t len;
};

static void put(struct hello *h, size_t value, size_t bytes)
{
    while (bytes-- > 0)
        h->bytes[h->len++] = (unsigned char)(value >> 8 * bytes);
}

static void put_length(struct hello *h, size_t at, size_t bytes)
{
    size_t value = h->len - at - bytes;
    for (size_t i = 0; i < bytes; i++)
        h->bytes[at + i] = (unsigned char)(value >> 8 * (bytes - 1 - i));
}

/* numbers: 0-terminated, of two bytes each; NULL: no such extension. */
static void put_list(struct hello *h, size_t type, size_t length_bytes, const unsigned *numbers)
{
    if (!numbers)
        return;
    put(h, type, 2);
    size_t at = h->len;
    put(h, 0, 2);
    size_t list = h->len;
    put(h, 0, length_bytes);
    for (; *numbers; numbers++)
        put(h, *numbers, 2);
    put_length(h, list, length_bytes);
    put_length(h, at, 2);
}

#define LIST(...) (const unsigned[]){ __VA_ARGS__, 0 }

static const struct row {
    const char *name;
    const unsigned *suites, *versions, *groups, *signatures, *cert_signatures;
    enum tls_leaf_kind want;
} rows[] = {
    { "a browser", LIST(0x1301, 0xC02B, 0xC02F), LIST(0x0304, 0x0303), LIST(0x001d, 0x0017),
      LIST(0x0403, 0x0804, 0x0401), NULL, TLS_LEAF_ECDSA },
    { "TLS 1.3 alone", LIST(0x1301), LIST(0x0304), LIST(0x001d), LIST(0x0403), NULL, TLS_LEAF_ECDSA },
    { "TLS 1.3 without ECDSA", LIST(0x1301), LIST(0x0304), LIST(0x001d), LIST(0x0804, 0x0805), NULL,
      TLS_LEAF_RSA_BY_RSA },
    { "TLS 1.3 without ECDSA but for chains", LIST(0x1301), LIST(0x0304), LIST(0x001d), LIST(0x0804), LIST(0x0403),
      TLS_LEAF_RSA },
    { "TLS 1.2 with RSA suites", LIST(0xC02F, 0xC030), NULL, LIST(0x0017), LIST(0x0401, 0x0403), NULL, TLS_LEAF_RSA },
    { "TLS 1.2 with RSA suites and signatures", LIST(0xC02F), NULL, LIST(0x0017), LIST(0x0401, 0x0501), NULL,
      TLS_LEAF_RSA_BY_RSA },
    { "TLS 1.2 with ECDSA suites", LIST(0xC02F, 0xC02B), NULL, LIST(0x0017), LIST(0x0401, 0x0403), NULL,
      TLS_LEAF_ECDSA },
    { "TLS 1.2 with ECDSA suites and no P-256", LIST(0xC02F, 0xC02B), NULL, LIST(0x001d, 0x0018), LIST(0x0401, 0x0403),
      NULL, TLS_LEAF_RSA },
    { "TLS 1.2 that says nothing of signatures", LIST(0xC02F, 0x009c), NULL, NULL, NULL, NULL, TLS_LEAF_RSA_BY_RSA },
    { "TLS 1.2 that says nothing of signatures, with ECDSA suites", LIST(0xC02B), NULL, NULL, NULL, NULL,
      TLS_LEAF_ECDSA },
    { "neither ECDSA nor RSA", LIST(0x1301), LIST(0x0304), NULL, LIST(0x0807), NULL, TLS_LEAF_ECDSA },
};

static void make(struct hello *h, const struct row *r)
{
    *h = (struct hello){ .len = 0 };
    put(h, 0x160301, 3);
    put(h, 0, 2);
    put(h, 1, 1);
    put(h, 0, 3);
    put(h, 0x0303, 2);
    h->len += 32;
    put(h, 0, 1);
    size_t suites = h->len;
    put(h, 0, 2);
    for (const unsigned *s = r->suites; *s; s++)
        put(h, *s, 2);
    put_length(h, suites, 2);
    put(h, 0x0100, 2);
    size_t extensions = h->len;
    put(h, 0, 2);
    put_list(h, 43, 1, r->versions);
    put_list(h, 10, 2, r->groups);
    put_list(h, 13, 2, r->signatures);
    put_list(h, 50, 2, r->cert_signatures);
    put_length(h, extensions, 2);
    put_length(h, 6, 3);
    put_length(h, 3, 2);
}

static void each_client_gets_the_leaf_that_it_can_take(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct hello h;
        enum tls_leaf_kind kind;
        make(&h, &rows[i]);
        for (size_t n = 0; n < h.len; n++)
            if (tls_hello_leaf(slice_of(h.bytes, n), &kind))
                fail_msg("%s: judged after %zu of %zu bytes", rows[i].name, n, h.len);
        assert_true(tls_hello_leaf(slice_of(h.bytes, h.len), &kind));
        if (kind != rows[i].want)
            fail_msg("%s: %d", rows[i].name, kind);
    }
}

/* On the heap, to the byte: a read beyond the end is found by the sanitizers. */
static void nonsense_gets_the_usual_leaf_and_is_left_to_openssl(void **state)
{
    unsigned seed = 1;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        struct hello h;
        enum tls_leaf_kind kind;
        make(&h, &rows[(size_t)round % (sizeof rows / sizeof *rows)]);
        for (int i = 0; i < 3; i++) {
            seed = seed * 1103515245 + 12345;
            h.bytes[5 + (seed >> 8) % (h.len - 5)] = (unsigned char)(seed >> 16);
        }
        char *copy = malloc(h.len);
        assert_non_null(copy);
        memcpy(copy, h.bytes, h.len);
        assert_true(tls_hello_leaf(slice_of(copy, h.len), &kind));
        free(copy);
    }
    enum tls_leaf_kind kind;
    assert_true(tls_hello_leaf(SLICE("GET / HTTP/1.1"), &kind) && kind == TLS_LEAF_ECDSA);
    assert_true(tls_hello_leaf(SLICE("\x16\x03\x01\xff\xff"), &kind) && kind == TLS_LEAF_ECDSA);
    assert_false(tls_hello_leaf(SLICE("\x16"), &kind));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_client_gets_the_leaf_that_it_can_take),
        cmocka_unit_test(nonsense_gets_the_usual_leaf_and_is_left_to_openssl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
