/* net/tls/tls_session.h: one TLS connection over a non-blocking descriptor: what stream.c needs of OpenSSL, without its
 * headers. Owner  the caller of tls_session_accept/_connect, through tls_session_free().  The descriptor stays the
 * caller's and outlives the session. Never blocks, never calls back.  No call may follow TLS_ERROR but _failure, _free,
 * and _read for what had come before a failed write. */
#ifndef SIDEKEY_NET_TLS_TLS_SESSION_H
#define SIDEKEY_NET_TLS_TLS_SESSION_H

#include "net/tls/tls.h"

struct tls_session;

enum tls_io {
    TLS_OK,
    TLS_WANT_READ,  /* call again when the descriptor is readable */
    TLS_WANT_WRITE, /* … writable */
    TLS_EOF,        /* close_notify came: a clean end (RFC 8446 §6.1) */
    TLS_ERROR,      /* tls_session_failure() */
};

struct tls_failure {
    const char *text;  /* for people; lives as long as the session; never NULL */
    const char *label; /* RFC 9209 §2.3, static; never NULL */
    bool verify;       /* certificate or name verification failed */
};

/* Both copy what they are given; the contexts are kept alive.  NULL when out of memory.  Parameters as in net/stream.h.
 */
MUST_CHECK struct tls_session *tls_session_accept(struct tls_server *server, struct tls_leaf *leaf, int fd,
                                                  const char *host, bool sni_optional, struct slice already);
MUST_CHECK struct tls_session *tls_session_connect(struct tls_client *client, int fd, const char *host, bool host_is_ip,
                                                   const char *key);
/* Before the handshake: HTTP1 until it is said.  0; -ENOMEM. */
MUST_CHECK int tls_session_alpn(struct tls_session *t, enum tls_alpn alpn);
/* After it: both ends have agreed on h2. */
bool tls_session_is_h2(const struct tls_session *t);
/* Accepts NULL.  Sends nothing. */
void tls_session_free(struct tls_session *t);

/* TLS_OK: done. */
MUST_CHECK enum tls_io tls_session_handshake(struct tls_session *t);
/* TLS_OK: *ret_n >= 1 bytes in dst. */
MUST_CHECK enum tls_io tls_session_read(struct tls_session *t, char *dst, size_t size, size_t *ret_n);
/* As a read of nothing: TLS_OK means that a read will give bytes.  Takes in handshake messages (tickets, key updates)
 * on the way. */
MUST_CHECK enum tls_io tls_session_peek(struct tls_session *t);
/* Writes one record at most: TLS_OK and *ret_n >= 1.  After TLS_WANT_* the same bytes must be offered again first, more
 * may follow them. */
MUST_CHECK enum tls_io tls_session_write(struct tls_session *t, struct slice bytes, size_t *ret_n);
/* Says close_notify.  Reading may go on. */
MUST_CHECK enum tls_io tls_session_close(struct tls_session *t);

/* Bytes are inside for which the descriptor will not wake: try a read. */
bool tls_session_pending(const struct tls_session *t);
/* Gives the record buffers back until the next call, when nothing is in them (SSL_free_buffers(3)). */
void tls_session_park(struct tls_session *t);
/* The peer has asked for a new handshake after the first one, which is refused. */
bool tls_session_renegotiation(const struct tls_session *t);
/* After TLS_ERROR: why. */
struct tls_failure tls_session_failure(const struct tls_session *t);

#endif
