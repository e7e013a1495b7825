/* proxy/client.h: one client connection from accept to close.   Worker process.
 * Owner: itself; it is in context.clients while it lives. */
#ifndef SIDEKEY_PROXY_CLIENT_H
#define SIDEKEY_PROXY_CLIENT_H

#include "proxy/context.h"

/* A connection on the proxy listener: CONNECT or absolute-form.  Takes fd over. */
void client_accept(struct context *ctx, int fd);
/* The same on the unix socket. The kernel says once which user is at the other end. */
void client_accept_local(struct context *ctx, int fd);
/* A connection on the transparent listener: the name comes from the hint that its local address carries. */
void client_accept_transparent(struct context *ctx, int fd);
/* A connection that a firewall redirected to us: its original destination is the place (net/original_dst.h). */
void client_accept_redirected(struct context *ctx, int fd);
/* A connection of an isolated program: its local address is the place that it asked for (proxy/isolated.h). */
void client_accept_isolated(struct context *ctx, int fd);
/* A connection on the gateway listener: plain requests to "/RULE/path" (proxy/gateway.h).  Takes fd over. */
void client_accept_gateway(struct context *ctx, int fd);
/* Drain: clients between requests are closed after context.drain_idle_ms without a byte (0: now, except new ones); the
 * others after their next response, which has Connection: close. */
void clients_drain(struct context *ctx);
/* Closes idle clients and tunnels now. */
void clients_hurry(struct context *ctx);
/* Closes all clients at once. */
void clients_close(struct context *ctx);

#endif
