/* certs/x509.h: what authority and leaf have in common: values made through typed structs, never through OpenSSL's
 * config strings. All functions leave OpenSSL's error queue to the caller, who reports with x509_why() or x509_error().
 */
#ifndef SIDEKEY_CERTS_X509_H
#define SIDEKEY_CERTS_X509_H

#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/err.h"

/* 1: a dNSName (A-labels, lower case, "_" allowed, at most 253 bytes, last label not all digits), 4 or 16: an IP
 * literal of that many bytes, written to ret_ip; 0: neither. */
size_t x509_host(struct slice host, unsigned char ret_ip[16]);
/* The host as a GENERAL_NAME, caller frees; NULL: no host, or out of memory. */
MUST_CHECK GENERAL_NAME *x509_general_name(struct slice host);
/* 16 random bytes, positive, never the same twice (RFC 5280 §4.1.2.2). */
MUST_CHECK bool x509_set_serial(X509 *x);
MUST_CHECK bool x509_set_validity(X509 *x, int64_t not_before_s, int64_t not_after_s);
/* One attribute (UTF-8) at the end of name. */
MUST_CHECK bool x509_add_attribute(X509_NAME *name, int nid, const char *value);
/* Critical basicConstraints; pathlen 0 for a CA. */
MUST_CHECK bool x509_add_basic_constraints(X509 *x, bool ca);
/* Critical keyUsage; bits as in RFC 5280 §4.2.1.3 (digitalSignature is 0), ended by -1. */
MUST_CHECK bool x509_add_key_usage(X509 *x, const int *bits);
/* extendedKeyUsage: TLS servers and nothing else. */
MUST_CHECK bool x509_add_server_auth(X509 *x);
/* Seconds since 1970; *ret untouched when t is malformed. */
MUST_CHECK bool x509_time(const ASN1_TIME *t, int64_t *ret_s);
/* With SHA-256, or the digest inside EdDSA. */
MUST_CHECK bool x509_sign(X509 *x, EVP_PKEY *key);
/* OpenSSL's reason for the last failure, or "out of memory"; empties the queue. */
const char *x509_why(void);

#endif
