#include "net/hangup.h"

#include <sys/epoll.h>

#define EVENTS_PER_WAKE 16

static int set = -1; /* one for the process, made when it is first needed */
static ev_io watcher;

/* One at a time: what runs may free the others. */
static void on_event(struct ev_loop *loop, ev_io *w, int revents)
{
    struct epoll_event event;
    (void)loop;
    (void)revents;
    for (int i = 0; i < EVENTS_PER_WAKE && epoll_wait(w->fd, &event, 1, 0) == 1; i++) {
        struct hangup *h = event.data.ptr;
        h->run(h);
    }
}

static void make_set(void)
{
    set = epoll_create1(EPOLL_CLOEXEC);
    if (set < 0)
        return;
    ev_io_init(&watcher, on_event, set, EV_READ);
    ev_io_start(loop_get(), &watcher);
    ev_unref(loop_get()); /* it keeps no loop alive */
}

void hangup_init(struct hangup *h, void (*run)(struct hangup *))
{
    *h = (struct hangup){ run, -1, false };
}

void hangup_watch(struct hangup *h, int fd, bool ends)
{
    struct epoll_event event = { .events = ends ? EPOLLRDHUP : 0, .data.ptr = h };
    if (h->fd >= 0 && h->ends == ends)
        return;
    if (set < 0)
        make_set();
    if (set < 0 || epoll_ctl(set, h->fd >= 0 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0)
        return;
    h->fd = fd;
    h->ends = ends;
}

void hangup_stop(struct hangup *h)
{
    if (h->fd >= 0)
        epoll_ctl(set, EPOLL_CTL_DEL, h->fd, NULL);
    h->fd = -1;
}
