#include "app/config/config_cross.h"

#include "app/config/config_chain.h"
#include "app/config/config_index.h"
#include "app/config/config_local.h"
#include "app/config/config_slips.h"
#include "app/config/config_values.h"
#include "app/config/config_when.h"
#include "app/config/placeholders.h"
#include "app/config/units.h"
#include "refresh/redis/redis_url.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void config_cross_init_rule(void *rule)
{
    struct rule *r = rule;
    r->unauthorized[0] = 401;
    r->grpc_unauthorized[0] = 16; /* UNAUTHENTICATED */
    r->replay = true;
    r->replay_max_bytes = UINT64_MAX; /* until limits.replay_body takes its place */
}

int config_cross_check_pair(struct schema *s, const json_t *node, const char *cert, const char *key)
{
    if (!cert == !key)
        return 0;
    return schema_error(s, node, "cert_file and key_file belong together: %s is missing",
                        cert ? "key_file" : "cert_file");
}

static int set_text(struct schema *s, const json_t *node, char **to, const char *text)
{
    return *to || (*to = strdup(text)) ? 0 : schema_error(s, node, "out of memory");
}

int config_cross_check_inject(struct schema *s, const json_t *node, void *item)
{
    struct inject_item *i = item;
    const json_t *name = json_object_get(node, "name");
    const char *wrong = NULL, *format = "{access_token}";
    switch (i->in) {
    case INJECT_HEADER:
        if (set_text(s, node, &i->name, "authorization") != 0)
            return -1;
        if (!(wrong = config_value_field(&i->name)) && strcmp(i->name, "authorization") == 0)
            format = "Bearer {access_token}";
        break;
    case INJECT_QUERY:
        wrong = i->name ? config_value_query_key(&i->name) : "name is missing: name the query key that takes the token";
        break;
    case INJECT_USERINFO:
        format = "x-access-token:{access_token}";
        if (i->name)
            wrong = "name cannot be used with in: userinfo: write format: \"user:{access_token}\"";
        else if (i->format && !strchr(i->format, ':'))
            wrong = "userinfo is user:password: write format: \"user:{access_token}\"";
        else
            wrong = NULL;
    }
    if (wrong)
        return schema_error(s, name ? name : node, "%s", wrong);
    return set_text(s, node, &i->format, format);
}

/* The field that an item sets. */
static const char *field_of(const struct inject_item *i)
{
    if (i->in == INJECT_QUERY)
        return "";
    return i->in == INJECT_USERINFO ? "authorization" : i->name;
}

static bool has_name(const struct name_value *list, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].name, name) == 0)
            return true;
    return false;
}

static bool same_place(const struct inject_item *a, const struct inject_item *b)
{
    if (a->in == INJECT_QUERY || b->in == INJECT_QUERY)
        return a->in == b->in && strcmp(a->name, b->name) == 0;
    return strcmp(field_of(a), field_of(b)) == 0;
}

/* Two ways to set one field contradict each other. */
static int check_places(struct schema *s, const json_t *node, const struct rule *r)
{
    for (size_t i = 0; i < r->inject_count; i++) {
        const char *field = field_of(&r->inject[i]);
        for (size_t j = 0; j < i; j++)
            if (same_place(&r->inject[i], &r->inject[j]))
                return schema_error(s, json_array_get(json_object_get(node, "inject"), i),
                                    "two items of inject set the same place: remove one");
        if (*field && has_name(r->append, r->append_count, field))
            return schema_error(s, json_object_get(node, "append"), "inject already sets \"%.64s\": remove it here",
                                field);
        if (*field && has_name(r->set_if_absent, r->set_if_absent_count, field))
            return schema_error(s, json_object_get(node, "set_if_absent"),
                                "inject already sets \"%.64s\": remove it here", field);
    }
    return 0;
}

static int no_memory(struct schema *s, const json_t *node)
{
    return schema_error(s, node, "out of memory");
}

/* NULL when out of memory. */
static struct config_index *index_of(struct schema *s)
{
    struct config *c = s->root;
    if (!c->index)
        c->index = config_index_new();
    return c->index;
}

static int check_credential(struct schema *s, const json_t *node, const struct rule *r)
{
    const struct config *c = s->root;
    struct config_index *index = index_of(s);
    const json_t *at = json_object_get(node, "credential");
    const char *best = NULL;
    int found = index ? config_index_credential(index, c->credentials, c->credential_count, r->credential) : -ENOMEM;
    if (found)
        return found > 0 ? 0 : no_memory(s, at);
    for (size_t i = 0; i < c->credential_count; i++)
        units_nearer(r->credential, c->credentials[i].name, &best);
    if (best)
        return schema_error(s, at, "there is no credential \"%s\": did you mean \"%s\"?", r->credential, best);
    return schema_error(s, at, "there is no credential \"%s\": add it under credentials", r->credential);
}

static int default_inject(struct schema *s, const json_t *node, struct rule *r)
{
    struct inject_item *item = calloc(1, sizeof *item);
    if (!item)
        return schema_error(s, node, "out of memory");
    free(r->inject);
    r->inject = item;
    r->inject_count = 1;
    return config_cross_check_inject(s, NULL, item);
}

static int check_needs_credential(struct schema *s, const json_t *node, const struct rule *r)
{
    const char *key;
    if (r->inject_count)
        key = "inject";
    else if (r->only_if_header)
        key = "only_if";
    else
        key = NULL;
    if (!key)
        return 0;
    return schema_error(s, json_object_get(node, key), "%s has nothing to inject: add credential: NAME to the rule",
                        key);
}

static int check_name(struct schema *s, const json_t *node, struct rule *r)
{
    struct config_index *index = index_of(s);
    const struct rule *other = index && r->name ? config_index_rule(index, r->name) : NULL;
    if (other && strcmp(other->name, other->host) != 0)
        return schema_error(s, json_object_get(node, "name"),
                            "another rule has this name: names must be unique, because metrics use them as labels");
    if (!r->name && set_text(s, node, &r->name, r->host) != 0)
        return -1;
    return index && config_index_add_rule(index, r) == 0 ? 0 : no_memory(s, node);
}

int config_cross_check_mark(struct schema *s, const json_t *node, void *mark)
{
    const struct in_band_mark *m = mark;
    if (!m->header == !m->pointer)
        return schema_error(s, node,
                            "needs header or json: one of them must identify the response as a refusal of the token");
    return 0;
}

/* It would never apply.  Without a placeholder that is only a warning (config_load.c). */
static int check_twin(struct schema *s, const json_t *node, const struct rule *r)
{
    struct config_index *index = index_of(s);
    const struct config *c = s->root;
    const struct rule *other;
    if (r->answer || !when_is_set(&r->when))
        return 0;
    if (!index || config_index_add_requests(index, r, &other) != 0)
        return no_memory(s, node);
    if (!other)
        return 0;
    return schema_error(s, r->when.any ? node : json_object_get(node, "when"),
                        "rules[%zu] already has this placeholder for the same host and paths",
                        (size_t)(other - c->rules));
}

int config_cross_check_rule(struct schema *s, const json_t *node, void *rule)
{
    struct rule *r = rule;
    const struct config *c = s->root;
    if (!r->port)
        r->port = r->allow_http ? 80 : 443;
    if (r->replay_max_bytes == UINT64_MAX)
        r->replay_max_bytes = c->replay_body_bytes;
    int failed =
        check_name(s, node, r) | config_cross_check_pair(s, json_object_get(node, "tls"), r->cert_file, r->key_file);
    failed |= r->credential ? check_credential(s, node, r) : check_needs_credential(s, node, r);
    if (!failed)
        failed = placeholders_check_rule(s, node, r);
    if (!failed)
        failed = config_when_check(s, node, r);
    if (!failed)
        failed = check_twin(s, node, r);
    if (!failed && r->credential && r->inject_count == 0 && !r->answer)
        failed = default_inject(s, node, r);
    return failed ? failed : check_places(s, node, r);
}

static const char *unknown_rule(const struct config *c, const char *name, const char **best)
{
    if (c->index && config_index_rule(c->index, name))
        return NULL;
    for (size_t i = 0; i < c->rule_count; i++)
        units_nearer(name, c->rules[i].name ? c->rules[i].name : "", best); /* a bad rule was reported there */
    return name;
}

int config_cross_check_client(struct schema *s, const json_t *node, void *client)
{
    const struct client_spec *spec = client;
    if (config_local_check_client(s, node, spec) != 0)
        return -1;
    for (size_t i = 0; spec->rules && spec->rules[i]; i++) {
        const char *best = NULL, *name = unknown_rule(s->root, spec->rules[i], &best);
        if (name && best)
            return schema_error(s, json_object_get(node, "rules"), "there is no rule \"%s\": did you mean \"%s\"?",
                                name, best);
        if (name)
            return schema_error(s, json_object_get(node, "rules"),
                                "there is no rule \"%s\": rules are named by name, else by host", name);
    }
    return 0;
}

/* What only makes sense together in store.redis. */
static int check_redis(struct schema *s, const json_t *store, const struct config *c)
{
    const json_t *node = json_object_get(store, "redis");
    bool asked = node && !tree_is_null(s->tree, node);
    struct redis_url url = { .tls = false };
    int failed = config_cross_check_pair(s, node, c->redis.cert_file, c->redis.key_file);
    if (!c->redis.url)
        return asked ? schema_error(s, node, "url is missing: write redis://host:6379/0") : failed;
    if (c->seal_key.kind == SECRET_REF_NONE)
        failed = schema_error(s, store,
                              "seal_key is missing: every machine that shares Redis needs the same one (make it with: "
                              "openssl rand -hex 32)");
    (void)redis_url_parse(slice_str(c->redis.url), &url);
    if (!url.tls && (c->redis.ca_file || c->redis.cert_file))
        failed = schema_error(s, node, "ca_file and cert_file need TLS: begin url with rediss://");
    if (c->redis.sentinel_master && url.path[0])
        failed = schema_error(
            s, node,
            "sentinel needs a url with a host, but url is a unix socket: write redis://host, or remove sentinel");
    if (c->redis.sentinel_master && !(c->redis.sentinel_nodes && c->redis.sentinel_nodes[0]))
        failed = schema_error(s, node, "sentinel.nodes is empty: list at least one, preferably three");
    return failed;
}

/* A connection is HTTP/2 or not before its first request, so that cannot depend on the path. */
static int check_http2(struct schema *s, const json_t *rules, const struct config *c)
{
    int failed = 0;
    for (size_t i = 0; i < c->rule_count && c->index; i++) {
        const struct rule *first, *r = &c->rules[i];
        if (!r->host)
            continue;
        if (config_index_add_host(c->index, r, &first) != 0)
            return no_memory(s, rules);
        if (first->http2 != r->http2)
            failed = schema_error(s, json_array_get(rules, i),
                                  "http2 differs from that of rule %s, which has the same host: a connection has one "
                                  "protocol for all of its requests",
                                  first->name ? first->name : first->host);
    }
    return failed;
}

int config_cross_check_config(struct schema *s, const json_t *node, void *config)
{
    const struct config *c = config;
    int failed = config_cross_check_pair(s, json_object_get(node, "ca"), c->ca_cert_file, c->ca_key_file);
    if (c->seal_key_previous.kind != SECRET_REF_NONE && c->seal_key.kind == SECRET_REF_NONE)
        failed = schema_error(s, json_object_get(node, "store"), "seal_key_previous needs seal_key, which is missing");
    if (check_redis(s, json_object_get(node, "store"), c) != 0 || config_local_check(s, node, config) != 0)
        failed = -1;
    failed |= config_chain_check(s, node, c);
    failed |= check_http2(s, json_object_get(node, "rules"), c);
    if (c->limits.replay_total_bytes < c->replay_body_bytes)
        failed = schema_error(
            s, json_object_get(node, "limits"),
            "replay_total is smaller than replay_body: sidekey could not keep a request body of that size");
    return failed;
}

struct statuses { /* a list of numbers that refuse */
    uint64_t least, most;
    const char *example;
};

/* to: room for 8, 0-terminated. */
static int read_statuses(struct schema *s, const json_t *node, const struct statuses *want, int *to)
{
    size_t most = sizeof((struct rule *)0)->unauthorized / sizeof *to - 1, count = json_array_size(node);
    if (!json_is_array(node) || count > most)
        return schema_error(s, node, "needs a list of at most %zu statuses, like [%s]", most, want->example);
    for (size_t i = 0; i < count; i++) {
        uint64_t status;
        const json_t *item = json_array_get(node, i);
        const char *text = schema_text(s, item);
        if (!text)
            return -1;
        if (!tree_mark(s->tree, item).plain || slice_u64(slice_str(text), want->most, &status) != 0
            || status < want->least)
            return schema_error(s, item, "\"%.20s\" is not an error status: write %d to %d, without quotes", text,
                                (int)want->least, (int)want->most);
        to[i] = (int)status;
    }
    to[count] = 0;
    return 0;
}

int config_cross_read_statuses(struct schema *s, const struct field *f, const json_t *node, void *rule)
{
    static const struct statuses http = { 400, 599, "401" };
    (void)f;
    return read_statuses(s, node, &http, ((struct rule *)rule)->unauthorized);
}

int config_cross_read_grpc_statuses(struct schema *s, const struct field *f, const json_t *node, void *rule)
{
    static const struct statuses grpc = { 1, 16, "16" };
    (void)f;
    return read_statuses(s, node, &grpc, ((struct rule *)rule)->grpc_unauthorized);
}

int config_cross_read_ports(struct schema *s, const struct field *f, const json_t *node, void *config)
{
    struct config *c = config;
    (void)f;
    if (json_is_string(node) && strcmp(json_string_value(node), "any") == 0)
        return 0;
    if (!json_is_array(node))
        return schema_error(s, node, "needs a list of ports, like [443, 8443], or any");
    if (!(c->connect_ports = calloc(json_array_size(node) + 1, sizeof *c->connect_ports)))
        return schema_error(s, node, "out of memory");
    for (size_t i = 0; i < json_array_size(node); i++) {
        uint64_t port;
        const json_t *item = json_array_get(node, i);
        const char *text = schema_text(s, item);
        if (!text)
            return -1;
        if (!tree_mark(s->tree, item).plain || slice_u64(slice_str(text), UINT16_MAX, &port) != 0 || port == 0)
            return schema_error(s, item, "\"%.20s\" is not a port: write 1 to 65535, without quotes", text);
        c->connect_ports[i] = (uint16_t)port;
    }
    return 0;
}

int config_cross_read_networks(struct schema *s, const struct field *f, const json_t *node, void *config)
{
    struct config *c = config;
    (void)f;
    if (!json_is_array(node))
        return schema_error(s, node, "needs a list of networks, like [10.20.0.0/16]");
    if (!(c->allow_private = calloc(json_array_size(node) + 1, sizeof *c->allow_private)))
        return schema_error(s, node, "out of memory");
    for (size_t i = 0; i < json_array_size(node); i++) {
        const json_t *item = json_array_get(node, i);
        const char *text = schema_text(s, item);
        if (!text)
            return -1;
        if (address_parse_network(slice_str(text), &c->allow_private[i]) != 0)
            return schema_error(s, item, "\"%.60s\" is not a network: write 10.20.0.0/16, fd00::/8 or one address",
                                text);
        config_slips_network(s, item, text, &c->allow_private[i]);
        c->allow_private_count = i + 1;
    }
    return 0;
}

static int read_override(struct schema *s, const char *key, const json_t *value, struct dial_override *to)
{
    struct authority from;
    size_t colons = 0;
    for (const char *c = key; *c; c++)
        colons += *c == ':';
    bool port = *key == '[' ? strstr(key, "]:") != NULL : colons == 1;
    if (authority_parse(slice_str(key), SCHEME_HTTPS, 443, &from) != 0)
        return schema_error_key(s, value, "\"%.100s\" is not a host: write host or host:port", key);
    const char *text = schema_text(s, value);
    if (!text)
        return -1;
    if (address_parse(slice_str(text), 0, &to->to) != 0)
        return schema_error(s, value, "\"%.60s\" is not an address: write IP or IP:PORT", text);
    to->port = port ? from.port : 0;
    to->host = strdup(from.host);
    return to->host ? 0 : schema_error(s, value, "out of memory");
}

int config_cross_read_resolve(struct schema *s, const struct field *f, const json_t *node, void *config)
{
    struct config *c = config;
    const char *key;
    json_t *value;
    int failed = 0;
    (void)f;
    if (!json_is_object(node))
        return schema_error(
            s, node, "needs pairs of host[:port] and address, like {\"api.example.com:443\": \"127.0.0.1:8443\"}");
    if (!(c->overrides = calloc(json_object_size(node) + 1, sizeof *c->overrides)))
        return schema_error(s, node, "out of memory");
    json_object_foreach((json_t *)(uintptr_t)node, key, value)
    {
        failed |= read_override(s, key, value, &c->overrides[c->override_count++]);
    }
    return failed;
}
