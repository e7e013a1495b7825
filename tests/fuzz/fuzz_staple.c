/* Any bytes as a staple.  The seeds are true ones of a toy authority: no change of a bit may make another's word of
 * them. */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/tls/tls_staple.h"

#define CHECK(truth) ((truth) ? (void)0 : abort())
#define NOW ((int64_t)1700000000)
#define DAY 86400

static X509 *issuer, *namesake, *leaf, *other;

/* A P-256 key whose secret number is all one byte (RFC 5915). */
static EVP_PKEY *toy_key(unsigned char byte)
{
    unsigned char der[51] = { 0x30, 49, 2, 1, 1, 4, 32 };
    static const unsigned char curve[] = { 0xa0, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7 };
    const unsigned char *p = der;
    memset(der + 7, byte, 32);
    memcpy(der + 39, curve, sizeof curve);
    return d2i_PrivateKey(EVP_PKEY_EC, NULL, &p, sizeof der);
}

static X509 *toy_cert(const char *name, long serial, EVP_PKEY *key)
{
    X509 *x = X509_new();
    CHECK(x && key);
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
    ASN1_TIME_set(X509_getm_notBefore(x), NOW - 30 * DAY);
    ASN1_TIME_set(X509_getm_notAfter(x), NOW + 30 * DAY);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_NAME_add_entry_by_txt(X509_get_issuer_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"Toy Authority", -1,
                               -1, 0);
    X509_set_pubkey(x, key);
    BASIC_CONSTRAINTS constraints = { .ca = serial == 1 ? 0xff : 0 };
    X509_add1_ext_i2d(x, NID_basic_constraints, &constraints, 1, 0);
    EVP_PKEY *by = toy_key(7);
    CHECK(X509_sign(x, by, EVP_sha256()) > 0);
    EVP_PKEY_free(by);
    EVP_PKEY_free(key);
    return x;
}

static void make(void)
{
    issuer = toy_cert("Toy Authority", 1, toy_key(7));
    namesake = toy_cert("Toy Authority", 1, toy_key(9));
    leaf = toy_cert("leaf", 7, toy_key(5));
    other = toy_cert("other", 8, toy_key(5));
}

static bool proves(struct staple s)
{
    return s.status != STAPLE_NONE && s.status != STAPLE_UNUSABLE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice der = slice_of(data, size);
    if (!issuer)
        make();
    struct staple s = tls_staple_judge(der, leaf, issuer, NOW);
    CHECK((s.status == STAPLE_NONE) == (size == 0));
    CHECK((s.why != NULL) == (s.status == STAPLE_UNUSABLE || s.status == STAPLE_REVOKED));
    CHECK(s.status != STAPLE_GOOD || s.good_until_s >= NOW);
    CHECK(s.status != STAPLE_REVOKED || strnlen(s.revoked_at, sizeof s.revoked_at) < sizeof s.revoked_at);
    CHECK(!proves(tls_staple_judge(der, leaf, namesake, NOW)));
    CHECK(!proves(tls_staple_judge(der, other, issuer, NOW)));
    CHECK(ERR_peek_error() == 0);
    return 0;
}
