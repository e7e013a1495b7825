/* refresh/fetch/fetch_way.h: which way a token request takes: to an address of network.resolve, through the parent proxy, or straight.   Keeper only.
 * The same choice as net/dial makes for upstreams.   Owner  whoever embeds it, through fetch_way_done(). */
#ifndef SIDEKEY_REFRESH_FETCH_FETCH_WAY_H
#define SIDEKEY_REFRESH_FETCH_FETCH_WAY_H

#include "net/dial/dial.h"
#include "refresh/fetch/fetch_curl.h"
#include "refresh/fetch/fetch_url.h"

struct fetch_way {
    const struct dial_options *options; /* borrowed, as is parent: set before the choice */
    const struct parent *parent;
    bool overridden; /* network.resolve names the address */
    bool by_parent;
    struct curl_slist *connect_to;
};

/* here: loopback or a metadata server, which no parent is asked for.
 * 0; -1 with e: an address that may not be asked for by way of a parent (HTTP.md §6), out of memory. */
MUST_CHECK int fetch_way_choose(struct fetch_way *w, const struct fetch_place *place, bool here, struct err *e);
/* Tells curl.  w lives as long as the transfer; curl keeps a copy of the parent's login.  Never takes a proxy from the environment. */
MUST_CHECK CURLcode fetch_way_set(const struct fetch_way *w, CURL *easy);
void fetch_way_done(struct fetch_way *w);

#endif
