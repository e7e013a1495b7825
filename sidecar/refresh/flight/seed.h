/* refresh/flight/seed.h: is a configured refresh token new?   Pure. */
#ifndef SIDEKEY_REFRESH_FLIGHT_SEED_H
#define SIDEKEY_REFRESH_FLIGHT_SEED_H

#include "crypto/seal.h"
#include "refresh/store/state.h"

/* The stored state knows it: it was spent or refused, or it is the stored one. */
bool seed_is_known(const struct seal_ring *ring, const struct state *s, struct slice seed);

#endif
