/* Stands in for net/dial/dial.c: a dial ends when the test says so. */
#include "tests/fakes/fake_dial.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/list.h"

struct dial {
    struct list node;
    dial_fn *fn;
    void *arg;
};

static struct list pending = { &pending, &pending };

struct dialer *dialer_new(const struct dial_options *options, struct err *e)
{
    (void)options;
    (void)e;
    return NULL;
}

void dialer_free(struct dialer *d)
{
    (void)d;
}

struct dial *dial_start(struct dialer *dialer, const struct authority *to, dial_fn *fn, void *arg)
{
    struct dial *d = calloc(1, sizeof *d);
    (void)dialer;
    (void)to;
    if (!d)
        return NULL;
    d->fn = fn;
    d->arg = arg;
    list_push(&pending, &d->node);
    return d;
}

struct dial *dial_start_bare(struct dialer *dialer, const struct authority *to, dial_fn *fn, void *arg)
{
    return dial_start(dialer, to, fn, arg);
}

void dial_cancel(struct dial *d)
{
    if (!d)
        return;
    list_remove(&d->node);
    free(d);
}

const char *dial_error_label(enum dial_error error)
{
    static const char *const labels[] = { "",
                                          "dns_error",
                                          "destination_ip_prohibited",
                                          "connection_refused",
                                          "connection_timeout",
                                          "destination_ip_unroutable" };
    return labels[error];
}

int fake_dial_pending(void)
{
    int n = 0;
    for (struct list *at = pending.next; at != &pending; at = at->next)
        n++;
    return n;
}

static void end(int fd, enum dial_error error, const char *text)
{
    struct list *first = list_shift(&pending);
    assert(first);
    struct dial *d = LIST_ENTRY(first, struct dial, node);
    struct dial copy = *d;
    free(d);
    copy.fn(copy.arg, fd, error, text);
}

int fake_dial_accept(void)
{
    int fds[2];
    int failed = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds);
    assert(!failed);
    end(fds[0], DIAL_OK, "");
    return fds[1];
}

void fake_dial_fail(enum dial_error error, const char *text)
{
    end(-1, error, text);
}

struct dial_lookup *dial_lookup_start(struct dialer *d, const struct authority *name, const struct authority *at,
                                      dial_lookup_fn *fn, void *arg)
{
    (void)d, (void)name, (void)at, (void)fn, (void)arg;
    return NULL;
}

void dial_lookup_cancel(struct dial_lookup *l)
{
    (void)l;
}
