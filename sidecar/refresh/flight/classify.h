/* refresh/flight/classify.h: what a failed token request means.   Pure.
 * The OAuth error code decides first, the HTTP status second, a description never (rules 2.15a and 2.15b; RFC 6749
 * §5.2).
 */
#ifndef SIDEKEY_REFRESH_FLIGHT_CLASSIFY_H
#define SIDEKEY_REFRESH_FLIGHT_CLASSIFY_H

#include "net/ipc/msg.h"

struct classify_input {
    bool sent;         /* at least the head of the request has left: the server may have acted */
    int status;        /* HTTP status; 0: no answer */
    struct slice code; /* OAuth error code; empty: none */
    bool html;         /* the body is a web page: somebody in between is speaking */
    bool spends_token; /* a refresh token was in the request */
};

/* The class of a request that did not bring a token (a usable 2xx answer is never asked about). */
enum msg_class classify(const struct classify_input *in);
/* The server says that this refresh token has been used before ("…_reused"): somebody else may have spent it
 * (rule 2.18). */
bool classify_reused(struct slice code);
/* Retry-After (RFC 9110 §10.2.3), seconds or date, as a duration: clamped to 1 s…5 min; 0 when absent or unreadable.
 * date_s: the answer's own Date, so that a wrong clock here does no harm; 0: use now_s. */
int64_t classify_retry_after_ms(struct slice value, int64_t date_s, int64_t now_s);

#endif
