/* The staple in the handshake: OpenSSL asks here when the chain is verified and nothing of ours has been sent yet. */
#include <stdio.h>
#include <time.h>

#include "net/tls_private.h"
#include "net/tls_staple.h"

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

static int refuse(struct tls_session *t, const X509 *cert, const char *why)
{
    tls_verify_refuse(t, cert, 0, why, "");
    return 0; /* alert bad_certificate_status_response */
}

static int refuse_revoked(struct tls_session *t, const X509 *cert, const struct staple *s)
{
    char why[128];
    snprintf(why, sizeof why, "certificate was revoked on %s, reason %s", s->revoked_at, s->why);
    tls_cache_forget(t->client->cache, cert); /* nor is it to be resumed from better days */
    return refuse(t, cert, why);
}

static int refuse_promised(struct tls_session *t, const X509 *cert, const struct staple *s)
{
    char why[160];
    snprintf(why, sizeof why, "certificate demands a good OCSP staple (must-staple), but %s%s",
             s->status == STAPLE_NONE      ? "there is none"
             : s->status == STAPLE_UNKNOWN ? "its responder does not know the certificate"
                                           : "of the one that came, ",
             s->why ? s->why : "");
    return refuse(t, cert, why);
}

static struct staple judge(SSL *ssl, const STACK_OF(X509) *chain)
{
    unsigned char *der = NULL;
    long len = SSL_get_tlsext_status_ocsp_resp(ssl, &der);
    struct staple s = staple_judge(slice_of(der, der && len > 0 ? (size_t)len : 0), sk_X509_value(chain, 0), staple_issuer(chain), (int64_t)time(NULL));
    SSL_set_tlsext_status_ocsp_resp(ssl, NULL, 0); /* it would stay as long as the connection */
    return s;
}

/* A resumed session brings no staple: what the full handshake found holds for it, until the staple's end (tls_cache.c). */
static int on_status(SSL *ssl, void *arg)
{
    (void)arg;
    const STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    if (SSL_session_reused(ssl))
        return 1;
    struct tls_session *t = SSL_get_app_data(ssl);
    if (sk_X509_num(chain) < 1)
        return refuse(t, NULL, "certificate could not be verified");
    struct staple s = judge(ssl, chain);
    if (s.status == STAPLE_REVOKED)
        return refuse_revoked(t, sk_X509_value(chain, 0), &s);
    if (s.status != STAPLE_GOOD)
        return staple_promised(chain) ? refuse_promised(t, sk_X509_value(chain, 0), &s) : 1;
    return tls_revocation_bind(SSL_get_session(ssl), s.good_until_s);
}

int tls_revocation_watch(SSL_CTX *ctx)
{
    if (until_index < 0)
        until_index = SSL_SESSION_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    bool ok = until_index >= 0 && SSL_CTX_set_tlsext_status_type(ctx, TLSEXT_STATUSTYPE_ocsp) == 1 && SSL_CTX_set_tlsext_status_cb(ctx, on_status) == 1;
    return ok ? 0 : -1;
}
