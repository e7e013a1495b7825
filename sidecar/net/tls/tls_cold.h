/* net/tls/tls_cold.h: cold storage for what OpenSSL keeps of a connection that is idle.
 *
 * Of an SSL object and its two record layers (7.6 kB under OpenSSL 3.0, 14.5 kB under 3.5) nine tenths are zeros: room
 * for pipelines that nobody uses, for extensions that never came.  They are allocated in pages of their own, one *box*
 * for each connection; while the connection is parked the box is kept as its words that are not zero, and the pages go
 * back to the kernel.  Its addresses stay reserved, so every pointer into it holds once it is warm again.
 *
 * Which allocations these are is not assumed but seen: what SSL_new() asks for when the process begins
 * (tls_cold_learn), and of those only what the SSL object itself points to is ever put away.  Everything else, and
 * everything where one of that does not fit, comes from malloc as ever. The rule for callers: no OpenSSL call on a
 * connection whose box is cold.  net/tls/tls_session.c is the only one that makes such calls, and warms it first.
 *
 * Owner  tls_session: one box from tls_cold_new() to tls_cold_free().  One thread. */
#ifndef SIDEKEY_NET_TLS_TLS_COLD_H
#define SIDEKEY_NET_TLS_TLS_COLD_H

#include "base/slice.h"

struct tls_box;
struct ssl_ctx_st;
struct ssl_st;

/* Before anything else of OpenSSL in this process: afterwards it does not let its allocator be changed, and nothing is
 * boxed.  Idempotent. */
void tls_cold_init(void);
/* Sees what a connection of this context needs; once is enough. */
void tls_cold_learn(struct ssl_ctx_st *ctx);

/* NULL: nothing was learned, or no memory; every call takes NULL. */
struct tls_box *tls_cold_new(void);
/* After SSL_free(): wipes and gives it back. */
void tls_cold_free(struct tls_box *b);
/* OpenSSL's calls between these two are for this connection; warms it.  Never nested. */
void tls_cold_enter(struct tls_box *b);
void tls_cold_leave(void);

/* Puts the box away.  Does nothing when memory is short, or something is in it that ssl does not point to. */
void tls_cold_put_away(struct tls_box *b, const struct ssl_st *ssl);
/* Bytes in storage; 0: it is warm. */
size_t tls_cold_bytes(const struct tls_box *b);

#endif
