/* proxy/inject.h: puts the credential on a request, as the rule says (docs/configuration.md).   Pure. */
#ifndef SIDEKEY_PROXY_INJECT_H
#define SIDEKEY_PROXY_INJECT_H

#include "http/message.h"
#include "proxy/rule.h"
#include "proxy/tokens.h"

enum inject_result {
    INJECT_DONE,
    INJECT_SKIPPED,   /* only_if: the request does not carry the placeholder; it goes as it is */
    INJECT_NO_VALUE,  /* a format names something that the token answer did not have */
    INJECT_TOO_LARGE, /* the head has no room for it */
};

/* The request carries the placeholder that the rule's only_if asks for, or the rule asks for none. */
bool inject_wanted(const struct rule *rule, const struct message *request);
/* Deletes every client copy of the managed fields, then sets ours.  May be called again with a newer token on the same
 * message: the result is as if it had been called with that token alone.  again: the placeholder was judged before and
 * is gone now. token: NULL where the rule is not inject_active(); what it strips, appends and sets is done all the
 * same. */
enum inject_result inject_request(const struct rule *rule, const struct token *token, struct message *request,
                                  bool again);
/* Takes off what the rule manages and puts nothing on: for a request that gets no token (a CORS preflight).  Returns 0;
 * -ENOBUFS, -ENOMEM. */
MUST_CHECK int inject_strip(const struct rule *rule, struct message *request);
/* A CORS preflight, which carries no credentials (Fetch standard, "CORS-preflight fetch"). */
bool inject_is_preflight(const struct message *request);
/* Does the rule put something on requests at all? */
bool inject_active(const struct rule *rule);

#endif
