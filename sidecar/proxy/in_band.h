/* proxy/in_band.h: responses that refuse a token without a 401, as a rule describes them (on_unauthorized.also).
 * Pure. */
#ifndef SIDEKEY_PROXY_IN_BAND_H
#define SIDEKEY_PROXY_IN_BAND_H

#include "http/message.h"
#include "proxy/rule.h"

enum in_band {
    IN_BAND_NO,   /* an answer like any other: must not be delayed */
    IN_BAND_YES,  /* the head says it */
    IN_BAND_BODY, /* the body may say it: it is small JSON of known length (RFC 9110 §8.6), without a content coding */
};
/* What the head of a response says by r's on_unauthorized. */
enum in_band in_band_head(const struct rule *r, const struct message *head);
/* For IN_BAND_BODY: does the whole body say it?  What is no JSON says nothing. */
bool in_band_body(const struct rule *r, const struct message *head, struct slice body);
/* NULL, or what is wrong with the text as a JSON pointer (RFC 6901 §3). */
const char *in_band_pointer_fault(const char *pointer);

#endif
