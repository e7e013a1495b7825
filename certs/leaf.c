#include "certs/leaf.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "certs/x509.h"

#define CN_MAX 64 /* ub-common-name, RFC 5280 appendix A.1 */
#define SPKI_MAX 2048
enum { DIGITAL_SIGNATURE = 0, KEY_ENCIPHERMENT = 2 };

static bool fits(EVP_PKEY *key)
{
    char group[32];
    size_t len;
    int bits = EVP_PKEY_get_bits(key);
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA)
        return bits >= 2048 && bits <= 8192;
    return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC && EVP_PKEY_get_group_name(key, group, sizeof group, &len) == 1
           && strcmp(group, "prime256v1") == 0;
}

EVP_PKEY *leaf_key(struct slice spki_der, struct err *e)
{
    const unsigned char *at = (const unsigned char *)spki_der.ptr;
    EVP_PKEY *key = spki_der.len && spki_der.len <= SPKI_MAX ? d2i_PUBKEY(NULL, &at, (long)spki_der.len) : NULL;
    ERR_clear_error();
    if (key && (const char *)at == spki_der.ptr + spki_der.len && fits(key))
        return key;
    EVP_PKEY_free(key);
    err_set(e, "the leaf's public key is not a P-256 or RSA key (2048 to 8192 bits)");
    return NULL;
}

static bool add_alt_name(X509 *x, struct slice host, bool critical)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = x509_general_name(host);
    bool ok = names && name && sk_GENERAL_NAME_push(names, name) > 0;
    if (!ok)
        GENERAL_NAME_free(name);
    ok = ok && X509_add1_ext_i2d(x, NID_subject_alt_name, names, critical, X509V3_ADD_APPEND) == 1;
    GENERAL_NAMES_free(names);
    return ok;
}

/* Copied from the CA's certificate, not computed again: the two must be the same bytes. */
static bool add_authority_key_id(X509 *x, X509 *ca)
{
    const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(ca);
    if (!id)
        return true; /* a given CA without one: there is nothing to point at */
    AUTHORITY_KEYID *authority = AUTHORITY_KEYID_new();
    bool ok = authority && (authority->keyid = ASN1_OCTET_STRING_dup(id)) != NULL
              && X509_add1_ext_i2d(x, NID_authority_key_identifier, authority, 0, X509V3_ADD_APPEND) == 1;
    AUTHORITY_KEYID_free(authority);
    return ok;
}

/* The CN is for those who look nowhere else.  An IP address has none: OpenSSL would hold it against the permitted
 * names. */
static bool set_subject(X509 *x, struct slice host, bool is_name, bool *ret_empty)
{
    char cn[CN_MAX + 1];
    *ret_empty = !is_name || host.len > CN_MAX;
    if (*ret_empty)
        return true;
    memcpy(cn, host.ptr, host.len);
    cn[host.len] = '\0';
    return x509_add_attribute(X509_get_subject_name(x), NID_commonName, cn);
}

X509 *leaf_new(X509 *ca, struct slice host, EVP_PKEY *key, int64_t not_before_s, int64_t not_after_s, struct err *e)
{
    static const int ec_usage[] = { DIGITAL_SIGNATURE, -1 }, rsa_usage[] = { DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, -1 };
    unsigned char ip[16];
    size_t kind = x509_host(host, ip);
    bool empty = true, rsa = EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA;
    if (kind == 0) {
        err_set(e, "not a host name (lower case, A-labels) or IP address");
        return NULL;
    }
    X509 *x = X509_new();
    if (x && X509_set_version(x, X509_VERSION_3) == 1 && x509_set_serial(x)
        && x509_set_validity(x, not_before_s, not_after_s) && X509_set_issuer_name(x, X509_get_subject_name(ca)) == 1
        && set_subject(x, host, kind == 1, &empty) && X509_set_pubkey(x, key) == 1 && add_authority_key_id(x, ca)
        && x509_add_basic_constraints(x, false) && x509_add_key_usage(x, rsa ? rsa_usage : ec_usage)
        && x509_add_server_auth(x) && add_alt_name(x, host, empty))
        return x;
    err_set(e, "cannot make the leaf: %s", x509_why());
    X509_free(x);
    return NULL;
}
