#include "proxy/worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem_trim.h"
#include "net/listen_unix.h"
#include "net/ipc/msg_send.h"
#include "net/timer.h"
#include "proxy/admin.h"
#include "proxy/client.h"
#include "proxy/context.h"
#include "proxy/isolated.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sysexits.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEASURE_EVERY_MS 1000
#define QUIET_REST_S 30
#define LAST_WORDS_MS 1000 /* without clients, operators who are waiting may keep the end waiting */

enum listener_at {
    LISTENER_PROXY,
    LISTENER_LOCAL,
    LISTENER_TRANSPARENT,
    LISTENER_GATEWAY,
    LISTENER_REDIRECTED,
    LISTENER_ADMIN,
    LISTENER_ADMIN_LOCAL,
    WORKER_LISTENERS
};
#define CLIENT_LISTENERS LISTENER_ADMIN /* those before it are for clients */

struct worker {
    struct context ctx; /* first: callbacks get it */
    struct worker_sockets sockets;
    struct ipc *supervisor, *keeper;
    struct admin *admin;
    struct listener *listeners[WORKER_LISTENERS];
    struct isolated *isolated; /* NULL: no program is */
    struct timer measure;
    struct timer drain, trim;
    unsigned quiet_s; /* without a client */
    bool ready, over, last_words, hurried;
    int status;
};

/* A WANT or a MINT may be left out when the keeper stands still: who waits has a deadline, and whoever comes next asks
 * again. */
static void send_to(struct ipc *to, const struct msg *m)
{
    bool may_be_left_out = m->type == MSG_WANT || m->type == MSG_MINT;
    int failed = may_be_left_out ? msg_send_offer(to, m) : msg_send(to, m, -1);
    if (failed && to)
        log_debug(log_msg("cannot send a message"), log_int("type", m->type), log_int("errno", -failed));
}

static void send_want(void *arg, const struct msg *m)
{
    send_to(((struct worker *)arg)->keeper, m);
}

static void finish(struct worker *w, int status)
{
    w->over = true;
    w->status = status;
    ev_break(loop_get(), EVBREAK_ALL);
}

static void measure(struct worker *w)
{
    meter_gauge(w->ctx.meter, METER_UPSTREAM, (double)pool_open(w->ctx.pool));
    meter_waiters(w->ctx.meter, (double)tokens_waiting(w->ctx.tokens));
    meter_measure(w->ctx.meter);
}

static void on_measure(void *arg)
{
    struct worker *w = arg;
    timer_set(&w->measure, MEASURE_EVERY_MS);
    w->quiet_s = w->ctx.client_count ? 0 : w->quiet_s + 1;
    if (w->quiet_s == QUIET_REST_S)
        mem_trim_now();
    measure(w);
}

static void ask(struct context *ctx, const struct msg *question)
{
    struct worker *w = CONTAINER_OF(ctx, struct worker, ctx);
    if (question->ask == MSG_ASK_METRICS)
        measure(w);
    bool supervisors =
        question->ask == MSG_ASK_RELOAD || question->ask == MSG_ASK_METRICS || question->ask == MSG_ASK_LIVE;
    send_to(supervisors ? w->supervisor : w->keeper, question);
}

/* --- keeper --- */

static void on_keeper_packet(void *arg, struct slice packet, int fd)
{
    struct worker *w = arg;
    struct msg m;
    if (fd >= 0)
        close(fd);
    if (msg_decode(packet, &m) != 0) {
        log_error(log_msg("cannot read a message from the keeper"));
        return;
    }
    switch (m.type) {
    case MSG_TOKEN:
    case MSG_FAIL: tokens_message(w->ctx.tokens, &m); return;
    case MSG_LEAF: leaves_message(w->ctx.leaves, &m); return;
    case MSG_MINT_ANEW: leaves_forget(w->ctx.leaves); return;
    case MSG_ANSWER: admin_answer(w->admin, &m); return;
    case MSG_CONFIG:
        if (!w->ready)
            send_to(w->supervisor, &(struct msg){ .type = MSG_READY, .name = SLICE("worker"), .tag = w->sockets.slot });
        if (!w->ready)
            timer_set(&w->trim, MEM_TRIM_AFTER_MS);
        w->ready = true;
        return;
    default: return;
    }
}

/* For requests that wait for a token, and for /livez. */
static void set_linked(struct worker *w, bool linked)
{
    w->ctx.unlinked_ms = linked ? 0 : clock_mono_ms();
    tokens_set_linked(w->ctx.tokens, linked);
}

static void on_keeper_gone(void *arg)
{
    struct worker *w = arg;
    log_warn(log_msg("this worker lost its link to the keeper: it continues with cached tokens"));
    ipc_free(w->keeper);
    w->keeper = NULL;
    set_linked(w, false);
    send_to(w->supervisor, &(struct msg){ .type = MSG_WIRE, .name = SLICE("worker"), .tag = w->sockets.slot });
}

static void meet_keeper(struct worker *w, int fd)
{
    ipc_free(w->keeper);
    w->keeper = ipc_new(fd, on_keeper_packet, on_keeper_gone, w);
    if (!w->keeper) {
        close(fd);
        on_keeper_gone(w);
        return;
    }
    set_linked(w, true);
    send_to(w->keeper, &(struct msg){ .type = MSG_HELLO, .name = SLICE("worker"), .tag = w->sockets.slot });
    tokens_resend(w->ctx.tokens);
    leaves_resend(w->ctx.leaves);
}

/* --- supervisor --- */

static void on_trim(void *arg)
{
    struct worker *w = arg;
    if (w->ctx.client_count == 0)
        mem_trim_now();
}

static void on_drain_over(void *arg)
{
    struct worker *w = arg;
    if (w->ctx.client_count)
        log_warn(log_msg("drain timeout: closing the remaining connections"),
                 log_int("connections", w->ctx.client_count));
    finish(w, 0);
}

static void maybe_drained(struct worker *w)
{
    if (!w->ctx.draining || w->ctx.client_count)
        return;
    if (!admin_busy(w->admin)) {
        finish(w, 0);
        return;
    }
    if (w->ctx.leaving && !w->last_words) {
        timer_set(&w->drain, LAST_WORDS_MS);
        w->last_words = true;
    }
}

static int listener_fd(const struct worker *w, unsigned listener_at)
{
    const int fds[] = { [LISTENER_PROXY] = w->sockets.proxy,
                        [LISTENER_LOCAL] = w->sockets.local,
                        [LISTENER_TRANSPARENT] = w->sockets.transparent,
                        [LISTENER_GATEWAY] = w->sockets.gateway,
                        [LISTENER_REDIRECTED] = w->sockets.redirected,
                        [LISTENER_ADMIN] = w->sockets.admin,
                        [LISTENER_ADMIN_LOCAL] = w->sockets.admin_local };
    return fds[listener_at];
}

/* Nobody will accept again: who connects from now on is refused at once and does not wait in the queue for the end. */
static void refuse_connections(const struct worker *w)
{
    if (w->sockets.lent)
        return;
    isolated_refuse(w->isolated);
    for (unsigned i = 0; i < CLIENT_LISTENERS; i++)
        if (i == LISTENER_LOCAL && listener_fd(w, i) >= 0)
            listen_unix_refuse(listener_fd(w, i));
        else if (listener_fd(w, i) >= 0)
            (void)shutdown(listener_fd(w, i), SHUT_RDWR);
}

static void let_in(struct worker *w, unsigned from, unsigned end, bool accept)
{
    for (unsigned i = from; i < end; i++)
        if (w->listeners[i])
            listener_set(w->listeners[i], accept);
}

static void let_clients_in(struct worker *w, bool accept)
{
    let_in(w, 0, CLIENT_LISTENERS, accept);
    isolated_set(w->isolated, accept);
}

/* last: the program ends, no other worker takes the listeners over.  Operators are answered to the end then; else new
 * ones are the next worker's, whose keeper is the one to ask, and those who are here get their answers. */
static void start_drain(struct worker *w, bool last)
{
    if (w->ctx.draining)
        return;
    w->ctx.draining = true;
    w->ctx.leaving = last;
    let_clients_in(w, false);
    if (last)
        refuse_connections(w);
    else
        let_in(w, CLIENT_LISTENERS, WORKER_LISTENERS, false);
    w->ctx.drain_idle_ms = last ? 0 : w->ctx.options->limits.drain_ms;
    timer_set(&w->drain, last ? w->ctx.options->limits.drain_ms : w->ctx.options->limits.reload_drain_ms);
    clients_drain(&w->ctx);
    maybe_drained(w);
}

/* The program ends after a reload: the newer workers may have ended before this one, so operators are its own again. */
static void leave(struct worker *w)
{
    w->ctx.leaving = true;
    refuse_connections(w);
    let_in(w, CLIENT_LISTENERS, WORKER_LISTENERS, true);
    maybe_drained(w);
}

/* After a reload it has had time: the program ends too, or too many like it are there. */
static void hurry(struct worker *w)
{
    if (w->hurried)
        return;
    w->hurried = true;
    w->ctx.drain_idle_ms = 0;
    timer_set(&w->drain, w->ctx.options->limits.drain_ms);
    clients_hurry(&w->ctx);
    maybe_drained(w);
}

static void on_drain(struct worker *w, uint64_t how)
{
    bool last = how == MSG_DRAIN_LAST;
    if (!w->ctx.draining)
        start_drain(w, last);
    else if (how && !w->ctx.leaving)
        hurry(w);
    if (last && !w->ctx.leaving)
        leave(w);
}

static void on_supervisor_packet(void *arg, struct slice packet, int fd)
{
    struct worker *w = arg;
    struct msg m = { .type = 0 };
    if (msg_decode(packet, &m) == 0 && m.type == MSG_WIRE && fd >= 0) {
        meet_keeper(w, fd);
        return;
    }
    if (fd >= 0)
        close(fd);
    if (m.type == MSG_PING)
        send_to(w->supervisor, &m);
    else if (m.type == MSG_DRAIN)
        on_drain(w, m.tag);
    else if (m.type == MSG_ANSWER)
        admin_answer(w->admin, &m);
}

static void on_supervisor_gone(void *arg)
{
    finish(arg, 0); /* nobody would start us again: do not outlive it */
}

/* --- clients --- */

static void set_accepting(struct worker *w)
{
    let_clients_in(w, !w->ctx.draining
                          && w->ctx.client_count - w->ctx.newcomer_count < w->ctx.options->limits.connections);
}

static void on_client_end(struct context *ctx)
{
    struct worker *w = CONTAINER_OF(ctx, struct worker, ctx);
    maybe_drained(w);
    if (ctx->client_count - ctx->newcomer_count + 1 == ctx->options->limits.connections)
        set_accepting(w);
}

static void on_client_settled(struct context *ctx)
{
    if (ctx->client_count - ctx->newcomer_count >= ctx->options->limits.connections)
        set_accepting(CONTAINER_OF(ctx, struct worker, ctx));
}

static void let_client_in(struct worker *w, int fd, void (*accept)(struct context *ctx, int fd))
{
    accept(&w->ctx, fd);
    set_accepting(w);
}

static void on_proxy_accept(void *arg, int fd, const struct sockaddr *peer)
{
    (void)peer;
    let_client_in(arg, fd, client_accept);
}

static void on_local_accept(void *arg, int fd, const struct sockaddr *peer)
{
    (void)peer;
    let_client_in(arg, fd, client_accept_local);
}

static void on_transparent_accept(void *arg, int fd, const struct sockaddr *peer)
{
    (void)peer;
    let_client_in(arg, fd, client_accept_transparent);
}

static void on_isolated_accept(void *arg, int fd, const struct sockaddr *peer)
{
    (void)peer;
    let_client_in(arg, fd, client_accept_isolated);
}

static void on_gateway_accept(void *arg, int fd, const struct sockaddr *peer)
{
    (void)peer;
    let_client_in(arg, fd, client_accept_gateway);
}

static void on_redirected_accept(void *arg, int fd, const struct sockaddr *peer)
{
    (void)peer;
    let_client_in(arg, fd, client_accept_redirected);
}

static void on_admin_accept(void *arg, int fd, const struct sockaddr *peer)
{
    struct worker *w = arg;
    admin_accept(w->admin, fd, address_class_of(peer) == ADDRESS_LOOPBACK ? ADMIN_LOOPBACK : ADMIN_REMOTE);
}

static void on_admin_local_accept(void *arg, int fd, const struct sockaddr *peer)
{
    struct worker *w = arg;
    (void)peer;
    admin_accept(w->admin, fd, ADMIN_SOCKET);
}

/* --- life --- */

static int prepare_tokens(struct worker *w)
{
    for (size_t i = 0; i < w->ctx.options->rule_count; i++) {
        const char *name = w->ctx.options->rules[i].credential;
        if (name && !tokens_credential(w->ctx.tokens, name))
            return -1;
    }
    return 0;
}

static int prepare_upstreams(struct worker *w, struct err *e)
{
    for (size_t i = 0; i < w->ctx.options->rule_count; i++)
        if (pool_prepare(w->ctx.pool, &w->ctx.options->rules[i], e) != 0)
            return err_wrap(e, "rule %s: ", w->ctx.options->rules[i].name);
    return 0;
}

static int build(struct worker *w, const struct worker_options *o, struct slice ticket_key, struct err *e)
{
    struct context *c = &w->ctx;
    c->options = o;
    c->on_client_end = on_client_end;
    c->ask = ask;
    /* one client alone never takes all of it */
    replay_pool_init(&c->replay, o->limits.replay_total_bytes, REPLAY_FLOOR_BYTES,
                     o->limits.replay_total_bytes / (o->client_count > 1 ? 2 : 1));
    list_init(&c->clients);
    list_init(&c->newcomers);
    c->on_client_settled = on_client_settled;
    err_set(e, "out of memory");
    if (!(c->tls = tls_server_new(ticket_key, e)) || !(c->dialer = dialer_new(&o->network, e)))
        return -1;
    if (!(c->access = access_new(o, e)))
        return -1;
    if (o->hints_path && !(c->hints = hints_open(o->hints_path, e)))
        return -1;
    if (!(c->meter = meter_new(o->rules, o->rule_count, w->sockets.counters)) || !(c->tokens = tokens_new(send_want, w))
        || !(c->leaves = leaves_new(c->tls, send_want, w)) || !(c->pool = pool_new(c->dialer, &o->limits, c->meter))
        || !(w->admin = admin_new(c)) || prepare_tokens(w) != 0)
        return -1;
    return prepare_upstreams(w, e);
}

static int open_listeners(struct worker *w)
{
    static listen_fn *const accepts[] = { [LISTENER_PROXY] = on_proxy_accept,
                                          [LISTENER_LOCAL] = on_local_accept,
                                          [LISTENER_TRANSPARENT] = on_transparent_accept,
                                          [LISTENER_GATEWAY] = on_gateway_accept,
                                          [LISTENER_REDIRECTED] = on_redirected_accept,
                                          [LISTENER_ADMIN] = on_admin_accept,
                                          [LISTENER_ADMIN_LOCAL] = on_admin_local_accept };
    for (unsigned i = 0; i < WORKER_LISTENERS; i++)
        if (listener_fd(w, i) >= 0 && !(w->listeners[i] = listener_new(listener_fd(w, i), accepts[i], w)))
            return -1;
    if (w->sockets.isolated && !(w->isolated = isolated_new(&w->ctx, w->sockets.isolated, on_isolated_accept, w)))
        return -1;
    return (w->supervisor = ipc_new(w->sockets.supervisor, on_supervisor_packet, on_supervisor_gone, w)) ? 0 : -1;
}

/* No core dump, no look from outside: access tokens are in this memory. */
static void harden(void)
{
    prctl(PR_SET_DUMPABLE, 0);
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    signal(SIGINT, SIG_IGN); /* the supervisor decides */
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of the write */
}

static void tear_down(struct worker *w)
{
    clients_close(&w->ctx);
    admin_free(w->admin);
    pool_free(w->ctx.pool);
    leaves_free(w->ctx.leaves);
    tokens_free(w->ctx.tokens);
    meter_free(w->ctx.meter);
    dialer_free(w->ctx.dialer);
    tls_server_free(w->ctx.tls);
    access_free(w->ctx.access);
    if (w->ctx.hints)
        hints_close(w->ctx.hints);
    for (unsigned i = 0; i < WORKER_LISTENERS; i++)
        listener_free(w->listeners[i]);
    isolated_free(w->isolated);
    ipc_free(w->keeper);
    ipc_free(w->supervisor);
}

int worker_run(const struct worker_options *options, const struct worker_sockets *sockets, struct slice ticket_key)
{
    struct worker w = { .sockets = *sockets };
    struct err e;
    harden();
    if (build(&w, options, ticket_key, &e) != 0 || open_listeners(&w) != 0) {
        log_error(log_msg("cannot start the worker"), log_str("reason", e.text));
        return EX_CONFIG;
    }
    timer_init(&w.drain, on_drain_over, &w);
    timer_init(&w.trim, on_trim, &w);
    timer_init(&w.measure, on_measure, &w);
    timer_set(&w.measure, MEASURE_EVERY_MS);
    log_buffer(true);
    while (!w.over)
        ev_run(loop_get(), 0);
    log_buffer(false);
    tear_down(&w);
    return w.status;
}
