/* The client leg's context: one for every host, the leaf is put on each connection. */
#include <openssl/evp.h>
#include <stdlib.h>

#include "net/tls/tls_private.h"

#define TICKET_KEY_BYTES 80 /* OpenSSL's name, HMAC key and AES key */

/* RFC 7301 §3.2 lets a server choose none: a client whose offer has nothing of ours is answered in HTTP/1.x, as one
 * that offers nothing. */
static int select_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_len, const unsigned char *offer,
                       unsigned offer_len, void *arg)
{
    const struct tls_session *t = SSL_get_app_data(ssl);
    struct slice rest = slice_of(offer, offer_len), wanted = t->alpn == TLS_ALPN_H2 ? SLICE("h2") : SLICE("http/1.1");
    (void)arg;
    if (t->alpn == TLS_ALPN_NONE)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    while (rest.len > 0) {
        struct slice name = { rest.ptr + 1, (unsigned char)rest.ptr[0] };
        if (name.len >= rest.len)
            break;
        if (slice_eq(name, wanted)) {
            *ret = (const unsigned char *)name.ptr;
            *ret_len = (unsigned char)name.len;
            return SSL_TLSEXT_ERR_OK;
        }
        rest = slice_skip(rest, 1 + name.len);
    }
    return SSL_TLSEXT_ERR_NOACK;
}

/* RFC 6066 §3: a list with one host_name.  false: malformed. */
static bool parse_sni(struct slice ext, struct slice *ret)
{
    const unsigned char *p = (const unsigned char *)ext.ptr;
    if (ext.len < 5 || p[0] * 256u + p[1] != ext.len - 2 || p[2] != TLSEXT_NAMETYPE_host_name)
        return false;
    size_t len = p[3] * 256u + p[4];
    if (len == 0 || len != ext.len - 5)
        return false;
    *ret = slice_skip(ext, 5);
    return true;
}

/* docs/http.md 1.4a.  Checked on the raw hello, before a session ticket is used. */
static int judge_hello(SSL *ssl, int *ret_alert, void *arg)
{
    (void)arg;
    struct tls_session *t = SSL_get_app_data(ssl);
    const unsigned char *ext;
    struct slice sni = { NULL, 0 };
    size_t len;
    *ret_alert = SSL_AD_UNRECOGNIZED_NAME;
    if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &ext, &len)) {
        if (t->sni_optional)
            return SSL_CLIENT_HELLO_SUCCESS;
        tls_fail(t, "tls_protocol_error", "the client sent no server name (SNI); expected %s", t->host);
        return SSL_CLIENT_HELLO_ERROR;
    }
    if (!parse_sni(slice_of(ext, len), &sni)) {
        *ret_alert = SSL_AD_DECODE_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    if (sni.ptr[sni.len - 1] == '.')
        sni.len--;
    if (slice_ieq(sni, slice_str(t->host)))
        return SSL_CLIENT_HELLO_SUCCESS;
    tls_fail(t, "tls_protocol_error",
             "the client sent a server name (SNI) that differs from %s, the host it connected to", t->host);
    return SSL_CLIENT_HELLO_ERROR;
}

static SSL_CTX *make_context(struct slice ticket_key)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx)
        return NULL;
    SSL_CTX_set_security_level(ctx, TLS_SECURITY_LEVEL);
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx,
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* stateless tickets: they resume at every worker */
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_max_early_data(ctx, 0);
    SSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
    SSL_CTX_set_client_hello_cb(ctx, judge_hello, NULL);
    if (SSL_CTX_set_tlsext_ticket_keys(ctx, (void *)(uintptr_t)ticket_key.ptr, (long)ticket_key.len) == 1)
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

struct tls_server *tls_server_new(struct slice ticket_key, struct err *e)
{
    if (ticket_key.len != TICKET_KEY_BYTES) {
        err_set(e, "the TLS ticket key has %zu bytes, but needs %d", ticket_key.len, TICKET_KEY_BYTES);
        return NULL;
    }
    struct tls_server *s = calloc(1, sizeof *s);
    if (s && (s->key = EVP_EC_gen("P-256")) && (s->ctx = make_context(ticket_key))) {
        int len = i2d_PUBKEY(s->key, &s->spki);
        s->spki_len = len > 0 ? (size_t)len : 0;
    }
    if (s && s->spki_len > 0)
        return s;
    char why[128];
    err_set(e, "cannot set up TLS: %s", tls_queue_text(why, sizeof why));
    tls_server_free(s);
    return NULL;
}

void tls_server_free(struct tls_server *s)
{
    if (!s)
        return;
    SSL_CTX_free(s->ctx);
    tls_rsa_free(s->rsa_maker);
    EVP_PKEY_free(s->key);
    EVP_PKEY_free(s->rsa_key);
    OPENSSL_free(s->spki);
    OPENSSL_free(s->rsa_spki);
    free(s);
}

struct slice tls_server_spki(const struct tls_server *s)
{
    return slice_of(s->spki, s->spki_len);
}

static void on_rsa_key(void *arg, EVP_PKEY *key)
{
    struct tls_server *s = arg;
    int len = key ? i2d_PUBKEY(key, &s->rsa_spki) : 0;
    s->rsa_key = key;
    s->rsa_spki_len = len > 0 ? (size_t)len : 0;
    s->on_rsa(s->on_rsa_arg);
}

struct slice tls_server_rsa_spki(struct tls_server *s, void (*fn)(void *arg), void *arg)
{
    s->on_rsa = fn;
    s->on_rsa_arg = arg;
    if (!s->rsa_maker)
        s->rsa_maker = tls_rsa_new(on_rsa_key, s);
    return slice_of(s->rsa_spki, s->rsa_spki_len);
}

/* The one of our keys that a certificate is for; NULL: neither. */
static EVP_PKEY *key_of(const struct tls_server *s, const X509 *cert)
{
    EVP_PKEY *const keys[] = { s->key, s->rsa_key };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i] && X509_check_private_key(cert, keys[i]) == 1)
            return keys[i];
    return NULL;
}

struct tls_leaf *tls_leaf_new(struct tls_server *s, struct slice der)
{
    const unsigned char *p = (const unsigned char *)der.ptr;
    struct tls_leaf *leaf = calloc(1, sizeof *leaf);
    if (!leaf)
        return NULL;
    leaf->refs = 1;
    leaf->cert = der.len <= 64 * 1024 ? d2i_X509(NULL, &p, (long)der.len) : NULL;
    EVP_PKEY *key = leaf->cert && p == (const unsigned char *)der.ptr + der.len ? key_of(s, leaf->cert) : NULL;
    ERR_clear_error();
    if (key) {
        EVP_PKEY_up_ref(key);
        leaf->key = key;
        return leaf;
    }
    ERR_clear_error();
    tls_leaf_free(leaf);
    return NULL;
}

struct tls_leaf *tls_leaf_ref(struct tls_leaf *leaf)
{
    leaf->refs++;
    return leaf;
}

void tls_leaf_free(struct tls_leaf *leaf)
{
    if (!leaf || --leaf->refs > 0)
        return;
    X509_free(leaf->cert);
    EVP_PKEY_free(leaf->key);
    free(leaf);
}
