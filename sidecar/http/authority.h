/* http/authority.h: A0 = (scheme, host, port), normalised once and then the only name used.   Pure.   docs/http.md §1;
 * RFC 3986 §3.2, RFC 9110 §4. */
#ifndef SIDEKEY_HTTP_AUTHORITY_H
#define SIDEKEY_HTTP_AUTHORITY_H

#include "base/err.h"

#define AUTHORITY_HOST_MAX 253
#define AUTHORITY_TEXT_MAX (AUTHORITY_HOST_MAX + 2 + 6 + 1) /* brackets, :65535, NUL */

enum scheme { SCHEME_HTTP, SCHEME_HTTPS };
enum host_kind { HOST_NAME, HOST_IPV4, HOST_IPV6 };

struct authority {
    enum scheme scheme;
    enum host_kind kind;
    uint16_t port; /* never 0 */
    /* lower case A-label, no trailing dot; IPv4 dotted quad; IPv6 as inet_ntop, no brackets */
    char host[AUTHORITY_HOST_MAX + 1];
};

/* "host", "host:port", "[v6]:port"; default_port when there is none or an empty one (0: a port is required).
 * Lower-cases, drops one trailing dot. Refused (-EINVAL): empty, userinfo, NUL, space, '@', '\', '%', zones, IPv4 in
 * integer, hex or short form, labels that are empty or over 63, bytes outside [a-z0-9-_.], an all-digit or hexadecimal
 * (0x…) last label that is no dotted quad, a port that is 0 or over 65535. */
MUST_CHECK int authority_parse(struct slice text, enum scheme scheme, uint16_t default_port, struct authority *ret);
/* Absolute-form "http://host[:port]/path?query": (or https) fills ret and *ret_path ("/…" inside target; "" means "/",
 * "?…" means
 * "/?…").  -EINVAL as above, a fragment, or other schemes. */
MUST_CHECK int authority_parse_uri(struct slice target, struct authority *ret, struct slice *ret_path);
/* Scheme, host and port are the same. */
bool authority_eq(const struct authority *a, const struct authority *b);
/* The port that need not be written: 80 or 443. */
uint16_t authority_scheme_port(enum scheme scheme);
/* As a Host field writes it: default port left out, IPv6 in brackets.  text has AUTHORITY_TEXT_MAX bytes; returns text.
 */
const char *authority_text(const struct authority *a, char *text);
/* Always with the port: for keys, logs, messages. */
const char *authority_key(const struct authority *a, char *text);

#endif
