#include "certs/x509.h"

#include <arpa/inet.h>
#include <time.h>
#include <openssl/err.h>

#include "base/rand.h"

#define HOST_MAX 253
#define LABEL_MAX 63
#define SERIAL_BYTES 16

static bool host_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* A last label of digits alone would be taken for an IPv4 address by some and for a name by others. */
static bool is_name(struct slice host)
{
    bool digits = false;
    if (host.len == 0 || host.len > HOST_MAX)
        return false;
    while (host.len) {
        size_t dot = slice_find(host, '.');
        if (dot == 0 || dot > LABEL_MAX || dot == host.len - 1)
            return false;
        digits = true;
        for (size_t i = 0; i < dot; i++) {
            if (!host_byte(host.ptr[i]))
                return false;
            digits = digits && host.ptr[i] >= '0' && host.ptr[i] <= '9';
        }
        host = slice_skip(host, dot + 1);
    }
    return !digits;
}

size_t x509_host(struct slice host, unsigned char ret_ip[16])
{
    char text[INET6_ADDRSTRLEN];
    if (is_name(host))
        return 1;
    if (host.len == 0 || host.len >= sizeof text || slice_find(host, '\0') != host.len)
        return 0;
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    if (inet_pton(AF_INET, text, ret_ip) == 1)
        return 4;
    return inet_pton(AF_INET6, text, ret_ip) == 1 ? 16 : 0;
}

GENERAL_NAME *x509_general_name(struct slice host)
{
    unsigned char ip[16];
    size_t kind = x509_host(host, ip);
    GENERAL_NAME *name = kind ? GENERAL_NAME_new() : NULL;
    int type = kind == 1 ? V_ASN1_IA5STRING : V_ASN1_OCTET_STRING;
    ASN1_STRING *value = name ? ASN1_STRING_type_new(type) : NULL;
    if (!value
        || ASN1_STRING_set(value, kind == 1 ? (const void *)host.ptr : ip, (int)(kind == 1 ? host.len : kind)) != 1) {
        ASN1_STRING_free(value);
        GENERAL_NAME_free(name);
        return NULL;
    }
    GENERAL_NAME_set0_value(name, kind == 1 ? GEN_DNS : GEN_IPADD, value);
    return name;
}

bool x509_set_serial(X509 *x)
{
    unsigned char bytes[SERIAL_BYTES];
    rand_bytes(bytes, sizeof bytes);
    bytes[0] = (unsigned char)((bytes[0] & 0x7f) | 0x40); /* positive, and always of the same length */
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x));
    BN_free(number);
    return ok;
}

bool x509_set_validity(X509 *x, int64_t not_before_s, int64_t not_after_s)
{
    return ASN1_TIME_set(X509_getm_notBefore(x), (time_t)not_before_s)
           && ASN1_TIME_set(X509_getm_notAfter(x), (time_t)not_after_s);
}

bool x509_add_attribute(X509_NAME *name, int nid, const char *value)
{
    return X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8, (const unsigned char *)value, -1, -1, 0) == 1;
}

bool x509_add_basic_constraints(X509 *x, bool ca)
{
    BASIC_CONSTRAINTS *basic = BASIC_CONSTRAINTS_new();
    bool ok = basic != NULL;
    if (ok && ca) {
        basic->ca = 0xff;
        basic->pathlen = ASN1_INTEGER_new();
        ok = basic->pathlen && ASN1_INTEGER_set(basic->pathlen, 0) == 1;
    }
    ok = ok && X509_add1_ext_i2d(x, NID_basic_constraints, basic, 1, X509V3_ADD_APPEND) == 1;
    BASIC_CONSTRAINTS_free(basic);
    return ok;
}

bool x509_add_key_usage(X509 *x, const int *bits)
{
    ASN1_BIT_STRING *usage = ASN1_BIT_STRING_new();
    bool ok = usage != NULL;
    for (; ok && *bits >= 0; bits++)
        ok = ASN1_BIT_STRING_set_bit(usage, *bits, 1) == 1;
    ok = ok && X509_add1_ext_i2d(x, NID_key_usage, usage, 1, X509V3_ADD_APPEND) == 1;
    ASN1_BIT_STRING_free(usage);
    return ok;
}

bool x509_add_server_auth(X509 *x)
{
    EXTENDED_KEY_USAGE *usage = EXTENDED_KEY_USAGE_new();
    bool ok = usage && sk_ASN1_OBJECT_push(usage, OBJ_nid2obj(NID_server_auth)) > 0
              && X509_add1_ext_i2d(x, NID_ext_key_usage, usage, 0, X509V3_ADD_APPEND) == 1;
    EXTENDED_KEY_USAGE_free(usage);
    return ok;
}

bool x509_time(const ASN1_TIME *t, int64_t *ret_s)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(t, &tm) != 1)
        return false;
    *ret_s = timegm(&tm);
    return true;
}

bool x509_sign(X509 *x, EVP_PKEY *key)
{
    int type = EVP_PKEY_get_base_id(key);
    bool own = type == EVP_PKEY_ED25519 || type == EVP_PKEY_ED448; /* these hash by themselves (RFC 8032) */
    return X509_sign(x, key, own ? NULL : EVP_sha256()) > 0;
}

const char *x509_why(void)
{
    const char *why = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return why ? why : "out of memory";
}
