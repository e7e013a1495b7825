#include "net/tls/tls_roots.h"

#include "net/tls/tls_private.h"

/* It is the X509_STORE: nothing is kept beside it. */
static X509_STORE *store_of(const struct tls_roots *r)
{
    return (X509_STORE *)(uintptr_t)r;
}

static int add_all(X509_STORE *to, const struct tls_roots *from)
{
    STACK_OF(X509) *certs = X509_STORE_get1_all_certs(store_of(from));
    int failed = certs ? 0 : -1;
    for (int i = 0; i < sk_X509_num(certs) && failed == 0; i++)
        failed = X509_STORE_add_cert(to, sk_X509_value(certs, i)) == 1 ? 0 : -1; /* a reference */
    sk_X509_pop_free(certs, X509_free);
    return failed;
}

struct tls_roots *tls_roots_new(const struct tls_roots *base, const char *file, struct err *e)
{
    char why[128];
    X509_STORE *store = X509_STORE_new();
    if (!store || X509_STORE_set_flags(store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN) != 1
        || (base && add_all(store, base) != 0))
        err_set(e, "out of memory");
    else if (file && X509_STORE_load_file(store, file) != 1)
        err_set(e, "%s: cannot read any trusted certificate: %s", file, tls_queue_text(why, sizeof why));
    else
        return (struct tls_roots *)store;
    X509_STORE_free(store);
    ERR_clear_error();
    return NULL;
}

void tls_roots_free(struct tls_roots *r)
{
    X509_STORE_free((X509_STORE *)r);
}

/* Beside the context's own store, not in its place: libcurl (7.87 and later) keeps a context's own store for the
 * requests of others. */
int tls_roots_use(struct tls_roots *r, void *ctx)
{
    return SSL_CTX_set1_verify_cert_store(ctx, (X509_STORE *)r) == 1 ? 0 : -1;
}
