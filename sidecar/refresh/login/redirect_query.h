/* refresh/login/redirect_query.h: what a browser brings back in the query of a redirect.   Pure.   RFC 6749 §4.1.2. */
#ifndef SIDEKEY_REFRESH_LOGIN_REDIRECT_QUERY_H
#define SIDEKEY_REFRESH_LOGIN_REDIRECT_QUERY_H

#include "base/buf.h"

#define REDIRECT_QUERY_MAX 16384 /* bytes of a query */

/* Appends the value of name, decoded (application/x-www-form-urlencoded).  0; -ENOENT: it is not there, or empty;
 * -EINVAL: it is there twice (RFC 6749 §3.1), its percent-encoding is broken, or it has control bytes; -ENOBUFS,
 * -ENOMEM. */
MUST_CHECK int redirect_query_get(struct slice query, const char *name, struct buf *out);
/* The query of a URL, or of the target of a request: after "?", before "#".  Empty: none. */
struct slice redirect_query_of(struct slice url);

#endif
