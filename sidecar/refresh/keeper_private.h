/* refresh/keeper_private.h: inside the keeper, for keeper*.c only. */
#ifndef SIDEKEY_REFRESH_KEEPER_PRIVATE_H
#define SIDEKEY_REFRESH_KEEPER_PRIVATE_H

#include "base/process.h"
#include "certs/ca_set.h"
#include "net/ipc/ipc.h"
#include "net/ipc/msg.h"
#include "refresh/account.h"
#include "refresh/keeper.h"
#include "refresh/stores.h"

/* … an hour, asked for by whoever reaches a worker's admin listener: each drops trust that programs may still have */
#define KEEPER_CA_ROTATIONS 4

struct keeper {
    const struct keeper_options *options;
    struct stores stores;
    struct err dir_error; /* the state directory is gone, and cannot be made again: why; "": it stands */
    struct timer dir_look;
    struct fetch *fetch;
    struct token_clocks *clocks;
    struct ca_set *ca;
    bool ca_unpublished;                        /* what is to be published could not be written */
    int64_t ca_looked_ms;                       /* when something was last due */
    int64_t ca_rotated_ms[KEEPER_CA_ROTATIONS]; /* the last ones that were asked for, the oldest first; 0: none */
    int64_t ca_expiry_s;                        /* of those that sign, as of the last change */
    struct timer ca_look;
    struct metrics *metrics;
    struct process_meter process;
    struct flight_env flights;
    struct account_env env;
    struct account *accounts;
    size_t account_count;
    struct ipc *supervisor;
    struct list workers, logins;
    bool draining;
    struct timer drain_end, trim;
    int64_t trimmed_ms;    /* last mem_trim_now(); 0: none */
    struct later finished; /* ends the loop once nothing is in flight */
};

struct worker_link { /* one worker's connection */
    struct list node;
    struct keeper *keeper;
    struct ipc *ipc;
    bool greeted; /* HELLO came: it gets tokens */
    uint64_t slot;
    bool *dirty; /* for each account: its token has changed and is to be sent */
    size_t dirty_count;
    unsigned nonsense; /* messages that no worker sends */
    bool config_dirty; /* … and after all of them CONFIG */
};

/* keeper_ca.c */
/* Exit status: 0, 74, 77, 78 with e. */
MUST_CHECK int keeper_ca_open(struct keeper *k, struct err *e);
/* The supervisor is there, and the loop. */
void keeper_ca_start(struct keeper *k);
void keeper_ca_on_timer(void *keeper);
/* Does what is due, if anything is. */
void keeper_ca_look(struct keeper *k);
/* Appends what came of it, for a person.  0; -ENOBUFS, -ENOMEM. */
MUST_CHECK int keeper_ca_rotate(struct keeper *k, bool at_once, struct buf *out, bool *ret_ok);
/* The directory in which it is kept was made again. */
void keeper_ca_store_again(struct keeper *k);
/* Can programs trust what is signed now? */
bool keeper_ca_usable(const struct keeper *k);
void keeper_ca_gauges(struct keeper *k);
void keeper_ca_mint(struct worker_link *w, const struct msg *m);

/* keeper_workers.c */
/* To every worker that is there. */
void keeper_send_all(struct keeper *k, const struct msg *m);
void keeper_add_worker(struct keeper *k, int fd);
void keeper_drop_workers(struct keeper *k);
/* One message to one worker; what cannot be sent is a worker that is gone, or does not read. */
void keeper_send(struct worker_link *w, const struct msg *m);
/* keeper.c: after some quiet, gives back what the refresh touched (base/mem_trim.h); not more often than every 30 s. */
void keeper_trim_soon(struct keeper *k);
void keeper_publish(void *keeper, const struct account *a);
void keeper_refuse(void *keeper, const struct account *a, enum msg_class failure, int64_t retry_after_ms,
                   const char *text);
struct account *keeper_find(struct keeper *k, struct slice name);

/* keeper_health.c: what is wrong, and does not keep tokens from being sent. */
enum keeper_part { KEEPER_STORE, KEEPER_JOURNAL, KEEPER_STATE_DIR, KEEPER_CA_VOLUME, KEEPER_PARTS };
/* As /readyz, /status and sidekey_degraded have it. */
const char *keeper_part_name(enum keeper_part part);
/* Why the part is degraded; NULL: it is well.  Valid until the next call. */
const char *keeper_part_fault(const struct keeper *k, enum keeper_part part);
/* A state directory that was removed is made again, with what is in memory; true: it was.  k->dir_error: it could not.
 */
bool keeper_health_look(struct keeper *k);

/* keeper_login.c: takes over a connection of sidekey login. */
void keeper_login(struct keeper *k, int fd);
void keeper_drop_logins(struct keeper *k);

/* keeper_report.c: ASK → ANSWER. */
void keeper_report(struct worker_link *w, const struct msg *m);
/* SIGUSR2: a line of the log for each credential. */
void keeper_log_status(const struct keeper *k);

#endif
