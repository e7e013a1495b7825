/* refresh/flight/state_from_answer.h: the state that follows from a state and a token answer.   Pure.   Rules
 * 1.9a, 1.9b, 1.13 and 2.12b. */
#ifndef SIDEKEY_REFRESH_FLIGHT_STATE_FROM_ANSWER_H
#define SIDEKEY_REFRESH_FLIGHT_STATE_FROM_ANSWER_H

#include "refresh/grant/grant.h"
#include "refresh/store/state.h"

/* Fills *ret (initialised, empty): generation parent + 1, tokens, times, extra members merged (new values win).
 * spent: the refresh token that was sent, kept when the answer brings none; spent_fp its fingerprint, "" when none was
 * spent. Lifetime: the answer's, else the last known one, else the JWT's exp, else default_lifetime_ms, else unknown.
 * An answer without an access token changes the refresh token alone.  now_wall_ms: corrected by the server's Date.  0;
 * -ENOMEM. */
MUST_CHECK int state_from_answer(const struct state *parent, const struct grant_answer *answer, struct slice spent,
                                 const char *spent_fp, int64_t default_lifetime_ms, int64_t now_wall_ms,
                                 struct state *ret);

#endif
