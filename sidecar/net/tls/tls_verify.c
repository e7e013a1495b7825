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
    return err_set(e, "%s: no trusted certificates could be read: %s", path, tls_queue_text(why, sizeof why));
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

int tls_verify_explain(int ok, X509_STORE_CTX *store)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_session *t = SSL_get_app_data(ssl);
    X509 *cert = X509_STORE_CTX_get_current_cert(store);
    if (ok || t->verify_failed)
        return ok;
    int error = X509_STORE_CTX_get_error(store);
    bool name = error == X509_V_ERR_HOSTNAME_MISMATCH || error == X509_V_ERR_IP_ADDRESS_MISMATCH;
    char names[NAME_TEXT] = "";
    if (cert && name)
        names_text(cert, names, sizeof names);
    tls_verify_refuse(t, cert, X509_STORE_CTX_get_error_depth(store), X509_verify_cert_error_string(error), names);
    return ok;
}
