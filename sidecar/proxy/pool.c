#include "base/hash.h"
#include "base/log.h"
#include "net/timer.h"
#include "proxy/upstream_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PLACES_MAX 1024

struct pool *pool_new(struct dialer *dialer, const struct worker_limits *limits)
{
    struct pool *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    *p = (struct pool){ .dialer = dialer, .limits = limits, .places = hash_new(), .identities = hash_new() };
    list_init(&p->unused);
    if (!p->places || !p->identities) {
        pool_free(p);
        return NULL;
    }
    return p;
}

static void connect_next(struct place *p)
{
    struct upstream *u;
    if (p->open >= p->pool->limits->per_upstream || !(u = upstream_new(p)))
        return; /* who waits gets the next one that is given back, or its deadline */
    upstream_dial(u);
}

/* Its end may have come in this very turn, without the loop having told.  (A new TLS connection may hold tickets: that
 * is no end.) */
static bool has_ended(const struct upstream *u)
{
    char byte;
    return u->reused
           && (recv(stream_fd(h1_leg_stream(u->leg)), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN);
}

static void on_handout(struct later *later)
{
    struct place *p = LIST_ENTRY(later, struct place, handout);
    while (!list_empty(&p->waits) && !list_empty(&p->idle)) {
        struct upstream *u = LIST_ENTRY(p->idle.next, struct upstream, node);
        if (has_ended(u)) {
            upstream_drop(u);
            continue;
        }
        struct upstream_wait *w = LIST_ENTRY(list_shift(&p->waits), struct upstream_wait, node);
        timer_stop(&w->deadline);
        upstream_hand_over(u);
        w->fn(w->arg, u, NULL);
    }
    size_t waiting = 0;
    for (struct list *n = p->waits.next; n != &p->waits; n = n->next)
        waiting++;
    for (size_t have = p->connecting; have < waiting; have++)
        connect_next(p);
}

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

static struct tls_client *identity_of(struct pool *p, const struct rule *rule, struct err *e)
{
    char key[1024];
    const char *ca = rule ? or_empty(rule->ca_file) : "", *cert = rule ? or_empty(rule->cert_file) : "",
               *private_key = rule ? or_empty(rule->key_file) : "";
    int len = snprintf(key, sizeof key, "%s|%s|%s", ca, cert, private_key);
    if (len < 0 || (size_t)len >= sizeof key) {
        err_set(e, "tls file names are too long");
        return NULL;
    }
    struct tls_client *tls = hash_get(p->identities, slice_str(key));
    if (tls)
        return tls;
    struct tls_client_options options = { *ca ? ca : NULL, *cert ? cert : NULL, *private_key ? private_key : NULL };
    tls = tls_client_new(&options, e);
    if (tls && hash_put(p->identities, slice_str(key), tls) != 0) {
        tls_client_free(tls);
        tls = NULL;
        err_set(e, "out of memory");
    }
    return tls;
}

int pool_prepare(struct pool *p, const struct rule *rule, struct err *e)
{
    return identity_of(p, rule, e) ? 0 : -1;
}

/* Names that clients make up must not pile up: places without a connection go when there are many. */
static void sweep_one(void *arg, struct slice key, void *value)
{
    struct place *place = value;
    struct pool *p = arg;
    if (place->open || !list_empty(&place->waits))
        return;
    later_cancel(&place->handout);
    hash_remove(p->places, key);
    free(place);
}

static struct place *place_new(struct pool *p, const struct upstream_target *t, struct slice key)
{
    struct err e;
    struct tls_client *tls = NULL;
    if (hash_count(p->places) >= PLACES_MAX)
        hash_each(p->places, sweep_one, p);
    if (t->a0->scheme == SCHEME_HTTPS && !(tls = identity_of(p, t->rule, &e))) {
        log_error(log_msg("no TLS context for upstream"), log_str("reason", e.text));
        return NULL;
    }
    struct place *place = calloc(1, sizeof *place + key.len + 1);
    if (!place)
        return NULL;
    place->pool = p;
    place->a0 = *t->a0;
    place->tls = tls;
    memcpy(place->key, key.ptr, key.len);
    list_init(&place->idle);
    list_init(&place->others);
    list_init(&place->waits);
    later_init(&place->handout, on_handout);
    if (hash_put(p->places, key, place) != 0) {
        free(place);
        return NULL;
    }
    return place;
}

static struct place *place_of(struct pool *p, const struct upstream_target *t)
{
    char text[AUTHORITY_TEXT_MAX], key[AUTHORITY_TEXT_MAX + 1100];
    const struct rule *r = t->rule;
    bool tls = t->a0->scheme == SCHEME_HTTPS;
    int len = snprintf(key, sizeof key, "%s%s|%s|%s|%s", tls ? "s:" : "p:", authority_key(t->a0, text),
                       r && tls ? or_empty(r->ca_file) : "", r && tls ? or_empty(r->cert_file) : "",
                       r && tls ? or_empty(r->key_file) : "");
    if (len < 0 || (size_t)len >= sizeof key)
        return NULL;
    struct place *place = hash_get(p->places, slice_of(key, (size_t)len));
    return place ? place : place_new(p, t, slice_of(key, (size_t)len));
}

bool pool_has(struct pool *p, const struct upstream_target *target)
{
    struct place *place = place_of(p, target);
    return place && list_empty(&place->waits) && (!list_empty(&place->idle) || place->connecting);
}

void pool_adopt(struct pool *p, const struct upstream_target *target, int fd)
{
    struct place *place = place_of(p, target);
    struct upstream *u = place ? upstream_new(place) : NULL;
    if (u)
        upstream_secure(u, fd);
    else
        close(fd);
}

void upstream_wait_cancel(struct upstream_wait *w)
{
    if (!w->node.next)
        return;
    list_remove(&w->node);
    timer_stop(&w->deadline);
}

static void on_wait_over(void *arg)
{
    struct upstream_wait *w = arg;
    upstream_wait_cancel(w);
    w->fn(w->arg, NULL,
          &(struct leg_fault){
              .status = 504, .label = "connection_limit_reached", .text = "no upstream connection in time" });
}

static struct list homeless = { &homeless, &homeless };

struct upstream *pool_take(struct pool *p, const struct upstream_target *target, struct upstream_wait *w,
                           void (*fn)(void *arg, struct upstream *u, const struct leg_fault *fault), void *arg)
{
    struct place *place = place_of(p, target);
    struct upstream *u = NULL;
    while (place && !list_empty(&place->idle)) {
        u = LIST_ENTRY(place->idle.next, struct upstream, node);
        if (!h1_leg_started(u->leg) && !(target->once && has_ended(u))) {
            upstream_hand_over(u);
            *w = (struct upstream_wait){ .fn = NULL };
            return u;
        }
        upstream_drop(u);
    }
    *w = (struct upstream_wait){ .fn = fn, .arg = arg };
    list_init(&w->node);
    timer_init(&w->deadline, on_wait_over, w);
    timer_set(&w->deadline, place ? p->limits->dial_ms + p->limits->tls_ms : 0);
    list_push(place ? &place->waits : &homeless, &w->node);
    if (place)
        later_ask(&place->handout);
    return NULL;
}

size_t pool_open(const struct pool *p)
{
    return p->open;
}

static void free_place(void *arg, struct slice key, void *value)
{
    struct place *p = value;
    (void)arg;
    (void)key;
    while (!list_empty(&p->idle))
        upstream_drop(LIST_ENTRY(p->idle.next, struct upstream, node));
    while (!list_empty(&p->others)) /* warm ones that are still on their way */
        upstream_drop(LIST_ENTRY(p->others.next, struct upstream, node));
    later_cancel(&p->handout);
    free(p);
}

static void free_identity(void *arg, struct slice key, void *value)
{
    (void)arg;
    (void)key;
    tls_client_free(value);
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    if (p->places)
        hash_each(p->places, free_place, NULL);
    if (p->identities)
        hash_each(p->identities, free_identity, NULL);
    hash_free(p->places);
    hash_free(p->identities);
    free(p);
}
