/* refresh/fetch/fetch_body.h: the body of a token response as far as it was received: what libcurl hands over, and the
 * raw bytes, for responses with wrong framing that contain tokens all the same.  The chunked coding is undone here (RFC
 * 9112 §7.1): libcurl, asked to undo it, gives up at every other Transfer-Encoding, in 8.14 before the first byte of
 * the body.   Secret, wiped when it ends.  Owner  who embeds it, through fetch_body_done(). */
#ifndef SIDEKEY_REFRESH_FETCH_FETCH_BODY_H
#define SIDEKEY_REFRESH_FETCH_FETCH_BODY_H

#include "base/buf.h"

struct fetch_body {
    struct buf given, raw, dechunked;
    bool chunked;   /* the head says so */
    bool too_large; /* there is more than the cap of it */
};

/* Most bytes that each of them will hold. */
void fetch_body_init(struct fetch_body *b, size_t cap_bytes);
/* Wipes and frees; the body is empty afterwards. */
void fetch_body_done(struct fetch_body *b);
/* libcurl hands over a piece of the body.  false: the cap is reached (what came before it is kept), or no memory. */
bool fetch_body_add(struct fetch_body *b, struct slice bytes);
/* A piece as it came from the connection, before anything was made of it.  Without memory it is not kept. */
void fetch_body_saw(struct fetch_body *b, struct slice bytes);
/* The body.  broken: libcurl has given it up.  More than libcurl's part when the length was too short, or when the
 * chunks cannot be followed.  Valid until the next call. */
struct slice fetch_body_get(struct fetch_body *b, bool broken);

#endif
