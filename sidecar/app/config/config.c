#include "app/config/config.h"

#include "app/config/config_index.h"
#include "base/own_env.h"

#include <stdlib.h>

#define REQUEST_TIMEOUT_MS 30000

static void free_list(char **list)
{
    for (char **item = list; item && *item; item++)
        free(*item);
    free(list);
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->credential_count; i++)
        credential_spec_done(&c->credentials[i]);
    for (size_t i = 0; i < c->rule_count; i++)
        rule_done(&c->rules[i]);
    for (size_t i = 0; i < c->override_count; i++)
        free(c->overrides[i].host);
    free(c->credentials);
    free(c->rules);
    for (size_t i = 0; i < c->client_count; i++) {
        free(c->clients[i].name);
        secret_ref_done(&c->clients[i].password);
        free(c->clients[i].uids);
        free_list(c->clients[i].rules);
    }
    free(c->clients);
    free(c->connect_ports);
    free(c->overrides);
    free(c->allow_private);
    free_list(c->permit_hosts);
    free_list(c->extra_roots);
    free_list(c->ca_extra_roots);
    secret_ref_done(&c->seal_key);
    secret_ref_done(&c->seal_key_previous);
    free(c->path);
    free(c->listen_socket);
    free(c->admin_socket);
    free(c->socket_mode);
    free(c->socket_group);
    free(c->ca_publish);
    free(c->ca_cert_file);
    free(c->ca_key_file);
    free(c->store_file);
    credential_spec_redis_done(&c->redis);
    free(c->parent.url);
    free(c->parent.username);
    free_list(c->parent.no_proxy);
    secret_ref_done(&c->parent.password);
    buf_done(&c->throwaway_der);
    buf_done(&c->throwaway_pem);
    config_index_free(c->index);
    free(c);
}

typedef void secret_fn(void *arg, struct secret_ref *ref, unsigned holders);

/* Walks every secret that c names: the credentials', the clients', the parent proxy's, Redis', the seal keys. */
static void each_secret(struct config *c, secret_fn *fn, void *arg)
{
    for (size_t i = 0; i < c->credential_count; i++)
        for (unsigned j = 0; j < CREDENTIAL_SECRETS; j++)
            fn(arg, credential_spec_secret(&c->credentials[i], j), CONFIG_KEEPER);
    for (size_t i = 0; i < c->client_count; i++)
        fn(arg, &c->clients[i].password, CONFIG_WORKER);
    fn(arg, &c->parent.password, CONFIG_KEEPER | CONFIG_WORKER);
    fn(arg, &c->redis.password, CONFIG_KEEPER);
    fn(arg, &c->redis.sentinel_password, CONFIG_KEEPER);
    fn(arg, &c->seal_key, CONFIG_KEEPER);
    fn(arg, &c->seal_key_previous, CONFIG_KEEPER);
}

/* Of the environment; NULL: none. */
static const char *variable_of(const struct secret_ref *ref)
{
    if (ref->kind == SECRET_REF_HTTP && *ref->argv[SECRET_HTTP_BEARER_ENV])
        return ref->argv[SECRET_HTTP_BEARER_ENV];
    return ref->kind == SECRET_REF_ENV ? ref->name : NULL;
}

static void take_one(void *arg, struct secret_ref *ref, unsigned holders)
{
    int *failed = arg;
    (void)holders;
    const char *name = variable_of(ref);
    if (name && !*failed)
        *failed = own_env_take(name);
}

int config_take_env(struct config *c)
{
    int failed = 0;
    each_secret(c, take_one, &failed);
    return failed;
}

struct keeping {
    struct config *config;
    enum config_holder holder;
    const char *name; /* a variable that is asked about */
    bool needed;
};

static void look_for_name(void *arg, struct secret_ref *ref, unsigned holders)
{
    struct keeping *k = arg;
    const char *name = variable_of(ref);
    if (holders & k->holder && name && strcmp(name, k->name) == 0)
        k->needed = true;
}

static bool keep_variable(void *arg, const char *name)
{
    struct keeping *k = arg;
    k->name = name;
    k->needed = false;
    each_secret(k->config, look_for_name, k);
    return k->needed;
}

static void wipe_inline(void *arg, struct secret_ref *ref, unsigned holders)
{
    const struct keeping *k = arg;
    if (!(holders & k->holder) && ref->kind == SECRET_REF_INLINE)
        explicit_bzero(ref->name, strlen(ref->name));
}

void config_keep_secrets(struct config *c, enum config_holder holder)
{
    struct keeping k = { .config = c, .holder = holder };
    each_secret(c, wipe_inline, &k);
    own_env_keep(keep_variable, &k);
}

static struct dial_options network(const struct config *c)
{
    return (struct dial_options){
        .policy = { .allow = c->allow_private, .allow_count = c->allow_private_count },
        .overrides = c->overrides,
        .override_count = c->override_count,
        .parent = c->parent.url ? &c->parent : NULL,
        .timeout_ms = c->limits.dial_ms,
        .bare_private = c->unmatched_private == UNMATCHED_PRIVATE_ALLOW,
    };
}

struct keeper_options config_keeper(const struct config *c)
{
    return (struct keeper_options){
        .specs = c->credentials,
        .spec_count = c->credential_count,
        .redis = &c->redis,
        .state_dir = c->store_file,
        .seal_key = c->seal_key,
        .seal_key_previous = c->seal_key_previous,
        .on_lock_error = c->on_lock_error,
        .lease_ms = c->lease_ms,
        .network = network(c),
        .ca_publish = c->ca_publish,
        .permit_hosts = (const char *const *)c->permit_hosts,
        .ca_constrain = c->ca_constrain,
        .ca_keep = c->ca_keep,
        .ca_rsa = c->ca_rsa,
        .ca_memfd = -1,
        .ca_cert_file = c->ca_cert_file,
        .ca_key_file = c->ca_key_file,
        .extra_roots = (const char *const *)c->extra_roots,
        .request_timeout_ms = c->lease_ms / 2 < REQUEST_TIMEOUT_MS ? c->lease_ms / 2 : REQUEST_TIMEOUT_MS,
    };
}

struct worker_options config_worker(const struct config *c)
{
    return (struct worker_options){
        .rules = c->rules,
        .rule_count = c->rule_count,
        .clients = c->clients,
        .client_count = c->client_count,
        .limits = c->limits,
        .unmatched = c->unmatched,
        .connect_ports = c->connect_ports,
        .network = network(c),
        .gateway_hosts = c->gateway_hosts,
        .gateway_open = c->gateway_open,
        .throwaway_der = buf_slice(&c->throwaway_der).ptr,
        .throwaway_len = c->throwaway_der.len,
        .via = c->via,
        .absolute_https = c->absolute_https,
    };
}

struct listen_place config_socket(const struct config *c)
{
    return (struct listen_place){
        .path = c->listen_socket,
        .mode = (mode_t)strtoul(c->socket_mode, NULL, 8),
        .has_group = c->socket_group,
        .group = c->socket_gid,
    };
}

struct listen_place config_admin_socket(const struct config *c)
{
    bool off = strcmp(c->admin_socket, "off") == 0;
    return (struct listen_place){ .path = off ? NULL : c->admin_socket, .mode = 0600 };
}
