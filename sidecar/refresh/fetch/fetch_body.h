/* refresh/fetch/fetch_body.h: the body of a token response: where it ends, and what of the bytes it is, for responses
 * with wrong framing that contain tokens all the same.   Owner  who embeds it, through fetch_body_done(); secret,
 * wiped then.   Source  RFC 9112 §6, §7.1; rule 6.14h. */
#ifndef SIDEKEY_REFRESH_FETCH_FETCH_BODY_H
#define SIDEKEY_REFRESH_FETCH_FETCH_BODY_H

#include "refresh/fetch/fetch_head.h"

enum fetch_body_end {
    FETCH_BODY_OPEN,    /* more is to come */
    FETCH_BODY_DOUBTED, /* HTTP says that this is all, and it is not: more may come for a moment */
    FETCH_BODY_WHOLE,
};

struct fetch_body {
    struct buf dechunked;
    size_t scanned; /* up to the chunk that is not there yet */
    bool last_chunk, no_chunks;
};

/* cap_bytes: most that it will hold. */
void fetch_body_init(struct fetch_body *b, size_t cap_bytes);
/* Wipes and frees. */
void fetch_body_done(struct fetch_body *b);
/* bytes: all that came behind the head so far. */
enum fetch_body_end fetch_body_end(struct fetch_body *b, const struct fetch_head *h, struct slice bytes);
/* The body.  whole: its end was where HTTP says.  More than HTTP's part where the length is too short, or where the
 * chunks cannot be followed.  Valid until the next call. */
struct slice fetch_body_get(struct fetch_body *b, const struct fetch_head *h, struct slice bytes, bool whole);

#endif
