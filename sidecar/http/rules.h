/* http/rules.h: what a credential-adding forward proxy must check and change in heads (docs/http.md §1, §2, §3; RFC
 * 9110 §7, RFC 9112 §3).   Pure. */
#ifndef SIDEKEY_HTTP_RULES_H
#define SIDEKEY_HTTP_RULES_H

#include <time.h>

#include "http/authority.h"
#include "http/message.h"

struct rules_verdict {
    /* 0: go on; else what to answer: 400, 405, 421, 508; 431 no room left in the head, 503 no memory; 502 for a
     * response */
    int status;
    const char *reason; /* constant from a bounded set, usable as a metric label: "host_missing", "host_differs" … */
};

/* A request inside a tunnel (or on a plain connection whose A0 is already fixed): exactly one Host equal to a0, or
 * absolute-form equal to a0 (target is then rewritten to origin-form and Host regenerated), or "OPTIONS *".  Missing,
 * double, malformed → 400; different → 421; CONNECT → 405.  A request in HTTP/1.0 with absolute-form needs no Host. */
struct rules_verdict rules_check_authority(struct message *request, const struct authority *a0);

/* A CONNECT to a0 (RFC 9112 §3.2): one Host that names its target, with the port or without; HTTP/1.0 may leave it out.
 * 400 otherwise. */
struct rules_verdict rules_check_connect(const struct message *request, const struct authority *a0);
/* An https request in absolute-form to the proxy itself, to a0.  403 for what a web page could make a browser send
 * (Origin, Sec-Fetch-*), and for a Host that is not the target's. */
struct rules_verdict rules_check_absolute_https(const struct message *request, const struct authority *a0);

/* Makes a request fit for the next hop: drops hop-by-hop fields and all that Connection names (never host,
 * content-length, transfer-encoding, authorization, cookie by that way), Proxy-Authorization, Proxy-Connection,
 * Keep-Alive, TE (but "TE: trailers" is written anew), Upgrade (unless it offers one of upgrades, then the first of
 * them alone stays and so does m->upgrade), HTTP2-Settings; appends "Via: 1.1 sidekey" (1.0 for a request in HTTP/1.0)
 * when via; own name in Via already → 508.  Host is set to a0 without default port. upgrades: NULL-terminated; NULL:
 * websocket alone.  websocket needs its one key and no body; the others no chunks. */
struct rules_verdict rules_forward_request(struct message *request, const struct authority *a0, bool via,
                                           const char *const *upgrades);

/* The same for a response: hop-by-hop fields, Alt-Svc, Proxy-Authenticate are dropped, a Proxy-Status member that
 * claims to be ours is removed (a malformed Proxy-Status as a whole), Via appended when via.  101 keeps Upgrade and
 * m->upgrade; one that does not name one protocol, or whose Connection does not name Upgrade → 502. */
struct rules_verdict rules_forward_response(struct message *response, bool via);

/* RFC 9110 §6.6.1: an answer without Date gets the time when it came; now: seconds of the epoch. */
void rules_add_date(struct message *response, time_t now);
/* RFC 9110 §7.6.2: Max-Forwards of OPTIONS and TRACE.  0: the request ends here, and is to be answered.  Else it was
 * counted down, or there is none (-1).  *ret_bad: no number, or several (400). */
int64_t rules_hops_left(struct message *request, bool *ret_bad);

/* Trailers, either direction: framing, routing, auth and hop-by-hop names dropped, and what Connection named in their
 * head, which has been through rules_forward_…(); with injected (NULL-terminated field names that we manage) those too.
 */
void rules_filter_trailers(struct message *trailers, const struct message *head, const char *const *injected);

/* A field name that a rule may never set (docs/configuration.md): host, content-length, transfer-encoding, connection,
 * hop-by-hop, proxy-*. */
bool rules_name_forbidden(struct slice name);
/* RFC 9110 §5.6.2 token. */
bool rules_is_token(struct slice name);
/* RFC 9110 §5.5: no CR, LF, NUL, no other CTL except HTAB. */
bool rules_is_value(struct slice value);

#endif
