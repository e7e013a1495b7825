/* net/stream.h: one byte stream over one descriptor, plain or TLS, on the loop.   Worker process.
 *
 * Owner  stream_new()'s caller, through stream_free() (at any time, also inside its own event: nothing is touched
 * afterwards). Events go to one function, which may be changed (a pooled connection changes hands); never from inside a
 * stream_* call. STREAM_READABLE  while stream_want_read(true): stream_read() will not say AGAIN for nothing.  Repeats
 * until read dry (bytes inside TLS count). STREAM_DRAINED   the output queue fell to half its cap after it had been
 * full (room below STREAM_SPACE_SHORT), or ran empty after stream_finish(). STREAM_SECURED   the handshake is done.
 *   STREAM_LEFT while stream_want_hangup(STREAM_HANGUP_END) and nothing is read: the peer has half-closed. Once.
 * STREAM_FAILED    the connection is of no more use; stream_error() says why.  Sent once, also after stream_read() has
 * said STREAM_ERROR. When writing fails, what the peer had sent before is read first (an early answer, an alert) if
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
enum stream_event { STREAM_READABLE, STREAM_DRAINED, STREAM_SECURED, STREAM_LEFT, STREAM_FAILED };
/* What is heard of a peer that is not read: nothing; a reset (on a unix socket any close); its end too. */
enum stream_hangup { STREAM_HANGUP_NONE, STREAM_HANGUP_RESET, STREAM_HANGUP_END };
enum stream_io { STREAM_OK, STREAM_AGAIN, STREAM_EOF, STREAM_ERROR };
typedef void stream_event_fn(void *owner, enum stream_event event);

/* Takes fd over (non-blocking is set here).  NULL when out of memory: fd stays the caller's. */
MUST_CHECK struct stream *stream_new(int fd, stream_event_fn *fn, void *owner);
/* Flushes what the socket takes at once, says close_notify when the stream is whole, closes.  Accepts NULL. */
void stream_free(struct stream *s);
/* As stream_free(), but the peer must not take it for a clean end.  What is queued goes out first, for as long as the
 * peer takes some of it within 2 s: a reset discards what the kernel has not delivered.  Then no close_notify, and a
 * reset (SO_LINGER 0; a unix socket has none, there the missing close_notify or length must tell). */
void stream_abort(struct stream *s);
void stream_own(struct stream *s, stream_event_fn *fn, void *owner);
/* Linger: the peer's unread bytes would turn the last answer into a reset.  Takes the stream over: flushes for as long
 * as the peer takes some of it within 30 s, shuts down writing, drops input; closes at EOF, 4 to 6 s after the peer's
 * last byte, or 30 s after our own.  (Many clients send a body to its end before they read an answer.) */
void stream_linger(struct stream *s);

/* Client leg: accepts TLS with this leaf; the name in SNI, when present, must be host (else unrecognized_name); absent
 * only when sni_optional. already: bytes of the ClientHello that were read before.  Returns 0; -ENOMEM. */
MUST_CHECK int stream_accept_tls(struct stream *s, struct tls_server *server, struct tls_leaf *leaf, const char *host,
                                 bool sni_optional, struct slice already);
/* Upstream leg: host is verified (name or IP literal); key names the session cache entry.  Returns 0; -ENOMEM. */
MUST_CHECK int stream_connect_tls(struct stream *s, struct tls_client *client, const char *host, bool host_is_ip,
                                  const char *key);

/* Right after either of them: what is spoken inside, HTTP/1.1 unless this is called.  0; -ENOMEM. */
MUST_CHECK int stream_set_alpn(struct stream *s, enum tls_alpn alpn);
/* After STREAM_SECURED: it is h2. */
bool stream_is_h2(const struct stream *s);

/* STREAM_OK: *ret_n >= 1 bytes in dst.  STREAM_EOF: clean end (for TLS: close_notify came).  STREAM_ERROR:
 * stream_error(); a TLS stream cut without close_notify is an error. */
enum stream_io stream_read(struct stream *s, char *dst, size_t size, size_t *ret_n);
/* Copies to the output queue.  Returns 0; -ENOBUFS (over the cap: a bug of the caller, or of a peer that pipelines
 * control data). */
MUST_CHECK int stream_write(struct stream *s, struct slice bytes);
/* The output queue, for writers that format straight into it; call stream_kick() afterwards. */
struct buf *stream_out(struct stream *s);
void stream_kick(struct stream *s);
/* A place in the output.  stream_take_back() drops everything that was queued after it; false: some of that has gone to
 * the socket, or the stream has failed, and nothing was dropped. */
uint64_t stream_mark(const struct stream *s);
MUST_CHECK bool stream_take_back(struct stream *s, uint64_t mark);
/* Body bytes that may be written now.  Below STREAM_SPACE_SHORT: STREAM_DRAINED will come. */
size_t stream_space(struct stream *s);
bool stream_drained(const struct stream *s);
/* Neither direction has failed or ended, as far as is known. */
bool stream_whole(const struct stream *s);
void stream_want_read(struct stream *s, bool want);
/* While nothing is read (unwanted, or the end was read): LEFT or FAILED comes at once, and not at the next read or
 * write.  After LEFT, or after an end that was read, only FAILED comes. */
void stream_want_hangup(struct stream *s, enum stream_hangup want);
/* No more will be written: after the queue has drained, close_notify and shutdown(SHUT_WR), then STREAM_DRAINED. */
void stream_finish(struct stream *s);

/* TCP: a peer that has silently gone is found out within about a minute (keepalive after 30 s; written bytes that
 * nobody acknowledges for 20 s).  Nothing on other sockets. */
void stream_keep_alive(struct stream *s);
/* Parked: gives TLS buffers back while nothing is in flight (SSL_free_buffers).  Harmless at any time. */
void stream_park(struct stream *s);
/* For messages: "connection reset by peer", "certificate has expired (depth 0, issuer CN=x)".  Never NULL. */
const char *stream_error(const struct stream *s);
/* Why the stream failed, for Proxy-Status (RFC 9209 §2.3): a bounded label such as "tls_certificate_error",
 * "tls_alert_received", "connection_terminated", "tls_protocol_error". */
const char *stream_error_label(const struct stream *s);
/* True when the failure was certificate or name verification. */
bool stream_verify_failed(const struct stream *s);
/* True when the peer has asked for a second TLS handshake (TLS 1.2), which is refused. */
bool stream_renegotiation(const struct stream *s);
int stream_fd(const struct stream *s);

#endif
