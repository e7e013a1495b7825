#include "crypto/jws.h"

#include <errno.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/str.h"

#define RSA_BITS_MIN 2048 /* RFC 7518 §3.3 */
#define P256_BYTES 32
#define SIGNATURE_MAX 2048 /* RSA of 16384 bits */

static const char *const names[] = { [JWS_RS256] = "RS256", [JWS_PS256] = "PS256", [JWS_ES256] = "ES256" };

/* Without this OpenSSL would ask at the terminal. */
static int no_password(char *text, int size, int writing, void *arg)
{
    (void)text;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

static bool contains(struct slice text, struct slice word)
{
    return memmem(text.ptr, text.len, word.ptr, word.len) != NULL;
}

static EVP_PKEY *read_key(struct slice pem, struct err *e)
{
    BIO *in = pem.len && pem.len < INT32_MAX ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
    EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, no_password, NULL) : NULL;
    BIO_free(in);
    if (!key && contains(pem, SLICE("ENCRYPTED")))
        err_set(e, "the signing key is encrypted: decrypt it (openssl pkey -in KEY -out PLAIN)");
    else if (!key)
        err_set(e, contains(pem, SLICE("PRIVATE KEY"))
                       ? "the signing key cannot be read: its PEM text is damaged"
                       : "the signing key is not a private key in PEM form (-----BEGIN PRIVATE KEY-----)");
    return key;
}

static bool is_p256(const EVP_PKEY *key)
{
    char group[32];
    return EVP_PKEY_get_group_name(key, group, sizeof group, NULL) == 1 && strcmp(group, "prime256v1") == 0;
}

/* The algorithm to use, or JWS_AUTO with e. */
static enum jws_alg choose(const EVP_PKEY *key, enum jws_alg wanted, struct err *e)
{
    int type = EVP_PKEY_get_base_id(key);
    bool rsa = type == EVP_PKEY_RSA, pss = type == EVP_PKEY_RSA_PSS, ec = type == EVP_PKEY_EC && is_p256(key);
    enum jws_alg alg;
    if (wanted != JWS_AUTO)
        alg = wanted;
    else if (rsa)
        alg = JWS_RS256;
    else if (pss)
        alg = JWS_PS256;
    else
        alg = JWS_ES256;
    bool fits;
    if (alg == JWS_RS256)
        fits = rsa;
    else if (alg == JWS_PS256)
        fits = rsa || pss;
    else
        fits = ec;
    if (!fits && !rsa && !pss && !ec)
        err_set(e, "the signing key is neither RSA nor P-256");
    else if (!fits)
        err_set(e, "the signing key has the wrong type: %s needs %s key", names[alg],
                alg == JWS_ES256 ? "a P-256" : "an RSA");
    else if (!ec && EVP_PKEY_get_bits(key) < RSA_BITS_MIN)
        err_set(e, "the signing key is too short: RSA needs %d bits at least", RSA_BITS_MIN);
    else
        return alg;
    return JWS_AUTO;
}

/* RFC 7518 §3.4: R and S as 32 bytes each, where OpenSSL gives DER.  false: cannot be. */
static bool flat_signature(unsigned char *bytes, size_t *len)
{
    const unsigned char *der = bytes;
    ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &der, (long)*len);
    bool ok = s && BN_bn2binpad(ECDSA_SIG_get0_r(s), bytes, P256_BYTES) == P256_BYTES
              && BN_bn2binpad(ECDSA_SIG_get0_s(s), bytes + P256_BYTES, P256_BYTES) == P256_BYTES;
    ECDSA_SIG_free(s);
    *len = 2 * (size_t)P256_BYTES;
    return ok;
}

static bool sign(EVP_PKEY *key, enum jws_alg alg, struct slice text, unsigned char *bytes, size_t *len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *how = NULL;
    bool ok = ctx && EVP_DigestSignInit(ctx, &how, EVP_sha256(), NULL, key) == 1;
    if (ok && alg == JWS_PS256) /* RFC 7518 §3.5: the salt is as long as the digest */
        ok = EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING) == 1
             && EVP_PKEY_CTX_set_rsa_pss_saltlen(how, RSA_PSS_SALTLEN_DIGEST) == 1;
    ok = ok && EVP_DigestSign(ctx, bytes, len, (const unsigned char *)text.ptr, text.len) == 1;
    EVP_MD_CTX_free(ctx);
    return ok && (alg != JWS_ES256 || flat_signature(bytes, len));
}

static int add_sum(X509 *x, const EVP_MD *md, const char *name, struct buf *header)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (X509_digest(x, md, sum, &len) != 1 || buf_printf(header, ",\"%s\":\"", name) != 0
        || str_add_base64url(header, slice_of(sum, len)) != 0)
        return -ENOMEM;
    return buf_add_str(header, "\"");
}

/* The sums of its DER; a chain's first one counts. */
static int add_certificate(struct slice pem, EVP_PKEY *key, struct buf *header, struct err *e)
{
    BIO *in = pem.len < INT32_MAX ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
    X509 *x = in ? PEM_read_bio_X509(in, NULL, no_password, NULL) : NULL;
    int failed = 0;
    if (!x)
        failed = err_set(e, "the certificate of the signing key is not a certificate in PEM form");
    else if (X509_check_private_key(x, key) != 1)
        failed = err_set(e, "the certificate does not belong to the signing key");
    else if (add_sum(x, EVP_sha1(), "x5t", header) != 0 || add_sum(x, EVP_sha256(), "x5t#S256", header) != 0)
        failed = err_set(e, "out of memory");
    X509_free(x);
    BIO_free(in);
    return failed;
}

/* Header and payload, as they are signed.  more: further members, each with its comma before it. */
static int add_input(const char *alg, struct slice kid, struct slice more, struct slice payload, struct buf *out)
{
    struct buf header;
    buf_init(&header, 4096);
    int failed = buf_printf(&header, "{\"alg\":\"%s\",\"typ\":\"JWT\"", alg);
    if (failed == 0 && kid.len) {
        failed = buf_add(&header, SLICE(",\"kid\":"));
        if (failed == 0)
            failed = str_add_json(&header, kid);
    }
    if (failed == 0)
        failed = buf_add(&header, more);
    if (failed == 0)
        failed = buf_add(&header, SLICE("}"));
    if (failed == 0)
        failed = str_add_base64url(out, buf_slice(&header));
    if (failed == 0)
        failed = buf_add(out, SLICE("."));
    if (failed == 0)
        failed = str_add_base64url(out, payload);
    buf_done(&header);
    return failed;
}

static int build(EVP_PKEY *key, enum jws_alg alg, const struct jws_key *how, struct slice payload, struct buf *jws,
                 struct err *e)
{
    unsigned char bytes[SIGNATURE_MAX];
    size_t len = sizeof bytes;
    struct buf more;
    if (EVP_PKEY_get_size(key) > SIGNATURE_MAX)
        return err_set(e, "the signing key is too long");
    buf_init(&more, 256);
    int failed = how->certificate.len ? add_certificate(how->certificate, key, &more, e) : 0;
    if (!failed && add_input(names[alg], how->kid, buf_slice(&more), payload, jws) != 0)
        failed = err_set(e, "the assertion is too long");
    buf_done(&more);
    if (failed)
        return failed;
    if (!sign(key, alg, buf_slice(jws), bytes, &len))
        return err_set(e, "the signing key cannot sign %s", names[alg]);
    if (buf_add(jws, SLICE(".")) != 0 || str_add_base64url(jws, slice_of(bytes, len)) != 0)
        return err_set(e, "the assertion is too long");
    return 0;
}

int jws_sign(const struct jws_key *key, struct slice payload, struct buf *out, struct err *e)
{
    struct buf jws;
    EVP_PKEY *pkey = read_key(key->pem, e);
    enum jws_alg alg = pkey ? choose(pkey, key->alg, e) : JWS_AUTO;
    buf_init_secret(&jws, buf_space(out));
    int failed = alg == JWS_AUTO ? -1 : build(pkey, alg, key, payload, &jws, e);
    if (!failed && buf_add(out, buf_slice(&jws)) != 0)
        failed = err_set(e, "out of memory");
    buf_done(&jws);
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    return failed;
}
