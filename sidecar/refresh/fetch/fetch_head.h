/* refresh/fetch/fetch_head.h: the head of a token response, read from the bytes as they come.   No libcurl: whatever a
 * server says after a token request was sent is its response, and what an ordinary client would refuse (no colon, a
 * NUL, lengths that are no number, an unknown version, lines that end with CR alone) is passed over.   Owner  who
 * embeds it, through fetch_head_done().   Source  RFC 9112 §2.2, §4, §5; rule 6.14j. */
#ifndef SIDEKEY_REFRESH_FETCH_FETCH_HEAD_H
#define SIDEKEY_REFRESH_FETCH_FETCH_HEAD_H

#include "base/buf.h"

#include <stdint.h>

#define FETCH_HEAD_MAX (1024 * 1024) /* bytes, with what came before it */

struct fetch_head {
    int status; /* 200 also where nobody can read it, and for JSON without any head; 0: none has come */
    struct buf retry_after, challenge, location; /* values of Retry-After, WWW-Authenticate, Location; the first ones */
    int64_t date_s;                              /* seconds since 1970; 0: none */
    uint64_t length;                             /* of the body, the greatest that is named */
    bool has_length;
    bool chunked;   /* the last Transfer-Encoding is */
    bool no_head;   /* the body begins with the first byte */
    bool whole;     /* its last line has come */
    bool no_answer; /* these bytes are of another protocol */
    size_t body_at; /* where the body begins, once it is whole */
    /* how far it was read */
    size_t at, looked;
    bool begun, interim, bare_cr;
};

/* Nothing has come yet.  Allocates nothing. */
void fetch_head_init(struct fetch_head *h);
/* Frees. */
void fetch_head_done(struct fetch_head *h);
/* Goes on reading: bytes are all that came so far.  ended: no more will come.  Nothing happens once it is whole. */
void fetch_head_read(struct fetch_head *h, struct slice bytes, bool ended);

#endif
