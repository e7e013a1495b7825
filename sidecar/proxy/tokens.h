/* proxy/tokens.h: the worker's table of access tokens, and the requests that wait for one.   Worker process.
 * Reading a fresh token is the hot path: a pointer, two comparisons, no IPC.   Times are clock_mono_ms().
 * Never hands out an expired token (docs/refresh-rules.md 2.11c).  Owner  tokens_new()'s caller. */
#ifndef SIDEKEY_PROXY_TOKENS_H
#define SIDEKEY_PROXY_TOKENS_H

#include "base/list.h"
#include "base/secret.h"
#include "net/ipc/msg.h"
#include "net/timer.h"

struct tokens;
struct credential; /* an entry: lives as long as the table */

struct token_extra {
    char *key, *value;
};

struct token { /* valid until the next message of the keeper */
    uint64_t generation;
    struct secret secret;
    int64_t expires_ms, refresh_at_ms;
    struct token_extra extras[MSG_EXTRAS_MAX];
    size_t extra_count;
};

enum token_verdict {
    TOKEN_OK,      /* tokens_get() will give one now */
    TOKEN_REFUSED, /* the keeper refused: class, retry_after_ms, text */
    TOKEN_TIMEOUT, /* the waiter's deadline passed; what stood in the way, if the keeper has said it meanwhile */
};
struct token_refusal {
    enum msg_class failure;
    int64_t retry_after_ms; /* 0: unknown */
    char text[256];
};

struct token_wait {
    struct list node;
    struct timer deadline;
    struct credential *credential;
    enum msg_reason reason;
    uint64_t rejected; /* wants a generation above this; 0: any fresh token */
    int64_t until_ms;
    bool put_off; /* a temporary refusal came: reported if no token comes before the deadline */
    void (*fn)(void *arg, enum token_verdict verdict, const struct token_refusal *refusal);
    void *arg;
};

/* How a WANT gets to the keeper (m is complete).  Never calls back into tokens. */
typedef void tokens_send_fn(void *arg, const struct msg *want);

/* arg is borrowed.  NULL when out of memory.  tokens_free() accepts NULL, wipes the tokens and answers nobody. */
MUST_CHECK struct tokens *tokens_new(tokens_send_fn *send, void *arg);
void tokens_free(struct tokens *t);
/* The entry of that name, made empty at the first call.  NULL when out of memory. */
struct credential *tokens_credential(struct tokens *t, const char *name);
const char *tokens_credential_name(const struct credential *c);
/* The generation at hand, fresh or not; 0: none. */
uint64_t tokens_generation(const struct credential *c);
/* An entry that exists already: of a rule, or, without its token, of a credential that the keeper has told of and no
 * rule uses.  NULL: there is no such credential, or the keeper has not told of it yet. */
struct credential *tokens_find(struct tokens *t, struct slice name);
/* The token, when it is fresh; near its end the keeper is asked once in the background.  NULL: wait. */
const struct token *tokens_get(struct tokens *t, struct credential *c, int64_t now_ms);
/* Waits; w->fn is called once, later, unless cancelled.  reason MISSING, REJECTED or FORCED; rejected: see token_wait.
 * Fills w. */
void tokens_wait(struct tokens *t, struct credential *c, struct token_wait *w, enum msg_reason reason,
                 uint64_t rejected, int64_t wait_ms,
                 void (*fn)(void *arg, enum token_verdict, const struct token_refusal *), void *arg);
/* Tells the keeper that an upstream refused this generation, without waiting; does nothing when there is a newer token.
 */
void tokens_reject(struct tokens *t, struct credential *c, uint64_t rejected, int64_t until_ms);
/* Harmless on a zeroed or finished wait. */
void tokens_wait_cancel(struct token_wait *w);
size_t tokens_waiting(const struct tokens *t);

/* From the keeper: MSG_TOKEN or MSG_FAIL. */
void tokens_message(struct tokens *t, const struct msg *m);
/* Whether there is a link to the keeper; a wait that ends without a token reports that. */
void tokens_set_linked(struct tokens *t, bool linked);
/* There is a new keeper: asks again for all waiting requests. */
void tokens_resend(struct tokens *t);

#endif
