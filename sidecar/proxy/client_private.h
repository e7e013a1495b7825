/* proxy/client_private.h: private to the files of the client.
 * A connection comes (client_accept), asks for a host (client_request, client_connect), is sniffed (client_sniff), and
 * becomes a tunnel (client_tunnel) or is intercepted (client_intercept) and serves requests (client_request). */
#ifndef SIDEKEY_PROXY_CLIENT_PRIVATE_H
#define SIDEKEY_PROXY_CLIENT_PRIVATE_H

#include "net/timer.h"
#include "net/tls/tls_hello.h"
#include "proxy/client.h"
#include "proxy/close_reason.h"
#include "proxy/exchange.h"
#include "proxy/h1_leg.h"
#include "proxy/h2_server.h"
#include "proxy/problem.h"
#include "proxy/tunnel.h"

enum client_state {
    CLIENT_PROXY,    /* reads CONNECT or absolute-form requests */
    CLIENT_DIAL,     /* CONNECT: waits for the upstream's TCP connection */
    CLIENT_SNIFF,    /* tunnel is open: the first byte tells TLS from plain HTTP */
    CLIENT_LOOKUP,   /* waits for where the name in its first bytes leads */
    CLIENT_ALPN,     /* waits for the upstream's choice of a protocol */
    CLIENT_LEAF,     /* waits for the leaf certificate */
    CLIENT_TLS,      /* handshake with the client */
    CLIENT_SERVE,    /* between requests inside the tunnel */
    CLIENT_EXCHANGE, /* an exchange or a tunnel has the streams; they have deadlines of their own */
    CLIENT_OVER,
};

struct client {
    struct list node;
    struct list newcomer;       /* in context.newcomers until it has settled; else single */
    struct access_slots *slots; /* whose share it counts for; NULL: nobody's */
    struct context *ctx;
    enum client_state state;
    struct stream *stream; /* while there is no leg */
    struct h1_leg *leg;
    struct h2_server *h2; /* instead of a leg, inside the tunnel */
    struct exchange *exchange;
    struct tunnel *tunnel;
    struct authority a0; /* fixed by CONNECT or by the hint */
    struct access_peer peer;
    /* whose rules count, as of the last request to the proxy itself; NULL: everyone's */
    const struct access_client *who;
    /* the first that knows a0's host: its TLS identity warms the upstream; NULL: not intercepted */
    const struct rule *rule;
    bool gateway; /* every request names its rule */
    char *base;   /* … and this is where the client sees its host; heap; NULL: not on the gateway */
    bool transparent, in_tunnel, counted; /* counted: in the gauge of tunnels */
    bool redirected;                      /* by a firewall: a0 is the address that the program asked for */
    bool other_proxy;                     /* a0 is a proxy of before, by the preload layer's word */
    bool judged;                          /* its first bytes ask for no host of a rule */
    struct dial_lookup *lookup;
    bool served; /* an exchange was completed */
    struct dial *dial;
    int up_fd;                   /* dialled, not yet used */
    struct pool_place *reserved; /* … its place in the pool; NULL: none */
    struct pool_warm warm;       /* … or on its way to the pool */
    struct leaf_wait leaf_wait;
    struct pool_protocol_wait protocol_wait;
    struct tls_hello_alpn offer;
    enum tls_leaf_kind leaf_kind;
    enum tls_alpn alpn;
    struct buf early; /* read before it was known what it is */
    struct timer deadline;
    struct later deferred_free;
    int64_t since_ms; /* when this state was entered */
};

#define CLIENT_EARLY_MAX (128 * 1024)
/* a worker that drains keeps a connection without a request at least this long */
#define CLIENT_NEWCOMER_MS 1000

/* client.c */
/* Takes fd over.  on_deadline: when a state has lasted too long.  NULL when out of memory. */
struct client *client_new(struct context *ctx, int fd, timer_fn *on_deadline);
void client_enter(struct client *c, enum client_state next);
/* The one way to the end; may be repeated. */
void client_end(struct client *c, enum close_reason reason);
/* The same, but the last answer must arrive. */
void client_end_gently(struct client *c, enum close_reason reason);
void client_ignore_event(void *owner, enum stream_event event);
void client_refuse(struct client *c, const struct problem *p, bool keep);
/* How long a connection without a request is kept while the worker drains. */
int64_t client_drain_idle_ms(const struct context *ctx);
/* client_deadline.c */
void client_on_deadline(void *client);
/* client_request.c */
void client_enter_http(struct client *c);
/* client_slot.c */
/* It has just come and has shown nothing yet.  Returns the one that must be ended for it, or NULL. */
struct client *client_slot_arrive(struct client *c);
/* It is who (NULL: nobody in particular), or works.  false: the share of who is used up.  Harmless when repeated. */
bool client_slot_settle(struct client *c, const struct access_client *who);
void client_slot_leave(struct client *c);
/* client_gateway.c */
/* A request on the gateway listener: fixes a0, who and base.  false: it was refused. */
bool client_gateway(struct client *c, struct message *head);
/* client_probe.c */
/* It asks for the host that sidekey answers for itself. */
bool client_is_probe(const struct client *c);
/* If it does: answers, and ends the connection behind the answer.  false: it does not. */
bool client_probe(struct client *c, const struct message *head);
/* client_sniff.c */
/* Reads the first bytes. */
void client_sniff(struct client *c);
/* No rule names a0: may its first bytes name the host of a rule all the same? */
bool client_lead_possible(const struct client *c);
/* client_intercept.c */
/* Serves the requests inside the tunnel.  The first bytes are there; c->rule is set, or it is the probe. */
void client_intercept(struct client *c);
/* client_tunnel.c */
/* Bytes, both ways, over the connection that was dialled. */
void client_tunnel(struct client *c);
void client_start_tunnel(struct client *c, struct stream *up, struct slice from_up);
/* client_connect.c */
void client_connect(struct client *c, const struct message *head);
/* Where no rule names a0: do `unmatched` and connect_ports let it through all the same?  false: it was refused. */
bool client_may_reach(struct client *c);
void client_report_unmatched(const struct client *c);
void client_reach(struct client *c);
void client_connect_refused(struct client *c, enum dial_error error, const char *text);

#endif
