/* net/tls/tls_private.h: what the tls*.c files share among themselves. */
#ifndef SIDEKEY_NET_TLS_TLS_PRIVATE_H
#define SIDEKEY_NET_TLS_TLS_PRIVATE_H

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "net/tls/tls_revocation.h"
#include "net/tls/tls_rsa.h"
#include "net/tls/tls_session.h"

#define TLS_SECURITY_LEVEL                                                                                             \
    2 /* no key below RSA 2048 or EC 224, no SHA-1 signature, independent of the distribution's openssl.cnf */
#define TLS_FAILURE_TEXT 512 /* room for a host name, a subject and an issuer */

struct tls_server {
    SSL_CTX *ctx;
    EVP_PKEY *key;
    unsigned char *spki; /* i2d_PUBKEY */
    size_t spki_len;
    struct tls_rsa *rsa_maker; /* once an RSA key was asked for */
    EVP_PKEY *rsa_key;
    unsigned char *rsa_spki;
    size_t rsa_spki_len;
    void (*on_rsa)(void *arg);
    void *on_rsa_arg;
};

struct tls_leaf {
    X509 *cert;
    EVP_PKEY *key; /* a reference to one of the server's */
    unsigned refs;
};

struct tls_client {
    SSL_CTX *ctx;
    struct tls_cache *cache;
    unsigned refs; /* the creator and each session, which may still get tickets for the cache */
};

struct tls_session {
    SSL *ssl;                  /* touched by tls_session.c alone, and by OpenSSL's callbacks from there */
    struct tls_client *client; /* upstream leg, else NULL */
    int fd;
    int io_errno;      /* of the last recv or send that failed for good */
    unsigned dry_turn; /* turn of the loop in which the socket was read empty */
    bool dry;          /* dry_turn counts */
    bool eof;          /* the peer's FIN was read */
    bool established;  /* the handshake was completed */
    bool sni_optional;
    enum tls_alpn alpn; /* client leg: what may be chosen */
    bool verify_failed;
    bool renegotiation; /* the peer asked for a new handshake, and was refused */
    char *already;      /* client leg: bytes that were read before TLS began, heap, until they are used up */
    size_t already_at, already_len;
    const char *label; /* NULL while nothing failed */
    char *text;        /* heap, TLS_FAILURE_TEXT bytes, made at the first failure */
    size_t key_len;    /* cache key: host, NUL, the caller's key */
    char host[];
};

/* tls_bio.c: a BIO straight over t->fd (no copy, MSG_NOSIGNAL), which hands out t->already first.  NULL when out of
 * memory. */
BIO *tls_bio_new(struct tls_session *t);

/* tls_verify.c */
/* System roots (lazily where OpenSSL's own places work) and ca_file.  0; -1 with e. */
MUST_CHECK int tls_verify_roots(SSL_CTX *ctx, const char *ca_file, struct err *e);
/* The name that the certificate must carry.  0; -1 when out of memory. */
MUST_CHECK int tls_verify_expect(SSL *ssl, const char *host, bool host_is_ip);
/* SSL_verify_cb: OpenSSL decides; this turns its reason into text. */
int tls_verify_explain(int ok, X509_STORE_CTX *store);
/* "WHY (depth 0, subject CN=a, issuer CN=b)".  cert may be NULL. */
void tls_verify_describe(const X509 *cert, int depth, const char *why, char *text, size_t size);
/* The error text for a certificate that is not trusted: why, which, for which host, and more ("" or ": …"). */
void tls_verify_refuse(struct tls_session *t, const X509 *cert, int depth, const char *why, const char *more);

/* tls_revocation.c */
/* Asks servers for a staple (net/tls/tls_staple.h) and checks it before we send the first byte.  0; -1 when out
 * of memory. */
MUST_CHECK int tls_revocation_watch(SSL_CTX *ctx);
/* The time until which a session may be resumed, because its staple is valid until then; 0: it had none.  _bind: 1; 0
 * when out of memory. */
int tls_revocation_bind(SSL_SESSION *session, int64_t until_s);
int64_t tls_revocation_session_until_s(const SSL_SESSION *session);

/* tls_failure.c: the first failure is kept, except that a peer's alert replaces a broken pipe. */
void tls_fail(struct tls_session *t, const char *label, const char *format, ...) PRINTF_LIKE(3, 4);
/* Finds words for what SSL_get_error() reported, from OpenSSL's queue and t->io_errno. */
void tls_fail_io(struct tls_session *t, int ssl_error);
/* The oldest entry of OpenSSL's queue, for err_set(); clears the queue. */
const char *tls_queue_text(char *text, size_t size);

/* tls_cache.c: sessions to resume, per key string; least recently used keys go first. */
#define TLS_CACHE_KEYS 128
#define TLS_CACHE_PER_KEY 2
struct tls_cache *tls_cache_new(void);
void tls_cache_free(struct tls_cache *c);
/* Takes the reference over. */
void tls_cache_put(struct tls_cache *c, struct slice key, SSL_SESSION *session);
/* A session to try, the caller's reference, or NULL.  TLS 1.3 sessions are given once (RFC 8446 §C.4). */
SSL_SESSION *tls_cache_take(struct tls_cache *c, struct slice key);
/* Drops every session that was made with this certificate. */
void tls_cache_forget(struct tls_cache *c, const X509 *peer);

/* One user less; the last one frees it. */
void tls_client_unref(struct tls_client *c);

#endif
