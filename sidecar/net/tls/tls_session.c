#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "net/tls/tls_private.h"

static struct tls_session *session_new(SSL_CTX *ctx, int fd, const char *host, const char *key)
{
    size_t host_len = strlen(host), key_len = key ? strlen(key) : 0;
    struct tls_session *t = calloc(1, sizeof *t + host_len + 1 + key_len);
    if (!t)
        return NULL;
    t->fd = fd;
    memcpy(t->host, host, host_len + 1);
    if (key)
        memcpy(t->host + host_len + 1, key, key_len);
    t->key_len = host_len + 1 + key_len;

    BIO *bio = tls_bio_new(t);
    t->ssl = bio ? SSL_new(ctx) : NULL;
    if (!t->ssl || SSL_set_app_data(t->ssl, t) != 1) { /* the callbacks find t there */
        BIO_free(bio);
        tls_session_free(t);
        return NULL;
    }
    SSL_set_bio(t->ssl, bio, bio);
    return t;
}

/* A ticket is good for the host that it was given for, and for no other. */
static bool bind_to_host(SSL *ssl, const char *host)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    return EVP_Digest(host, strlen(host), digest, &len, EVP_sha256(), NULL) == 1
           && SSL_set_session_id_context(ssl, digest, len) == 1;
}

static bool keep_already(struct tls_session *t, struct slice already)
{
    if (already.len == 0)
        return true;
    if (!(t->already = malloc(already.len)))
        return false;
    memcpy(t->already, already.ptr, already.len);
    t->already_len = already.len;
    return true;
}

/* The end of both ways to make one. */
static struct tls_session *made(struct tls_session *t, bool ok)
{
    ERR_clear_error();
    if (ok)
        return t;
    tls_session_free(t);
    return NULL;
}

struct tls_session *tls_session_accept(struct tls_server *server, struct tls_leaf *leaf, int fd, const char *host,
                                       bool sni_optional, struct slice already)
{
    struct tls_session *t = session_new(server->ctx, fd, host, NULL);
    if (!t)
        return NULL;
    t->sni_optional = sni_optional;
    bool ok = keep_already(t, already) && bind_to_host(t->ssl, host)
              && SSL_use_cert_and_key(t->ssl, leaf->cert, leaf->key, NULL, 1) == 1;
    if (ok)
        SSL_set_accept_state(t->ssl);
    return made(t, ok);
}

static void try_resumption(struct tls_session *t)
{
    SSL_SESSION *session = tls_cache_take(t->client->cache, slice_of(t->host, t->key_len));
    if (session)
        SSL_set_session(t->ssl, session);
    SSL_SESSION_free(session);
}

struct tls_session *tls_session_connect(struct tls_client *client, int fd, const char *host, bool host_is_ip,
                                        const char *key)
{
    struct tls_session *t = session_new(client->ctx, fd, host, key);
    if (!t)
        return NULL;
    t->client = client;
    client->refs++;
    /* RFC 6066 §3: an IP literal is not a server name. */
    bool ok =
        tls_verify_expect(t->ssl, host, host_is_ip) == 0 && (host_is_ip || SSL_set_tlsext_host_name(t->ssl, host) == 1);
    if (ok) {
        try_resumption(t);
        SSL_set_connect_state(t->ssl);
    }
    return made(t, ok);
}

int tls_session_alpn(struct tls_session *t, enum tls_alpn alpn)
{
    static const unsigned char both[] = "\x02h2\x08http/1.1";
    t->alpn = alpn;
    if (!t->client || alpn != TLS_ALPN_H2)
        return 0;
    return SSL_set_alpn_protos(t->ssl, both, sizeof both - 1) == 0 ? 0 : -ENOMEM;
}

bool tls_session_is_h2(const struct tls_session *t)
{
    const unsigned char *name = NULL;
    unsigned len = 0;
    SSL_get0_alpn_selected(t->ssl, &name, &len);
    return slice_eq(slice_of(name, len), SLICE("h2"));
}

void tls_session_free(struct tls_session *t)
{
    if (!t)
        return;
    /* A connection that ended without close_notify would take its session with it; TLS 1.1 dropped that rule (RFC 4346
     * §7.2.1). */
    if (t->established && !t->label)
        SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(t->ssl);
    tls_client_unref(t->client);
    free(t->already);
    free(t->text);
    free(t);
}

/* --- calls: each between enter() and the outcome of what OpenSSL returned --- */

static SSL *enter(struct tls_session *t)
{
    ERR_clear_error();
    return t->ssl;
}

static enum tls_io outcome(struct tls_session *t, int ret)
{
    int error = ret > 0 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, ret);
    switch (error) {
    case SSL_ERROR_NONE: return TLS_OK;
    case SSL_ERROR_WANT_READ: return TLS_WANT_READ;
    case SSL_ERROR_WANT_WRITE: return TLS_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN: return TLS_EOF;
    default: tls_fail_io(t, error); return TLS_ERROR;
    }
}

/* For writes: a peer that sent close_notify may still read, so only a failed send ends the session. */
static enum tls_io outcome_of_write(struct tls_session *t, int ret)
{
    enum tls_io io = outcome(t, ret);
    if (io != TLS_EOF)
        return io;
    tls_fail_io(t, SSL_ERROR_SYSCALL);
    return TLS_ERROR;
}

static void empty(EVP_PKEY *key)
{
    if (key && EVP_PKEY_set_type(key, EVP_PKEY_X25519) != 1) /* drops what it held */
        ERR_clear_error();
    EVP_PKEY_free(key);
}

/* The keys of the key exchange are no longer needed, but OpenSSL keeps them as long as the connection: those of ML-KEM
 * take 6 kB (the peer's) and 8 kB (our own). Without them, an attacker who later reads our memory cannot decrypt
 * recorded traffic.
 */
static void forget_exchange(SSL *ssl)
{
    EVP_PKEY *own = NULL, *peers = NULL;
    if (SSL_get_tmp_key(ssl, &own) == 1)
        empty(own);
    if (SSL_get_peer_tmp_key(ssl, &peers) == 1)
        empty(peers);
}

enum tls_io tls_session_handshake(struct tls_session *t)
{
    int ret = SSL_do_handshake(enter(t));
    if (ret == 1)
        forget_exchange(t->ssl);
    enum tls_io io = outcome(t, ret);
    t->established = io == TLS_OK;
    if (io != TLS_EOF)
        return io;
    tls_fail(t, "connection_terminated", "connection closed by peer during the TLS handshake");
    return TLS_ERROR;
}

enum tls_io tls_session_read(struct tls_session *t, char *dst, size_t size, size_t *ret_n)
{
    return outcome(t, SSL_read_ex(enter(t), dst, size, ret_n));
}

enum tls_io tls_session_peek(struct tls_session *t)
{
    char byte;
    size_t n;
    return outcome(t, SSL_peek_ex(enter(t), &byte, 1, &n));
}

enum tls_io tls_session_write(struct tls_session *t, struct slice bytes, size_t *ret_n)
{
    if (bytes.len > SSL3_RT_MAX_PLAIN_LENGTH)
        bytes.len = SSL3_RT_MAX_PLAIN_LENGTH;
    return outcome_of_write(t, SSL_write_ex(enter(t), bytes.ptr, bytes.len, ret_n));
}

enum tls_io tls_session_close(struct tls_session *t)
{
    SSL *ssl = enter(t);
    int ret = SSL_in_init(ssl) ? 1 : SSL_shutdown(ssl);
    if (ret < 0)
        return outcome_of_write(t, ret);
    return TLS_OK;
}

bool tls_session_pending(const struct tls_session *t)
{
    return t->already || SSL_has_pending(t->ssl) == 1;
}

void tls_session_park(struct tls_session *t)
{
    if (!SSL_in_init(t->ssl))
        SSL_free_buffers(t->ssl); /* refuses where something is in them */
}
