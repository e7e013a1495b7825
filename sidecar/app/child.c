#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "app/notify.h"
#include "app/supervisor_private.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/ipc/msg_send.h"
#include "net/listen.h"
#include "proxy/worker.h"
#include "refresh/keeper.h"

#define RESPAWN_MIN_MS 20
#define REWIRE_MIN_MS 100 /* a keeper that has died is started again within this, and brings new links */
#define LINK_LIVED_MS 10000
#define RESPAWN_MAX_MS 5000

int child_send(struct child *c, const struct msg *m, int fd)
{
    return msg_send(c->ipc, m, fd);
}

/* Gives a worker and the keeper the two ends of a new socket. */
static void wire(struct supervisor *s, struct child *worker)
{
    int ends[2];
    if (!worker->pid || !s->keeper->pid)
        return;
    if (ipc_pair(ends) != 0) {
        log_error(log_msg("cannot create the sockets between worker and keeper"), log_str("reason", strerror(errno)));
        return;
    }
    int failed =
        child_send(s->keeper, &(struct msg){ .type = MSG_WIRE, .name = SLICE("worker"), .tag = worker->slot }, ends[0]);
    if (failed == 0)
        failed = child_send(worker, &(struct msg){ .type = MSG_WIRE, .name = SLICE("keeper") }, ends[1]);
    if (failed)
        log_error(log_msg("cannot connect a worker to the keeper"), log_str("reason", strerror(-failed)));
    worker->wired_ms = clock_mono_ms();
    timer_stop(&worker->rewire);
    close(ends[0]);
    close(ends[1]);
}

static void on_rewire(void *arg)
{
    struct child *worker = arg;
    if (!worker->retired)
        wire(worker->supervisor, worker);
}

void child_rewire_later(struct child *worker)
{
    bool lived = clock_mono_ms() - worker->wired_ms > LINK_LIVED_MS;
    if (worker->retired || timer_is_set(&worker->rewire))
        return;
    worker->rewire_ms = lived || !worker->rewire_ms ? REWIRE_MIN_MS : worker->rewire_ms * 2;
    if (worker->rewire_ms > RESPAWN_MAX_MS)
        worker->rewire_ms = RESPAWN_MAX_MS;
    log_warn(log_msg("a worker lost its link to the keeper: it gets a new link"), log_int("slot", worker->slot),
             log_int("in_ms", worker->rewire_ms));
    timer_set(&worker->rewire, worker->rewire_ms);
}

static void on_packet(void *arg, struct slice packet, int fd)
{
    struct child *c = arg;
    struct msg m;
    if (msg_decode(packet, &m) == 0)
        c->supervisor->on_message(c, &m, fd);
    else if (fd >= 0)
        close(fd);
}

static void on_gone(void *arg)
{
    struct child *c = arg; /* SIGCHLD does the rest */
    ipc_free(c->ipc);
    c->ipc = NULL;
}

/* Each process writes into its own memory alone. */
static void forget_counters(struct supervisor *s, const struct child *me)
{
    supervisor_metrics_close(s);
    for (unsigned i = 0; i <= s->worker_count; i++)
        if (supervisor_child(s, i) != me)
            metrics_area_close(&supervisor_child(s, i)->counters);
    for (struct list *n = s->retired.next; n != &s->retired; n = n->next)
        metrics_area_close(&LIST_ENTRY(n, struct child, node)->counters);
}

static void forget_retired(struct child *c)
{
    ipc_free(c->ipc);
    timer_stop(&c->overdue);
}

/* A keeper has no business in the program's network. */
static void forget_isolated(const struct isolated_sockets *i)
{
    for (unsigned n = 0; i && n < i->tcp_count; n++)
        close(i->tcp[n]);
    if (i)
        close(i->dns);
}

/* What the parent had and this child must not: its loop's watchers, the other children's sockets, listeners that are
 * not its own. */
static void forget_parent(struct supervisor *s, const struct child *me)
{
    sigset_t none;
    loop_forked();
    ev_io_stop(loop_get(), &s->signals);
    ev_io_stop(loop_get(), &s->program);
    ev_io_stop(loop_get(), &s->report);
    listener_free(s->login);
    timer_stop(&s->grace);
    timer_stop(&s->trim);
    timer_stop(&s->reload);
    timer_stop(&s->watchdog);
    timer_stop(&s->roots_look);
    close(s->signal_fd);
    notify_forget();
    ipc_free(s->keeper->ipc);
    timer_stop(&s->keeper->respawn);
    for (unsigned i = 0; i < s->worker_count; i++) {
        ipc_free(s->workers[i]->ipc);
        timer_stop(&s->workers[i]->respawn);
        timer_stop(&s->workers[i]->rewire);
    }
    for (struct list *n = s->retired.next; n != &s->retired; n = n->next)
        forget_retired(LIST_ENTRY(n, struct child, node));
    listeners_keep(&s->listeners, me->role == ROLE_KEEPER, me->slot);
    if (me->role == ROLE_KEEPER)
        forget_isolated(s->options->isolated);
    forget_counters(s, me);
    if (me->role == ROLE_WORKER && s->ca_memfd >= 0)
        close(s->ca_memfd);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int run_child(struct supervisor *s, struct child *me, int fd)
{
    metrics_area_close_fd(&me->counters);
    forget_parent(s, me);
    config_keep_secrets(s->config, me->role == ROLE_KEEPER ? CONFIG_KEEPER : CONFIG_WORKER);
    prctl(PR_SET_NAME, me->role == ROLE_KEEPER ? "sidekey-keeper" : "sidekey-worker");
    if (me->role == ROLE_KEEPER) {
        struct keeper_options options = config_keeper(s->config);
        log_proc("keeper");
        explicit_bzero(s->ticket_key, sizeof s->ticket_key);
        options.ca_memfd = s->ca_memfd;
        options.counters = &me->counters;
        return keeper_run(&options, fd);
    }
    struct worker_options options = config_worker(s->config);
    log_proc("worker");
    options.proxy_password = s->options->proxy_password;
    options.hints_path = s->options->hints_path;
    return worker_run(&options,
                      &(struct worker_sockets){ .supervisor = fd,
                                                .proxy = s->listeners.proxy[me->slot],
                                                .local = s->listeners.local.fd,
                                                .transparent = s->listeners.transparent[me->slot],
                                                .gateway = s->listeners.gateway[me->slot],
                                                .redirected = s->listeners.redirected[me->slot],
                                                .admin = s->listeners.admin,
                                                .admin_local = s->listeners.admin_local.fd,
                                                .isolated = s->options->isolated,
                                                .counters = &me->counters,
                                                .lent = s->listeners.inherited,
                                                .slot = me->slot },
                      slice_of(s->ticket_key, sizeof s->ticket_key));
}

void child_overdue_at(struct child *c, int64_t at_ms)
{
    int64_t in_ms = at_ms - clock_mono_ms();
    c->overdue_ms = at_ms;
    if (at_ms)
        timer_set(&c->overdue, in_ms > 0 ? in_ms : 0);
}

void child_retry_later(struct child *c)
{
    c->backoff_ms = c->backoff_ms ? c->backoff_ms * 2 : RESPAWN_MIN_MS;
    if (c->backoff_ms > RESPAWN_MAX_MS)
        c->backoff_ms = RESPAWN_MAX_MS;
    timer_set(&c->respawn, c->backoff_ms);
}

static void on_respawn(void *arg)
{
    child_spawn(arg);
}

void child_spawn(struct child *c)
{
    struct supervisor *s = c->supervisor;
    int ends[2];
    if (ipc_pair(ends) != 0) {
        child_retry_later(c);
        return;
    }
    log_flush();
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        int status = run_child(s, c, ends[1]);
        log_close();
        exit(status);
    }
    close(ends[1]);
    c->ipc = pid > 0 ? ipc_new(ends[0], on_packet, on_gone, c) : NULL;
    if (!c->ipc) {
        log_error(log_msg("cannot start a child process"), log_str("reason", strerror(errno)));
        close(ends[0]); /* a child that runs nevertheless sees this and ends */
        child_retry_later(c);
        return;
    }
    c->pid = pid;
    c->ready = c->answered = false;
    c->ping_ms = 0;
    c->ill_ms = s->announced && !c->ill_ms ? clock_mono_ms() : c->ill_ms; /* until it says that it is ready */
    c->started_ms = clock_mono_ms();
    if (c->role == ROLE_WORKER)
        wire(s, c);
    else {
        for (unsigned i = 0; i < s->worker_count; i++)
            wire(s, s->workers[i]);
    }
}

int child_connect(struct child *c, int fd)
{
    c->ipc = ipc_new(fd, on_packet, on_gone, c);
    if (!c->ipc)
        close(fd);
    return c->ipc ? 0 : -ENOMEM;
}

/* counters: -1: a new area. */
static struct child *make(struct supervisor *s, enum role role, unsigned slot, int counters)
{
    struct child *c = calloc(1, sizeof *c);
    if (!c) {
        close(counters);
        return NULL;
    }
    *c = (struct child){ .supervisor = s, .role = role, .slot = slot, .set = s->set };
    if ((counters < 0 || metrics_area_adopt(&c->counters, counters) != 0) && metrics_area_open(&c->counters) != 0) {
        free(c);
        return NULL;
    }
    list_init(&c->node);
    timer_init(&c->respawn, on_respawn, c);
    timer_init(&c->rewire, on_rewire, c);
    timer_init(&c->overdue, s->on_overdue, c);
    return c;
}

struct child *child_new(struct supervisor *s, enum role role, unsigned slot)
{
    return make(s, role, slot, -1);
}

struct child *child_adopt(struct supervisor *s, enum role role, unsigned slot, int counters)
{
    struct child *c = make(s, role, slot, counters);
    if (c)
        c->retired = true;
    return c;
}

void child_free(struct child *c)
{
    if (!c)
        return;
    timer_stop(&c->respawn);
    timer_stop(&c->rewire);
    timer_stop(&c->overdue);
    ipc_free(c->ipc);
    metrics_area_close(&c->counters);
    list_remove(&c->node);
    free(c);
}
