/* proxy/isolated.h: the sockets inside the network of an isolated program ("sidekey run --isolate").   Worker process.
 *
 * That network has no way out: a default route of type "local" makes every address its own (AnyIP), and sidekey opened
 * listeners there, which the worker accepts on from outside.  The local address of a connection is the place that the
 * program wanted.  Names are answered on UDP port 53 of every address.  Its loopback is its own: a port of
 * --allow-local is relayed to the host's loopback, everything else on it is refused. */
#ifndef SIDEKEY_PROXY_ISOLATED_H
#define SIDEKEY_PROXY_ISOLATED_H

#include "proxy/context.h"

struct isolated;

/* accept gets every connection that is for another place than loopback.  sockets are borrowed for ever.  NULL when out
 * of memory. */
MUST_CHECK struct isolated *isolated_new(struct context *ctx, const struct isolated_sockets *sockets, listen_fn *accept,
                                         void *arg);
/* Accepts NULL, as the functions below. */
void isolated_free(struct isolated *i);
/* As listener_set(), for all of them. */
void isolated_set(struct isolated *i, bool accepting);
/* Nobody will accept again: who connects is refused at once. */
void isolated_refuse(struct isolated *i);

#endif
