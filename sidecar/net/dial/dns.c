#include "net/dial/dns.h"

#include <ares.h>
#include <errno.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "net/loop.h"
#include "net/timer.h"

#define TRY_MS 1000 /* doubled with each try */
#define TRIES 3
#define DOMAINS_MAX MAXDNSRCH
#define LOOK_MS 1000 /* at most so often */
#define RESOLV_CONF "/etc/resolv.conf"

struct servers { /* a channel that asks name servers, on our loop */
    ares_channel channel;
    struct list watches;
    struct timer timer;
};

struct dns {
    ares_channel hosts; /* knows /etc/hosts alone: what it says holds for both families, as with every other resolver */
    struct servers servers;
    char *domains[DOMAINS_MAX]; /* to search, of resolv.conf */
    unsigned domain_count;
    unsigned pending;      /* questions that are out */
    bool fixed;            /* the servers do not come from resolv.conf */
    int64_t looked_ms;     /* at resolv.conf */
    struct stat read_from; /* as it was when it was read */
};

struct watch { /* one socket of c-ares */
    struct list node;
    struct servers *of;
    ev_io io;
};

struct question {
    struct dns *d; /* NULL: the hosts file is asked */
    dns_fn *fn;
    void *arg;
};

static void arm(struct servers *s)
{
    struct timeval left, *next = ares_timeout(s->channel, NULL, &left);
    if (next)
        timer_set(&s->timer, (int64_t)next->tv_sec * 1000 + next->tv_usec / 1000 + 1);
    else
        timer_stop(&s->timer);
}

static void on_timer(void *arg)
{
    struct servers *s = arg;
    ares_process_fd(s->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm(s);
}

static void on_io(struct ev_loop *loop, ev_io *w, int revents)
{
    (void)loop;
    struct watch *watch = w->data;
    struct servers *s = watch->of;
    ares_socket_t fd = w->fd; /* the watch may be gone after the call */
    ares_process_fd(s->channel, revents & EV_READ ? fd : ARES_SOCKET_BAD, revents & EV_WRITE ? fd : ARES_SOCKET_BAD);
    arm(s);
}

static struct watch *watch_of(struct servers *s, ares_socket_t fd)
{
    for (struct list *node = s->watches.next; node != &s->watches; node = node->next)
        if (LIST_ENTRY(node, struct watch, node)->io.fd == fd)
            return LIST_ENTRY(node, struct watch, node);
    return NULL;
}

/* Without memory the socket stays unwatched: the question then ends by its timeout. */
static void on_socket(void *data, ares_socket_t fd, int readable, int writable)
{
    struct servers *s = data;
    struct watch *watch = watch_of(s, fd);
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
        watch->of = s;
        list_push(&s->watches, &watch->node);
        ev_init(&watch->io, on_io);
        watch->io.data = watch;
    }
    int reading = readable ? EV_READ : 0, writing = writable ? EV_WRITE : 0;
    ev_io_set(&watch->io, fd, reading | writing);
    ev_io_start(loop_get(), &watch->io);
}

/* Without search domains: net/resolve says which name is asked for (and some releases search whatever the flags say).
 */
static int open_channel(struct servers *s, const char *lookups, ares_channel *ret)
{
    char order[] = { lookups[0], '\0' };
    struct ares_options options = {
        .timeout = TRY_MS, .tries = TRIES, .lookups = order, .sock_state_cb = on_socket, .sock_state_cb_data = s
    };
    int mask = ARES_OPT_DOMAINS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB;
#ifdef ARES_OPT_QUERY_CACHE
    mask |= ARES_OPT_QUERY_CACHE; /* size 0: net/resolve keeps answers, and for a clamped time */
#endif
    return ares_init_options(ret, &options, mask);
}

static void forget_domains(struct dns *d)
{
    while (d->domain_count)
        free(d->domains[--d->domain_count]);
}

/* Read by the C library, which knows the older forms of the file and LOCALDOMAIN: c-ares 1.34 no longer says them. */
static void read_domains(struct dns *d)
{
    struct __res_state system = { .options = 0 };
    forget_domains(d);
    if (res_ninit(&system) != 0)
        return;
    for (int i = 0; i < DOMAINS_MAX && system.dnsrch[i]; i++)
        if (system.dnsrch[i][0] && (d->domains[d->domain_count] = strdup(system.dnsrch[i])))
            d->domain_count++;
    res_nclose(&system);
}

/* What was before is closed; on failure it stays. */
static int open_servers(struct dns *d)
{
    ares_channel next;
    int failed = open_channel(&d->servers, "b", &next);
    if (failed != ARES_SUCCESS)
        return failed;
    if (d->servers.channel)
        ares_destroy(d->servers.channel);
    d->servers.channel = next;
    read_domains(d);
    return ARES_SUCCESS;
}

/* Another file than the one that was read? */
static bool is_other(const struct stat *a, const struct stat *b)
{
    return a->st_ino != b->st_ino || a->st_dev != b->st_dev || a->st_size != b->st_size
           || a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec;
}

/* What is out keeps the servers that it has asked: the change waits for a moment without questions. */
static void follow_resolv_conf(struct dns *d)
{
    struct stat now;
    if (d->fixed || d->pending || clock_mono_ms() - d->looked_ms < LOOK_MS)
        return;
    d->looked_ms = clock_mono_ms();
    if (stat(RESOLV_CONF, &now) == 0 && is_other(&now, &d->read_from) && open_servers(d) == ARES_SUCCESS)
        d->read_from = now;
}

static void servers_init(struct servers *s)
{
    list_init(&s->watches);
    timer_init(&s->timer, on_timer, s);
}

static void servers_done(struct servers *s)
{
    if (s->channel)
        ares_destroy(s->channel);
    for (struct list *node; (node = list_shift(&s->watches)) != NULL;) {
        struct watch *watch = LIST_ENTRY(node, struct watch, node);
        ev_io_stop(loop_get(), &watch->io);
        free(watch);
    }
    timer_stop(&s->timer);
}

struct dns *dns_new(struct err *e)
{
    struct dns *d = calloc(1, sizeof *d);
    if (!d) {
        err_set(e, "out of memory");
        return NULL;
    }
    servers_init(&d->servers);
    int failed = ares_library_init(ARES_LIB_INIT_ALL);
    if (failed) {
        err_set(e, "cannot start the resolver: %s", ares_strerror(failed));
        free(d);
        return NULL;
    }
    if (stat(RESOLV_CONF, &d->read_from) != 0)
        d->read_from = (struct stat){ 0 };
    failed = open_channel(NULL, "f", &d->hosts);
    if (failed == ARES_SUCCESS && (failed = open_servers(d)) == ARES_SUCCESS)
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
    servers_done(&d->servers);
    forget_domains(d);
    ares_library_cleanup();
    free(d);
}

int dns_set_servers(struct dns *d, const char *servers)
{
    d->fixed = true;
    bool taken = ares_set_servers_ports_csv(d->servers.channel, servers) == ARES_SUCCESS;
    return taken ? 0 : -EINVAL;
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
    if (info)
        ares_freeaddrinfo(info);
    if (answer.count == 0)
        answer.error = why(status == ARES_SUCCESS ? ARES_ENODATA : status);
    answer.no_name = status == ARES_ENOTFOUND;
    if (q->d)
        q->d->pending--;
    q->fn(q->arg, &answer);
    free(q);
}

/* d NULL: of the hosts file. */
static void ask(struct dns *d, ares_channel channel, const char *host, int family, dns_fn *fn, void *arg)
{
    const struct ares_addrinfo_hints hints = { .ai_flags = ARES_AI_NOSORT,
                                               .ai_family = family,
                                               .ai_socktype = SOCK_STREAM };
    struct question *q = malloc(sizeof *q);
    if (!q) {
        fn(arg, &(struct dns_answer){ .error = "out of memory" });
        return;
    }
    *q = (struct question){ d, fn, arg };
    if (d)
        d->pending++;
    ares_getaddrinfo(channel, host, NULL, &hints, on_answer, q);
}

static void keep(void *arg, const struct dns_answer *answer)
{
    *(struct dns_answer *)arg = *answer;
}

bool dns_hosts_file(struct dns *d, const char *host, struct dns_answer *ret)
{
    *ret = (struct dns_answer){ .count = 0 };
    ask(NULL, d->hosts, host, AF_UNSPEC, keep, ret); /* a file: answered at once */
    return ret->count > 0;
}

unsigned dns_names(struct dns *d)
{
    follow_resolv_conf(d);
    return d->domain_count + 1;
}

void dns_ask(struct dns *d, const char *host, unsigned nth, int family, dns_fn *fn, void *arg)
{
    char text[1024];
    bool whole_first = strchr(host, '.');
    unsigned domain = whole_first ? nth - 1 : nth; /* beyond the last: none */
    bool whole = domain >= d->domain_count;
    snprintf(text, sizeof text, "%s%s%s", host, whole ? "" : ".", whole ? "" : d->domains[domain]);
    ask(d, d->servers.channel, text, family, fn, arg);
    arm(&d->servers);
}

const char *dns_library(void)
{
    return ares_version(NULL);
}
