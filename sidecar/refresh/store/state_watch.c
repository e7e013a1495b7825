#include "refresh/store/state_watch.h"

#include "base/hash.h"
#include "net/loop.h"
#include "net/timer.h"
#include "refresh/store/state_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAMAGED UINT64_MAX /* is no generation, so it differs from any */

struct watched {
    struct list changed; /* in state_watch.changed, until it is told */
    char name[STATE_DIR_NAME_MAX + 1];
    uint64_t generation;
    struct stat stat; /* when the generation was read */
    unsigned look;    /* the last look that found the file */
};

struct state_watch {
    const struct state_dir *dir;
    store_change_fn *fn;
    void *arg;
    struct hash *files; /* name → struct watched; those that are removed stay, with generation 0 */
    struct list changed;
    struct later tell;
    struct timer poll;
    struct ev_io events;
    int inotify; /* -1: none */
    unsigned look;
};

/* One name a turn, and nothing after the callback: it may free the watch. */
static void on_tell(struct later *tell)
{
    struct state_watch *w = LIST_ENTRY(tell, struct state_watch, tell);
    struct list *node = list_shift(&w->changed);
    if (!node)
        return;
    char name[STATE_DIR_NAME_MAX + 1];
    memcpy(name, LIST_ENTRY(node, struct watched, changed)->name, sizeof name);
    if (!list_empty(&w->changed))
        loop_later_ask(&w->tell);
    w->fn(w->arg, name);
}

static void set_generation(struct state_watch *w, struct watched *file, uint64_t generation)
{
    if (file->generation == generation)
        return;
    file->generation = generation;
    if (list_empty(&file->changed))
        list_push(&w->changed, &file->changed);
    loop_later_ask(&w->tell);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size
           && a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec
           && a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static struct watched *find_or_add(struct state_watch *w, struct slice name)
{
    struct watched *file = hash_get(w->files, name);
    if (file)
        return file;
    file = calloc(1, sizeof *file);
    if (!file)
        return NULL;
    list_init(&file->changed);
    memcpy(file->name, name.ptr, name.len);
    if (hash_put(w->files, name, file) != 0) {
        free(file);
        return NULL;
    }
    return file;
}

static void look_at(struct state_watch *w, const char *file_name)
{
    size_t len = strlen(file_name), tail = sizeof STATE_FILE_SUFFIX - 1;
    if (len <= tail || len - tail > STATE_DIR_NAME_MAX || strcmp(file_name + len - tail, STATE_FILE_SUFFIX) != 0)
        return;
    struct stat st;
    struct watched *file = find_or_add(w, slice_of(file_name, len - tail));
    if (!file || fstatat(w->dir->fd, file_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return; /* no memory: the next look tries again; gone: close_look sees to it */
    file->look = w->look;
    if (same_file(&st, &file->stat))
        return;
    uint64_t generation;
    file->stat = st;
    if (state_file_generation(w->dir, file->name, &generation, NULL) != 0)
        generation = DAMAGED;
    set_generation(w, file, generation);
}

static void note_removed(void *arg, struct slice name, void *value)
{
    struct state_watch *w = arg;
    struct watched *file = value;
    (void)name;
    if (file->look == w->look)
        return;
    file->stat = (struct stat){ 0 };
    set_generation(w, file, 0);
}

static void look(struct state_watch *w)
{
    int fd = openat(w->dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) { /* out of descriptors: the next look tries again */
        if (fd >= 0)
            close(fd);
        return;
    }
    const struct dirent *entry;
    w->look++;
    while ((entry = readdir(dir)))
        look_at(w, entry->d_name);
    closedir(dir);
    hash_each(w->files, note_removed, w);
}

static void on_poll(void *arg)
{
    struct state_watch *w = arg;
    timer_set(&w->poll, STATE_WATCH_POLL_MS);
    look(w);
}

static void on_events(struct ev_loop *loop, ev_io *events, int revents)
{
    (void)loop, (void)revents;
    struct state_watch *w = events->data;
    char batch[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    if (read(w->inotify, batch, sizeof batch) > 0) /* what they say does not matter: the look finds it */
        look(w);
}

static void watch_events(struct state_watch *w)
{
    w->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->inotify < 0)
        return;
    if (inotify_add_watch(w->inotify, w->dir->path, IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE) < 0) {
        close(w->inotify);
        w->inotify = -1;
        return;
    }
    ev_io_init(&w->events, on_events, w->inotify, EV_READ);
    w->events.data = w;
    ev_io_start(loop_get(), &w->events);
}

struct state_watch *state_watch_new(const struct state_dir *dir, store_change_fn *fn, void *arg)
{
    struct state_watch *w = calloc(1, sizeof *w);
    struct hash *files = w ? hash_new() : NULL;
    if (!files) {
        free(w);
        return NULL;
    }
    *w = (struct state_watch){ .dir = dir, .fn = fn, .arg = arg, .files = files };
    list_init(&w->changed);
    loop_later_init(&w->tell, on_tell);
    watch_events(w); /* before the first look, so that nothing falls in between */
    look(w);
    struct list known;
    list_take(&known, &w->changed);
    while (list_shift(&known)) {
    }
    loop_later_cancel(&w->tell);
    timer_init(&w->poll, on_poll, w);
    timer_set(&w->poll, STATE_WATCH_POLL_MS);
    return w;
}

static void free_watched(void *arg, struct slice name, void *value)
{
    (void)arg, (void)name;
    free(value);
}

void state_watch_free(struct state_watch *w)
{
    if (!w)
        return;
    timer_stop(&w->poll);
    if (w->inotify >= 0) {
        ev_io_stop(loop_get(), &w->events);
        close(w->inotify);
    }
    loop_later_cancel(&w->tell);
    hash_each(w->files, free_watched, NULL);
    hash_free(w->files);
    free(w);
}
