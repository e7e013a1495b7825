/* A connection whose requests sidekey serves itself: warms the upstream, makes the certificate and the handshake with
 * the client, then HTTP/1.1 or HTTP/2. */
#include "base/log.h"
#include "proxy/client_private.h"

static void on_h2_done(void *owner, enum close_reason reason)
{
    client_end(owner, reason);
}

static void enter_h2(struct client *c)
{
    const struct h2_server_options options = { c->ctx, &c->a0, c->who, &c->peer };
    (void)!client_slot_settle(c, NULL); /* a handshake was made */
    c->h2 = h2_server_new(c->stream, &options, on_h2_done, c);
    if (!c->h2) {
        client_end(c, CLOSE_OUT_OF_MEMORY);
        return;
    }
    c->stream = NULL;
    client_enter(c, CLIENT_EXCHANGE); /* the requests have deadlines, and the connection while it has none */
    if (c->ctx->draining)
        h2_server_drain(c->h2);
}

static const char *tls_hint(const struct client *c)
{
    return c->alpn == TLS_ALPN_NONE
               ? "the program offers only HTTP/2, which this host does not support"
               : "check that the program trusts ca.pem, and that its SNI is the host of its CONNECT";
}

static void on_client_tls(void *owner, enum stream_event event)
{
    struct client *c = owner;
    char host[AUTHORITY_TEXT_MAX];
    if (event == STREAM_SECURED) {
        if (stream_is_h2(c->stream))
            enter_h2(c);
        else
            client_enter_http(c);
        return;
    }
    if (event != STREAM_FAILED)
        return;
    meter_refused(c->ctx->meter, "client_tls");
    log_warn(log_msg("TLS handshake with the client failed"), log_str("host", authority_key(&c->a0, host)),
             log_str("reason", stream_error(c->stream)), log_str("hint", tls_hint(c)));
    client_end(c, CLOSE_TLS_FAILED);
}

static void accept_tls(struct client *c, struct tls_leaf *leaf)
{
    /* Every client's rules are checked: SNI is required if any of them has a credential for this host. */
    bool sni_optional = c->a0.kind != HOST_NAME || !access_has_credential(c->ctx->access, &c->a0);
    client_enter(c, CLIENT_TLS);
    stream_want_hangup(c->stream, STREAM_HANGUP_NONE);
    stream_own(c->stream, on_client_tls, c);
    int failed = stream_accept_tls(c->stream, c->ctx->tls, leaf, c->a0.host, sni_optional, buf_slice(&c->early));
    if (!failed)
        failed = stream_set_alpn(c->stream, c->alpn);
    tls_leaf_free(leaf);
    buf_done(&c->early);
    if (failed)
        client_end(c, CLOSE_OUT_OF_MEMORY);
}

static void on_leaf(void *arg, struct tls_leaf *leaf, const char *error)
{
    struct client *c = arg;
    char host[AUTHORITY_TEXT_MAX];
    if (leaf) {
        accept_tls(c, leaf);
        return;
    }
    meter_refused(c->ctx->meter, "no_leaf");
    log_error(log_msg("cannot get a certificate for this host"), log_str("host", authority_key(&c->a0, host)),
              log_str("reason", error));
    client_end(c, CLOSE_NO_LEAF);
}

/* The connection that CONNECT waited for goes to the pool: the first exchange will find it there. */
static void warm_upstream(struct client *c)
{
    struct pool_target target = { .a0 = &c->a0, .rule = c->rule, .warm = &c->warm };
    pool_release(c->reserved);
    c->reserved = NULL;
    if (c->up_fd < 0)
        return;
    int fd = c->up_fd;
    c->up_fd = -1;
    pool_adopt(c->ctx->pool, &target, fd);
}

static void secure(struct client *c)
{
    struct tls_leaf *leaf = leaves_get(c->ctx->leaves, c->leaf_kind, c->a0.host);
    if (leaf) {
        accept_tls(c, leaf);
        return;
    }
    client_enter(c, CLIENT_LEAF);
    stream_want_hangup(c->stream, STREAM_HANGUP_END);
    if (leaves_wait(c->ctx->leaves, c->leaf_kind, c->a0.host, &c->leaf_wait, c->ctx->options->limits.tls_ms, on_leaf, c)
        != 0)
        client_end(c, CLOSE_OUT_OF_MEMORY);
}

/* What the upstream speaks is what the client gets.  One that could not be had is told of in the first protocol of the
 * client's that we speak, request by request. */
static void take_protocol(struct client *c, enum pool_protocol protocol)
{
    bool h2 = protocol == PROTOCOL_H2 || (protocol == PROTOCOL_UNKNOWN && (c->offer.h2_first || !c->offer.http1));
    if (h2)
        c->alpn = TLS_ALPN_H2;
    else
        c->alpn = c->offer.http1 ? TLS_ALPN_HTTP1 : TLS_ALPN_NONE;
    secure(c);
}

static void on_protocol(void *arg, enum pool_protocol protocol)
{
    take_protocol(arg, protocol);
}

static bool is_mirrored(const struct client *c)
{
    const struct worker_options *o = c->ctx->options;
    return c->offer.h2 && rule_host_http2(o->rules, o->rule_count, &c->a0);
}

/* The client's offer is the upstream's to answer. */
static void ask_upstream(struct client *c)
{
    char sharer[H2_SHARER_TEXT];
    struct pool_target target = {
        .a0 = &c->a0, .rule = c->rule, .warm = &c->warm, .sharer = h2_server_sharer(c->who, &c->peer, sharer)
    };
    int fd = c->up_fd;
    c->up_fd = -1;
    pool_release(c->reserved);
    c->reserved = NULL;
    client_enter(c, CLIENT_ALPN);
    stream_want_hangup(c->stream, STREAM_HANGUP_END);
    enum pool_protocol protocol = pool_protocol(c->ctx->pool, &target, fd, &c->protocol_wait, on_protocol, c);
    if (protocol != PROTOCOL_UNKNOWN)
        take_protocol(c, protocol);
}

void client_intercept(struct client *c)
{
    bool tls = buf_slice(&c->early).ptr[0] == 0x16; /* RFC 8446 §5.1: handshake record */
    c->a0.scheme = tls ? SCHEME_HTTPS : SCHEME_HTTP;
    if (tls) {
        (void)!tls_hello_leaf(buf_slice(&c->early), &c->leaf_kind);
        c->offer = tls_hello_alpn(buf_slice(&c->early));
    }
    if (tls && is_mirrored(c)) {
        ask_upstream(c);
        return;
    }
    warm_upstream(c);
    if (tls)
        secure(c);
    else
        client_enter_http(c);
}
