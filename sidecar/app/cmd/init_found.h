/* app/cmd/init_found.h: what sidekey init finds out by itself about an MCP server.   Main process; asks the network. */
#ifndef SIDEKEY_APP_CMD_INIT_FOUND_H
#define SIDEKEY_APP_CMD_INIT_FOUND_H

#include "base/slice.h"

#define INIT_FOUND_MAX 8

struct init_found {
    char *values[INIT_FOUND_MAX]; /* "key=value", heap */
    size_t count;
};

/* Finds the authorization server of resource, and registers a client unless there is one (refresh/login/login.h).  A
 * client secret goes into a new file beside the configuration (path), 0600.  Exit status, reported.  *ret:
 * init_found_done() in any case. */
MUST_CHECK int init_found(const char *resource, bool has_client, const char *path, struct init_found *ret);
void init_found_done(struct init_found *f);

#endif
