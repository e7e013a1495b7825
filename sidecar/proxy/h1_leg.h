/* proxy/h1_leg.h: the HTTP/1.1 codec of an exchange: a stream, a parser, and the framing of what is written.   Worker
 * process. Owner  h1_leg_new()'s caller, through h1_leg_free(), which is safe inside any event of the leg. */
#ifndef SIDEKEY_PROXY_H1_LEG_H
#define SIDEKEY_PROXY_H1_LEG_H

#include "http/h1.h"
#include "net/stream.h"
#include "proxy/leg.h"

struct h1_leg;

/* Takes the stream over.  reads: H1_REQUESTS faces a client, H1_RESPONSES an upstream.  Wants nothing yet.  NULL when
 * out of memory. */
MUST_CHECK struct h1_leg *h1_leg_new(struct stream *s, enum h1_role reads, const struct leg_events *events,
                                     void *owner);
/* As leg_free(); accepts NULL. */
void h1_leg_free(struct h1_leg *l);
/* As free, but lets the peer read the last answer first (stream_linger). */
void h1_leg_free_gently(struct h1_leg *l);
/* As h1_limit(). */
void h1_leg_limit(struct h1_leg *l, unsigned fields, unsigned line_bytes);
struct leg *h1_leg_base(struct h1_leg *l);
/* Client: it is of a kind that ends its side behind its request and waits for the answer (busybox wget, with https://
 * in its request line): as long as a process of this machine holds the other end, that is no giving up. */
void h1_leg_ends_with_request(struct h1_leg *l, bool may);
/* Bytes that were read before the stream came here.  0; -ENOMEM. */
MUST_CHECK int h1_leg_preload(struct h1_leg *l, struct slice bytes);
/* Frees the leg, also inside one of its events; returns its stream, and what was read and not used is appended to
 * leftover.  NULL: out of memory, all is closed. */
struct stream *h1_leg_detach(struct h1_leg *l, struct buf *leftover);
struct stream *h1_leg_stream(struct h1_leg *l);
/* When its first byte came (clock_mono_ms); 0: not yet. */
int64_t h1_leg_started_ms(const struct h1_leg *l);
/* Both directions are between messages and the peer keeps the connection: it may carry another exchange. */
bool h1_leg_reusable(const struct h1_leg *l);
/* Upstream: how long it keeps an unused connection, by the last answer (Keep-Alive: timeout), in seconds; 0: not said.
 */
uint32_t h1_leg_idle_s(const struct h1_leg *l);
/* Between messages: gives back what the last one needed, down to the TLS buffers.  Harmless at any other time. */
void h1_leg_park(struct h1_leg *l);

#endif
