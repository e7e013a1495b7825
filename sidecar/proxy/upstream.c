#include "proxy/upstream.h"

#include "base/hash.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define UNREAD_MAX (64 * 1024)
#define PLACES_MAX 1024


struct place { /* everything about one pool key; lives as long as the pool */
    struct pool *pool;
    struct authority a0;
    struct tls_client *tls; /* NULL: plain */
    struct list idle;       /* struct upstream, most recently used first */
    struct list waits;      /* struct upstream_wait */
    size_t open, connecting;
    struct later handout;
    char key[];
};

struct pool {
    struct dialer *dialer;
    const struct worker_limits *limits;
    struct hash *places, *identities;
    size_t open;
};

enum upstream_state { UPSTREAM_DIAL, UPSTREAM_TLS, UPSTREAM_IDLE, UPSTREAM_BUSY, UPSTREAM_UNREAD };

struct upstream {
    struct list node; /* in place.idle */
    struct place *place;
    enum upstream_state state;
    struct dial *dial;
    struct stream *stream; /* until there is a leg */
    struct h1_leg *leg;
    struct deadline deadline;
    bool reused;
    size_t unread;
};

static const struct leg_events idle_events, unread_events;
static void connect_next(struct place *p);

struct pool *pool_new(struct dialer *dialer, const struct worker_limits *limits)
{
    struct pool *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    *p = (struct pool){ .dialer = dialer, .limits = limits, .places = hash_new(), .identities = hash_new() };
    if (!p->places || !p->identities) {
        pool_free(p);
        return NULL;
    }
    return p;
}

/* --- one connection --- */

static void upstream_end(struct upstream *u)
{
    struct place *p = u->place;
    if (u->state == UPSTREAM_DIAL || u->state == UPSTREAM_TLS)
        p->connecting--;
    p->open--;
    p->pool->open--;
    list_remove(&u->node);
    deadline_stop(&u->deadline);
    dial_cancel(u->dial);
    if (u->stream)
        stream_free(u->stream);
    h1_leg_free(u->leg);
    free(u);
    if (!list_empty(&p->waits))
        later_ask(&p->handout);
}

void upstream_drop(struct upstream *u)
{
    upstream_end(u);
}

static void on_idle_over(void *arg)
{
    upstream_end(arg);
}

static void park(struct upstream *u)
{
    struct place *p = u->place;
    u->state = UPSTREAM_IDLE;
    h1_leg_own(u->leg, &idle_events, u);
    leg_next(h1_leg_base(u->leg));
    leg_want(h1_leg_base(u->leg), true); /* readable while idle = of no more use */
    list_unshift(&p->idle, &u->node);
    deadline_set(&u->deadline, p->pool->limits->upstream_idle_ms);
    if (!list_empty(&p->waits))
        later_ask(&p->handout);
}

static void hand_over(struct upstream *u)
{
    list_remove(&u->node);
    deadline_stop(&u->deadline);
    u->state = UPSTREAM_BUSY;
    leg_want(h1_leg_base(u->leg), false);
}

static void idle_head(void *owner, struct message *head)
{
    (void)head;
    upstream_end(owner); /* an answer that nobody asked for */
}

static void idle_data(void *owner, struct slice data)
{
    (void)data;
    upstream_end(owner);
}

static void idle_end(void *owner, struct message *trailers)
{
    (void)trailers;
    upstream_end(owner);
}

static void idle_room(void *owner)
{
    (void)owner;
}

static void idle_gone(void *owner, const struct leg_fault *fault)
{
    (void)fault;
    upstream_end(owner);
}

static const struct leg_events idle_events = { idle_head, idle_data, idle_end, idle_room, idle_gone };

static void unread_head(void *owner, struct message *head)
{
    (void)owner;
    (void)head;
}

static void unread_data(void *owner, struct slice data)
{
    struct upstream *u = owner;
    u->unread += data.len;
    if (u->unread > UNREAD_MAX)
        upstream_end(u);
}

static void unread_end(void *owner, struct message *trailers)
{
    (void)trailers;
    upstream_give_back(owner);
}

static const struct leg_events unread_events = { unread_head, unread_data, unread_end, idle_room, idle_gone };

void upstream_give_back(struct upstream *u)
{
    if (!h1_leg_reusable(u->leg)) {
        upstream_end(u);
        return;
    }
    u->reused = true;
    park(u);
}

void upstream_give_back_unread(struct upstream *u)
{
    if (h1_leg_reusable(u->leg)) {
        upstream_give_back(u);
        return;
    }
    u->state = UPSTREAM_UNREAD;
    u->unread = 0;
    h1_leg_own(u->leg, &unread_events, u);
    deadline_set(&u->deadline, u->place->pool->limits->upstream_idle_ms);
    leg_want(h1_leg_base(u->leg), true);
}

struct h1_leg *upstream_leg(struct upstream *u)
{
    return u->leg;
}

bool upstream_reused(const struct upstream *u)
{
    return u->reused;
}

struct stream *upstream_detach(struct upstream *u, struct buf *leftover)
{
    struct stream *s = h1_leg_detach(u->leg, leftover);
    u->leg = NULL;
    upstream_end(u);
    return s;
}

/* --- becoming connected --- */

/* The attempt failed: so does the one who has waited longest; others have attempts of their own. */
static void attempt_failed(struct upstream *u, const struct leg_fault *fault)
{
    struct place *p = u->place;
    struct list *first = list_shift(&p->waits);
    if (first) {
        struct upstream_wait *w = LIST_ENTRY(first, struct upstream_wait, node);
        deadline_stop(&w->deadline);
        w->fn(w->arg, NULL, fault);
    } else {
        log_debug(log_msg("warm upstream connection failed"), log_str("reason", fault->label));
    }
    upstream_end(u);
}

static void connected(struct upstream *u)
{
    struct stream *s = u->stream;
    u->place->connecting--;
    u->state = UPSTREAM_BUSY;
    u->stream = NULL;
    u->leg = h1_leg_new(s, H1_RESPONSES, &idle_events, u);
    if (!u->leg) {
        stream_free(s);
        upstream_end(u);
        return;
    }
    struct list *first = list_shift(&u->place->waits);
    if (!first) {
        park(u);
        return;
    }
    struct upstream_wait *w = LIST_ENTRY(first, struct upstream_wait, node);
    deadline_stop(&w->deadline);
    hand_over(u);
    w->fn(w->arg, u, NULL);
}

static void on_handshake(void *owner, enum stream_event event)
{
    struct upstream *u = owner;
    if (event == STREAM_SECURED)
        connected(u);
    else if (event == STREAM_FAILED)
        attempt_failed(u, &(struct leg_fault){ .status = 502, .verify = stream_verify_failed(u->stream), .label = stream_error_label(u->stream),
                                               .text = stream_error(u->stream) });
}

static void on_handshake_late(void *arg)
{
    attempt_failed(arg, &(struct leg_fault){ .status = 504, .label = "connection_timeout", .text = "the upstream's TLS handshake took too long" });
}

/* Takes fd over.  Completes later, also for plain connections. */
static void secure(struct upstream *u, int fd)
{
    struct place *p = u->place;
    u->state = UPSTREAM_TLS;
    u->stream = stream_new(fd, on_handshake, u);
    if (!u->stream) {
        close(fd);
        attempt_failed(u, &(struct leg_fault){ .status = 502, .label = "proxy_internal_error", .text = "out of memory" });
        return;
    }
    if (!p->tls) {
        connected(u);
        return;
    }
    deadline_init(&u->deadline, on_handshake_late, u);
    deadline_set(&u->deadline, p->pool->limits->tls_ms);
    if (stream_connect_tls(u->stream, p->tls, p->a0.host, p->a0.kind != HOST_NAME, p->key) != 0)
        attempt_failed(u, &(struct leg_fault){ .status = 502, .label = "proxy_internal_error", .text = "out of memory" });
}

static void on_dialled(void *arg, int fd, enum dial_error error, const char *text)
{
    struct upstream *u = arg;
    u->dial = NULL;
    if (error == DIAL_OK)
        secure(u, fd);
    else
        attempt_failed(u, &(struct leg_fault){ .status = error == DIAL_TIMEOUT ? 504 : error == DIAL_FORBIDDEN ? 403 : 502,
                                               .label = dial_error_label(error), .text = text });
}

static struct upstream *upstream_new(struct place *p)
{
    struct upstream *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->place = p;
    u->state = UPSTREAM_DIAL;
    list_init(&u->node);
    deadline_init(&u->deadline, on_idle_over, u);
    p->open++;
    p->connecting++;
    p->pool->open++;
    return u;
}

static void connect_next(struct place *p)
{
    struct upstream *u;
    if (p->open >= p->pool->limits->per_upstream || !(u = upstream_new(p)))
        return; /* who waits gets the next one that is given back, or its deadline */
    u->dial = dial_start(p->pool->dialer, &p->a0, on_dialled, u);
    if (!u->dial)
        upstream_end(u);
}

/* --- the pool --- */

static void on_handout(struct later *later)
{
    struct place *p = LIST_ENTRY(later, struct place, handout);
    while (!list_empty(&p->waits) && !list_empty(&p->idle)) {
        struct upstream *u = LIST_ENTRY(p->idle.next, struct upstream, node);
        struct upstream_wait *w = LIST_ENTRY(list_shift(&p->waits), struct upstream_wait, node);
        deadline_stop(&w->deadline);
        hand_over(u);
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
    const char *ca = rule ? or_empty(rule->ca_file) : "", *cert = rule ? or_empty(rule->cert_file) : "", *private_key = rule ? or_empty(rule->key_file) : "";
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
    int len = snprintf(key, sizeof key, "%s%s|%s|%s|%s", tls ? "s:" : "p:", authority_key(t->a0, text), r && tls ? or_empty(r->ca_file) : "",
                       r && tls ? or_empty(r->cert_file) : "", r && tls ? or_empty(r->key_file) : "");
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
        secure(u, fd);
    else
        close(fd);
}

void upstream_wait_cancel(struct upstream_wait *w)
{
    if (!w->node.next)
        return;
    list_remove(&w->node);
    deadline_stop(&w->deadline);
}

static void on_wait_over(void *arg)
{
    struct upstream_wait *w = arg;
    upstream_wait_cancel(w);
    w->fn(w->arg, NULL, &(struct leg_fault){ .status = 504, .label = "connection_limit_reached", .text = "no upstream connection in time" });
}

static struct list homeless = { &homeless, &homeless };

struct upstream *pool_take(struct pool *p, const struct upstream_target *target, struct upstream_wait *w,
                           void (*fn)(void *arg, struct upstream *u, const struct leg_fault *fault), void *arg)
{
    struct place *place = place_of(p, target);
    struct upstream *u = NULL;
    while (place && !list_empty(&place->idle)) {
        u = LIST_ENTRY(place->idle.next, struct upstream, node);
        if (!h1_leg_started(u->leg)) {
            hand_over(u);
            *w = (struct upstream_wait){ .fn = NULL };
            return u;
        }
        upstream_end(u);
    }
    *w = (struct upstream_wait){ .fn = fn, .arg = arg };
    list_init(&w->node);
    deadline_init(&w->deadline, on_wait_over, w);
    deadline_set(&w->deadline, place ? p->limits->dial_ms + p->limits->tls_ms : 0);
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
        upstream_end(LIST_ENTRY(p->idle.next, struct upstream, node));
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
