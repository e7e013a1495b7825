/* proxy/lead.h: what the first bytes of a connection ask for where no rule names its place (docs/http.md 1.15).
 * Worker process.   Pure.
 *
 * A program that looks names up by itself connects to an address, and one that was told of another proxy asks that
 * proxy: neither says the host of the rule to us.  Its first bytes do: the server name in TLS, the Host of a plain
 * request, the target of CONNECT. */
#ifndef SIDEKEY_PROXY_LEAD_H
#define SIDEKEY_PROXY_LEAD_H

#include "proxy/access.h"

enum lead {
    LEAD_MORE,    /* more must be read */
    LEAD_NOWHERE, /* to no host of a rule: the bytes are the business of whoever they were sent to */
    LEAD_NAMED,   /* to *ret_name, on the port of the place */
    LEAD_CONNECT, /* to a host of a rule, by CONNECT */
};

/* bytes: what has come, at least one; a ClientHello is whole (tls_hello_leaf()).  place: where they were sent; who: as
 * access_first_rule() takes it. */
enum lead lead_of(const struct access *a, const struct access_client *who, const struct authority *place,
                  struct slice bytes, struct authority *ret_name);

#endif
