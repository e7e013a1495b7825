#include "refresh/store/state_copies.h"

#include "base/hash.h"
#include "refresh/store/state_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct state_copies {
    struct hash *by_name; /* credential to struct copy */
};

struct copy {
    uint64_t generation;
    struct buf file;
};

struct state_copies *state_copies_new(void)
{
    struct state_copies *c = calloc(1, sizeof *c);
    if (c && !(c->by_name = hash_new())) {
        free(c);
        c = NULL;
    }
    return c;
}

static void free_copy(struct copy *copy)
{
    if (copy)
        buf_done(&copy->file);
    free(copy);
}

static void free_one(void *arg, struct slice cred, void *copy)
{
    (void)arg, (void)cred;
    free_copy(copy);
}

void state_copies_free(struct state_copies *c)
{
    if (!c)
        return;
    hash_each(c->by_name, free_one, NULL);
    hash_free(c->by_name);
    free(c);
}

static const char *name_of(const char *cred, char name[STATE_DIR_FILE_SIZE])
{
    snprintf(name, STATE_DIR_FILE_SIZE, "%.*s" STATE_FILE_SUFFIX, STATE_DIR_NAME_MAX, cred);
    return name;
}

static struct copy *read_copy(const struct state_dir *dir, const char *cred, uint64_t generation)
{
    char name[STATE_DIR_FILE_SIZE];
    struct copy *copy = calloc(1, sizeof *copy);
    if (!copy)
        return NULL;
    copy->generation = generation;
    buf_init(&copy->file, STATE_FILE_MAX_BYTES);
    if (state_dir_read(dir, name_of(cred, name), &copy->file) == 0)
        return copy;
    free_copy(copy);
    return NULL;
}

void state_copies_take(struct state_copies *c, const struct state_dir *dir, const char *cred, uint64_t generation)
{
    struct copy *old = hash_get(c->by_name, slice_str(cred));
    if (generation == 0 || (old && generation <= old->generation))
        return;
    free_copy(hash_remove(c->by_name, slice_str(cred)));
    struct copy *copy = read_copy(dir, cred, generation);
    if (copy && hash_put(c->by_name, slice_str(cred), copy) != 0)
        free_copy(copy);
}

struct write {
    const struct state_dir *dir;
    struct err *e;
    int failed;
};

static void write_one(void *arg, struct slice cred, void *value)
{
    struct write *w = arg;
    const struct copy *copy = value;
    char text[STATE_DIR_NAME_MAX + 1], name[STATE_DIR_FILE_SIZE];
    snprintf(text, sizeof text, "%.*s", (int)cred.len, cred.ptr);
    int failed = state_dir_create(w->dir, name_of(text, name), buf_slice(&copy->file));
    if (failed && failed != -EEXIST)
        w->failed = err_set(w->e, "cannot write %s/%s: %s", w->dir->path, name, strerror(-failed));
}

int state_copies_write(const struct state_copies *c, const struct state_dir *dir, struct err *e)
{
    struct write w = { dir, e, 0 };
    hash_each(c->by_name, write_one, &w);
    return w.failed;
}
