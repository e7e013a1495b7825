/* refresh/fetch/fetch_exchange.h: a token request and its response over a connection that libcurl has made.   Keeper
 * only.  libcurl finds the address, asks the parent proxy and speaks TLS; HTTP is read here, because an HTTP client
 * refuses responses whose tokens cannot be had again, and each release of libcurl refuses others.   Owner  who embeds
 * it, through fetch_exchange_done().   Source  rules 6.14h to 6.14j. */
#ifndef SIDEKEY_REFRESH_FETCH_FETCH_EXCHANGE_H
#define SIDEKEY_REFRESH_FETCH_FETCH_EXCHANGE_H

#include "net/timer.h"
#include "refresh/fetch/fetch_body.h"
#include "refresh/fetch/fetch_curl.h"

typedef void fetch_exchange_fn(void *arg);

struct fetch_exchange {
    size_t body_max;           /* we take no more of it */
    struct buf request, bytes; /* still to be sent; all that came: secret */
    struct fetch_head head;
    struct fetch_body body;
    CURL *easy; /* borrowed; NULL: not begun */
    ev_io io;
    struct timer doubt;
    bool sent;     /* bytes of the request may have reached the server */
    bool ended;    /* nothing more comes */
    CURLcode code; /* of the end */
    enum fetch_body_end end;
    fetch_exchange_fn *fn;
    void *arg;
};

/* Nothing to send yet: the owner fills x->request.  fn is called once, when the response is there or the connection has
 * ended. */
void fetch_exchange_init(struct fetch_exchange *x, size_t body_max, fetch_exchange_fn *fn, void *arg);
/* Stops, wipes and frees; before the easy handle goes. */
void fetch_exchange_done(struct fetch_exchange *x);
/* easy is connected (CURLOPT_CONNECT_ONLY).  fn is not called from inside. */
void fetch_exchange_start(struct fetch_exchange *x, CURL *easy);
/* Reads what has arrived.  true: there is nothing more to wait for.  fn is not called. */
bool fetch_exchange_look(struct fetch_exchange *x);
/* 0: no response, or not even its head. */
int fetch_exchange_status(const struct fetch_exchange *x);
/* More than we take: of the head, or of the body. */
bool fetch_exchange_too_large(const struct fetch_exchange *x);
/* The body, as much as we take; whole: its end is where HTTP says.  Valid until the exchange is done. */
struct slice fetch_exchange_body(struct fetch_exchange *x, bool *ret_whole);

#endif
