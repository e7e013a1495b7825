#include "net/dial/dns.h"

#include <ares.h>
#include <errno.h>
#include <stdlib.h>

#include "net/loop.h"
#include "net/timer.h"

#define TRY_MS 1000 /* doubled with each try */
#define TRIES 3

struct dns {
    ares_channel hosts; /* knows /etc/hosts alone: what it says holds for both families, as with every other resolver */
    ares_channel servers;
    struct list watches;
    struct timer timer;
};

struct watch { /* one socket of c-ares */
    struct list node;
    struct dns *d;
    ev_io io;
};

struct question {
    dns_fn *fn;
    void *arg;
};

static void arm(struct dns *d)
{
    struct timeval left, *next = ares_timeout(d->servers, NULL, &left);
    if (next)
        timer_set(&d->timer, (int64_t)next->tv_sec * 1000 + next->tv_usec / 1000 + 1);
    else
        timer_stop(&d->timer);
}

static void on_timer(void *arg)
{
    struct dns *d = arg;
    ares_process_fd(d->servers, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm(d);
}

static void on_io(struct ev_loop *loop, ev_io *w, int revents)
{
    (void)loop;
    struct watch *watch = w->data;
    struct dns *d = watch->d;
    ares_socket_t fd = w->fd; /* the watch may be gone after the call */
    ares_process_fd(d->servers, revents & EV_READ ? fd : ARES_SOCKET_BAD, revents & EV_WRITE ? fd : ARES_SOCKET_BAD);
    arm(d);
}

static struct watch *watch_of(struct dns *d, ares_socket_t fd)
{
    for (struct list *node = d->watches.next; node != &d->watches; node = node->next)
        if (LIST_ENTRY(node, struct watch, node)->io.fd == fd)
            return LIST_ENTRY(node, struct watch, node);
    return NULL;
}

/* Without memory the socket stays unwatched: the question then ends by its timeout. */
static void on_socket(void *data, ares_socket_t fd, int readable, int writable)
{
    struct dns *d = data;
    struct watch *watch = watch_of(d, fd);
    if (watch)
        ev_io_stop(loop_get(), &watch->io);
    if (!readable && !writable) {
        if (watch)
            list_remove(&watch->node);
        free(watch);
        return;
    }
    if (!watch) {
        if (!(watch = calloc(1, sizeof *watch)))
            return;
        watch->d = d;
        list_push(&d->watches, &watch->node);
        ev_init(&watch->io, on_io);
        watch->io.data = watch;
    }
    int reading = readable ? EV_READ : 0, writing = writable ? EV_WRITE : 0;
    ev_io_set(&watch->io, fd, reading | writing);
    ev_io_start(loop_get(), &watch->io);
}

static int open_channel(struct dns *d, const char *lookups, ares_channel *ret)
{
    char order[] = { lookups[0], '\0' };
    struct ares_options options = {
        .timeout = TRY_MS, .tries = TRIES, .lookups = order, .sock_state_cb = on_socket, .sock_state_cb_data = d
    };
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB;
#ifdef ARES_OPT_QUERY_CACHE
    mask |= ARES_OPT_QUERY_CACHE; /* size 0: net/resolve keeps answers, and for a clamped time */
#endif
    return ares_init_options(ret, &options, mask);
}

struct dns *dns_new(struct err *e)
{
    struct dns *d = calloc(1, sizeof *d);
    if (!d) {
        err_set(e, "out of memory");
        return NULL;
    }
    list_init(&d->watches);
    timer_init(&d->timer, on_timer, d);
    int failed = ares_library_init(ARES_LIB_INIT_ALL);
    if (failed) {
        err_set(e, "cannot start the resolver: %s", ares_strerror(failed));
        free(d);
        return NULL;
    }
    if ((failed = open_channel(d, "f", &d->hosts)) == ARES_SUCCESS
        && (failed = open_channel(d, "b", &d->servers)) == ARES_SUCCESS)
        return d;
    err_set(e, "cannot start the resolver: %s", ares_strerror(failed));
    dns_free(d);
    return NULL;
}

void dns_free(struct dns *d)
{
    if (!d)
        return;
    if (d->hosts)
        ares_destroy(d->hosts);
    if (d->servers)
        ares_destroy(d->servers);
    for (struct list *node; (node = list_shift(&d->watches)) != NULL;) {
        struct watch *watch = LIST_ENTRY(node, struct watch, node);
        ev_io_stop(loop_get(), &watch->io);
        free(watch);
    }
    timer_stop(&d->timer);
    ares_library_cleanup();
    free(d);
}

int dns_set_servers(struct dns *d, const char *servers)
{
    return ares_set_servers_ports_csv(d->servers, servers) == ARES_SUCCESS ? 0 : -EINVAL;
}

static const char *why(int status)
{
    switch (status) {
    case ARES_ENOTFOUND: return "the name does not exist";
    case ARES_ENODATA: return "the name has no address";
    case ARES_ETIMEOUT: return "the name servers do not respond";
    case ARES_ECONNREFUSED: return "no name server gave a response";
    case ARES_ESERVFAIL: return "the name server failed";
    case ARES_EREFUSED: return "the name server refused the query";
    case ARES_EBADNAME: return "not a host name";
    default: return ares_strerror(status);
    }
}

static void take(struct dns_answer *answer, const struct ares_addrinfo_node *node)
{
    bool v4 = node->ai_family == AF_INET;
    if ((!v4 && node->ai_family != AF_INET6) || answer->count == DNS_ADDRESSES_MAX)
        return;
    struct address *a = &answer->addresses[answer->count];
    socklen_t len = v4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    if (node->ai_addrlen < len)
        return;
    memcpy(&a->sa, node->ai_addr, len);
    a->len = len;
    a->prefix = v4 ? 32 : 128;
    if (answer->count++ == 0 || node->ai_ttl < answer->ttl_s)
        answer->ttl_s = node->ai_ttl;
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    (void)timeouts;
    struct question *q = arg;
    struct dns_answer answer = { .count = 0 };
    for (const struct ares_addrinfo_node *node = info ? info->nodes : NULL; status == ARES_SUCCESS && node;
         node = node->ai_next)
        take(&answer, node);
    if (answer.count == 0)
        answer.error = why(status == ARES_SUCCESS ? ARES_ENODATA : status);
    answer.no_name = status == ARES_ENOTFOUND;
    if (info)
        ares_freeaddrinfo(info);
    q->fn(q->arg, &answer);
    free(q);
}

static void ask(ares_channel channel, const char *host, int family, dns_fn *fn, void *arg)
{
    const struct ares_addrinfo_hints hints = { .ai_flags = ARES_AI_NOSORT,
                                               .ai_family = family,
                                               .ai_socktype = SOCK_STREAM };
    struct question *q = malloc(sizeof *q);
    if (!q) {
        fn(arg, &(struct dns_answer){ .error = "out of memory" });
        return;
    }
    *q = (struct question){ fn, arg };
    ares_getaddrinfo(channel, host, NULL, &hints, on_answer, q);
}

static void keep(void *arg, const struct dns_answer *answer)
{
    *(struct dns_answer *)arg = *answer;
}

bool dns_hosts_file(struct dns *d, const char *host, struct dns_answer *ret)
{
    *ret = (struct dns_answer){ .count = 0 };
    ask(d->hosts, host, AF_UNSPEC, keep, ret); /* a file: answered at once */
    return ret->count > 0;
}

void dns_ask(struct dns *d, const char *host, int family, dns_fn *fn, void *arg)
{
    ask(d->servers, host, family, fn, arg);
    arm(d);
}

const char *dns_library(void)
{
    return ares_version(NULL);
}
