#include "proxy/isolated.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "proxy/dns_answer.h"
#include "proxy/tunnel.h"

#define RELAYS_MAX 1024
#define QUERIES_PER_WAKE 32
#define QUERY_MAX 1024

struct relay { /* one connection to a service of the host's loopback */
    struct list node;
    struct isolated *isolated;
    struct tunnel *tunnel;
};

struct isolated {
    struct context *ctx;
    const struct isolated_sockets *sockets;
    listen_fn *accept;
    void *arg;
    struct listener *listeners[ISOLATED_TCP_MAX];
    ev_io dns;
    struct list relays;
    unsigned relay_count;
};

/* --- the host's loopback --- */

static void on_relay_done(void *owner)
{
    struct relay *r = owner;
    list_remove(&r->node);
    r->isolated->relay_count--;
    free(r);
}

/* The kernel answers at once on loopback: what getsockopt() says then is final.  -1: refused, or no such family. */
static int dial_loopback(int family, uint16_t port)
{
    struct sockaddr_in in = { .sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    const void *to = family == AF_INET ? (const void *)&in : (const void *)&in6;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
    socklen_t len = sizeof error;
    if (fd < 0)
        return -1;
    if ((connect(fd, to, family == AF_INET ? sizeof in : sizeof in6) == 0 || errno == EINPROGRESS)
        && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0)
        return fd;
    close(fd);
    return -1;
}

static void ignore_event(void *owner, enum stream_event event)
{
    (void)owner;
    (void)event;
}

/* Takes both over. */
static void relay(struct isolated *i, int inside, int outside)
{
    struct relay *r = calloc(1, sizeof *r);
    struct stream *a = r ? stream_new(inside, ignore_event, NULL) : NULL;
    struct stream *b = a ? stream_new(outside, ignore_event, NULL) : NULL;
    const struct slice none = { NULL, 0 };
    if (!a)
        close(inside);
    if (!b)
        close(outside);
    if (b && (r->tunnel = tunnel_new(a, b, none, none, i->ctx->options->limits.tunnel_idle_ms, on_relay_done, r))) {
        r->isolated = i;
        list_push(&i->relays, &r->node);
        i->relay_count++;
        return;
    }
    if (a && !b)
        stream_free(a);
    free(r);
}

static void reset(int fd)
{
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
    close(fd);
}

/* Takes fd over. */
static void accept_loopback(struct isolated *i, int fd, uint16_t port)
{
    unsigned at = 0;
    while (at < i->sockets->local_count && i->sockets->local[at] != port)
        at++;
    int outside = -1;
    if (at < i->sockets->local_count && i->relay_count < RELAYS_MAX && (outside = dial_loopback(AF_INET, port)) < 0)
        outside = dial_loopback(AF_INET6, port);
    if (outside < 0)
        reset(fd);
    else
        relay(i, fd, outside);
}

/* --- connections --- */

static void on_accept(void *arg, int fd, const struct sockaddr *peer)
{
    struct isolated *i = arg;
    struct sockaddr_storage local;
    struct sockaddr_in in; /* the port is at the same place in sockaddr_in6 */
    socklen_t len = sizeof local;
    if (getsockname(fd, (struct sockaddr *)&local, &len) != 0) {
        close(fd);
        return;
    }
    memcpy(&in, &local, sizeof in);
    if (address_class_of((struct sockaddr *)&local) == ADDRESS_LOOPBACK)
        accept_loopback(i, fd, ntohs(in.sin_port));
    else
        i->accept(i->arg, fd, peer);
}

void isolated_set(struct isolated *i, bool accepting)
{
    for (unsigned n = 0; i && n < i->sockets->tcp_count; n++)
        listener_set(i->listeners[n], accepting);
}

void isolated_refuse(struct isolated *i)
{
    for (unsigned n = 0; i && n < i->sockets->tcp_count; n++)
        (void)shutdown(i->sockets->tcp[n], SHUT_RDWR);
}

/* --- names --- */

static int address_of(void *arg, const char *name, bool v6, uint8_t address[16])
{
    struct isolated *i = arg;
    return hints_address_of(i->ctx->hints, name, v6, address);
}

/* One query, answered from the address that it was sent to.  false: there is none. */
static bool answer_one(struct isolated *i)
{
    char query[QUERY_MAX], control[CMSG_SPACE(sizeof(struct in6_pktinfo))];
    uint8_t answer[DNS_ANSWER_MAX];
    struct sockaddr_storage from;
    struct iovec bytes = { .iov_base = query, .iov_len = sizeof query };
    struct msghdr m = { .msg_name = &from,
                        .msg_namelen = sizeof from,
                        .msg_iov = &bytes,
                        .msg_iovlen = 1,
                        .msg_control = control,
                        .msg_controllen = sizeof control };
    const struct dns_names names = { .address_of = address_of, .arg = i, .v6 = i->sockets->v6 };
    ssize_t got = recvmsg(i->sockets->dns, &m, MSG_DONTWAIT);
    if (got < 0)
        return false;
    m.msg_flags = 0;
    bytes = (struct iovec){ .iov_base = answer, .iov_len = dns_answer(&names, slice_of(query, (size_t)got), answer) };
    if (bytes.iov_len)
        (void)sendmsg(i->sockets->dns, &m, MSG_DONTWAIT);
    return true;
}

static void on_dns(struct ev_loop *loop, ev_io *io, int revents)
{
    struct isolated *i = io->data;
    (void)loop;
    (void)revents;
    for (int n = 0; n < QUERIES_PER_WAKE && answer_one(i); n++)
        ;
}

/* --- life --- */

struct isolated *isolated_new(struct context *ctx, const struct isolated_sockets *sockets, listen_fn *accept, void *arg)
{
    struct isolated *i = calloc(1, sizeof *i);
    if (!i)
        return NULL;
    i->ctx = ctx;
    i->sockets = sockets;
    i->accept = accept;
    i->arg = arg;
    list_init(&i->relays);
    ev_io_init(&i->dns, on_dns, sockets->dns, EV_READ);
    i->dns.data = i;
    ev_io_start(loop_get(), &i->dns);
    for (unsigned n = 0; n < sockets->tcp_count; n++)
        if (!(i->listeners[n] = listener_new(sockets->tcp[n], on_accept, i))) {
            isolated_free(i);
            return NULL;
        }
    return i;
}

void isolated_free(struct isolated *i)
{
    if (!i)
        return;
    ev_io_stop(loop_get(), &i->dns);
    for (unsigned n = 0; n < i->sockets->tcp_count; n++)
        listener_free(i->listeners[n]);
    while (!list_empty(&i->relays)) {
        struct relay *r = LIST_ENTRY(i->relays.next, struct relay, node);
        tunnel_free(r->tunnel);
        list_remove(&r->node);
        free(r);
    }
    free(i);
}
