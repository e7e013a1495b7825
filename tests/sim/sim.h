/* tests/sim/sim.h: a world of numbers in which the real flight, account, credential, classify, successor and journal
 * code runs: several keepers in one process, one store, one authorization server, one clock.   Every choice comes from
 * the seed, so a seed is a schedule and can be run again.
 *
 * Floors of the house: world (time, chance, verdicts) < disk, store, server (what the keepers stand on) < keeper <
 * main. Time is in milliseconds.  A keeper that is stopped keeps its events until it goes on; one that crashes loses
 * them, and everything but disk and store. */
#ifndef SIDEKEY_TESTS_SIM_H
#define SIDEKEY_TESTS_SIM_H

#include "refresh/account.h"
#include "refresh/store/journal.h"

#define SIM_KEEPERS 6
#define SIM_CRED "crm"
#define SIM_WORLD (-1) /* events that belong to no keeper */

/* ---- the plan of a schedule, drawn from its seed ---- */

struct sim_plan {
    int keepers;
    /* one state directory, leases that die with their process; else a store elsewhere and a journal for each keeper */
    bool one_machine;
    bool reuse_detection; /* a refresh token that comes twice revokes the grant; else it is only refused */
    bool rotates;
    /* the only thing that programs do is to report 401 for the first generation, again and again */
    bool storm;
    bool clocks; /* wall clocks differ and jump */
    int64_t lease_ms, request_ms, lifetime_ms;
    enum on_lock_error policy;
    int64_t calm_ms; /* from here on no faults: what follows must come to rest */
    /* per mille, each of its own kind of event */
    unsigned lost, slow, refused, throttled, crash, stop, store_error, store_slow, disk_full, odd, damage, rollback;
};
extern struct sim_plan sim_plan;

/* ---- world.c: time, chance, events, verdicts ---- */

extern int64_t sim_now_ms;
extern int sim_running; /* the keeper whose event runs, or SIM_WORLD */
void sim_world_reset(uint64_t seed);
uint64_t sim_random(void);
int64_t sim_between(int64_t least, int64_t most);
/* Per mille; never once the calm has come. */
bool sim_fault(unsigned per_mille);
bool sim_chance(unsigned per_mille);
typedef void sim_fn(void *arg);
/* Runs fn(arg) after delay_ms (>= 0) as the keeper's (or the world's).  The event's name, for sim_forget(). */
uint64_t sim_after(int64_t delay_ms, int keeper, sim_fn *fn, void *arg);
void sim_forget(uint64_t event);
void sim_hold_events(int keeper, bool held);
void sim_drop_events(int keeper);
/* Runs the next event that is due until then.  false: there is none, and it is until_ms now. */
bool sim_step(int64_t until_ms);
/* A property is broken: the schedule ends here. */
void sim_break(const char *format, ...) PRINTF_LIKE(1, 2);
extern char sim_broken[256]; /* "": all is well */
extern bool sim_tracing;
void sim_trace(const char *format, ...) PRINTF_LIKE(1, 2);

/* What happened in all schedules, so that a fault that never comes is seen. */
enum sim_count {
    SIM_REDEEMED,
    SIM_LOST,
    SIM_LATE,
    SIM_CRASHES,
    SIM_STOPS,
    SIM_STORE_ERRORS,
    SIM_LAPSED,
    SIM_REUSED,
    SIM_REVOKED,
    SIM_MARKED_DEAD,
    SIM_STALE,
    SIM_WAITERS,
    SIM_THROTTLED,
    SIM_ODD,
    SIM_DAMAGED,
    SIM_ROLLED_BACK,
    SIM_HEALED,
    SIM_COUNTS
};
extern uint64_t sim_counts[SIM_COUNTS];

/* ---- disk.c: directories in memory under the real journal ---- */

void sim_disk_reset(void);
/* A byte of this file is another one now.  false: there is no such file. */
bool sim_disk_damage(const char *dir, const char *name);

/* ---- store.c ---- */

void sim_store_reset(void);
/* The store as one keeper sees it. */
struct store *sim_store_of(int keeper);
void sim_store_outage(int64_t ms);
const struct state *sim_stored(void);
/* Somebody writes the state back that was stored before the last commit, when every keeper has seen the newest. */
void sim_store_roll_back(void);
/* A keeper has this refresh token in the copy that it keeps of the newest state that it has seen. */
bool sim_kept(int refresh);
bool sim_holds_lease(int keeper);
/* Somebody's intent to spend this generation's token had run out, and another keeper went on. */
bool sim_lapsed(uint64_t generation);
/* The store has told this keeper of a pause that the server asked for, and it has not ended. */
bool sim_told_to_wait(int keeper);

/* ---- server.c: the authorization server, and the way to it (in place of refresh/fetch/fetch.c) ---- */

void sim_server_reset(void);
void sim_server_done(void);
/* Does the server still take this refresh token? */
bool sim_server_takes(int refresh);
/* End of the life of an access token. */
int64_t sim_access_end_ms(int access);
bool sim_grant_revoked(void);
/* The answer in this keeper's journal is damaged, while it does not run. */
void sim_server_damage(int keeper);
/* The newest refresh token is good and has arrived: nobody may say that it is dead. */
bool sim_server_healthy(void);
unsigned sim_redeemed(void);   /* refresh tokens that the server exchanged */
bool sim_something_lost(void); /* an answer did not arrive, somewhere in this schedule */
/* 7 of "rt-7"; -1: no token. */
int sim_token_number(const struct secret *token);
/* P2: what has arrived must be on disk or in the store. */
void sim_judge_durable(void);

/* ---- keeper.c ---- */

struct sim_keeper {
    bool up, stopped, dying;
    int64_t pid;
    int64_t wall_ms;    /* wall clock minus time */
    int64_t stopped_ms; /* in all */
    int64_t stopped_at_ms;
    struct journal *journal;
    struct metrics *metrics;
    struct token_clocks *clocks;
    struct flight_env flights;
    struct account_env env;
    struct account account;
    int own_access; /* newest access token that this life of the keeper fetched itself */
};
extern struct sim_keeper sim_keepers[SIM_KEEPERS];
/* All up at once; spec and ring are borrowed. */
void sim_keepers_start(const struct credential_spec *spec, const struct seal_ring *ring);
void sim_keepers_end(void);
/* Wants, crashes, stops and jumps until the plan's calm. */
void sim_keepers_plan(void);
/* Takes away who died in the last event; it comes back later. */
void sim_keepers_free(void);
/* Everybody is up again. */
void sim_keepers_calm(void);
/* The longest that a program may wait for an answer of a keeper that runs. */
int64_t sim_patience_ms(void);
/* Everybody asks once more, and at the end everybody must have a token if there can be one. */
void sim_keepers_ask(void);
void sim_keepers_judge(void);
/* Between two effects on the world: the keeper that runs may end here.  true: the effect takes place. */
bool sim_effect(void);
/* The store has told everybody of a change. */
void sim_keepers_changed(void);
const char *sim_journal_path(int keeper);

#endif
