#include "app/config/config_chain.h"

#include <stdlib.h>

#include "app/config/units.h"
#include "proxy/in_band.h"
#include "refresh/fetch/fetch_url.h"

static int read_http(struct schema *s, const json_t *node, struct secret_ref *ref)
{
    static const struct {
        const char *key;
        enum secret_http which;
    } keys[] = { { "url", SECRET_HTTP_URL },
                 { "url_env", SECRET_HTTP_URL_ENV },
                 { "query", SECRET_HTTP_QUERY },
                 { "pointer", SECRET_HTTP_POINTER } };
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)node, key, value)
    {
        size_t i = 0;
        while (i < sizeof keys / sizeof *keys && strcmp(keys[i].key, key) != 0)
            i++;
        if (i == sizeof keys / sizeof *keys && strcmp(key, "bearer") != 0)
            return schema_error_key(s, value, "unknown key \"%.40s\": http has url, url_env, query, bearer and pointer",
                                    key);
        const char *text = i < sizeof keys / sizeof *keys ? schema_text(s, value) : "";
        if (!text)
            return -1;
        if (*text && !(ref->argv[keys[i].which] = strdup(text)))
            return schema_error(s, value, "out of memory");
    }
    return 0;
}

static int read_bearer(struct schema *s, const json_t *node, struct secret_ref *ref)
{
    struct secret_ref bearer = { SECRET_REF_NONE, NULL, NULL };
    int failed = node ? schema_secret(s, node, &bearer) : 0;
    if (!failed && node && bearer.kind != SECRET_REF_ENV && bearer.kind != SECRET_REF_FILE)
        failed = schema_error(s, node, "bearer must be {env: NAME} or {file: PATH}");
    if (!failed && node) {
        ref->argv[bearer.kind == SECRET_REF_ENV ? SECRET_HTTP_BEARER_ENV : SECRET_HTTP_BEARER_FILE] = bearer.name;
        bearer.name = NULL;
    }
    secret_ref_done(&bearer);
    return failed;
}

/* Each place of argv has a text: they are copied and freed as a list. */
static int fill_http(struct secret_ref *ref)
{
    for (size_t i = 0; i < SECRET_HTTP_TEXTS; i++)
        if (!ref->argv[i] && !(ref->argv[i] = strdup("")))
            return -1;
    return 0;
}

static int check_http(struct schema *s, const json_t *node, const struct secret_ref *ref)
{
    struct fetch_place place;
    const char *url = ref->argv[SECRET_HTTP_URL], *pointer = ref->argv[SECRET_HTTP_POINTER];
    if (!*url == !*ref->argv[SECRET_HTTP_URL_ENV])
        return schema_error(s, node, "needs one of url and url_env");
    if (*url && fetch_url_read(url, true, &place) != 0)
        return schema_error(s, json_object_get(node, "url"),
                            "needs https, or http on loopback or to a metadata server (169.254.169.254)");
    if (*pointer && in_band_pointer_fault(pointer))
        return schema_error(s, json_object_get(node, "pointer"), "%s", in_band_pointer_fault(pointer));
    return 0;
}

static int read_fetched(struct schema *s, const json_t *node, struct secret_ref *ref)
{
    if (!json_is_object(node))
        return schema_error(s, node, "needs url, and bearer and pointer where they are wanted");
    ref->kind = SECRET_REF_HTTP;
    if (!(ref->argv = calloc(SECRET_HTTP_TEXTS + 1, sizeof *ref->argv)))
        return schema_error(s, node, "out of memory");
    int failed = read_http(s, node, ref) | read_bearer(s, json_object_get(node, "bearer"), ref);
    if (fill_http(ref) != 0)
        failed = schema_error(s, node, "out of memory");
    return failed ? failed : check_http(s, node, ref);
}

int config_chain_read_secret(struct schema *s, const struct field *f, const json_t *node, void *base)
{
    struct secret_ref *ref = (struct secret_ref *)(void *)((char *)base + f->at);
    const json_t *name = json_object_get(node, "credential"), *http = json_object_get(node, "http");
    if (http && json_object_size(node) == 1)
        return read_fetched(s, http, ref);
    if (!name)
        return schema_secret(s, node, ref);
    const char *text = schema_text(s, name);
    if (!text)
        return -1;
    if (json_object_size(node) != 1)
        return schema_error(s, node, "needs exactly one of file, env, command and credential");
    if (!(ref->name = strdup(text)))
        return schema_error(s, node, "out of memory");
    ref->kind = SECRET_REF_CREDENTIAL;
    return 0;
}

static const struct credential_spec *find(const struct config *c, const char *name, const char **best)
{
    for (size_t i = 0; i < c->credential_count; i++)
        if (strcmp(c->credentials[i].name, name) == 0)
            return &c->credentials[i];
    for (size_t i = 0; i < c->credential_count; i++)
        units_nearer(name, c->credentials[i].name, best);
    return NULL;
}

/* The credential that this secret names, or NULL. */
static const char *parent_name(const struct credential_spec *spec, unsigned which)
{
    const struct secret_ref *ref = credential_spec_secret_of(spec, which);
    return ref->kind == SECRET_REF_CREDENTIAL ? ref->name : NULL;
}

enum seen { SEEN_NOT, SEEN_OPEN, SEEN_DONE };

/* Depth first: what is met again while it is open is a cycle. */
static bool cycles(const struct config *c, const struct credential_spec *spec, enum seen *seen)
{
    const char *best = NULL;
    enum seen *own = &seen[spec - c->credentials];
    bool found = *own == SEEN_OPEN;
    if (*own != SEEN_NOT)
        return found;
    *own = SEEN_OPEN;
    for (unsigned i = 0; i < CREDENTIAL_SECRETS && !found; i++) {
        const char *name = parent_name(spec, i);
        const struct credential_spec *parent = name ? find(c, name, &best) : NULL;
        found = parent && cycles(c, parent, seen);
    }
    *own = found ? SEEN_OPEN : SEEN_DONE;
    return found;
}

static int check_names(struct schema *s, const json_t *at, const struct config *c, const struct credential_spec *spec)
{
    for (unsigned i = 0; i < CREDENTIAL_SECRETS; i++) {
        const char *name = parent_name(spec, i), *best = NULL;
        if (!name || find(c, name, &best))
            continue;
        if (best)
            return schema_error(s, at, "there is no credential \"%s\": did you mean \"%s\"?", name, best);
        return schema_error(s, at, "there is no credential \"%s\": add it under credentials", name);
    }
    return 0;
}

int config_chain_check(struct schema *s, const json_t *node, const struct config *c)
{
    const json_t *credentials = json_object_get(node, "credentials");
    enum seen *seen = calloc(c->credential_count + 1, sizeof *seen);
    int failed = seen ? 0 : schema_error(s, node, "out of memory");
    for (size_t i = 0; i < c->credential_count && !failed; i++)
        if (!c->credentials[i].name) { /* reported there */
            free(seen);
            return 0;
        }
    for (size_t i = 0; i < c->credential_count && !failed; i++) {
        const struct credential_spec *spec = &c->credentials[i];
        const json_t *at = json_object_get(credentials, spec->name);
        failed = check_names(s, at, c, spec);
        if (!failed && cycles(c, spec, seen))
            failed = schema_error(
                s, at, "credentials.%s is made of its own token: the chain of {credential: …} comes back to it",
                spec->name);
    }
    free(seen);
    return failed;
}

bool config_chain_has_child(const struct config *c, const struct credential_spec *parent)
{
    for (size_t i = 0; i < c->credential_count; i++)
        for (unsigned j = 0; j < CREDENTIAL_SECRETS; j++) {
            const char *name = parent_name(&c->credentials[i], j);
            if (name && strcmp(name, parent->name) == 0)
                return true;
        }
    return false;
}
