/* tests/fakes/exchange_text.h: the requests and responses of the exchange's unit tests, beside
 * tests/fakes/proxy_world.h. */
#ifndef SIDEKEY_TESTS_EXCHANGE_TEXT_H
#define SIDEKEY_TESTS_EXCHANGE_TEXT_H

#include "tests/fakes/proxy_world.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET(path)                                                                                                      \
    "GET http://127.0.0.1" path " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer placeholder\r\n\r\n"
#define POST(fields, body) "POST http://127.0.0.1/p HTTP/1.1\r\nHost: 127.0.0.1\r\n" fields "\r\n" body
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define UNAUTHORIZED "HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\nWWW-Authenticate: Bearer\r\n\r\nnope"
#define UNAUTHORIZED_TOTAL(action) "sidekey_unauthorized_total{rule=\"crm\",action=\"" action "\"}"

/* A client whose request has gone out with token-1; returns the upstream's end. */
static inline int sent(int client, const char *request)
{
    world_token(1, "token-1", 60000);
    say(client, request);
    int up = world_upstream();
    assert_true(has(hear(up, NULL), "Bearer token-1\r\n"));
    return up;
}

#endif
