/* proxy/exchange_private.h: the exchange seen by its own files: exchange.c (client side, ends), exchange_up.c (upstream
 * side, 401), exchange_report.c (answers of our own). */
#ifndef SIDEKEY_PROXY_EXCHANGE_PRIVATE_H
#define SIDEKEY_PROXY_EXCHANGE_PRIVATE_H

#include "base/clock.h"
#include "net/timer.h"
#include "proxy/exchange.h"
#include "proxy/problem.h"

enum exchange_state {
    EXCHANGE_TOKEN,   /* waits for a token; deadline: token_wait */
    EXCHANGE_CONNECT, /* waits for an upstream connection; deadline: upstream_wait */
    EXCHANGE_RELAY,   /* bytes flow; deadline: first_byte_ms, then idle_ms */
    EXCHANGE_HELD,    /* a 401 is held while a newer token is fetched; deadline: token_wait */
    EXCHANGE_OVER,
};

#define EXCHANGE_INSPECT_MAX STREAM_OUT_BODY /* what was kept back must fit the client's queue at once */

struct exchange {
    struct context *ctx;
    struct leg *client_leg;
    struct message *request; /* the client leg's */
    struct authority a0;
    const struct access_client *client; /* whose rules count; NULL: everyone's */
    exchange_done_fn *done;
    void *owner;
    enum exchange_state state;
    enum exchange_end end;
    const struct rule *rule; /* NULL: forwarded as it is */
    struct credential *credential;
    uint64_t generation; /* of the token that the last send carried; 0: none */
    struct upstream *up;
    struct upstream_wait upstream_wait;
    struct token_wait token_wait;
    struct timer deadline;
    struct timer continue_timer; /* with the upstream, when the client waits for a 100 */
    struct later finish, deferred_free;
    struct replay replay;
    size_t replayed;         /* bytes of replay that the current upstream has */
    struct message trailers; /* of the request */
    struct message *answer;  /* the head that the client has; the upstream leg's; valid until its end */
    /* the head of a 401, or of an answer that is looked into; the upstream leg's; valid in HELD and while looking */
    struct message *held;
    struct buf inspected; /* the body of an answer that may refuse the token in band */
    int64_t started_ms;
    ev_tstamp started;
    int status; /* of the answer whose head was written; 0: none yet */
    int sends;  /* heads written upstream */
    int client_minor;
    int late_tokens;    /* that ran out before they could be used */
    const char *reason; /* why it was refused or cut; for the log */
    bool client_keeps, head_only;
    bool request_done, resending, injected, answer_eof;
    bool inspecting;      /* the answer is kept back until its body is whole */
    bool inspected_whole; /* … it is: looked has all of it, and the upstream leg nothing more */
    bool continued;       /* the client has had a 100 */
    bool upload_cut;      /* the rest of the request goes nowhere: a part of it was kept back and the answer has come */
};

static inline struct leg *exchange_up(struct exchange *x)
{
    return upstream_leg(x->up);
}

/* exchange.c */
/* The one writer of the state. */
void exchange_enter(struct exchange *x, enum exchange_state next);
void exchange_finish(struct exchange *x, enum exchange_end end);
void exchange_fail(struct exchange *x, const struct problem *p);
void exchange_respond(struct exchange *x, struct message *m, struct slice body);
bool exchange_may_reuse(const struct exchange *x);
bool exchange_retract(struct exchange *x);
void exchange_abort_client(struct exchange *x);
void exchange_resend(struct exchange *x);
void exchange_wait_token(struct exchange *x);
/* exchange_up.c */
void exchange_send(struct exchange *x);
void exchange_end_upload(struct exchange *x);
void exchange_upstream_gone(struct exchange *x, const struct leg_fault *fault);
void exchange_filter_trailers(struct exchange *x, struct message *trailers);
void exchange_progress(struct exchange *x);
bool exchange_idempotent(const struct exchange *x);
void exchange_continue(void *exchange);
/* exchange_switch.c */
void exchange_switch(struct exchange *x, struct message *head);
/* exchange_report.c */
void exchange_account(struct exchange *x, int status);
void exchange_fail_token(struct exchange *x, const struct token_refusal *refusal);
void exchange_fail_upstream(struct exchange *x, const struct leg_fault *fault);
void exchange_fail_inject(struct exchange *x, bool too_large);
void exchange_last_hop(struct exchange *x);

#endif
