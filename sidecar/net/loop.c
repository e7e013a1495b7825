/* The batch of later work is one watcher of the lowest priority.  It is fed (pending at once, without the poll) when
 * the first callback is asked for, so it runs when every event of this turn has run.  What a batch asks for itself must
 * let other descriptors have their turn: the same watcher is then armed as a timer of 0 s, which keeps the next poll
 * from sleeping. */
#include "net/loop.h"

#include <signal.h>
#include <stdlib.h>

#include "base/log.h"

static struct ev_loop *the_loop;
static struct list asked; /* later.node of everything that waits */
static ev_timer batch_watcher;
static ev_prepare flush_watcher;
static bool in_batch;

static void on_batch(struct ev_loop *loop, ev_timer *w, int revents)
{
    (void)revents;
    struct list batch; /* a node that is cancelled meanwhile leaves this list by itself */
    list_take(&batch, &asked);
    in_batch = true;
    for (struct list *node; (node = list_shift(&batch)) != NULL;) {
        struct later *l = LIST_ENTRY(node, struct later, node);
        l->run(l);
    }
    in_batch = false;
    if (!list_empty(&asked) && !ev_is_active(w)) {
        ev_timer_set(w, 0., 0.);
        ev_timer_start(loop, w);
    }
}

static void on_flush(struct ev_loop *loop, ev_prepare *p, int revents)
{
    (void)loop;
    (void)p;
    (void)revents;
    log_flush();
}

struct ev_loop *loop_get(void)
{
    if (the_loop)
        return the_loop;
    /* The default loop: the only one of libev's that can watch children. */
    the_loop = ev_default_loop(EVFLAG_AUTO | EVFLAG_NOENV);
    if (!the_loop) {
        log_error(log_msg("cannot make an event loop: the kernel refuses epoll, poll and select"));
        abort();
    }
    signal(SIGPIPE, SIG_IGN); /* a closed peer must be an errno of the write, not the end of the process */
    list_init(&asked);
    ev_timer_init(&batch_watcher, on_batch, 0., 0.);
    ev_set_priority(&batch_watcher, EV_MINPRI);
    ev_prepare_init(&flush_watcher, on_flush);
    ev_set_priority(&flush_watcher, EV_MINPRI);
    ev_prepare_start(the_loop, &flush_watcher);
    ev_unref(the_loop); /* it alone keeps no loop going */
    return the_loop;
}

void loop_forked(void)
{
    if (the_loop)
        ev_loop_fork(the_loop);
}

void loop_later_init(struct later *l, void (*run)(struct later *))
{
    list_init(&l->node);
    l->run = run;
}

void loop_later_ask(struct later *l)
{
    struct ev_loop *loop = loop_get();
    if (!list_empty(&l->node))
        return;
    if (list_empty(&asked) && !in_batch)
        ev_feed_event(loop, &batch_watcher, EV_CUSTOM);
    list_push(&asked, &l->node);
}

void loop_later_cancel(struct later *l)
{
    list_remove(&l->node);
}

void loop_library(int *ret_major, int *ret_minor)
{
    *ret_major = ev_version_major();
    *ret_minor = ev_version_minor();
}
