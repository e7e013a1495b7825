#include "refresh/store/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define MAGIC "sidekey-state 1 "
#define HEAD_MAX_BYTES 64

static const char *name_of(const char *cred, char name[STATE_DIR_FILE_SIZE])
{
    snprintf(name, STATE_DIR_FILE_SIZE, "%s" STATE_FILE_SUFFIX, cred);
    return name;
}

/* "CRED GENERATION": a name has no space. */
static struct slice aad_of(const char *cred, uint64_t generation, char aad[STATE_DIR_NAME_MAX + 32])
{
    int len = snprintf(aad, STATE_DIR_NAME_MAX + 32, "%s %" PRIu64, cred, generation);
    return slice_of(aad, (size_t)len);
}

static int damaged(const struct state_dir *dir, const char *cred, const char *what, struct err *e)
{
    return err_set(e,
                   "%s/%s" STATE_FILE_SUFFIX " is damaged (%s): restore a good copy, or move it away and sign in again "
                   "(there is no other copy of its refresh token)",
                   dir->path, cred, what);
}

static int unreadable(const struct state_dir *dir, const char *cred, int failed, struct err *e)
{
    if (failed == -EINVAL || failed == -ELOOP)
        return damaged(dir, cred, "not a regular file", e);
    if (failed == -EFBIG)
        return damaged(dir, cred, "too long", e);
    return err_set(e, "cannot read %s/%s" STATE_FILE_SUFFIX ": %s", dir->path, cred, strerror(-failed));
}

/* Splits the file; the rest is the sealed part. */
static int parse_head(struct slice file, uint64_t *ret_generation, struct slice *ret_rest)
{
    struct slice line = slice_cut(file, '\n', ret_rest);
    uint64_t generation;
    if (!ret_rest->ptr || !slice_starts(line, SLICE(MAGIC))
        || slice_u64(slice_skip(line, sizeof MAGIC - 1), STATE_GENERATION_MAX, &generation) != 0 || generation == 0)
        return -EBADMSG;
    *ret_generation = generation;
    return 0;
}

int state_file_generation(const struct state_dir *dir, const char *cred, uint64_t *ret, struct err *e)
{
    char name[STATE_DIR_FILE_SIZE], head[HEAD_MAX_BYTES];
    struct slice rest;
    *ret = 0;
    int fd = state_dir_file(dir, name_of(cred, name), O_RDONLY);
    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return unreadable(dir, cred, fd, e);
    ssize_t got = read(fd, head, sizeof head);
    int failed = got < 0 ? -errno : parse_head(slice_of(head, (size_t)got), ret, &rest);
    close(fd);
    if (failed == -EBADMSG)
        return damaged(dir, cred, "its first line is not sidekey's", e);
    return failed ? unreadable(dir, cred, failed, e) : 0;
}

static int open_sealed(const struct state_dir *dir, const struct seal_ring *ring, const char *cred, struct slice file,
                       struct buf *plain, struct state *ret, struct err *e)
{
    uint64_t generation;
    struct slice sealed;
    char aad[STATE_DIR_NAME_MAX + 32];
    struct err why = { "" };
    if (parse_head(file, &generation, &sealed) != 0)
        return damaged(dir, cred, file.len ? "its first line is not sidekey's" : "empty", e);
    int failed = seal_open(ring, aad_of(cred, generation, aad), sealed, plain);
    if (failed == -ENOKEY)
        return err_set(e,
                       "%s/%s" STATE_FILE_SUFFIX
                       " was sealed with another key: configure that seal key again (as store.seal_key_previous, if it "
                       "was replaced), or move the file away and sign in again",
                       dir->path, cred);
    if (failed == -EBADMSG)
        return damaged(dir, cred, "truncated, changed, or the file of another credential", e);
    if (failed)
        return err_set(e, "cannot open %s/%s" STATE_FILE_SUFFIX ": %s", dir->path, cred, strerror(-failed));
    if (state_read(ret, buf_slice(plain), &why) != 0)
        return damaged(dir, cred, why.text, e);
    ret->generation = generation; /* the sealed number, whatever the JSON says */
    return 0;
}

int state_file_read(const struct state_dir *dir, const struct seal_ring *ring, const char *cred, struct state *ret,
                    struct err *e)
{
    char name[STATE_DIR_FILE_SIZE];
    struct buf file, plain;
    buf_init(&file, STATE_FILE_MAX_BYTES);
    buf_init_secret(&plain, STATE_FILE_MAX_BYTES);
    int failed = state_dir_read(dir, name_of(cred, name), &file);
    if (failed == 0) {
        failed = open_sealed(dir, ring, cred, buf_slice(&file), &plain, ret, e);
    } else if (failed == -ENOENT) {
        state_done(ret);
        failed = 0;
    } else {
        failed = unreadable(dir, cred, failed, e);
    }
    buf_done(&plain);
    buf_done(&file);
    return failed;
}

int state_file_write(const struct state_dir *dir, const struct seal_ring *ring, const char *cred, uint64_t generation,
                     const struct state *state, struct err *e)
{
    char name[STATE_DIR_FILE_SIZE], aad[STATE_DIR_NAME_MAX + 32];
    struct state next = *state; /* borrows everything but the number */
    next.generation = generation;
    struct buf file, plain;
    buf_init(&file, STATE_FILE_MAX_BYTES);
    buf_init_secret(&plain, STATE_MAX_BYTES);
    int failed = generation > STATE_GENERATION_MAX ? -ERANGE : state_write(&next, &plain);
    if (failed == 0)
        failed = buf_printf(&file, MAGIC "%" PRIu64 "\n", generation);
    if (failed == 0)
        failed = seal_blob(ring, aad_of(cred, generation, aad), buf_slice(&plain), &file);
    if (failed == 0)
        failed = state_dir_replace(dir, name_of(cred, name), buf_slice(&file));
    buf_done(&plain);
    buf_done(&file);
    if (failed)
        return err_set(e, "cannot write %s/%s" STATE_FILE_SUFFIX ": %s", dir->path, cred, strerror(-failed));
    return 0;
}
