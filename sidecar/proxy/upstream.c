#include "base/clock.h"
#include "base/log.h"
#include "proxy/upstream_private.h"

#include <stdlib.h>
#include <unistd.h>

#define UNREAD_MAX (64 * 1024)

static const struct leg_events idle_events, unread_events;

static int64_t tls_ms(const struct upstream *u);
static int64_t idle_ms(const struct upstream *u);
static int64_t unread_ms(const struct upstream *u);
static void tls_late(struct upstream *u);
static void idle_over(struct upstream *u);
static void unread_late(struct upstream *u);

/* Every state has a deadline: after deadline_ms, late.  NULL: somebody else keeps the time. */
static const struct {
    const char *name;
    int64_t (*deadline_ms)(const struct upstream *u);
    void (*late)(struct upstream *u);
} states[] = {
    [UPSTREAM_DIAL] = { "dial", NULL, NULL },                 /* the dialler: limits.dial */
    [UPSTREAM_TLS] = { "tls", tls_ms, tls_late },             /* limits.tls */
    [UPSTREAM_IDLE] = { "idle", idle_ms, idle_over },         /* limits.upstream_idle, or what its server says */
    [UPSTREAM_BUSY] = { "busy", NULL, NULL },                 /* its exchange */
    [UPSTREAM_UNREAD] = { "unread", unread_ms, unread_late }, /* limits.upstream_idle */
    [UPSTREAM_SHARED] = { "shared", upstream_h2_quiet_ms, upstream_h2_quiet },
    [UPSTREAM_UNSHARED] = { "unshared", upstream_h2_unshared_ms, idle_over },
    [UPSTREAM_PINGED] = { "pinged", upstream_h2_pinged_ms, upstream_h2_dead },
};

void upstream_enter(struct upstream *u, enum upstream_state next)
{
    log_debug(log_msg("upstream"), log_str("from", states[u->state].name), log_str("to", states[next].name));
    u->state = next;
    if (states[next].deadline_ms)
        timer_set(&u->deadline, states[next].deadline_ms(u));
    else
        timer_stop(&u->deadline);
}

static void on_deadline(void *arg)
{
    struct upstream *u = arg;
    states[u->state].late(u);
}

/* --- one connection --- */

static void report_drop(const struct upstream *u, enum close_reason reason)
{
    char host[AUTHORITY_TEXT_MAX];
    meter_close(u->place->pool->meter, METER_UPSTREAM, reason);
    log_debug(log_msg("upstream connection closed"), log_str("reason", close_reason_word(reason)),
              log_str("host", authority_key(&u->place->a0, host)));
}

/* From here on it is for everybody. */
static void leave_warm(struct upstream *u)
{
    if (u->warm)
        u->warm->u = NULL;
    u->warm = NULL;
}

void upstream_drop(struct upstream *u, enum close_reason reason)
{
    struct pool_place *p = u->place;
    if (u->stream_leg) {
        upstream_h2_give_back(u);
        return;
    }
    report_drop(u, reason);
    leave_warm(u);
    upstream_h2_drop(u);
    if (u->state == UPSTREAM_DIAL || u->state == UPSTREAM_TLS)
        p->connecting--;
    p->open--;
    p->pool->open--;
    list_remove(&u->node);
    list_remove(&u->unused);
    timer_stop(&u->deadline);
    dial_cancel(u->dial);
    if (u->stream)
        stream_free(u->stream);
    h1_leg_free(u->leg);
    free(u);
    if (!list_empty(&p->waits))
        loop_later_ask(&p->handout);
}

static void idle_over(struct upstream *u)
{
    upstream_drop(u, CLOSE_IDLE);
}

/* Before the server does it: a request that meets its close on the way may be lost.  What it says is cut by a fifth, as
 * 4 s are of the usual 5. */
static int64_t idle_ms(const struct upstream *u)
{
    int64_t limit_ms = u->place->pool->limits->upstream_idle_ms, said_ms = (int64_t)h1_leg_idle_s(u->leg) * 800;
    return said_ms && said_ms < limit_ms ? said_ms : limit_ms;
}

static void park(struct upstream *u)
{
    struct pool_place *p = u->place;
    upstream_enter(u, UPSTREAM_IDLE);
    u->unused_ms = clock_mono_ms();
    list_remove(&u->node);
    leg_own(h1_leg_base(u->leg), &idle_events, u);
    leg_next(h1_leg_base(u->leg));
    leg_want(h1_leg_base(u->leg), true); /* readable while idle = of no more use */
    list_unshift(&p->idle, &u->node);
    list_push(&p->pool->unused, &u->unused);
    if (!list_empty(&p->waits))
        loop_later_ask(&p->handout);
}

void upstream_hand_over(struct upstream *u)
{
    list_remove(&u->node);
    list_remove(&u->unused);
    list_push(&u->place->others, &u->node);
    upstream_enter(u, UPSTREAM_BUSY);
    leg_want(h1_leg_base(u->leg), false);
}

static void idle_head(void *owner, struct message *head)
{
    (void)head;
    upstream_drop(owner, CLOSE_PROTOCOL); /* an answer that nobody asked for */
}

static void idle_data(void *owner, struct slice data)
{
    (void)data;
    upstream_drop(owner, CLOSE_PROTOCOL);
}

static void idle_end(void *owner, struct message *trailers)
{
    (void)trailers;
    upstream_drop(owner, CLOSE_PROTOCOL);
}

static void idle_space(void *owner)
{
    (void)owner;
}

static void idle_gone(void *owner, const struct leg_fault *fault)
{
    upstream_drop(owner, close_reason_of_fault(fault));
}

static const struct leg_events idle_events = { idle_head, idle_data, idle_end, idle_space, idle_gone };

static int64_t unread_ms(const struct upstream *u)
{
    return u->place->pool->limits->upstream_idle_ms;
}

static void unread_late(struct upstream *u)
{
    upstream_drop(u, CLOSE_TIMEOUT);
}

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
        upstream_drop(u, CLOSE_UNREAD);
}

static void unread_end(void *owner, struct message *trailers)
{
    (void)trailers;
    upstream_give_back(owner);
}

static const struct leg_events unread_events = { unread_head, unread_data, unread_end, idle_space, idle_gone };

void upstream_give_back(struct upstream *u)
{
    if (u->stream_leg) {
        upstream_h2_give_back(u);
        return;
    }
    if (!h1_leg_reusable(u->leg)) {
        upstream_drop(u, CLOSE_ANSWERED);
        return;
    }
    u->reused = true;
    park(u);
}

void upstream_give_back_unread(struct upstream *u)
{
    if (u->stream_leg || h1_leg_reusable(u->leg)) {
        upstream_give_back(u);
        return;
    }
    upstream_enter(u, UPSTREAM_UNREAD);
    u->unread = 0;
    leg_own(h1_leg_base(u->leg), &unread_events, u);
    leg_want(h1_leg_base(u->leg), true);
}

struct leg *upstream_leg(struct upstream *u)
{
    return u->stream_leg ? u->stream_leg : h1_leg_base(u->leg);
}

bool upstream_reused(const struct upstream *u)
{
    return u->reused;
}

struct stream *upstream_detach(struct upstream *u, struct buf *leftover)
{
    struct stream *s = h1_leg_detach(u->leg, leftover);
    u->leg = NULL;
    upstream_drop(u, s ? CLOSE_UPGRADED : CLOSE_OUT_OF_MEMORY);
    return s;
}

/* --- becoming connected --- */

/* The attempt failed: so does the one who has waited longest; others have attempts of their own. */
void upstream_attempt_failed(struct upstream *u, enum close_reason reason, const struct leg_fault *fault)
{
    struct pool_place *p = u->place;
    struct pool_wait *w = p->protocol ? NULL : pool_wait_first(p);
    if (p->protocol) {
        upstream_h2_tell(p, PROTOCOL_UNKNOWN, fault);
    } else if (w) {
        w->fn(w->arg, NULL, fault);
    } else {
        log_debug(log_msg("warm upstream connection failed"), log_str("reason", fault->label));
    }
    upstream_drop(u, reason);
}

void upstream_connected(struct upstream *u)
{
    leave_warm(u);
    if (u->place->protocol) {
        upstream_h2_connected(u);
        return;
    }
    struct stream *s = u->stream;
    u->place->connecting--;
    upstream_enter(u, UPSTREAM_BUSY);
    u->stream = NULL;
    u->leg = h1_leg_new(s, H1_RESPONSES, &idle_events, u);
    if (!u->leg) {
        stream_free(s);
        upstream_drop(u, CLOSE_OUT_OF_MEMORY);
        return;
    }
    h1_leg_limit(u->leg, u->place->pool->limits->fields, H1_LINE_BYTES);
    struct pool_wait *w = pool_wait_first(u->place);
    if (!w) {
        park(u);
        return;
    }
    upstream_hand_over(u);
    w->fn(w->arg, u, NULL);
}

static void on_handshake(void *owner, enum stream_event event)
{
    struct upstream *u = owner;
    if (event == STREAM_SECURED)
        upstream_connected(u);
    else if (event == STREAM_FAILED)
        upstream_attempt_failed(u, CLOSE_TLS_FAILED,
                                &(struct leg_fault){ .status = 502,
                                                     .verify = stream_verify_failed(u->stream),
                                                     .label = stream_error_label(u->stream),
                                                     .text = stream_error(u->stream) });
}

static int64_t tls_ms(const struct upstream *u)
{
    return u->place->pool->limits->tls_ms;
}

static void tls_late(struct upstream *u)
{
    upstream_attempt_failed(u, CLOSE_TIMEOUT,
                            &(struct leg_fault){ .status = 504,
                                                 .label = "connection_timeout",
                                                 .text = "the upstream's TLS handshake took too long" });
}

/* Takes fd over.  Completes later, also for plain connections. */
void upstream_secure(struct upstream *u, int fd)
{
    struct pool_place *p = u->place;
    upstream_enter(u, UPSTREAM_TLS);
    u->stream = stream_new(fd, on_handshake, u);
    if (!u->stream) {
        close(fd);
        upstream_attempt_failed(
            u, CLOSE_OUT_OF_MEMORY,
            &(struct leg_fault){ .status = 502, .label = "proxy_internal_error", .text = "out of memory" });
        return;
    }
    if (!p->tls) {
        upstream_connected(u);
        return;
    }
    if (stream_connect_tls(u->stream, p->tls, p->a0.host, p->a0.kind != HOST_NAME, p->key) != 0
        || (p->protocol && stream_set_alpn(u->stream, TLS_ALPN_H2) != 0))
        upstream_attempt_failed(
            u, CLOSE_OUT_OF_MEMORY,
            &(struct leg_fault){ .status = 502, .label = "proxy_internal_error", .text = "out of memory" });
}

static int dial_status(enum dial_error error)
{
    if (error == DIAL_TIMEOUT)
        return 504;
    return error == DIAL_FORBIDDEN ? 403 : 502;
}

static void on_dialled(void *arg, int fd, enum dial_error error, const char *text)
{
    struct upstream *u = arg;
    u->dial = NULL;
    if (error == DIAL_OK)
        upstream_secure(u, fd);
    else
        upstream_attempt_failed(
            u, error == DIAL_TIMEOUT ? CLOSE_TIMEOUT : CLOSE_UNREACHABLE,
            &(struct leg_fault){ .status = dial_status(error), .label = dial_error_label(error), .text = text });
}

/* Clients are counted, and each has one exchange at a time: only what nobody uses can pile up. */
static void make_space(struct pool *pool)
{
    while (pool->open >= pool->limits->connections && !list_empty(&pool->unused))
        upstream_drop(LIST_ENTRY(pool->unused.next, struct upstream, unused), CLOSE_CROWDED_OUT);
}

struct upstream *upstream_new(struct pool_place *p)
{
    struct upstream *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    make_space(p->pool);
    u->place = p;
    list_init(&u->unused);
    list_init(&u->streams);
    timer_init(&u->deadline, on_deadline, u);
    upstream_enter(u, UPSTREAM_DIAL);
    list_push(&p->others, &u->node);
    p->open++;
    p->connecting++;
    p->pool->open++;
    return u;
}

void upstream_dial(struct upstream *u)
{
    u->dial = (u->place->bare ? dial_start_bare : dial_start)(u->place->pool->dialer, &u->place->a0, on_dialled, u);
    if (!u->dial)
        upstream_drop(u, CLOSE_OUT_OF_MEMORY);
}
