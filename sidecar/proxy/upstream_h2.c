/* A connection that exchanges share: one stream each (RFC 9113 §5.1.2, §6.8). */
#include "base/clock.h"
#include "proxy/upstream_private.h"

#include <stdlib.h>

#define QUIET_MS (330 * 1000) /* gRPC servers take offence at PINGs more often than every 5 minutes */
#define PINGED_MS (20 * 1000)
#define UNSHARED_MS (60 * 1000)

/* --- deadlines --- */

int64_t upstream_h2_quiet_ms(const struct upstream *u)
{
    int64_t left_ms = h2_conn_heard_ms(u->conn) + QUIET_MS - clock_mono_ms();
    return left_ms > 0 ? left_ms : QUIET_MS;
}

int64_t upstream_h2_unshared_ms(const struct upstream *u)
{
    (void)u;
    return UNSHARED_MS;
}

int64_t upstream_h2_pinged_ms(const struct upstream *u)
{
    (void)u;
    return PINGED_MS;
}

static bool is_quiet(const struct upstream *u, int64_t ms)
{
    return clock_mono_ms() - h2_conn_heard_ms(u->conn) >= ms;
}

void upstream_h2_quiet(struct upstream *u)
{
    bool quiet = is_quiet(u, QUIET_MS);
    if (quiet)
        h2_conn_ping(u->conn);
    upstream_enter(u, quiet ? UPSTREAM_PINGED : UPSTREAM_SHARED);
}

void upstream_h2_dead(struct upstream *u)
{
    if (is_quiet(u, PINGED_MS))
        upstream_drop(u, CLOSE_TIMEOUT);
    else
        upstream_enter(u, UPSTREAM_SHARED);
}

/* --- who asks, and who waits --- */

void upstream_h2_tell(struct pool_place *p, enum pool_protocol protocol, const struct leg_fault *fault)
{
    struct list askers;
    list_take(&askers, &p->askers);
    for (struct list *n; (n = list_shift(&askers)) != NULL;) {
        struct pool_protocol_wait *w = LIST_ENTRY(n, struct pool_protocol_wait, node);
        w->fn(w->arg, protocol);
    }
    for (struct pool_wait *w; fault && (w = pool_wait_first(p)) != NULL;)
        w->fn(w->arg, NULL, fault);
}

static void learn(struct pool_place *p, enum pool_protocol protocol)
{
    p->protocol->known = protocol;
    p->protocol->known_ms = clock_mono_ms();
}

void upstream_wants_h1(struct upstream *u)
{
    if (u->place->protocol)
        learn(u->place, PROTOCOL_H1);
}

/* --- a connection --- */

static void rest(struct upstream *u)
{
    upstream_enter(u, UPSTREAM_UNSHARED);
    list_push(&u->place->pool->unused, &u->unused);
}

static void ask_handout(struct pool_place *p)
{
    if (!list_empty(&p->waits))
        loop_later_ask(&p->handout);
}

static void on_settled(void *owner)
{
    struct upstream *u = owner;
    struct pool_place *p = u->place;
    size_t limit = h2_conn_limit(u->conn);
    if (!limit) {
        upstream_attempt_failed(u, CLOSE_PROTOCOL,
                                &(struct leg_fault){ .status = 502,
                                                     .label = "http_protocol_error",
                                                     .text = "the upstream's SETTINGS allow no request" });
        return;
    }
    p->connecting--;
    p->stream_limit = limit;
    list_remove(&u->node);
    list_push(&p->shared, &u->node);
    rest(u);
    ask_handout(p);
}

static void end_when_left(struct upstream *u)
{
    if (u->leaving && !u->stream_count)
        upstream_drop(u, CLOSE_PEER_CLOSED);
}

static void on_leaving(void *owner)
{
    struct upstream *u = owner;
    struct pool_place *p = u->place;
    if (u->state == UPSTREAM_TLS || u->leaving)
        return;
    u->leaving = true;
    list_remove(&u->node);
    list_push(&p->others, &u->node);
    ask_handout(p);
    end_when_left(u);
}

static void on_ended(void *owner, const struct leg_fault *fault)
{
    struct upstream *u = owner;
    if (u->state == UPSTREAM_TLS)
        upstream_attempt_failed(u, close_reason_of_fault(fault), fault);
    else
        upstream_drop(u, close_reason_of_fault(fault));
}

static const struct h2_conn_events conn_events = { NULL, on_settled, on_leaving, on_ended };

/* The upstream has chosen HTTP/1.1: the connection is good for that. */
static void go_plain(struct upstream *u)
{
    struct pool_place *h2 = u->place, *plain = pool_place_of_h1(h2);
    learn(h2, PROTOCOL_H1);
    if (!plain) {
        upstream_drop(u, CLOSE_NOT_NEEDED);
    } else {
        h2->open--;
        h2->connecting--;
        plain->open++;
        plain->connecting++;
        u->place = plain;
        list_remove(&u->node);
        list_push(&plain->others, &u->node);
        upstream_connected(u);
    }
    upstream_h2_tell(h2, PROTOCOL_H1,
                     &(struct leg_fault){ .status = 502,
                                          .reset = true,
                                          .reset_code = H2_HTTP_1_1_REQUIRED,
                                          .label = "http_upgrade_failed",
                                          .text = "the upstream no longer supports HTTP/2" });
}

void upstream_h2_connected(struct upstream *u)
{
    struct pool_place *p = u->place;
    const struct h2_options options = { H2_CLIENT, &p->pool->budget, p->pool->limits->fields,
                                        (size_t)p->pool->limits->request_line_bytes };
    if (!stream_is_h2(u->stream)) {
        go_plain(u);
        return;
    }
    u->conn = h2_conn_new(u->stream, &options, &conn_events, u);
    if (!u->conn) {
        upstream_attempt_failed(
            u, CLOSE_OUT_OF_MEMORY,
            &(struct leg_fault){ .status = 502, .label = "proxy_internal_error", .text = "out of memory" });
        return;
    }
    u->stream = NULL;
    learn(p, PROTOCOL_H2);
    upstream_h2_tell(p, PROTOCOL_H2, NULL); /* its SETTINGS are still to come, within the same deadline */
}

void upstream_h2_drop(struct upstream *u)
{
    for (struct list *n; (n = list_shift(&u->streams)) != NULL;)
        LIST_ENTRY(n, struct upstream, node)->carrier = NULL;
    h2_conn_free(u->conn);
}

/* --- its streams --- */

static struct upstream *stream_on(struct upstream *carrier)
{
    struct upstream *s = calloc(1, sizeof *s);
    if (s && !(s->stream_leg = h2_conn_leg(carrier->conn))) {
        free(s);
        return NULL;
    }
    if (!s)
        return NULL;
    s->place = carrier->place;
    s->carrier = carrier;
    s->reused = carrier->reused;
    s->state = UPSTREAM_BUSY;
    list_init(&s->unused);
    list_push(&carrier->streams, &s->node);
    carrier->reused = true;
    list_remove(&carrier->unused);
    meter_streams(s->place->pool->meter, METER_UPSTREAM, 1);
    if (carrier->stream_count++ == 0)
        upstream_enter(carrier, UPSTREAM_SHARED);
    return s;
}

struct upstream *upstream_h2_pick(struct pool_place *p)
{
    for (struct list *n = p->shared.next; n != &p->shared; n = n->next) {
        struct upstream *u = LIST_ENTRY(n, struct upstream, node);
        if (u->stream_count < h2_conn_limit(u->conn))
            return stream_on(u);
    }
    return NULL;
}

size_t upstream_h2_needed(const struct pool_place *p)
{
    if (!p->waiting || !p->stream_limit)
        return p->waiting ? 1 : 0; /* the first tells how many the others must be */
    return (p->waiting + p->stream_limit - 1) / p->stream_limit;
}

void upstream_h2_give_back(struct upstream *stream)
{
    struct upstream *u = stream->carrier;
    struct pool_place *p = stream->place;
    meter_streams(p->pool->meter, METER_UPSTREAM, -1);
    leg_free(stream->stream_leg);
    list_remove(&stream->node);
    free(stream);
    if (u && --u->stream_count == 0)
        rest(u);
    ask_handout(p);
    if (u)
        end_when_left(u);
}
