/* A tunnel: bytes, both ways. */
#include "proxy/client_private.h"

static void on_tunnel_done(void *owner)
{
    struct client *c = owner;
    c->tunnel = NULL;
    client_end(c, CLOSE_TUNNEL_ENDED);
}

void client_start_tunnel(struct client *c, struct stream *up, struct slice from_up)
{
    struct stream *s = c->stream;
    c->stream = NULL;
    client_enter(c, CLIENT_EXCHANGE);
    c->counted = true;
    (void)!client_slot_settle(c, NULL);
    meter_gauge_add(c->ctx->meter, METER_TUNNEL, 1);
    c->tunnel =
        tunnel_new(s, up, buf_slice(&c->early), from_up, c->ctx->options->limits.tunnel_idle_ms, on_tunnel_done, c);
    buf_done(&c->early);
    if (!c->tunnel)
        client_end(c, CLOSE_OUT_OF_MEMORY);
}

void client_tunnel(struct client *c)
{
    struct stream *up = stream_new(c->up_fd, client_ignore_event, NULL);
    if (!up) {
        client_end(c, CLOSE_OUT_OF_MEMORY);
        return;
    }
    c->up_fd = -1;
    client_start_tunnel(c, up, (struct slice){ NULL, 0 });
}
