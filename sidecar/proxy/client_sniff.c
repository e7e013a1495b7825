/* The first bytes inside a tunnel: TLS or plain HTTP, and whether they ask for the host of a rule. */
#include "base/log.h"
#include "proxy/client_private.h"
#include "proxy/lead.h"

#include <unistd.h>

bool client_lead_possible(const struct client *c)
{
    if (c->judged)
        return false;
    return c->other_proxy
           || ((c->transparent || c->a0.kind != HOST_NAME) && access_knows_port(c->ctx->access, c->a0.port));
}

/* RFC 8446 §6.2: unrecognized_name, fatal.  RFC 9110 §15.5.20. */
static void refuse_name(struct client *c, const struct authority *name)
{
    bool tls = buf_slice(&c->early).ptr[0] == 0x16;
    static const char alert[] = "\x15\x03\x01\x00\x02\x02\x70";
    static const char plain[] = "HTTP/1.1 421 Misdirected Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    char host[AUTHORITY_TEXT_MAX], at[AUTHORITY_TEXT_MAX];
    meter_refused(c->ctx->meter, "name_elsewhere");
    log_warn(log_msg("a connection to an address asks for the host of a rule, but sidekey looks this host up under "
                     "another address: refused, because the placeholder would be sent there"),
             log_str("host", authority_key(name, host)), log_str("address", authority_key(&c->a0, at)),
             log_str("hint", "let the program connect by name, or give that address in network.resolve"));
    if (stream_write(c->stream, tls ? slice_of(alert, sizeof alert - 1) : slice_of(plain, sizeof plain - 1)) == 0) {
        stream_linger(c->stream);
        c->stream = NULL;
    }
    client_end(c, CLOSE_REFUSED);
}

static void go_by_name(struct client *c, const struct authority *name)
{
    c->a0 = *name;
    c->rule = access_first_rule(c->ctx->access, c->who, &c->a0);
    if (c->up_fd >= 0)
        close(c->up_fd); /* made for bytes without a token */
    c->up_fd = -1;
    client_intercept(c);
}

static void on_looked_up(void *arg, bool leads_there)
{
    struct client *c = arg;
    struct authority name;
    c->lookup = NULL;
    enum lead lead = lead_of(c->ctx->access, c->who, &c->a0, buf_slice(&c->early), &name);
    if (lead == LEAD_NAMED && leads_there)
        go_by_name(c, &name);
    else
        refuse_name(c, &name);
}

static void look_up(struct client *c, const struct authority *name)
{
    client_enter(c, CLIENT_LOOKUP);
    if (!(c->lookup = dial_lookup_start(c->ctx->dialer, name, &c->a0, on_looked_up, c)))
        client_end(c, CLOSE_OUT_OF_MEMORY);
}

static void follow_lead(struct client *c)
{
    struct authority name;
    switch (lead_of(c->ctx->access, c->who, &c->a0, buf_slice(&c->early), &name)) {
    case LEAD_MORE: stream_want_read(c->stream, true); return;
    case LEAD_CONNECT:
        if (!c->other_proxy)
            break;
        c->transparent = c->in_tunnel = false;
        c->peer.led = true;
        client_enter_http(c);
        return;
    case LEAD_NAMED:
        if (c->a0.kind == HOST_NAME)
            refuse_name(c, &name);
        else if (c->redirected)
            go_by_name(c, &name);
        else
            look_up(c, &name);
        return;
    case LEAD_NOWHERE: break;
    }
    c->judged = true;
    if (c->up_fd >= 0)
        client_tunnel(c);
    else if (client_may_reach(c))
        client_reach(c);
}

static void judge_first_bytes(struct client *c)
{
    enum tls_leaf_kind kind;
    bool tls = buf_slice(&c->early).ptr[0] == 0x16;
    if (tls && !tls_hello_leaf(buf_slice(&c->early), &kind)) {
        stream_want_read(c->stream, true); /* the rest of its ClientHello */
        return;
    }
    stream_want_read(c->stream, false);
    if (c->rule || client_is_probe(c))
        client_intercept(c);
    else
        follow_lead(c);
}

static void on_sniff(void *owner, enum stream_event event)
{
    struct client *c = owner;
    size_t got = 0;
    char *at;
    if (event == STREAM_FAILED || event == STREAM_LEFT) {
        client_end(c, CLOSE_PEER_CLOSED);
        return;
    }
    if (event != STREAM_READABLE || c->state != CLIENT_SNIFF)
        return;
    if (!(at = buf_reserve(&c->early, LEG_READ_BYTES))) {
        client_end(c, CLOSE_OUT_OF_MEMORY);
        return;
    }
    switch (stream_read(c->stream, at, LEG_READ_BYTES, &got)) {
    case STREAM_AGAIN: return;
    case STREAM_EOF:
    case STREAM_ERROR: client_end(c, CLOSE_PEER_CLOSED); return;
    case STREAM_OK: break;
    }
    buf_grow(&c->early, got);
    judge_first_bytes(c);
}

void client_sniff(struct client *c)
{
    client_enter(c, CLIENT_SNIFF);
    c->in_tunnel = true;
    stream_own(c->stream, on_sniff, c);
    if (c->early.len)
        judge_first_bytes(c);
    else
        stream_want_read(c->stream, true);
}
