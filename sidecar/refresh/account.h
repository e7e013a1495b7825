/* refresh/account.h: one credential at the keeper: its state, when it is refreshed, and the only way to start a
 * refresh.   Keeper only. Owner  the keeper (embedded), through account_done(). */
#ifndef SIDEKEY_REFRESH_ACCOUNT_H
#define SIDEKEY_REFRESH_ACCOUNT_H

#include "base/metrics.h"
#include "net/timer.h"
#include "refresh/flight/flight.h"
#include "refresh/secret_watch.h"

struct account;

struct account_env { /* borrowed, one for all accounts */
    struct flight_env *flights;
    struct metrics *metrics;
    /* Tell every worker what the account holds now. */
    void (*publish)(void *arg, const struct account *a);
    /* Tell every worker that there is no (newer) token to be had. */
    void (*refuse)(void *arg, const struct account *a, enum msg_class failure, int64_t retry_after_ms,
                   const char *text);
    /* The token host asks for fewer requests: hold every account of the same host.  told: it has said so to us, and the
     * store is to know. */
    void (*throttled)(void *arg, const char *host, int64_t until_ms, bool told);
    /* A flight has ended while draining. */
    void (*idle)(void *arg);
    void *arg;
    bool many; /* more accounts than have all their series from the start: they appear when they are first counted */
};

struct account_parent { /* a credential whose token is part of our request */
    struct account *account;
    uint64_t used_gen;    /* its token_gen in the last request */
    uint64_t refused_gen; /* … which was refused: a newer one is asked for, once.  0: no */
};

struct account {
    const struct credential_spec *spec;
    const struct account_env *env;
    char host[300];            /* of the token endpoint; "" none */
    struct token_clock *clock; /* of that host; NULL: ours is right */
    struct state state;        /* newest; published */
    uint64_t token_gen; /* the generation that brought its access token: later ones may say of the refresh token only */
    struct schedule_times times;
    struct schedule_tries tries;
    struct flight *flight;     /* at most one */
    struct schedule_need need; /* of the flight, with all who joined */
    int64_t flight_ms;         /* when it started */
    unsigned waiters;          /* WANTs that joined */
    bool changed;              /* the secret's file changed while a flight was under way */
    bool look;                 /* the configured refresh token may be a new one */
    bool probe;                /* another secret has changed: a dead refresh token is tried once more */
    bool reset;                /* what is stored of dead and tried tokens is to be forgotten */
    struct refusals refusals;  /* of one refresh token, in a row */
    bool replay;               /* the journal's answer has not reached the store yet */
    bool draining, loaded;
    bool started; /* what is stored was read once */
    struct account_parent parents[CREDENTIAL_REFRESH_TOKEN];
    size_t parent_count;
    struct account *all; /* the keeper's, to find those whose parent we are; borrowed */
    size_t all_count;
    bool held;               /* a flight is wanted, for need, and begins when the parent has a token */
    struct account *held_by; /* … this one */
    bool for_parent;         /* the last failure is the parent's */
    struct store_op *load;
    bool load_again;
    int64_t throttled_ms;     /* no request before; 0: never said */
    struct store_op *sharing; /* the store is told that */
    struct timer reload;      /* the last load failed */
    int64_t reload_ms;        /* the pause before the next one */
    struct timer timer;
    struct secret_watch *watches[CREDENTIAL_SECRETS]; /* one for each file that a secret comes from */
    char last_error[256];                             /* of the last flight; "" after a good one */
};

/* flights as in env.  0; -ENOMEM. */
MUST_CHECK int account_init(struct account *a, const struct credential_spec *spec, const struct account_env *env);
void account_done(struct account *a);
/* After account_init() of all: finds the parents.  all: borrowed while a lives.  0; -ENOENT: there is no such one. */
MUST_CHECK int account_link(struct account *a, struct account *all, size_t count);
/* A copy of its access token, if that has not expired.  false: there is none, or no memory. */
bool account_token(const struct account *a, struct secret *ret);
/* Journal, store, and the first token. */
void account_start(struct account *a);
/* The single door (rule 2.14a): somebody wants a token, or a newer one.  Answers by publish or refuse, now or after
 * a flight. */
void account_want(struct account *a, const struct schedule_need *need);
/* Forgets what is stored of dead and tried refresh tokens, and tries the configured one. */
void account_reset(struct account *a);
/* The stored state has changed, by whomever. */
void account_changed(struct account *a);
/* The token host wants no request before until_ms.  share: those who share the store are to know it as well. */
void account_hold(struct account *a, int64_t until_ms, bool share);
/* Background passes end; a flight that has asked goes on.  account_busy(): it still does. */
void account_drain(struct account *a);
bool account_busy(const struct account *a);
/* What workers are told: NONE, USABLE, REAUTH. */
enum msg_state account_state(const struct account *a);
/* Has a token that has not expired. */
bool account_usable(const struct account *a);
/* When the background pass looks again; MSG_NEVER. */
int64_t account_next_ms(const struct account *a);
/* Writes gauges of this account to its metrics. */
void account_gauges(const struct account *a);

#endif
