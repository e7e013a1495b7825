/* proxy/dns_answer.h: the answer to one DNS query of an isolated program (proxy/isolated.h).   Worker process.   Pure.
 *
 * Inside its network every address is ours, so a name needs only an address that leads back to the name.  A and AAAA
 * are answered, each for every valid name; "localhost" is the program's own loopback (RFC 6761 §6.3).  Whether the name
 * exists is found out when the worker connects to it. */
#ifndef SIDEKEY_PROXY_DNS_ANSWER_H
#define SIDEKEY_PROXY_DNS_ANSWER_H

#include <stdint.h>

#include "base/slice.h"

#define DNS_NAME_MAX 253 /* as text; RFC 1035 §2.3.4 */
/* header, question, one address */
#define DNS_ANSWER_MAX (12 + DNS_NAME_MAX + 2 + 4 + 12 + 16)

struct dns_names {
    /* The address of a name (lower case, no trailing dot): 4 bytes, or with v6 16 bytes.  0; -EINVAL: no name that can
     * be; another -errno: there is no address left. */
    int (*address_of)(void *arg, const char *name, bool v6, uint8_t address[16]);
    void *arg;
    bool v6; /* false: nobody could connect to an address of IPv6: names have none */
};

/* query: one datagram (RFC 1035 §4).  Returns the length of answer; 0: what came is no query, and nobody is answered.
 */
size_t dns_answer(const struct dns_names *names, struct slice query, uint8_t answer[DNS_ANSWER_MAX]);

#endif
