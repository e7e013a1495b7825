/* proxy/h2_server.h: an HTTP/2 client inside its tunnel: its requests, one exchange for each stream (docs/http.md §8).
 * Worker process.   Owner  h2_server_new()'s caller, through h2_server_free(). */
#ifndef SIDEKEY_PROXY_H2_SERVER_H
#define SIDEKEY_PROXY_H2_SERVER_H

#include "http/authority.h"
#include "proxy/context.h"

struct h2_server;

struct h2_server_options {
    struct context *ctx;
    const struct authority *a0;      /* copied */
    const struct access_client *who; /* whose rules count; NULL: everyone's */
    const struct access_peer *peer;  /* whose connection it is; copied */
};
/* Whose requests may share an upstream connection: those of a client, or of a user on the unix socket; else of all who
 * have shown no identity. */
#define H2_SHARER_TEXT 280
const char *h2_server_sharer(const struct access_client *who, const struct access_peer *peer,
                             char text[H2_SHARER_TEXT]);

/* Called once, from the loop: the connection is over. */
typedef void h2_server_done_fn(void *owner, enum close_reason reason);

/* Takes the stream over, whose ALPN is h2.  NULL when out of memory: the stream stays the caller's. */
MUST_CHECK struct h2_server *h2_server_new(struct stream *s, const struct h2_server_options *options,
                                           h2_server_done_fn *done, void *owner);
/* Accepts NULL.  Requests under way are cancelled. */
void h2_server_free(struct h2_server *s);
/* GOAWAY: accepts NULL; requests under way go on, no new ones are taken. */
void h2_server_drain(struct h2_server *s);
/* No request is under way. */
bool h2_server_idle(const struct h2_server *s);
/* Accepts NULL.  Each request under way gets a status, or sees its answer cut. */
void h2_server_interrupt(struct h2_server *s);

#endif
