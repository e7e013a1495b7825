/* refresh/fetch/fetch_body.h: the body of a token response as far as it was received: what libcurl decoded, and the raw
 * bytes, for responses with wrong framing that contain tokens all the same (RFC 9112 §6, §7.1).   Secret, wiped when it
 * ends.  Owner  who embeds it, through fetch_body_done(). */
#ifndef SIDEKEY_REFRESH_FETCH_FETCH_BODY_H
#define SIDEKEY_REFRESH_FETCH_FETCH_BODY_H

#include "base/buf.h"

struct fetch_body {
    struct buf decoded, raw, mended;
    bool chunked;   /* the head says so */
    bool too_large; /* there is more than the cap of it */
};

/* Most bytes that each of the two will hold. */
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
