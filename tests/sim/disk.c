/* Directories in memory, in place of refresh/store/state_dir.c: the journal above it is the real one.  A write is there
 * whole or not at all, as fsync and rename promise; its process may end just before or just after. */
#include "tests/sim/sim.h"

#include "refresh/store/state_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIRS (SIM_KEEPERS + 1)
#define FILES 12

static struct file {
    char name[STATE_DIR_FILE_SIZE];
    char *bytes;
    size_t len;
} files[DIRS][FILES];

void sim_disk_reset(void)
{
    for (int d = 0; d < DIRS; d++)
        for (int i = 0; i < FILES; i++) {
            free(files[d][i].bytes);
            files[d][i] = (struct file){ "", NULL, 0 };
        }
}

/* "N" or "N/journal". */
int state_dir_open(struct state_dir *d, const char *path, struct err *e)
{
    (void)e;
    *d = (struct state_dir){ .fd = atoi(path), .path = strdup(path) };
    return 0;
}

void state_dir_close(struct state_dir *d)
{
    free(d->path);
    *d = (struct state_dir){ .fd = -1 };
}

bool state_dir_is_name(const char *cred)
{
    return cred[0] != '\0';
}

static struct file *find(const struct state_dir *d, const char *name)
{
    for (int i = 0; i < FILES; i++)
        if (files[d->fd][i].bytes && strcmp(files[d->fd][i].name, name) == 0)
            return &files[d->fd][i];
    return NULL;
}

int state_dir_read(const struct state_dir *d, const char *name, struct buf *out)
{
    const struct file *file = find(d, name);
    return file ? buf_add(out, slice_of(file->bytes, file->len)) : -ENOENT;
}

int state_dir_replace(const struct state_dir *d, const char *name, struct slice bytes)
{
    struct file *file = find(d, name);
    if (!sim_effect())
        return 0;
    if (sim_fault(sim_plan.disk_full)) {
        sim_trace("journal %s: disk full", name);
        return -ENOSPC;
    }
    for (int i = 0; i < FILES && !file; i++)
        if (!files[d->fd][i].bytes)
            file = &files[d->fd][i];
    if (!file)
        abort();
    free(file->bytes);
    snprintf(file->name, sizeof file->name, "%s", name);
    file->bytes = malloc(bytes.len + 1);
    memcpy(file->bytes, bytes.ptr, bytes.len);
    file->len = bytes.len;
    sim_trace("journal %s written: %.*s", name, (int)slice_find(bytes, '\n'), bytes.ptr);
    return 0;
}

bool sim_disk_damage(const char *dir, const char *name)
{
    const struct state_dir d = { .fd = atoi(dir) };
    struct file *file = find(&d, name);
    if (!file)
        return false;
    file->bytes[file->len - 1] ^= 1;
    sim_trace("journal %s is damaged", name);
    return true;
}

int state_dir_create(const struct state_dir *d, const char *name, struct slice bytes)
{
    return find(d, name) ? -EEXIST : state_dir_replace(d, name, bytes);
}

int state_dir_remove(const struct state_dir *d, const char *name)
{
    struct file *file = find(d, name);
    if (!file || !sim_effect())
        return 0;
    free(file->bytes);
    *file = (struct file){ "", NULL, 0 };
    sim_trace("journal %s removed", name);
    sim_judge_durable();
    return 0;
}

/* What was put aside is nobody's any more. */
int state_dir_rename(const struct state_dir *d, const char *from, const char *to)
{
    (void)to;
    return state_dir_remove(d, from);
}

int state_dir_file(const struct state_dir *d, const char *name, int flags)
{
    (void)d, (void)name, (void)flags;
    abort(); /* only the file store opens files, and it is not here */
}
