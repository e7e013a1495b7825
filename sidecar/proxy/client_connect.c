/* CONNECT, and every other way in that fixes a host: is it allowed, and is there a connection to it? */
#include "base/log.h"
#include "http/rules.h"
#include "proxy/client_private.h"

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
    if (c->rule || client_is_probe(c) || client_lead_possible(c))
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
    struct pool_target target = { .a0 = &c->a0, .rule = c->rule };
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
