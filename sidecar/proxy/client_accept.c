/* How a client comes: over TCP, on the unix socket, or led here by the preload layer. */
#include "base/log.h"
#include "net/listen_unix.h"
#include "net/original_dst.h"
#include "net/peer_uid.h"
#include "proxy/client_private.h"

#include <errno.h>
#include <unistd.h>

static struct client *newcomer(struct context *ctx, int fd)
{
    return client_new(ctx, fd, client_on_deadline);
}

void client_accept(struct context *ctx, int fd)
{
    struct client *c = newcomer(ctx, fd);
    uid_t uid;
    if (!c)
        return;
    c->peer.own = ctx->options->proxy_password && peer_uid(fd, &uid) == 0 && uid == geteuid();
    client_enter_http(c);
}

void client_accept_local(struct context *ctx, int fd)
{
    struct client *c = newcomer(ctx, fd);
    pid_t pid;
    if (!c)
        return;
    if (listen_unix_peer(fd, &c->peer.uid, &pid) != 0) {
        meter_refused(ctx->meter, "peer_unknown");
        log_warn(log_msg("a connection to listen.socket was refused: the kernel did not report the uid of the client"));
        client_end(c, CLOSE_REFUSED);
        return;
    }
    c->peer.local = true;
    c->peer.who = access_by_uid(ctx->access, c->peer.uid);
    log_debug(log_msg("connection to listen.socket"), log_int("uid", c->peer.uid), log_int("pid", pid),
              log_str("client", c->peer.who ? c->peer.who->name : ""));
    client_enter_http(c);
}

void client_accept_gateway(struct context *ctx, int fd)
{
    struct client *c = newcomer(ctx, fd);
    if (!c)
        return;
    c->gateway = true;
    client_enter_http(c);
}

/* No password comes on this way, so the kernel must say that the socket is of our own user.  false: it is ended. */
static bool is_own_program(struct client *c, int fd)
{
    uid_t uid = 0;
    int failed = peer_uid(fd, &uid);
    if (failed == 0 && uid == geteuid())
        return true;
    meter_refused(c->ctx->meter, failed ? "peer_unknown" : "peer_not_allowed");
    if (failed)
        log_warn(log_msg("a connection of the preload layer was refused: the kernel did not report its owner"),
                 log_str("reason", strerror(-failed)),
                 log_str("hint", "use a kernel with sock_diag for TCP (CONFIG_INET_DIAG), or use --layers env"));
    else
        log_warn(log_msg("a connection of the preload layer was refused: it belongs to another user"),
                 log_int("uid", uid), log_int("own_uid", geteuid()),
                 log_str("hint", "for a program that changes its user, use --layers env (HTTPS_PROXY)"));
    client_end(c, CLOSE_REFUSED);
    return false;
}

/* a0 is where the program wants to go. */
static void lead_on(struct client *c)
{
    c->rule = access_first_rule(c->ctx->access, NULL, &c->a0);
    bool lead_first = c->other_proxy || (c->redirected && access_knows_port(c->ctx->access, c->a0.port));
    if (client_is_probe(c) || (lead_first && !c->rule))
        client_sniff(c);
    else if (client_may_reach(c))
        client_reach(c);
}

/* The host and port that stand for the address which the program dialled (as hints_lookup(), hints_place()). */
typedef int name_fn(struct client *c, const struct sockaddr *local, char *host, uint16_t *ret_port);

static int name_of_token(struct client *c, const struct sockaddr *local, char *host, uint16_t *ret_port)
{
    return c->ctx->hints ? hints_lookup(c->ctx->hints, local, host, ret_port, &c->other_proxy) : -ENOENT;
}

static int name_of_place(struct client *c, const struct sockaddr *local, char *host, uint16_t *ret_port)
{
    return hints_place(c->ctx->hints, local, host, ret_port);
}

/* A program of our own run: its address says where it wants to go.  unnamed: what the log says where it does not. */
static void accept_named(struct client *c, int fd, name_fn *name, const char *unnamed)
{
    struct sockaddr_storage local;
    socklen_t len = sizeof local;
    char host[AUTHORITY_HOST_MAX + 1];
    uint16_t port;
    if (getsockname(fd, (struct sockaddr *)&local, &len) != 0 || name(c, (struct sockaddr *)&local, host, &port) != 0
        || authority_parse(slice_str(host), SCHEME_HTTPS, port, &c->a0) != 0) {
        meter_refused(c->ctx->meter, "no_hint");
        log_warn(log_msg(unnamed));
        client_end(c, CLOSE_REFUSED);
        return;
    }
    c->a0.port = port;
    lead_on(c);
}

void client_accept_transparent(struct context *ctx, int fd)
{
    struct client *c = newcomer(ctx, fd);
    if (!c)
        return;
    c->transparent = c->peer.own = true;
    if (is_own_program(c, fd))
        accept_named(c, fd, name_of_token,
                     "a connection of the preload layer was refused: the preload table does not name its target");
}

void client_accept_isolated(struct context *ctx, int fd)
{
    struct client *c = newcomer(ctx, fd);
    if (!c)
        return;
    c->transparent = c->peer.own = true; /* nobody else is in that network */
    accept_named(c, fd, name_of_place,
                 "a connection of the isolated program was refused: its address belongs to no name that sidekey "
                 "resolved for it");
}

void client_accept_redirected(struct context *ctx, int fd)
{
    struct sockaddr_storage asked;
    struct client *c = newcomer(ctx, fd);
    char text[64];
    if (!c)
        return;
    c->transparent = c->redirected = true;
    int failed = original_dst(fd, &asked);
    if (failed
        || authority_parse(slice_str(address_text((struct sockaddr *)&asked, text, sizeof text)), SCHEME_HTTPS, 0,
                           &c->a0)
               != 0) {
        meter_refused(ctx->meter, "not_redirected");
        log_warn(log_msg("a connection to listen.transparent was refused: no firewall rule redirected it here"),
                 log_str("reason", failed ? strerror(-failed) : "its target address is missing"),
                 log_str("hint", "redirect with nftables or iptables (REDIRECT) in this network namespace"));
        client_end(c, CLOSE_REFUSED);
        return;
    }
    lead_on(c);
}
