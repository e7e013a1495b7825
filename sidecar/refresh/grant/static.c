#include "refresh/grant/grant.h"

/* The token is the secret itself: read from its reference, never asked for. */
const struct grant grant_static = { "static", false, GRANT_BY_NOBODY, false, NULL };
