/* proxy/admin.h: /livez /readyz /metrics /status and POST /refresh/NAME (docs/metrics.md).   Worker process: it holds
 * no long-lived secret and parses HTTP anyway. It asks the keeper by MSG_ASK. No response contains a token. */
#ifndef SIDEKEY_PROXY_ADMIN_H
#define SIDEKEY_PROXY_ADMIN_H

#include "proxy/context.h"

struct admin;

/* NULL when out of memory.  admin_free() accepts NULL and closes every connection that is open. */
MUST_CHECK struct admin *admin_new(struct context *ctx);
void admin_free(struct admin *a);
/* How an operator came: on a unix socket; over TCP from this machine; from elsewhere, who may look and not change. */
enum admin_way { ADMIN_SOCKET, ADMIN_LOOPBACK, ADMIN_REMOTE };
/* A connection on an admin listener.  Takes fd over.  64 at a time: then the one that was idle longest makes room. */
void admin_accept(struct admin *a, int fd, enum admin_way way);
/* Somebody waits for an answer, or has just come and has not asked yet: not the moment to end.  When that changes,
 * context.on_client_end() is called. */
bool admin_busy(const struct admin *a);
/* From the keeper: MSG_ANSWER. */
void admin_answer(struct admin *a, const struct msg *m);

#endif
