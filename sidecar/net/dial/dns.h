/* net/dial/dns.h: c-ares on our loop: one question, one address family, no cache.  For net/resolve alone. */
#ifndef SIDEKEY_NET_DIAL_DNS_H
#define SIDEKEY_NET_DIAL_DNS_H

#include "net/address.h"

#define DNS_ADDRESSES_MAX 16

struct dns;

struct dns_answer {
    struct address addresses[DNS_ADDRESSES_MAX]; /* port 0, in the order of the answer */
    size_t count;
    int64_t ttl_s;     /* the least of theirs */
    const char *error; /* NULL when count > 0; static text */
    bool no_name;      /* the name does not exist, for no family */
};
typedef void dns_fn(void *arg, const struct dns_answer *answer);

/* Reads /etc/resolv.conf.  NULL with e: no memory, or a file that c-ares does not take. */
MUST_CHECK struct dns *dns_new(struct err *e);
/* What is still asked is answered inside this call, with an error. */
void dns_free(struct dns *d);
/* "127.0.0.1:53,[::1]:5353" instead of those of resolv.conf.  0; -EINVAL. */
MUST_CHECK int dns_set_servers(struct dns *d, const char *servers);
/* What /etc/hosts says, both families; false: nothing. */
bool dns_hosts_file(struct dns *d, const char *host, struct dns_answer *ret);
/* As how many names a host is asked for: as it is, and in each search domain of resolv.conf, which is read again when
 * it has changed and nothing is out. */
unsigned dns_names(struct dns *d);
/* The nth of them, from 0.  A host with a dot is whole: it is asked for as it is first, and last where it has none
 * (Kubernetes' ndots:5 would cost ten questions).  fn may be called inside this call and must not free d. */
void dns_ask(struct dns *d, const char *host, unsigned nth, int family, dns_fn *fn, void *arg);

/* "1.18.1": the version of c-ares that is loaded. */
const char *dns_library(void);

#endif
