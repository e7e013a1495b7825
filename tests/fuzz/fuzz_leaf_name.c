/* Any bytes as a host to sign: either refused, or a leaf that holds exactly these bytes as its one name. */
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <stdlib.h>

#include "certs/ca.h"
#include "certs/x509.h"

#define CHECK(truth) ((truth) ? (void)0 : abort())
#define NOW ((int64_t)1700000000)

static struct ca *any, *bound;
static unsigned char *spki;
static int spki_len;

static void make(void)
{
    static const char *const hosts[] = { "api.x.test", "*.wild.test", "10.0.0.1", NULL };
    EVP_PKEY *key = EVP_EC_gen("P-256");
    CHECK((any = ca_new(&(struct ca_options){ 0 }, NOW, NULL)) != NULL);
    CHECK((bound = ca_new(&(struct ca_options){ .permit_hosts = hosts }, NOW, NULL)) != NULL);
    CHECK((spki_len = i2d_PUBKEY(key, &spki)) > 0);
    EVP_PKEY_free(key);
}

static void check_names(X509 *leaf, struct slice host)
{
    unsigned char ip[16];
    size_t kind = x509_host(host, ip);
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    CHECK(names && sk_GENERAL_NAME_num(names) == 1 && kind != 0);
    GENERAL_NAME *name = sk_GENERAL_NAME_value(names, 0);
    CHECK(name->type == (kind == 1 ? GEN_DNS : GEN_IPADD));
    struct slice value = slice_of(ASN1_STRING_get0_data(name->d.ia5), (size_t)ASN1_STRING_length(name->d.ia5));
    CHECK(slice_eq(value, kind == 1 ? host : slice_of(ip, kind)));
    CHECK(X509_NAME_entry_count(X509_get_subject_name(leaf)) <= 1);
    GENERAL_NAMES_free(names);
}

static bool ends_with(struct slice host, struct slice base)
{
    size_t before = host.len - base.len;
    return host.len >= base.len && slice_eq(slice_skip(host, before), base)
           && (before == 0 || host.ptr[before - 1] == '.');
}

static bool signs(struct ca *ca, struct slice host)
{
    struct buf der;
    int64_t until_s;
    struct err e;
    buf_init(&der, 1 << 14);
    bool ok = ca_sign_leaf(ca, host, slice_of(spki, (size_t)spki_len), NOW, &der, &until_s, &e) == 0;
    if (ok) {
        const unsigned char *at = (const unsigned char *)buf_slice(&der).ptr;
        X509 *leaf = d2i_X509(NULL, &at, (long)der.len);
        CHECK(leaf != NULL);
        check_names(leaf, host);
        X509_free(leaf);
    }
    buf_done(&der);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice host = slice_of(data, size);
    unsigned char ip[16];
    if (!any)
        make();
    CHECK(signs(any, host) == (x509_host(host, ip) != 0));
    if (signs(bound, host))
        CHECK(ends_with(host, SLICE("api.x.test")) || ends_with(host, SLICE("wild.test"))
              || slice_eq(host, SLICE("10.0.0.1")));
    return 0;
}
