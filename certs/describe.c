#include "certs/describe.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

static void print_names(BIO *to, const char *label, const STACK_OF(GENERAL_SUBTREE) * names)
{
    int count = sk_GENERAL_SUBTREE_num(names);
    BIO_printf(to, "%s", label);
    for (int i = 0; i < count && i < 8; i++) {
        BIO_printf(to, "%s", i ? ", " : "");
        GENERAL_NAME_print(to, sk_GENERAL_SUBTREE_value(names, i)->base);
    }
    BIO_printf(to, count > 8 ? " and %d more\n" : "\n", count - 8);
}

static void print_constraints(BIO *to, X509 *x)
{
    NAME_CONSTRAINTS *limits = X509_get_ext_d2i(x, NID_name_constraints, NULL, NULL);
    if (limits && limits->permittedSubtrees)
        print_names(to, "only for  ", limits->permittedSubtrees);
    else
        BIO_printf(to, "only for  (no name constraints: any host)\n");
    NAME_CONSTRAINTS_free(limits);
}

static void print_all(BIO *to, X509 *x)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    const EVP_PKEY *key = X509_get0_pubkey(x);
    BIO_printf(to, "subject   ");
    X509_NAME_print_ex(to, X509_get_subject_name(x), 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB);
    BIO_printf(to, "\nvalid     ");
    ASN1_TIME_print(to, X509_get0_notBefore(x));
    BIO_printf(to, " to ");
    ASN1_TIME_print(to, X509_get0_notAfter(x));
    BIO_printf(to, "\nkey       %s, %d bits\nsha256    ", key ? EVP_PKEY_get0_type_name(key) : "unknown",
               key ? EVP_PKEY_get_bits(key) : 0);
    if (X509_digest(x, EVP_sha256(), digest, &len))
        for (unsigned i = 0; i < len; i++)
            BIO_printf(to, "%s%02X", i ? ":" : "", digest[i]);
    BIO_printf(to, "\n");
    print_constraints(to, x);
}

int describe_certificates(struct slice pem, struct buf *out, struct err *e)
{
    BIO *from = pem.len <= INT32_MAX ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
    BIO *to = BIO_new(BIO_s_mem());
    char *text = NULL;
    size_t count = 0;
    for (X509 *x; from && to && (x = PEM_read_bio_X509(from, NULL, NULL, NULL)); X509_free(x)) {
        if (count++)
            BIO_printf(to, "\n");
        print_all(to, x);
    }
    long len = to ? BIO_get_mem_data(to, &text) : 0;
    int failed = len > 0 ? buf_add(out, slice_of(text, (size_t)len)) : -1;
    BIO_free(from);
    BIO_free(to);
    ERR_clear_error();
    if (count == 0)
        return err_set(e, "it contains no certificate");
    return failed ? err_set(e, "out of memory") : 0;
}
