/* proxy/options.h: the options of a worker, as plain data.   Filled by app/config and app/supervisor. */
#ifndef SIDEKEY_PROXY_OPTIONS_H
#define SIDEKEY_PROXY_OPTIONS_H

#include <sys/types.h>

#include "base/metrics_area.h"
#include "base/secret_ref.h"
#include "net/dial/dial.h"
#include "proxy/rule.h"

enum unmatched { UNMATCHED_TUNNEL, UNMATCHED_DENY, UNMATCHED_REPORT };
/* Where the hosts that no rule names are private ones; nobody said it: refuse, but "run" allows. */
enum unmatched_private { UNMATCHED_PRIVATE_REFUSE, UNMATCHED_PRIVATE_ALLOW, UNMATCHED_PRIVATE_UNSAID };

struct worker_limits {
    int64_t connect_head_ms, tls_ms, head_ms, dial_ms, first_byte_ms, idle_ms, tunnel_idle_ms; /* docs/http.md §7 */
    int64_t token_wait_ms;       /* a request waits this long for a token; default 10 s */
    int64_t drain_ms;            /* default 25 s */
    int64_t reload_drain_ms;     /* default 1 h: of a worker that a reload has replaced */
    uint64_t replay_total_bytes; /* 64 MiB a worker */
    unsigned connections;        /* 10 000 */
    unsigned per_upstream;       /* upstream connections per authority; default 256 */
    unsigned fields;             /* of a head as it comes; default 200 */
    uint64_t request_line_bytes; /* default 16 KiB */
    uint64_t h2_buffer_bytes;    /* what HTTP/2 connections hold back for slow receivers; default 16 MiB */
    int64_t upstream_idle_ms;    /* an idle pooled connection; default 4 s */
};

struct client_spec { /* who may use the proxy, and which rules it has; heap, the config's */
    char *name;
    struct secret_ref password; /* none: not by password */
    uid_t *uids;                /* who it is on the unix socket, by the kernel's word */
    size_t uid_count;
    char **rules; /* names; NULL-terminated */
};

struct worker_options {
    const struct rule *rules; /* borrowed for ever, as all below */
    size_t rule_count;
    const struct client_spec *clients; /* none: open, unless there is a proxy_password */
    size_t client_count;
    struct worker_limits limits;
    enum unmatched unmatched;
    /* 0-terminated: where CONNECT may go besides the rules' own (RFC 9110 §9.3.6); NULL: any */
    const uint16_t *connect_ports;
    struct dial_options network;
    const char *proxy_password; /* NULL: none; else Basic credentials "any:password" have all rules */
    const char *hints_path;     /* table of the preload layer, for the transparent listener; NULL: none */
    char *const *gateway_hosts; /* names that Host may have on the gateway listener; NULL-terminated; NULL: none */
    bool gateway_open;          /* it asks for no placeholder and no password */
    const char *throwaway_der;  /* public key of the key files that sidekey writes (crypto/throwaway.h); NULL: none */
    size_t throwaway_len;
    bool via;
    bool absolute_https; /* "GET https://…" is taken from anybody who reaches the TCP listener */
};

#define ISOLATED_TCP_MAX 96
#define ISOLATED_LOCAL_MAX 16

struct isolated_sockets { /* opened inside the network of an isolated program (proxy/isolated.h) */
    int tcp[ISOLATED_TCP_MAX];
    unsigned tcp_count;
    int dns;                            /* UDP, every address */
    bool v6;                            /* every address of IPv6 is ours, too */
    uint16_t local[ISOLATED_LOCAL_MAX]; /* services of the host's loopback that the program may use, by port */
    unsigned local_count;
};

struct worker_sockets { /* all inherited over fork */
    int supervisor;     /* IPC */
    int proxy;          /* listeners; -1: none */
    int local;          /* the unix socket; shared by all workers */
    int transparent;
    int gateway;
    int redirected; /* what a firewall redirects */
    int admin;
    int admin_local;                         /* the unix socket for operators; shared by all workers */
    const struct isolated_sockets *isolated; /* NULL: none */
    struct metrics_area *counters;           /* where it counts; NULL: nobody will see it */
    bool lent; /* others have the listeners too: they are never shut down, who connects waits for the next of us */
    unsigned slot;
};

#endif
