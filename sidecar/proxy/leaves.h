/* proxy/leaves.h: the worker's cache of leaf certificates; the keeper mints missing ones, one at a time per name and
 * kind (net/tls/tls.h). Worker process. X509 only (the keys are the worker's), LRU of LEAVES_MAX, expiry judged at use.
 */
#ifndef SIDEKEY_PROXY_LEAVES_H
#define SIDEKEY_PROXY_LEAVES_H

#include "base/list.h"
#include "net/ipc/msg.h"
#include "net/tls/tls.h"
#include "net/timer.h"

#define LEAVES_MAX 1024

struct leaves;

struct leaf_wait {
    struct list node;
    struct timer deadline;
    struct leaves *leaves;
    struct leaf_entry *entry; /* NULL once it has been answered */
    /* leaf: the callee's reference, or NULL and why not. */
    void (*fn)(void *arg, struct tls_leaf *leaf, const char *error);
    void *arg;
};

typedef void leaves_send_fn(void *arg, const struct msg *mint);

/* server and arg are borrowed.  NULL when out of memory.  leaves_free() accepts NULL; nobody may wait then. */
MUST_CHECK struct leaves *leaves_new(struct tls_server *server, leaves_send_fn *send, void *arg);
void leaves_free(struct leaves *l);
/* A reference for the caller, or NULL: not cached, call leaves_wait(). */
struct tls_leaf *leaves_get(struct leaves *l, enum tls_leaf_kind kind, const char *host);
/* fn is called once, later, within wait_ms, unless cancelled.  Returns 0; -ENOMEM. */
MUST_CHECK int leaves_wait(struct leaves *l, enum tls_leaf_kind kind, const char *host, struct leaf_wait *w,
                           int64_t wait_ms, void (*fn)(void *arg, struct tls_leaf *leaf, const char *error), void *arg);
/* Harmless on a zeroed or finished wait. */
void leaves_wait_cancel(struct leaf_wait *w);
/* From the keeper: MSG_LEAF. */
void leaves_message(struct leaves *l, const struct msg *m);
/* Another CA signs: cached leaves are not used again. */
void leaves_forget(struct leaves *l);
/* There is a new keeper with the same CA: asks again for all waiting requests. */
void leaves_resend(struct leaves *l);

#endif
