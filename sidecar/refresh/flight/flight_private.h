/* refresh/flight/flight_private.h: inside the flight, for flight*.c only: the struct, the states, the steps.
 * flight.c has the table, the other files the steps in the order of a flight, and flight_wheel.c turns the wheel. */
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

enum flight_step { STEP_AGAIN, STEP_WAIT };

struct flight_row { /* of the table of states */
    const char *name;
    enum flight_step (*run)(struct flight *f);
    enum flight_step (*answered)(struct flight *f, const struct store_answer *answer);
    enum flight_step (*late)(struct flight *f); /* NULL: the store operation counts as failed (answered with ERROR) */
    int64_t limit_ms;                           /* 0: the step sets its own time */
    bool slot;                                  /* the slot of the request may be held; elsewhere it is given back */
};
extern const struct flight_row flight_rows[FLIGHT_STATES]; /* flight.c */

/* What the caller wants (flight.h). */
struct flight_order {
    bool replay, look, probe, reset;
    bool draining; /* no new request */
};

/* What the flight has of the credential's lease. */
struct flight_lease {
    struct store_owner owner;
    bool held;     /* as far as we know */
    bool lost;     /* it was ours and is not any more: somebody else may be spending the same token */
    bool renewing; /* f->op is a renewal */
    int64_t end_ms;
    int64_t hold_end_ms;    /* not renewed after that */
    int64_t renewal_end_ms; /* the lease's end, when the renewal that is under way has reached the store */
    struct timer renewal;
};

/* What a request spends, and what the journal and the store say of that. */
struct flight_intent {
    struct secret spent; /* the refresh token that is in the request */
    char spent_fp[9];
    bool seeded;                  /* … and it is the configured one */
    bool outcome_unknown;         /* it was sent, and nobody knows what became of it */
    char mark[48], past_mark[48]; /* our intent in the store; one that a dead keeper of this machine has left there */
    bool marked;                  /* it may be there */
    int64_t marked_ms;
};

/* What was tried so far, and what came of it. */
struct flight_attempt {
    unsigned asked;         /* requests started */
    int64_t asked_ms;       /* when the last one was */
    bool impersonating;     /* the second request: turns the first token into another */
    bool encoded;           /* the request has a client that was percent-encoded for Basic */
    bool signed_again;      /* the server's clock was not ours */
    int64_t signed_skew_ms; /* what was known of it when the assertion was signed */
    bool seed_looked;       /* the configured token is known by now */
    bool alt_tried;         /* the losing child of a race was, or is being spent */
    bool resent;            /* a request without an answer was repeated */
    bool look_again;        /* the verdict may be a mistake */
    bool paused;            /* … and the second look was had */
    bool foreign;           /* the server says: spent already, and none of ours is known to have done it */
    bool double_spend;      /* two owners redeemed one refresh token */
    bool alt_kept;          /* … and ours is on its way to the store, beside the winner */
    bool sealed;            /* the response is in the journal */
    bool unread;            /* … and nobody has understood it */
    bool kept_short; /* what is committed is not all that was asked for: the flight fails with text once it is stored */
    unsigned mark_dead_tries;
};

struct flight {
    struct flight_env *env;
    const struct credential_spec *spec;
    struct flight_hooks hooks;
    struct schedule_need need;
    enum flight_state state;
    struct timer deadline; /* of the state */
    struct flight_order order;
    struct flight_lease lease;
    struct flight_intent intent;
    struct flight_attempt attempt;
    struct store_op *op; /* the one operation under way */

    struct state known; /* newest that we have seen and published */
    bool learned;       /* it has come from elsewhere since the store was asked */
    struct state base;  /* what is stored: the parent */
    struct state fresh; /* what we want to store */
    uint64_t outlived;  /* up to here no token will do */
    int64_t poll_ms, pause_ms;
    int64_t throttled_ms;      /* no request before: what the store knows of the token host; 0: nothing */
    struct refusals *refusals; /* may be NULL */
    struct {
        bool noted; /* the journal says that an answer was damaged, to the token with fp ("": unknown) */
        char fp[9];
        uint64_t parent_gen;
    } lost;

    struct request_slot slot; /* held from FLIGHT_SLOT until the request has ended, or the flight */
    struct secret_load secret_load;
    struct secret chained[CREDENTIAL_REFRESH_TOKEN]; /* those that are another credential's token */
    struct grant_request request;
    struct fetch_job *job;
    struct command *command; /* grant command: in the place of job */
    struct token_clock *clock;

    struct flight_result result;
    char text[256];
    char first[256]; /* the reason of the first failure in a row, where a later one only follows from it; "": none */
};

/* Each file calls those below it.  A step is named in the table of flight.c; none calls another but through it. */

/* flight_check.c */
enum flight_step flight_check(struct flight *f);

/* flight_secrets.c */
/* The refresh token to spend next: configured, stored, or the losing child of a race. */
enum flight_step flight_choose_token(struct flight *f);
enum flight_step flight_seed(struct flight *f);
enum flight_step flight_secrets(struct flight *f);
enum flight_step flight_secrets_late(struct flight *f);
void flight_forget_chained(struct flight *f);
/* Makes f->request of what was loaded, which is wiped.  0; -1 with e. */
MUST_CHECK int flight_build(struct flight *f, struct err *e);

/* flight_request.c */
/* Asks for a slot, for a request to the host that is next: the token endpoint's, or the impersonation's. */
enum flight_step flight_slot(struct flight *f);
enum flight_step flight_slot_renewed(struct flight *f, const struct store_answer *answer);
enum flight_step flight_slot_over(struct flight *f);
void flight_on_slot(void *flight);
enum flight_step flight_intent(struct flight *f);
enum flight_step flight_confirm(struct flight *f);
enum flight_step flight_confirmed(struct flight *f, const struct store_answer *answer);
enum flight_step flight_fetch(struct flight *f);
enum flight_step flight_fetch_late(struct flight *f);

/* flight_outcome.c */
/* What came of the request: kept, refused, or unknown. */
enum flight_step flight_outcome(struct flight *f, const struct fetch_answer *a);
/* No token came.  counts: as classify() says. */
enum flight_step flight_outcome_failed(struct flight *f, enum msg_class failure, bool counts, const char *text);

/* flight_answer.c */
/* Keeps what the answer has: both tokens, or the refresh token alone (then the flight fails with text once it is
 * stored). */
enum flight_step flight_keep(struct flight *f, const struct grant_answer *answer, const char *text);
/* A whole 2xx response without anything to keep: its refresh token does not go out again where tokens rotate. */
enum flight_step flight_not_understood(struct flight *f, const char *text);
/* Looks at a response that an earlier flight has left.  true: *ret is what comes next. */
bool flight_reread(struct flight *f, enum flight_step *ret);

/* flight_explain.c */
/* What went wrong, for people: with the server's words, which may quote what they were sent, and what may be done. */
void flight_explain(const struct flight *f, const struct fetch_answer *a, struct grant_answer *answer, bool foreign,
                    char *why, char *text, size_t size);

/* flight_commit.c */
enum flight_step flight_commit(struct flight *f);
enum flight_step flight_committed(struct flight *f, const struct store_answer *answer);
enum flight_step flight_commit_wait(struct flight *f);
enum flight_step flight_commit_again(struct flight *f);

/* flight_recover.c */
enum flight_step flight_recover(struct flight *f);
enum flight_step flight_recovered(struct flight *f, const struct store_answer *answer);
enum flight_step flight_recover_wait(struct flight *f);
enum flight_step flight_recover_again(struct flight *f);
enum flight_step flight_pause(struct flight *f);
enum flight_step flight_pause_over(struct flight *f);
enum flight_step flight_throttle(struct flight *f);
enum flight_step flight_throttled(struct flight *f, const struct store_answer *answer);

/* flight_verdict.c */
enum flight_step flight_amend(struct flight *f);
enum flight_step flight_amended(struct flight *f, const struct store_answer *answer);
enum flight_step flight_mark_dead(struct flight *f);
enum flight_step flight_marked_dead(struct flight *f, const struct store_answer *answer);
/* Logs that the refresh token is dead, with f->text as the reason, which gets what else is known. */
void flight_report_death(struct flight *f);

/* flight_lease.c */
enum flight_step flight_begin(struct flight *f);
enum flight_step flight_begun(struct flight *f, const struct store_answer *answer);
enum flight_step flight_busy(struct flight *f);
enum flight_step flight_ask_again(struct flight *f);
enum flight_step flight_store_wait(struct flight *f);
enum flight_step flight_degraded(struct flight *f);
enum flight_step flight_proceed(struct flight *f);
enum flight_step flight_load(struct flight *f);
enum flight_step flight_loaded(struct flight *f, const struct store_answer *answer);
enum flight_step flight_release(struct flight *f);
enum flight_step flight_released(struct flight *f, const struct store_answer *answer);
/* timer_fn of lease.renewal. */
void flight_renew(void *arg);
enum flight_step flight_renewed(struct flight *f, const struct store_answer *answer);
/* The lease is renewed as while a request is out. */
void flight_renew_in_time(struct flight *f);
void flight_stop_renewal(struct flight *f);

/* flight_known.c */
/* Takes a stored state as the newest one: copies, publishes when it is newer.  0; -ENOMEM. */
MUST_CHECK int flight_adopt_state(struct flight *f, const struct state *stored);
/* Another owner's token is stored: the flight ends with it. */
enum flight_step flight_adopt_newer(struct flight *f, const struct state *winner);
/* A request is needed, when s is what is stored. */
bool flight_needed(const struct flight *f, const struct state *s);
/* Takes what the answer says of the token host. */
void flight_note_throttle(struct flight *f, const struct store_answer *answer);
/* The pause that the store knows of has not ended: no request. */
enum flight_step flight_fail_throttled(struct flight *f);
/* The refresh token changed with the last refresh, or there was none yet. */
bool flight_rotates(const struct flight *f);
/* The stored verdict is about the very token that brought ours: it was spoken while our answer was on its way, and is
 * wrong. */
bool flight_overrules(const struct state *ours, const struct state *stored);
/* The stored verdict "dead" is about this token.  fp: room. */
bool flight_is_dead(const struct flight *f, struct slice token, char fp[9]);
/* The stored refresh token: there is one, and it is not known as dead. */
bool flight_stored_lives(const struct flight *f);
/* The stored refresh token is dead because nobody understood what it brought: no second try heals that. */
bool flight_is_unread(const struct flight *f);
/* Why the stored refresh token is dead, as far as it is known; else otherwise. */
const char *flight_dead_reason(const struct flight *f, const char *otherwise);
/* The configured token was spent: f->fresh says so. */
void flight_note_seed(struct flight *f);
/* Nothing was sent, and the stored state has changed: which token to spend is decided anew. */
static inline void flight_choose_anew(struct flight *f)
{
    f->attempt.alt_tried = f->intent.seeded = f->attempt.seed_looked = f->learned = false;
}

/* flight_journal.c */
/* The journal's part is done. */
void flight_clear_journal(struct flight *f);
/* Nothing was spent: the intent goes, unless an earlier one for the same token is still open. */
void flight_drop_intent(struct flight *f);
/* outcome: what follows from it.  failed: -errno. */
void flight_journal_failed(struct flight *f, const char *outcome, int failed);
/* A 2xx response to a refresh, before anybody looks at it. */
void flight_seal_response(struct flight *f, const struct fetch_answer *a);
/* It has been understood, or is of no use any more. */
void flight_forget_response(struct flight *f);
/* When the last request was sent, by the server's clock.  The life of a token begins when the server makes it (RFC 6749
 * §5.1), which was after the question and maybe long before the answer came. */
int64_t flight_asked_wall_ms(const struct flight *f);
/* Takes what the journal says of a damaged answer. */
void flight_note_lost(struct flight *f, const struct journal_entry *entry);
/* Reads that note.  False: there is none. */
bool flight_read_lost(struct flight *f);
/* The token with this fingerprint is about to be spent.  True: it must not go out, it is dead, and f->text says why.
 * Where the server is known not to rotate, one try more cannot hurt. */
bool flight_lost_forbids(struct flight *f, const char *fp, bool rotates);
/* An intent's name in the store: what its journal knows of it. */
void flight_name_mark(int64_t pid, int64_t at_ms, char mark[48]);

/* flight_wheel.c */
/* The only writer of f->state: stops the old deadline, and begins the new one. */
enum flight_step flight_enter(struct flight *f, enum flight_state next);
/* Runs steps until one waits. */
void flight_drive(struct flight *f, enum flight_step step);
/* timer_fn of f->deadline. */
void flight_on_deadline(void *arg);
enum flight_step flight_end_as(struct flight *f, enum flight_end end, const char *text);
enum flight_step flight_fail(struct flight *f, enum msg_class failure, const char *text);
/* As flight_fail(), with f->text as it stands. */
enum flight_step flight_fail_text(struct flight *f, enum msg_class failure);
void flight_store_answer(void *arg, const struct store_answer *answer);
/* An operation was asked for; NULL: the store could not even take it, which is an answer that comes later as well. */
enum flight_step flight_op(struct flight *f, struct store_op *op);
/* One line of the log, and the hook.  why may be NULL. */
void flight_note(struct flight *f, enum flight_event event, uint64_t generation, const char *why);

#endif
