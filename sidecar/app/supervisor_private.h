/* app/supervisor_private.h: shared by the files of the supervisor: supervisor.c (signals, stop),
 * supervisor_reload.c, supervisor_upgrade.c (a new version of the program), supervisor_health.c (status for systemd and
 * the log), supervisor_metrics.c (counters of all processes) and child.c (one child, from fork to wiring). */
#ifndef SIDEKEY_APP_SUPERVISOR_PRIVATE_H
#define SIDEKEY_APP_SUPERVISOR_PRIVATE_H

#include <limits.h>
#include <sys/types.h>
#include <sys/wait.h>

#include "app/supervisor.h"
#include "base/process.h"
#include "net/ipc/ipc.h"
#include "net/ipc/msg.h"
#include "net/timer.h"

#define TICKET_KEY_BYTES 80
#define SUPERVISOR_LAST_WORDS_MS 3000 /* beyond the drain, before children are killed */
#define RELOAD_ASKERS_MAX 16

enum role { ROLE_KEEPER, ROLE_WORKER };

struct child {
    struct supervisor *supervisor;
    enum role role;
    unsigned slot; /* of a worker */
    pid_t pid;     /* 0: not running */
    struct ipc *ipc;
    int64_t started_ms, backoff_ms;
    struct timer respawn;
    int64_t wired_ms, rewire_ms; /* a worker's link to the keeper: since when; the pause before the next one */
    struct timer rewire;
    bool ready, answered;         /* the last MSG_PING */
    int64_t ping_ms, ill_ms;      /* since when a MSG_PING is unanswered; since when it is not ready.  0: no */
    unsigned set;                 /* of which configuration, counted by reloads */
    bool retired;                 /* replaced by a reload: freed when it has ended */
    bool held;                    /* … but serves until the children that replace it are ready */
    struct timer overdue;         /* … and killed, when it has not ended by then */
    int64_t overdue_ms;           /* when that is; 0: not set */
    struct list node;             /* in retired */
    struct metrics_area counters; /* the area of its counters, also for the process that replaces it */
};

struct supervisor {
    const struct supervisor_options *options;
    struct config *config;
    struct child *keeper, *workers[LISTENERS_WORKERS_MAX];
    unsigned worker_count;
    struct listeners listeners;
    int ca_memfd, signal_fd;
    struct list retired; /* the oldest first */
    unsigned set;
    int64_t read_ms, reloaded_ms; /* when the configuration was read, and when a reload was made; 0: never */
    struct timer reload;          /* the next one */
    bool reload_wanted;
    struct config_seen ca; /* what the keeper had written when the processes of this set were ready */
    unsigned ca_set;       /* 1 + that set; 0: none */
    struct {
        struct child *child;
        uint64_t tag;
    } askers[RELOAD_ASKERS_MAX]; /* who waits for the result of the next one */
    unsigned asker_count;
    struct {
        char program[PATH_MAX]; /* "": cannot be told */
        bool asked, refused;    /* since the last reload; the last one was */
        pid_t trial;            /* of the new program; 0: none runs */
        bool taking;            /* it has succeeded */
        int64_t since_ms;
        struct timer limit, queues;
    } upgrade;
    char before[32];              /* the version that this one has taken over from; "": none */
    struct metrics_area counters; /* of processes that have ended for good, and our own */
    struct metrics *metrics;      /* … as a registry */
    struct process_meter process;
    char ticket_key[TICKET_KEY_BYTES];
    struct listener *login;         /* of listeners.login; NULL: none */
    ev_io signals, program, report; /* of signal_fd, options->program_fd, options->report_fd */
    struct timer grace, trim, watchdog, roots_look;
    bool roots_known;
    struct config_seen roots; /* ca_file of the rules, ca.extra_roots and the system's roots, as they were */
    void (*on_message)(struct child *c, const struct msg *m, int fd); /* takes fd (-1: none) over */
    void (*on_overdue)(void *child);                                  /* it was replaced, and has not ended in time */
    bool announced, stopping, reload_failed, reloading;
    int status;
};

/* child.c */
struct child *child_new(struct supervisor *s, enum role role, unsigned slot);
void child_free(struct child *c);
/* One of a predecessor, retired: the caller fills in set, pid and held.  counters: taken over.  NULL: no memory. */
struct child *child_adopt(struct supervisor *s, enum role role, unsigned slot, int counters);
/* Takes fd over as its link.  0; -ENOMEM. */
MUST_CHECK int child_connect(struct child *c, int fd);
/* Starts it, and wires it to those on the other side; on failure tries again later. */
void child_spawn(struct child *c);
void child_retry_later(struct child *c);
/* This worker has lost its link to the keeper, and both live: it gets a new one, with back-off. */
void child_rewire_later(struct child *worker);
/* A child that was replaced ends by then (clock_mono_ms()), or is killed; 0: no limit. */
void child_overdue_at(struct child *c, int64_t at_ms);
int child_send(struct child *c, const struct msg *m, int fd);
/* supervisor_reload.c: SIGHUP, and an operator's reload: the configuration is read again, now or a second after the
 * last time.  As many as come meanwhile are one.  Takes a new program file too. */
void supervisor_reload_or_upgrade(struct supervisor *s);
/* The same for somebody who waits at a worker; it is answered under this tag, at once with a refusal when more than
 * RELOAD_ASKERS_MAX wait. */
void supervisor_reload_ask(struct child *c, uint64_t tag);
/* The time for it may have come: a child is ready; a timer (arg: the supervisor). */
void supervisor_reload_settled(struct supervisor *s);
void supervisor_reload_due(void *arg);
/* Who waits at this child is forgotten; everybody who waits is refused: sidekey ends. */
void supervisor_reload_forget(struct child *c);
void supervisor_reload_refuse(struct supervisor *s);
/* A child that was replaced has not ended in time (arg: struct child). */
void supervisor_overdue(void *arg);
/* A child that was replaced has ended: its keeper may, when no worker of its set is left. */
void supervisor_sets_end(struct supervisor *s);
/* supervisor_upgrade.c.  After supervisor_handover_read(), which may know the program's path. */
void supervisor_upgrade_init(struct supervisor *s);
/* Begins, or continues, to replace this program: the reload waits.  false: there is nothing to replace it with. */
bool supervisor_upgrade_begin(struct supervisor *s);
/* A child that is none of ours has ended: was it the trial?  May exec. */
bool supervisor_upgrade_ended(struct supervisor *s, pid_t pid, int status);
/* supervisor_health.c: the keeper at 0, the workers after it. */
struct child *supervisor_child(const struct supervisor *s, unsigned i);
/* Does a child of the previous version serve until those that replace it are ready? */
bool supervisor_holds(const struct supervisor *s);
/* Feeds systemd's watchdog when each of them has answered since the last time, and asks again.  arg: the supervisor. */
void supervisor_watchdog(void *arg);
/* supervisor_metrics.c: 0; -ENOMEM. */
MUST_CHECK int supervisor_metrics_open(struct supervisor *s);
void supervisor_metrics_close(struct supervisor *s);
/* Answers MSG_ASK_METRICS to the child that asks.  openmetrics: in that form. */
void supervisor_metrics_answer(struct child *c, uint64_t tag, bool openmetrics);
/* The child has ended and is not replaced: keeps its counters. */
void supervisor_metrics_keep(struct supervisor *s, const struct child *c);
/* Answers MSG_ASK_LIVE: which processes do not answer, and for how long; not ok: for a minute.  Asks them again. */
void supervisor_live_answer(struct child *c, uint64_t tag);
/* Are the CA files that c names usable?  Half-written ones would keep new processes from starting.  0; -1 with e. */
MUST_CHECK int supervisor_roots_check(const struct config *c, struct err *e);
/* A CA file that the configuration names or the system's roots have changed, or a unix socket is gone: as SIGHUP.
 * Looks every few seconds.  arg: the supervisor. */
void supervisor_watch_roots(void *arg);
/* supervisor_login.c: listeners.login is there, or has moved. */
void supervisor_watch_login(struct supervisor *s);
/* Before it moves. */
void supervisor_unwatch_login(struct supervisor *s);
/* SIGUSR2: a line of the log for each process, and by the keeper for each credential. */
void supervisor_log_status(struct supervisor *s);

#endif
