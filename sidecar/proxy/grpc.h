/* proxy/grpc.h: what gRPC calls say and hear otherwise than other requests (gRPC over HTTP/2, "PROTOCOL-HTTP2"). Pure.
 */
#ifndef SIDEKEY_PROXY_GRPC_H
#define SIDEKEY_PROXY_GRPC_H

#include "proxy/problem.h"
#include "proxy/rule.h"

/* A call: HTTP/2, and its content-type begins with application/grpc. */
bool grpc_is_call(const struct message *request);
/* The problem as a trailers-only answer: 200, grpc-status, reason and hint in grpc-message, no body.  0; -ENOMEM. */
MUST_CHECK int grpc_build(const struct problem *p, struct message *m);
/* grpc-status of a head that is also the end; -1: it says none. */
int grpc_status(const struct message *head);
/* The answer refuses the token: a trailers-only answer whose status is among those of the rule. */
bool grpc_refuses(const struct rule *r, const struct message *request, const struct message *head);
/* What is left of the call's grpc-timeout after elapsed_ms, at least 1 ms; a call without one stays as it is.  0;
 * -ENOBUFS, -ENOMEM. */
MUST_CHECK int grpc_shorten(struct message *request, int64_t elapsed_ms);

#endif
