/* net/dial/dial.h: a TCP connection to an authority: override, resolve, judge addresses, happy eyeballs (RFC 8305),
 * parent proxy.   Worker process. With a parent proxy (net/dial/parent.h), dial looks up and connects to the parent, at
 * any address, because the operator configured it. The parent then looks up the target's name, so only a target that is
 * an address can be checked here. Targets in network.resolve or no_proxy, and this machine's loopback, are dialled
 * directly. Callers see the difference only in the error text. */
#ifndef SIDEKEY_NET_DIAL_DIAL_H
#define SIDEKEY_NET_DIAL_DIAL_H

#include "http/authority.h"
#include "net/dial/parent.h"
#include "net/dial/resolve.h"

struct dialer;
struct dial;

enum dial_error {
    DIAL_OK,
    DIAL_DNS,       /* Proxy-Status dns_error: no such name, no answer */
    DIAL_FORBIDDEN, /* destination_ip_prohibited */
    DIAL_REFUSED,   /* connection_refused */
    DIAL_TIMEOUT,   /* connection_timeout */
    DIAL_FAILED,    /* destination_ip_unroutable and the rest */
};

/* network.resolve: "host[:port]" → "ip[:port]". What the operator lists here is allowed, whatever its class. */
struct dial_override {
    char *host;        /* normalised; heap, owned by the config */
    uint16_t port;     /* 0: any */
    struct address to; /* port 0: the port asked for */
};

struct dial_options {
    struct address_policy policy;
    const struct dial_override *overrides; /* borrowed for the life of the dialer */
    size_t override_count;
    int64_t timeout_ms;                  /* in all; 0: 10 s */
    const struct parent_options *parent; /* borrowed likewise; NULL: none */
    const char *name_servers;            /* "127.0.0.1:53,[::1]:5353" instead of resolv.conf's; NULL: those */
    bool bare_private;                   /* unmatched_private: allow (dial_start_bare) */
};

/* fd >= 0 (the callee owns it, non-blocking, TCP_NODELAY) and DIAL_OK, or -1 and why; text is for people. */
typedef void dial_fn(void *arg, int fd, enum dial_error error, const char *text);

/* Reads the password of the parent proxy: may block (base/secret_ref.h). */
MUST_CHECK struct dialer *dialer_new(const struct dial_options *options, struct err *e);
/* Every dial has ended or been cancelled. */
void dialer_free(struct dialer *d);
/* fn is called later, never from inside this call.  NULL when out of memory. */
MUST_CHECK struct dial *dial_start(struct dialer *d, const struct authority *to, dial_fn *fn, void *arg);
/* As dial_start(), for bytes that no token goes with (docs/http.md 6.1b): private addresses too where the options say
 * so; loopback, link-local and metadata never. */
MUST_CHECK struct dial *dial_start_bare(struct dialer *d, const struct authority *to, dial_fn *fn, void *arg);
/* fn will not be called.  Accepts NULL; not for a dial whose fn was called. */
void dial_cancel(struct dial *d);

struct dial_lookup; /* one question: does a name lead to an address? */
typedef void dial_lookup_fn(void *arg, bool leads_there);
/* Does our own look-up of name (network.resolve first, then the name servers) give the address that at is?  fn is
 * called later, never from inside this call, at most 5 s later.  NULL when out of memory. */
MUST_CHECK struct dial_lookup *dial_lookup_start(struct dialer *d, const struct authority *name,
                                                 const struct authority *at, dial_lookup_fn *fn, void *arg);
/* fn will not be called.  Accepts NULL; not for a look-up whose fn was called. */
void dial_lookup_cancel(struct dial_lookup *l);
/* RFC 9209 §2.3 name. */
const char *dial_error_label(enum dial_error error);

#endif
