#include "net/dial/resolve.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "net/dial/dns.h"
#include "net/timer.h"

#define TTL_MIN_MS 5000
#define TTL_MAX_MS 300000
#define FAILED_MS 2000
#define TIMEOUT_MS 5000
#define DELAY_MS 50 /* RFC 8305 §3, Resolution Delay: the other family gets this long once one can be used */
#define NAMES_MAX 4096
#define HOST_MAX 253

enum { A, AAAA };

struct answer {       /* shared by the cache and by the questions that have not been told yet */
    struct list node; /* in resolver.known, oldest first */
    unsigned refs;
    int64_t until_ms;
    const char *error;
    size_t count;
    char host[HOST_MAX + 1];
    struct address addresses[];
};

struct half {
    struct flight *flight;
    bool done;
    struct dns_answer answer;
};

struct flight {       /* one name that is being asked for; lives on until c-ares has let go of both halves */
    struct list node; /* in resolver.flights, until it has ended */
    struct resolver *r;
    struct list waiting; /* resolve.node */
    struct half halves[2];
    int pending;
    unsigned names, nth; /* that it is asked for as; the one that is asked for now */
    bool ended;
    struct timer timer;
    char host[HOST_MAX + 1];
};

struct resolver {
    struct dns *dns;
    struct hash *names;  /* host → answer */
    struct hash *asking; /* host → flight */
    struct list known, flights;
    int64_t timeout_ms;
};

struct resolve {
    struct list node; /* in flight.waiting, until answered */
    struct later later;
    struct answer *answer;
    resolve_fn *fn;
    void *arg;
};

/* --- answers --- */

/* Never freed: the one reference is this file's. */
static struct answer no_memory = { .refs = 1, .error = "out of memory" },
                     no_host = { .refs = 1, .error = "not a host name" };

static struct answer *answer_new(const char *host, const struct address *addresses, size_t count, const char *error)
{
    struct answer *a = malloc(sizeof *a + count * sizeof *addresses);
    if (!a)
        return NULL;
    *a = (struct answer){ .refs = 1, .error = error, .count = count };
    memcpy(a->host, host, strlen(host) + 1);
    list_init(&a->node);
    if (count)
        memcpy(a->addresses, addresses, count * sizeof *addresses);
    return a;
}

static struct answer *answer_ref(struct answer *a)
{
    a->refs++;
    return a;
}

static void answer_unref(struct answer *a)
{
    if (a && --a->refs == 0)
        free(a);
}

static void forget(struct resolver *r, struct answer *a)
{
    hash_remove(r->names, slice_str(a->host));
    list_remove(&a->node);
    answer_unref(a);
}

static void keep(struct resolver *r, struct answer *a, int64_t ttl_ms)
{
    struct answer *old = hash_get(r->names, slice_str(a->host));
    if (old)
        forget(r, old);
    if (hash_count(r->names) >= NAMES_MAX)
        forget(r, LIST_ENTRY(r->known.next, struct answer, node));
    a->until_ms = clock_mono_ms() + ttl_ms;
    if (hash_put(r->names, slice_str(a->host), a) != 0)
        return; /* not kept, but still true */
    list_push(&r->known, &answer_ref(a)->node);
}

static struct answer *known(struct resolver *r, const char *host)
{
    struct answer *a = hash_get(r->names, slice_str(host));
    if (a && a->until_ms <= clock_mono_ms()) {
        forget(r, a);
        a = NULL;
    }
    return a;
}

/* --- questions --- */

static void on_later(struct later *l)
{
    struct resolve *q = LIST_ENTRY(l, struct resolve, later);
    struct answer *a = q->answer;
    resolve_fn *fn = q->fn;
    void *arg = q->arg;
    free(q);
    fn(arg, a->addresses, a->count, a->error);
    answer_unref(a);
}

static void tell(struct resolve *q, struct answer *a)
{
    list_remove(&q->node);
    q->answer = answer_ref(a);
    loop_later_ask(&q->later);
}

void resolve_cancel(struct resolve *q)
{
    if (!q)
        return;
    list_remove(&q->node);
    loop_later_cancel(&q->later);
    answer_unref(q->answer);
    free(q);
}

/* --- flights --- */

/* RFC 8305 §4: the families take turns, so that one broken family costs one attempt and not all of them. */
static size_t interleave(const struct dns_answer *v6, const struct dns_answer *v4,
                         struct address ret[RESOLVE_ADDRESSES_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < DNS_ADDRESSES_MAX; i++) {
        if (i < v6->count && n < RESOLVE_ADDRESSES_MAX)
            ret[n++] = v6->addresses[i];
        if (i < v4->count && n < RESOLVE_ADDRESSES_MAX)
            ret[n++] = v4->addresses[i];
    }
    return n;
}

static int64_t ttl_ms_of(const struct dns_answer *one, const struct dns_answer *two)
{
    int64_t ttl_s = one->count == 0 || (two->count && two->ttl_s < one->ttl_s) ? two->ttl_s : one->ttl_s;
    int64_t ttl_ms = ttl_s > TTL_MAX_MS / 1000 ? TTL_MAX_MS : ttl_s * 1000;
    return ttl_ms < TTL_MIN_MS ? TTL_MIN_MS : ttl_ms;
}

static const char *error_of(const struct half *a, const struct half *aaaa)
{
    if (!a->done)
        return "the name servers do not respond";
    return a->answer.no_name || !aaaa->answer.error ? a->answer.error : aaaa->answer.error;
}

static void flight_free(struct flight *f)
{
    if (f->pending == 0)
        free(f);
}

/* Out of the resolver's sight; freed when c-ares has let go. */
static void leave(struct flight *f)
{
    f->ended = true;
    timer_stop(&f->timer);
    hash_remove(f->r->asking, slice_str(f->host));
    list_remove(&f->node);
}

static void end(struct flight *f, const struct dns_answer *v6, const struct dns_answer *v4)
{
    struct address addresses[RESOLVE_ADDRESSES_MAX];
    size_t count = interleave(v6, v4, addresses);
    struct answer *a = answer_new(f->host, addresses, count, count ? NULL : error_of(&f->halves[A], &f->halves[AAAA]));
    leave(f);
    if (a)
        keep(f->r, a, count ? ttl_ms_of(v6, v4) : FAILED_MS);
    while (!list_empty(&f->waiting))
        tell(LIST_ENTRY(f->waiting.next, struct resolve, node), a ? a : &no_memory);
    answer_unref(a);
    flight_free(f);
}

static void on_timer(void *arg)
{
    struct flight *f = arg;
    end(f, &f->halves[AAAA].answer, &f->halves[A].answer);
}

static void ask_both(struct flight *f);

/* The search domains come after "no such name", for both families. */
static bool next_name(struct flight *f)
{
    const struct half *a = &f->halves[A], *aaaa = &f->halves[AAAA];
    if (!a->done || !aaaa->done || !a->answer.no_name || !aaaa->answer.no_name || f->nth + 1 >= f->names)
        return false;
    f->nth++;
    ask_both(f);
    return true;
}

/* A host with IPv6 addresses alone is rare and a machine without IPv6 is not, so A is waited for. A name server that
 * drops AAAA questions is common: it must not cost seconds. */
static void progress(struct flight *f)
{
    const struct half *a = &f->halves[A], *aaaa = &f->halves[AAAA];
    while (next_name(f)) {
    }
    if (a->done && aaaa->done) {
        end(f, &aaaa->answer, &a->answer);
    } else if (a->done && (a->answer.count || (a->answer.no_name && f->nth + 1 >= f->names))) {
        timer_set(&f->timer, DELAY_MS);
    }
}

static void on_half(void *arg, const struct dns_answer *answer)
{
    struct half *half = arg;
    struct flight *f = half->flight;
    f->pending--;
    if (f->ended) {
        flight_free(f);
        return;
    }
    half->answer = *answer;
    half->done = true;
    if (f->pending < 2) /* 2: still inside ask_both() */
        progress(f);
}

static void ask_both(struct flight *f)
{
    f->halves[A].done = f->halves[AAAA].done = false;
    f->pending += 4; /* two of them ours: what is answered at once waits for us */
    dns_ask(f->r->dns, f->host, f->nth, AF_INET6, on_half, &f->halves[AAAA]);
    dns_ask(f->r->dns, f->host, f->nth, AF_INET, on_half, &f->halves[A]);
    f->pending -= 2;
}

static struct flight *flight_new(struct resolver *r, const char *host)
{
    struct flight *f = calloc(1, sizeof *f);
    if (!f || hash_put(r->asking, slice_str(host), f) != 0) {
        free(f);
        return NULL;
    }
    f->r = r;
    memcpy(f->host, host, strlen(host) + 1);
    list_init(&f->waiting);
    list_init(&f->node);
    list_push(&r->flights, &f->node);
    for (size_t i = 0; i < 2; i++)
        f->halves[i].flight = f;
    timer_init(&f->timer, on_timer, f);
    return f;
}

static void flight_start(struct flight *f)
{
    static const struct dns_answer none;
    struct dns_answer hosts;
    if (dns_hosts_file(f->r->dns, f->host, &hosts)) {
        struct dns_answer v6 = none, v4 = none;
        for (size_t i = 0; i < hosts.count; i++) {
            struct dns_answer *family = hosts.addresses[i].sa.ss_family == AF_INET6 ? &v6 : &v4;
            family->addresses[family->count++] = hosts.addresses[i];
        }
        end(f, &v6, &v4);
        return;
    }
    timer_set(&f->timer, f->r->timeout_ms);
    f->names = dns_names(f->r->dns);
    ask_both(f);
    progress(f);
}

/* --- the resolver --- */

struct resolver *resolver_new(struct err *e)
{
    struct resolver *r = calloc(1, sizeof *r);
    if (!r) {
        err_set(e, "out of memory");
        return NULL;
    }
    list_init(&r->known);
    list_init(&r->flights);
    r->timeout_ms = TIMEOUT_MS;
    r->names = hash_new();
    r->asking = hash_new();
    if (!r->names || !r->asking)
        err_set(e, "out of memory");
    else if ((r->dns = dns_new(e)) != NULL)
        return r;
    resolver_free(r);
    return NULL;
}

int resolver_tune(struct resolver *r, const char *servers, int64_t timeout_ms)
{
    if (timeout_ms > 0)
        r->timeout_ms = timeout_ms;
    return servers ? dns_set_servers(r->dns, servers) : 0;
}

void resolver_free(struct resolver *r)
{
    if (!r)
        return;
    while (!list_empty(&r->flights)) {
        struct flight *f = LIST_ENTRY(r->flights.next, struct flight, node);
        leave(f);
        while (list_shift(&f->waiting)) /* they stay their owners' to cancel */
            ;
        flight_free(f);
    }
    dns_free(r->dns);
    while (!list_empty(&r->known))
        forget(r, LIST_ENTRY(r->known.next, struct answer, node));
    hash_free(r->names);
    hash_free(r->asking);
    free(r);
}

/* What needs no question; the caller owns one reference. */
static struct answer *at_hand(struct resolver *r, const char *text)
{
    struct slice host = slice_str(text);
    struct address a[2];
    struct answer *found;
    if (host.len == 0 || host.len > HOST_MAX)
        return answer_ref(&no_host);
    if (slice_find(host, '/') == host.len && address_parse_network(host, &a[0]) == 0)
        return answer_new(text, a, 1, NULL);
    if (address_names_loopback(host) && address_parse_network(SLICE("127.0.0.1"), &a[0]) == 0
        && address_parse_network(SLICE("::1"), &a[1]) == 0)
        return answer_new(text, a, 2, NULL);
    return (found = known(r, text)) != NULL ? answer_ref(found) : NULL;
}

static struct resolve *question_new(resolve_fn *fn, void *arg)
{
    struct resolve *q = calloc(1, sizeof *q);
    if (!q)
        return NULL;
    q->fn = fn;
    q->arg = arg;
    list_init(&q->node);
    loop_later_init(&q->later, on_later);
    return q;
}

struct resolve *resolve_start(struct resolver *r, const char *host, resolve_fn *fn, void *arg)
{
    struct resolve *q = question_new(fn, arg);
    struct answer *a = q ? at_hand(r, host) : NULL;
    if (a) {
        tell(q, a);
        answer_unref(a);
        return q;
    }
    struct flight *f = q ? hash_get(r->asking, slice_str(host)) : NULL;
    bool first = q && !f;
    if (first)
        f = flight_new(r, host);
    if (!f) {
        free(q);
        return NULL;
    }
    list_push(&f->waiting, &q->node);
    if (first)
        flight_start(f);
    return q;
}
