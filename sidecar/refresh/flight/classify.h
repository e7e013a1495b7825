/* refresh/flight/classify.h: the meaning of a failed token request.   Pure.
 * A table of known codes and words decides first (classify_words.c), the HTTP status second (RFC 6749 §5.2).
 *
 * An unknown refusal may still mean that the refresh token is dead: such refusals are counted.  After
 * REFUSALS_MOST of them over at least REFUSALS_SPAN_MS the token counts as dead; a web page needs REFUSALS_PAGE_MS. */
#ifndef SIDEKEY_REFRESH_FLIGHT_CLASSIFY_H
#define SIDEKEY_REFRESH_FLIGHT_CLASSIFY_H

#include "net/ipc/msg.h"

#define REFUSALS_MOST 5
#define REFUSALS_SPAN_MS (10 * 60 * 1000)
#define REFUSALS_PAGE_MS (60 * 60 * 1000)

struct classify_input {
    bool sent;         /* at least the head of the request has left: the server may have acted */
    int status;        /* HTTP status; 0: no answer */
    struct slice code; /* error code; empty: none */
    struct slice said; /* what the server says beside it; empty: nothing */
    bool html;         /* the body is a web page: somebody in between is speaking */
    bool retry_after;  /* the server says when to come again */
    bool spends_token; /* a refresh token was in the request */
};

struct classify_verdict {
    enum msg_class failure;
    bool counts;     /* the server may mean the refresh token: enough of these are a verdict */
    bool look_again; /* DEAD, but somebody in between may have said so: final when it is said twice */
    bool reused;     /* DEAD: the server says that this token was used before; somebody else may have spent it */
};

/* One row of what providers say.  Codes and words are compared without case, and by letters and digits only. */
struct classify_word {
    const char *code; /* NULL: any, or none */
    const char *said; /* occurs in what the server says; NULL: anything */
    enum msg_class failure;
    unsigned flags; /* CLASSIFY_… */
};
enum { CLASSIFY_COUNTS = 1, CLASSIFY_LOOK_AGAIN = 2, CLASSIFY_REUSED = 4 };
/* The first row that matches wins; ended by one without code and said. */
extern const struct classify_word classify_words[];

/* The meaning of a request that did not bring a token (a usable 2xx answer is never asked about). */
struct classify_verdict classify(const struct classify_input *in);
/* Retry-After (RFC 9110 §10.2.3), seconds or date, as a duration: clamped to 1 s…5 min; 0 when absent or unreadable.
 * date_s: the answer's own Date, so that a wrong clock here does no harm; 0: use now_s. */
int64_t classify_retry_after_ms(struct slice value, int64_t date_s, int64_t now_s);

/* Refusals of one refresh token in a row.  A zeroed struct: none. */
struct refusals {
    char fp[9]; /* fingerprint of the token */
    unsigned count;
    int64_t first_ms;
};

/* One more refusal that counts.  page: by a web page.  true: the token counts as dead. */
bool classify_refusals_add(struct refusals *r, const char *fp, bool page, int64_t now_ms);

#endif
