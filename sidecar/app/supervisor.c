#include "app/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "app/ears.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "net/ipc.h"
#include "net/msg.h"
#include "proxy/worker.h"
#include "refresh/keeper.h"

#define TICKET_KEY_BYTES 80
#define RESPAWN_MIN_MS 20
#define RESPAWN_MAX_MS 5000
#define LIVED_MS 10000 /* a child that lived this long starts its back-off anew */

enum role { ROLE_KEEPER, ROLE_WORKER };

struct child {
    struct supervisor *supervisor;
    enum role role;
    unsigned slot;       /* of a worker */
    pid_t pid;           /* 0: not running */
    struct ipc *ipc;
    int64_t started_ms, backoff_ms;
    ev_timer respawn;
    bool ready;
    bool retired;        /* replaced by a reload: freed when it has ended */
    struct list node;    /* in retired */
};

struct supervisor {
    const struct supervisor_options *options;
    struct config *config;
    struct child keeper, workers[EARS_WORKERS_MAX];
    unsigned worker_count;
    struct ears ears;
    int vault_fd, signal_fd;
    struct list retired;
    char ticket_key[TICKET_KEY_BYTES];
    ev_io signals;
    ev_timer grace;
    pid_t program;
    bool announced, stopping;
    int status;
};

static void spawn(struct child *c);

static void stop_loop(struct supervisor *s, int status)
{
    s->status = status;
    ev_break(loop_get(), EVBREAK_ALL);
}

static int send_msg(struct ipc *to, const struct msg *m, int fd)
{
    struct buf packet;
    buf_init(&packet, IPC_PACKET_MAX);
    int failed = msg_encode(m, &packet);
    if (failed == 0)
        failed = to ? ipc_send(to, buf_slice(&packet), fd) : -EPIPE;
    buf_done(&packet);
    return failed;
}

/* Gives a worker and the keeper the two ends of a new socket. */
static void wire(struct supervisor *s, struct child *worker)
{
    int ends[2];
    if (!worker->pid || !s->keeper.pid)
        return;
    if (ipc_pair(ends) != 0) {
        log_error(log_msg("no socket between worker and keeper"), log_str("reason", strerror(errno)));
        return;
    }
    int failed = send_msg(s->keeper.ipc, &(struct msg){ .type = MSG_WIRE, .name = SLICE("worker"), .tag = worker->slot }, ends[0]);
    if (failed == 0)
        failed = send_msg(worker->ipc, &(struct msg){ .type = MSG_WIRE, .name = SLICE("keeper") }, ends[1]);
    if (failed)
        log_error(log_msg("worker and keeper cannot be joined"), log_str("reason", strerror(-failed)));
    close(ends[0]);
    close(ends[1]);
}

/* --- readiness --- */

static void announce(struct supervisor *s)
{
    if (s->announced)
        return;
    if (!s->keeper.ready)
        return;
    for (unsigned i = 0; i < s->worker_count; i++)
        if (!s->workers[i].ready)
            return;
    s->announced = true;
    s->program = s->options->on_ready ? s->options->on_ready(s->options->arg, &s->ears) : 0;
    if (s->program < 0)
        stop_loop(s, EX_OSERR);
}

static void on_packet(void *arg, struct slice packet, int fd)
{
    struct child *c = arg;
    struct msg m;
    if (fd >= 0)
        close(fd);
    if (msg_decode(packet, &m) != 0 || m.type != MSG_READY)
        return;
    c->ready = true;
    announce(c->supervisor);
}

static void on_gone(void *arg)
{
    struct child *c = arg; /* SIGCHLD says the rest */
    ipc_free(c->ipc);
    c->ipc = NULL;
}

/* --- children --- */

/* What the parent had and this child must not: its loop's watchers, the other children's sockets, listeners that are not its own. */
static void forget_parent(struct supervisor *s, const struct child *me)
{
    sigset_t none;
    loop_forked();
    ev_io_stop(loop_get(), &s->signals);
    ev_timer_stop(loop_get(), &s->grace);
    close(s->signal_fd);
    ipc_free(s->keeper.ipc);
    ev_timer_stop(loop_get(), &s->keeper.respawn);
    for (unsigned i = 0; i < s->worker_count; i++) {
        ipc_free(s->workers[i].ipc);
        ev_timer_stop(loop_get(), &s->workers[i].respawn);
    }
    for (struct list *n = s->retired.next; n != &s->retired; n = n->next)
        ipc_free(LIST_ENTRY(n, struct child, node)->ipc);
    ears_keep(&s->ears, me->role == ROLE_KEEPER, me->slot);
    if (me->role == ROLE_WORKER)
        close(s->vault_fd);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int run_child(struct supervisor *s, const struct child *me, int fd)
{
    forget_parent(s, me);
    prctl(PR_SET_NAME, me->role == ROLE_KEEPER ? "sidekey-keeper" : "sidekey-worker");
    if (me->role == ROLE_KEEPER) {
        struct keeper_options options = config_keeper(s->config);
        log_proc("keeper");
        explicit_bzero(s->ticket_key, sizeof s->ticket_key);
        options.vault_fd = s->vault_fd;
        return keeper_run(&options, fd);
    }
    struct worker_options options = config_worker(s->config);
    log_proc("worker");
    options.proxy_password = s->options->proxy_password;
    options.hints_path = s->options->hints_path;
    return worker_run(&options,
                      &(struct worker_sockets){ .supervisor = fd, .proxy = s->ears.proxy[me->slot], .transparent = s->ears.transparent[me->slot],
                                                .admin = s->ears.admin, .slot = me->slot },
                      slice_of(s->ticket_key, sizeof s->ticket_key));
}

static void retry_later(struct child *c)
{
    c->backoff_ms = c->backoff_ms ? c->backoff_ms * 2 : RESPAWN_MIN_MS;
    if (c->backoff_ms > RESPAWN_MAX_MS)
        c->backoff_ms = RESPAWN_MAX_MS;
    ev_timer_stop(loop_get(), &c->respawn);
    ev_timer_set(&c->respawn, (double)c->backoff_ms / 1000, 0);
    ev_timer_start(loop_get(), &c->respawn);
}

static void on_respawn(struct ev_loop *loop, ev_timer *w, int revents)
{
    (void)loop;
    (void)revents;
    spawn(w->data);
}

static void spawn(struct child *c)
{
    struct supervisor *s = c->supervisor;
    int ends[2];
    if (ipc_pair(ends) != 0) {
        retry_later(c);
        return;
    }
    log_flush();
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        int status = run_child(s, c, ends[1]);
        log_flush();
        exit(status);
    }
    close(ends[1]);
    c->ipc = pid > 0 ? ipc_new(ends[0], on_packet, on_gone, c) : NULL;
    if (!c->ipc) {
        log_error(log_msg("a child cannot be started"), log_str("reason", strerror(errno)));
        close(ends[0]); /* a child that runs all the same sees this and ends */
        retry_later(c);
        return;
    }
    c->pid = pid;
    c->ready = false;
    c->started_ms = clock_mono_ms();
    if (c->role == ROLE_WORKER)
        wire(s, c);
    else
        for (unsigned i = 0; i < s->worker_count; i++)
            wire(s, &s->workers[i]);
}

static void child_init(struct child *c, struct supervisor *s, enum role role, unsigned slot)
{
    *c = (struct child){ .supervisor = s, .role = role, .slot = slot };
    list_init(&c->node);
    ev_timer_init(&c->respawn, on_respawn, 0, 0);
    c->respawn.data = c;
}

static bool any_running(const struct supervisor *s)
{
    for (unsigned i = 0; i < s->worker_count; i++)
        if (s->workers[i].pid)
            return true;
    return s->keeper.pid || !list_empty(&s->retired);
}

/* The workers end first; the keeper goes on refreshing until the last of them is gone. */
static void keeper_may_end(struct supervisor *s)
{
    for (unsigned i = 0; i < s->worker_count; i++)
        if (s->workers[i].pid)
            return;
    if (s->keeper.pid && s->keeper.ipc)
        (void)!send_msg(s->keeper.ipc, &(struct msg){ .type = MSG_DRAIN }, -1);
}

static void on_grace_over(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct supervisor *s = w->data;
    (void)loop;
    (void)revents;
    log_warn(log_msg("children did not end in time: killed"));
    for (unsigned i = 0; i < s->worker_count; i++)
        if (s->workers[i].pid)
            kill(s->workers[i].pid, SIGKILL);
    if (s->keeper.pid)
        kill(s->keeper.pid, SIGKILL);
}

static void begin_stop(struct supervisor *s, int status)
{
    if (s->stopping) {
        on_grace_over(loop_get(), &s->grace, 0);
        return;
    }
    s->stopping = true;
    s->status = status;
    for (unsigned i = 0; i < s->worker_count; i++) {
        ev_timer_stop(loop_get(), &s->workers[i].respawn);
        if (s->workers[i].ipc)
            (void)!send_msg(s->workers[i].ipc, &(struct msg){ .type = MSG_DRAIN }, -1);
    }
    keeper_may_end(s);
    ev_timer_set(&s->grace, (double)s->config->limits.drain_ms / 1000 + 3, 0);
    ev_timer_start(loop_get(), &s->grace);
    if (!any_running(s))
        stop_loop(s, status);
}

static void child_ended(struct child *c, int status)
{
    struct supervisor *s = c->supervisor;
    bool lived = clock_mono_ms() - c->started_ms > LIVED_MS;
    const char *name = c->role == ROLE_KEEPER ? "keeper" : "worker";
    c->pid = 0;
    ipc_free(c->ipc);
    c->ipc = NULL;
    if (c->retired) {
        list_remove(&c->node);
        free(c);
    } else if (!s->stopping && !s->announced && WIFEXITED(status) && WEXITSTATUS(status)) {
        begin_stop(s, WEXITSTATUS(status)); /* it said why */
        return;
    } else if (!s->stopping) {
        log_error(log_msg("a child ended and is started again"), log_str("child", name), log_int("slot", c->slot),
                  log_int("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0), log_int("status", WIFEXITED(status) ? WEXITSTATUS(status) : 0));
        c->backoff_ms = lived ? 0 : c->backoff_ms;
        if (c->backoff_ms == 0 && lived)
            spawn(c);
        else
            retry_later(c);
        return;
    }
    if (s->stopping)
        keeper_may_end(s);
    if (s->stopping && !any_running(s))
        stop_loop(s, s->status);
}

static struct child *child_of(struct supervisor *s, pid_t pid)
{
    if (s->keeper.pid == pid)
        return &s->keeper;
    for (unsigned i = 0; i < s->worker_count; i++)
        if (s->workers[i].pid == pid)
            return &s->workers[i];
    for (struct list *n = s->retired.next; n != &s->retired; n = n->next)
        if (LIST_ENTRY(n, struct child, node)->pid == pid)
            return LIST_ENTRY(n, struct child, node);
    return NULL;
}

static void reap(struct supervisor *s)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct child *c = child_of(s, pid);
        if (c)
            child_ended(c, status);
        else if (pid == s->program) {
            s->program = 0;
            begin_stop(s, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
        }
    }
}

/* --- reload: new processes with the new configuration, the old ones drain --- */

static void retire(struct supervisor *s, struct child *c)
{
    struct child *old = c->pid ? malloc(sizeof *old) : NULL;
    ev_timer_stop(loop_get(), &c->respawn);
    if (c->ipc)
        (void)!send_msg(c->ipc, &(struct msg){ .type = MSG_DRAIN }, -1);
    if (!old)
        return;
    ipc_free(c->ipc); /* it was told; its end is all that is still of interest */
    child_init(old, s, c->role, c->slot);
    old->pid = c->pid;
    old->started_ms = c->started_ms;
    old->retired = true;
    list_push(&s->retired, &old->node);
    c->ipc = NULL;
    c->pid = 0;
}

static bool same_list(char *const *a, char *const *b)
{
    if (!a || !b)
        return a == b;
    while (*a && *b && strcmp(*a, *b) == 0)
        a++, b++;
    return !*a && !*b;
}

static void reload(struct supervisor *s)
{
    struct config *next = s->options->reload && !s->stopping ? s->options->reload(s->options->arg) : NULL;
    if (!next) {
        log_error(log_msg("reload refused: the old configuration goes on"));
        return;
    }
    if (!same_list(next->permit_hosts, s->config->permit_hosts) && ftruncate(s->vault_fd, 0) != 0)
        log_error(log_msg("the old CA cannot be dropped"), log_str("reason", strerror(errno)));
    next->workers = s->worker_count; /* listeners are as they are until a restart */
    config_free(s->config);
    s->config = next;
    retire(s, &s->keeper);
    for (unsigned i = 0; i < s->worker_count; i++)
        retire(s, &s->workers[i]);
    spawn(&s->keeper);
    for (unsigned i = 0; i < s->worker_count; i++)
        spawn(&s->workers[i]);
    log_info(log_msg("configuration reloaded"), log_str("file", next->path));
}

/* --- signals --- */

static void on_signal(struct ev_loop *loop, ev_io *io, int revents)
{
    struct supervisor *s = io->data;
    struct signalfd_siginfo info;
    (void)loop;
    (void)revents;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        int number = (int)info.ssi_signo;
        if (number == SIGCHLD)
            reap(s);
        else if (number == SIGHUP && !s->program)
            reload(s);
        else if (s->program && s->options->foreground_child) {
            if (info.ssi_pid) /* a terminal's signal (pid 0) has reached the whole group already */
                kill(s->program, number);
        } else if (number != SIGHUP)
            begin_stop(s, EX_OK);
    }
}

static int watch_signals(struct supervisor *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    ev_io_init(&s->signals, on_signal, s->signal_fd, EV_READ);
    s->signals.data = s;
    ev_io_start(loop_get(), &s->signals);
    return s->signal_fd;
}

static void done(struct supervisor *s)
{
    for (unsigned i = 0; i < s->worker_count; i++)
        ipc_free(s->workers[i].ipc);
    ipc_free(s->keeper.ipc);
    ears_close(&s->ears);
    if (s->vault_fd >= 0)
        close(s->vault_fd);
    config_free(s->config);
    explicit_bzero(s->ticket_key, sizeof s->ticket_key);
}

int supervisor_run(const struct supervisor_options *options)
{
    static struct supervisor s;
    struct err e;
    s = (struct supervisor){ .options = options, .config = options->config, .worker_count = options->config->workers, .vault_fd = -1, .status = EX_OK };
    list_init(&s.retired);
    ev_timer_init(&s.grace, on_grace_over, 0, 0);
    s.grace.data = &s;
    if (ears_open(&s.ears, s.config, options->hints_path, &e) != 0) {
        log_error(log_msg("cannot listen"), log_str("reason", e.text));
        done(&s);
        return EX_UNAVAILABLE;
    }
    s.vault_fd = memfd_create("sidekey-ca", MFD_CLOEXEC);
    rand_bytes(s.ticket_key, sizeof s.ticket_key);
    if (watch_signals(&s) < 0 || s.vault_fd < 0) {
        log_error(log_msg("cannot start"), log_str("reason", strerror(errno)));
        done(&s);
        return EX_OSERR;
    }
    child_init(&s.keeper, &s, ROLE_KEEPER, 0);
    for (unsigned i = 0; i < s.worker_count; i++)
        child_init(&s.workers[i], &s, ROLE_WORKER, i);
    spawn(&s.keeper);
    for (unsigned i = 0; i < s.worker_count; i++)
        spawn(&s.workers[i]);
    ev_run(loop_get(), 0);
    done(&s);
    return s.status;
}
