#include "base/log.h"
#include "http/rules.h"
#include "proxy/client_private.h"
#include "proxy/lead.h"

#include <unistd.h>

/* --- tunnels --- */

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

void client_ignore_event(void *owner, enum stream_event event)
{
    (void)owner;
    (void)event;
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

/* --- inside the tunnel --- */

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
               ? "the program speaks only HTTP/2, and this host does not speak it"
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
    struct upstream_target target = { .a0 = &c->a0, .rule = c->rule, .warm = &c->warm };
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
    struct upstream_target target = {
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

/* c->rule is set, or it is the probe. */
static void intercept(struct client *c)
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

/* --- no rule names the place --- */

static bool lead_possible(const struct client *c)
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
    intercept(c);
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
        intercept(c);
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

/* --- CONNECT --- */

void client_connect_refused(struct client *c, enum dial_error error, const char *text)
{
    struct problem p = {
        .status = 502, .error = dial_error_label(error), .detail = text, .reason = "upstream_unreachable"
    };
    if (error == DIAL_FORBIDDEN) {
        p.status = 403;
        p.reason = "address_not_allowed";
        p.hint = "to allow a private or loopback address, list it in network.allow_private";
    } else if (error == DIAL_TIMEOUT) {
        p.status = 504;
        p.reason = "upstream_timeout";
    }
    if (c->transparent) {
        meter_refused(c->ctx->meter, p.reason);
        log_warn(log_msg("cannot connect to the upstream"), log_str("reason", text));
        client_end(c, CLOSE_UNREACHABLE);
        return;
    }
    client_refuse(c, &p, false);
}

static void connect_ready(struct client *c)
{
    if (!c->transparent) {
        c->stream = h1_leg_detach(c->leg, &c->early);
        c->leg = NULL;
        if (!c->stream || stream_write(c->stream, SLICE("HTTP/1.1 200 Connection established\r\n\r\n")) != 0) {
            client_end(c, CLOSE_OUT_OF_MEMORY);
            return;
        }
    }
    if (c->rule || client_is_probe(c) || lead_possible(c))
        client_sniff(c);
    else
        client_tunnel(c);
}

static void on_dialled(void *arg, int fd, enum dial_error error, const char *text)
{
    struct client *c = arg;
    c->dial = NULL;
    c->up_fd = fd;
    if (error == DIAL_OK)
        connect_ready(c);
    else
        client_connect_refused(c, error, text);
}

void client_report_unmatched(const struct client *c)
{
    char host[AUTHORITY_TEXT_MAX];
    if (!c->rule && c->ctx->options->unmatched == UNMATCHED_REPORT)
        log_info(log_msg("connection to a host that no rule names"), log_str("host", authority_key(&c->a0, host)));
}

/* a0 is fixed.  Dial first: who asked learns at once when the upstream is down. */
void client_reach(struct client *c)
{
    struct upstream_target target = { .a0 = &c->a0, .rule = c->rule };
    client_report_unmatched(c);
    client_enter(c, CLIENT_DIAL);
    /* with as many connections as may be, its requests wait for one of them */
    if (c->rule && (pool_has(c->ctx->pool, &target) || !(c->reserved = pool_reserve(c->ctx->pool, &target)))) {
        connect_ready(c);
        return;
    }
    c->dial = (c->rule ? dial_start : dial_start_bare)(c->ctx->dialer, &c->a0, on_dialled, c);
    if (!c->dial)
        client_end(c, CLOSE_OUT_OF_MEMORY);
}

/* RFC 9110 §9.3.6: a proxy that tunnels to any port is a way round the firewall. */
static bool port_is_allowed(const struct client *c)
{
    const uint16_t *port = c->ctx->options->connect_ports;
    while (port && *port && *port != c->a0.port)
        port++;
    return !port || *port != 0;
}

bool client_may_reach(struct client *c)
{
    struct problem p = { .status = 403, .error = "http_request_denied" };
    if (c->rule)
        return true;
    if (c->ctx->options->unmatched == UNMATCHED_DENY) {
        p.reason = "host_not_allowed";
        p.detail = "no rule names this host and port, and unmatched is deny";
        p.hint = "sidekey why GET https://HOST/ shows the rules";
    } else if (!port_is_allowed(c)) {
        p.reason = "port_not_allowed";
        p.detail = "CONNECT to this port is not allowed";
        p.hint = "to allow the port, list it in connect_ports";
    } else {
        return true;
    }
    if (!c->transparent) {
        client_refuse(c, &p, false);
        return false;
    }
    meter_refused(c->ctx->meter, p.reason);
    client_end(c, CLOSE_REFUSED);
    return false;
}

void client_connect(struct client *c, const struct message *head)
{
    if (authority_parse(message_target(head), SCHEME_HTTPS, 0, &c->a0) != 0) {
        client_refuse(c,
                      &(struct problem){ .status = 400,
                                         .reason = "connect_target",
                                         .detail = "CONNECT needs host:port",
                                         .hint = "names are lower-case letters, digits, '-', '_' and '.'; addresses "
                                                 "are 192.0.2.1 or [2001:db8::1]" },
                      false);
        return;
    }
    struct rules_verdict v = rules_check_connect(head, &c->a0);
    if (v.status) {
        client_refuse(
            c,
            &(struct problem){ .status = v.status,
                               .reason = v.reason,
                               .detail = "CONNECT needs exactly one Host field, with the same name as its target",
                               .hint = "RFC 9112 §3.2: a different Host can smuggle a request" },
            false);
        return;
    }
    c->rule = access_first_rule(c->ctx->access, c->who, &c->a0);
    if (client_is_probe(c))
        connect_ready(c);
    else if (client_may_reach(c))
        client_reach(c);
}
