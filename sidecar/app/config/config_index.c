#include "app/config/config_index.h"

#include <errno.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/hash.h"

#define KEY_MAX_BYTES (4 * 1024 * 1024) /* more than a configuration file has */

struct config_index {
    struct hash *credentials, *rules, *requests, *hosts;
    size_t credential_count; /* of the list, in credentials */
};

struct config_index *config_index_new(void)
{
    struct config_index *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    *x = (struct config_index){ hash_new(), hash_new(), hash_new(), hash_new(), 0 };
    if (x->credentials && x->rules && x->requests && x->hosts)
        return x;
    config_index_free(x);
    return NULL;
}

void config_index_free(struct config_index *x)
{
    if (!x)
        return;
    hash_free(x->credentials);
    hash_free(x->rules);
    hash_free(x->requests);
    hash_free(x->hosts);
    free(x);
}

int config_index_credential(struct config_index *x, const struct credential_spec *list, size_t count, const char *name)
{
    for (; x->credential_count < count; x->credential_count++)
        if (hash_put(x->credentials, slice_str(list[x->credential_count].name), x) != 0)
            return -ENOMEM;
    return hash_get(x->credentials, slice_str(name)) ? 1 : 0;
}

/* --- names --- */

static bool is_named(const struct rule *r)
{
    return strcmp(r->name, r->host) != 0;
}

const struct rule *config_index_rule(const struct config_index *x, const char *name)
{
    return hash_get(x->rules, slice_str(name));
}

int config_index_add_rule(struct config_index *x, const struct rule *r)
{
    const struct rule *before = config_index_rule(x, r->name);
    if (before && (is_named(before) || !is_named(r)))
        return 0;
    return hash_put(x->rules, slice_str(r->name), (struct rule *)(uintptr_t)r);
}

/* --- requests --- */

/* With its NUL: the texts of a key stay apart. */
static int add_text(struct buf *key, const char *text)
{
    return buf_add(key, slice_of(text, strlen(text) + 1));
}

static int add_lower(struct buf *key, const char *text)
{
    int failed = 0;
    for (; *text && !failed; text++) {
        char c = *text;
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        failed = buf_add(key, slice_of(&c, 1));
    }
    return failed ? failed : add_text(key, "");
}

/* A list that is absent differs from one that is empty. */
static int add_list(struct buf *key, char *const *list)
{
    int failed = add_text(key, list ? "list" : "");
    for (; list && *list && !failed; list++)
        failed = add_text(key, *list);
    return failed ? failed : add_text(key, "");
}

static int add_place(struct buf *key, const struct when *w)
{
    if (w->any)
        return add_text(key, "any");
    if (w->header)
        return add_text(key, "header") || add_lower(key, w->header);
    if (w->query)
        return add_text(key, "query") || add_text(key, w->query);
    return add_text(key, "password");
}

static int add_placeholder(struct buf *key, const struct when *w)
{
    if (!when_is_set(w))
        return add_text(key, "none");
    return add_place(key, w) || add_text(key, when_text(w).ptr) ? -ENOMEM : 0;
}

/* Rules that answer are found among themselves. */
static int add_placeholders(struct buf *key, const struct rule *r)
{
    int failed = add_text(key, r->answer ? "answers" : "");
    if (!failed && r->answer)
        failed = add_placeholder(key, &r->answered);
    return failed ? failed : add_placeholder(key, &r->when);
}

static int add_host(struct buf *key, const struct rule *r)
{
    return buf_printf(key, "%u ", r->port) || add_text(key, r->host) ? -ENOMEM : 0;
}

/* Under key; else r comes there.  The earlier of two is kept. */
static int find_or_put(struct hash *h, const struct buf *key, const struct rule *r, const struct rule **ret)
{
    *ret = hash_get(h, buf_slice(key));
    return *ret ? 0 : hash_put(h, buf_slice(key), (struct rule *)(uintptr_t)r);
}

/* A rule without methods stands before all that have some. */
static int take_requests(struct config_index *x, struct buf *key, const struct rule *r, const struct rule **ret)
{
    size_t len = key->len;
    const struct rule *with = NULL, *any = NULL;
    int failed = add_list(key, NULL);
    if (!failed && !r->methods)
        failed = find_or_put(x->requests, key, r, &any);
    else if (!failed)
        any = hash_get(x->requests, buf_slice(key));
    buf_truncate(key, len);
    if (!failed && r->methods) {
        failed = add_list(key, r->methods);
        if (!failed)
            failed = find_or_put(x->requests, key, r, &with);
    }
    *ret = any && (!with || any < with) ? any : with;
    return failed;
}

int config_index_add_requests(struct config_index *x, const struct rule *r, const struct rule **ret)
{
    struct buf key;
    *ret = NULL;
    buf_init(&key, KEY_MAX_BYTES);
    int failed = add_host(&key, r) || add_placeholders(&key, r) || add_list(&key, r->paths) ? -ENOMEM : 0;
    if (!failed)
        failed = take_requests(x, &key, r, ret);
    buf_done(&key);
    return failed ? -ENOMEM : 0;
}

int config_index_add_host(struct config_index *x, const struct rule *r, const struct rule **ret)
{
    struct buf key;
    buf_init(&key, KEY_MAX_BYTES);
    int failed = add_host(&key, r);
    if (!failed)
        failed = find_or_put(x->hosts, &key, r, ret);
    if (!failed && !*ret)
        *ret = r;
    buf_done(&key);
    return failed ? -ENOMEM : 0;
}
