/* refresh/flight/flight_private.h: inside the flight, for flight*.c only: the struct, the states, the steps.
 * flight.c has the table, the wheel and the lease; flight_secrets.c the configured secrets; flight_ask.c the token
 * request; flight_answer.c what a 2xx response means; flight_keep.c what happens to the outcome. */
#ifndef SIDEKEY_REFRESH_FLIGHT_FLIGHT_PRIVATE_H
#define SIDEKEY_REFRESH_FLIGHT_FLIGHT_PRIVATE_H

#include "net/timer.h"
#include "refresh/fetch/command.h"
#include "refresh/flight/flight.h"
#include "refresh/flight/request_slots.h"
#include "refresh/flight/secret_load.h"
#include "refresh/grant/grant.h"

#define FLIGHT_STORE_MS 10000                            /* one store operation */
#define FLIGHT_SECRETS_MS (SECRET_REF_COMMAND_MS + 2000) /* all commands run together */
#define FLIGHT_POLL_FIRST_MS 100                         /* waiting for somebody else: 100 → 400 ms */
#define FLIGHT_POLL_LAST_MS 400
#define FLIGHT_MARGIN_MS 500    /* the request's deadline is before the lease's end by this much */
#define FLIGHT_THROTTLE_MS 5000 /* a 429 that does not say for how long */
#define FLIGHT_PAUSE_MS 5000    /* before a second look at a verdict that may be a mistake */
#define FLIGHT_HOLDS 5          /* most time that a lease is held, in lease times */

enum flight_state {
    FLIGHT_NEW,          /* the start was asked for */
    FLIGHT_BEGIN,        /* the store is asked for the lease */
    FLIGHT_BUSY,         /* somebody else has it: wait, then ask again */
    FLIGHT_STORE_WAIT,   /* the store does not answer, and the policy says wait */
    FLIGHT_DEGRADED,     /* … or says proceed: a random delay first */
    FLIGHT_LOAD,         /* … then read without the lease */
    FLIGHT_CHECK,        /* is it still needed?  what does the journal know? */
    FLIGHT_SEED,         /* the configured token is read */
    FLIGHT_SLOT,         /* so many requests are out: wait for a turn; the lease is renewed */
    FLIGHT_SECRETS,      /* what the request is made of is read */
    FLIGHT_INTENT,       /* build the request, journal that it will be sent */
    FLIGHT_CONFIRM,      /* what is stored is read once more: the journal was looked at after it */
    FLIGHT_FETCH,        /* the request is out; the lease is renewed */
    FLIGHT_COMMIT,       /* the new state goes to the store */
    FLIGHT_COMMIT_WAIT,  /* it would not take it: again, for ever */
    FLIGHT_RECOVER,      /* refused or no answer: what is stored now? */
    FLIGHT_RECOVER_WAIT, /* another owner may be about to store the same token's child */
    FLIGHT_PAUSE,        /* … or the verdict may be a mistake: the same token is sent once more, later */
    FLIGHT_AMEND,        /* what is known of tokens goes to the store, then from the beginning */
    FLIGHT_MARK_DEAD,    /* the verdict "dead" goes to the store */
    FLIGHT_THROTTLE,     /* the token host wants a pause: the store tells the others */
    FLIGHT_RELEASE,
    FLIGHT_DONE,
    FLIGHT_STATES
};

enum step { STEP_AGAIN, STEP_WAIT };

struct flight {
    struct flight_env *env;
    const struct credential_spec *spec;
    struct flight_hooks hooks;
    struct schedule_need need;
    enum flight_state state;
    bool replay, draining;
    bool learned;      /* known has come from elsewhere since the store was asked */
    uint64_t outlived; /* up to here no token will do */

    struct store_owner owner;
    bool leased;     /* as far as we know */
    bool lease_lost; /* it was ours and is not any more: somebody else may be spending the same token */
    int64_t lease_end_ms, hold_end_ms;
    int64_t renewal_end_ms; /* the lease's end, when the renewal that is under way has reached the store */
    struct store_op *op;    /* the one operation under way */
    bool renewing;          /* op is a renewal */
    struct timer deadline;  /* of the state */
    struct timer renewal;

    struct state known; /* newest that we have seen and published */
    struct state base;  /* what is stored: the parent */
    struct state fresh; /* what we want to store */
    int64_t poll_ms, pause_ms;
    int64_t throttled_ms; /* no request before: what the store knows of the token host; 0: nothing */

    struct request_slot slot; /* held from FLIGHT_SLOT until the request has ended, or the flight */
    struct secret_load secret_load;
    struct grant_request request;
    struct fetch_job *job;
    struct command *command; /* grant command: in the place of job */
    bool impersonating;      /* the second request: turns the first token into another */
    bool signed_again;       /* the server's clock was not ours */
    bool encoded;            /* the request has a client that was percent-encoded for Basic */
    struct token_clock *clock;
    int64_t signed_skew_ms; /* what was known of it when the assertion was signed */
    struct secret spent;    /* the refresh token that is in the request */
    char spent_fp[9];
    char mark[48], past_mark[48]; /* our intent in the store; one that a dead keeper of this machine has left there */
    bool marked;                  /* it may be there */
    int64_t marked_ms;
    bool seeded;               /* … and it is the configured one */
    unsigned asked;            /* requests started */
    int64_t asked_ms;          /* when the last one was */
    bool foreign;              /* the server says: spent already, and none of ours is known to have done it */
    struct refusals *refusals; /* may be NULL */
    bool look, probe, reset;   /* asked for: see flight.h */
    bool seed_looked;          /* the configured token is known by now */
    bool look_again, paused;   /* the verdict may be a mistake · the second look was had */
    bool resent, alt_tried, outcome_unknown, double_spend, alt_kept;
    bool sealed;     /* the response is in the journal */
    bool unread;     /* … and nobody has understood it */
    bool kept_short; /* what is committed is not all that was asked for: the flight fails with text once it is stored */
    unsigned mark_dead_tries;
    bool lost; /* the journal says that an answer was damaged, to the token with lost_fp ("": unknown) */
    char lost_fp[9];
    uint64_t lost_parent;

    struct flight_result result;
    char text[256];
    char first[256]; /* the reason of the first failure in a row, where a later one only follows from it; "": none */
};

/* flight.c */
enum step flight_enter(struct flight *f, enum flight_state next);
enum step flight_end_as(struct flight *f, enum flight_end end, const char *text);
enum step flight_fail(struct flight *f, enum msg_class failure, const char *text);
/* As flight_fail(), with f->text as it stands. */
enum step flight_fail_text(struct flight *f, enum msg_class failure);
void flight_store_answer(void *arg, const struct store_answer *answer);
enum step flight_op(struct flight *f, struct store_op *op);
void flight_drive(struct flight *f, enum step step);
/* Takes a stored state as the newest one: copies, publishes when it is newer.  0; -ENOMEM. */
MUST_CHECK int flight_adopt_state(struct flight *f, const struct state *stored);
bool flight_needed(const struct flight *f, const struct state *s);
/* One line of the log, and the hook.  why may be NULL. */
void flight_note(struct flight *f, enum flight_event event, uint64_t generation, const char *why);
/* Takes what the answer says of the token host. */
void flight_note_throttle(struct flight *f, const struct store_answer *answer);
/* The refresh token changed with the last refresh, or there was none yet. */
bool flight_rotates(const struct flight *f);
/* The stored verdict is about the very token that brought ours: it was spoken while our answer was on its way, and is
 * wrong. */
bool flight_overrules(const struct state *ours, const struct state *stored);

/* flight_secrets.c */
/* The stored refresh token: there is one, and it is not known as dead. */
bool flight_stored_lives(const struct flight *f);
/* The refresh token to spend next: configured, stored, or the losing child of a race. */
enum step flight_choose_token(struct flight *f);
enum step flight_seed(struct flight *f);
/* Asks for a slot, for a request to the host that is next: the token endpoint's, or the impersonation's. */
enum step flight_slot(struct flight *f);
enum step flight_slot_renewed(struct flight *f, const struct store_answer *answer);
enum step flight_slot_over(struct flight *f);
void flight_on_slot(void *flight);
enum step flight_secrets(struct flight *f);
enum step flight_secrets_late(struct flight *f);
/* Makes f->request of what was gathered, which is wiped.  0; -1 with e. */
MUST_CHECK int flight_build(struct flight *f, struct err *e);
/* The stored verdict "dead" is about this token.  fp: room. */
bool flight_is_dead(const struct flight *f, struct slice token, char fp[9]);

/* flight_ask.c */
enum step flight_check(struct flight *f);
enum step flight_intent(struct flight *f);
enum step flight_confirm(struct flight *f);
enum step flight_confirmed(struct flight *f, const struct store_answer *answer);
enum step flight_fetch(struct flight *f);
enum step flight_fetch_late(struct flight *f);
void flight_renew(void *arg);
void flight_stop_renewal(struct flight *f);
enum step flight_renewed(struct flight *f, const struct store_answer *answer);

/* flight_explain.c */
/* What went wrong, for people: with the server's words, which may quote what they were sent, and what may be done. */
void flight_explain(const struct flight *f, const struct fetch_answer *a, struct grant_answer *answer, bool foreign,
                    char *why, char *text, size_t size);

/* flight_answer.c */
/* A 2xx response to a refresh, before anybody looks at it. */
void flight_seal_response(struct flight *f, const struct fetch_answer *a);
/* It has been understood, or is of no use any more. */
void flight_forget_response(struct flight *f);
/* Keeps what the answer has: both tokens, or the refresh token alone (then the flight fails with text once it is
 * stored). */
enum step flight_keep(struct flight *f, const struct grant_answer *answer, const char *text);
/* A whole 2xx response without anything to keep: its refresh token does not go out again where tokens rotate. */
enum step flight_not_understood(struct flight *f, const char *text);
/* The stored refresh token is dead because nobody understood what it brought: no second try heals that. */
bool flight_is_unread(const struct flight *f);
/* Why the stored refresh token is dead, as far as it is known; else otherwise. */
const char *flight_dead_reason(const struct flight *f, const char *otherwise);
/* Looks at a response that an earlier flight has left.  true: *ret is what comes next. */
bool flight_reread(struct flight *f, enum step *ret);

/* flight_lost.c */
/* Takes what the journal says of a damaged answer. */
void flight_note_lost(struct flight *f, const struct journal_entry *entry);
/* Reads that note.  False: there is none. */
bool flight_read_lost(struct flight *f);
/* The token with this fingerprint is about to be spent.  True: it must not go out, it is dead, and f->text says why.
 * Where the server is known not to rotate, one try more cannot hurt. */
bool flight_lost_forbids(struct flight *f, const char *fp, bool rotates);

/* flight_keep.c */
enum step flight_commit(struct flight *f);
enum step flight_committed(struct flight *f, const struct store_answer *answer);
enum step flight_commit_wait(struct flight *f);
enum step flight_commit_again(struct flight *f);
enum step flight_recover(struct flight *f);
enum step flight_recovered(struct flight *f, const struct store_answer *answer);
enum step flight_recover_wait(struct flight *f);
enum step flight_recover_again(struct flight *f);
enum step flight_throttle(struct flight *f);
enum step flight_throttled(struct flight *f, const struct store_answer *answer);
/* The pause that the store knows of has not ended: no request. */
enum step flight_fail_throttled(struct flight *f);
/* The configured token was spent: f->fresh says so. */
void flight_note_seed(struct flight *f);
enum step flight_pause(struct flight *f);
enum step flight_pause_over(struct flight *f);
enum step flight_amend(struct flight *f);
enum step flight_amended(struct flight *f, const struct store_answer *answer);
enum step flight_mark_dead(struct flight *f);
enum step flight_marked_dead(struct flight *f, const struct store_answer *answer);
void flight_clear_journal(struct flight *f);
void flight_journal_failed(struct flight *f, const char *outcome, int failed);

#endif
