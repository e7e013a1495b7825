/* Compact JWS: what is signed is what a verifier that shares no code with jws.c accepts, and a key that must not sign
 * does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"
#include "crypto/jws.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum kind { RSA_2048, RSA_1024, RSA_PSS_KEY, P256, P384, ED25519, KINDS };

static EVP_PKEY *keys[KINDS];

static EVP_PKEY *make_key(enum kind kind)
{
    switch (kind) {
    case RSA_2048: return EVP_RSA_gen(2048);
    case RSA_1024: return EVP_RSA_gen(1024);
    case P256: return EVP_EC_gen("P-256");
    case P384: return EVP_EC_gen("P-384");
    case ED25519: return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    default: break;
    }
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
    assert_true(EVP_PKEY_keygen_init(ctx) == 1 && EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 2048) == 1
                && EVP_PKEY_generate(ctx, &key) == 1);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static int make_keys(void **state)
{
    (void)state;
    for (enum kind k = 0; k < KINDS; k++)
        assert_non_null(keys[k] = make_key(k));
    return 0;
}

static int drop_keys(void **state)
{
    (void)state;
    for (enum kind k = 0; k < KINDS; k++)
        EVP_PKEY_free(keys[k]);
    return 0;
}

/* PEM in a buf of the caller's; traditional: PKCS#1 or SEC 1. */
static void pem_of(EVP_PKEY *key, bool traditional, const char *password, struct buf *out)
{
    char *text;
    BIO *bio = BIO_new(BIO_s_mem());
    const EVP_CIPHER *cipher = password ? EVP_aes_128_cbc() : NULL;
    int len = password ? (int)strlen(password) : 0;
    assert_int_equal(traditional ? PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0, NULL, NULL)
                                 : PEM_write_bio_PKCS8PrivateKey(bio, key, cipher, password, len, NULL, NULL),
                     1);
    size_t size = (size_t)BIO_get_mem_data(bio, &text);
    buf_init_secret(out, 65536);
    assert_int_equal(buf_add(out, slice_of(text, size)), 0);
    BIO_free(bio);
}

static int sign_with(enum kind kind, enum jws_alg alg, const char *kid, const char *payload, struct buf *out,
                     struct err *e)
{
    struct buf pem;
    pem_of(keys[kind], false, NULL, &pem);
    struct jws_key key = { .pem = buf_slice(&pem), .alg = alg, .kid = slice_str(kid) };
    int failed = jws_sign(&key, slice_str(payload), out, e);
    buf_done(&pem);
    return failed;
}

static void decode(struct slice part, struct buf *out)
{
    buf_init(out, 65536);
    assert_int_equal(slice_find(part, '='), part.len); /* RFC 7515 §2: no padding */
    assert_int_equal(slice_find(part, '+'), part.len);
    assert_int_equal(slice_find(part, '/'), part.len);
    assert_int_equal(str_add_unbase64(out, part), 0);
}

/* OpenSSL wants DER where JWS has R and S side by side. */
static bool verify_ec(EVP_MD_CTX *ctx, const struct buf *flat, struct slice input)
{
    unsigned char *der = NULL;
    const unsigned char *bytes = (const unsigned char *)buf_slice(flat).ptr;
    ECDSA_SIG *s = ECDSA_SIG_new();
    assert_int_equal(flat->len, 64);
    assert_int_equal(ECDSA_SIG_set0(s, BN_bin2bn(bytes, 32, NULL), BN_bin2bn(bytes + 32, 32, NULL)), 1);
    int len = i2d_ECDSA_SIG(s, &der);
    bool good = EVP_DigestVerify(ctx, der, (size_t)len, (const unsigned char *)input.ptr, input.len) == 1;
    OPENSSL_free(der);
    ECDSA_SIG_free(s);
    return good;
}

static bool verifies(struct slice jws, enum kind kind, bool pss)
{
    struct slice payload, signature, header = slice_cut(jws, '.', &payload), input;
    struct buf bytes;
    EVP_PKEY_CTX *how;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    payload = slice_cut(payload, '.', &signature);
    input = slice_of(jws.ptr, header.len + 1 + payload.len);
    decode(signature, &bytes);
    assert_int_equal(EVP_DigestVerifyInit(ctx, &how, EVP_sha256(), NULL, keys[kind]), 1);
    if (pss) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(how, 32), 1);
    }
    bool good = kind == P256 ? verify_ec(ctx, &bytes, input)
                             : EVP_DigestVerify(ctx, (const unsigned char *)buf_slice(&bytes).ptr, bytes.len,
                                                (const unsigned char *)input.ptr, input.len)
                                   == 1;
    EVP_MD_CTX_free(ctx);
    buf_done(&bytes);
    return good;
}

static void a_signature_verifies_with_the_public_key_and_its_header_says_how(void **state)
{
    static const struct {
        enum kind kind;
        enum jws_alg alg;
        const char *kid, *header;
        bool pss;
    } rows[] = {
        { RSA_2048, JWS_AUTO, "", "{\"alg\":\"RS256\",\"typ\":\"JWT\"}", false },
        { RSA_2048, JWS_RS256, "k1", "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"k1\"}", false },
        { RSA_2048, JWS_PS256, "", "{\"alg\":\"PS256\",\"typ\":\"JWT\"}", true },
        { RSA_PSS_KEY, JWS_AUTO, "", "{\"alg\":\"PS256\",\"typ\":\"JWT\"}", true },
        { P256, JWS_AUTO, "a\"b", "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"a\\\"b\"}", false },
        { P256, JWS_ES256, "", "{\"alg\":\"ES256\",\"typ\":\"JWT\"}", false },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct buf jws, text;
        struct err e = { "" };
        struct slice rest;
        buf_init(&jws, 65536);
        if (sign_with(rows[i].kind, rows[i].alg, rows[i].kid, "{\"iss\":\"me\"}", &jws, &e) != 0)
            fail_msg("row %zu: %s", i, e.text);
        assert_true(verifies(buf_slice(&jws), rows[i].kind, rows[i].pss));
        decode(slice_cut(buf_slice(&jws), '.', &rest), &text);
        assert_true(slice_eq(buf_slice(&text), slice_str(rows[i].header)));
        buf_done(&text);
        decode(slice_cut(rest, '.', &rest), &text);
        assert_true(slice_eq(buf_slice(&text), SLICE("{\"iss\":\"me\"}")));
        buf_done(&text);
        buf_done(&jws);
    }
}

/* R or S begins with a zero byte in one of 128 signatures: padding that is forgotten shows here. */
static void every_es256_signature_has_64_bytes(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++) {
        struct buf jws;
        struct err e;
        buf_init(&jws, 65536);
        assert_int_equal(sign_with(P256, JWS_AUTO, "", "{}", &jws, &e), 0);
        assert_true(verifies(buf_slice(&jws), P256, false));
        buf_done(&jws);
    }
}

static void a_changed_payload_does_not_verify(void **state)
{
    struct buf jws;
    struct err e;
    (void)state;
    buf_init(&jws, 65536);
    assert_int_equal(sign_with(RSA_2048, JWS_AUTO, "", "{\"sub\":\"a\"}", &jws, &e), 0);
    char *dot = memchr(jws.data, '.', jws.len);
    dot[3] = dot[3] == 'A' ? 'B' : 'A';
    assert_false(verifies(buf_slice(&jws), RSA_2048, false));
    buf_done(&jws);
}

static void a_key_that_does_not_fit_is_named_and_signs_nothing(void **state)
{
    static const struct {
        enum kind kind;
        enum jws_alg alg;
        const char *why;
    } rows[] = {
        { RSA_1024, JWS_AUTO, "too short" },         { RSA_2048, JWS_ES256, "ES256 needs a P-256 key" },
        { P256, JWS_RS256, "RS256 needs an RSA" },   { P256, JWS_PS256, "PS256 needs an RSA" },
        { P384, JWS_AUTO, "neither RSA nor P-256" }, { ED25519, JWS_AUTO, "neither RSA nor P-256" },
        { RSA_PSS_KEY, JWS_RS256, "RS256 needs" },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct buf jws;
        struct err e = { "" };
        buf_init(&jws, 65536);
        assert_int_equal(buf_add(&jws, SLICE("before")), 0);
        assert_int_equal(sign_with(rows[i].kind, rows[i].alg, "", "{}", &jws, &e), -1);
        if (!strstr(e.text, rows[i].why))
            fail_msg("row %zu: %s", i, e.text);
        assert_true(slice_eq(buf_slice(&jws), SLICE("before")));
        buf_done(&jws);
    }
}

static void keys_come_in_the_forms_that_tools_write(void **state)
{
    (void)state;
    for (int traditional = 0; traditional < 2; traditional++)
        for (enum kind kind = RSA_2048; kind <= P256; kind = kind == RSA_2048 ? P256 : KINDS) {
            struct buf pem, jws;
            struct err e;
            buf_init(&jws, 65536);
            pem_of(keys[kind], traditional, NULL, &pem);
            struct jws_key key = { .pem = buf_slice(&pem), .alg = JWS_AUTO };
            assert_int_equal(jws_sign(&key, SLICE("{}"), &jws, &e), 0);
            assert_true(verifies(buf_slice(&jws), kind, false));
            buf_done(&pem);
            buf_done(&jws);
        }
}

static void what_is_no_private_key_is_told_and_nobody_is_asked_for_a_password(void **state)
{
    static const struct {
        const char *pem, *why;
    } rows[] = {
        { "", "not a private key in PEM form" },
        { "hello", "not a private key in PEM form" },
        { "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "not a private key in PEM form" },
        { "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n", "damaged" },
        { "-----BEGIN PRIVATE KEY-----\n", "damaged" },
    };
    struct buf pem, jws;
    struct err e;
    (void)state;
    buf_init(&jws, 65536);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct jws_key key = { .pem = slice_str(rows[i].pem), .alg = JWS_AUTO };
        assert_int_equal(jws_sign(&key, SLICE("{}"), &jws, &e), -1);
        assert_non_null(strstr(e.text, rows[i].why));
    }
    pem_of(keys[P256], false, "secret", &pem);
    struct jws_key locked = { .pem = buf_slice(&pem), .alg = JWS_AUTO };
    assert_int_equal(jws_sign(&locked, SLICE("{}"), &jws, &e), -1);
    assert_non_null(strstr(e.text, "encrypted"));
    assert_int_equal(jws.len, 0);
    buf_done(&pem);
    buf_done(&jws);
}

static void certificate_of(EVP_PKEY *key, struct buf *out, X509 **ret)
{
    char *text;
    BIO *bio = BIO_new(BIO_s_mem());
    X509 *x = X509_new();
    assert_true(X509_set_version(x, X509_VERSION_3) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(x), 7) == 1
                && X509_gmtime_adj(X509_getm_notBefore(x), 0) && X509_gmtime_adj(X509_getm_notAfter(x), 3600)
                && X509_set_pubkey(x, key) == 1 && X509_sign(x, key, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_bio_X509(bio, x), 1);
    size_t size = (size_t)BIO_get_mem_data(bio, &text);
    buf_init(out, 65536);
    assert_int_equal(buf_add(out, slice_of(text, size)), 0);
    BIO_free(bio);
    *ret = x;
}

/* RFC 7515 §4.1.7, §4.1.8: base64url of the sums of the DER. */
static void a_certificate_is_named_by_its_sums_and_must_be_the_keys(void **state)
{
    struct buf pem, certificate, jws, header, wanted;
    unsigned char sum[32];
    unsigned len;
    struct err e;
    X509 *x;
    (void)state;
    pem_of(keys[RSA_2048], false, NULL, &pem);
    certificate_of(keys[RSA_2048], &certificate, &x);
    buf_init(&jws, 8192);
    buf_init(&header, 4096);
    buf_init(&wanted, 4096);
    struct jws_key key = { .pem = buf_slice(&pem), .alg = JWS_PS256, .certificate = buf_slice(&certificate) };
    assert_int_equal(jws_sign(&key, SLICE("{}"), &jws, &e), 0);
    struct slice rest, first = slice_cut(buf_slice(&jws), '.', &rest);
    assert_int_equal(str_add_unbase64(&header, first), 0);
    assert_int_equal(buf_add_str(&wanted, "{\"alg\":\"PS256\",\"typ\":\"JWT\",\"x5t\":\""), 0);
    assert_int_equal(X509_digest(x, EVP_sha1(), sum, &len), 1);
    assert_int_equal(str_add_base64url(&wanted, slice_of(sum, len)), 0);
    assert_int_equal(buf_add_str(&wanted, "\",\"x5t#S256\":\""), 0);
    assert_int_equal(X509_digest(x, EVP_sha256(), sum, &len), 1);
    assert_int_equal(str_add_base64url(&wanted, slice_of(sum, len)), 0);
    assert_int_equal(buf_add_str(&wanted, "\"}"), 0);
    assert_true(slice_eq(buf_slice(&header), buf_slice(&wanted)));
    buf_clear(&jws);
    key.certificate = buf_slice(&pem);
    assert_int_equal(jws_sign(&key, SLICE("{}"), &jws, &e), -1);
    assert_non_null(strstr(e.text, "not a certificate"));
    buf_done(&pem);
    pem_of(keys[RSA_PSS_KEY], false, NULL, &pem);
    key = (struct jws_key){ .pem = buf_slice(&pem), .certificate = buf_slice(&certificate) };
    assert_int_equal(jws_sign(&key, SLICE("{}"), &jws, &e), -1);
    assert_non_null(strstr(e.text, "does not belong"));
    assert_int_equal(jws.len, 0);
    X509_free(x);
    buf_done(&pem);
    buf_done(&certificate);
    buf_done(&jws);
    buf_done(&header);
    buf_done(&wanted);
}

static void a_buffer_that_is_too_small_stays_as_it_was(void **state)
{
    (void)state;
    for (size_t cap = 0; cap < 400; cap += 37) {
        struct buf jws;
        struct err e;
        buf_init(&jws, cap);
        assert_int_equal(sign_with(RSA_2048, JWS_AUTO, "", "{\"iss\":\"me\"}", &jws, &e), -1);
        assert_int_equal(jws.len, 0);
        buf_done(&jws);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signature_verifies_with_the_public_key_and_its_header_says_how),
        cmocka_unit_test(every_es256_signature_has_64_bytes),
        cmocka_unit_test(a_changed_payload_does_not_verify),
        cmocka_unit_test(a_key_that_does_not_fit_is_named_and_signs_nothing),
        cmocka_unit_test(keys_come_in_the_forms_that_tools_write),
        cmocka_unit_test(what_is_no_private_key_is_told_and_nobody_is_asked_for_a_password),
        cmocka_unit_test(a_certificate_is_named_by_its_sums_and_must_be_the_keys),
        cmocka_unit_test(a_buffer_that_is_too_small_stays_as_it_was),
    };
    return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
