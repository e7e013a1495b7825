/* refresh/fetch/fetch_roots.h: what a token endpoint's certificate is verified against: the system's roots plus the
 * credential's own ca_file, parsed once and shared by all requests.   Keeper only.
 * Source  docs/configuration.md, ca_file. */
#ifndef SIDEKEY_REFRESH_FETCH_FETCH_ROOTS_H
#define SIDEKEY_REFRESH_FETCH_FETCH_ROOTS_H

#include "net/tls/tls_revocation.h"
#include "net/tls/tls_roots.h"
#include "refresh/fetch/fetch_curl.h"

struct fetch_roots { /* one for each ca_file, made at its first use and again when one of the files has changed */
    struct fetch_roots_entry *entries;
};

/* Empty; fetch_roots_done() frees what was made. */
void fetch_roots_init(struct fetch_roots *r);
void fetch_roots_done(struct fetch_roots *r);

struct fetch_trust { /* of one request; lives as long as its easy handle */
    struct fetch_roots *roots;
    const char *ca_file;            /* NULL: none */
    char refusal[TLS_REFUSAL_TEXT]; /* why the endpoint's certificate is not believed, when libcurl does not know; "" */
};
/* The handle verifies against these roots, and judges the staple (net/tls/tls_revocation.h).  Where libcurl's TLS is
 * not our OpenSSL, it reads ca_file itself. */
MUST_CHECK CURLcode fetch_roots_trust(struct fetch_trust *t, CURL *easy);

#endif
