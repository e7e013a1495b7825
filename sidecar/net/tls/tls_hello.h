/* net/tls/tls_hello.h: which certificate a client can take, read from its ClientHello before TLS begins.   Pure.
 * RFC 8446 §4.1.2, §4.2.3; RFC 5246 §7.4.1.2, §7.4.1.4.1; RFC 8422 §5.1. */
#ifndef SIDEKEY_NET_TLS_TLS_HELLO_H
#define SIDEKEY_NET_TLS_TLS_HELLO_H

#include "net/tls/tls.h"

/* bytes: what the client has sent, from its first byte on.  *ret is set when true is returned: the hello is complete,
 * or cannot be parsed (then sidekey uses the default leaf, and OpenSSL decides). False: read more. */
MUST_CHECK bool tls_hello_leaf(struct slice bytes, enum tls_leaf_kind *ret);
/* The host_name in the server_name extension (RFC 6066 §3) of a hello that tls_hello_leaf() calls whole; a part of
 * bytes, not checked.  Empty: none, or no hello that we can read. */
struct slice tls_hello_name(struct slice bytes);

struct tls_hello_alpn {
    bool h2, http1; /* is in the client's list; http1: also when there is no list */
    bool h2_first;  /* of the two that we speak */
};
/* The protocols that a whole hello offers (RFC 7301 §3.1); what cannot be read offers http/1.1. */
struct tls_hello_alpn tls_hello_alpn(struct slice bytes);

#endif
