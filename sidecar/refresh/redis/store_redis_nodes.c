/* The servers: the one of the URL, or the primary that the sentinels name, and in a cluster those that MOVED and ASK
 * lead to. */
#include "refresh/redis/store_redis_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

#define NODES_MAX 64

static void on_up(void *arg)
{
    struct redis_node *n = arg;
    struct store_redis *s = n->store;
    log_info(log_msg("store connected"), log_str("server", redis_client_name(n->client)));
    s->told_why[0] = '\0';
    if (s->nodes.next == &n->list)
        store_redis_peek(s);
}

static void on_down(void *arg, const char *why)
{
    struct redis_node *n = arg;
    struct store_redis *s = n->store;
    if (strcmp(s->told_why, why) == 0)
        return; /* once is enough for the log */
    snprintf(s->told_why, sizeof s->told_why, "%s", why);
    log_warn(log_msg("store not connected"), log_str("reason", why));
}

static struct redis_node *add_node(struct store_redis *s, const struct authority *at)
{
    struct redis_node *n = calloc(1, sizeof *n);
    struct redis_client_options options = s->client;
    if (!n)
        return NULL;
    if (at) {
        options.place.path = NULL;
        options.place.at = *at;
        options.sentinels = NULL;
    }
    options.on_up = on_up;
    options.on_down = on_down;
    options.arg = n;
    n->store = s;
    if (!(n->client = redis_client_new(&options))) {
        free(n);
        return NULL;
    }
    list_init(&n->list);
    list_push(&s->nodes, &n->list);
    return n;
}

/* The last word, "host:port" with a bare IPv6 address or no host at all. */
static int parse_target(struct slice text, const struct authority *from, struct authority *ret)
{
    size_t colon = text.len;
    char host_port[AUTHORITY_TEXT_MAX];
    while (colon > 0 && text.ptr[colon - 1] != ':')
        colon--;
    if (colon == 0 || colon + 6 < text.len || text.len >= sizeof host_port - 2)
        return -EINVAL;
    struct slice host = slice_of(text.ptr, colon - 1), port = slice_skip(text, colon);
    if (host.len == 0)
        host = slice_str(from->host);
    bool v6 = slice_find(host, ':') < host.len;
    snprintf(host_port, sizeof host_port, "%s%.*s%s:%.*s", v6 ? "[" : "", (int)host.len, host.ptr, v6 ? "]" : "",
             (int)port.len, port.ptr);
    return authority_parse(slice_str(host_port), SCHEME_HTTP, 0, ret);
}

struct redis_node *store_redis_follow(struct store_redis *s, const struct redis_node *from, const redisReply *reply)
{
    struct slice code, slot, target = slice_of(reply->str, (size_t)reply->len);
    struct authority at;
    size_t count = 0;
    code = slice_cut(target, ' ', &target);
    slot = slice_cut(target, ' ', &target);
    (void)code, (void)slot;
    if (parse_target(target, redis_client_at(from->client), &at) != 0)
        return NULL;
    for (struct list *l = s->nodes.next; l != &s->nodes; l = l->next, count++) {
        struct redis_node *n = LIST_ENTRY(l, struct redis_node, list);
        if (authority_eq(redis_client_at(n->client), &at))
            return n;
    }
    return count < NODES_MAX ? add_node(s, &at) : NULL;
}

struct redis_node *store_redis_pick(const struct store_redis *s, const struct cred *cred)
{
    struct redis_node *best = cred->home ? cred->home : LIST_ENTRY(s->nodes.next, struct redis_node, list);
    if (!redis_client_down(best->client))
        return best;
    for (const struct list *l = s->nodes.next; l != &s->nodes; l = l->next) {
        struct redis_node *n = LIST_ENTRY(l, struct redis_node, list);
        if (redis_client_up(n->client))
            return n; /* it knows where the key is */
    }
    return best;
}

/* ---- options ---- */

static int read_url(struct store_redis *s, struct redis_url *url, struct err *e)
{
    const struct redis_spec *r = s->options.redis;
    const char *wrong = redis_url_parse(slice_str(r->url), url);
    if (wrong)
        return err_set(e, "store.redis.url %s", wrong);
    s->place.at = url->at;
    memcpy(s->path, url->path, sizeof s->path);
    s->place.path = s->path[0] ? s->path : NULL;
    if (url->username.len && !(s->username = slice_dup(url->username)))
        return err_set(e, "out of memory");
    s->account =
        (struct redis_account){ .username = r->username ? r->username : s->username, .password = &r->password };
    s->sentinel_account = (struct redis_account){ .username = r->sentinel_username, .password = &r->sentinel_password };
    return 0;
}

static int read_sentinels(struct store_redis *s, struct err *e)
{
    const struct redis_spec *r = s->options.redis;
    size_t count = 0;
    while (r->sentinel_nodes && r->sentinel_nodes[count])
        count++;
    if (count == 0)
        return 0;
    if (!(s->sentinel_nodes = calloc(count, sizeof *s->sentinel_nodes)))
        return err_set(e, "out of memory");
    for (size_t i = 0; i < count; i++) {
        const char *wrong = redis_url_parse_node(slice_str(r->sentinel_nodes[i]), &s->sentinel_nodes[i]);
        if (wrong)
            return err_set(e, "store.redis.sentinel.nodes: \"%.100s\" %s", r->sentinel_nodes[i], wrong);
    }
    s->sentinels = (struct redis_sentinels){
        .primary = r->sentinel_master, .nodes = s->sentinel_nodes, .count = count, .tls = s->tls
    };
    return 0;
}

/* What an operator writes down as the store may be anywhere but at link-local addresses. */
static int open_network(struct store_redis *s, struct err *e)
{
    if (address_parse_network(SLICE("0.0.0.0/0"), &s->everywhere[0]) != 0
        || address_parse_network(SLICE("::/0"), &s->everywhere[1]) != 0)
        return err_set(e, "cannot parse the built-in list of networks");
    s->network = *s->options.network;
    s->network.policy = (struct address_policy){ s->everywhere, 2 };
    s->network.timeout_ms = REDIS_CONNECT_MS;
    s->network.parent = NULL; /* a store stands near, and parents rarely let its port through */
    return (s->dialer = dialer_new(&s->network, e)) ? 0 : -1;
}

static void leave(struct redis_client *c, const struct authority *to)
{
    char why[AUTHORITY_TEXT_MAX + 64], text[AUTHORITY_TEXT_MAX];
    snprintf(why, sizeof why, "the sentinel reports %s as the new primary", authority_key(to, text));
    if (c && (redis_client_down(c) || !authority_eq(redis_client_at(c), to)))
        redis_client_leave(c, why);
}

static void on_failover(void *arg, const struct authority *to, size_t sentinel)
{
    struct store_redis *s = arg;
    s->sentinels.first = sentinel; /* the others may not know yet */
    leave(LIST_ENTRY(s->nodes.next, struct redis_node, list)->client, to);
    leave(s->subscriber, to);
}

int store_redis_open(struct store_redis *s, struct err *e)
{
    const struct redis_spec *r = s->options.redis;
    struct tls_client_options tls = { r->ca_file, r->cert_file, r->key_file };
    struct redis_url url;
    if (read_url(s, &url, e) != 0 || open_network(s, e) != 0)
        return -1;
    if (url.tls && !(s->tls = tls_client_new(&tls, e)))
        return -1;
    s->place.tls = s->tls;
    if (read_sentinels(s, e) != 0)
        return -1;
    s->client = (struct redis_client_options){
        .dialer = s->dialer,
        .account = &s->account,
        .sentinels = s->sentinels.count ? &s->sentinels : NULL,
        .sentinel_account = &s->sentinel_account,
        .place = s->place,
        .db = url.db,
    };
    if (!add_node(s, NULL))
        return err_set(e, "out of memory");
    if (!s->sentinels.count
        || (s->failovers = redis_switch_new(s->dialer, &s->sentinels, &s->sentinel_account, on_failover, s)))
        return 0;
    return err_set(e, "out of memory");
}

void store_redis_close(struct store_redis *s)
{
    redis_switch_free(s->failovers);
    for (struct list *l; (l = list_shift(&s->nodes)) != NULL;) {
        struct redis_node *n = LIST_ENTRY(l, struct redis_node, list);
        redis_client_free(n->client);
        free(n);
    }
    if (s->dialer)
        dialer_free(s->dialer);
    tls_client_free(s->tls);
    redis_client_account_done(&s->account);
    redis_client_account_done(&s->sentinel_account);
    free(s->sentinel_nodes);
    free(s->username);
}
