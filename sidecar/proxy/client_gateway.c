/* A request on the gateway listener: which rule it names, and whether it may. */
#include "net/address.h"
#include "proxy/client_private.h"
#include "proxy/gateway.h"

#include <stdlib.h>

bool client_gateway(struct client *c, struct message *head)
{
    struct gateway_call call;
    struct problem p = { .status = 503, .reason = "out_of_memory" };
    struct sockaddr_storage local;
    socklen_t len = sizeof local;
    char here[64];
    bool known = getsockname(stream_fd(h1_leg_stream(c->leg)), (struct sockaddr *)&local, &len) == 0;
    if (known)
        address_text((struct sockaddr *)&local, here, sizeof here);
    if (!known || !gateway_admit(c->ctx->access, c->ctx->options, here, head, &call, &p)) {
        client_refuse(c, &p, false);
        return false;
    }
    free(c->base);
    c->base = call.base;
    c->a0 = call.a0;
    c->who = call.who;
    return true;
}
