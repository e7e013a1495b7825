/* refresh/fetch/fetch_route.h: the route of a token request: to an address of network.resolve, through the parent
 * proxy, or direct.   Keeper only. The same choice as net/dial makes for upstreams.   Owner  whoever embeds it, through
 * fetch_route_done(). */
#ifndef SIDEKEY_REFRESH_FETCH_FETCH_ROUTE_H
#define SIDEKEY_REFRESH_FETCH_FETCH_ROUTE_H

#include "net/dial/dial.h"
#include "refresh/fetch/fetch_curl.h"
#include "refresh/fetch/fetch_url.h"

struct fetch_route {
    const struct dial_options *options; /* borrowed, as is parent: set before the choice */
    const struct parent *parent;
    bool overridden; /* network.resolve names the address */
    bool by_parent;
    struct curl_slist *connect_to;
};

/* here: loopback or a metadata server, which no parent is asked for.
 * 0; -1 with e: an address that may not be asked for by way of a parent (docs/http.md §6), out of memory. */
MUST_CHECK int fetch_route_choose(struct fetch_route *w, const struct fetch_place *place, bool here, struct err *e);
/* Tells curl.  w lives as long as the transfer; curl keeps a copy of the parent's login.  Never takes a proxy from the
 * environment. */
MUST_CHECK CURLcode fetch_route_set(const struct fetch_route *w, CURL *easy);
void fetch_route_done(struct fetch_route *w);

#endif
