/* Unit tests of crypto/seal: every byte counts, keys rotate, fingerprints show nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "crypto/seal.h"

#define HEX_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define HEX_A_UPPER "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"
#define BASE64_A "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define BASE64_A_BARE "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
#define RAW_A "\0\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17\20\21\22\23\24\25\26\27\30\31\32\33\34\35\36\37"
#define KEY_B "the second key has 32 raw bytes!"
#define KEY_C "the third key, as raw as those-\n"

#define OVERHEAD (1 + 4 + 12 + 16)

static const struct slice none = { NULL, 0 };

static struct seal_ring *ring_of(struct slice current, struct slice previous)
{
    struct err e = { "" };
    struct seal_ring *ring = seal_ring_new(current, previous, &e);
    if (!ring)
        fail_msg("%s", e.text);
    return ring;
}

static void seal(const struct seal_ring *ring, struct slice aad, struct slice plain, struct buf *out)
{
    buf_init(out, 1 << 20);
    assert_int_equal(seal_blob(ring, aad, plain, out), 0);
}

static void assert_opens(const struct seal_ring *ring, struct slice aad, struct slice blob, struct slice plain)
{
    struct buf out;
    buf_init_secret(&out, 1 << 20);
    assert_int_equal(seal_open(ring, aad, blob, &out), 0);
    assert_true(slice_eq(buf_slice(&out), plain));
    buf_done(&out);
}

static void assert_refused(const struct seal_ring *ring, struct slice aad, struct slice blob, int want)
{
    struct buf out;
    buf_init_secret(&out, 1 << 20);
    assert_int_equal(seal_open(ring, aad, blob, &out), want);
    assert_int_equal(out.len, 0);
    buf_done(&out);
}

static void what_was_sealed_opens_again(void **state)
{
    (void)state;
    static char large[100000];
    const struct slice plains[] = { none, SLICE("x"), SLICE("{\"refresh_token\":\"r\\u0000\"}"),
                                    slice_of(large, sizeof large) };
    const struct slice contexts[] = { none, SLICE("crm"), SLICE("crm\0 7") };
    struct seal_ring *ring = ring_of(SLICE(HEX_A), none);
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 3; k++) {
            struct buf blob;
            seal(ring, contexts[k], plains[i], &blob);
            assert_int_equal(blob.len, plains[i].len + OVERHEAD);
            assert_opens(ring, contexts[k], buf_slice(&blob), plains[i]);
            buf_done(&blob);
        }
    seal_ring_free(ring);
}

static void every_way_to_write_a_key_means_the_same_key(void **state)
{
    (void)state;
    const struct slice forms[] = {
        SLICE(HEX_A),         SLICE(HEX_A "\n"),    SLICE(HEX_A "\r\n"), SLICE(HEX_A_UPPER), SLICE(BASE64_A),
        SLICE(BASE64_A "\n"), SLICE(BASE64_A_BARE), SLICE(RAW_A),        SLICE(RAW_A "\n"),
    };
    struct seal_ring *first = ring_of(forms[0], none);
    struct buf blob;
    seal(first, SLICE("a"), SLICE("secret"), &blob);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct seal_ring *ring = ring_of(forms[i], none);
        assert_opens(ring, SLICE("a"), buf_slice(&blob), SLICE("secret"));
        seal_ring_free(ring);
    }
    buf_done(&blob);
    seal_ring_free(first);
}

static void a_key_of_another_size_is_refused_without_being_shown(void **state)
{
    (void)state;
    const struct slice wrong[] = {
        { "", 0 },
        SLICE("\n"),
        SLICE("hunter2"),
        SLICE(RAW_A "xx"),
        SLICE(RAW_A "\n\n"),
        SLICE(HEX_A "0"),
        SLICE(HEX_A "00"),
        SLICE("zz" HEX_A),
        SLICE("xAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=AAAA"),
        SLICE("!AECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        SLICE("g00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct err e = { "" };
        assert_null(seal_ring_new(wrong[i], none, &e));
        assert_non_null(strstr(e.text, "current seal key"));
        assert_null(strstr(e.text, "hunter2"));
        if (wrong[i].len) {
            assert_null(seal_ring_new(SLICE(HEX_A), wrong[i], &e));
            assert_non_null(strstr(e.text, "previous seal key"));
        }
    }
    assert_null(seal_ring_new(SLICE("short"), none, NULL));
}

static void the_blob_has_the_documented_form(void **state)
{
    (void)state;
    struct seal_ring *ring = ring_of(SLICE(HEX_A), none);
    struct buf one, two;
    seal(ring, SLICE("a"), SLICE("same"), &one);
    seal(ring, SLICE("a"), SLICE("same"), &two);
    /* version, then the head of SHA-256(00…1f) = 630dcd29… */
    assert_memory_equal(buf_slice(&one).ptr, "\x01\x63\x0d\xcd\x29", 5);
    assert_memory_not_equal(buf_slice(&one).ptr + 5, buf_slice(&two).ptr + 5, 12);
    assert_memory_not_equal(buf_slice(&one).ptr + 17, buf_slice(&two).ptr + 17, 4);
    assert_memory_not_equal(buf_slice(&one).ptr + 17, "same", 4);
    buf_done(&one);
    buf_done(&two);
    seal_ring_free(ring);
}

static void a_blob_of_another_implementation_opens(void **state)
{
    (void)state;
    /* Made with the Python package "cryptography": AESGCM(bytes(range(32))).encrypt(b"n"*12, b"hello", b"ctx"). */
    const struct slice blob =
        SLICE("\x01\x63\x0d\xcd\x29"
              "nnnnnnnnnnnn"
              "\xcf\x3e\x7b\x05\xda\x3b\x4a\xe0\xb2\x1f\xb7\x17\x20\x06\x75\x41\xad\x1f\x96\x4e\x75");
    struct seal_ring *ring = ring_of(SLICE(HEX_A), none);
    assert_opens(ring, SLICE("ctx"), blob, SLICE("hello"));
    seal_ring_free(ring);
}

static void any_changed_bit_is_found(void **state)
{
    (void)state;
    struct seal_ring *ring = ring_of(SLICE(HEX_A), none);
    struct buf blob;
    seal(ring, SLICE("crm 7"), SLICE("secret"), &blob);
    for (size_t bit = 0; bit < blob.len * 8; bit++) {
        size_t byte = bit / 8;
        blob.data[blob.start + byte] ^= (char)(1 << bit % 8);
        assert_refused(ring, SLICE("crm 7"), buf_slice(&blob), byte >= 1 && byte < 5 ? -ENOKEY : -EBADMSG);
        blob.data[blob.start + byte] ^= (char)(1 << bit % 8);
    }
    assert_opens(ring, SLICE("crm 7"), buf_slice(&blob), SLICE("secret"));
    buf_done(&blob);
    seal_ring_free(ring);
}

static void a_cut_or_longer_blob_is_refused(void **state)
{
    (void)state;
    struct seal_ring *ring = ring_of(SLICE(HEX_A), none);
    struct buf blob;
    seal(ring, none, SLICE("secret"), &blob);
    for (size_t len = 0; len < blob.len; len++)
        assert_refused(ring, none, slice_of(buf_slice(&blob).ptr, len), -EBADMSG);
    assert_int_equal(buf_add(&blob, SLICE("x")), 0);
    assert_refused(ring, none, buf_slice(&blob), -EBADMSG);
    buf_done(&blob);
    seal_ring_free(ring);
}

static void another_context_does_not_open(void **state)
{
    (void)state;
    const struct slice others[] = { { NULL, 0 }, SLICE("crm 8"), SLICE("crm 77"), SLICE("crm"), SLICE("crm 7\0") };
    struct seal_ring *ring = ring_of(SLICE(HEX_A), none);
    struct buf blob;
    seal(ring, SLICE("crm 7"), SLICE("secret"), &blob);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_refused(ring, others[i], buf_slice(&blob), -EBADMSG);
    buf_done(&blob);
    seal_ring_free(ring);
}

static void the_previous_key_opens_and_the_current_one_seals(void **state)
{
    (void)state;
    struct seal_ring *old = ring_of(SLICE(HEX_A), none), *both = ring_of(SLICE(KEY_B), SLICE(HEX_A)),
                     *new = ring_of(SLICE(KEY_B), none);
    struct buf before, after;
    seal(old, none, SLICE("old"), &before);
    seal(both, none, SLICE("new"), &after);
    assert_opens(both, none, buf_slice(&before), SLICE("old"));
    assert_opens(new, none, buf_slice(&after), SLICE("new"));
    assert_refused(old, none, buf_slice(&after), -ENOKEY);
    assert_refused(new, none, buf_slice(&before), -ENOKEY);
    buf_done(&before);
    buf_done(&after);
    seal_ring_free(old);
    seal_ring_free(both);
    seal_ring_free(new);
}

static void a_raw_key_may_end_in_a_newline(void **state)
{
    (void)state;
    struct seal_ring *ring = ring_of(SLICE(KEY_C), none);
    seal_ring_free(ring);
}

static void a_full_buffer_is_an_error_and_stays_as_it_was(void **state)
{
    (void)state;
    struct seal_ring *ring = ring_of(SLICE(HEX_A), none);
    struct buf blob, small;
    seal(ring, none, SLICE("secret"), &blob);
    buf_init(&small, OVERHEAD + 5);
    assert_int_equal(seal_blob(ring, none, SLICE("secret"), &small), -ENOBUFS);
    assert_int_equal(small.len, 0);
    assert_int_equal(seal_blob(ring, none, SLICE("secre"), &small), 0);
    buf_done(&small);
    buf_init_secret(&small, 5);
    assert_int_equal(seal_open(ring, none, buf_slice(&blob), &small), -ENOBUFS);
    buf_done(&small);
    buf_init_secret(&small, 64);
    assert_int_equal(buf_add(&small, SLICE("before,")), 0);
    assert_int_equal(seal_open(ring, none, buf_slice(&blob), &small), 0);
    assert_true(slice_eq(buf_slice(&small), SLICE("before,secret")));
    buf_done(&small);
    buf_done(&blob);
    seal_ring_free(ring);
}

static void a_refused_text_is_wiped(void **state)
{
    (void)state;
    struct seal_ring *ring = ring_of(SLICE(HEX_A), none);
    struct buf blob, out;
    seal(ring, none, SLICE("secret"), &blob);
    blob.data[blob.start + blob.len - 1] ^= 1;
    buf_init_secret(&out, 64);
    assert_int_equal(seal_open(ring, none, buf_slice(&blob), &out), -EBADMSG);
    assert_non_null(out.data);
    assert_memory_equal(out.data, "\0\0\0\0\0\0", 6);
    buf_done(&out);
    buf_done(&blob);
    seal_ring_free(ring);
}

static void a_fingerprint_is_stable_salted_and_short(void **state)
{
    (void)state;
    struct seal_ring *a = ring_of(SLICE(HEX_A), none), *a_again = ring_of(SLICE(BASE64_A), SLICE(KEY_B)),
                     *b = ring_of(SLICE(KEY_B), none);
    char one[9], two[9];
    assert_string_equal(seal_fingerprint(a, SLICE("token"), one), seal_fingerprint(a_again, SLICE("token"), two));
    assert_int_equal(strlen(one), 8);
    assert_int_equal(strspn(one, "0123456789abcdef"), 8);
    assert_string_not_equal(seal_fingerprint(a, SLICE("token2"), two), one);
    assert_string_not_equal(seal_fingerprint(b, SLICE("token"), two), one);
    assert_string_not_equal(one, "3c469e9d"); /* SHA-256("token") without salt */
    assert_ptr_equal(seal_fingerprint(a, none, two), two);
    seal_ring_free(a);
    seal_ring_free(a_again);
    seal_ring_free(b);
}

static void freeing_nothing_is_fine(void **state)
{
    (void)state;
    seal_ring_free(NULL);
}

static void a_key_that_nobody_drew_by_chance_is_refused(void **state)
{
    static const struct {
        const char *key;
        bool weak;
    } rows[] = {
        { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true },
        { "passwordpasswordpasswordpassword", true },
        { "0123456789abcdef0123456789abcdef", true },
        { "abcdefghijklmnopqrstuvwxyz012345", true },
        { "5ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea1", true },
        { "0000000000000000000000000000000000000000000000000000000000000000", true },
        { "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", true },
        { "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", true },
        { "9f3c1e7a5b2d4806c1f0e3a79b5d8246717c0a9e3f6b8d52e4a1c7095d3b6f28", false },
        { "nzweelstSAbB8OOnm12CRnF8Cp4/a41S5KHHCV07byg=", false },
        { "short", false }, /* no key at all: said elsewhere */
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err e = { "" };
        if ((seal_key_judge(slice_str(rows[i].key), &e) != 0) != rows[i].weak)
            fail_msg("%s is %s", rows[i].key, rows[i].weak ? "taken" : "refused");
        assert_null(strstr(e.text, rows[i].key));
    }
    for (unsigned i = 0; i < 2000; i++) {
        char key[SEAL_KEY_BYTES];
        rand_bytes(key, sizeof key);
        assert_int_equal(seal_key_judge(slice_of(key, sizeof key), NULL), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_sealed_opens_again),
        cmocka_unit_test(every_way_to_write_a_key_means_the_same_key),
        cmocka_unit_test(a_key_of_another_size_is_refused_without_being_shown),
        cmocka_unit_test(the_blob_has_the_documented_form),
        cmocka_unit_test(a_blob_of_another_implementation_opens),
        cmocka_unit_test(any_changed_bit_is_found),
        cmocka_unit_test(a_cut_or_longer_blob_is_refused),
        cmocka_unit_test(another_context_does_not_open),
        cmocka_unit_test(the_previous_key_opens_and_the_current_one_seals),
        cmocka_unit_test(a_raw_key_may_end_in_a_newline),
        cmocka_unit_test(a_full_buffer_is_an_error_and_stays_as_it_was),
        cmocka_unit_test(a_refused_text_is_wiped),
        cmocka_unit_test(a_fingerprint_is_stable_salted_and_short),
        cmocka_unit_test(a_key_that_nobody_drew_by_chance_is_refused),
        cmocka_unit_test(freeing_nothing_is_fine),
    };
    return cmocka_run_group_tests_name("seal", tests, NULL, NULL);
}
