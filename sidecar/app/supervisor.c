#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "app/supervisor_handover.h"
#include "app/notify.h"
#include "app/supervisor_private.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/mem_trim.h"

#define LIVED_MS 10000 /* a child that lived this long starts its back-off anew */

static void stop_loop(struct supervisor *s, int status)
{
    s->status = status;
    ev_break(loop_get(), EVBREAK_ALL);
}

/* --- readiness --- */

static void on_trim(void *arg)
{
    (void)arg;
    mem_trim_now(); /* from here on it sleeps until a child dies */
}

static bool all_ready(const struct supervisor *s)
{
    for (unsigned i = 0; i <= s->worker_count; i++)
        if (!supervisor_child(s, i)->ready)
            return false;
    return true;
}

static void announce(struct supervisor *s)
{
    if (!all_ready(s))
        return;
    if (s->reloading)
        notify_ready("serving; the configuration was reloaded");
    s->reloading = false;
    if (s->announced)
        return;
    s->announced = true;
    notify_ready("serving");
    if (notify_watchdog_ms())
        supervisor_watchdog(s);
    timer_set(&s->trim, MEM_TRIM_AFTER_MS);
    if (s->options->on_ready && s->options->on_ready(s->options->arg, &s->listeners) != 0)
        stop_loop(s, EX_OSERR);
}

static bool any_running(const struct supervisor *s)
{
    for (unsigned i = 0; i < s->worker_count; i++)
        if (s->workers[i]->pid)
            return true;
    return s->keeper->pid || !list_empty(&s->retired);
}

/* Of this set, and of those before it. */
static bool any_worker(const struct supervisor *s)
{
    for (unsigned i = 0; i < s->worker_count; i++)
        if (s->workers[i]->pid)
            return true;
    for (struct list *n = s->retired.next; n != &s->retired; n = n->next)
        if (LIST_ENTRY(n, struct child, node)->role == ROLE_WORKER)
            return true;
    return false;
}

/* The workers end first; the keeper goes on refreshing until the last of them is gone. */
static void keeper_may_end(struct supervisor *s)
{
    for (unsigned i = 0; i < s->worker_count; i++)
        if (s->workers[i]->pid)
            return;
    if (s->keeper->pid && s->keeper->ipc)
        (void)!child_send(s->keeper, &(struct msg){ .type = MSG_DRAIN }, -1);
}

static void on_grace_over(void *arg)
{
    struct supervisor *s = arg;
    log_warn(log_msg("child processes did not end in time: sidekey killed them"));
    for (unsigned i = 0; i < s->worker_count; i++)
        if (s->workers[i]->pid)
            kill(s->workers[i]->pid, SIGKILL);
    if (s->keeper->pid)
        kill(s->keeper->pid, SIGKILL);
    for (struct list *n = s->retired.next; n != &s->retired; n = n->next)
        kill(LIST_ENTRY(n, struct child, node)->pid, SIGKILL);
}

static void begin_stop(struct supervisor *s, int status)
{
    if (s->stopping) {
        on_grace_over(s);
        return;
    }
    timer_stop(&s->roots_look);
    s->stopping = true;
    s->status = status;
    timer_stop(&s->reload);
    if (s->upgrade.trial)
        kill(s->upgrade.trial, SIGKILL);
    supervisor_reload_refuse(s);
    for (struct list *n = s->retired.next; n != &s->retired; n = n->next)
        if (LIST_ENTRY(n, struct child, node)->role == ROLE_WORKER)
            (void)!child_send(LIST_ENTRY(n, struct child, node),
                              &(struct msg){ .type = MSG_DRAIN, .tag = MSG_DRAIN_LAST }, -1);
    notify_stopping();
    for (unsigned i = 0; i < s->worker_count; i++) {
        timer_stop(&s->workers[i]->respawn);
        if (s->workers[i]->ipc)
            (void)!child_send(s->workers[i], &(struct msg){ .type = MSG_DRAIN, .tag = MSG_DRAIN_LAST }, -1);
    }
    keeper_may_end(s);
    timer_set(&s->grace, s->config->limits.drain_ms + SUPERVISOR_LAST_WORDS_MS);
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
        supervisor_metrics_keep(s, c);
        supervisor_reload_forget(c);
        child_free(c);
        supervisor_sets_end(s);
    } else if (!s->stopping && !s->announced && WIFEXITED(status) && WEXITSTATUS(status)) {
        begin_stop(s, WEXITSTATUS(status)); /* it has logged the reason */
        return;
    } else if (!s->stopping) {
        log_error(log_msg("a child process exited: sidekey starts it again"), log_str("child", name),
                  log_int("slot", c->slot), log_int("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0),
                  log_int("status", WIFEXITED(status) ? WEXITSTATUS(status) : 0));
        c->backoff_ms = lived ? 0 : c->backoff_ms;
        if (c->backoff_ms == 0 && lived)
            child_spawn(c);
        else
            child_retry_later(c);
        return;
    }
    if (s->stopping)
        keeper_may_end(s);
    if (s->stopping && !any_worker(s)) /* nobody answers operators any more */
        listeners_refuse_operators(&s->listeners);
    if (s->stopping && !any_running(s))
        stop_loop(s, s->status);
}

static struct child *child_of(struct supervisor *s, pid_t pid)
{
    if (s->keeper->pid == pid)
        return s->keeper;
    for (unsigned i = 0; i < s->worker_count; i++)
        if (s->workers[i]->pid == pid)
            return s->workers[i];
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
        else
            (void)supervisor_upgrade_ended(s, pid, status);
    }
}

/* --- messages --- */

/* The final state of the old keeper, for the keeper that follows it. */
static void keep_ca(struct child *c, int fd)
{
    struct supervisor *s = c->supervisor;
    int held = fcntl(fd, F_GET_SEALS);
    if (c != s->keeper || held < 0 || !(held & F_SEAL_WRITE)) {
        close(fd);
        return;
    }
    if (s->ca_memfd >= 0)
        close(s->ca_memfd);
    s->ca_memfd = fd;
}

/* After a take-over they begin when the keeper is ready: until then those of the previous version accept alone. */
static void start_workers(struct supervisor *s)
{
    for (unsigned i = 0; i < s->worker_count; i++)
        if (!s->workers[i]->pid && !timer_is_set(&s->workers[i]->respawn))
            child_spawn(s->workers[i]);
}

static void on_message(struct child *c, const struct msg *m, int fd)
{
    if (m->type == MSG_CA && fd >= 0) {
        keep_ca(c, fd);
        return;
    }
    if (fd >= 0)
        close(fd);
    if (m->type == MSG_ASK && m->ask == MSG_ASK_RELOAD) {
        supervisor_reload_ask(c, m->tag); /* also of a draining worker: a client that came in through it waits */
    } else if (m->type == MSG_ASK && m->ask == MSG_ASK_METRICS) {
        supervisor_metrics_answer(c, m->tag, m->ok);
    } else if (m->type == MSG_ASK && m->ask == MSG_ASK_LIVE) {
        supervisor_live_answer(c, m->tag);
    } else if (m->type == MSG_PING) {
        c->answered = true;
        c->ping_ms = 0;
    } else if (m->type == MSG_WIRE && c->role == ROLE_WORKER) {
        child_rewire_later(c);
    } else if (m->type == MSG_READY) {
        c->ready = true;
        c->ill_ms = 0;
        if (c == c->supervisor->keeper && !c->supervisor->stopping)
            start_workers(c->supervisor);
        announce(c->supervisor);
        supervisor_reload_settled(c->supervisor);
    }
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
        else if (ev_is_active(&s->program))
            continue;
        else if (number == SIGUSR2)
            supervisor_log_status(s);
        else if (number == SIGUSR1)
            continue; /* others reopen their logs at it */
        else if (number == SIGHUP)
            supervisor_reload_or_upgrade(s);
        else
            begin_stop(s, EX_OK);
    }
}

static void on_program_end(struct ev_loop *loop, ev_io *io, int revents)
{
    struct supervisor *s = io->data;
    (void)revents;
    ev_io_stop(loop, io);
    if (!s->stopping)
        begin_stop(s, EX_OK);
}

static int watch_signals(struct supervisor *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGQUIT);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    ev_io_init(&s->signals, on_signal, s->signal_fd, EV_READ);
    s->signals.data = s;
    ev_io_start(loop_get(), &s->signals);
    return s->signal_fd;
}

static void on_report(struct ev_loop *loop, ev_io *io, int revents)
{
    struct supervisor *s = io->data;
    (void)loop;
    (void)revents;
    s->options->on_report(io->fd);
}

static void watch_program(struct supervisor *s)
{
    ev_io_init(&s->report, on_report, s->options->report_fd, EV_READ);
    s->report.data = s;
    if (s->options->report_fd)
        ev_io_start(loop_get(), &s->report);
    ev_io_init(&s->program, on_program_end, s->options->program_fd, EV_READ);
    s->program.data = s;
    if (s->options->program_fd)
        ev_io_start(loop_get(), &s->program);
}

static void done(struct supervisor *s)
{
    ev_io_stop(loop_get(), &s->program);
    ev_io_stop(loop_get(), &s->report);
    supervisor_unwatch_login(s);
    for (unsigned i = 0; i < s->worker_count; i++)
        child_free(s->workers[i]);
    child_free(s->keeper);
    listeners_close(&s->listeners);
    supervisor_metrics_close(s);
    if (s->ca_memfd >= 0)
        close(s->ca_memfd);
    config_free(s->config);
    explicit_bzero(s->ticket_key, sizeof s->ticket_key);
}

static bool make_children(struct supervisor *s)
{
    bool good = (s->keeper = child_new(s, ROLE_KEEPER, 0));
    for (unsigned i = 0; i < s->worker_count && good; i++)
        good = (s->workers[i] = child_new(s, ROLE_WORKER, i));
    return good;
}

/* 0; an exit status. */
static int open_or_adopt(struct supervisor *s)
{
    struct err e;
    int from = s->options->handover_fd;
    if (!from && listeners_open(&s->listeners, s->config, s->options->hints_path && !s->options->isolated, &e) != 0) {
        log_error(log_msg("cannot listen"), log_str("reason", e.text));
        return EX_UNAVAILABLE;
    }
    if (!from)
        return EX_OK;
    int failed = supervisor_handover_read(from, s, s->before, &e);
    close(from);
    if (failed) {
        log_error(log_msg("cannot take over from the previous version"), log_str("reason", e.text));
        return EX_OSERR;
    }
    s->config->workers = s->worker_count;
    s->announced = s->reloading = true;
    s->read_ms = s->reloaded_ms = clock_mono_ms();
    if (listeners_move_local(&s->listeners, s->config, &e) != 0)
        log_error(log_msg("cannot listen"), log_str("reason", e.text));
    return EX_OK;
}

static void init(struct supervisor *s, const struct supervisor_options *options)
{
    *s = (struct supervisor){ .options = options,
                              .config = options->config,
                              .worker_count = options->config->workers,
                              .ca_memfd = -1,
                              .counters.fd = -1,
                              .on_message = on_message,
                              .on_overdue = supervisor_overdue,
                              .status = EX_OK };
    listeners_init(&s->listeners, s->worker_count);
    list_init(&s->retired);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of the write, here and in the children */
    timer_init(&s->reload, supervisor_reload_due, s);
    timer_init(&s->grace, on_grace_over, s);
    timer_init(&s->trim, on_trim, NULL);
    timer_init(&s->watchdog, supervisor_watchdog, s);
    timer_init(&s->roots_look, supervisor_watch_roots, s);
}

/* What announce() has done in the previous program, and what that one did not hear of any more. */
static void begin_taken(struct supervisor *s)
{
    if (notify_watchdog_ms())
        supervisor_watchdog(s);
    timer_set(&s->trim, MEM_TRIM_AFTER_MS);
    reap(s);
}

int supervisor_run(const struct supervisor_options *options)
{
    static struct supervisor s;
    init(&s, options);
    int failed = open_or_adopt(&s);
    if (failed) {
        done(&s);
        return failed;
    }
    supervisor_upgrade_init(&s);
    rand_bytes(s.ticket_key, sizeof s.ticket_key);
    if (watch_signals(&s) < 0 || (!s.metrics && supervisor_metrics_open(&s) != 0) || !make_children(&s)) {
        log_error(log_msg("cannot start"), log_str("reason", strerror(errno)));
        done(&s);
        return EX_OSERR;
    }
    watch_program(&s);
    s.listeners.moved = false;
    supervisor_watch_login(&s);
    supervisor_watch_roots(&s);
    child_spawn(s.keeper);
    if (options->handover_fd)
        begin_taken(&s);
    if (!supervisor_holds(&s))
        start_workers(&s);
    ev_run(loop_get(), 0);
    done(&s);
    return s.status;
}
