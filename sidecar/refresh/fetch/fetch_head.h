/* refresh/fetch/fetch_head.h: what is read from the head of a token response, and the head itself where libcurl finds
 * none: a status line that no client knows ("ICY 200 OK"), one behind empty lines, or JSON without any head.  To the
 * server it is a response, and it is not asked again.   Owner  who embeds it, through fetch_head_done(). */
#ifndef SIDEKEY_REFRESH_FETCH_FETCH_HEAD_H
#define SIDEKEY_REFRESH_FETCH_FETCH_HEAD_H

#include "base/buf.h"

#include <stdint.h>

struct fetch_head {
    struct buf retry_after, challenge; /* values of Retry-After and WWW-Authenticate, of several the first */
    int64_t date_s;                    /* seconds since 1970; 0: none */
    size_t bytes;                      /* of it, so far */
    bool interim;                      /* the one that comes is of a 1xx: another one follows */
    bool whole;                        /* its last line has come; trailers do not count */
    bool chunked;                      /* the body is */
};

/* Nothing has come yet.  Allocates nothing. */
void fetch_head_init(struct fetch_head *h);
/* Frees. */
void fetch_head_done(struct fetch_head *h);
/* A line as it came, with its end. */
void fetch_head_line(struct fetch_head *h, struct slice line);
/* The head in bytes that libcurl has taken for a body.  Its status, which is 200 for JSON without a head, and where the
 * body begins; 0: these bytes are no response (another protocol, or a head without its end). */
int fetch_head_find(struct fetch_head *h, struct slice bytes, size_t *ret_body_at);

#endif
