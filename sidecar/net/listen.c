#include "net/listen.h"

#include <errno.h>
#include <time.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "net/timer.h"

#define IN_USE_TRIES 40
#define IN_USE_PAUSE_NS 50000000 /* 2 s in all */
#define BACKLOG 1024
#define ACCEPTS_PER_WAKE 16
#define PAUSE_MS 100

static const char *hint(int number)
{
    switch (number) {
    case EADDRINUSE: return ": another process listens on it; \"ss -ltnp\" shows which";
    case EADDRNOTAVAIL: return ": no interface of this machine has this address";
    case EACCES: return ": ports below 1024 need CAP_NET_BIND_SERVICE";
    default: return "";
    }
}

static bool is_any6(const struct address *at)
{
    struct sockaddr_in6 in6;
    memcpy(&in6, &at->sa, sizeof in6);
    return at->sa.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&in6.sin6_addr);
}

/* A kernel without IPv6: [::] is then every address that there is. */
static void any4_from_any6(struct address *at)
{
    struct sockaddr_in6 in6;
    memcpy(&in6, &at->sa, sizeof in6);
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = in6.sin6_port };
    memset(&at->sa, 0, sizeof at->sa);
    memcpy(&at->sa, &in, sizeof in);
    at->len = sizeof in;
}

static int set_up(int fd, struct address *io_at, bool shared)
{
    const int on = 1, off = 0;
    /* [::] accepts IPv4 too, independent of net.ipv6.bindv6only. */
    if (is_any6(io_at) && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
        return -1;
    if (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
        return -1;
    if (bind(fd, (const struct sockaddr *)&io_at->sa, io_at->len) != 0 || listen(fd, BACKLOG) != 0)
        return -1;
    socklen_t len = sizeof io_at->sa;
    if (getsockname(fd, (struct sockaddr *)&io_at->sa, &len) != 0)
        return -1;
    io_at->len = len;
    return 0;
}

/* The fd, or -1 with errno. */
static int try_open(struct address *io_at, bool shared)
{
    int fd = socket(io_at->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 && errno == EAFNOSUPPORT && is_any6(io_at)) {
        any4_from_any6(io_at);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    }
    if (fd >= 0 && set_up(fd, io_at, shared) == 0)
        return fd;
    int number = errno;
    if (fd >= 0)
        close(fd);
    errno = number;
    return -1;
}

int listen_open(struct address *io_at, bool shared, struct err *e)
{
    char text[64];
    int fd = try_open(io_at, shared);
    for (int i = 0; fd < 0 && errno == EADDRINUSE && i < IN_USE_TRIES; i++) {
        nanosleep(&(struct timespec){ .tv_nsec = IN_USE_PAUSE_NS }, NULL);
        fd = try_open(io_at, shared);
    }
    if (fd >= 0)
        return fd;
    int number = errno;
    return err_set(e, "cannot listen on %s: %s%s", address_text((const struct sockaddr *)&io_at->sa, text, sizeof text),
                   number == EADDRINUSE ? "address already in use" : strerrordesc_np(number), hint(number));
}

struct listener {
    ev_io io;
    struct timer pause;
    listen_fn *fn;
    void *arg;
    bool accepting; /* as the owner wants it */
    bool *gone;     /* while fn runs: set to true when the listener was freed */
    bool troubled;  /* accepting failed: said so, and not yet over it */
};

/* The one place that starts and stops watchers. */
static void settle(struct listener *l)
{
    bool watch = l->accepting && !timer_is_set(&l->pause);
    if (watch)
        ev_io_start(loop_get(), &l->io);
    else
        ev_io_stop(loop_get(), &l->io);
}

static void on_pause_end(void *arg)
{
    settle(arg);
}

/* EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection stays in the backlog and the descriptor readable, so only time helps.
 */
static void pause_accepting(struct listener *l, int number)
{
    if (!l->troubled)
        log_warn(log_msg("cannot accept connections: new ones wait, sidekey tries again every 100 ms"),
                 log_str("cause", strerrordesc_np(number)));
    l->troubled = true;
    timer_set(&l->pause, PAUSE_MS);
    settle(l);
}

/* Passes one connection on. false: the listener was closed. */
static bool hand_over(struct listener *l, int fd, const struct sockaddr *peer)
{
    const int on = 1;
    bool gone = false;
    if (peer->sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    l->troubled = false;
    l->gone = &gone;
    l->fn(l->arg, fd, peer);
    if (!gone)
        l->gone = NULL;
    return !gone;
}

static void on_readable(struct ev_loop *loop, ev_io *w, int revents)
{
    struct listener *l = LIST_ENTRY(w, struct listener, io);
    (void)loop;
    (void)revents;
    for (int i = 0; i < ACCEPTS_PER_WAKE && l->accepting; i++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof peer;
        int fd = accept4(w->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == ECONNABORTED || errno == EINTR)) /* that one gave up before we came to it */
            continue;
        if (fd < 0 && errno != EAGAIN)
            pause_accepting(l, errno);
        if (fd < 0)
            return;
        if (!hand_over(l, fd, (const struct sockaddr *)&peer))
            return;
    }
}

struct listener *listener_new(int fd, listen_fn *fn, void *arg)
{
    struct listener *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->fn = fn;
    l->arg = arg;
    l->accepting = true;
    ev_io_init(&l->io, on_readable, fd, EV_READ);
    timer_init(&l->pause, on_pause_end, l);
    settle(l);
    return l;
}

void listener_set(struct listener *l, bool accepting)
{
    l->accepting = accepting;
    settle(l);
}

void listener_free(struct listener *l)
{
    if (!l)
        return;
    if (l->gone)
        *l->gone = true;
    ev_io_stop(loop_get(), &l->io);
    timer_stop(&l->pause);
    free(l);
}
