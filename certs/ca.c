#include "certs/ca.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/rand.h"
#include "certs/constraints.h"
#include "certs/leaf.h"
#include "certs/x509.h"

#define DAY_S ((int64_t)24 * 60 * 60)
#define CA_LIFETIME_S (3650 * DAY_S) /* nothing renews what programs have read at their start */
#define LEAF_LIFETIME_S (14 * DAY_S)
#define KEY_ID_BYTES 20
#define RSA_BITS 2048

enum { KEY_CERT_SIGN = 5, CRL_SIGN = 6 };

struct ca {
    X509 *cert;
    EVP_PKEY *key;
    NAME_CONSTRAINTS *limits; /* of the rules; NULL: none */
    NAME_CONSTRAINTS *own;    /* of the certificate; NULL: none */
    struct hash *names;       /* its permitted names; NULL with own */
    int64_t not_before_s, not_after_s;
};

/* A random name, so that two installations never share an issuer name with different keys. */
static bool set_names(X509 *x)
{
    unsigned char suffix[4];
    char cn[64];
    X509_NAME *name = X509_get_subject_name(x);
    rand_bytes(suffix, sizeof suffix);
    snprintf(cn, sizeof cn, "sidekey CA %02x%02x%02x%02x", suffix[0], suffix[1], suffix[2], suffix[3]);
    return x509_add_attribute(name, NID_organizationName, "sidekey") && x509_add_attribute(name, NID_commonName, cn)
           && X509_set_issuer_name(x, name) == 1;
}

/* RFC 7093 §2, method 1: SHA-256 truncated to 160 bits; a system may have no SHA-1. */
static bool add_key_id(X509 *x)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
    bool ok = id && X509_pubkey_digest(x, EVP_sha256(), sum, NULL) == 1
              && ASN1_OCTET_STRING_set(id, sum, KEY_ID_BYTES) == 1
              && X509_add1_ext_i2d(x, NID_subject_key_identifier, id, 0, X509V3_ADD_APPEND) == 1;
    ASN1_OCTET_STRING_free(id);
    return ok;
}

static int make(struct ca *ca, const struct ca_options *options, int64_t now_s, struct err *e)
{
    static const int usage[] = { KEY_CERT_SIGN, CRL_SIGN, -1 };
    int64_t lifetime_s = options->lifetime_s > 0 ? options->lifetime_s : CA_LIFETIME_S;
    X509 *x = ca->cert = X509_new();
    ca->key = options->rsa ? EVP_RSA_gen(RSA_BITS) : EVP_EC_gen("P-256");
    bool ok = x && ca->key && X509_set_version(x, X509_VERSION_3) == 1 && x509_set_serial(x)
              && x509_set_validity(x, now_s - CA_BACKDATE_S, now_s + lifetime_s) && set_names(x)
              && X509_set_pubkey(x, ca->key) == 1 && x509_add_basic_constraints(x, true) && x509_add_key_usage(x, usage)
              && x509_add_server_auth(x) && add_key_id(x)
              && (!ca->limits || X509_add1_ext_i2d(x, NID_name_constraints, ca->limits, 1, X509V3_ADD_APPEND) == 1)
              && x509_sign(x, ca->key);
    return ok ? 0 : err_set(e, "cannot make the CA: %s", x509_why());
}

/* Never asks at the terminal. */
static int no_password(char *text, int size, int writing, void *arg)
{
    (void)text, (void)size, (void)writing, (void)arg;
    return -1;
}

static FILE *open_pem(const char *path, const char *what, struct err *e)
{
    FILE *f = fopen(path, "re");
    if (!f)
        err_set(e, "cannot open the %s %s: %s", what, path, strerror(errno));
    return f;
}

static int load_key(struct ca *ca, const char *path, struct err *e)
{
    FILE *f = open_pem(path, "CA key", e);
    if (!f)
        return -1;
    setvbuf(f, NULL, _IONBF, 0); /* stdio's buffer would keep a copy */
    ca->key = PEM_read_PrivateKey(f, NULL, no_password, NULL);
    fclose(f);
    return ca->key ? 0
                   : err_set(e, "cannot read the CA key %s: %s (it must be PEM without a password)", path, x509_why());
}

/* A file may hold a chain: ours is the certificate of the key. */
static int load_cert(struct ca *ca, const char *path, const char *key_path, struct err *e)
{
    FILE *f = open_pem(path, "CA certificate", e);
    size_t seen = 0;
    if (!f)
        return -1;
    while (!ca->cert && (ca->cert = PEM_read_X509(f, NULL, no_password, NULL)) != NULL) {
        seen++;
        if (X509_check_private_key(ca->cert, ca->key) != 1) {
            X509_free(ca->cert);
            ca->cert = NULL;
        }
    }
    fclose(f);
    ERR_clear_error();
    if (seen == 0)
        return err_set(e, "the CA certificate %s holds no PEM certificate", path);
    return ca->cert ? 0 : err_set(e, "the CA key %s does not belong to the certificate in %s", key_path, path);
}

static int load(struct ca *ca, const struct ca_options *options, struct err *e)
{
    const char *path = options->cert_file;
    if (!options->cert_file || !options->key_file)
        return err_set(e, "a CA needs both a certificate and a key file");
    if (load_key(ca, options->key_file, e) != 0 || load_cert(ca, path, options->key_file, e) != 0)
        return -1;
    if (X509_check_ca(ca->cert) != 1 || !(X509_get_key_usage(ca->cert) & KU_KEY_CERT_SIGN)
        || (X509_get_extension_flags(ca->cert) & EXFLAG_INVALID))
        return err_set(
            e, "the certificate %s is not a CA (basicConstraints CA:TRUE and keyUsage keyCertSign are needed)", path);
    return 0;
}

/* Reads the constraints and the dates of the certificate. */
static int read_cert(struct ca *ca, const char *name, struct err *e)
{
    int critical;
    ca->own = X509_get_ext_d2i(ca->cert, NID_name_constraints, &critical, NULL);
    if (!ca->own && critical != -1) /* -1: it has none */
        return err_set(e, "the name constraints of %s cannot be read", name);
    if (ca->own && !(ca->names = constraints_names(ca->own)))
        return err_set(e, "out of memory");
    if (!x509_time(X509_get0_notBefore(ca->cert), &ca->not_before_s)
        || !x509_time(X509_get0_notAfter(ca->cert), &ca->not_after_s))
        return err_set(e, "the dates of %s cannot be read", name);
    return 0;
}

static int check_time(const struct ca *ca, int64_t now_s, struct err *e)
{
    if (now_s > ca->not_after_s)
        return err_set(e, "the CA certificate has expired");
    if (now_s < ca->not_before_s)
        return err_set(e, "the CA certificate is not valid yet: check the clock");
    return 0;
}

struct ca *ca_new(const struct ca_options *options, int64_t now_s, struct err *e)
{
    bool given = options->cert_file || options->key_file;
    struct ca *ca = calloc(1, sizeof *ca);
    if (!ca) {
        err_set(e, "out of memory");
        return NULL;
    }
    if (options->permit_hosts && !(ca->limits = constraints_new(options->permit_hosts, e)))
        goto failed;
    if ((given ? load(ca, options, e) : make(ca, options, now_s, e)) != 0)
        goto failed;
    if (read_cert(ca, given ? options->cert_file : "the CA certificate", e) != 0)
        goto failed;
    if (check_time(ca, now_s, e) != 0) {
        if (given)
            err_wrap(e, "%s: ", options->cert_file);
        goto failed;
    }
    return ca;
failed:
    ca_free(ca);
    return NULL;
}

static int read_pem(struct ca *ca, struct slice pem, struct err *e)
{
    BIO *bio = pem.len <= INT32_MAX ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
    if (bio && (ca->cert = PEM_read_bio_X509(bio, NULL, no_password, NULL)) && BIO_reset(bio) == 1)
        ca->key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    BIO_free(bio);
    bool fits = ca->key && X509_check_private_key(ca->cert, ca->key) == 1;
    ERR_clear_error();
    return fits ? read_cert(ca, "the stored CA", e) : err_set(e, "the stored CA is damaged");
}

struct ca *ca_from_pem(struct slice pem, struct err *e)
{
    struct ca *ca = calloc(1, sizeof *ca);
    if (ca && read_pem(ca, pem, e) == 0)
        return ca;
    if (!ca)
        err_set(e, "out of memory");
    ca_free(ca);
    return NULL;
}

void ca_free(struct ca *ca)
{
    if (!ca)
        return;
    X509_free(ca->cert);
    EVP_PKEY_free(ca->key);
    NAME_CONSTRAINTS_free(ca->limits);
    hash_free(ca->names);
    NAME_CONSTRAINTS_free(ca->own);
    free(ca);
}

/* i2d functions count in int and want a place of the right size. */
static int add_der(X509 *x, struct buf *out)
{
    int len = i2d_X509(x, NULL);
    if (len <= 0)
        return -ENOMEM;
    if (buf_space(out) < (size_t)len)
        return -ENOBUFS;
    unsigned char *at = (unsigned char *)buf_reserve(out, (size_t)len);
    if (!at || i2d_X509(x, &at) != len)
        return -ENOMEM;
    buf_grow(out, (size_t)len);
    return 0;
}

int ca_add_pem(const struct ca *ca, struct buf *out)
{
    char *pem = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    int failed = -ENOMEM;
    if (bio && PEM_write_bio_X509(bio, ca->cert) == 1) {
        long len = BIO_get_mem_data(bio, &pem);
        failed = buf_add(out, slice_of(pem, (size_t)len));
    }
    BIO_free(bio);
    ERR_clear_error();
    return failed;
}

int ca_add_key_pem(const struct ca *ca, struct buf *out)
{
    char *pem = NULL;
    BIO *bio = BIO_new(BIO_s_secmem());
    int failed = -ENOMEM;
    if (bio && PEM_write_bio_PKCS8PrivateKey(bio, ca->key, NULL, NULL, 0, NULL, NULL) == 1) {
        long len = BIO_get_mem_data(bio, &pem);
        failed = len > 0 ? buf_add(out, slice_of(pem, (size_t)len)) : -ENOMEM;
    }
    BIO_free(bio);
    return failed;
}

int64_t ca_not_before_s(const struct ca *ca)
{
    return ca->not_before_s;
}

int64_t ca_not_after_s(const struct ca *ca)
{
    return ca->not_after_s;
}

bool ca_is_rsa(const struct ca *ca)
{
    return EVP_PKEY_get_base_id(ca->key) == EVP_PKEY_RSA;
}

bool ca_same(const struct ca *a, const struct ca *b)
{
    return X509_cmp(a->cert, b->cert) == 0;
}

bool ca_is_constrained(const struct ca *ca)
{
    return ca->own != NULL;
}

bool ca_permits(const struct ca *ca, const char *host)
{
    return !ca->own || constraints_permit(ca->own, ca->names, host);
}

/* By OpenSSL's own reading of the leaf as it was signed: what we permit and what clients permit cannot differ. */
static bool permitted(const struct ca *ca, X509 *leaf)
{
    if (X509_check_purpose(leaf, -1, 0) != 1) /* parses the extensions */
        return false;
    return (!ca->limits || NAME_CONSTRAINTS_check(leaf, ca->limits) == X509_V_OK)
           && (!ca->own || NAME_CONSTRAINTS_check(leaf, ca->own) == X509_V_OK);
}

static int sign(struct ca *ca, X509 *leaf, struct slice host, struct buf *out_der, struct err *e)
{
    if (!x509_sign(leaf, ca->key))
        return err_set(e, "cannot sign the leaf: %s", x509_why());
    bool ok = permitted(ca, leaf);
    ERR_clear_error();
    if (!ok)
        return err_set(e, "%.*s is outside the CA's name constraints: no rule names it", (int)host.len, host.ptr);
    return add_der(leaf, out_der) == 0 ? 0 : err_set(e, "the leaf certificate is too large");
}

int ca_sign_leaf(struct ca *ca, struct slice host, struct slice spki_der, int64_t now_s, struct buf *out_der,
                 int64_t *ret_not_after_s, struct err *e)
{
    int64_t not_before_s = now_s - CA_BACKDATE_S, not_after_s = now_s + LEAF_LIFETIME_S;
    if (not_before_s < ca->not_before_s)
        not_before_s = ca->not_before_s;
    if (not_after_s > ca->not_after_s)
        not_after_s = ca->not_after_s;
    if (check_time(ca, now_s, e) != 0)
        return -1;
    EVP_PKEY *key = leaf_key(spki_der, e);
    X509 *leaf = key ? leaf_new(ca->cert, host, key, not_before_s, not_after_s, e) : NULL;
    int failed = leaf ? sign(ca, leaf, host, out_der, e) : -1;
    if (!failed)
        *ret_not_after_s = not_after_s;
    X509_free(leaf);
    EVP_PKEY_free(key);
    return failed;
}
