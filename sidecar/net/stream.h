/* net/stream.h: one byte stream over one descriptor, plain or TLS, on the loop.   Worker process.
 *
 * Owner  stream_new()'s caller, through stream_free() (at any time, also inside its own event: nothing is touched
 * afterwards). Events go to one function, which may be changed (a pooled connection changes hands); never from inside a
 * stream_* call. STREAM_READABLE  while stream_want_read(true): stream_read() will not say AGAIN for nothing.  Repeats
 * until read dry (bytes inside TLS count). STREAM_DRAINED   the output queue fell to half its cap after it had been
 * full (room below STREAM_SPACE_SHORT), or ran empty after stream_finish(). STREAM_SECURED   the handshake is done.
 *   STREAM_FAILED    the connection is of no more use; stream_error() says why.  Sent once, also after stream_read()
 * has said STREAM_ERROR. When writing fails, what the peer had sent before is read first (an early answer, an alert) if
 * reading is wanted; what is written meanwhile is dropped. Output: stream_write() queues, and one write per turn of the
 * loop carries all of it.  The queue is capped (STREAM_OUT_MAX): never write more than stream_space().  Deadlines are
 * the owner's. */
#ifndef SIDEKEY_NET_STREAM_H
#define SIDEKEY_NET_STREAM_H

#include "net/loop.h"
#include "net/tls/tls.h"

#define STREAM_OUT_MAX (64 * 1024 + 16 * 1024) /* body bytes wait up to 64 KiB; 16 KiB more for framing around them */
#define STREAM_OUT_BODY (64 * 1024)
#define STREAM_SPACE_SHORT (16 * 1024) /* a stream_space() below this counts as full: STREAM_DRAINED will come */

struct stream;
enum stream_event { STREAM_READABLE, STREAM_DRAINED, STREAM_SECURED, STREAM_FAILED };
enum stream_io { STREAM_OK, STREAM_AGAIN, STREAM_EOF, STREAM_ERROR };
typedef void stream_event_fn(void *owner, enum stream_event event);

/* Takes fd over (non-blocking is set here).  NULL when out of memory: fd stays the caller's. */
MUST_CHECK struct stream *stream_new(int fd, stream_event_fn *fn, void *owner);
/* Flushes what the socket takes at once, says close_notify when the stream is whole, closes.  Accepts NULL. */
void stream_free(struct stream *s);
/* As stream_free(), but the peer must not take it for a clean end: the queue is dropped, no close_notify, reset
 * (SO_LINGER 0; a unix socket has none, there the missing close_notify or length must tell). */
void stream_abort(struct stream *s);
void stream_own(struct stream *s, stream_event_fn *fn, void *owner);
/* Linger: the peer's unread bytes would turn the last answer into a reset.  Takes the stream over: flushes for as long
 * as the peer takes some of it within 30 s, shuts down writing, drops at most 2 MiB of input, closes at EOF or 2 to 4 s
 * after its last byte. */
void stream_linger(struct stream *s);

/* Client leg: accepts TLS with this leaf; the name in SNI, when present, must be host (else unrecognized_name); absent
 * only when sni_optional. already: bytes of the ClientHello that were read before.  Returns 0; -ENOMEM. */
MUST_CHECK int stream_accept_tls(struct stream *s, struct tls_server *server, struct tls_leaf *leaf, const char *host,
                                 bool sni_optional, struct slice already);
/* Upstream leg: host is verified (name or IP literal); key names the session cache entry.  Returns 0; -ENOMEM. */
MUST_CHECK int stream_connect_tls(struct stream *s, struct tls_client *client, const char *host, bool host_is_ip,
                                  const char *key);

/* STREAM_OK: *ret_n >= 1 bytes in dst.  STREAM_EOF: clean end (for TLS: close_notify came).  STREAM_ERROR:
 * stream_error(); a TLS stream cut without close_notify is an error. */
enum stream_io stream_read(struct stream *s, char *dst, size_t size, size_t *ret_n);
/* Copies to the output queue.  Returns 0; -ENOBUFS (over the cap: a bug of the caller, or of a peer that pipelines
 * control data). */
MUST_CHECK int stream_write(struct stream *s, struct slice bytes);
/* The output queue, for writers that format straight into it; call stream_kick() afterwards. */
struct buf *stream_out(struct stream *s);
void stream_kick(struct stream *s);
/* Body bytes that may be written now.  Below STREAM_SPACE_SHORT: STREAM_DRAINED will come. */
size_t stream_space(struct stream *s);
bool stream_drained(const struct stream *s);
void stream_want_read(struct stream *s, bool want);
/* After STREAM_EOF: FAILED comes at once, and not at the next write, when a peer that might still have read is gone for
 * good (a reset; on a unix socket any close).  Only for owners with nothing left that the other side must get all the
 * same. */
void stream_want_hangup(struct stream *s, bool want);
/* No more will be written: after the queue has drained, close_notify and shutdown(SHUT_WR), then STREAM_DRAINED. */
void stream_finish(struct stream *s);

/* Parked: gives TLS buffers back while nothing is in flight (SSL_free_buffers).  Harmless at any time. */
void stream_park(struct stream *s);
/* For messages: "connection reset by peer", "certificate has expired (depth 0, issuer CN=x)".  Never NULL. */
const char *stream_error(const struct stream *s);
/* Why the stream failed, for Proxy-Status (RFC 9209 §2.3): a bounded label such as "tls_certificate_error",
 * "tls_alert_received", "connection_terminated", "tls_protocol_error". */
const char *stream_error_label(const struct stream *s);
/* True when the failure was certificate or name verification. */
bool stream_verify_failed(const struct stream *s);
int stream_fd(const struct stream *s);

#endif
