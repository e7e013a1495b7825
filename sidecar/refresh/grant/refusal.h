/* refresh/grant/refusal.h: the error code and text of a token endpoint's refusal, in the formats that servers use.
 * Pure. Source  RFC 6749 §5.2; HubSpot, Strava, Fitbit, Twitch, Reddit, Zoom, Slack, Meta, Google, AWS and others, as
 * named in refusal.c. */
#ifndef SIDEKEY_REFRESH_GRANT_REFUSAL_H
#define SIDEKEY_REFRESH_GRANT_REFUSAL_H

#include "refresh/grant/grant.h"

/* Fills ret->code and ret->said from a parsed answer.  status: of HTTP.  true: it is an error (there is a code).
 * has_token: a token was found; such an answer of status 2xx is an error only by the members of OAuth and Slack. */
bool refusal_read(int status, const json_t *object, bool has_token, struct grant_answer *ret);
/* The words of a body that is one line of plain text; there is no code in it. */
void refusal_read_text(struct slice body, struct grant_answer *ret);
/* Replaces in said every part that could be a credential: long words that are no words of a language, and whatever it
 * has in common with secret (a refresh token that was sent; may be empty). */
void refusal_hide(char *said, struct slice secret);

#endif
