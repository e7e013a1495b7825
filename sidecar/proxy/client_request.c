/* What a client asks for over HTTP/1.1: requests to the proxy itself, and those inside the tunnel. */
#include "base/str.h"
#include "http/rules.h"
#include "proxy/client_private.h"

#include <stdio.h>

static const struct leg_events client_events;

/* --- exchanges --- */

/* Who sends requests and does not read the answers waits until the answers are out. */
static void serve(struct client *c)
{
    client_enter(c, c->in_tunnel ? CLIENT_SERVE : CLIENT_PROXY);
    if (c->ctx->leaving)
        timer_set(&c->deadline, CLIENT_NEWCOMER_MS);
    leg_want(h1_leg_base(c->leg), leg_space(h1_leg_base(c->leg)) >= LEG_READ_BYTES);
}

static void upgraded(struct client *c, struct exchange *x)
{
    struct buf from_up;
    buf_init(&from_up, CLIENT_EARLY_MAX);
    struct stream *up = exchange_upgrade(x, &from_up);
    c->stream = h1_leg_detach(c->leg, &c->early);
    c->leg = NULL;
    if (up && c->stream)
        client_start_tunnel(c, up, buf_slice(&from_up));
    else {
        stream_free(up);
        client_end(c, CLOSE_OUT_OF_MEMORY);
    }
    buf_done(&from_up);
}

static void on_exchange_done(void *owner, enum exchange_end how)
{
    struct client *c = owner;
    struct exchange *x = c->exchange;
    c->exchange = NULL;
    c->served = true;
    switch (how) {
    case EXCHANGE_REUSE:
        if (c->ctx->leaving) {
            client_end_gently(c, CLOSE_DRAINING);
            return;
        } /* after a reload: it was promised one more request */
        leg_own(h1_leg_base(c->leg), &client_events, c);
        leg_next(h1_leg_base(c->leg));
        serve(c);
        return;
    case EXCHANGE_CLOSE: client_end_gently(c, CLOSE_ANSWERED); return;
    case EXCHANGE_ABORTED:
    case EXCHANGE_LEFT:
        c->leg = NULL; /* the exchange has freed it */
        client_end(c, how == EXCHANGE_LEFT ? CLOSE_PEER_CLOSED : CLOSE_ABORTED);
        return;
    case EXCHANGE_UPGRADED: upgraded(c, x); return;
    }
}

static void start_exchange(struct client *c, struct message *head, const struct authority *a0)
{
    client_enter(c, CLIENT_EXCHANGE);
    (void)!client_slot_settle(c, NULL);
    c->exchange = exchange_new(c->ctx, h1_leg_base(c->leg), head, a0, c->who, c->base, on_exchange_done, c);
    if (!c->exchange)
        client_end(c, CLOSE_OUT_OF_MEMORY);
}

/* --- inside the tunnel --- */

void client_enter_http(struct client *c)
{
    struct stream *s = c->stream;
    c->stream = NULL;
    c->leg = h1_leg_new(s, H1_REQUESTS, &client_events, c);
    if (!c->leg) {
        stream_free(s);
        client_end(c, CLOSE_OUT_OF_MEMORY);
        return;
    }
    h1_leg_limit(c->leg, c->ctx->options->limits.fields, (unsigned)c->ctx->options->limits.request_line_bytes);
    if (h1_leg_preload(c->leg, buf_slice(&c->early)) != 0) {
        client_end(c, CLOSE_OUT_OF_MEMORY);
        return;
    }
    buf_done(&c->early);
    if (c->in_tunnel)
        (void)!client_slot_settle(c, NULL); /* a handshake was made */
    serve(c);
}

/* --- requests to the proxy itself --- */

/* A name, a known uid or a password is an identity.  false: refused. */
static bool take_slot(struct client *c)
{
    bool shown = c->who || (!c->peer.local && c->ctx->options->proxy_password);
    if (!shown || client_slot_settle(c, c->who))
        return true;
    client_refuse(c,
                  &(struct problem){ .status = 503,
                                     .error = "proxy_internal_response",
                                     .reason = "client_share",
                                     .detail = "this client already has its share of limits.connections",
                                     .retry_after_s = 1 },
                  false);
    return false;
}

/* false: refused. */
static bool is_admitted(struct client *c, const struct message *head)
{
    char detail[96];
    switch (access_check(c->ctx->access, head, &c->peer, &c->who)) {
    case ACCESS_GRANTED: return take_slot(c);
    case ACCESS_ASK:
        client_refuse(
            c,
            &(struct problem){ .status = 407,
                               .reason = "proxy_auth",
                               .detail = "this proxy requires a password",
                               .field_name = "Proxy-Authenticate",
                               .field_value = "Basic realm=\"sidekey\"",
                               .hint = "use a proxy URL with user and password: http://USER:PASSWORD@HOST:PORT" },
            /* the parser takes what follows a CONNECT for a tunnel */
            head->framing == FRAMING_NONE && !slice_eq(message_method(head), SLICE("CONNECT")));
        return false;
    case ACCESS_STRANGER: break;
    }
    snprintf(detail, sizeof detail, "uid %u is not allowed to use this proxy", (unsigned)c->peer.uid);
    client_refuse(
        c,
        &(struct problem){ .status = 403,
                           .error = "http_request_denied",
                           .reason = "peer_not_allowed",
                           .detail = detail,
                           .hint = "list the uid under clients.NAME.uids, or send a client's name and password" },
        false);
    return false;
}

/* Anybody who reaches an open TCP port could use a credential with one plain request, a web page too; CONNECT demands a
 * TLS client at least. */
static bool takes_absolute_https(const struct client *c)
{
    const struct worker_options *o = c->ctx->options;
    return c->peer.local || o->client_count || o->proxy_password || o->absolute_https;
}

/* "GET https://host/path" to the proxy itself, as some clients send it: we speak TLS for them.  false: refused. */
static bool admit_absolute_https(struct client *c, const struct message *head)
{
    struct rules_verdict v = rules_check_absolute_https(head, &c->a0);
    struct problem p = { .status = 403, .error = "http_request_denied", .reason = v.reason };
    c->rule = access_first_rule(c->ctx->access, c->who, &c->a0);
    if (!takes_absolute_https(c)) {
        p.reason = "absolute_https";
        p.detail = "an https:// URL in the request line is not accepted on an open port";
        p.hint = "use CONNECT, listen.socket or a client's password; or set clients.absolute_https: true";
    } else if (v.status) {
        p.detail = "Host differs from the URL, or a browser sent this for a web page";
        p.hint = "use CONNECT for https, as browsers do";
    } else if (client_may_reach(c)) {
        client_report_unmatched(c);
        return true;
    } else {
        return false; /* it was refused */
    }
    client_refuse(c, &p, false);
    return false;
}

static void proxy_head(struct client *c, struct message *head)
{
    struct authority a0;
    struct slice path;
    if (!is_admitted(c, head))
        return;
    if (slice_eq(message_method(head), SLICE("CONNECT"))) {
        leg_want(h1_leg_base(c->leg), false);
        client_connect(c, head);
        return;
    }
    if (authority_parse_uri(message_target(head), &a0, &path) != 0) {
        client_refuse(
            c,
            &(struct problem){ .status = 400,
                               .reason = "not_a_proxy_request",
                               .detail = "this is a proxy: it accepts CONNECT, http:// and https:// requests",
                               .hint = "set HTTPS_PROXY and HTTP_PROXY to this address instead of calling it" },
            false);
        return;
    }
    c->a0 = a0;
    h1_leg_ends_with_request(c->leg, a0.scheme != SCHEME_HTTP);
    if (!client_probe(c, head) && (a0.scheme == SCHEME_HTTP || admit_absolute_https(c, head)))
        start_exchange(c, head, &a0);
}

static void client_head(void *owner, struct message *head)
{
    struct client *c = owner;
    if ((c->gateway && !client_gateway(c, head)) || (c->in_tunnel && client_probe(c, head)))
        return;
    if (c->in_tunnel || c->gateway)
        start_exchange(c, head, &c->a0);
    else
        proxy_head(c, head);
}

static void client_data(void *owner, struct slice data)
{
    (void)owner;
    (void)data; /* the body of a refused request */
}

static void client_message_end(void *owner, struct message *trailers)
{
    struct client *c = owner;
    (void)trailers;
    /* of a refused request that keeps the connection (407, 421) */
    if (c->state == CLIENT_PROXY || c->state == CLIENT_SERVE) {
        leg_next(h1_leg_base(c->leg));
        serve(c);
    }
}

static void client_space(void *owner)
{
    struct client *c = owner;
    if (c->state == CLIENT_PROXY || c->state == CLIENT_SERVE)
        leg_want(h1_leg_base(c->leg), true);
}

static void client_gone(void *owner, const struct leg_fault *fault)
{
    struct client *c = owner;
    bool speak = !fault->clean && fault->status >= 400 && fault->status != 502;
    if (!speak) {
        /* it may have ended its side only, and read slowly */
        if (fault->clean && !stream_drained(h1_leg_stream(c->leg)))
            client_end_gently(c, CLOSE_PEER_CLOSED);
        else
            client_end(c, CLOSE_PEER_CLOSED);
        return;
    }
    client_refuse(
        c,
        &(struct problem){
            .status = fault->status, .error = "http_request_error", .reason = fault->label, .detail = fault->text },
        false);
}

static const struct leg_events client_events = { client_head, client_data, client_message_end, client_space,
                                                 client_gone };
