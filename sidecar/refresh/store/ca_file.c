#include "refresh/store/ca_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define AAD "sidekey ca"
#define BLOB_MAX (CA_SET_TEXT_MAX + 64)
#define LOCK_TRIES 40
#define LOCK_AGAIN_MS 50
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

/* ---- the directory ---- */

/* Whoever holds the lock only reads and writes a file.  One that is stopped meanwhile may not stop us. */
int ca_file_open(struct state_dir *dir, const char *path, struct err *e)
{
    if (state_dir_open(dir, path, e) != 0)
        return -1;
    for (int i = 0; i < LOCK_TRIES && flock(dir->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; i++)
        nanosleep(&(struct timespec){ .tv_nsec = LOCK_AGAIN_MS * 1000000L }, NULL);
    return 0;
}

void ca_file_close(struct state_dir *dir)
{
    state_dir_close(dir);
}

/* ---- sealed ---- */

static int unseal(const struct seal_ring *ring, struct slice blob, struct ca_set *set, const char *what, struct err *e)
{
    struct buf text;
    buf_init_secret(&text, CA_SET_TEXT_MAX);
    int failed = seal_open(ring, SLICE(AAD), blob, &text);
    if (failed == -ENOKEY)
        err_set(e, "%s is sealed with another key than store.seal_key", what);
    else if (failed)
        err_set(e, "%s is damaged", what);
    else if (ca_set_read(set, buf_slice(&text), e) != 0)
        failed = (err_wrap(e, "%s: ", what), -EBADMSG);
    buf_done(&text);
    return failed;
}

static int seal(const struct seal_ring *ring, const struct ca_set *set, struct buf *blob)
{
    struct buf text;
    buf_init_secret(&text, CA_SET_TEXT_MAX);
    int failed = ca_set_write(set, &text);
    if (failed == 0)
        failed = seal_blob(ring, SLICE(AAD), buf_slice(&text), blob);
    buf_done(&text);
    return failed;
}

/* ---- the file ---- */

int ca_file_read(const struct state_dir *dir, const struct seal_ring *ring, struct ca_set *set, struct err *e)
{
    struct buf blob;
    char what[PATH_MAX];
    snprintf(what, sizeof what, "%s/" CA_FILE_NAME, dir->path);
    buf_init(&blob, BLOB_MAX);
    int failed = state_dir_read(dir, CA_FILE_NAME, &blob);
    if (failed == -ENOENT)
        failed = 0;
    else if (failed)
        err_set(e, "cannot read %s: %s", what, strerror(-failed));
    else
        failed = unseal(ring, buf_slice(&blob), set, what, e);
    buf_done(&blob);
    return failed;
}

/* Does the file hold these very authorities, sealed with the key of today? */
static bool is_current(const struct state_dir *dir, const struct seal_ring *ring, const struct ca_set *set)
{
    struct buf blob, stored, text;
    buf_init(&blob, BLOB_MAX);
    buf_init_secret(&stored, CA_SET_TEXT_MAX);
    buf_init_secret(&text, CA_SET_TEXT_MAX);
    bool same = state_dir_read(dir, CA_FILE_NAME, &blob) == 0 && seal_is_current(ring, buf_slice(&blob))
                && seal_open(ring, SLICE(AAD), buf_slice(&blob), &stored) == 0 && ca_set_write(set, &text) == 0
                && slice_eq(buf_slice(&stored), buf_slice(&text));
    buf_done(&blob);
    buf_done(&stored);
    buf_done(&text);
    return same;
}

int ca_file_write(const struct state_dir *dir, const struct seal_ring *ring, const struct ca_set *set, struct err *e)
{
    struct buf blob;
    if (is_current(dir, ring, set))
        return 0;
    buf_init(&blob, BLOB_MAX);
    int failed = seal(ring, set, &blob);
    if (failed == 0)
        failed = state_dir_replace(dir, CA_FILE_NAME, buf_slice(&blob));
    buf_done(&blob);
    return failed ? err_set(e, "cannot write %s/" CA_FILE_NAME ": %s", dir->path, strerror(-failed)) : 0;
}

int ca_file_move_aside(const struct state_dir *dir)
{
    return state_dir_rename(dir, CA_FILE_NAME, CA_FILE_ASIDE);
}

/* ---- in memory ---- */

int ca_file_to_memory(const struct seal_ring *ring, const struct ca_set *set)
{
    struct buf blob;
    buf_init(&blob, BLOB_MAX);
    int failed = seal(ring, set, &blob);
    int fd = failed ? failed : memfd_create("sidekey-ca", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (!failed && fd < 0)
        failed = -errno;
    struct slice bytes = buf_slice(&blob);
    if (!failed && (write(fd, bytes.ptr, bytes.len) != (ssize_t)bytes.len || fcntl(fd, F_ADD_SEALS, SEALS) != 0))
        failed = -EIO;
    buf_done(&blob);
    if (failed && fd >= 0)
        close(fd);
    return failed ? failed : fd;
}

int ca_file_from_memory(int memfd, const struct seal_ring *ring, struct ca_set *set, struct err *e)
{
    struct stat st;
    if (memfd < 0 || fstat(memfd, &st) != 0 || st.st_size == 0)
        return 0;
    if (st.st_size > BLOB_MAX)
        return -EBADMSG;
    void *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, memfd, 0);
    if (at == MAP_FAILED)
        return -errno;
    int failed = unseal(ring, slice_of(at, (size_t)st.st_size), set, "the CA in memory", e);
    munmap(at, (size_t)st.st_size);
    return failed;
}
