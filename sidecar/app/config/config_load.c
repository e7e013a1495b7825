/* From text to a checked struct config, with what follows from other keys and what is probably not meant. */
#include "app/config/config.h"

#include "app/config/config_chain.h"
#include "app/config/config_file.h"
#include "app/config/config_index.h"
#include "app/config/config_local.h"
#include "app/config/config_slips.h"
#include "app/config/config_table.h"
#include "app/config/preset_expand.h"
#include "app/config/url.h"
#include "base/clock.h"
#include "base/hash.h"
#include "crypto/seal.h"
#include "net/address.h"
#include "refresh/grant/assertion.h"

#include <errno.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define THROWAWAY_MAX_BYTES 8192

/* Adds a copy of text at *end, a place in a NULL-terminated list with room, unless it was seen before. */
static int add_once(struct hash *seen, char ***end, const char *text)
{
    if (hash_get(seen, slice_str(text)))
        return 0;
    char *copy = strdup(text);
    if (!copy)
        return -ENOMEM;
    *(*end)++ = copy;
    return hash_put(seen, slice_str(text), copy);
}

/* What the rules name, each once: hosts, and roots for upstreams. */
static int derive_lists(struct config *c)
{
    struct hash *hosts = hash_new(), *roots = hash_new();
    char **host = c->permit_hosts, **root = c->extra_roots;
    int failed = hosts && roots ? 0 : -ENOMEM;
    for (char **more = c->ca_extra_roots; more && *more && !failed; more++)
        failed = add_once(roots, &root, *more);
    for (size_t i = 0; i < c->rule_count && !failed; i++) {
        const struct rule *r = &c->rules[i];
        failed = add_once(hosts, &host, r->host);
        if (!failed && r->ca_file)
            failed = add_once(roots, &root, r->ca_file);
    }
    hash_free(hosts);
    hash_free(roots);
    return failed;
}

/* What follows from the rules and from who runs us. */
static int derive(struct config *c)
{
    size_t more = 0;
    c->permit_hosts = calloc(c->rule_count + 1, sizeof *c->permit_hosts);
    while (c->ca_extra_roots && c->ca_extra_roots[more])
        more++;
    c->extra_roots = calloc(c->rule_count + more + 1, sizeof *c->extra_roots);
    if (!c->permit_hosts || !c->extra_roots)
        return -ENOMEM;
    int failed = derive_lists(c);
    config_slips_fill_limits(c);
    if (!c->store_file)
        c->store_file = config_file_default_state();
    if (!c->ca_publish && c->store_file)
        c->ca_publish = config_file_default_publish(c->store_file);
    c->admin_socket_default = !c->admin_socket;
    if (!c->admin_socket && c->store_file)
        c->admin_socket = config_file_default_admin_socket(c->store_file);
    return failed || !c->store_file || !c->ca_publish || !c->admin_socket ? -ENOMEM : 0;
}

/* A rule with a placeholder was judged already: config_cross_check_rule(). */
static bool is_shadowed(struct config_index *index, const struct rule *r)
{
    const struct rule *before;
    return index && !when_is_set(&r->when) && config_index_add_requests(index, r, &before) == 0 && before;
}

static void warn_rules(struct schema *s, const struct config *c, const json_t *rules)
{
    struct config_index *index = config_index_new();
    if (c->rule_count == 0)
        schema_warn(s, rules, "there are no rules: sidekey adds no credential to any request");
    for (size_t i = 0; i < c->rule_count; i++) {
        const struct rule *r = &c->rules[i];
        const json_t *node = json_array_get(rules, i);
        if (is_shadowed(index, r))
            schema_warn(s, node, "rules[%zu] never applies: an earlier rule matches the same requests", i);
        if (strncmp(r->host, "*.", 2) == 0 && !strchr(r->host + 2, '.'))
            schema_warn(s, node, "rules[%zu]: %s covers a whole top-level domain", i, r->host);
        if (r->allow_http && r->credential)
            schema_warn(s, node, "rules[%zu]: allow_http sends the token unencrypted", i);
    }
    config_index_free(index);
}

static void warn_unused(struct schema *s, const struct config *c, const json_t *credentials)
{
    struct hash *used = hash_new();
    bool known = used;
    for (size_t i = 0; i < c->rule_count && known; i++)
        known = !c->rules[i].credential || hash_put(used, slice_str(c->rules[i].credential), used) == 0;
    for (size_t i = 0; i < c->credential_count && known; i++)
        if (!hash_get(used, slice_str(c->credentials[i].name)) && !config_chain_has_child(c, &c->credentials[i]))
            schema_warn(s, json_object_get(credentials, c->credentials[i].name), "credentials.%s: no rule uses it",
                        c->credentials[i].name);
    hash_free(used);
}

/* What is allowed and probably not meant. */
static void warn(struct schema *s, const struct config *c)
{
    const json_t *root = tree_root(s->tree);
    const json_t *credentials = json_object_get(root, "credentials");
    char text[64];
    struct authority at;
    address_text((const struct sockaddr *)&c->listen_proxy.sa, text, sizeof text);
    if (c->listen_proxy.len && authority_parse(slice_str(text), SCHEME_HTTP, 1, &at) == 0
        && !address_names_loopback(slice_str(at.host)))
        schema_warn(
            s, json_object_get(json_object_get(root, "listen"), "proxy"),
            "listen.proxy: %s is open to other machines: every program that can connect to it can use the credentials",
            text);
    if (c->listen_gateway.len && c->gateway_open)
        schema_warn(s, json_object_get(root, "gateway_open"),
                    "gateway_open: every program that can connect to listen.gateway can use the credentials");
    warn_unused(s, c, credentials);
    warn_rules(s, c, json_object_get(root, "rules"));
    config_local_warn(s, root, c);
    config_slips_variables(s, &config_table);
    config_slips_memory(s, c);
}

static int check_flags(struct schema *s)
{
    int failed = 0;
    s->foreign = "--set";
    for (size_t i = 0; s->set && s->set[i]; i++)
        if (i >= 64 || !(s->set_used & UINT64_C(1) << i))
            failed =
                schema_error(s, NULL, "\"%.100s\" is not a key that --set can set: write SECTION.KEY=VALUE", s->set[i]);
    s->foreign = NULL;
    return failed;
}

/* Where it can be read without running anything. */
static int check_seal_key(struct schema *s, const struct config *c)
{
    const json_t *node = json_object_get(json_object_get(tree_root(s->tree), "store"), "seal_key");
    struct secret key = { 0 };
    struct err e;
    if (c->seal_key.kind == SECRET_REF_NONE || c->seal_key.kind == SECRET_REF_COMMAND
        || (c->seal_key.kind == SECRET_REF_ENV && !getenv(c->seal_key.name)))
        return 0;
    int failed = secret_ref_read_exact(&c->seal_key, &key, &e);
    if (failed == 0)
        failed = seal_key_judge(secret_peek(&key), &e);
    struct seal_ring *ring = failed ? NULL : seal_ring_new(secret_peek(&key), SLICE(""), &e);
    failed = ring ? 0 : schema_error(s, node, "store.seal_key: %s", e.text);
    seal_ring_free(ring);
    secret_done(&key);
    return failed;
}

/* A token or client secret that could never be sent.  Where it can be read without running anything. */
static int check_secret(struct schema *s, const char *name, const char *key, const struct secret_ref *ref)
{
    const json_t *node = json_object_get(json_object_get(tree_root(s->tree), "credentials"), name);
    struct secret value = { 0 };
    struct err e;
    if (ref->kind == SECRET_REF_NONE || ref->kind == SECRET_REF_COMMAND || ref->kind >= SECRET_REF_HTTP
        || (ref->kind == SECRET_REF_ENV && !getenv(ref->name)))
        return 0;
    int failed = secret_ref_read(ref, &value, &e);
    if (failed == 0)
        failed = secret_ref_check_vschar(ref, secret_peek(&value), &e);
    secret_done(&value);
    return failed ? schema_error(s, json_object_get(node, key), "credentials.%s.%s: %s", name, key, e.text) : 0;
}

static bool is_readable(const struct secret_ref *ref)
{
    return (ref->kind == SECRET_REF_FILE && access(ref->name, R_OK) == 0)
           || (ref->kind == SECRET_REF_ENV && getenv(ref->name));
}

/* A key that cannot sign, or a certificate that is none. */
static int check_signer(struct schema *s, const struct credential_spec *spec)
{
    const json_t *node = json_object_get(json_object_get(tree_root(s->tree), "credentials"), spec->name);
    const struct secret_ref *refs[] = { credential_spec_secret_of(spec, CREDENTIAL_SIGNING_KEY),
                                        credential_spec_secret_of(spec, CREDENTIAL_CERTIFICATE) };
    struct secret key = { 0 }, certificate = { 0 };
    struct err e;
    if (!is_readable(refs[0]) || (refs[1]->kind != SECRET_REF_NONE && !is_readable(refs[1])))
        return 0;
    int failed = secret_ref_read(refs[0], &key, &e);
    if (failed == 0 && refs[1]->kind != SECRET_REF_NONE)
        failed = secret_ref_read(refs[1], &certificate, &e);
    if (failed == 0) {
        const struct assertion_signer by = { secret_peek(&key), secret_peek(&certificate), clock_wall_ms() / 1000 };
        failed = assertion_check(spec, &by, &e);
    }
    secret_done(&key);
    secret_done(&certificate);
    return failed ? schema_error(s, json_object_get(json_object_get(node, "assertion"), "key"),
                                 "credentials.%s.assertion.key: %s", spec->name, e.text)
                  : 0;
}

static int check_secrets(struct schema *s, const struct config *c)
{
    static const char *const keys[CREDENTIAL_SECRETS] = {
        [CREDENTIAL_CLIENT_SECRET] = "client_secret", [CREDENTIAL_ASSERTION] = "assertion",
        [CREDENTIAL_SUBJECT_TOKEN] = "subject_token", [CREDENTIAL_ACTOR_TOKEN] = "actor_token",
        [CREDENTIAL_REFRESH_TOKEN] = "refresh_token", [CREDENTIAL_STATIC_TOKEN] = "token",
    };
    int failed = 0;
    for (size_t i = 0; i < c->credential_count; i++) {
        failed |= check_signer(s, &c->credentials[i]);
        for (unsigned which = 0; which < CREDENTIAL_SECRETS; which++)
            if (keys[which])
                failed |= check_secret(s, c->credentials[i].name, keys[which],
                                       credential_spec_secret_of(&c->credentials[i], which));
    }
    return failed;
}

static int fill(struct schema *s, struct tree *tree, struct config *c)
{
    if (!json_is_object(tree_root(tree)))
        return schema_error(s, tree_root(tree), "needs keys and values (an object)");
    if (preset_expand(s, tree) != 0)
        return -1;
    int failed = schema_read(s, &config_table, tree_root(s->tree), c);
    failed |= check_flags(s);
    if (!failed && derive(c) != 0)
        failed = schema_error(s, NULL, "out of memory");
    if (!failed && s->files == SCHEMA_FILES_ALL)
        failed = check_seal_key(s, c) | check_secrets(s, c);
    if (!failed && s->report)
        warn(s, c);
    return failed;
}

/* As config_parse(); *ret_untrusted: a file that it names is not ours to trust. */
static struct config *parse(struct slice text, const char *name, const struct config_options *options,
                            bool *ret_untrusted, struct err *e)
{
    static const struct config_options none = { 0 };
    const struct config_options *o = options ? options : &none;
    struct err why = { "out of memory" };
    struct config *c = calloc(1, sizeof *c);
    if (c) {
        buf_init(&c->throwaway_der, THROWAWAY_MAX_BYTES);
        buf_init_secret(&c->throwaway_pem, THROWAWAY_MAX_BYTES);
    }
    if (c)
        c->unmatched_private = UNMATCHED_PRIVATE_UNSAID;
    if (c)
        c->limits.replay_total_bytes = CONFIG_REPLAY_TOTAL_UNSET;
    bool ready = c && (c->path = strdup(name));
    struct tree *tree = ready ? tree_parse(text, &why) : NULL;
    struct schema s = {
        .tree = tree,
        .file = name,
        .root = c,
        .allow_inline = o->allow_inline_secrets,
        .set = o->set,
        .files = o->files,
        .report_arg = o->report_arg,
        .report = o->report,
        .e = e,
    };
    int failed;
    if (tree) {
        failed = fill(&s, tree, c);
    } else { /* why begins with LINE:COLUMN: */
        failed = err_set(e, "%s:%s", name, why.text);
        err_wrap(&why, "%s:", name);
        if (o->report)
            o->report(o->report_arg, false, why.text);
    }
    tree_free(tree);
    if (c) {
        config_index_free(c->index);
        c->index = NULL;
        config_seen_bytes(&s.seen, text);
        config_seen_file(&s.seen, name);
        config_seen_system(&s.seen);
        c->seen = s.seen;
    }
    *ret_untrusted = s.untrusted;
    if (!failed)
        return c;
    config_free(c);
    return NULL;
}

struct config *config_parse(struct slice text, const char *name, const struct config_options *options, struct err *e)
{
    bool untrusted;
    return parse(text, name, options, &untrusted, e);
}

struct config *config_load(const struct config_options *options, int *ret_exit, struct err *e)
{
    bool untrusted = false;
    struct buf text;
    char *path = NULL;
    struct config *c = NULL;
    buf_init_secret(&text, TREE_MAX_BYTES + 4096);
    if (config_file_find(options ? options->path : NULL, &path, ret_exit, e) == 0
        && config_file_read(path, &text, ret_exit, e) == 0) {
        c = parse(buf_slice(&text), path, options, &untrusted, e);
        *ret_exit = untrusted ? EX_NOPERM : EX_CONFIG;
    }
    free(path);
    buf_done(&text);
    return c;
}

int config_schema(struct buf *out)
{
    return schema_print(&config_table, "sidekey.yaml", out);
}
