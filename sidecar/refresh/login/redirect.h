/* refresh/login/redirect.h: the listener on loopback that a browser is redirected to (RFC 8252 §7.3).   sidekey login
 * only.
 *
 * It is bound before the browser starts, on 127.0.0.1 alone, speaks just enough HTTP/1.1 for GET, and takes one
 * redirect: then it is closed.  Whatever else comes (another path, another Host, a favicon, connections that say
 * nothing) is answered or dropped and changes nothing. */
#ifndef SIDEKEY_REFRESH_LOGIN_REDIRECT_H
#define SIDEKEY_REFRESH_LOGIN_REDIRECT_H

#include "base/err.h"

struct redirect;

/* A request for our path came, with this query.  NULL: it is the one, and the page says so; else what is wrong with it,
 * for the page: the listener stays open. */
typedef const char *redirect_fn(void *arg, struct slice query);

/* url: http://127.0.0.1[:PORT]/PATH or http://localhost…; without a port a free one.  NULL with e: it cannot be bound.
 */
MUST_CHECK struct redirect *redirect_open(const char *url, redirect_fn *fn, void *arg, struct err *e);
/* The same URL with the port. */
const char *redirect_url(const struct redirect *r);
/* Accepts NULL.  May be called from fn's caller only after fn has returned. */
void redirect_close(struct redirect *r);

#endif
