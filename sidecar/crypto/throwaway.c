#include "crypto/throwaway.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#define PRIME_BYTES (THROWAWAY_SEED_BYTES / 2)
#define EXPONENT 65537
#define TRIES_MAX 100000 /* primes of 1024 bits are some 350 odd numbers apart */

struct numbers {
    BN_CTX *ctx;
    BIGNUM *p, *q, *n, *e, *d, *dp, *dq, *qi;
};

/* The first fitting prime from the seed on. */
static BIGNUM *prime_from(const unsigned char *seed, BN_CTX *ctx)
{
    BIGNUM *p = BN_bin2bn(seed, PRIME_BYTES, NULL);
    bool found = false;
    bool ready = p && BN_set_bit(p, 8 * PRIME_BYTES - 1) && BN_set_bit(p, 8 * PRIME_BYTES - 2) && BN_set_bit(p, 0);
    for (int i = 0; ready && !found && i < TRIES_MAX; i++) {
        found = BN_mod_word(p, EXPONENT) != 1 && BN_check_prime(p, ctx, NULL) == 1;
        ready = found || BN_add_word(p, 2);
    }
    if (found)
        return p;
    BN_clear_free(p);
    return NULL;
}

static bool compute(struct numbers *k, const unsigned char *seed)
{
    BIGNUM *p1 = BN_new(), *q1 = BN_new(), *phi = BN_new();
    k->ctx = BN_CTX_new();
    k->p = k->ctx ? prime_from(seed, k->ctx) : NULL;
    k->q = k->p ? prime_from(seed + PRIME_BYTES, k->ctx) : NULL;
    k->n = BN_new(), k->e = BN_new(), k->d = BN_new(), k->dp = BN_new(), k->dq = BN_new(), k->qi = BN_new();
    bool ok = p1 && q1 && phi && k->q && k->n && k->e && k->d && k->dp && k->dq && k->qi && BN_cmp(k->p, k->q) != 0
              && BN_set_word(k->e, EXPONENT) && BN_mul(k->n, k->p, k->q, k->ctx) && BN_sub(p1, k->p, BN_value_one())
              && BN_sub(q1, k->q, BN_value_one()) && BN_mul(phi, p1, q1, k->ctx)
              && BN_mod_inverse(k->d, k->e, phi, k->ctx) && BN_mod(k->dp, k->d, p1, k->ctx)
              && BN_mod(k->dq, k->d, q1, k->ctx) && BN_mod_inverse(k->qi, k->q, k->p, k->ctx);
    BN_clear_free(p1);
    BN_clear_free(q1);
    BN_clear_free(phi);
    return ok;
}

static void forget(struct numbers *k)
{
    BIGNUM *const all[] = { k->p, k->q, k->n, k->e, k->d, k->dp, k->dq, k->qi };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        BN_clear_free(all[i]);
    BN_CTX_free(k->ctx);
}

static EVP_PKEY *key_of(const struct numbers *k)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    bool ok = build && ctx && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, k->n)
              && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, k->e)
              && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_D, k->d)
              && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_FACTOR1, k->p)
              && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_FACTOR2, k->q)
              && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_EXPONENT1, k->dp)
              && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_EXPONENT2, k->dq)
              && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, k->qi);
    OSSL_PARAM *params = ok ? OSSL_PARAM_BLD_to_param(build) : NULL;
    if (params && EVP_PKEY_fromdata_init(ctx) == 1)
        (void)EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static int add_bio(BIO *from, struct buf *out)
{
    char *text = NULL;
    long len = BIO_get_mem_data(from, &text);
    return len > 0 ? buf_add(out, slice_of(text, (size_t)len)) : -ENOMEM;
}

static int add_public(EVP_PKEY *key, struct buf *out)
{
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    int failed = len > 0 ? buf_add(out, slice_of(der, (size_t)len)) : -ENOMEM;
    OPENSSL_free(der);
    return failed;
}

int throwaway_key(const unsigned char seed[THROWAWAY_SEED_BYTES], struct buf *pem, struct buf *public_der)
{
    struct numbers k = { 0 };
    EVP_PKEY *key = compute(&k, seed) ? key_of(&k) : NULL;
    BIO *out = key ? BIO_new(BIO_s_secmem()) : NULL;
    int failed =
        out && PEM_write_bio_PKCS8PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) == 1 ? add_bio(out, pem) : -ENOMEM;
    if (!failed)
        failed = add_public(key, public_der);
    BIO_free(out);
    EVP_PKEY_free(key);
    forget(&k);
    ERR_clear_error();
    return failed;
}

static X509 *certificate_of(EVP_PKEY *key)
{
    X509 *x = X509_new();
    X509_NAME *name = x ? X509_get_subject_name(x) : NULL;
    bool ok =
        name && X509_set_version(x, X509_VERSION_3) && ASN1_INTEGER_set(X509_get_serialNumber(x), 1)
        && ASN1_TIME_set_string_X509(X509_getm_notBefore(x), "200101000000Z")
        && ASN1_TIME_set_string_X509(X509_getm_notAfter(x), "491231235959Z")
        && X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"sidekey placeholder", -1, -1, 0)
        && X509_set_issuer_name(x, name) && X509_set_pubkey(x, key) && X509_sign(x, key, EVP_sha256()) > 0;
    if (ok)
        return x;
    X509_free(x);
    return NULL;
}

int throwaway_certificate(struct slice pem, struct buf *out)
{
    BIO *in = BIO_new_mem_buf(pem.ptr, (int)pem.len), *to = BIO_new(BIO_s_mem());
    EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, NULL, NULL) : NULL;
    X509 *x = key ? certificate_of(key) : NULL;
    int failed = key ? -ENOMEM : -EINVAL;
    if (x && to && PEM_write_bio_X509(to, x) == 1)
        failed = add_bio(to, out);
    X509_free(x);
    EVP_PKEY_free(key);
    BIO_free(in);
    BIO_free(to);
    ERR_clear_error();
    return failed;
}

bool throwaway_signed(struct slice public_der, bool pss, struct slice signed_text, struct slice signature)
{
    const unsigned char *der = (const unsigned char *)public_der.ptr;
    EVP_PKEY *key = d2i_PUBKEY(NULL, &der, (long)public_der.len);
    EVP_MD_CTX *ctx = key ? EVP_MD_CTX_new() : NULL;
    EVP_PKEY_CTX *how = NULL;
    bool ok = ctx && EVP_DigestVerifyInit(ctx, &how, EVP_sha256(), NULL, key) == 1;
    if (ok && pss)
        ok = EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING) == 1
             && EVP_PKEY_CTX_set_rsa_pss_saltlen(how, RSA_PSS_SALTLEN_DIGEST) == 1;
    ok = ok
         && EVP_DigestVerify(ctx, (const unsigned char *)signature.ptr, signature.len,
                             (const unsigned char *)signed_text.ptr, signed_text.len)
                == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return ok;
}
