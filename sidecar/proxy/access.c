#include "proxy/access.h"

#include <errno.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/secret.h"
#include "http/basic.h"
#include "proxy/rule_index.h"

struct known { /* one client */
    struct access_client client;
    struct rule *rules; /* shallow copies, in the order of the configuration */
    struct rule_index *index;
    struct replay_share replays;
    struct access_slots slots;
    const struct client_spec *spec;
    struct secret password; /* empty: it has none */
};

struct access {
    const struct worker_options *options;
    struct rule_index *everyone; /* all rules */
    struct known *known;
    size_t count;
};

/* The rules that spec lists, in the order of the configuration. */
static int copy_rules(struct known *k, const struct client_spec *spec, const struct worker_options *o)
{
    size_t count = 0;
    struct hash *names = hash_new();
    int failed = names && (k->rules = calloc(o->rule_count + 1, sizeof *k->rules)) ? 0 : -ENOMEM;
    for (char **name = spec->rules; name && *name && !failed; name++)
        failed = hash_put(names, slice_str(*name), k);
    for (size_t i = 0; i < o->rule_count && !failed; i++)
        if (hash_get(names, slice_str(o->rules[i].name))) {
            k->rules[count] = o->rules[i];
            k->rules[count++].original = &o->rules[i];
        }
    hash_free(names);
    return !failed && (k->index = rule_index_new(k->rules, count)) ? 0 : -ENOMEM;
}

static int meet(struct known *k, const struct client_spec *spec, const struct worker_options *o, struct err *e)
{
    if (copy_rules(k, spec, o) != 0)
        return err_set(e, "out of memory");
    k->client = (struct access_client){ spec->name, k->index, &k->replays, &k->slots };
    k->spec = spec;
    if (spec->password.kind != SECRET_REF_NONE && secret_ref_read(&spec->password, &k->password, e) != 0)
        return err_wrap(e, "clients.%s.password: ", spec->name);
    return 0;
}

struct access *access_new(const struct worker_options *o, struct err *e)
{
    struct access *a = calloc(1, sizeof *a);
    if (!a || !(a->known = calloc(o->client_count + 1, sizeof *a->known))
        || !(a->everyone = rule_index_new(o->rules, o->rule_count))) {
        access_free(a);
        err_set(e, "out of memory");
        return NULL;
    }
    a->options = o;
    for (; a->count < o->client_count; a->count++)
        if (meet(&a->known[a->count], &o->clients[a->count], o, e) != 0) {
            a->count++;
            access_free(a);
            return NULL;
        }
    return a;
}

void access_free(struct access *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->count; i++) {
        secret_done(&a->known[i].password);
        rule_index_free(a->known[i].index);
        free(a->known[i].rules);
    }
    rule_index_free(a->everyone);
    free(a->known);
    free(a);
}

const struct access_client *access_by_uid(const struct access *a, uid_t uid)
{
    for (size_t i = 0; i < a->count; i++)
        for (size_t j = 0; j < a->known[i].spec->uid_count; j++)
            if (a->known[i].spec->uids[j] == uid)
                return &a->known[i].client;
    return NULL;
}

static bool has_password(const struct known *k, struct slice password)
{
    return k->spec->password.kind != SECRET_REF_NONE && slice_eq_secret(password, secret_peek(&k->password));
}

bool access_by_password(const struct access *a, struct slice password, const struct access_client **ret)
{
    const struct access_client *found = NULL;
    bool any = a->options->proxy_password && slice_eq_secret(password, slice_str(a->options->proxy_password));
    for (size_t i = 0; i < a->count; i++)
        if (has_password(&a->known[i], password) && !found)
            found = &a->known[i].client;
    *ret = found;
    return any || found;
}

static bool admits(const struct access *a, struct slice user, struct slice password, const struct access_client **ret)
{
    for (size_t i = 0; i < a->count; i++)
        if (slice_eq(slice_str(a->known[i].client.name), user) && has_password(&a->known[i], password)) {
            *ret = &a->known[i].client;
            return true;
        }
    return a->options->proxy_password && slice_eq_secret(password, slice_str(a->options->proxy_password));
}

/* Is there the name and password of a client, or the password of "run"? */
static bool check_basic(const struct access *a, struct slice credentials, const struct access_client **ret)
{
    struct slice password, user;
    struct buf plain;
    buf_init_secret(&plain, 4096);
    bool fits = basic_read(credentials, &plain, &user, &password) == 0 && admits(a, user, password, ret);
    buf_done(&plain);
    return fits;
}

enum access_verdict access_check(const struct access *a, const struct message *head, const struct access_peer *peer,
                                 const struct access_client **ret)
{
    size_t count = 0;
    struct slice credentials = message_get(head, SLICE("proxy-authorization"), &count);
    *ret = NULL;
    if (!a->count && !a->options->proxy_password)
        return ACCESS_GRANTED;
    if ((!count || peer->led) && peer->own && a->options->proxy_password)
        return ACCESS_GRANTED;
    if (count || !peer->local)
        return check_basic(a, credentials, ret) ? ACCESS_GRANTED : ACCESS_ASK;
    *ret = peer->who;
    return peer->who ? ACCESS_GRANTED : ACCESS_STRANGER;
}

static const struct rule_index *index_of(const struct access *a, const struct access_client *who)
{
    return who ? who->rules : a->everyone;
}

/* Metrics and pool know the configuration's rules only. */
static const struct rule *original(const struct rule *r)
{
    return r && r->original ? r->original : r;
}

const struct rule *access_first_rule(const struct access *a, const struct access_client *who,
                                     const struct authority *a0)
{
    return original(rule_index_first(index_of(a, who), a0));
}

enum rule_match access_find_rule(const struct access *a, const struct access_client *who, const struct authority *a0,
                                 const struct message *request, const struct rule **ret)
{
    const struct rule *found = NULL;
    enum rule_match match = rule_index_find(index_of(a, who), a0, request, &found);
    *ret = original(found);
    return match;
}

bool access_stray_placeholder(const struct access *a, const struct rule *winner, const struct message *request)
{
    return rule_index_stray_placeholder(a->everyone, winner, request);
}

bool access_stray_text(const struct access *a, struct slice text)
{
    return rule_index_stray_text(a->everyone, text);
}

size_t access_answering(const struct access *a, const struct access_client *who, const struct authority *a0,
                        const struct message *request, const struct rule **ret, size_t most)
{
    size_t count = rule_index_answering(index_of(a, who), a0, request, ret, most);
    for (size_t i = 0; i < count && i < most; i++)
        ret[i] = original(ret[i]);
    return count;
}

bool access_has_credential(const struct access *a, const struct authority *a0)
{
    return rule_index_has_credential(a->everyone, a0);
}

bool access_knows_port(const struct access *a, uint16_t port)
{
    for (size_t i = 0; i < a->options->rule_count; i++)
        if (a->options->rules[i].port == port)
            return true;
    return false;
}
