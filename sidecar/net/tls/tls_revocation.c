/* The staple in the handshake: OpenSSL asks here when the chain is verified and nothing of ours has been sent yet. */
#include <stdio.h>
#include <time.h>

#include "net/tls/tls_private.h"
#include "net/tls/tls_staple.h"

/* On the session, not on the connection: later tickets of the same verification inherit it. */
static int until_index = -1;

int64_t tls_revocation_session_until_s(const SSL_SESSION *session)
{
    return until_index < 0 ? 0 : (int64_t)(intptr_t)SSL_SESSION_get_ex_data(session, until_index);
}

int tls_revocation_bind(SSL_SESSION *session, int64_t until_s)
{
    return SSL_SESSION_set_ex_data(session, until_index, (void *)(intptr_t)until_s);
}

static void say_revoked(const struct staple *s, char *why, size_t size)
{
    snprintf(why, size, "certificate was revoked on %s, reason %s", s->revoked_at, s->why);
}

static void say_promised(const struct staple *s, char *why, size_t size)
{
    const char *but = "the staple is not usable: ";
    if (s->status == STAPLE_NONE)
        but = "the server sent none";
    else if (s->status == STAPLE_UNKNOWN)
        but = "the CA's responder does not know the certificate";
    snprintf(why, size, "the certificate requires a good OCSP staple (must-staple), but %s%s", but,
             s->why ? s->why : "");
}

/* The staple's verdict; why is filled when the certificate is to be refused for it. */
static struct staple judge(SSL *ssl, const STACK_OF(X509) * chain, char *why, size_t size)
{
    unsigned char *der = NULL;
    long len = SSL_get_tlsext_status_ocsp_resp(ssl, &der);
    struct slice bytes = slice_of(der, der && len > 0 ? (size_t)len : 0);
    struct staple s = tls_staple_judge(bytes, sk_X509_value(chain, 0), tls_staple_issuer(chain), (int64_t)time(NULL));
    SSL_set_tlsext_status_ocsp_resp(ssl, NULL, 0); /* it would stay as long as the connection */
    if (s.status == STAPLE_REVOKED)
        say_revoked(&s, why, size);
    else if (s.status != STAPLE_GOOD && tls_staple_promised(chain))
        say_promised(&s, why, size);
    return s;
}

/* 0: alert bad_certificate_status_response.  A resumed session brings no staple: what the full handshake found holds
 * for it, until the staple's end (tls_cache.c). */
static int on_status(SSL *ssl, void *arg)
{
    (void)arg;
    char why[192] = "";
    const STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    if (SSL_session_reused(ssl))
        return 1;
    struct tls_session *t = SSL_get_app_data(ssl);
    X509 *cert = sk_X509_num(chain) > 0 ? sk_X509_value(chain, 0) : NULL;
    struct staple s = judge(ssl, chain, why, sizeof why);
    if (s.status == STAPLE_REVOKED)
        tls_cache_forget(t->client->cache, cert); /* nor is it to be resumed from better days */
    if (*why || !cert) {
        tls_verify_refuse(t, cert, 0, *why ? why : "certificate could not be verified", "");
        return 0;
    }
    return s.status == STAPLE_GOOD ? tls_revocation_bind(SSL_get_session(ssl), s.good_until_s) : 1;
}

/* As on_status(), for a context of someone else's: arg is its refusal. */
static int on_status_for(SSL *ssl, void *arg)
{
    char why[192] = "";
    const STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    if (SSL_session_reused(ssl))
        return 1;
    (void)judge(ssl, chain, why, sizeof why);
    if (*why)
        tls_verify_describe(sk_X509_value(chain, 0), 0, why, arg, TLS_REFUSAL_TEXT);
    return *why == 0;
}

static int ask(SSL_CTX *ctx, int (*fn)(SSL *, void *), void *arg)
{
    bool ok = SSL_CTX_set_tlsext_status_type(ctx, TLSEXT_STATUSTYPE_ocsp) == 1
              && SSL_CTX_set_tlsext_status_cb(ctx, fn) == 1 && SSL_CTX_set_tlsext_status_arg(ctx, arg) == 1;
    return ok ? 0 : -1;
}

int tls_revocation_watch(SSL_CTX *ctx)
{
    if (until_index < 0)
        until_index = SSL_SESSION_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    return until_index >= 0 ? ask(ctx, on_status, NULL) : -1;
}

int tls_revocation_watch_for(void *ctx, char *refusal)
{
    return ask(ctx, on_status_for, refusal);
}

bool tls_revocation_knows(const char *versions)
{
    char ours[64];
    int n = snprintf(ours, sizeof ours, " OpenSSL/%s", OpenSSL_version(OPENSSL_VERSION_STRING));
    const char *found = strstr(versions, ours);
    return found && (found[n] == 0 || found[n] == ' ');
}
