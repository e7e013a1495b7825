/* proxy/rule.h: the configured rules as plain data, and which rule wins.   Pure.   Filled by app/config, used
 * by workers and by "why". Owner  the config; everything is heap or NULL, freed by rule_done(). */
#ifndef SIDEKEY_PROXY_RULE_H
#define SIDEKEY_PROXY_RULE_H

#include "http/authority.h"
#include "proxy/rule_path.h"
#include "proxy/when.h"

enum inject_in { INJECT_HEADER, INJECT_QUERY, INJECT_USERINFO };

struct inject_item {
    enum inject_in in;
    char *name;   /* field name (lower case), or query key; NULL for userinfo */
    char *format; /* "Bearer {access_token}"; {…} names access_token or an extra of the token answer */
};
struct name_value {
    char *name, *value;
};

struct in_band_mark { /* an answer that means "the token was refused" without a status of its own (proxy/in_band.h) */
    unsigned status;
    char *header, *header_equals; /* a field and its value, or … */
    char *pointer, *equals;       /* … a place in a JSON body (RFC 6901) and the text there; the other pair is NULL */
    uint64_t max_body;            /* longer bodies are not looked into */
};

enum rule_http2 {
    HTTP2_OFF,
    HTTP2_MIRROR, /* offered to clients where the upstream speaks it */
};

struct rule {
    char *name;       /* label in logs and metrics; default: the host pattern */
    char *host;       /* exact, or "*.suffix" (exactly one label); normalised */
    uint16_t port;    /* default 443 (80 with allow_http); never 0 */
    char **paths;     /* NULL-terminated patterns, '*' at the end only matches any rest; NULL: all */
    char **methods;   /* NULL-terminated; NULL: all */
    char *credential; /* NULL: forwarded without one */
    struct inject_item *inject;
    size_t inject_count;
    char **strip;       /* NULL-terminated field names; NULL: none */
    char **strip_query; /* NULL-terminated query keys; NULL: none */
    struct name_value *append, *set_if_absent;
    size_t append_count, set_if_absent_count;
    struct when when; /* the placeholder that chooses this rule; not set: it is chosen without one */
    enum { RULE_SHARES_PLACEHOLDER, RULE_OWN_PLACEHOLDER } own_placeholder; /* when.any is this rule's alone */
    enum { OTHERS_REFUSE, OTHERS_PASS } others; /* requests that lack the placeholder: 403, or sent on as they are */
    /* the client's own token requests are answered here (proxy/answer.h), … */
    enum { RULE_ANSWERS_NOTHING, RULE_ANSWERS_TOKEN } answer;
    struct when answered;                  /* … those that show this placeholder (any), … */
    char *answer_client_id;                /* … or an assertion of this client; NULL: it has no id, … */
    bool answers_installation;             /* … in the shape of GitHub's installation tokens */
    char *only_if_header, *only_if_equals; /* inject only over this placeholder; NULL: always */
    char **upgrades; /* NULL-terminated protocols that an Upgrade may lead to; NULL: websocket alone */
    bool allow_http;
    enum rule_http2 http2;     /* default HTTP2_OFF */
    bool half_close;           /* a client that has ended its side still gets its answer; default false */
    int unauthorized[8];       /* statuses, 0-terminated; default {401} */
    struct in_band_mark *also; /* what else means a refused token */
    size_t also_count;
    int grpc_unauthorized[8]; /* statuses of gRPC that mean the same, 0-terminated; default {16} */
    /* send again after a refresh; default true.  false: only the next request gets the new token */
    bool replay;
    uint64_t replay_max_bytes; /* default 1 MiB */
    char *ca_file, *cert_file, *key_file;
    const struct rule *original; /* of a copy in a client's own list (proxy/access.h); NULL in the configuration */
};

/* Frees what r has; r itself is the caller's. */
void rule_done(struct rule *r);

enum rule_match {
    RULE_NONE, /* no rule knows this host and port: policy "unmatched" */
    RULE_FOUND,
    RULE_REFUSED,     /* rules know host and port, but none this method and path: 403, never a silent skip */
    RULE_ASIDE,       /* the rules of this host only answer other requests: as RULE_NONE, with the tls files of *ret */
    RULE_PLACEHOLDER, /* a rule takes this method and path, but asks for a placeholder that the request has not */
};
/* Does the rule speak of this host and port (asked at CONNECT, before there is a request)? */
bool rule_knows(const struct rule *r, const struct authority *a0);
/* Which of its patterns count: all, for the path as it came or for its plain form; or those that match every path. */
enum rule_reading { RULE_RAW, RULE_PLAIN, RULE_ANY_PATH };
/* The winner among rules that all know the host and port of the request (rule_index.h finds them), whatever placeholder
 * they ask for; NULL: none takes this method and path.  Precedence: longest literal path > order.  *io_weight: the
 * length of path that says how exact the winner is; a rule must say more than what it holds at first. */
const struct rule *rule_best(const struct rule *const *rules, size_t count, struct slice method,
                             const struct rule_path *path, enum rule_reading reading, size_t *io_weight);
/* Methods and paths that a request asks for beside its own (X-HTTP-Method-Override and its like, _method in the query;
 * X-Original-URL, X-Rewrite-URL): true when the rule allows each of them too, or has no list of them.  Frameworks fold
 * their case, so it is folded here. */
bool rule_overrides_allowed(const struct rule *r, const struct message *request);
/* HTTP/2 may be spoken to this host and port: every rule that knows it says so, and they agree on their tls files. */
bool rule_host_http2(const struct rule *rules, size_t count, const struct authority *a0);
/* For "why": what keeps the rule from this request ("host", "port", "method", "path", "placeholder"), or NULL when it
 * matches. */
const char *rule_mismatch(const struct rule *r, const struct authority *a0, const struct message *request);

#endif
