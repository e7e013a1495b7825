/* preload/decide.h: what goes through us and what does not.   Pure: no calls, no globals; the hooks ask, this answers.
 * Covered  the ports and names of the policy; loopback and numeric hosts stay untouched; known CA bundles are replaced.
 */
#ifndef SIDEKEY_PRELOAD_DECIDE_H
#define SIDEKEY_PRELOAD_DECIDE_H

#include <sys/socket.h>

#include "preload/table.h"

#define POLICY_PORTS_MAX 64
#define POLICY_BYPASS_MAX 4096
#define POLICY_NAMES_MAX 4096
#define POLICY_PROXIES_MAX 1024

struct policy {
    uint16_t ports[POLICY_PORTS_MAX]; /* redirected ports */
    size_t port_count;
    char bypass[POLICY_BYPASS_MAX];   /* names that go direct: "a.test,.b.test" */
    char names[POLICY_NAMES_MAX];     /* the only names that do not: "a.test,*.b.test"; "": every name */
    char proxies[POLICY_PROXIES_MAX]; /* other proxies that the program may know: "proxy.test:3128,10.1.2.3:8080" */
};

struct target {
    uint8_t family; /* 4 or 6 */
    uint16_t port;
    uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
};

enum bundle { BUNDLE_NONE, BUNDLE_PEM, BUNDLE_JKS };

enum name_class {
    NAME_AS_IS,  /* no name at all, numeric, or nothing that we could carry: libc's business */
    NAME_DIRECT, /* localhost, on the bypass list, or not on the list of names: its true addresses, which pass */
    NAME_OURS,
};

/* "80" or "1…65535"; 0 when it is not a port. */
uint16_t decide_port_number(const char *text);
/* Comma-separated list; entries that are not ports are skipped. An empty or NULL list means 80 and 443. */
void decide_set_ports(struct policy *p, const char *list);
/* A list that is too long is cut after the last item that fits: the rest goes through us, the safe side. */
void decide_set_bypass(struct policy *p, const char *list);
/* A list that is too long is not used at all: then every name goes through us. */
void decide_set_names(struct policy *p, const char *list);
/* A list that is too long is cut after the last item that fits: CONNECTs to the rest are refused, not led to us. */
void decide_set_proxies(struct policy *p, const char *list);
/* host is the name or address of one of them; port 0: any of its ports. */
bool decide_proxy(const struct policy *p, const char *host, uint16_t port);
bool decide_port(const struct policy *p, uint16_t port);
/* getaddrinfo's service: false when it names a port that is not redirected, so that the true address is needed. NULL,
 * "", "0": unknown, true. */
bool decide_service(const struct policy *p, const char *service);
/* ret_name: lower case, no trailing dot; set unless NAME_AS_IS. */
enum name_class decide_name(const struct policy *p, const char *node, char ret_name[TABLE_TEXT]);
enum ask {
    ASK_NOTHING,
    ASK_LATER, /* a greeting of SOCKS5 (RFC 1928 §3, RFC 1929): the next bytes say more */
    ASK_OURS,  /* another proxy is asked for a name and port that go through us */
};
/* What the first bytes of a connection that does not go through us ask for: CONNECT, an https:// target, SOCKS5. */
enum ask decide_ask(const struct policy *p, const char *bytes, size_t size, char ret_name[TABLE_TEXT]);
/* These first bytes of such a connection are a ClientHello for a name on the list of names. */
bool decide_hello(const struct policy *p, const char *bytes, size_t size, char ret_name[TABLE_TEXT]);
/* name or address text is on the bypass list.  ".b.test" and "*.b.test" mean every name below b.test, not b.test
 * itself. */
bool decide_bypassed(const struct policy *p, const char *name);
/* Takes sa apart.  False: not IPv4 or IPv6, or too short. */
bool decide_target(const struct sockaddr *sa, socklen_t len, struct target *ret);
/* Loopback, unspecified (which connects to loopback), multicast and broadcast: never through us. */
bool decide_local(const struct target *t);
/* Writes t's address as text (at most 46 bytes with NUL) in the form that inet_ntop would take as input. */
void decide_text(const struct target *t, char ret[48]);
/* One line of hosts(5): name is there, and means this machine: by a loopback address, or by self (the host's own name)
 * beside it. */
bool decide_hosts_line(const char *line, size_t length, const char *name, const char *self);
/* Which of our two bundles replaces path: exact paths of the distributions, certifi's and botocore's copies; a JVM's
 * cacerts. */
enum bundle decide_bundle(const char *path);
/* A bundle of public roots has at least so many certificates; what pins its own few roots has fewer. */
#define DECIDE_ROOTS_MIN 40
/* The name of a file that may be a bundle of certificates: ".pem", ".crt".  Its content decides: decide_count_roots().
 */
bool decide_may_be_roots(const char *path);
/* Counts the certificates whose first line begins in the first size - DECIDE_ROOTS_OVERLAP bytes: the next part of the
 * file begins there.  false: the file has something else too, such as a private key. */
#define DECIDE_ROOTS_OVERLAP 31
bool decide_count_roots(const char *bytes, size_t size, unsigned *io_count);
/* open(2) flags that only read what exists. */
bool decide_read_only(int flags);
/* fopen(3) mode that only reads. */
bool decide_read_mode(const char *mode);

#endif
