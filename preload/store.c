/* Trust inside OpenSSL and GnuTLS: every new certificate store gets our CA.  For programs whose roots come from no file
 * that we know (trust.c): their own files, p11-kit, roots that are compiled in.
 *
 * The libraries are called by name, with opaque pointers: one object serves OpenSSL 1.1 and 3 and any GnuTLS 3, and
 * loads where there is neither.  These hooks allocate, as the calls do that they stand for. */
#include "preload/preload.h"

#include <dlfcn.h>
#include <string.h>

#define GNUTLS_PEM 1
#define GNUTLS_E_UNIMPLEMENTED_FEATURE (-1250)

typedef void *dlopen_fn(const char *, int);
typedef void *store_new_fn(void);
typedef int allocate_fn(void **);
typedef int trust_file_fn(void *, const char *, int);
typedef int system_trust_fn(void *, unsigned, unsigned);
typedef int list_file_fn(void *, const char *, const char *, int, unsigned, unsigned);

/* The loaded object that has this address; NULL: none, or it is the program.  The caller gives it to dlclose(). */
static void *object_of(const void *address)
{
    dlopen_fn *open = REAL(dlopen_fn, dlopen);
    Dl_info info;
    if (!open || !dladdr(address, &info) || !info.dli_fname)
        return NULL;
    void *object = open(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    (void)dlerror();
    return object;
}

static bool is_ours(const void *address)
{
    Dl_info here, there;
    return dladdr((const void *)(uintptr_t)&object_of, &here) && dladdr(address, &there)
           && here.dli_fbase == there.dli_fbase;
}

/* The symbol as the caller would have found it without us.  RTLD_NEXT sees only what was loaded for all to see: Python
 * loads its _ssl, and with it libcrypto, for itself alone. */
static any_fn *real_near(enum hook h, const char *name, const void *caller)
{
    void *object = object_of(caller), *found = object ? dlsym(object, name) : NULL;
    any_fn *fn = NULL;
    if (found && !is_ours(found))
        memcpy(&fn, &found, sizeof fn);
    if (object)
        (void)dlclose(object); /* it stays loaded: its function has called us */
    return fn ? fn : preload_real(h);
}

#define NEAR(type, name) ((type *)real_near(HOOK_##name, #name, __builtin_return_address(0)))

/* --- OpenSSL --- */

struct crypto { /* of the libcrypto that made the store: there may be two in a process */
    void *(*bio_new_file)(const char *, const char *);
    int (*bio_free)(void *);
    void *(*pem_read)(void *, void **, void *, void *);
    int (*add)(void *, void *);
    void (*certificate_free)(void *);
    int (*mark)(void);
    int (*pop)(void);
};

static bool find(void *object, const char *name, void *ret_function, size_t size)
{
    void *found = dlsym(object, name);
    memcpy(ret_function, &found, size);
    return found != NULL;
}

static bool find_crypto(void *object, struct crypto *c)
{
#define FIND(member, name) find(object, name, &c->member, sizeof c->member)
    return FIND(bio_new_file, "BIO_new_file") && FIND(bio_free, "BIO_free") && FIND(pem_read, "PEM_read_bio_X509")
           && FIND(add, "X509_STORE_add_cert") && FIND(certificate_free, "X509_free") && FIND(mark, "ERR_set_mark")
           && FIND(pop, "ERR_pop_to_mark");
#undef FIND
}

/* The error queue stays as it was: programs take an old error for one of their next call. */
static void add_roots(const struct crypto *c, void *store, const char *path)
{
    c->mark();
    void *file = c->bio_new_file(path, "r");
    for (void *one; file && (one = c->pem_read(file, NULL, NULL, NULL)); c->certificate_free(one))
        (void)c->add(store, one);
    if (file)
        (void)c->bio_free(file);
    c->pop();
}

HOOK(void *, X509_STORE_new, void)
{
    store_new_fn *real = NEAR(store_new_fn, X509_STORE_new);
    const struct preload *p = preload_get();
    void *store = real ? real() : NULL;
    if (!store || !p->root[0] || p->off[HOOK_X509_STORE_new])
        return store;
    int saved = errno;
    struct crypto c;
    void *object = object_of((const void *)(uintptr_t)real);
    if (object && find_crypto(object, &c))
        add_roots(&c, store, p->root);
    if (object)
        (void)dlclose(object);
    (void)dlerror();
    errno = saved;
    return store;
}

/* --- GnuTLS --- */

HOOK(int, gnutls_certificate_allocate_credentials, void **ret)
{
    allocate_fn *real = NEAR(allocate_fn, gnutls_certificate_allocate_credentials);
    const struct preload *p = preload_get();
    int rc = real ? real(ret) : GNUTLS_E_UNIMPLEMENTED_FEATURE;
    if (rc < 0 || !p->root[0] || p->off[HOOK_gnutls_certificate_allocate_credentials])
        return rc;
    trust_file_fn *trust;
    void *object = object_of((const void *)(uintptr_t)real);
    if (object && find(object, "gnutls_certificate_set_x509_trust_file", &trust, sizeof trust))
        (void)trust(*ret, p->root, GNUTLS_PEM);
    if (object)
        (void)dlclose(object);
    return rc;
}

/* How many of ours were added to a list that has got rc others. */
static int and_ours(enum hook h, int rc, list_file_fn *add, void *list, unsigned flags, unsigned verify_flags)
{
    const struct preload *p = preload_get();
    if (rc < 0 || !add || !p->root[0] || p->off[h])
        return rc;
    int more = add(list, p->root, NULL, GNUTLS_PEM, flags, verify_flags);
    return more > 0 ? rc + more : rc;
}

HOOK(int, gnutls_x509_trust_list_add_trust_file, void *list, const char *roots, const char *revoked, int type,
     unsigned flags, unsigned verify_flags)
{
    list_file_fn *real = NEAR(list_file_fn, gnutls_x509_trust_list_add_trust_file);
    int rc = real ? real(list, roots, revoked, type, flags, verify_flags) : GNUTLS_E_UNIMPLEMENTED_FEATURE;
    return and_ours(HOOK_gnutls_x509_trust_list_add_trust_file, rc, real, list, flags, verify_flags);
}

HOOK(int, gnutls_x509_trust_list_add_system_trust, void *list, unsigned flags, unsigned verify_flags)
{
    system_trust_fn *real = NEAR(system_trust_fn, gnutls_x509_trust_list_add_system_trust);
    list_file_fn *add = NULL;
    int rc = real ? real(list, flags, verify_flags) : GNUTLS_E_UNIMPLEMENTED_FEATURE;
    void *object = real ? object_of((const void *)(uintptr_t)real) : NULL;
    if (object)
        (void)find(object, "gnutls_x509_trust_list_add_trust_file", &add, sizeof add);
    rc = and_ours(HOOK_gnutls_x509_trust_list_add_system_trust, rc, add, list, flags, verify_flags);
    if (object)
        (void)dlclose(object);
    return rc;
}
