#include <stdlib.h>
#include <time.h>

#include "base/hash.h"
#include "base/list.h"
#include "net/tls/tls_private.h"

/* OpenSSL 3.4 renamed it when it became safe after 2038. */
#if OPENSSL_VERSION_NUMBER >= 0x30400000L
#define session_time(session) SSL_SESSION_get_time_ex(session)
#else
#define session_time(session) SSL_SESSION_get_time(session)
#endif

struct entry {
    struct list node;                         /* cache.recent */
    SSL_SESSION *sessions[TLS_CACHE_PER_KEY]; /* newest first */
    size_t count;
    size_t key_len;
    char key[];
};

struct tls_cache {
    struct hash *by_key;
    struct list recent; /* most recently used first */
};

static void entry_free(struct entry *e)
{
    while (e->count > 0)
        SSL_SESSION_free(e->sessions[--e->count]);
    list_remove(&e->node);
    free(e);
}

struct tls_cache *tls_cache_new(void)
{
    struct tls_cache *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    list_init(&c->recent);
    if ((c->by_key = hash_new()))
        return c;
    free(c);
    return NULL;
}

void tls_cache_free(struct tls_cache *c)
{
    if (!c)
        return;
    for (struct list *node; (node = list_shift(&c->recent)) != NULL;)
        entry_free(LIST_ENTRY(node, struct entry, node));
    hash_free(c->by_key);
    free(c);
}

static void drop_oldest(struct tls_cache *c)
{
    struct entry *e = LIST_ENTRY(c->recent.prev, struct entry, node);
    hash_remove(c->by_key, slice_of(e->key, e->key_len));
    entry_free(e);
}

static struct entry *entry_at(struct tls_cache *c, struct slice key)
{
    struct entry *e = hash_get(c->by_key, key);
    if (e)
        return e;
    if (hash_count(c->by_key) >= TLS_CACHE_KEYS)
        drop_oldest(c);
    e = calloc(1, sizeof *e + key.len);
    if (!e)
        return NULL;
    memcpy(e->key, key.ptr, key.len);
    e->key_len = key.len;
    list_init(&e->node);
    if (hash_put(c->by_key, key, e) == 0)
        return e;
    entry_free(e);
    return NULL;
}

static void mark_used(struct tls_cache *c, struct entry *e)
{
    list_remove(&e->node);
    list_unshift(&c->recent, &e->node);
}

void tls_cache_put(struct tls_cache *c, struct slice key, SSL_SESSION *session)
{
    struct entry *e = entry_at(c, key);
    if (!e) {
        SSL_SESSION_free(session);
        return;
    }
    mark_used(c, e);
    if (e->count == TLS_CACHE_PER_KEY)
        SSL_SESSION_free(e->sessions[--e->count]);
    memmove(e->sessions + 1, e->sessions, e->count * sizeof e->sessions[0]);
    e->sessions[0] = session;
    e->count++;
}

/* A resumed session is not verified again, so it may not outlive what was verified. */
static bool still_good(const SSL_SESSION *session)
{
    if (!SSL_SESSION_is_resumable(session)
        || session_time(session) + SSL_SESSION_get_timeout(session) <= (long)time(NULL))
        return false;
    int64_t until_s = tls_revocation_session_until_s(session);
    if (until_s != 0 && until_s <= (int64_t)time(NULL))
        return false;
    X509 *peer = SSL_SESSION_get0_peer((SSL_SESSION *)session);
    return peer && X509_cmp_current_time(X509_get0_notAfter(peer)) > 0;
}

static SSL_SESSION *take_first(struct entry *e)
{
    SSL_SESSION *session = e->sessions[0];
    e->count--;
    memmove(e->sessions, e->sessions + 1, e->count * sizeof e->sessions[0]);
    return session;
}

SSL_SESSION *tls_cache_take(struct tls_cache *c, struct slice key)
{
    struct entry *e = hash_get(c->by_key, key);
    if (!e)
        return NULL;
    mark_used(c, e);
    while (e->count > 0) {
        if (!still_good(e->sessions[0])) {
            SSL_SESSION_free(take_first(e));
            continue;
        }
        if (SSL_SESSION_get_protocol_version(e->sessions[0]) >= TLS1_3_VERSION)
            return take_first(e);
        SSL_SESSION_up_ref(e->sessions[0]);
        return e->sessions[0];
    }
    return NULL;
}

static bool is_of(SSL_SESSION *session, const X509 *peer)
{
    const X509 *own = SSL_SESSION_get0_peer(session);
    return own && X509_cmp(own, peer) == 0;
}

void tls_cache_forget(struct tls_cache *c, const X509 *peer)
{
    for (struct list *node = c->recent.next; node != &c->recent; node = node->next) {
        struct entry *e = LIST_ENTRY(node, struct entry, node);
        size_t kept = 0;
        for (size_t i = 0; i < e->count; i++) {
            if (is_of(e->sessions[i], peer))
                SSL_SESSION_free(e->sessions[i]);
            else
                e->sessions[kept++] = e->sessions[i];
        }
        e->count = kept;
    }
}
