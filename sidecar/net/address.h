/* net/address.h: which addresses sidekey may connect to (docs/http.md §6). Pure. The check applies to the final
 * address, after resolution; for IPv4-mapped, NAT64 and 6to4 addresses, to the IPv4 address inside. */
#ifndef SIDEKEY_NET_ADDRESS_H
#define SIDEKEY_NET_ADDRESS_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "base/err.h"

/* From harmless to dangerous. */
enum address_class {
    ADDRESS_PUBLIC,
    ADDRESS_PRIVATE,
    ADDRESS_LOOPBACK,
    ADDRESS_LINK_LOCAL,
    ADDRESS_METADATA,
    ADDRESS_UNUSABLE
};

struct address { /* one socket address, or with a prefix length a network */
    struct sockaddr_storage sa;
    socklen_t len;
    unsigned prefix; /* bits; for networks */
};

struct address_policy {
    const struct address *allow; /* private or loopback networks that the operator allows; borrowed */
    size_t allow_count;
};

/* "1.2.3.4", "[::1]", with ":port" or default_port.  -EINVAL. */
MUST_CHECK int address_parse(struct slice text, uint16_t default_port, struct address *ret);
/* "10.0.0.0/8", "fd00::/8", or one address. -EINVAL. */
MUST_CHECK int address_parse_network(struct slice text, struct address *ret);
enum address_class address_class_of(const struct sockaddr *sa);
const char *address_class_name(enum address_class c);
/* The host means this machine: "localhost" and the names below it (RFC 6761 §6.3), 127.0.0.0/8, "::1" or "[::1]". */
bool address_names_loopback(struct slice host);
/* The address lies in the network, and both are of one family. */
bool address_within(const struct address *network, const struct sockaddr *sa);
/* Metadata, link-local and unusable never; private and loopback only when listed. */
bool address_allowed(const struct address_policy *policy, const struct sockaddr *sa);
/* "1.2.3.4:80" or "[::1]:80".  text: 64 bytes at least. */
const char *address_text(const struct sockaddr *sa, char *text, size_t size);

#endif
