/* proxy/client.h: one client connection from accept to close.   Worker process.
 * Owner: itself; it is in context.clients while it lives. */
#ifndef SIDEKEY_PROXY_CLIENT_H
#define SIDEKEY_PROXY_CLIENT_H

#include "proxy/context.h"

/* A connection on the proxy listener: CONNECT or absolute-form.  Takes fd over. */
void client_accept(struct context *ctx, int fd);
/* The same on the unix socket: who is at the other end is asked of the kernel, once. */
void client_accept_local(struct context *ctx, int fd);
/* A connection on the transparent listener: the name comes from the hint that its local address carries. */
void client_accept_transparent(struct context *ctx, int fd);
/* A connection on the gateway listener: plain requests to "/RULE/path" (proxy/gateway.h).  Takes fd over. */
void client_accept_gateway(struct context *ctx, int fd);
/* Drain: those between requests end when they are silent for context.drain_idle_ms (0: now, but for who has just come),
 * the others with their next answer, which says so. */
void clients_drain(struct context *ctx);
/* Those that are idle, and tunnels, end now. */
void clients_hurry(struct context *ctx);
/* Everything is closed at once. */
void clients_close(struct context *ctx);

#endif
