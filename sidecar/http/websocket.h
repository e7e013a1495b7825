/* http/websocket.h: is a 101 really the other half of this handshake?  (RFC 6455 §4.1)   Pure.
 * A proxy that believes the status alone can be led to take an answer that an attacker chose for the beginning of a
 * tunnel. */
#ifndef SIDEKEY_HTTP_WEBSOCKET_H
#define SIDEKEY_HTTP_WEBSOCKET_H

#include "http/message.h"

/* The answer has one Sec-WebSocket-Accept, and it was made from the request's key.  False also when this OpenSSL has no
 * SHA-1. */
bool websocket_accepted(const struct message *request, const struct message *answer);

#endif
