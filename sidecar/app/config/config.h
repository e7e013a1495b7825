/* app/config/config.h: the configuration (docs/configuration.md): one YAML or JSON file, checked against a schema
 * table, as plain structs. The same table makes docs/config.schema.json, so parser and documentation cannot differ.
 * Values of secrets are never here, only references.   Owner  config_load()'s caller, through config_free(). */
#ifndef SIDEKEY_APP_CONFIG_CONFIG_H
#define SIDEKEY_APP_CONFIG_CONFIG_H

#include "app/config/schema.h"
#include "base/log.h"
#include "net/listen_unix.h"
#include "proxy/options.h"
#include "refresh/credential_spec.h"

#define CONFIG_REPLAY_TOTAL_UNSET UINT64_MAX /* until the memory limit is asked */

struct config {
    char *path;                        /* the file, for messages */
    struct address listen_proxy;       /* default 127.0.0.1:8118; len 0: off ("proxy: off") */
    struct address listen_gateway;     /* len 0: off, the default */
    struct address listen_transparent; /* the same */
    char **gateway_hosts;              /* NULL-terminated; NULL: none */
    bool gateway_open;
    char *listen_socket;              /* a path; NULL: none.  config_socket() says it whole */
    char *socket_mode, *socket_group; /* as written; the group: a name or a number */
    gid_t socket_gid;                 /* derived from socket_group */
    struct address listen_admin;      /* default 127.0.0.1:9118; len 0: off ("admin: off") */
    char *admin_socket;               /* a path, or "off"; config_admin_socket() says it whole */
    bool admin_socket_default;        /* not configured: derived from $RUNTIME_DIRECTORY or store_file */
    char *ca_publish, *ca_cert_file, *ca_key_file;
    bool ca_rsa;             /* ca.rsa: an RSA authority beside the other */
    bool ca_constrain;       /* ca.constrain: name constraints from the rules; default true */
    bool ca_keep;            /* ca.keep: it outlives a restart, in store_file; default true */
    char **ca_extra_roots;   /* NULL, or files; NULL-terminated */
    char *store_file;        /* default $XDG_STATE_HOME/sidekey or /var/lib/sidekey as root */
    struct redis_spec redis; /* url NULL: the file engine */
    struct credential_spec *credentials;
    size_t credential_count;
    struct rule *rules;
    size_t rule_count;
    struct client_spec *clients; /* none: every program that can connect to the proxy */
    size_t client_count;
    bool absolute_https; /* clients.absolute_https */
    struct worker_limits limits;
    uint64_t replay_body_bytes; /* limits.replay_body: what rules take that say nothing of their own */
    enum unmatched unmatched;
    enum unmatched_private unmatched_private;
    uint16_t *connect_ports; /* 0-terminated; NULL: any */
    bool via;
    struct address *allow_private;
    size_t allow_private_count;
    struct dial_override *overrides;
    size_t override_count;
    struct parent_options parent; /* network.parent_proxy, network.no_proxy */
    struct secret_ref seal_key, seal_key_previous;
    enum on_lock_error on_lock_error;
    int64_t lease_ms;
    char **permit_hosts; /* derived from the rules: host patterns, IP literals; NULL-terminated */
    char **extra_roots;  /* derived: ca.extra_roots, and ca_file of all rules, without duplicates; NULL-terminated */
    unsigned workers;    /* 1…64 */
    enum log_level log_level;
    struct config_seen seen;  /* derived: what was read */
    struct buf throwaway_der; /* derived: public key, where a rule answers (crypto/throwaway.h) */
    struct buf throwaway_pem; /* derived: its private half, for those who write key files; else empty */
    bool placeholders_known;  /* derived: those of `placeholder: auto` are the true ones (app/config/placeholders.h) */
    struct config_index *index; /* while it is loaded; else NULL */
};

struct config_options { /* NULL where one is asked for: all zero */
    /* -c; NULL: $SIDEKEY_CONFIG, ./sidekey.yaml, $XDG_CONFIG_HOME/sidekey/sidekey.yaml, /etc/sidekey/sidekey.yaml */
    const char *path;
    bool allow_inline_secrets;
    enum schema_files files; /* which of the named files must be there */
    /* flags: NULL-terminated "listen.proxy=127.0.0.1:0"; win over SIDEKEY_* and file.  At most 64 */
    const char *const *set;
    schema_report_fn *report; /* told of every error and warning; NULL: the first error in e is all there is */
    void *report_arg;
};

/* Reads, checks, fills the defaults.  NULL with e: "FILE:LINE:COLUMN: what (did you mean …?)".  *ret_exit: 78 (config),
 * 66/74/77 (file). */
MUST_CHECK struct config *config_load(const struct config_options *options, int *ret_exit, struct err *e);
/* As config_load from text in memory (fuzzer, tests, "run" without a file). */
MUST_CHECK struct config *config_parse(struct slice text, const char *name, const struct config_options *options,
                                       struct err *e);
void config_free(struct config *c);
/* Which process has a use for a secret. */
enum config_holder { CONFIG_NOBODY = 0, CONFIG_KEEPER = 1, CONFIG_WORKER = 2 };
/* Moves what {env: …} names out of the environment (base/own_env.h).  0; -ENOMEM. */
MUST_CHECK int config_take_env(struct config *c);
/* In a new process: wipes the values that only others need, taken from the environment or inline.  holder: who this
 * process is. */
void config_keep_secrets(struct config *c, enum config_holder holder);
/* The option structs of the two processes; what they point to belongs to c. */
struct keeper_options config_keeper(const struct config *c);
struct worker_options config_worker(const struct config *c);
/* listen.socket with mode and group; path NULL: none. */
struct listen_place config_socket(const struct config *c);
/* listen.admin_socket; path NULL: none. */
struct listen_place config_admin_socket(const struct config *c);
/* Appends docs/config.schema.json (JSON Schema 2020-12).  0; -ENOMEM. */
MUST_CHECK int config_schema(struct buf *out);

#endif
