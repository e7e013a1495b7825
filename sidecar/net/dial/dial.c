#include "net/dial/dial_private.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/loop.h"
#include "net/dial/parent_talk.h"
#include "net/timer.h"

#define TIMEOUT_MS 10000
#define ATTEMPT_MS 250 /* RFC 8305 §5, Connection Attempt Delay */
#define TEXT_MAX 1024

enum dial_state { STATE_LOOKUP, STATE_CONNECT, STATE_PARENT, STATE_ENDED };

struct attempt {
    struct dial *dial;
    ev_io io;
    int fd; /* -1: not begun, or over */
    const struct address *to;
};

struct dial {
    struct dialer *dialer;
    struct authority to;
    bool bare;                   /* no token goes with it */
    const struct parent *parent; /* the way leads through it; NULL: straight to the target */
    dial_fn *fn;
    void *arg;
    enum dial_state state;
    struct resolve *question; /* STATE_LOOKUP */
    struct parent_talk *talk; /* STATE_PARENT, about fd */
    struct address addresses[RESOLVE_ADDRESSES_MAX];
    struct attempt attempts[RESOLVE_ADDRESSES_MAX];
    size_t count, begun, open;
    struct timer deadline, next;
    struct later later; /* STATE_ENDED: to tell */
    int fd;             /* STATE_PARENT, STATE_ENDED */
    enum dial_error error;
    char text[TEXT_MAX];
};

const char *dial_error_label(enum dial_error error)
{
    static const char *const labels[] = {
        [DIAL_OK] = "",
        [DIAL_DNS] = "dns_error",
        [DIAL_FORBIDDEN] = "destination_ip_prohibited",
        [DIAL_REFUSED] = "connection_refused",
        [DIAL_TIMEOUT] = "connection_timeout",
        [DIAL_FAILED] = "destination_ip_unroutable",
    };
    return labels[error];
}

struct dialer *dialer_new(const struct dial_options *options, struct err *e)
{
    struct dialer *d = calloc(1, sizeof *d);
    if (!d) {
        err_set(e, "out of memory");
        return NULL;
    }
    d->options = *options;
    if (d->options.timeout_ms <= 0)
        d->options.timeout_ms = TIMEOUT_MS;
    if (!(d->resolver = resolver_new(e)) || parent_init(&d->parent, options->parent, e) != 0)
        goto failed;
    if (options->name_servers && resolver_tune(d->resolver, options->name_servers, 0) != 0) {
        err_set(e, "\"%s\" is not a list of name servers", options->name_servers);
        goto failed;
    }
    return d;
failed:
    dialer_free(d);
    return NULL;
}

void dialer_free(struct dialer *d)
{
    if (!d)
        return;
    resolver_free(d->resolver);
    parent_done(&d->parent);
    free(d);
}

/* --- the end of a dial --- */

static void close_attempt(struct attempt *a)
{
    if (a->fd < 0)
        return;
    ev_io_stop(loop_get(), &a->io);
    close(a->fd);
    a->fd = -1;
    a->dial->open--;
}

static void stop(struct dial *d)
{
    timer_stop(&d->deadline);
    timer_stop(&d->next);
    resolve_cancel(d->question);
    d->question = NULL;
    parent_talk_cancel(d->talk);
    d->talk = NULL;
    for (size_t i = 0; i < d->begun; i++)
        close_attempt(&d->attempts[i]);
}

static void end(struct dial *d, int fd, enum dial_error error)
{
    d->state = STATE_ENDED;
    d->error = error;
    stop(d);
    if (d->fd >= 0 && d->fd != fd)
        close(d->fd); /* the parent's, and it led nowhere */
    d->fd = fd;
    loop_later_ask(&d->later);
}

static void on_later(struct later *l)
{
    struct dial *d = LIST_ENTRY(l, struct dial, later);
    int fd = d->fd;
    d->fd = -1;
    d->fn(d->arg, fd, d->error, d->text);
    free(d);
}

void dial_cancel(struct dial *d)
{
    if (!d)
        return;
    stop(d);
    loop_later_cancel(&d->later);
    if (d->fd >= 0)
        close(d->fd);
    free(d);
}

/* "api.example.com:443: parent proxy http://proxy:3128: what (127.0.0.1:8443)".  Of several failures, the most specific
 * one is kept: refused, then timeout, then the rest. */
static void note(struct dial *d, enum dial_error error, const char *what, const struct address *at)
{
    char key[AUTHORITY_TEXT_MAX], where[64];
    if (d->text[0] && !(error == DIAL_REFUSED && d->error != DIAL_REFUSED) && d->error != DIAL_FORBIDDEN)
        return;
    d->error = error;
    if (at)
        address_text((const struct sockaddr *)&at->sa, where, sizeof where);
    snprintf(d->text, sizeof d->text, "%s: %s%s%s%s%s%s%s", authority_key(&d->to, key),
             d->parent ? "parent proxy " : "", d->parent ? d->parent->name : "", d->parent ? ": " : "", what,
             at ? " (" : "", at ? where : "", at ? ")" : "");
}

/* --- attempts --- */

static void begin_next(struct dial *d);

static enum dial_error error_of(int failed)
{
    if (failed == ECONNREFUSED)
        return DIAL_REFUSED;
    return failed == ETIMEDOUT ? DIAL_TIMEOUT : DIAL_FAILED;
}

static const char *what_of(int failed, char *text, size_t size)
{
    switch (failed) {
    case ECONNREFUSED: return "connection refused";
    case ETIMEDOUT: return "no response";
    case ENETUNREACH: return "network unreachable";
    case EHOSTUNREACH: return "host unreachable";
    case EMFILE:
    case ENFILE: return "too many open files";
    case EADDRNOTAVAIL: return "no free local port, or no address of this family";
    default: return strerror_r(failed, text, size);
    }
}

/* When the target port is in the local port range and no process listens on it, a TCP socket can connect to itself (RFC
 * 9293 §3.5, simultaneous open).
 */
static bool met_itself(int fd)
{
    struct sockaddr_storage us = { 0 }, them = { 0 };
    socklen_t us_len = sizeof us, them_len = sizeof them;
    return getsockname(fd, (struct sockaddr *)&us, &us_len) == 0
           && getpeername(fd, (struct sockaddr *)&them, &them_len) == 0 && us_len == them_len
           && memcmp(&us, &them, us_len) == 0;
}

static void on_parent(void *arg, int error, const char *text)
{
    struct dial *d = arg;
    d->talk = NULL;
    if (error)
        note(d, error_of(-error), text, NULL);
    end(d, error ? -1 : d->fd, error ? d->error : DIAL_OK);
}

/* The parent is reached: from here on there is one connection, and the deadline of the dial. */
static void ask_parent(struct dial *d, int fd)
{
    timer_stop(&d->next);
    for (size_t i = 0; i < d->begun; i++)
        close_attempt(&d->attempts[i]);
    d->fd = fd;
    d->state = STATE_PARENT;
    if ((d->talk = parent_talk_start(d->parent, fd, &d->to, on_parent, d)))
        return;
    note(d, DIAL_FAILED, "out of memory", NULL);
    end(d, -1, DIAL_FAILED);
}

static void won(struct dial *d, struct attempt *a)
{
    int fd = a->fd;
    ev_io_stop(loop_get(), &a->io);
    a->fd = -1; /* not stop()'s to close */
    d->open--;
    d->text[0] = '\0';
    if (d->parent)
        ask_parent(d, fd);
    else
        end(d, fd, DIAL_OK);
}

static void lost(struct dial *d, struct attempt *a, int failed)
{
    char text[128];
    note(d, error_of(failed), what_of(failed, text, sizeof text), a->to);
    close_attempt(a);
}

static void on_connected(struct ev_loop *loop, ev_io *w, int revents)
{
    (void)loop, (void)revents;
    struct attempt *a = w->data;
    int failed = 0;
    socklen_t len = sizeof failed;
    if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &failed, &len) != 0)
        failed = errno;
    if (failed == 0 && met_itself(a->fd))
        failed = ECONNREFUSED;
    if (failed == 0) {
        won(a->dial, a);
        return;
    }
    lost(a->dial, a, failed);
    begin_next(a->dial); /* RFC 8305 §5: at once, not when the delay is over */
}

/* A lost option is not worth a lost connection. */
static void set_options(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        { IPPROTO_TCP, TCP_NODELAY, 1 },    { SOL_SOCKET, SO_KEEPALIVE, 1 }, { IPPROTO_TCP, TCP_KEEPIDLE, 60 },
        { IPPROTO_TCP, TCP_KEEPINTVL, 15 }, { IPPROTO_TCP, TCP_KEEPCNT, 4 },
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value);
}

/* True when it is under way; success is always told by the loop. */
static bool begin(struct dial *d, struct attempt *a)
{
    a->dial = d;
    a->fd = socket(a->to->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (a->fd < 0) {
        char text[128];
        note(d, DIAL_FAILED, what_of(errno, text, sizeof text), a->to);
        return false;
    }
    d->open++;
    ev_io_init(&a->io, on_connected, a->fd, EV_WRITE);
    a->io.data = a;
    set_options(a->fd);
    if (connect(a->fd, (const struct sockaddr *)&a->to->sa, a->to->len) != 0 && errno != EINPROGRESS
        && errno != EINTR) {
        lost(d, a, errno);
        return false;
    }
    ev_io_start(loop_get(), &a->io);
    return true;
}

static void begin_next(struct dial *d)
{
    timer_stop(&d->next);
    while (d->begun < d->count) {
        struct attempt *a = &d->attempts[d->begun];
        a->to = &d->addresses[d->begun++];
        if (begin(d, a)) {
            if (d->begun < d->count)
                timer_set(&d->next, ATTEMPT_MS);
            return;
        }
    }
    if (d->open == 0)
        end(d, -1, d->error);
}

static void on_next(void *arg)
{
    begin_next(arg);
}

static void on_deadline(void *arg)
{
    static const char *const missing[] = { [STATE_LOOKUP] = "response from the name servers",
                                           [STATE_CONNECT] = "connection",
                                           [STATE_PARENT] = "response to our request" };
    struct dial *d = arg;
    char what[64];
    snprintf(what, sizeof what, "no %s within %g s", missing[d->state], (double)d->dialer->options.timeout_ms / 1000);
    d->text[0] = '\0'; /* what failed before is not why it took so long */
    note(d, d->state == STATE_LOOKUP ? DIAL_DNS : DIAL_TIMEOUT, what,
         d->state == STATE_CONNECT && d->begun ? &d->addresses[d->begun - 1] : NULL);
    end(d, -1, d->error);
}

/* --- where to --- */

static void set_port(struct address *a, uint16_t port)
{
    if (a->sa.ss_family == AF_INET)
        ((struct sockaddr_in *)(void *)&a->sa)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)(void *)&a->sa)->sin6_port = htons(port);
}

static uint16_t port_of(const struct address *a)
{
    return ntohs(a->sa.ss_family == AF_INET ? ((const struct sockaddr_in *)(const void *)&a->sa)->sin_port
                                            : ((const struct sockaddr_in6 *)(const void *)&a->sa)->sin6_port);
}

const struct dial_override *dialer_override(const struct dialer *d, const struct authority *to)
{
    const struct dial_override *any = NULL;
    for (size_t i = 0; i < d->options.override_count; i++) {
        const struct dial_override *o = &d->options.overrides[i];
        if (strcmp(o->host, to->host) != 0 || (o->port && o->port != to->port))
            continue;
        if (o->port)
            return o;
        any = any ? any : o;
    }
    return any;
}

/* Judged on the very bytes that connect() gets. */
static bool may_dial(const struct dial *d, const struct address *a)
{
    const struct sockaddr *sa = (const struct sockaddr *)&a->sa;
    bool bare_private = d->bare && d->dialer->options.bare_private && address_class_of(sa) == ADDRESS_PRIVATE;
    return bare_private || address_allowed(&d->dialer->options.policy, sa);
}

static void refuse(struct dial *d, const struct address *a)
{
    char what[128];
    enum address_class c = address_class_of((const struct sockaddr *)&a->sa);
    bool could = c == ADDRESS_PRIVATE || c == ADDRESS_LOOPBACK;
    snprintf(what, sizeof what, "%s address%s", address_class_name(c),
             could ? " that network.allow_private does not list" : "es are always refused");
    note(d, DIAL_FORBIDDEN, what, a);
}

static void take(struct dial *d, const struct address *addresses, size_t count, bool listed)
{
    uint16_t port = d->parent ? d->parent->at.port : d->to.port;
    for (size_t i = 0; i < count && d->count < RESOLVE_ADDRESSES_MAX; i++) {
        struct address a = addresses[i];
        if (!listed || port_of(&a) == 0)
            set_port(&a, port);
        if (listed || d->parent || may_dial(d, &a))
            d->addresses[d->count++] = a;
        else
            refuse(d, &a);
    }
    d->state = STATE_CONNECT;
    begin_next(d);
}

static void on_resolved(void *arg, const struct address *addresses, size_t count, const char *error)
{
    struct dial *d = arg;
    d->question = NULL;
    if (count) {
        take(d, addresses, count, false);
        return;
    }
    note(d, DIAL_DNS, error, NULL);
    end(d, -1, DIAL_DNS);
}

static struct dial *dial_new(struct dialer *dialer, const struct authority *to, dial_fn *fn, void *arg)
{
    struct dial *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->dialer = dialer;
    d->to = *to;
    d->fn = fn;
    d->arg = arg;
    d->fd = -1;
    loop_later_init(&d->later, on_later);
    timer_init(&d->deadline, on_deadline, d);
    timer_init(&d->next, on_next, d);
    return d;
}

/* A target that is an address is checked as if sidekey connected to it directly. */
static bool may_ask_parent(struct dial *d)
{
    char key[AUTHORITY_TEXT_MAX];
    struct address a;
    if (d->to.kind == HOST_NAME)
        return true;
    if (address_parse(slice_str(authority_key(&d->to, key)), d->to.port, &a) != 0) {
        note(d, DIAL_FAILED, "no address", NULL);
        return false;
    }
    if (may_dial(d, &a))
        return true;
    refuse(d, &a);
    return false;
}

static struct dial *start(struct dialer *dialer, const struct authority *to, bool bare, dial_fn *fn, void *arg)
{
    const struct dial_override *override = dialer_override(dialer, to);
    struct dial *d = dial_new(dialer, to, fn, arg);
    if (!d)
        return NULL;
    d->bare = bare;
    timer_set(&d->deadline, dialer->options.timeout_ms);
    if (!override && parent_serves(dialer->options.parent, to)) {
        if (!may_ask_parent(d)) {
            end(d, -1, d->error);
            return d;
        }
        d->parent = &dialer->parent;
        to = &dialer->parent.at;
        override = dialer_override(dialer, to);
    }
    if (override) {
        take(d, &override->to, 1, true);
    } else if (!(d->question = resolve_start(dialer->resolver, to->host, on_resolved, d))) {
        dial_cancel(d);
        return NULL;
    }
    return d;
}

struct dial *dial_start(struct dialer *d, const struct authority *to, dial_fn *fn, void *arg)
{
    return start(d, to, false, fn, arg);
}

struct dial *dial_start_bare(struct dialer *d, const struct authority *to, dial_fn *fn, void *arg)
{
    return start(d, to, true, fn, arg);
}
