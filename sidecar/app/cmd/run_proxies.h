/* app/cmd/run_proxies.h: the proxies that a program was configured for before "sidekey run".
 *
 * Settings in variables, ~/.npmrc, ~/.gitconfig, ~/.curlrc or Java options would send requests for a rule's host to
 * another proxy, and bypass sidekey.  They are removed from the environment or overridden, with a message.  The preload
 * library gets the addresses of these proxies, so that a CONNECT to one of them goes to sidekey.
 * Reads files of the user's home; prints on standard error.
 */
#ifndef SIDEKEY_APP_CMD_RUN_PROXIES_H
#define SIDEKEY_APP_CMD_RUN_PROXIES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

#define RUN_PROXIES_TEXT 1024 /* of SIDEKEY_PRELOAD_PROXIES; what does not fit is refused by the library, not led */

struct run_proxies {
    char list[RUN_PROXIES_TEXT]; /* "host:port,…", none of them on loopback */
    bool parent_known;           /* network.parent_proxy is set: the way out is known, nothing need be said */
    bool said;
    bool in_curlrc, in_wgetrc; /* those files name a proxy, or exceptions from one */
};

/* Looks at variables and files, and takes out of the environment what no variable of ours replaces (ALL_PROXY, other
 * spellings of npm's, proxies in the JVM's options).  0; -ENOMEM. */
MUST_CHECK int run_proxies_take_out(struct run_proxies *p);
/* git prefers its own http.proxy to the variables: sets it to url for this run (GIT_CONFIG_COUNT, behind what is
 * there), also for each URL that ~/.gitconfig names a proxy for.  0; -errno. */
MUST_CHECK int run_proxies_override_git(const char *url);
/* In each variable that holds options of the JVM and named a proxy before: ours.  0; -errno. */
MUST_CHECK int run_proxies_override_java(const char *host, const char *port);

#endif
