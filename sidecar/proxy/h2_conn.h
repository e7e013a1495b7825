/* proxy/h2_conn.h: an HTTP/2 connection on the loop, and its streams as legs of exchanges.   Worker process.
 *
 * Owner  h2_conn_new()'s caller, through h2_conn_free(), at any time.  A leg is its exchange's, or its owner's between
 * exchanges, and may outlive the connection: what had come is still delivered, then gone.  Events come from the loop
 * alone, never from inside a call. */
#ifndef SIDEKEY_PROXY_H2_CONN_H
#define SIDEKEY_PROXY_H2_CONN_H

#include "http/h2.h"
#include "net/stream.h"
#include "proxy/leg.h"

struct h2_conn;

struct h2_conn_events {
    /* Server: a request; status and reason as in http/h2.h.  The callee owns the leg.  NULL: client. */
    void (*opened)(void *owner, struct leg *leg, struct message *head, int status, const char *reason);
    void (*settled)(void *owner); /* the peer's SETTINGS are there: h2_conn_limit() counts; NULL: server */
    void (*leaving)(void *owner); /* the peer takes no new streams; NULL: server */
    void (*ended)(void *owner, const struct leg_fault *fault); /* once: it is over, its legs know */
};

/* Takes the stream over.  NULL when out of memory: the stream stays the caller's. */
MUST_CHECK struct h2_conn *h2_conn_new(struct stream *s, const struct h2_options *options,
                                       const struct h2_conn_events *events, void *owner);
/* Accepts NULL.  What is written goes out as far as the socket takes it; legs that are left hear gone. */
void h2_conn_free(struct h2_conn *c);
/* Client: a leg for one exchange.  NULL when out of memory. */
MUST_CHECK struct leg *h2_conn_leg(struct h2_conn *c);
/* Client: the most that the peer takes at once; 0: it takes no new ones, or has not said. */
size_t h2_conn_limit(const struct h2_conn *c);
/* Streams that are not over. */
size_t h2_conn_open(const struct h2_conn *c);
/* GOAWAY: no new streams, those that are open go on, then ended comes. */
void h2_conn_go_away(struct h2_conn *c, uint32_t code);
/* As h2_sweep(). */
void h2_conn_sweep(struct h2_conn *c, int64_t max_ms);
/* A PING, to see whether anybody is there. */
void h2_conn_ping(struct h2_conn *c);
/* clock_mono_ms() of the last bytes that came. */
int64_t h2_conn_heard_ms(const struct h2_conn *c);
/* Gives buffers back while nothing is under way. */
void h2_conn_park(struct h2_conn *c);

#endif
