/* proxy/problem.h: a response of sidekey itself: RFC 9457 problem+json with Proxy-Status (RFC 9209). Pure.
 * It contains no secret, no query and no header value. */
#ifndef SIDEKEY_PROXY_PROBLEM_H
#define SIDEKEY_PROXY_PROBLEM_H

#include "http/message.h"

struct problem {
    int status;
    /* RFC 9209 error type: "connection_refused"; NULL: "http_request_error" for 4xx, "proxy_internal_error" for 5xx */
    const char *error;
    const char *reason;                   /* bounded label: "token_unavailable"; metric and member "reason" */
    const char *detail;                   /* for a person; may be NULL */
    const char *hint;                     /* the way out; may be NULL */
    const char *credential;               /* may be NULL */
    int64_t retry_after_s;                /* 0: none */
    const char *field_name, *field_value; /* one more field, e.g. Proxy-Authenticate; may be NULL */
};

/* Fills m (cleared) with the head and body with the JSON.  0; -ENOMEM. */
MUST_CHECK int problem_build(const struct problem *p, bool keep_alive, struct message *m, struct buf *body);
const char *problem_phrase(int status);

#endif
