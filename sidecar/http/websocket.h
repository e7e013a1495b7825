/* http/websocket.h: checks whether a 101 response matches the handshake (RFC 6455 §4.1). Pure. A proxy that checks only
 * the status could mistake a response that an attacker controls for the start of a tunnel. */
#ifndef SIDEKEY_HTTP_WEBSOCKET_H
#define SIDEKEY_HTTP_WEBSOCKET_H

#include "http/message.h"

/* The answer has one Sec-WebSocket-Accept, and it was made from the request's key.  False also when this OpenSSL has no
 * SHA-1. */
bool websocket_accepted(const struct message *request, const struct message *answer);

#endif
