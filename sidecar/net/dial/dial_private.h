/* net/dial/dial_private.h: the dialer seen by its files: dial.c (a connection) and dial_lookup.c (where a name leads).
 */
#ifndef SIDEKEY_NET_DIAL_DIAL_PRIVATE_H
#define SIDEKEY_NET_DIAL_DIAL_PRIVATE_H

#include "net/dial/dial.h"

struct dialer {
    struct resolver *resolver;
    struct dial_options options;
    struct parent parent;
};

/* The entry of network.resolve for this place: one that names the port comes before one for any port.  NULL: none. */
const struct dial_override *dialer_override(const struct dialer *d, const struct authority *to);

#endif
