#include "proxy/leaves.h"

#include "base/clock.h"
#include "base/hash.h"
#include "http/authority.h"

#include <errno.h>
#include <stdlib.h>

#define EXPIRY_MARGIN_S 3600 /* a leaf that ends within the hour is minted anew */

struct leaf_entry {
    struct list recent; /* in leaves.recent while it has a leaf, else single */
    struct list waits;
    struct tls_leaf *leaf;
    int64_t until_s;
    char key[]; /* a digit for the kind, then the host */
};

struct key {
    char text[AUTHORITY_HOST_MAX + 2];
};

struct leaves {
    struct tls_server *server;
    struct hash *by_host;
    struct list recent; /* most recently used first */
    size_t count;
    leaves_send_fn *send;
    void *arg;
};

struct leaves *leaves_new(struct tls_server *server, leaves_send_fn *send, void *arg)
{
    struct leaves *l = calloc(1, sizeof *l);
    if (!l || !(l->by_host = hash_new())) {
        free(l);
        return NULL;
    }
    l->server = server;
    l->send = send;
    l->arg = arg;
    list_init(&l->recent);
    return l;
}

static void drop_leaf(struct leaves *l, struct leaf_entry *e)
{
    if (!e->leaf)
        return;
    tls_leaf_free(e->leaf);
    e->leaf = NULL;
    list_remove(&e->recent);
    l->count--;
}

static void drop_entry(struct leaves *l, struct leaf_entry *e)
{
    drop_leaf(l, e);
    if (!list_empty(&e->waits))
        return;
    hash_remove(l->by_host, slice_str(e->key));
    free(e);
}

static void free_one(void *arg, struct slice key, void *value)
{
    struct leaf_entry *e = value;
    (void)key;
    drop_leaf(arg, e);
    free(e);
}

void leaves_free(struct leaves *l)
{
    if (!l)
        return;
    hash_each(l->by_host, free_one, l);
    hash_free(l->by_host);
    free(l);
}

/* false: no name that a certificate could have. */
static bool make_key(enum tls_leaf_kind kind, struct slice host, struct key *ret)
{
    if (host.len > AUTHORITY_HOST_MAX)
        return false;
    ret->text[0] = (char)('0' + kind);
    memcpy(ret->text + 1, host.ptr, host.len);
    ret->text[host.len + 1] = '\0';
    return true;
}

struct tls_leaf *leaves_get(struct leaves *l, enum tls_leaf_kind kind, const char *host)
{
    struct key key;
    struct leaf_entry *e = make_key(kind, slice_str(host), &key) ? hash_get(l->by_host, slice_str(key.text)) : NULL;
    if (!e || !e->leaf)
        return NULL;
    if (e->until_s - EXPIRY_MARGIN_S < clock_wall_ms() / 1000) {
        drop_entry(l, e);
        return NULL;
    }
    list_remove(&e->recent);
    list_unshift(&l->recent, &e->recent);
    return tls_leaf_ref(e->leaf);
}

static struct leaf_entry *entry_for(struct leaves *l, const struct key *key)
{
    struct slice text = slice_str(key->text);
    struct leaf_entry *e = hash_get(l->by_host, text);
    if (e || !(e = calloc(1, sizeof *e + text.len + 1)))
        return e;
    memcpy(e->key, text.ptr, text.len);
    list_init(&e->recent);
    list_init(&e->waits);
    if (hash_put(l->by_host, text, e) != 0) {
        free(e);
        return NULL;
    }
    return e;
}

static void on_rsa_key(void *arg)
{
    leaves_resend(arg);
}

/* Without the RSA key nothing is asked yet: on_rsa_key() will; if it cannot be made the wait ends by its time. */
static void mint(struct leaves *l, struct leaf_entry *e)
{
    enum tls_leaf_kind kind = (enum tls_leaf_kind)(e->key[0] - '0');
    struct slice spki =
        kind == TLS_LEAF_ECDSA ? tls_server_spki(l->server) : tls_server_rsa_spki(l->server, on_rsa_key, l);
    if (spki.len)
        l->send(l->arg, &(struct msg){ .type = MSG_MINT, .name = slice_str(e->key + 1), .tag = kind, .der = spki });
}

static void leave(struct leaf_wait *w)
{
    list_remove(&w->node);
    timer_stop(&w->deadline);
    w->entry = NULL;
}

/* The last one who leaves an entry without a leaf takes it along: names are made up by clients. */
void leaves_wait_cancel(struct leaf_wait *w)
{
    struct leaf_entry *e = w->entry;
    if (!w->node.next)
        return;
    leave(w);
    if (e && !e->leaf)
        drop_entry(w->leaves, e);
}

static void on_wait_over(void *arg)
{
    struct leaf_wait *w = arg;
    leaves_wait_cancel(w);
    w->fn(w->arg, NULL, "the keeper did not respond in time");
}

int leaves_wait(struct leaves *l, enum tls_leaf_kind kind, const char *host, struct leaf_wait *w, int64_t wait_ms,
                void (*fn)(void *arg, struct tls_leaf *leaf, const char *error), void *arg)
{
    struct key key;
    struct leaf_entry *e = make_key(kind, slice_str(host), &key) ? entry_for(l, &key) : NULL;
    if (!e)
        return -ENOMEM;
    bool first = list_empty(&e->waits);
    *w = (struct leaf_wait){ .leaves = l, .entry = e, .fn = fn, .arg = arg };
    list_init(&w->node);
    list_push(&e->waits, &w->node);
    timer_init(&w->deadline, on_wait_over, w);
    timer_set(&w->deadline, wait_ms);
    if (first)
        mint(l, e);
    return 0;
}

static void keep(struct leaves *l, struct leaf_entry *e, struct tls_leaf *leaf, int64_t until_s)
{
    drop_leaf(l, e);
    e->leaf = leaf;
    e->until_s = until_s;
    list_unshift(&l->recent, &e->recent);
    if (++l->count > LEAVES_MAX)
        drop_entry(l, LIST_ENTRY(l->recent.prev, struct leaf_entry, recent));
}

void leaves_message(struct leaves *l, const struct msg *m)
{
    struct key key;
    bool known = m->tag <= TLS_LEAF_RSA_BY_RSA && make_key((enum tls_leaf_kind)m->tag, m->name, &key);
    struct leaf_entry *e = known ? hash_get(l->by_host, slice_str(key.text)) : NULL;
    struct list waits;
    char error[256] = "the certificate that the keeper signed does not match this worker's key";
    if (!e)
        return;
    struct tls_leaf *leaf = m->der.len ? tls_leaf_new(l->server, m->der) : NULL;
    if (m->der.len == 0) {
        size_t len = m->text.len < sizeof error - 1 ? m->text.len : sizeof error - 1;
        if (len)
            memcpy(error, m->text.ptr, len);
        error[len] = '\0';
    }
    list_take(&waits, &e->waits);
    for (struct list *n = waits.next; n != &waits; n = n->next)
        LIST_ENTRY(n, struct leaf_wait, node)->entry = NULL; /* e may go now */
    if (leaf)
        keep(l, e, tls_leaf_ref(leaf), m->until_s);
    else
        drop_entry(l, e);
    while (!list_empty(&waits)) {
        struct leaf_wait *w = LIST_ENTRY(waits.next, struct leaf_wait, node);
        leave(w);
        w->fn(w->arg, leaf ? tls_leaf_ref(leaf) : NULL, leaf ? NULL : error);
    }
    tls_leaf_free(leaf);
}

void leaves_forget(struct leaves *l)
{
    while (!list_empty(&l->recent))
        drop_entry(l, LIST_ENTRY(l->recent.next, struct leaf_entry, recent));
}

static void again_one(void *arg, struct slice key, void *value)
{
    struct leaf_entry *e = value;
    (void)key;
    if (!list_empty(&e->waits))
        mint(arg, e);
}

void leaves_resend(struct leaves *l)
{
    hash_each(l->by_host, again_one, l);
}
