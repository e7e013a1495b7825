/* Whom we trust upstream, and why not, in words.   docs/http.md §5; RFC 9525 (names), RFC 5280 (chains). */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "certs/bundle.h"
#include "net/tls/tls_private.h"

#define NAME_TEXT 128
#define NAMES_SHOWN 3

/* "5ed36f99.0": X509_NAME_hash and a number, as c_rehash makes them. */
static bool is_hashed_name(const char *name)
{
    return strspn(name, "0123456789abcdef") == 8 && name[8] == '.' && name[9] >= '0' && name[9] <= '9';
}

static bool has_hashed_names(const char *dir)
{
    bool found = false;
    DIR *d = opendir(dir);
    if (!d)
        return false;
    for (const struct dirent *entry; !found && (entry = readdir(d)) != NULL;)
        found = is_hashed_name(entry->d_name);
    closedir(d);
    return found;
}

/* dirs: separated by ':'. */
static bool any_hashed(const char *dirs)
{
    struct slice rest = slice_str(dirs);
    while (rest.len > 0) {
        char *dir = slice_dup(slice_cut(rest, ':', &rest));
        bool found = dir && has_hashed_names(dir);
        free(dir);
        if (found)
            return true;
    }
    return false;
}

static int load_file(SSL_CTX *ctx, const char *path, struct err *e)
{
    char why[128];
    if (SSL_CTX_load_verify_file(ctx, path) == 1)
        return 0;
    return err_set(e, "%s: cannot read any trusted certificate: %s", path, tls_queue_text(why, sizeof why));
}

/* The environment first, then OpenSSL's built-in place: the same order as OpenSSL's own, but a file that is there and
 * cannot be used is an error.  NULL: neither is there. */
static const char *openssl_file(void)
{
    const char *path = secure_getenv(X509_get_default_cert_file_env());
    if (path && access(path, R_OK) == 0)
        return path;
    path = X509_get_default_cert_file();
    return access(path, R_OK) == 0 ? path : NULL;
}

/* A bundle that lies in a hashed directory was made from it (update-ca-certificates): parsing its 140 roots would cost
 * 30 ms and 1.5 MB for what the directory gives one by one. */
static bool made_from(const char *file, const char *dirs)
{
    char real_file[PATH_MAX], real_dir[PATH_MAX];
    struct slice rest = slice_str(dirs);
    if (!realpath(file, real_file))
        return false;
    size_t len = (size_t)(strrchr(real_file, '/') - real_file);
    while (rest.len > 0) {
        char *dir = slice_dup(slice_cut(rest, ':', &rest));
        bool inside = dir && realpath(dir, real_dir) && strlen(real_dir) == len && memcmp(real_dir, real_file, len) == 0
                      && has_hashed_names(real_dir);
        free(dir);
        if (inside)
            return true;
    }
    return false;
}

int tls_verify_roots(SSL_CTX *ctx, const char *ca_file, struct err *e)
{
    const char *dirs = secure_getenv(X509_get_default_cert_dir_env());
    if (!dirs)
        dirs = X509_get_default_cert_dir();
    bool hashed = any_hashed(dirs);
    if (hashed && SSL_CTX_load_verify_dir(ctx, dirs) != 1) /* reads nothing yet: each root when a chain asks for it */
        return err_set(e, "%s: out of memory", dirs);

    const char *file = openssl_file();
    if (file && hashed && made_from(file, dirs))
        file = NULL;
    if (!file && !hashed)
        file = bundle_system_path();
    if (!file && !hashed && !ca_file)
        return err_set(e, "this system has no trusted root certificates: install ca-certificates, set SSL_CERT_FILE, "
                          "or configure ca_file");
    if (file && load_file(ctx, file, e) != 0)
        return -1;
    return ca_file ? load_file(ctx, ca_file, e) : 0;
}

int tls_verify_expect(SSL *ssl, const char *host, bool host_is_ip)
{
    if (host_is_ip)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1 ? 0 : -1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return SSL_set1_host(ssl, host) == 1 ? 0 : -1;
}

/* Takes what was printed; bytes that are not printable were escaped by OpenSSL. */
static const char *printed(BIO *out, char *text, size_t size)
{
    int n = out ? BIO_read(out, text, (int)size - 1) : 0;
    text[n > 0 ? n : 0] = 0;
    BIO_free(out);
    return text;
}

static const char *name_text(const X509_NAME *name, char *text, size_t size)
{
    BIO *out = BIO_new(BIO_s_mem());
    if (out)
        X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253);
    return printed(out, text, size);
}

/* ": it is for DNS:a.test, DNS:b.test". */
static const char *names_text(const X509 *cert, char *text, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    BIO *out = BIO_new(BIO_s_mem());
    for (int i = 0; out && i < sk_GENERAL_NAME_num(names) && i < NAMES_SHOWN; i++) {
        BIO_puts(out, i == 0 ? ": it is for " : ", ");
        GENERAL_NAME_print(out, sk_GENERAL_NAME_value(names, i));
    }
    GENERAL_NAMES_free(names);
    return printed(out, text, size);
}

void tls_verify_describe(const X509 *cert, int depth, const char *why, char *text, size_t size)
{
    char subject[NAME_TEXT] = "", issuer[NAME_TEXT] = "";
    if (cert) {
        name_text(X509_get_subject_name(cert), subject, sizeof subject);
        name_text(X509_get_issuer_name(cert), issuer, sizeof issuer);
    }
    snprintf(text, size, "%s (depth %d, subject %s, issuer %s)", why, depth, subject, issuer);
}

void tls_verify_refuse(struct tls_session *t, const X509 *cert, int depth, const char *why, const char *more)
{
    char text[TLS_FAILURE_TEXT];
    tls_verify_describe(cert, depth, why, text, sizeof text);
    t->verify_failed = true;
    tls_fail(t, "tls_certificate_error", "%s for %s%s", text, t->host, more);
}

/* Compared as bytes with their length: a NUL in a name is not its end. */
static struct slice dns_name(const GENERAL_NAME *name)
{
    int type;
    const ASN1_STRING *text = GENERAL_NAME_get0_value(name, &type);
    if (type != GEN_DNS)
        return slice_of(NULL, 0);
    return slice_of((const char *)ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
}

/* "*.example.test" matches one label; a star before a single label would match a whole registry and is refused, as in
 * OpenSSL. */
static bool wildcard_covers(struct slice pattern, struct slice host)
{
    struct slice below = slice_skip(host, slice_find(host, '.'));
    return pattern.len > 2 && pattern.ptr[0] == '*' && below.len != host.len && slice_ieq(slice_skip(pattern, 1), below)
           && slice_find(slice_skip(pattern, 2), '.') < pattern.len - 2;
}

/* OpenSSL lets a star match only letters, digits and hyphens. Names with an underscore have certificates too, and curl
 * accepts them (RFC 9525 §6.3 separates labels only by dots). */
static bool underscore_is_covered(const X509 *cert, const char *host)
{
    struct slice name = slice_str(host);
    bool covered = false;
    if (!cert || slice_find(slice_of(name.ptr, slice_find(name, '.')), '_') == slice_find(name, '.'))
        return false;
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && !covered; i++)
        covered = wildcard_covers(dns_name(sk_GENERAL_NAME_value(names, i)), name);
    GENERAL_NAMES_free(names);
    return covered;
}

/* RFC 5280 §4.2.1.10: base is host or a name above it; with a dot at its front only a name above it. */
static bool is_within(struct slice host, struct slice base)
{
    if (base.len == 0)
        return true;
    if (host.len < base.len || !slice_ieq(slice_skip(host, host.len - base.len), base))
        return false;
    return host.len == base.len || base.ptr[0] == '.' || host.ptr[host.len - base.len - 1] == '.';
}

/* *ret_any: there is a subtree of names at all.  True: host is in one of them. */
static bool in_subtrees(const STACK_OF(GENERAL_SUBTREE) * trees, struct slice host, bool *ret_any)
{
    bool inside = false;
    *ret_any = false;
    for (int i = 0; i < sk_GENERAL_SUBTREE_num(trees); i++) {
        const GENERAL_NAME *base = sk_GENERAL_SUBTREE_value(trees, i)->base;
        if (base->type != GEN_DNS)
            continue;
        *ret_any = true;
        inside = inside || is_within(host, dns_name(base));
    }
    return inside;
}

/* X509_V_OK, or how the authority's constraints forbid the host. */
static int judge_constraints(const X509 *authority, struct slice host)
{
    bool any;
    NAME_CONSTRAINTS *nc = X509_get_ext_d2i(authority, NID_name_constraints, NULL, NULL);
    int error = X509_V_OK;
    if (!nc)
        return error;
    if (in_subtrees(nc->excludedSubtrees, host, &any))
        error = X509_V_ERR_EXCLUDED_VIOLATION;
    else if (!in_subtrees(nc->permittedSubtrees, host, &any) && any)
        error = X509_V_ERR_PERMITTED_VIOLATION;
    NAME_CONSTRAINTS_free(nc);
    return error;
}

/* OpenSSL checks the names in the leaf. A wildcard there can be inside the constraints while the requested host is not.
 * So the constraints of each CA in the chain are checked for the host. */
static bool host_is_permitted(struct tls_session *t, const SSL *ssl, X509_STORE_CTX *store)
{
    const STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(store);
    bool is_name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) != NULL; /* addresses have no wildcards */
    for (int i = 1; i < sk_X509_num(chain) && is_name; i++) {
        const X509 *authority = sk_X509_value(chain, i);
        int error = judge_constraints(authority, slice_str(t->host));
        if (error == X509_V_OK)
            continue;
        X509_STORE_CTX_set_error(store, error);
        tls_verify_refuse(t, authority, i, X509_verify_cert_error_string(error), "");
        return false;
    }
    return true;
}

int tls_verify_explain(int ok, X509_STORE_CTX *store)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_session *t = SSL_get_app_data(ssl);
    X509 *cert = X509_STORE_CTX_get_current_cert(store);
    int error = X509_STORE_CTX_get_error(store), depth = X509_STORE_CTX_get_error_depth(store);
    if (t->verify_failed)
        return ok;
    if (ok)
        return depth > 0 || host_is_permitted(t, ssl, store);
    if (error == X509_V_ERR_HOSTNAME_MISMATCH && underscore_is_covered(cert, t->host)) {
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
    }
    bool name = error == X509_V_ERR_HOSTNAME_MISMATCH || error == X509_V_ERR_IP_ADDRESS_MISMATCH;
    char names[NAME_TEXT] = "";
    if (cert && name)
        names_text(cert, names, sizeof names);
    tls_verify_refuse(t, cert, depth, X509_verify_cert_error_string(error), names);
    return ok;
}
