/* Unit tests of certs/ca, leaf and constraints.  The judge is OpenSSL's own verification with X509_V_FLAG_X509_STRICT,
 * and then whatever other verifiers the machine has: openssl, Python, Node, Go, Java. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "certs/ca.h"
#include "certs/constraints.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define DAY ((int64_t)86400)
#define NOW ((int64_t)1700000000)
#define LONG_LABEL "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" /* 63 */

static EVP_PKEY *leaf_ec, *leaf_rsa;
static char dir[] = "/tmp/sidekey-test-ca-XXXXXX";

static struct slice spki(EVP_PKEY *key)
{
    static unsigned char der[2][1024];
    static int turn;
    unsigned char *at = der[turn ^= 1];
    int len = i2d_PUBKEY(key, &at);
    assert_true(len > 0);
    return slice_of(der[turn], (size_t)len);
}

static struct ca *ca_of(const struct ca_options *options, int64_t now_s)
{
    struct err e = { "" };
    struct ca *ca = ca_new(options, now_s, &e);
    if (!ca)
        fail_msg("%s", e.text);
    return ca;
}

static X509 *cert_of(const struct ca *ca)
{
    struct buf pem;
    buf_init(&pem, 1 << 16);
    assert_int_equal(ca_add_pem(ca, &pem), 0);
    BIO *bio = BIO_new_mem_buf(buf_slice(&pem).ptr, (int)pem.len);
    X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    assert_non_null(x);
    BIO_free(bio);
    buf_done(&pem);
    return x;
}

static int sign(struct ca *ca, struct slice host, EVP_PKEY *key, int64_t now_s, X509 **ret, struct err *e)
{
    struct buf der;
    int64_t until_s = -1;
    buf_init(&der, 1 << 16);
    int failed = ca_sign_leaf(ca, host, spki(key), now_s, &der, &until_s, e);
    if (failed) {
        assert_int_equal(der.len, 0);
        assert_int_equal(until_s, -1);
        assert_true(strlen(e->text) > 8);
    } else {
        const unsigned char *at = (const unsigned char *)buf_slice(&der).ptr;
        *ret = d2i_X509(NULL, &at, (long)der.len);
        assert_non_null(*ret);
        assert_ptr_equal(at, buf_slice(&der).ptr + der.len);
        assert_true(until_s > now_s);
    }
    buf_done(&der);
    return failed;
}

static X509 *leaf_of(struct ca *ca, const char *host)
{
    struct err e = { "" };
    X509 *leaf = NULL;
    if (sign(ca, slice_str(host), leaf_ec, NOW, &leaf, &e) != 0)
        fail_msg("%s: %s", host, e.text);
    return leaf;
}

static bool is_ip(const char *host)
{
    ASN1_OCTET_STRING *ip = a2i_IPADDRESS(host);
    ASN1_OCTET_STRING_free(ip);
    return ip != NULL;
}

/* X509_V_OK, or why not; name NULL: only the chain. */
static int verify(X509 *root, X509 *leaf, const char *name, int64_t at_s)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    assert_int_equal(X509_STORE_add_cert(store, root), 1);
    assert_int_equal(X509_STORE_CTX_init(ctx, store, leaf, NULL), 1);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
    X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
    X509_VERIFY_PARAM_set_time(param, (time_t)at_s);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (name)
        assert_int_equal(
            is_ip(name) ? X509_VERIFY_PARAM_set1_ip_asc(param, name) : X509_VERIFY_PARAM_set1_host(param, name, 0), 1);
    int why = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return why;
}

static void *extension(X509 *x, int nid, bool want_critical)
{
    int critical = -1;
    void *value = X509_get_ext_d2i(x, nid, &critical, NULL);
    if (!value || critical != want_critical)
        fail_msg("%s: %s", OBJ_nid2sn(nid), !value ? "absent" : "critical is wrong");
    return value;
}

static int64_t seconds(const ASN1_TIME *t)
{
    struct tm tm;
    assert_int_equal(ASN1_TIME_to_tm(t, &tm), 1);
    return timegm(&tm);
}

static const char *const hosts[] = { "api.x.test", "*.wild.test", NULL };
static const char *const hosts_and_ips[] = { "api.x.test", "127.0.0.1", "fd00::7", NULL };
static const char *const ips[] = { "127.0.0.1", NULL };
static const char *const nothing[] = { NULL };

static void the_authority_has_the_documented_form(void **state)
{
    (void)state;
    for (int rsa = 0; rsa < 2; rsa++) {
        struct ca *ca = ca_of(&(struct ca_options){ .permit_hosts = hosts, .rsa = rsa }, NOW);
        X509 *x = cert_of(ca);
        BASIC_CONSTRAINTS *basic = extension(x, NID_basic_constraints, true);
        ASN1_BIT_STRING *usage = extension(x, NID_key_usage, true);
        ASN1_OCTET_STRING *id = extension(x, NID_subject_key_identifier, false);
        NAME_CONSTRAINTS *limits = extension(x, NID_name_constraints, true);
        assert_int_equal(X509_get_version(x), X509_VERSION_3);
        assert_true(basic->ca && basic->pathlen && ASN1_INTEGER_get(basic->pathlen) == 0);
        assert_int_equal(X509_get_key_usage(x), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
        assert_int_equal(ASN1_STRING_length(id), 20);
        assert_int_equal(X509_get_ext_count(x), 5);
        assert_int_equal(X509_get_extended_key_usage(x), XKU_SSL_SERVER);
        assert_int_equal(sk_GENERAL_SUBTREE_num(limits->permittedSubtrees), 4); /* with e-mail and URI: nobody's */
        assert_int_equal(sk_GENERAL_SUBTREE_num(limits->excludedSubtrees), 2);
        assert_int_equal(EVP_PKEY_get_base_id(X509_get0_pubkey(x)), rsa ? EVP_PKEY_RSA : EVP_PKEY_EC);
        assert_int_equal(EVP_PKEY_get_bits(X509_get0_pubkey(x)), rsa ? 2048 : 256);
        assert_int_equal(X509_NAME_cmp(X509_get_subject_name(x), X509_get_issuer_name(x)), 0);
        assert_int_equal(seconds(X509_get0_notBefore(x)), NOW - DAY);
        assert_int_equal(seconds(X509_get0_notAfter(x)), NOW + 3650 * DAY);
        assert_int_equal(ca_not_after_s(ca), NOW + 3650 * DAY);
        BASIC_CONSTRAINTS_free(basic);
        ASN1_BIT_STRING_free(usage);
        ASN1_OCTET_STRING_free(id);
        NAME_CONSTRAINTS_free(limits);
        X509_free(x);
        ca_free(ca);
    }
}

static void two_authorities_differ_in_name_serial_and_key(void **state)
{
    (void)state;
    struct ca *one = ca_of(&(struct ca_options){ .lifetime_s = 100 * DAY }, NOW),
              *two = ca_of(&(struct ca_options){ 0 }, NOW);
    X509 *a = cert_of(one), *b = cert_of(two);
    assert_int_not_equal(X509_NAME_cmp(X509_get_subject_name(a), X509_get_subject_name(b)), 0);
    assert_int_not_equal(ASN1_INTEGER_cmp(X509_get0_serialNumber(a), X509_get0_serialNumber(b)), 0);
    assert_int_not_equal(EVP_PKEY_eq(X509_get0_pubkey(a), X509_get0_pubkey(b)), 1);
    assert_int_equal(ca_not_after_s(one), NOW + 100 * DAY);
    assert_int_equal(X509_get_ext_by_NID(b, NID_name_constraints, -1), -1);
    X509_free(a);
    X509_free(b);
    ca_free(one);
    ca_free(two);
}

static void the_pem_never_holds_the_key(void **state)
{
    (void)state;
    struct ca *ca = ca_of(&(struct ca_options){ 0 }, NOW);
    struct buf pem;
    buf_init(&pem, 1 << 16);
    assert_int_equal(ca_add_pem(ca, &pem), 0);
    assert_true(slice_starts(buf_slice(&pem), SLICE("-----BEGIN CERTIFICATE-----\n")));
    assert_null(memmem(buf_slice(&pem).ptr, pem.len, "KEY", 3));
    buf_done(&pem);
    buf_init(&pem, 10);
    assert_int_equal(ca_add_pem(ca, &pem), -ENOBUFS);
    buf_done(&pem);
    ca_free(ca);
}

static void check_leaf_form(X509 *ca, X509 *leaf, const char *host, bool rsa)
{
    bool ip = is_ip(host), empty = ip || strlen(host) > 64;
    GENERAL_NAMES *names = extension(leaf, NID_subject_alt_name, empty);
    EXTENDED_KEY_USAGE *purposes = extension(leaf, NID_ext_key_usage, false);
    BASIC_CONSTRAINTS *basic = extension(leaf, NID_basic_constraints, true);
    ASN1_BIT_STRING *usage = extension(leaf, NID_key_usage, true);
    assert_int_equal(sk_GENERAL_NAME_num(names), 1);
    GENERAL_NAME *name = sk_GENERAL_NAME_value(names, 0);
    assert_int_equal(name->type, ip ? GEN_IPADD : GEN_DNS);
    if (!ip)
        assert_true(slice_eq(slice_str(host),
                             slice_of(ASN1_STRING_get0_data(name->d.ia5), (size_t)ASN1_STRING_length(name->d.ia5))));
    assert_int_equal(X509_NAME_entry_count(X509_get_subject_name(leaf)), empty ? 0 : 1);
    assert_int_equal(sk_ASN1_OBJECT_num(purposes), 1);
    assert_int_equal(OBJ_obj2nid(sk_ASN1_OBJECT_value(purposes, 0)), NID_server_auth);
    assert_false(basic->ca);
    assert_null(basic->pathlen);
    assert_int_equal(X509_get_key_usage(leaf), KU_DIGITAL_SIGNATURE | (rsa ? KU_KEY_ENCIPHERMENT : 0));
    assert_int_equal(X509_get_ext_by_NID(leaf, NID_subject_key_identifier, -1), -1);
    assert_int_equal(ASN1_OCTET_STRING_cmp(X509_get0_authority_key_id(leaf), X509_get0_subject_key_id(ca)), 0);
    assert_int_equal(X509_get_ext_count(leaf), 5);
    assert_int_equal(ASN1_STRING_length(X509_get0_serialNumber(leaf)), 16);
    assert_int_equal(ASN1_STRING_type(X509_get0_serialNumber(leaf)), V_ASN1_INTEGER); /* not V_ASN1_NEG_INTEGER */
    GENERAL_NAMES_free(names);
    EXTENDED_KEY_USAGE_free(purposes);
    BASIC_CONSTRAINTS_free(basic);
    ASN1_BIT_STRING_free(usage);
}

static void leaves_have_the_documented_form_and_verify_strictly(void **state)
{
    (void)state;
    static const char *const names[] = {
        "api.x.test",
        "localhost",
        "a_b.x.test",
        "xn--bcher-kva.test",
        "1.test",
        "127.0.0.1",
        "::1",
        "2001:db8::7",
        "a." LONG_LABEL "."
        "aaaaaaaaaaaaaaaaaaaaaaaa",
        LONG_LABEL,
        "x"
        "." LONG_LABEL,
        LONG_LABEL "." LONG_LABEL "." LONG_LABEL "." LONG_LABEL,
    };
    for (int rsa = 0; rsa < 2; rsa++) {
        struct ca *ca = ca_of(&(struct ca_options){ .rsa = rsa }, NOW);
        X509 *root = cert_of(ca);
        for (size_t i = 0; i < COUNT(names); i++) {
            struct err e = { "" };
            X509 *leaf = NULL;
            const char *host = names[i] + (strlen(names[i]) > 253 ? strlen(names[i]) - 253 : 0);
            assert_int_equal(sign(ca, slice_str(host), rsa ? leaf_rsa : leaf_ec, NOW, &leaf, &e), 0);
            check_leaf_form(root, leaf, host, rsa);
            int why = verify(root, leaf, host, NOW);
            if (why != X509_V_OK)
                fail_msg("%s: %s", host, X509_verify_cert_error_string(why));
            assert_int_equal(verify(root, leaf, "other.test", NOW), X509_V_ERR_HOSTNAME_MISMATCH);
            X509_free(leaf);
        }
        X509_free(root);
        ca_free(ca);
    }
}

static void a_leaf_lives_a_fortnight_and_never_outside_its_authority(void **state)
{
    (void)state;
    static const struct {
        int64_t ca_lifetime, minted, from, until; /* relative to the making of the CA */
    } rows[] = {
        { 30 * DAY, 0, -DAY, 14 * DAY },
        { 30 * DAY, 2 * DAY, DAY, 16 * DAY },
        { 30 * DAY, 20 * DAY, 19 * DAY, 30 * DAY },
        { DAY, 0, -DAY, DAY },
        { DAY, DAY, 0, DAY },
        { 30 * DAY, -3600, -DAY, 14 * DAY - 3600 }, /* the clock went back a little: not before the CA's own */
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct ca *ca = ca_of(&(struct ca_options){ .lifetime_s = rows[i].ca_lifetime }, NOW);
        struct buf der;
        struct err e;
        int64_t until_s;
        buf_init(&der, 4096);
        assert_int_equal(ca_sign_leaf(ca, SLICE("api.x.test"), spki(leaf_ec), NOW + rows[i].minted, &der, &until_s, &e),
                         0);
        const unsigned char *at = (const unsigned char *)buf_slice(&der).ptr;
        X509 *leaf = d2i_X509(NULL, &at, (long)der.len);
        assert_int_equal(seconds(X509_get0_notBefore(leaf)), NOW + rows[i].from);
        assert_int_equal(seconds(X509_get0_notAfter(leaf)), NOW + rows[i].until);
        assert_int_equal(until_s, NOW + rows[i].until);
        X509_free(leaf);
        buf_done(&der);
        ca_free(ca);
    }
}

static void an_authority_out_of_its_time_signs_nothing(void **state)
{
    (void)state;
    struct ca *ca = ca_of(&(struct ca_options){ .lifetime_s = DAY }, NOW);
    struct err e = { "" };
    X509 *leaf;
    assert_int_equal(sign(ca, SLICE("api.x.test"), leaf_ec, NOW + DAY + 1, &leaf, &e), -1);
    assert_non_null(strstr(e.text, "expired"));
    assert_int_equal(sign(ca, SLICE("api.x.test"), leaf_ec, NOW - DAY - 1, &leaf, &e), -1);
    assert_non_null(strstr(e.text, "not valid yet"));
    ca_free(ca);
}

static void serials_do_not_repeat(void **state)
{
    (void)state;
    struct ca *ca = ca_of(&(struct ca_options){ 0 }, NOW);
    X509 *leaves[20];
    for (size_t i = 0; i < COUNT(leaves); i++) {
        leaves[i] = leaf_of(ca, "api.x.test");
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(ASN1_INTEGER_cmp(X509_get0_serialNumber(leaves[i]), X509_get0_serialNumber(leaves[k])),
                                 0);
    }
    for (size_t i = 0; i < COUNT(leaves); i++)
        X509_free(leaves[i]);
    ca_free(ca);
}

/* --- authorities that somebody else made --- */

static const char *path_of(const char *name)
{
    static char paths[4][128];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s", dir, name);
    return paths[turn];
}

static void put_text(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void put_key(const char *name, EVP_PKEY *key, const char *password)
{
    FILE *f = fopen(path_of(name), "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_PKCS8PrivateKey(f, key, password ? EVP_aes_128_cbc() : NULL, password,
                                               password ? (int)strlen(password) : 0, NULL, NULL),
                     1);
    fclose(f);
}

static void put_cert(const char *name, X509 *x, const char *mode)
{
    FILE *f = fopen(path_of(name), mode);
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, x), 1);
    fclose(f);
}

struct shape {
    const char *basic, *usage, *limits; /* in OpenSSL's config language; NULL: absent */
    int64_t from_s, until_s;
};

static void add_extension(X509 *x, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    X509_EXTENSION *ext = value ? X509V3_EXT_conf_nid(NULL, &ctx, nid, value) : NULL;
    assert_true(!value || (ext && X509_add_ext(x, ext, -1) == 1));
    X509_EXTENSION_free(ext);
}

static X509 *foreign_at(EVP_PKEY *key, const char *cn, const struct shape *shape, NAME_CONSTRAINTS *limits,
                        int64_t now_s)
{
    X509 *x = X509_new();
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 7);
    ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(now_s + shape->from_s));
    ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(now_s + shape->until_s));
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, key);
    add_extension(x, NID_basic_constraints, shape->basic);
    add_extension(x, NID_key_usage, shape->usage);
    add_extension(x, NID_subject_key_identifier, "hash");
    add_extension(x, NID_name_constraints, shape->limits);
    assert_true(!limits || X509_add1_ext_i2d(x, NID_name_constraints, limits, 1, X509V3_ADD_APPEND) == 1);
    assert_true(X509_sign(x, key, EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256()) > 0);
    return x;
}

static const struct shape sound = { "critical,CA:TRUE", "critical,keyCertSign", NULL, -DAY, 365 * DAY };

static X509 *foreign(EVP_PKEY *key, const char *cn, const struct shape *shape)
{
    return foreign_at(key, cn, shape, NULL, NOW);
}

/* A pair that differs in the constraints alone: ca signs what the clients of root must refuse. */
static struct ca *unbound(const char *const *permit, int64_t now_s, X509 **ret_root)
{
    struct err e = { "" };
    EVP_PKEY *key = EVP_EC_gen("P-256");
    NAME_CONSTRAINTS *limits = constraints_new(permit, &e);
    X509 *free_root = foreign_at(key, "twin", &sound, NULL, now_s);
    put_key("twin.key", key, NULL);
    put_cert("twin.pem", free_root, "w");
    *ret_root = foreign_at(key, "twin", &sound, limits, now_s);
    struct ca *ca =
        ca_of(&(struct ca_options){ .cert_file = path_of("twin.pem"), .key_file = path_of("twin.key") }, now_s);
    X509_free(free_root);
    NAME_CONSTRAINTS_free(limits);
    EVP_PKEY_free(key);
    return ca;
}

static void only_the_hosts_of_the_rules_are_signed_and_accepted(void **state)
{
    (void)state;
    static const struct {
        const char *const *permit;
        const char *host;
        bool ok;
        int why; /* what OpenSSL says to a leaf that was signed all the same */
    } rows[] = {
        { hosts, "api.x.test", true, 0 },
        { hosts, "sub.api.x.test", true, 0 },
        { hosts, "a_b.wild.test", true, 0 },
        { hosts, "wild.test", true, 0 },
        { hosts, "x.test", false, X509_V_ERR_PERMITTED_VIOLATION },
        { hosts, "evilapi.x.test", false, X509_V_ERR_PERMITTED_VIOLATION },
        { hosts, "api.x.test.evil", false, X509_V_ERR_PERMITTED_VIOLATION },
        { hosts, "127.0.0.1", false, X509_V_ERR_EXCLUDED_VIOLATION },
        { hosts, "::1", false, X509_V_ERR_EXCLUDED_VIOLATION },
        { hosts_and_ips, "127.0.0.1", true, 0 },
        { hosts_and_ips, "fd00::7", true, 0 },
        { hosts_and_ips, "127.0.0.2", false, X509_V_ERR_PERMITTED_VIOLATION },
        { hosts_and_ips, "fd00::8", false, X509_V_ERR_PERMITTED_VIOLATION },
        { hosts_and_ips, "api.x.test", true, 0 },
        { hosts_and_ips, "b.x.test", false, X509_V_ERR_PERMITTED_VIOLATION },
        { ips, "127.0.0.1", true, 0 },
        { ips, "::1", false, X509_V_ERR_PERMITTED_VIOLATION },
        { ips, "api.x.test", false, X509_V_ERR_PERMITTED_VIOLATION },
        { nothing, "api.x.test", false, X509_V_ERR_PERMITTED_VIOLATION },
        { nothing, "127.0.0.1", false, X509_V_ERR_EXCLUDED_VIOLATION },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        X509 *twin_root, *leaf = NULL, *twin_leaf;
        struct ca *ca = ca_of(&(struct ca_options){ .permit_hosts = rows[i].permit }, NOW),
                  *any = unbound(rows[i].permit, NOW, &twin_root);
        struct err e = { "" };
        int failed = sign(ca, slice_str(rows[i].host), leaf_ec, NOW, &leaf, &e);
        if (failed != (rows[i].ok ? 0 : -1))
            fail_msg("%s: %d %s", rows[i].host, failed, e.text);
        assert_true(rows[i].ok || strstr(e.text, rows[i].host));
        X509 *root = cert_of(ca);
        assert_true(!rows[i].ok || verify(root, leaf, rows[i].host, NOW) == X509_V_OK);
        twin_leaf = leaf_of(any, rows[i].host);
        assert_int_equal(verify(twin_root, twin_leaf, rows[i].host, NOW), rows[i].why);
        X509_free(twin_root);
        X509_free(twin_leaf);
        X509_free(leaf);
        X509_free(root);
        ca_free(ca);
        ca_free(any);
    }
}

static void what_is_no_host_is_refused(void **state)
{
    (void)state;
    struct ca *ca = ca_of(&(struct ca_options){ 0 }, NOW);
    const struct slice bad[] = {
        { NULL, 0 },
        SLICE(""),
        SLICE("."),
        SLICE("x.test."),
        SLICE(".x.test"),
        SLICE("a..test"),
        SLICE("X.test"),
        SLICE("*.x.test"),
        SLICE("x.test:443"),
        SLICE("a b.test"),
        SLICE("a\0.test"),
        SLICE("x.test\0"),
        SLICE("b\xc3\xbc"
              "cher.test"),
        SLICE("1.2.3"),
        SLICE("127.1"),
        SLICE("1.2.3.256"),
        SLICE("[::1]"),
        SLICE("fe80::1%lo"),
        SLICE("x.test,DNS:evil.test"),
        SLICE("x.test\nDNS:evil"),
        SLICE("a" LONG_LABEL ".test"),
        SLICE("a@x.test"),
        SLICE("a/b"),
        SLICE(LONG_LABEL "." LONG_LABEL "." LONG_LABEL "." LONG_LABEL "a"),
        SLICE("127.0.0.1\0"),
        SLICE("x.123"),
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct err e = { "" };
        X509 *leaf;
        if (sign(ca, bad[i], leaf_ec, NOW, &leaf, &e) != -1)
            fail_msg("%.*s was signed", (int)bad[i].len, bad[i].ptr);
    }
    ca_free(ca);
}

static void what_is_no_leaf_key_is_refused(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = { EVP_EC_gen("P-384"), EVP_RSA_gen(1024), EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") };
    struct ca *ca = ca_of(&(struct ca_options){ 0 }, NOW);
    struct buf der;
    struct err e = { "" };
    int64_t until_s;
    char longer[256];
    buf_init(&der, 4096);
    for (size_t i = 0; i < COUNT(keys); i++) {
        assert_int_equal(ca_sign_leaf(ca, SLICE("x.test"), spki(keys[i]), NOW, &der, &until_s, &e), -1);
        assert_non_null(strstr(e.text, "public key"));
        EVP_PKEY_free(keys[i]);
    }
    struct slice good = spki(leaf_ec);
    memcpy(longer, good.ptr, good.len);
    longer[good.len] = 0;
    const struct slice bad[] = {
        { NULL, 0 }, SLICE("x"), slice_of(good.ptr, good.len - 1), slice_of(longer, good.len + 1)
    };
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(ca_sign_leaf(ca, SLICE("x.test"), bad[i], NOW, &der, &until_s, &e), -1);
    assert_int_equal(der.len, 0);
    buf_done(&der);
    buf_init(&der, 100);
    assert_int_equal(ca_sign_leaf(ca, SLICE("x.test"), good, NOW, &der, &until_s, &e), -1);
    buf_done(&der);
    ca_free(ca);
}

static void a_host_that_cannot_be_permitted_is_named(void **state)
{
    (void)state;
    static const char *const bad[] = { "*", "*.",    "*.*.test",       "a.*.test",   "X.test",
                                       "",  "1.2.3", "https://x.test", "x.test:443", "10.0.0.0/8" };
    for (size_t i = 0; i < COUNT(bad); i++) {
        const char *const list[] = { "api.x.test", bad[i], NULL };
        struct err e = { "" };
        assert_null(ca_new(&(struct ca_options){ .permit_hosts = list }, NOW, &e));
        char quoted[64];
        snprintf(quoted, sizeof quoted, "\"%s\"", bad[i]);
        assert_non_null(strstr(e.text, quoted));
    }
}

/* A leaf with such a name, made by somebody who has the key: clients refuse it, whatever its host. */
static void a_leaf_for_an_e_mail_address_or_a_uri_is_no_good(void **state)
{
    (void)state;
    static const char *const names[] = { "DNS:api.x.test,email:a@api.x.test", "DNS:api.x.test,email:a@x.test",
                                         "DNS:api.x.test,URI:https://api.x.test/", "DNS:api.x.test,URI:spiffe://x/y" };
    for (size_t i = 0; i < COUNT(names); i++) {
        EVP_PKEY *key = EVP_EC_gen("P-256");
        struct err e = { "" };
        NAME_CONSTRAINTS *limits = constraints_new(hosts, &e);
        X509 *root = foreign_at(key, "root", &sound, limits, NOW), *leaf = X509_new();
        X509_set_version(leaf, X509_VERSION_3);
        ASN1_INTEGER_set(X509_get_serialNumber(leaf), 8);
        ASN1_TIME_set(X509_getm_notBefore(leaf), (time_t)NOW);
        ASN1_TIME_set(X509_getm_notAfter(leaf), (time_t)(NOW + DAY));
        X509_set_issuer_name(leaf, X509_get_subject_name(root));
        X509_set_pubkey(leaf, leaf_ec);
        X509V3_CTX ctx;
        X509V3_set_ctx(&ctx, root, leaf, NULL, NULL, 0);
        X509_EXTENSION *id = X509V3_EXT_conf_nid(NULL, &ctx, NID_authority_key_identifier, "keyid");
        assert_true(id && X509_add_ext(leaf, id, -1) == 1);
        X509_EXTENSION_free(id);
        char value[128];
        snprintf(value, sizeof value, "critical,%s", names[i]);
        add_extension(leaf, NID_subject_alt_name, value);
        assert_true(X509_sign(leaf, key, EVP_sha256()) > 0);
        int why = verify(root, leaf, NULL, NOW);
        if (why != X509_V_ERR_PERMITTED_VIOLATION)
            fail_msg("%s: %s", names[i], X509_verify_cert_error_string(why));
        X509_free(root);
        X509_free(leaf);
        NAME_CONSTRAINTS_free(limits);
        EVP_PKEY_free(key);
    }
}

/* What outlives a keeper is one authority, not two of the same name. */
static void the_key_as_pem_makes_the_same_authority_again(void **state)
{
    (void)state;
    struct ca *ca = ca_of(&(struct ca_options){ .permit_hosts = hosts }, NOW);
    X509 *root = cert_of(ca);
    struct buf pem;
    buf_init_secret(&pem, 1 << 16);
    assert_int_equal(ca_add_key_pem(ca, &pem), 0);
    assert_int_equal(buf_add(&pem, slice_of("", 1)), 0);
    put_text("kept.key", buf_slice(&pem).ptr);
    put_cert("kept.pem", root, "w");
    buf_done(&pem);
    buf_init_secret(&pem, 10);
    assert_int_equal(ca_add_key_pem(ca, &pem), -ENOBUFS);
    buf_done(&pem);
    struct ca *again =
        ca_of(&(struct ca_options){ .cert_file = path_of("kept.pem"), .key_file = path_of("kept.key") }, NOW);
    X509 *leaf = leaf_of(again, "api.x.test");
    assert_int_equal(verify(root, leaf, "api.x.test", NOW), X509_V_OK);
    X509_free(leaf);
    X509_free(root);
    ca_free(again);
    ca_free(ca);
}

static void a_given_authority_signs_leaves_that_verify(void **state)
{
    (void)state;
    EVP_PKEY *keys[] = { EVP_EC_gen("P-256"), EVP_RSA_gen(2048), EVP_EC_gen("P-384"),
                         EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") };
    for (size_t i = 0; i < COUNT(keys); i++) {
        X509 *root = foreign(keys[i], "corporate CA", &sound), *other = foreign(leaf_ec, "another", &sound);
        put_key("ca.key", keys[i], NULL);
        put_cert("ca.pem", other, "w"); /* a chain file: the one that fits the key is taken, wherever it stands */
        put_cert("ca.pem", root, "a");
        struct ca *ca =
            ca_of(&(struct ca_options){ .cert_file = path_of("ca.pem"), .key_file = path_of("ca.key") }, NOW);
        X509 *loaded = cert_of(ca), *leaf = leaf_of(ca, "api.x.test");
        assert_int_equal(X509_cmp(loaded, root), 0);
        assert_int_equal(verify(root, leaf, "api.x.test", NOW), X509_V_OK);
        assert_int_equal(ca_not_after_s(ca), NOW + 365 * DAY);
        X509_free(leaf);
        X509_free(loaded);
        X509_free(root);
        X509_free(other);
        ca_free(ca);
        EVP_PKEY_free(keys[i]);
    }
}

static void the_constraints_of_a_given_authority_hold_and_so_do_the_rules(void **state)
{
    (void)state;
    static const struct shape limited = { "critical,CA:TRUE", "critical,keyCertSign", "critical,permitted;DNS:x.test",
                                          -DAY, 30 * DAY };
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *root = foreign(key, "limited", &limited), *leaf = NULL;
    struct err e = { "" };
    put_key("ca.key", key, NULL);
    put_cert("ca.pem", root, "w");
    struct ca *ca = ca_of(
        &(struct ca_options){ .permit_hosts = hosts, .cert_file = path_of("ca.pem"), .key_file = path_of("ca.key") },
        NOW);
    assert_int_equal(sign(ca, SLICE("a.wild.test"), leaf_ec, NOW, &leaf, &e), -1); /* a rule, but the CA may not */
    assert_int_equal(sign(ca, SLICE("b.x.test"), leaf_ec, NOW, &leaf, &e), -1);    /* the CA may, but no rule */
    leaf = leaf_of(ca, "api.x.test");
    assert_int_equal(verify(root, leaf, "api.x.test", NOW), X509_V_OK);
    X509_free(leaf);
    X509_free(root);
    ca_free(ca);
    EVP_PKEY_free(key);
}

static void a_given_authority_that_is_none_is_refused_with_file_and_cause(void **state)
{
    (void)state;
    static const struct {
        struct shape shape;
        const char *cause;
    } rows[] = {
        { { "critical,CA:FALSE", "critical,digitalSignature", NULL, -DAY, DAY }, "not a CA" },
        { { NULL, NULL, NULL, -DAY, DAY }, "not a CA" },
        { { "critical,CA:TRUE", "critical,cRLSign", NULL, -DAY, DAY }, "not a CA" },
        { { "critical,CA:TRUE", "critical,keyCertSign", NULL, -2 * DAY, -DAY }, "expired" },
        { { "critical,CA:TRUE", "critical,keyCertSign", NULL, DAY, 2 * DAY }, "not valid yet" },
    };
    EVP_PKEY *key = EVP_EC_gen("P-256");
    put_key("ca.key", key, NULL);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err e = { "" };
        X509 *x = foreign(key, "x", &rows[i].shape);
        put_cert("bad.pem", x, "w");
        assert_null(
            ca_new(&(struct ca_options){ .cert_file = path_of("bad.pem"), .key_file = path_of("ca.key") }, NOW, &e));
        if (!strstr(e.text, rows[i].cause) || !strstr(e.text, "bad.pem"))
            fail_msg("row %zu: %s", i, e.text);
        X509_free(x);
    }
    EVP_PKEY_free(key);
}

static void files_that_cannot_be_used_are_named(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *root = foreign(key, "x", &sound);
    put_key("good.key", key, NULL);
    put_key("locked.key", key, "password");
    put_key("other.key", leaf_ec, NULL);
    put_cert("good.pem", root, "w");
    put_text("empty.pem", "");
    put_text("junk.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    static const struct {
        const char *cert, *key, *named, *cause;
    } rows[] = {
        { "absent.pem", "good.key", "absent.pem", "No such file" },
        { "good.pem", "absent.key", "absent.key", "No such file" },
        { "empty.pem", "good.key", "empty.pem", "no PEM certificate" },
        { "junk.pem", "good.key", "junk.pem", "no PEM certificate" },
        { "good.pem", "empty.pem", "empty.pem", "without a password" },
        { "good.pem", "locked.key", "locked.key", "without a password" },
        { "good.pem", "other.key", "other.key", "does not belong" },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err e = { "" };
        assert_null(ca_new(&(struct ca_options){ .cert_file = path_of(rows[i].cert), .key_file = path_of(rows[i].key) },
                           NOW, &e));
        if (!strstr(e.text, rows[i].cause) || !strstr(e.text, rows[i].named))
            fail_msg("row %zu: %s", i, e.text);
    }
    struct err e = { "" };
    assert_null(ca_new(&(struct ca_options){ .cert_file = path_of("good.pem") }, NOW, &e));
    assert_null(ca_new(&(struct ca_options){ .key_file = path_of("good.key") }, NOW, &e));
    assert_non_null(strstr(e.text, "both"));
    ca_free(NULL);
    X509_free(root);
    EVP_PKEY_free(key);
}

/* --- other people's verifiers --- */

static const char *const python_script =
    "import ssl,sys\n"
    "d,host,ok=sys.argv[1],sys.argv[2],sys.argv[3]=='1'\n"
    "s=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); s.load_cert_chain(d+'/leaf.pem',d+'/leaf.key')\n"
    "c=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); c.load_verify_locations(d+'/ca.pem')\n"
    "c.verify_flags|=ssl.VERIFY_X509_STRICT\n"
    "a,b=ssl.MemoryBIO(),ssl.MemoryBIO()\n"
    "cl=c.wrap_bio(a,b,server_hostname=host); sv=s.wrap_bio(b,a,server_side=True)\n"
    "done=set()\n"
    "try:\n"
    "    for i in range(20):\n"
    "        for e in (cl,sv):\n"
    "            if e in done: continue\n"
    "            try: e.do_handshake(); done.add(e)\n"
    "            except ssl.SSLWantReadError: pass\n"
    "    good=len(done)==2\n"
    "except ssl.SSLCertVerificationError as x: good=False\n"
    "sys.exit(0 if good==ok else 1)\n";

static const char *const node_script =
    "const fs=require('fs'),tls=require('tls'),[d,host,ok]=process.argv.slice(2);\n"
    "const done=g=>process.exit(g===(ok==='1')?0:1);\n"
    "const s=tls.createServer({key:fs.readFileSync(d+'/leaf.key'),cert:fs.readFileSync(d+'/leaf.pem')});\n"
    "s.on('tlsClientError',()=>{});\n"
    "s.listen(0,'127.0.0.1',()=>{const ip=require('net').isIP(host);\n"
    "const "
    "c=tls.connect({port:s.address().port,host:'127.0.0.1',servername:ip?'':host,ca:fs.readFileSync(d+'/ca.pem'),\n"
    "checkServerIdentity:(h,cert)=>tls.checkServerIdentity(host,cert)},()=>done(true));\n"
    "c.on('error',()=>done(false));});\n";

static const char *const go_script =
    "package main\n"
    "import (\"crypto/x509\"; \"encoding/pem\"; \"os\"; \"fmt\")\n"
    "func main() {\n"
    "  d, host, ok := os.Args[1], os.Args[2], os.Args[3] == \"1\"\n"
    "  ca, _ := os.ReadFile(d + \"/ca.pem\"); roots := x509.NewCertPool(); roots.AppendCertsFromPEM(ca)\n"
    "  b, _ := os.ReadFile(d + \"/leaf.pem\"); p, _ := pem.Decode(b)\n"
    "  leaf, err := x509.ParseCertificate(p.Bytes)\n"
    "  if err == nil { _, err = leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots}) }\n"
    "  if (err == nil) != ok { fmt.Println(err); os.Exit(1) }\n"
    "}\n";

static const char *const java_script =
    "import java.io.*; import java.security.cert.*; import java.util.*;\n"
    "public class Check { public static void main(String[] a) throws Exception {\n"
    "  CertificateFactory f = CertificateFactory.getInstance(\"X.509\");\n"
    "  X509Certificate ca = (X509Certificate) f.generateCertificate(new FileInputStream(a[0] + \"/ca.pem\"));\n"
    "  X509Certificate leaf = (X509Certificate) f.generateCertificate(new FileInputStream(a[0] + \"/leaf.pem\"));\n"
    "  TrustAnchor anchor = new TrustAnchor(ca, null);\n"
    "  PKIXParameters p = new PKIXParameters(Set.of(anchor)); p.setRevocationEnabled(false);\n"
    "  boolean good;\n"
    "  try { CertPathValidator.getInstance(\"PKIX\").validate(f.generateCertPath(List.of(leaf)), p);\n"
    "    good = false; for (List<?> n : leaf.getSubjectAlternativeNames()) good |= n.get(1).equals(a[1]);\n"
    "  } catch (CertPathValidatorException e) { good = false; }\n"
    "  System.exit(good == a[2].equals(\"1\") ? 0 : 1); } }\n";

static const struct verifier {
    const char *name, *probe, *file, *const *script;
    const char *command;    /* "$1" the directory, "$2" the host, "$3" 1: is to be accepted */
    bool reads_constraints; /* of a root: RFC 5280 §6.1.1 leaves that open */
} verifiers[] = {
    { "openssl", "openssl version", NULL, NULL,
      "case $2 in *:*|127.*) o=-verify_ip;; *) o=-verify_hostname;; esac; "
      "if openssl verify -x509_strict -purpose sslserver -CAfile $1/ca.pem $o $2 $1/leaf.pem; then [ $3 = 1 ]; else [ "
      "$3 = 0 ]; fi",
      true },
    { "python", "python3 -c 'import ssl'", "check.py", &python_script, "python3 $1/check.py $1 $2 $3", true },
    { "node", "node --version", "check.js", &node_script, "node $1/check.js $1 $2 $3", true },
    { "go", "go version", "check.go", &go_script,
      "cd $1 && { [ -x check ] || GOFLAGS= GO111MODULE=off GOCACHE=$1/cache go build -o check check.go; } && ./check "
      "$1 $2 $3",
      true },
    { "java", "javac -version", "Check.java", &java_script,
      "cd $1 && { [ -f Check.class ] || javac Check.java; } && java -Xshare:auto -cp $1 Check $1 $2 $3", false },
    { "gnutls", "certtool --version", NULL, NULL,
      "if certtool --verify --load-ca-certificate $1/ca.pem --infile $1/leaf.pem --verify-hostname $2 --verify-purpose "
      "1.3.6.1.5.5.7.3.1; "
      "then [ $3 = 1 ]; else [ $3 = 0 ]; fi",
      true },
    /* judges chain, constraints and purpose; names are the client's affair */
    { "nss", "command -v certutil", NULL, NULL,
      "n=$1/nss; rm -rf $n; mkdir $n && certutil -N -d sql:$n --empty-password && certutil -A -d sql:$n -n ca -t C,, "
      "-a -i $1/ca.pem && "
      "certutil -A -d sql:$n -n leaf -t ,, -a -i $1/leaf.pem && if certutil -V -e -d sql:$n -n leaf -u V; then [ $3 = "
      "1 ]; else [ $3 = 0 ]; fi",
      true },
};

static bool shell(const char *command, const char *host, bool ok)
{
    char line[2048];
    snprintf(line, sizeof line, "set -- %s '%s' %d; { %s; } >%s/out 2>&1", dir, host, ok, command, dir);
    unsetenv("LD_PRELOAD");
    return system(line) == 0;
}

static const char *output(void)
{
    static char text[1024];
    FILE *f = fopen(path_of("out"), "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
    return text;
}

static void run_verifier(const struct verifier *v)
{
    static const struct {
        const char *host;
        bool ok;
    } rows[] = {
        { "api.x.test", true },
        { "sub.api.x.test", true },
        { "127.0.0.1", true },
        { "evil.test", false },
        { "evilapi.x.test", false },
        { "127.0.0.9", false },
        { "api.x.test." LONG_LABEL, false },
        { "a." LONG_LABEL ".api.x.test", true },
    };
    int64_t now_s = time(NULL);
    X509 *twin_root, *root;
    struct ca *ca = ca_of(&(struct ca_options){ .permit_hosts = hosts_and_ips }, now_s),
              *any = unbound(hosts_and_ips, now_s, &twin_root);
    root = cert_of(ca);
    if (v->file)
        put_text(v->file, *v->script);
    put_key("leaf.key", leaf_ec, NULL);
    for (size_t i = 0; i < COUNT(rows); i++) {
        bool ok = rows[i].ok || !v->reads_constraints;
        struct err e = { "" };
        X509 *leaf = NULL;
        assert_int_equal(sign(rows[i].ok ? ca : any, slice_str(rows[i].host), leaf_ec, now_s, &leaf, &e), 0);
        put_cert("leaf.pem", leaf, "w");
        put_cert("ca.pem", rows[i].ok ? root : twin_root, "w");
        if (!shell(v->command, rows[i].host, ok))
            fail_msg("%s and %s: %s", v->name, rows[i].host, output());
        X509_free(leaf);
    }
    X509_free(root);
    X509_free(twin_root);
    ca_free(ca);
    ca_free(any);
}

static void other_verifiers_agree(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(verifiers); i++)
        if (shell(verifiers[i].probe, "", true))
            run_verifier(&verifiers[i]);
        else
            print_message("%s is not here: skipped\n", verifiers[i].name);
}

static int set_up(void **state)
{
    (void)state;
    leaf_ec = EVP_EC_gen("P-256");
    leaf_rsa = EVP_RSA_gen(2048);
    return leaf_ec && leaf_rsa && mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char line[128];
    EVP_PKEY_free(leaf_ec);
    EVP_PKEY_free(leaf_rsa);
    snprintf(line, sizeof line, "rm -rf %s", dir);
    return system(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_authority_has_the_documented_form),
        cmocka_unit_test(two_authorities_differ_in_name_serial_and_key),
        cmocka_unit_test(the_pem_never_holds_the_key),
        cmocka_unit_test(leaves_have_the_documented_form_and_verify_strictly),
        cmocka_unit_test(a_leaf_lives_a_fortnight_and_never_outside_its_authority),
        cmocka_unit_test(an_authority_out_of_its_time_signs_nothing),
        cmocka_unit_test(serials_do_not_repeat),
        cmocka_unit_test(only_the_hosts_of_the_rules_are_signed_and_accepted),
        cmocka_unit_test(what_is_no_host_is_refused),
        cmocka_unit_test(what_is_no_leaf_key_is_refused),
        cmocka_unit_test(a_host_that_cannot_be_permitted_is_named),
        cmocka_unit_test(a_leaf_for_an_e_mail_address_or_a_uri_is_no_good),
        cmocka_unit_test(the_key_as_pem_makes_the_same_authority_again),
        cmocka_unit_test(a_given_authority_signs_leaves_that_verify),
        cmocka_unit_test(the_constraints_of_a_given_authority_hold_and_so_do_the_rules),
        cmocka_unit_test(a_given_authority_that_is_none_is_refused_with_file_and_cause),
        cmocka_unit_test(files_that_cannot_be_used_are_named),
        cmocka_unit_test(other_verifiers_agree),
    };
    return cmocka_run_group_tests_name("ca", tests, set_up, tear_down);
}
