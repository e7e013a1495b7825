#include "app/config/config_table.h"

#include "app/config/config_credential_table.h"
#include "app/config/config_cross.h"
#include "app/config/config_listen.h"
#include "app/config/config_local.h"
#include "app/config/config_network.h"
#include "app/config/config_unauthorized.h"
#include "app/config/config_values.h"
#include "app/config/config_when.h"

#define CONFIG(member) offsetof(struct config, member)
#define CONFIG_REDIS(member) offsetof(struct config, redis.member)
#define RULE(member) offsetof(struct rule, member)
#define SECOND UINT64_C(1000)
#define HOUR (3600 * SECOND)
#define MIB (UINT64_C(1) << 20)
#define END { .key = NULL }

static const char *const http2_words[] = { "off", "mirror", NULL };
static const char *const unmatched[] = { "tunnel", "deny", "report", NULL };
static const char *const unmatched_private[] = { "refuse", "allow", NULL };
static const char *const on_lock_error[] = { "proceed", "wait", "fail", NULL };
static const char *const others[] = { "refuse", "pass", NULL };
static const char *const answers[] = { "off", "token", NULL };
static const char *const places[] = { "header", "query", "userinfo", NULL };
static const char *const levels[] = { "debug", "info", "warn", "error", NULL };

static const struct field ca_fields[] = {
    { "publish", FIELD_STRING, FIELD_ENV, .at = CONFIG(ca_publish),
      .about = "Directory for ca.pem and bundle.pem; default $RUNTIME_DIRECTORY, /run/sidekey for root, "
               "else $XDG_RUNTIME_DIR/sidekey." },
    { "cert_file", FIELD_STRING, FIELD_ENV | FIELD_FILE, .at = CONFIG(ca_cert_file),
      .about = "A CA certificate (PEM) of your own, with key_file; default: sidekey makes one." },
    { "key_file", FIELD_STRING, FIELD_ENV | FIELD_FILE | FIELD_KEY, .at = CONFIG(ca_key_file),
      .about = "The key of cert_file (PEM)." },
    { "constrain", FIELD_BOOL, FIELD_ENV, .at = CONFIG(ca_constrain), .initial = "true",
      .about = "Name constraints: the CA is valid only for the hosts of the rules." },
    { "keep", FIELD_BOOL, FIELD_ENV, .at = CONFIG(ca_keep), .initial = "true",
      .about = "Keep the CA that sidekey made across restarts, sealed with store.seal_key in the state directory; "
               "false: in memory only." },
    { "rsa", FIELD_BOOL, FIELD_ENV, .at = CONFIG(ca_rsa), .initial = "false",
      .about = "A second CA with an RSA key, for clients that do not support ECDSA signatures." },
    { "extra_roots", FIELD_STRINGS, FIELD_FILE, .at = CONFIG(ca_extra_roots),
      .about = "Files with more root certificates (PEM) for bundle.pem, such as those of your company." },
    END,
};
static const struct table ca_table = { .fields = ca_fields };

static const struct field sentinel_fields[] = {
    { "master", FIELD_STRING, FIELD_REQUIRED, .at = CONFIG(redis.sentinel_master), .check = config_value_redis_word,
      .about = "Name of the primary in the configuration of the sentinels." },
    { "nodes", FIELD_STRINGS, FIELD_REQUIRED, .at = CONFIG(redis.sentinel_nodes), .check = config_value_redis_node,
      .about = "Sentinels, host[:port]; default port 26379.  With rediss:// in url, sidekey uses TLS to them too." },
    { "username", FIELD_STRING, .at = CONFIG(redis.sentinel_username), .check = config_value_redis_word,
      .about = "ACL user at the sentinels." },
    { "password", FIELD_SECRET, .at = CONFIG(redis.sentinel_password), .about = "Password at the sentinels." },
    END,
};
static const struct table sentinel_table = { .fields = sentinel_fields };

static const struct field redis_fields[] = {
    { "url", FIELD_STRING, FIELD_ENV, .at = CONFIG(redis.url), .check = config_value_redis_url,
      .about = "redis://[user@]host[:port][/db], rediss://… for TLS, or unix:///path[?db=n]; any node of a cluster." },
    { "username", FIELD_STRING, FIELD_ENV, .at = CONFIG(redis.username), .check = config_value_redis_word,
      .about = "ACL user; overrides the one in url." },
    { "password", FIELD_SECRET, .at = CONFIG(redis.password), .about = "Password; read again when Redis refuses it." },
    FIELD_TLS_FILES(CONFIG_REDIS, FIELD_ENV),
    { "sentinel", FIELD_OBJECT, .table = &sentinel_table,
      .about = "Sentinels that name the primary; the host in url is then ignored." },
    END,
};
static const struct table redis_table = { .fields = redis_fields };

static const struct field store_fields[] = {
    { "file", FIELD_STRING, FIELD_ENV, .at = CONFIG(store_file),
      .about = "State directory; default $STATE_DIRECTORY, /var/lib/sidekey for root, else $XDG_STATE_HOME/sidekey." },
    { "redis", FIELD_OBJECT, .table = &redis_table,
      .about = "Keep token state in Redis or Valkey, to share it between machines; needs seal_key.  The journal stays "
               "in file." },
    { "seal_key", FIELD_SECRET, .at = CONFIG(seal_key),
      .about = "Key that seals (encrypts) stored state; default: made in the state directory at the first start." },
    { "seal_key_previous", FIELD_SECRET, .at = CONFIG(seal_key_previous),
      .about = "The previous seal_key; sidekey still reads what it sealed." },
    { "lease", FIELD_DURATION, FIELD_ENV, .at = CONFIG(lease_ms), .initial = "60s", .min = 5 * SECOND, .max = HOUR,
      .about = "Longest time that one refresh may hold a credential's lease." },
    { "on_lock_error", FIELD_ENUM, FIELD_ENV, .at = CONFIG(on_lock_error), .initial = "proceed", .words = on_lock_error,
      .about = "What to do when Redis cannot give the lease: refresh without it, wait, or fail." },
    END,
};
static const struct table store_table = { .fields = store_fields };

static const struct field match_fields[] = {
    { "host", FIELD_STRING, FIELD_REQUIRED, .at = RULE(host), .check = config_value_host,
      .about = "A host name, an IP address, or *.suffix for exactly one label." },
    { "port", FIELD_PORT, .at = RULE(port), .about = "Port; default 443, or 80 with allow_http." },
    { "paths", FIELD_STRINGS, .at = RULE(paths), .check = config_value_path,
      .about = "Path patterns, a star only at the end; default all." },
    { "methods", FIELD_STRINGS, .at = RULE(methods), .check = config_value_method, .about = "Methods; default all." },
    END,
};
static const struct table match_table = { .fields = match_fields };

static const struct field inject_fields[] = {
    { "in", FIELD_ENUM, .at = offsetof(struct inject_item, in), .initial = "header", .words = places,
      .about = "Where the token goes: a header field, a query key, or Basic credentials (userinfo)." },
    { "name", FIELD_STRING, .at = offsetof(struct inject_item, name), .check = config_value_text,
      .about = "Field name (default authorization) or query key." },
    { "format", FIELD_STRING, .at = offsetof(struct inject_item, format), .check = config_value_format,
      .about = "The value, with {access_token} or another member of the token response; default Bearer "
               "{access_token} for authorization." },
    END,
};
static const struct table inject_table = { .fields = inject_fields,
                                           .size = sizeof(struct inject_item),
                                           .check = config_cross_check_inject };

static const struct field only_if_fields[] = {
    { "header", FIELD_STRING, FIELD_REQUIRED, .at = RULE(only_if_header), .check = config_value_field,
      .about = "Header field that must hold the placeholder." },
    { "equals", FIELD_STRING, FIELD_REQUIRED, .at = RULE(only_if_equals), .check = config_value_text,
      .about = "The complete placeholder." },
    END,
};
static const struct table only_if_table = { .fields = only_if_fields };

static const struct field rule_tls_fields[] = {
    FIELD_TLS_FILES(RULE, 0),
    END,
};
static const struct table rule_tls_table = { .fields = rule_tls_fields };

static const struct field rule_fields[] = {
    { "name", FIELD_STRING, .at = RULE(name), .check = config_value_label,
      .about = "Label in logs and metrics; default the host." },
    { "match", FIELD_OBJECT, FIELD_REQUIRED, .table = &match_table, .about = "Requests that the rule applies to." },
    { "credential", FIELD_STRING, .at = RULE(credential), .check = config_value_credential,
      .about = "Name of the credential; default: forward the request without one." },
    { "inject", FIELD_LIST, .at = RULE(inject), .count_at = RULE(inject_count), .table = &inject_table,
      .about = "How to add the token to the request; default the authorization field, Bearer." },
    { "strip", FIELD_STRINGS, .at = RULE(strip), .check = config_value_field,
      .about = "Header fields to remove from the request." },
    { "strip_query", FIELD_STRINGS, .at = RULE(strip_query), .check = config_value_query_key,
      .about = "Query keys to remove from the request." },
    { "append", FIELD_PAIRS, .at = RULE(append), .count_at = RULE(append_count), .check = config_value_field,
      .about = "Members to add to list fields, such as anthropic-beta." },
    { "set_if_absent", FIELD_PAIRS, .at = RULE(set_if_absent), .count_at = RULE(set_if_absent_count),
      .check = config_value_field, .about = "Header fields to set when the request does not have them." },
    { "when", FIELD_OBJECT, .table = &config_when_table,
      .about = "Use the rule only for requests with this placeholder, which sidekey never forwards: many accounts "
               "share one host." },
    { "placeholder", FIELD_ENUM, .at = RULE(own_placeholder), .initial = "off", .words = config_placeholder_words,
      .about =
          "auto: this rule has a placeholder of its own, which sidekey makes; default that of its credential, if it "
          "has one." },
    { "answer", FIELD_ENUM, .at = RULE(answer), .initial = "off", .words = answers,
      .about = "token: sidekey itself answers token requests that show the credential's placeholder or an assertion by "
               "its throw-away key, with the placeholder as access token; the default method is POST." },
    { "others", FIELD_ENUM, .at = RULE(others), .initial = "refuse", .words = others,
      .about = "What to do with requests that match except for the placeholder: refuse (403), or pass (forward "
               "unchanged, without a token)." },
    { "only_if", FIELD_OBJECT, .table = &only_if_table, .about = "Inject only when the request has this placeholder." },
    { "upgrade", FIELD_STRINGS, .at = RULE(upgrades), .check = config_value_upgrade,
      .about = "Protocols that a request may switch to (Upgrade), such as websocket, spdy/3.1 and tcp; default only "
               "websocket, [] for none." },
    { "allow_http", FIELD_BOOL, .at = RULE(allow_http), .initial = "false",
      .about = "Inject into plain http too: the token is sent unencrypted." },
    { "http2", FIELD_ENUM, .at = RULE(http2), .initial = "off", .words = http2_words,
      .about = "mirror: HTTP/2 (gRPC too) for programs that offer it, where the upstream speaks it; off: only "
               "HTTP/1.1. The rules of one host must agree." },
    { "half_close", FIELD_BOOL, .at = RULE(half_close), .initial = "false",
      .about = "A client that half-closes its connection still gets its response; false: sidekey treats it as gone and "
               "cancels its request upstream." },
    { "on_unauthorized", FIELD_OBJECT, .table = &config_unauthorized, .about = "When to refresh and send again." },
    { "tls", FIELD_OBJECT, .table = &rule_tls_table, .about = "TLS settings for the upstream." },
    END,
};
static const struct table rule_table = {
    .fields = rule_fields, .size = sizeof(struct rule), .init = config_cross_init_rule, .check = config_cross_check_rule
};

static const struct field parent_fields[] = {
    { "url", FIELD_STRING, FIELD_ENV, .at = CONFIG(parent.url), .check = config_network_parent_url,
      .about = "http://host:port (CONNECT) or socks5h://host:port (SOCKS5; the parent proxy looks names up)." },
    { "username", FIELD_STRING, FIELD_ENV, .at = CONFIG(parent.username), .check = config_network_parent_username,
      .about = "User name at the parent proxy." },
    { "password", FIELD_SECRET, .at = CONFIG(parent.password),
      .about =
          "Password at the parent proxy; keeper and workers read it when they start (a reload starts new workers)." },
    END,
};
static const struct table parent_table = { .fields = parent_fields, .check = config_network_check_parent };

static const struct field client_fields[] = {
    { "password", FIELD_SECRET, .at = offsetof(struct client_spec, password),
      .about = "Password of the client; its proxy URL has NAME as the user. Workers read it when they start." },
    { "uids", FIELD_CUSTOM, .read = config_local_read_uids,
      .about = "Users (number or name) that are this client on listen.socket without a password; sidekey looks names "
               "up when it starts.",
      .json = "{\"type\":\"array\",\"items\":{\"type\":[\"integer\",\"string\"]},\"minItems\":1}" },
    { "rules", FIELD_STRINGS, FIELD_REQUIRED, .at = offsetof(struct client_spec, rules), .check = config_value_label,
      .about =
          "Names of the rules that apply to this client; a request that only other rules match counts as unmatched." },
    END,
};
static const struct table client_table = { .fields = client_fields,
                                           .size = sizeof(struct client_spec),
                                           .name_at = offsetof(struct client_spec, name),
                                           .check = config_cross_check_client };

static const struct field clients_fields[] = {
    { "absolute_https", FIELD_BOOL, .at = CONFIG(absolute_https), .initial = "false",
      .about = "Accept \"GET https://host/path\" on an open listen.proxy too (older axios, needle and busybox wget "
               "send it); on listen.socket and from clients with a password it is always accepted." },
    END,
};

static const struct field network_fields[] = {
    { "allow_private", FIELD_CUSTOM, .read = config_cross_read_networks,
      .about = "Private and loopback networks that sidekey may connect to.",
      .json = "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}" },
    { "resolve", FIELD_CUSTOM, .read = config_cross_read_resolve,
      .about = "Fixed addresses, host[:port] to ip[:port]; they are always allowed.",
      .json = "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}}" },
    { "parent_proxy", FIELD_OBJECT, .table = &parent_table,
      .about =
          "Proxy for connections to upstreams and token endpoints; not for Redis, and not for what resolve lists." },
    { "no_proxy", FIELD_STRINGS, .at = CONFIG(parent.no_proxy), .check = config_network_bypass,
      .about = "Targets that bypass the parent proxy: a host name, .suffix for every name below it, an IP address or "
               "network, or a star for all; loopback and localhost always do." },
    END,
};
static const struct table network_table = { .fields = network_fields };

#define LIMIT_MS(member, value, high, text)                                                                            \
    FIELD_DURATION, FIELD_ENV, .at = CONFIG(limits.member), .initial = (value), .min = 1, .max = (high), .about = (text)
static const struct field limits_fields[] = {
    { "drain", LIMIT_MS(drain_ms, "25s", HOUR, "Time for requests in flight to end after SIGTERM.") },
    { "reload_drain",
      LIMIT_MS(reload_drain_ms, "1h", 24 * HOUR, "Time for the old processes to end their requests after a reload.") },
    { "replay_body", FIELD_SIZE, FIELD_ENV, .at = CONFIG(replay_body_bytes), .initial = "1MiB", .max = 1024 * MIB,
      .about = "Largest request body kept to send again." },
    { "replay_total", FIELD_SIZE, FIELD_ENV, .at = CONFIG(limits.replay_total_bytes), .max = 65536 * MIB,
      .about = "Total size of such bodies in one worker; default 64MiB, or a quarter of a smaller memory limit." },
    { "connect_head", LIMIT_MS(connect_head_ms, "10s", HOUR, "Time for the first request head of a connection.") },
    { "tls", LIMIT_MS(tls_ms, "10s", HOUR, "Time for a TLS handshake, either side.") },
    { "head", LIMIT_MS(head_ms, "30s", HOUR, "Time for a request head, from its first byte.") },
    { "dial", LIMIT_MS(dial_ms, "10s", HOUR, "Total time to connect to an upstream.") },
    { "first_byte",
      LIMIT_MS(first_byte_ms, "10m", 24 * HOUR, "Time from the end of a request to the first byte of the response.") },
    { "idle",
      LIMIT_MS(idle_ms, "10m", 24 * HOUR, "Longest pause in a message, and idle time of a client connection.") },
    { "tunnel_idle", LIMIT_MS(tunnel_idle_ms, "10m", 24 * HOUR, "Longest pause between two bytes in a tunnel.") },
    { "token_wait", LIMIT_MS(token_wait_ms, "10s", HOUR, "Longest time that a request waits for a token.") },
    { "upstream_idle", LIMIT_MS(upstream_idle_ms, "4s", HOUR, "Time that an unused upstream connection is kept.") },
    { "connections", FIELD_UINT, FIELD_ENV, .at = CONFIG(limits.connections), .min = 1, .max = 1000000,
      .about = "Client connections of one worker; default 10000, or what half of a smaller memory limit holds. "
               "With more upstream connections than this, it closes unused ones." },
    { "per_upstream", FIELD_UINT, FIELD_ENV, .at = CONFIG(limits.per_upstream), .initial = "256", .min = 1,
      .max = 100000, .about = "Connections to one upstream." },
    { "fields", FIELD_UINT, FIELD_ENV, .at = CONFIG(limits.fields), .initial = "200", .min = 10, .max = 1000,
      .about = "Fields of one head, or of trailers, as received; fields that sidekey adds do not count." },
    { "request_line", FIELD_SIZE, FIELD_ENV, .at = CONFIG(limits.request_line_bytes), .initial = "16KiB", .min = 1024,
      .max = MESSAGE_LINE_MAX_BYTES, .about = "Length of a request line." },
    { "h2_buffer", FIELD_SIZE, FIELD_ENV, .at = CONFIG(limits.h2_buffer_bytes), .initial = "16MiB", .min = MIB,
      .max = 1024 * MIB,
      .about = "What the HTTP/2 connections of a worker hold back for slow receivers; beyond, senders wait." },
    END,
};
static const struct table limits_table = { .fields = limits_fields };

static const struct field log_fields[] = {
    { "level", FIELD_ENUM, FIELD_ENV, .at = CONFIG(log_level), .initial = "info", .words = levels,
      .about = "Minimum level to log." },
    END,
};
static const struct table log_table = { .fields = log_fields };

/* In this order the walker reads: credentials stand before the rules that name them. */
static const struct field config_fields[] = {
    { "listen", FIELD_OBJECT, .table = &config_listen_table, .about = "Where clients and operators connect." },
    { "gateway", FIELD_OBJECT, .table = &config_listen_gateway_table, .about = "The listener for base URLs." },
    { "gateway_open", FIELD_BOOL, .at = CONFIG(gateway_open), .initial = "false",
      .about = "Whether listen.gateway serves requests that show neither the rule's placeholder nor a client's "
               "password." },
    { "ca", FIELD_OBJECT, .table = &ca_table, .about = "The local certificate authority." },
    { "unmatched", FIELD_ENUM, FIELD_ENV, .at = CONFIG(unmatched), .initial = "tunnel", .words = unmatched,
      .about = "What to do with hosts that no rule names: tunnel (bytes only), deny, or report (tunnel and log)." },
    { "unmatched_private", FIELD_ENUM, FIELD_ENV, .at = CONFIG(unmatched_private), .words = unmatched_private,
      .about = "Whether hosts that no rule names may have private addresses (RFC 1918, fc00::/7), reached without a "
               "token: refuse or allow; default refuse, in \"sidekey run\" allow. Requests with a token need "
               "network.allow_private." },
    { "connect_ports", FIELD_CUSTOM, .read = config_cross_read_ports,
      .about = "Ports that CONNECT may name besides those of the rules, or any (the default); other ports are refused "
               "with 403.",
      .json = "{\"anyOf\":[{\"const\":\"any\"},{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":1,"
              "\"maximum\":65535}}]}" },
    { "via", FIELD_BOOL, .at = CONFIG(via), .initial = "true",
      .about =
          "Add \"Via: 1.1 sidekey\" to requests and responses; without it sidekey does not notice a loop of proxies." },
    { "store", FIELD_OBJECT, .table = &store_table, .about = "Where token state is kept." },
    { "limits", FIELD_OBJECT, .table = &limits_table, .about = "Deadlines, sizes and counts." },
    { "credentials", FIELD_MAP, .at = CONFIG(credentials), .count_at = CONFIG(credential_count),
      .table = &config_credential_table, .check = config_value_credential, .about = "Credentials by name." },
    { "rules", FIELD_LIST, .at = CONFIG(rules), .count_at = CONFIG(rule_count), .table = &rule_table,
      .about = "Which requests get which credential." },
    { "clients", FIELD_MAP, .at = CONFIG(clients), .count_at = CONFIG(client_count), .table = &client_table,
      .beside = clients_fields, .check = config_value_client,
      .about = "Clients by name: when any is given, the proxy requires a name and password (407) or, on listen.socket, "
               "a known uid (403), and each has its own rules." },
    { "network", FIELD_OBJECT, .table = &network_table,
      .about = "How sidekey connects to upstreams and token endpoints." },
    { "workers", FIELD_UINT, FIELD_ENV, .at = CONFIG(workers), .initial = "1", .min = 1, .max = 64,
      .about = "Worker processes." },
    { "log", FIELD_OBJECT, .table = &log_table, .about = "Logging." },
    END,
};
const struct table config_table = { .fields = config_fields,
                                    .size = sizeof(struct config),
                                    .check = config_cross_check_config };
