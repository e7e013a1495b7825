/* http/h1_framing.h: what the fields of a head say about body and connection (RFC 9112 §6, §9.3; RFC 9110 §7.8,
 * §10.1.1).   Pure.   Used by h1.c only. */
#ifndef SIDEKEY_HTTP_H1_FRAMING_H
#define SIDEKEY_HTTP_H1_FRAMING_H

#include "http/message.h"

/* Each fills framing, length, keep_alive, expect_100 and upgrade of m, whose fields and minor version are set.
 * Returns NULL; or why the message is refused (400), a constant. */
MUST_CHECK const char *h1_framing_request(struct message *m);
/* Accepts what a sender must not send but every reader understands in the same way (docs/http.md 2.20); *ret_cleaned is
 * then true. to_head, to_connect: the method that it answers.  HEAD and 304 keep their FRAMING_LENGTH or
 * FRAMING_CHUNKED, although no body follows. */
MUST_CHECK const char *h1_framing_response(struct message *m, bool to_head, bool to_connect, bool *ret_cleaned);
/* Trailers have no framing fields; such fields must still be valid (they are dropped later). */
MUST_CHECK const char *h1_framing_trailers(const struct message *m);

#endif
