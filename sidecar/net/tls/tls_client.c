/* The upstream leg's contexts, one per identity, and the sessions that their connections leave behind. */
#include <stdlib.h>

#include "net/tls/tls_private.h"

/* Called when a handshake (1.2) or a ticket (1.3) gives a session.  Returns 1: the reference is ours. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    const struct tls_session *t = SSL_get_app_data(ssl);
    if (SSL_get_verify_result(ssl) != X509_V_OK)
        return 0;
    tls_cache_put(t->client->cache, slice_of(t->host, t->key_len), session);
    return 1;
}

/* An encrypted key file is an error, not a question on the terminal. */
static int no_passphrase(char *dst, int size, int writing, void *arg)
{
    (void)dst;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

static int load_identity(SSL_CTX *ctx, const struct tls_client_options *options, struct err *e)
{
    char why[128];
    const char *key_file = options->key_file ? options->key_file : options->cert_file;
    if (!options->cert_file)
        return 0;
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(ctx, options->cert_file) != 1)
        return err_set(e, "%s: cannot read a client certificate: %s", options->cert_file,
                       tls_queue_text(why, sizeof why));
    if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1)
        return err_set(e, "%s: cannot read a private key for %s: %s", key_file, options->cert_file,
                       tls_queue_text(why, sizeof why));
    if (SSL_CTX_check_private_key(ctx) != 1)
        return err_set(e, "%s: does not match the certificate in %s", key_file, options->cert_file);
    return 0;
}

/* OpenSSL answers the request for a new handshake (TLS 1.2) by a warning; most servers then end the connection. */
static void on_info(const SSL *ssl, int where, int ret)
{
    struct tls_session *t = SSL_get_app_data(ssl);
    if (where == SSL_CB_WRITE_ALERT && ret == (SSL3_AL_WARNING << 8 | SSL_AD_NO_RENEGOTIATION))
        t->renegotiation = true;
}

static SSL_CTX *make_context(void)
{
    static const unsigned char alpn[] = "\x08http/1.1";
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx || SSL_CTX_set_alpn_protos(ctx, alpn, sizeof alpn - 1) != 0) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_security_level(ctx, TLS_SECURITY_LEVEL);
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx,
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_info_callback(ctx, on_info);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, tls_verify_explain);
    /* A CA file may hold an intermediate or the server's own certificate: what the operator lists is an anchor. */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_session);
    if (tls_revocation_watch(ctx) == 0)
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

struct tls_client *tls_client_new(const struct tls_client_options *options, struct err *e)
{
    struct tls_client *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(e, "cannot set up TLS: out of memory");
        return NULL;
    }
    c->refs = 1;
    if (!(c->cache = tls_cache_new()) || !(c->ctx = make_context()))
        err_set(e, "cannot set up TLS: out of memory");
    else if (tls_verify_roots(c->ctx, options->ca_file, e) == 0 && load_identity(c->ctx, options, e) == 0) {
        ERR_clear_error();
        return c;
    }
    tls_client_unref(c);
    ERR_clear_error();
    return NULL;
}

void tls_client_unref(struct tls_client *c)
{
    if (!c || --c->refs > 0)
        return;
    SSL_CTX_free(c->ctx);
    tls_cache_free(c->cache);
    free(c);
}

void tls_client_free(struct tls_client *c)
{
    tls_client_unref(c);
}

const char *tls_library(void)
{
    return OpenSSL_version(OPENSSL_VERSION);
}
