/* proxy/exchange_private.h: private to the files of the exchange, one for each step:
 *   exchange.c           start, and the operations of its owner
 *   exchange_state.c     states and deadlines
 *   exchange_admit.c     may the request go on?
 *   exchange_request.c   token, upstream connection, the request out
 *   exchange_answer.c    a token request that is answered here
 *   exchange_response.c  the response in
 *   exchange_held.c      a refused token: once more, or passed on
 *   exchange_fail.c      why it failed
 *   exchange_end.c       the end, and responses of our own
 * Each calls those below it; only exchange_response.c and exchange_held.c call each other. */
#ifndef SIDEKEY_PROXY_EXCHANGE_PRIVATE_H
#define SIDEKEY_PROXY_EXCHANGE_PRIVATE_H

#include "base/clock.h"
#include "net/timer.h"
#include "proxy/exchange.h"
#include "proxy/inject.h"
#include "proxy/problem.h"

enum exchange_state {
    EXCHANGE_TOKEN,   /* waits for a token */
    EXCHANGE_READ,    /* a token request that may be answered here: its body comes */
    EXCHANGE_CONNECT, /* waits for an upstream connection */
    EXCHANGE_RELAY,   /* bytes flow */
    EXCHANGE_HELD,    /* a refused token: the response is held while a newer one is fetched */
    EXCHANGE_OVER,
};

#define EXCHANGE_INSPECT_MAX STREAM_OUT_BODY /* what was kept back must fit the client's queue at once */

struct exchange {
    struct context *ctx;
    struct leg *client_leg;
    struct message *request; /* the client leg's */
    struct authority a0;
    const struct access_client *client; /* whose rules count; NULL: everyone's */
    const char *base;                   /* proxy/gateway.h; NULL: responses go as they are */
    exchange_done_fn *done;
    void *owner;
    enum exchange_state state;
    enum exchange_end end;
    const struct rule *rule; /* NULL: forwarded as it is */
    bool untouched;          /* it lacks the rule's placeholder, and the rule lets such requests pass */
    struct credential *credential;
    uint64_t generation; /* of the token that the last send carried; 0: none */
    struct upstream *up;
    struct pool_wait upstream_wait;
    struct token_wait token_wait;
    struct timer deadline;
    struct timer continue_timer; /* with the upstream, when the client waits for a 100 */
    struct later finish, deferred_free;
    struct replay replay;
    size_t replayed;          /* bytes of replay that the current upstream has */
    struct message trailers;  /* of the request */
    struct message *response; /* the head that the client has; the upstream leg's; valid until its end */
    /* the head of a 401, or of an answer that is looked into; the upstream leg's; valid in HELD and while looking */
    struct message *held;
    struct buf inspected; /* the body of an answer that may refuse the token in band */
    int64_t started_ms;
    ev_tstamp started;
    int status; /* of the answer whose head was written; 0: none yet */
    int sends;  /* heads written upstream */
    int client_minor;
    int refused_status;   /* what a refusal of our own would be in HTTP, where gRPC says 200 */
    int64_t shortened_ms; /* taken off grpc-timeout already */
    int unprocessed;      /* sends that the upstream has certainly done nothing with */
    int late_tokens;      /* that ran out before they could be used */
    const char *reason;   /* why it was refused or cut; for the log */
    bool client_keeps, head_only;
    bool request_done, resending, injected, response_eof;
    bool inspecting;      /* the answer is kept back until its body is whole */
    bool inspected_whole; /* … it is: inspected has all of it, and the upstream leg nothing more */
    bool continued;       /* the client has had a 100 */
    bool upload_cut;      /* the rest of the request goes nowhere: a part of it was kept back and the answer has come */
};

static inline struct leg *exchange_up(struct exchange *x)
{
    return upstream_leg(x->up);
}

static inline bool exchange_has_no_body(const struct exchange *x)
{
    const struct message *m = x->request;
    return m->framing == FRAMING_NONE || (m->framing == FRAMING_LENGTH && m->length == 0);
}

/* Its rule puts a credential on requests. */
static inline bool exchange_injects(const struct exchange *x)
{
    return x->rule && !x->untouched && inject_active(x->rule);
}

/* exchange_state.c */
/* The one writer of the state.  It starts the deadline of the new state, or stops the old one. */
void exchange_enter(struct exchange *x, enum exchange_state next);
/* How long the present state may last.  Only in a state that has a time in the table. */
int64_t exchange_deadline_ms(const struct exchange *x);
/* A step was made: the deadline of the present state begins anew.  In RELAY only. */
void exchange_progress(struct exchange *x);

/* exchange_admit.c */
/* true: the request may go on, and x->rule is set.  false: it was answered. */
bool exchange_admit(struct exchange *x);

/* exchange_request.c */
/* The first step: takes the client leg's events. */
void exchange_start(struct exchange *x);
/* Sends the request again, with what was kept of its body.  x->up is NULL. */
void exchange_resend(struct exchange *x);
/* Goes on with the kept body as the upstream takes it. */
void exchange_push_replay(struct exchange *x);
bool exchange_idempotent(const struct exchange *x);
/* timer_fn of x->continue_timer: the client gets its 100 from us. */
void exchange_continue(void *exchange);

/* exchange_answer.c */
enum exchange_answered {
    EXCHANGE_ANSWER_DONE,    /* the client has its answer */
    EXCHANGE_ANSWER_TOKEN,   /* x->rule is whose it is: answer when there is a token */
    EXCHANGE_ANSWER_FORWARD, /* another client's: it goes on as it came */
};
/* x->rule answers: the body is read first. */
void exchange_answer_read(struct exchange *x);
/* More of the body came.  false: it was too much, and the exchange is over. */
bool exchange_answer_fits(struct exchange *x);
/* The body is whole: what is to be done. */
enum exchange_answered exchange_answer_judge(struct exchange *x);
/* There is a token: the client gets the placeholder for it. */
void exchange_answer_give(struct exchange *x);
/* There is none, for this reason. */
void exchange_answer_without(struct exchange *x, const struct token_refusal *refusal);

/* exchange_response.c */
extern const struct leg_events exchange_up_events;
/* The response goes to the client from now on.  May end the exchange. */
void exchange_forward(struct exchange *x, struct message *head);
/* The same with the whole body, which was kept back in x->inspected. */
void exchange_forward_inspected(struct exchange *x, struct message *head);

/* exchange_held.c */
/* The response refused the token.  true: it is held and the client sees nothing of it yet. */
bool exchange_hold(struct exchange *x, struct message *head);

/* exchange_end.c */
void exchange_end_init(struct exchange *x);
/* The one way to the end: what is still open upstream is closed, the owner learns of it at the end of this turn. */
void exchange_finish(struct exchange *x, enum exchange_end end);
/* A response of our own: the end of the exchange. */
void exchange_respond(struct exchange *x, struct message *m, struct slice body);
/* After a response of our own the client leg may carry another request. */
bool exchange_may_reuse(const struct exchange *x);
/* Takes back a response whose head was written.  false: some of it has gone out. */
bool exchange_retract(struct exchange *x);
/* The client must see that its response is cut. */
void exchange_abort_client(struct exchange *x);

/* exchange_fail.c: each answers with a problem, or cuts a response that is under way. */
void exchange_fail(struct exchange *x, const struct problem *p);
void exchange_fail_token(struct exchange *x, const struct token_refusal *refusal);
/* What an operator can do about a token that does not come. */
const char *exchange_token_hint(const struct token_refusal *refusal);
void exchange_fail_upstream(struct exchange *x, const struct leg_fault *fault);
void exchange_fail_inject(struct exchange *x, bool too_large);
/* The upstream connection is of no more use: drops it, and fails the exchange unless a token is awaited (HELD). */
void exchange_upstream_gone(struct exchange *x, const struct leg_fault *fault);

#endif
