/* certs/constraints.h: X.509 name constraints from the hosts of the rules (RFC 5280 §4.2.1.10; docs/http.md 5.4b).
 * A client that trusts our CA then trusts it for these names alone. */
#ifndef SIDEKEY_CERTS_CONSTRAINTS_H
#define SIDEKEY_CERTS_CONSTRAINTS_H

#include <openssl/x509v3.h>

#include "base/err.h"
#include "base/hash.h"

/* hosts: NULL-terminated dNSNames ("*.x.test" permits the subtree x.test) and IP literals.  Without an IP literal all
 * IPs are excluded, without a name all names; e-mail addresses and URIs always are.  Caller frees with
 * NAME_CONSTRAINTS_free().  NULL with e: not a host, out of memory. */
MUST_CHECK NAME_CONSTRAINTS *constraints_new(const char *const *hosts, struct err *e);
/* The permitted dNSNames, lower case as ours are, as a set: it points into nc.  Caller frees; NULL: out of memory. */
MUST_CHECK struct hash *constraints_names(const NAME_CONSTRAINTS *nc);
/* Whether every name that host matches ("*.x.test": all of x.test) is permitted. Excluded names are not checked: our
 * constraints exclude no part of what they permit. */
bool constraints_permit(const NAME_CONSTRAINTS *nc, const struct hash *names, const char *host);

#endif
