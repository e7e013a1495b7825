#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/str.h"
#include "net/timer.h"
#include "proxy/upstream_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PLACES_MAX 1024
#define SHARER_MAX 300
#define PROTOCOL_KNOWN_MS (5 * 60 * 1000)

struct pool *pool_new(struct dialer *dialer, const struct worker_limits *limits, struct meter *meter)
{
    struct pool *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    *p = (struct pool){ .dialer = dialer,
                        .limits = limits,
                        .meter = meter,
                        .places = hash_new(),
                        .identities = hash_new(),
                        .protocols = hash_new() };
    h2_budget_init(&p->budget, limits->h2_buffer_bytes);
    list_init(&p->unused);
    if (!p->places || !p->identities || !p->protocols) {
        pool_free(p);
        return NULL;
    }
    return p;
}

/* --- who waits --- */

static void leave_queue(struct pool_wait *w)
{
    list_remove(&w->node);
    w->place->waiting--;
    timer_stop(&w->deadline);
}

struct pool_wait *pool_wait_first(struct pool_place *p)
{
    if (list_empty(&p->waits))
        return NULL;
    struct pool_wait *w = LIST_ENTRY(p->waits.next, struct pool_wait, node);
    leave_queue(w);
    return w;
}

/* --- what is handed out --- */

/* The most that an unused connection may be old for a request that cannot be sent twice.  Its server closes it when it
 * likes, and the close may be on the way: nothing that can be looked at here proves the opposite. */
#define RECENT_MS 250

/* Its end may have come in this very turn, without the loop having told.  (A new TLS connection may hold tickets: that
 * is no end.) */
static bool has_ended(const struct upstream *u)
{
    char byte;
    return leg_started(h1_leg_base(u->leg))
           || (u->reused
               && (recv(stream_fd(h1_leg_stream(u->leg)), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN));
}

/* In use a moment ago, also by what its server says of its time (Keep-Alive: timeout): less than a quarter of that. */
static bool is_recent(const struct upstream *u)
{
    int64_t said_ms = (int64_t)h1_leg_idle_s(u->leg) * 1000 / 4;
    return clock_mono_ms() - u->unused_ms < (said_ms && said_ms < RECENT_MS ? said_ms : RECENT_MS);
}

/* The connection that was used last.  NULL: none is good enough. */
static struct upstream *pick(struct pool_place *p, bool once)
{
    if (p->protocol)
        return upstream_h2_pick(p);
    while (!list_empty(&p->idle)) {
        struct upstream *u = LIST_ENTRY(p->idle.next, struct upstream, node);
        if (once && !is_recent(u))
            return NULL;
        if (leg_started(h1_leg_base(u->leg)) || (once && has_ended(u))) {
            upstream_drop(u, leg_started(h1_leg_base(u->leg)) ? CLOSE_PROTOCOL : CLOSE_PEER_CLOSED);
            continue;
        }
        upstream_hand_over(u);
        return u;
    }
    return NULL;
}

/* false: there are as many connections as may be, and all are in use. */
static bool make_space(struct pool_place *p)
{
    if (p->open < p->pool->limits->per_upstream)
        return true;
    if (list_empty(&p->idle))
        return false;
    upstream_drop(LIST_ENTRY(p->idle.prev, struct upstream, node), CLOSE_CROWDED_OUT); /* too old for those who wait */
    return p->open < p->pool->limits->per_upstream;
}

static bool connect_next(struct pool_place *p)
{
    struct upstream *u = make_space(p) ? upstream_new(p) : NULL;
    if (u)
        upstream_dial(u);
    return u != NULL; /* else who waits gets the next one that is given back, or its deadline */
}

/* One that no request waits for yet. */
static bool connect_warm(struct pool_place *p)
{
    struct upstream *u = make_space(p) ? upstream_new(p) : NULL;
    if (!u)
        return false;
    upstream_dial(u);
    return true;
}

static void on_handout(struct later *later)
{
    struct pool_place *p = LIST_ENTRY(later, struct pool_place, handout);
    struct list waits; /* one that is cancelled meanwhile leaves this list by itself */
    list_take(&waits, &p->waits);
    for (struct list *n; (n = list_shift(&waits)) != NULL;) {
        struct pool_wait *w = LIST_ENTRY(n, struct pool_wait, node);
        struct upstream *u = pick(p, w->once);
        list_push(&p->waits, &w->node);
        if (!u)
            continue;
        leave_queue(w);
        w->fn(w->arg, u, NULL);
    }
    while (p->connecting < (p->protocol ? upstream_h2_needed(p) : p->waiting) && connect_next(p))
        ;
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
    struct pool_place *place = value;
    struct pool *p = arg;
    if (place->open || !list_empty(&place->waits) || !list_empty(&place->askers))
        return;
    loop_later_cancel(&place->handout);
    hash_remove(p->places, key);
    free(place);
}

/* key: of the place of HTTP/2 without its sharer.  NULL: no room for one more, or no memory. */
static struct protocol *protocol_of(struct pool *p, struct slice key)
{
    struct protocol *found = hash_get(p->protocols, key);
    if (found || hash_count(p->protocols) >= PLACES_MAX)
        return found;
    found = calloc(1, sizeof *found);
    if (found && hash_put(p->protocols, key, found) == 0)
        return found;
    free(found);
    return NULL;
}

static struct pool_place *place_new(struct pool *p, const struct pool_target *t, struct slice key)
{
    struct err e;
    struct tls_client *tls = NULL;
    if (hash_count(p->places) >= PLACES_MAX)
        hash_each(p->places, sweep_one, p);
    if (t->a0->scheme == SCHEME_HTTPS && !(tls = identity_of(p, t->rule, &e))) {
        log_error(log_msg("cannot make a TLS context for the upstream"), log_str("reason", e.text));
        return NULL;
    }
    struct pool_place *place = calloc(1, sizeof *place + key.len + 1);
    if (!place)
        return NULL;
    place->pool = p;
    place->a0 = *t->a0;
    place->tls = tls;
    place->bare = !t->rule;
    memcpy(place->key, key.ptr, key.len);
    list_init(&place->idle);
    list_init(&place->others);
    list_init(&place->shared);
    list_init(&place->askers);
    list_init(&place->waits);
    loop_later_init(&place->handout, on_handout);
    if (hash_put(p->places, key, place) != 0) {
        free(place);
        return NULL;
    }
    return place;
}

/* plain: the key of the place of HTTP/1.1 beside it. */
static struct pool_place *shared_place(struct pool *p, const struct pool_target *t, struct slice plain)
{
    char key[AUTHORITY_TEXT_MAX + 1100 + SHARER_MAX];
    const struct slice pieces[] = { SLICE("2"), plain, SLICE("|"), slice_str(t->sharer) };
    size_t len = str_join(key, sizeof key, pieces, sizeof pieces / sizeof *pieces);
    if (len >= sizeof key || t->a0->scheme != SCHEME_HTTPS)
        return NULL;
    struct pool_place *place = hash_get(p->places, slice_of(key, len));
    if (place)
        return place;
    struct protocol *protocol = protocol_of(p, plain);
    place = protocol ? place_new(p, t, slice_of(key, len)) : NULL;
    if (!place)
        return NULL;
    place->protocol = protocol;
    place->rule = t->rule;
    return place;
}

static struct pool_place *place_of(struct pool *p, const struct pool_target *t)
{
    char text[AUTHORITY_TEXT_MAX], key[AUTHORITY_TEXT_MAX + 1100];
    const struct rule *r = t->rule;
    bool tls = t->a0->scheme == SCHEME_HTTPS, own = r && tls;
    const struct slice pieces[] = {
        r ? SLICE("") : SLICE("bare "),        tls ? SLICE("s:") : SLICE("p:"),
        slice_str(authority_key(t->a0, text)), SLICE("|"),
        slice_str(own ? r->ca_file : NULL),    SLICE("|"),
        slice_str(own ? r->cert_file : NULL),  SLICE("|"),
        slice_str(own ? r->key_file : NULL),
    };
    size_t len = str_join(key, sizeof key, pieces, sizeof pieces / sizeof *pieces);
    if (len >= sizeof key)
        return NULL;
    if (t->sharer)
        return shared_place(p, t, slice_of(key, len));
    struct pool_place *place = hash_get(p->places, slice_of(key, len));
    return place ? place : place_new(p, t, slice_of(key, len));
}

struct pool_place *pool_place_of_h1(struct pool_place *h2)
{
    struct pool_target target = { .a0 = &h2->a0, .rule = h2->rule };
    struct pool_place *plain = place_of(h2->pool, &target);
    return plain && make_space(plain) ? plain : NULL;
}

bool pool_has(struct pool *p, const struct pool_target *target)
{
    struct pool_place *place = place_of(p, target);
    return place && list_empty(&place->waits)
           && (!list_empty(&place->idle) || !list_empty(&place->shared) || place->connecting);
}

/* --- which protocol --- */

static bool is_known(const struct protocol *protocol)
{
    return protocol->known == PROTOCOL_H2
           || (protocol->known == PROTOCOL_H1 && clock_mono_ms() - protocol->known_ms < PROTOCOL_KNOWN_MS);
}

enum pool_protocol pool_protocol(struct pool *p, const struct pool_target *target, int fd, struct pool_protocol_wait *w,
                                 void (*fn)(void *arg, enum pool_protocol protocol), void *arg)
{
    struct pool_place *place = place_of(p, target);
    *w = (struct pool_protocol_wait){ .place = place, .fn = fn, .arg = arg };
    list_init(&w->node);
    if (place && is_known(place->protocol) && place->protocol->known == PROTOCOL_H1) {
        struct pool_target plain = { .a0 = target->a0, .rule = target->rule, .warm = target->warm };
        if (fd >= 0)
            pool_adopt(p, &plain, fd);
        return PROTOCOL_H1;
    }
    if (!place) {
        if (fd >= 0)
            close(fd);
        return PROTOCOL_H1;
    }
    bool known = is_known(place->protocol) || !list_empty(&place->shared);
    if (fd >= 0 && !place->connecting && list_empty(&place->shared)) {
        pool_adopt(p, target, fd);
        fd = -1;
    }
    if (fd >= 0)
        close(fd);
    if (known)
        return PROTOCOL_H2;
    if (!place->connecting && !connect_warm(place))
        return PROTOCOL_H1;
    list_push(&place->askers, &w->node);
    return PROTOCOL_UNKNOWN;
}

struct h2_budget *pool_budget(struct pool *p)
{
    return &p->budget;
}

void pool_adopt(struct pool *p, const struct pool_target *target, int fd)
{
    struct pool_place *place = place_of(p, target);
    struct upstream *u = place && make_space(place) ? upstream_new(place) : NULL;
    if (!u) {
        close(fd);
        return;
    }
    if (target->warm && !target->warm->u) {
        u->warm = target->warm;
        u->warm->u = u;
    }
    upstream_secure(u, fd);
}

struct pool_place *pool_reserve(struct pool *p, const struct pool_target *target)
{
    struct pool_place *place = place_of(p, target);
    if (!place || !make_space(place))
        return NULL;
    place->open++;
    return place;
}

void pool_release(struct pool_place *reserved)
{
    if (!reserved)
        return;
    reserved->open--;
    if (!list_empty(&reserved->waits))
        loop_later_ask(&reserved->handout);
}

/* An attempt that nobody waits for would take a place from others, for as long as its upstream says nothing. */
static void end_spare_attempt(struct pool_place *p)
{
    for (struct list *n = p->others.prev; n != &p->others && p->connecting > p->waiting && list_empty(&p->askers);
         n = n->prev) {
        struct upstream *u = LIST_ENTRY(n, struct upstream, node);
        if (u->warm || (u->state != UPSTREAM_DIAL && u->state != UPSTREAM_TLS))
            continue;
        upstream_drop(u, CLOSE_NOT_NEEDED);
        return;
    }
}

void pool_warm_cancel(struct pool_warm *w)
{
    if (!w->u)
        return;
    struct pool_place *p = w->u->place;
    w->u->warm = NULL;
    w->u = NULL;
    end_spare_attempt(p);
}

void pool_protocol_cancel(struct pool_protocol_wait *w)
{
    if (!w->node.next || list_empty(&w->node))
        return;
    list_remove(&w->node);
    end_spare_attempt(w->place);
}

void pool_wait_cancel(struct pool_wait *w)
{
    if (!w->node.next || list_empty(&w->node))
        return;
    if (!w->place) {
        list_remove(&w->node);
        timer_stop(&w->deadline);
        return;
    }
    leave_queue(w);
    end_spare_attempt(w->place);
}

static void on_wait_over(void *arg)
{
    struct pool_wait *w = arg;
    pool_wait_cancel(w);
    w->fn(w->arg, NULL,
          &(struct leg_fault){ .status = 504,
                               .label = "connection_limit_reached",
                               .text = "no upstream connection became free in time" });
}

static struct list homeless = { &homeless, &homeless };

struct upstream *pool_take(struct pool *p, const struct pool_target *target, struct pool_wait *w,
                           void (*fn)(void *arg, struct upstream *u, const struct leg_fault *fault), void *arg)
{
    struct pool_place *place = place_of(p, target);
    struct upstream *u = place ? pick(place, target->once) : NULL;
    if (u) {
        *w = (struct pool_wait){ .fn = NULL };
        return u;
    }
    *w = (struct pool_wait){ .fn = fn, .arg = arg, .place = place, .once = target->once };
    list_init(&w->node);
    timer_init(&w->deadline, on_wait_over, w);
    timer_set(&w->deadline, place ? p->limits->dial_ms + p->limits->tls_ms : 0);
    list_push(place ? &place->waits : &homeless, &w->node);
    if (place) {
        place->waiting++;
        loop_later_ask(&place->handout);
    }
    return NULL;
}

size_t pool_open(const struct pool *p)
{
    return p->open;
}

static void free_place(void *arg, struct slice key, void *value)
{
    struct pool_place *p = value;
    (void)arg;
    (void)key;
    while (!list_empty(&p->idle))
        upstream_drop(LIST_ENTRY(p->idle.next, struct upstream, node), CLOSE_SHUTTING_DOWN);
    while (!list_empty(&p->others)) /* warm ones that are still on their way */
        upstream_drop(LIST_ENTRY(p->others.next, struct upstream, node), CLOSE_SHUTTING_DOWN);
    while (!list_empty(&p->shared))
        upstream_drop(LIST_ENTRY(p->shared.next, struct upstream, node), CLOSE_SHUTTING_DOWN);
    loop_later_cancel(&p->handout);
    free(p);
}

static void free_identity(void *arg, struct slice key, void *value)
{
    (void)arg;
    (void)key;
    tls_client_free(value);
}

static void free_protocol(void *arg, struct slice key, void *value)
{
    (void)arg;
    (void)key;
    free(value);
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    if (p->places)
        hash_each(p->places, free_place, NULL);
    if (p->identities)
        hash_each(p->identities, free_identity, NULL);
    if (p->protocols)
        hash_each(p->protocols, free_protocol, NULL);
    hash_free(p->protocols);
    hash_free(p->places);
    hash_free(p->identities);
    h2_budget_done(&p->budget);
    free(p);
}
