/* refresh/login/signed_in.h: the state that follows from a sign-in, and from a sign-out.   Pure.   Rule 8.8. */
#ifndef SIDEKEY_REFRESH_LOGIN_SIGNED_IN_H
#define SIDEKEY_REFRESH_LOGIN_SIGNED_IN_H

#include "crypto/seal.h"
#include "refresh/credential_spec.h"
#include "refresh/grant/grant.h"
#include "refresh/store/state.h"

struct signed_in {
    const struct seal_ring *ring;
    const struct credential_spec *spec;
    struct slice seed; /* the configured refresh token: it counts as tried from now on; empty: none */
};

/* Fills *ret (initialised, empty): a new grant on top of parent; of the old one only what was tried is remembered.
 * 0; -ENOMEM. */
MUST_CHECK int signed_in_state(const struct signed_in *s, const struct state *parent, const struct grant_answer *answer,
                               int64_t now_wall_ms, struct state *ret);
/* The same without tokens: nothing that was stored is used again. */
void signed_in_cleared(const struct signed_in *s, const struct state *parent, struct state *ret);

#endif
