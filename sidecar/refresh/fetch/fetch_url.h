/* refresh/fetch/fetch_url.h: which URLs may be token endpoints, and their parts.   Pure. */
#ifndef SIDEKEY_REFRESH_FETCH_FETCH_URL_H
#define SIDEKEY_REFRESH_FETCH_FETCH_URL_H

#include "base/buf.h"

struct fetch_place {
    char scheme[8], host[256]; /* lower case */
    uint16_t port;
    bool loopback; /* the URL itself names loopback */
};

/* metadata: http is also allowed to a link-local address (169.254.169.254 …) and to metadata.google.internal.
 * 0; -EINVAL (no http or https URL, a user in it, or http elsewhere than on loopback), -ENOMEM. */
MUST_CHECK int fetch_url_read(const char *url, bool metadata, struct fetch_place *ret);

/* "host:port" of a token URL, lower case: the key of its throttle.  0; -EINVAL (no http or https URL, or http that is
 * not on loopback). */
MUST_CHECK int fetch_url_host(const char *url, char *text, size_t size);

/* Where the Location of a response from url leads to, "host:port" in printable ASCII.  text; NULL: nowhere, or not by
 * http. */
const char *fetch_url_redirect(const char *url, struct slice location, char *text, size_t size);

/* Adds the path and the query as a request line has them, and "host" or "host:port" as its Host.
 * 0; -EINVAL (no URL), -ENOMEM. */
MUST_CHECK int fetch_url_target(const char *url, struct buf *path, struct buf *host);

#endif
