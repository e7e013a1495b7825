/* http/h1.h: HTTP/1.x bytes to messages and back (RFC 9112), on llhttp in strict mode.   Pure: no sockets, no clock.
 *
 * Reading is a pull: h1_next() takes bytes from the front of *in and returns the next thing that is complete.
 * It stops after each event, so the caller may leave the rest of *in for later (backpressure, pipelining):
 *     HEAD  the head is in h1_head(p), its framing fields filled; then DATA* and END, also when there is no body
 *     DATA  *ret_data = a run of body bytes, inside in's memory (chunked coding removed, extensions dropped)
 *     END   the message is over; trailers (if any) are the fields of h1_trailers(p); the next bytes start a new message
 *     MORE  all of *in was taken and nothing is complete: read more
 *     UPGRADED  after the END of a request with method CONNECT, of a 101, or of a 2xx that answers CONNECT: *in is at
 * the first byte of the other protocol BAD   h1_status(p), h1_reason(p) say why; the parser must not be used again.
 * Also for bytes after a message that closes Refused beyond llhttp (docs/http.md §2): versions other than 1.0 to 1.9
 * (1.2 and later are read as 1.1), the method PRI and protocols that are not HTTP, CL with TE, more than one CL, TE
 * other than exactly "chunked", TE in 1.0, 1xx and 204, a length over 0 in 1xx and 204, empty or missing parts, heads
 * and trailers over 64 KiB, start lines over 8 KiB, over 100 fields, chunk extensions over 8 KiB in a body, over 32 1xx
 * responses in a row; response: chunked not last.  The verdict is the same with every release of llhttp from 8.1 on
 * (h1_lines.h, h1_chunk.h), and however the bytes are cut. */
#ifndef SIDEKEY_HTTP_H1_H
#define SIDEKEY_HTTP_H1_H

#include "http/message.h"

#define H1_FIELDS 200
#define H1_LINE_BYTES (16 * 1024)

enum h1_role { H1_REQUESTS, H1_RESPONSES };
enum h1_event { H1_MORE, H1_HEAD, H1_DATA, H1_END, H1_UPGRADED, H1_BAD };

struct h1;

/* NULL when out of memory. */
MUST_CHECK struct h1 *h1_new(enum h1_role role);
void h1_free(struct h1 *p);
/* limits.fields of a head or of trailers, limits.request_line; H1_FIELDS and H1_LINE_BYTES until they are said. */
void h1_limit(struct h1 *p, unsigned fields, unsigned line_bytes);
/* Responses: one of this connection was not as it should be, and was taken because all readers agree on it
 * (docs/http.md 2.20).  The connection carries no other one. */
bool h1_cleaned(const struct h1 *p);
enum h1_event h1_next(struct h1 *p, struct slice *in, struct slice *ret_data);
/* The peer will send no more.  Returns H1_END when that completes a message (FRAMING_EOF), H1_MORE when no message had
 * begun, H1_BAD when one is cut short. */
enum h1_event h1_eof(struct h1 *p);
/* Responses: says what the next response answers (RFC 9112 §6.3: HEAD and CONNECT have no body). Call before its bytes
 * are fed. */
void h1_expect(struct h1 *p, struct slice request_method);
/* The message of the last HEAD; the parser's own, valid until the next h1_next() that starts a message. The caller may
 * change it (it is what gets forwarded) and may take its content with message_copy(). */
struct message *h1_head(struct h1 *p);
/* Valid from END until the next h1_next(). */
struct message *h1_trailers(struct h1 *p);
/* True between messages: no byte of a next one has been taken. */
bool h1_idle(const struct h1 *p);
/* Between messages: gives the memory of the last head and trailers back (they are empty then).  Harmless at any other
 * time. */
void h1_park(struct h1 *p);
/* After BAD: the status to answer (400, 413, 414, 431, 501; 503 out of memory) and a short reason: a constant from a
 * bounded set, usable as a label.  For responses the caller answers 502 instead. */
int h1_status(const struct h1 *p);
const char *h1_reason(const struct h1 *p);

/* Writing.  Each appends to out and returns its errors (0, -ENOBUFS, -ENOMEM); on failure out is as it was.
 * Refuses (-EINVAL) CR, LF or NUL in any part and empty or non-token names: a head that we write cannot be split; and
 * framing that the status forbids (a body in 1xx, 204, 304) or that a request cannot have (FRAMING_EOF).  The version
 * is always 1.1. */
/* Start line and fields, then the framing fields from m->framing and m->length (Transfer-Encoding or Content-Length; a
 * request or response with FRAMING_NONE gets "Content-Length: 0" where the method or status needs it: POST, PUT, PATCH;
 * responses other than 1xx, 204, 304 and those to HEAD: see head_only), then Connection with "close" when
 * !m->keep_alive, "upgrade" when m->upgrade, "TE" where that field is sent, and "keep-alive" in a response with minor 0
 * that keeps the connection.  Content-Length, Transfer-Encoding and Connection among the fields are skipped. */
MUST_CHECK int h1_write_request(struct buf *out, const struct message *m);
/* head_only: the response answers HEAD or is 304: FRAMING_LENGTH is written as the field, no body follows. */
MUST_CHECK int h1_write_response(struct buf *out, const struct message *m, bool head_only);
/* One chunk (nothing for an empty slice: that would be the last one). */
MUST_CHECK int h1_write_chunk(struct buf *out, struct slice data);
/* The last chunk and the trailers (NULL: none). */
MUST_CHECK int h1_write_last_chunk(struct buf *out, const struct message *trailers);

/* "6.0.10": the version of llhttp that was built against. */
const char *h1_library(void);

#endif
