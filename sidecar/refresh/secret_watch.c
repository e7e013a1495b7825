#include "refresh/secret_watch.h"

#include "net/timer.h"

#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define SETTLE_MS 100 /* a writer is not done at its first event */
#define LOOK_MS 10000 /* where inotify is silent */

struct secret_watch {
    char *path;
    int fd;
    bool io_on;
    ev_io io;
    struct timer settle, look;
    struct stat last;
    void (*fn)(void *arg);
    void *arg;
};

static struct stat stat_of(const char *path)
{
    struct stat st;
    memset(&st, 0, sizeof st);
    (void)stat(path, &st); /* a missing file is all zeros: its coming is a change */
    return st;
}

static bool is_same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Files beside it change too: what counts is the file that the path leads to. */
static void compare(struct secret_watch *w)
{
    struct stat now = stat_of(w->path), last = w->last;
    w->last = now;
    if (now.st_dev != last.st_dev || now.st_ino != last.st_ino || now.st_size != last.st_size
        || !is_same_time(now.st_mtim, last.st_mtim) || !is_same_time(now.st_ctim, last.st_ctim))
        w->fn(w->arg);
}

static void on_settled(void *arg)
{
    compare(arg);
}

static void on_look(void *arg)
{
    struct secret_watch *w = arg;
    timer_set(&w->look, LOOK_MS);
    compare(w);
}

static void on_event(struct ev_loop *loop, ev_io *io, int revents)
{
    struct secret_watch *w = io->data;
    char events[4096];
    (void)loop;
    (void)revents;
    while (read(w->fd, events, sizeof events) > 0)
        ; /* which file it was does not matter: the path may lead through several links */
    timer_set(&w->settle, SETTLE_MS);
}

static void watch_directory(struct secret_watch *w)
{
    char copy[PATH_MAX];
    size_t len = strlen(w->path);
    if (len >= sizeof copy)
        return;
    memcpy(copy, w->path, len + 1);
    w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (w->fd < 0
        || inotify_add_watch(w->fd, dirname(copy), IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ATTRIB)
               < 0)
        return;
    ev_io_init(&w->io, on_event, w->fd, EV_READ);
    w->io.data = w;
    ev_io_start(loop_get(), &w->io);
    w->io_on = true;
}

struct secret_watch *secret_watch_new(const char *path, void (*fn)(void *arg), void *arg)
{
    struct secret_watch *w = calloc(1, sizeof *w);
    if (!w || !(w->path = strdup(path))) {
        free(w);
        return NULL;
    }
    w->fn = fn;
    w->arg = arg;
    w->fd = -1;
    timer_init(&w->settle, on_settled, w);
    timer_init(&w->look, on_look, w);
    w->last = stat_of(path);
    watch_directory(w);
    timer_set(&w->look, LOOK_MS);
    return w;
}

void secret_watch_free(struct secret_watch *w)
{
    if (!w)
        return;
    if (w->io_on)
        ev_io_stop(loop_get(), &w->io);
    timer_stop(&w->settle);
    timer_stop(&w->look);
    if (w->fd >= 0)
        close(w->fd);
    free(w->path);
    free(w);
}
