/* proxy/gateway.h: base-URL mode: "GET /<rule-name>/path" to listen.gateway is a request to the rule's host
 * (docs/http.md 1.16).   Worker process.   Pure but for the passwords that access knows.
 *
 * A program with a setting for its base URL needs no proxy and no CA.  The listener is no way to use a credential for
 * whoever reaches it, a web page least of all: the request must show the rule's placeholder, or a client's password, in
 * the field that the rule replaces; it must name the listener itself in Host; and it must not come from another site.
 */
#ifndef SIDEKEY_PROXY_GATEWAY_H
#define SIDEKEY_PROXY_GATEWAY_H

#include "proxy/access.h"
#include "proxy/problem.h"

struct gateway_call {
    struct authority a0;             /* the rule's host */
    const struct access_client *who; /* whose password it was; NULL: nobody in particular */
    char *base;                      /* heap, the caller's: "http://HOST/RULE", as the client sees the rule's host */
};

/* Judges head and, when true is returned, makes it a request to the rule's host (target and Host).  here: the address
 * that the client has dialled ("127.0.0.1:8119").  false: *p says what to answer; ret is untouched. */
bool gateway_admit(const struct access *a, const struct worker_options *o, const char *here, struct message *head,
                   struct gateway_call *ret, struct problem *p);
/* What leads to a0 in a response leads to base afterwards: Location, Content-Location, Link; Set-Cookie loses Domain
 * and Secure (RFC 6265 §5.3: the client sees another host, over plain HTTP).  Bodies are not looked at.  0; -ENOBUFS,
 * -ENOMEM. */
MUST_CHECK int gateway_rewrite(struct message *response, const struct authority *a0, const char *base);

#endif
