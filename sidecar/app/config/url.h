/* app/config/url.h: http and https URLs as an operator writes them.   Pure.   RFC 3986 §3. */
#ifndef SIDEKEY_APP_CONFIG_URL_H
#define SIDEKEY_APP_CONFIG_URL_H

#include "http/authority.h"

/* "https://host[:port]/path?query": fills ret, and *ret_path with "/path?query" inside text ("/" when there is none).
 * -EINVAL: another scheme, userinfo, a fragment, control bytes or spaces, a host that authority_parse() refuses. */
MUST_CHECK int url_parse(struct slice text, struct authority *ret, struct slice *ret_path);

#endif
