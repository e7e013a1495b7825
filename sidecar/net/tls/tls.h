/* net/tls/tls.h: TLS contexts and what a handshake needs (docs/http.md §5).  The only place, with certs/ and crypto/,
 * that includes OpenSSL. Worker process.  Owner  the *_new caller, through *_free (accept NULL); a context may be freed
 * while streams still use it. */
#ifndef SIDEKEY_NET_TLS_TLS_H
#define SIDEKEY_NET_TLS_TLS_H

#include "base/buf.h"
#include "base/err.h"

/* What a client can take (net/tls/tls_hello.h): the usual P-256 leaf; one with an RSA key; that, signed by an authority
 * with an RSA key. */
enum tls_leaf_kind { TLS_LEAF_ECDSA, TLS_LEAF_RSA, TLS_LEAF_RSA_BY_RSA };

/* What is spoken inside (RFC 7301). */
enum tls_alpn {
    TLS_ALPN_HTTP1, /* http/1.1, or none when that is not offered */
    TLS_ALPN_H2,    /* server: h2; client: offers h2, and http/1.1 */
    TLS_ALPN_NONE,  /* server: nothing that was offered can be spoken: alert no_application_protocol */
};

struct tls_server; /* client leg: ONE per worker, with the worker's own leaf key */
struct tls_leaf;   /* a certificate for that key, reference counted */
struct tls_client; /* upstream leg: one per identity (ca_file, cert_file, key_file); caches sessions per authority */

/* Makes the P-256 leaf key.  TLS >= 1.2, tickets on, no renegotiation, no 0-RTT, ALPN as each connection is told.
 * ticket_key: 80 bytes shared by the workers (a
 * fork-time secret), so a session resumes at any of them. */
MUST_CHECK struct tls_server *tls_server_new(struct slice ticket_key, struct err *e);
void tls_server_free(struct tls_server *s);
/* The leaf key's public half, DER SubjectPublicKeyInfo: what MINT sends. Lives as long as s. */
struct slice tls_server_spki(const struct tls_server *s);
/* The same of the worker's RSA-2048 key, which is made beside the loop when it is first asked for.  Empty: it is being
 * made, and fn(arg) is called when it is there, or cannot be. */
struct slice tls_server_rsa_spki(struct tls_server *s, void (*fn)(void *arg), void *arg);

/* Parses a DER leaf.  NULL: not a certificate, or for neither of s's keys. */
MUST_CHECK struct tls_leaf *tls_leaf_new(struct tls_server *s, struct slice der);
struct tls_leaf *tls_leaf_ref(struct tls_leaf *leaf);
void tls_leaf_free(struct tls_leaf *leaf);

struct tls_client_options {
    const char *ca_file;              /* added to the system roots; NULL: none */
    const char *cert_file, *key_file; /* client certificate; NULL: none */
};
/* System roots are looked up lazily where the system has a hashed directory.  Servers are asked for an OCSP staple
 * (net/tls/tls_staple.h).  NULL with e naming the file. */
MUST_CHECK struct tls_client *tls_client_new(const struct tls_client_options *options, struct err *e);
void tls_client_free(struct tls_client *c);

/* "OpenSSL 3.0.17 …": the library that is loaded, for version reports. */
const char *tls_library(void);

#endif
