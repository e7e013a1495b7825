/* refresh/flight/flight.h: one refresh of one credential, from the lease to the commit: the state machine of rule
 * 1.2a.   Keeper only.
 *
 * The keeper owns it; no caller can cancel it. A good response is always journalled, published, and committed again
 * until the store takes it or the process ends (then the journal has it). Owner  flight_start()'s caller, through
 * flight_free(), at the earliest from on_end. */
#ifndef SIDEKEY_REFRESH_FLIGHT_FLIGHT_H
#define SIDEKEY_REFRESH_FLIGHT_FLIGHT_H

#include "refresh/schedule.h"
#include "refresh/token_clock.h"
#include "refresh/flight/classify.h"
#include "refresh/flight/request_slots.h"
#include "refresh/flight/seed.h"
#include "refresh/fetch/fetch.h"
#include "refresh/store/journal.h"
#include "refresh/credential_spec.h"
#include "refresh/store/store.h"

struct flight;

/* Shared by all flights of a keeper; borrowed while they live. */
struct flight_env {
    struct store *store;
    struct journal *journal;
    struct fetch *fetch;
    const struct seal_ring *ring;
    enum on_lock_error on_lock_error;
    int64_t lease_ms, request_timeout_ms;
    unsigned jitter;             /* as schedule_times() wants it */
    struct token_clocks *clocks; /* NULL: ours is right */
    struct request_slots slots;  /* how many requests are out */
    /* A copy of the token of another credential, for SECRET_REF_CREDENTIAL; NULL: there are no chains.  false: it has
     * none just now. */
    bool (*chained)(void *arg, const char *credential, struct secret *ret);
    void *chained_arg;
};

enum flight_end {
    FLIGHT_REFRESHED, /* a request brought a new token, and it is stored */
    FLIGHT_ADOPTED,   /* the stored state is enough: another owner was first, or it was fresh, or the journal had it */
    FLIGHT_SKIPPED,   /* no request waited and another owner holds the lease, or the drain came first */
    FLIGHT_FAILED,
};

struct flight_result {
    enum flight_end end;
    enum msg_class failure; /* FAILED */
    int64_t retry_after_ms; /* FAILED, from the server; 0: none */
    bool requested;         /* at least one token request was started */
    int64_t sent_ms;        /* when the last one that may have reached its server was; 0: none did */
    bool looked;            /* flight_look(): the configured refresh token is known, or was judged */
    bool reset;             /* flight_reset(): it is forgotten */
    bool told;              /* THROTTLE: the server told this flight; else the store did */
    const char *text;       /* for people; no secret; valid during the call */
};

/* Events for counters: rules 1.14, 2.5c and 2.18. Each is also one line of the log. */
enum flight_event {
    FLIGHT_LOCK_DEGRADED, /* the store gave no answer about the lease */
    FLIGHT_LEASE_LOST,    /* while a request was out */
    FLIGHT_REREAD_FAILED,
    FLIGHT_RACE_RECOVERED, /* refused or unanswered, but another owner's token is stored */
    FLIGHT_PERSIST_FAILED, /* the store did not take an answer or a verdict */
    FLIGHT_JOURNAL_FAILED, /* an intent or an answer is not on disk */
    FLIGHT_RELEASE_FAILED,
    FLIGHT_THROTTLE_UNSHARED,
    FLIGHT_DOUBLE_SPEND,     /* two owners redeemed one refresh token */
    FLIGHT_FOREIGN_ROTATION, /* a refresh token was spent by somebody who is none of ours */
    FLIGHT_EVENTS
};
/* "lock_degraded": a label's fixed word. */
const char *flight_event_name(enum flight_event event);

struct flight_hooks {
    /* A newer state: publish it to the workers now.  Borrowed for the call.  May come more than once. */
    void (*on_state)(void *arg, const struct state *state);
    /* The lease said: FRESH, WON, BUSY, LOST or ERROR.  For the metric. */
    void (*on_lease)(void *arg, enum store_result result);
    void (*on_event)(void *arg, enum flight_event event);
    /* The last call.  The flight may be freed in it, or later. */
    void (*on_end)(void *arg, const struct flight_result *result);
    void *arg;
};

/* known: what the caller has (generation 0: nothing), copied.  need as schedule_needs() takes it.
 * replay: take what the journal holds to the store, and ask no server for it.
 * Nothing is called back from inside this call.  NULL when out of memory. */
MUST_CHECK struct flight *flight_start(struct flight_env *env, const struct credential_spec *spec,
                                       const struct state *known, const struct schedule_need *need, bool replay,
                                       const struct flight_hooks *hooks);
/* Stops without calling on_end; the journal keeps its records.  Accepts NULL. */
void flight_free(struct flight *f);
/* Called at the start: it begins at this time, if that is still to come. */
void flight_not_before(struct flight *f, int64_t at_ms);
/* A request waits now, and may need more than the flight was started for. */
void flight_join(struct flight *f, const struct schedule_need *need);
/* The caller knows by the monotonic clock that the tokens up to this generation have expired or are due, whatever the
 * wall clock says about their stored times. */
void flight_expire_generation(struct flight *f, uint64_t generation);
/* The caller has read a newer state from the store. */
void flight_state_changed(struct flight *f, const struct state *stored);
/* The stored state has changed: a waiting flight checks it at once. */
void flight_wake(struct flight *f);
/* The configured refresh token may be new: it is tried once, also while the stored one works, unless it is known as
 * spent or refused. */
void flight_look(struct flight *f);
/* Something else that the request is made of has changed: a dead refresh token is tried once more. */
void flight_probe(struct flight *f);
/* The token host wants no request before this time: a request that still waits for its turn is not sent. */
void flight_hold(struct flight *f, int64_t until_ms);
/* Forgets what is stored of dead and tried tokens, and then looks. */
void flight_reset(struct flight *f);
/* Where refusals of one token are counted from flight to flight; borrowed.  Without it none is counted. */
void flight_count_refusals(struct flight *f, struct refusals *refusals);
/* No new request from now on; one that was sent is finished. */
void flight_drain(struct flight *f);
/* Name of the state, for logs and tests. */
const char *flight_state_name(const struct flight *f);

#endif
