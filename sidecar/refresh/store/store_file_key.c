#include "refresh/store/store_file.h"

#include "base/dir_trust.h"
#include "base/rand.h"
#include "base/str.h"
#include "refresh/store/state_dir.h"
#include "refresh/store/state_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_NAME "seal.key"
#define KEY_MAX_BYTES 4096

/* Sealed states without their key: a new key would only hide that the old one is gone. */
static bool has_states(const struct state_dir *d)
{
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    bool found = false;
    const struct dirent *entry;
    while (dir && !found && (entry = readdir(dir))) {
        size_t len = strlen(entry->d_name), tail = sizeof STATE_FILE_SUFFIX - 1;
        found = len > tail && strcmp(entry->d_name + len - tail, STATE_FILE_SUFFIX) == 0;
    }
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    return found;
}

/* 0 (also when another keeper was faster); -errno.  Hex, because raw bytes may end in what looks like a newline. */
static int make_key(const struct state_dir *d)
{
    unsigned char key[SEAL_KEY_BYTES];
    struct buf text;
    buf_init_secret(&text, 2 * SEAL_KEY_BYTES + 1);
    rand_bytes(key, sizeof key);
    int failed = str_add_hex(&text, slice_of(key, sizeof key));
    if (failed == 0)
        failed = buf_add_str(&text, "\n");
    if (failed == 0)
        failed = state_dir_create(d, KEY_NAME, buf_slice(&text));
    explicit_bzero(key, sizeof key);
    buf_done(&text);
    return failed == -EEXIST ? 0 : failed;
}

static int check_mode(const struct state_dir *d, struct err *e)
{
    struct stat st;
    char path[PATH_MAX + sizeof "/" KEY_NAME];
    if (fstatat(d->fd, KEY_NAME, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return err_set(e, "cannot read %s/" KEY_NAME ": %s", d->path, strerror(errno));
    snprintf(path, sizeof path, "%.*s/" KEY_NAME, PATH_MAX, d->path);
    if (dir_trust_check_owner(&st, path, "", e) != 0)
        return -1;
    if (st.st_mode & 077)
        return err_set(e, "%s/" KEY_NAME " has mode %04o, so others may use it: chmod 0600 %s/" KEY_NAME, d->path,
                       (unsigned)st.st_mode & 07777, d->path);
    return 0;
}

static int read_key(const struct state_dir *d, struct secret *ret, struct err *e)
{
    struct buf text;
    buf_init_secret(&text, KEY_MAX_BYTES);
    int failed = state_dir_read(d, KEY_NAME, &text);
    if (failed == 0)
        failed = text.len == 0 ? -ENODATA : secret_set(ret, buf_slice(&text));
    buf_done(&text);
    return failed ? err_set(e, "cannot read %s/" KEY_NAME ": %s", d->path, strerror(-failed)) : 0;
}

static int find_key(const struct state_dir *d, struct secret *ret, struct err *e)
{
    if (faccessat(d->fd, KEY_NAME, F_OK, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT) {
        if (has_states(d))
            return err_set(
                e,
                "%s/" KEY_NAME
                " is missing, but there are files that were sealed with it: restore it, or move %s/*" STATE_FILE_SUFFIX
                " away and sign in again",
                d->path, d->path);
        int failed = make_key(d);
        if (failed)
            return err_set(e, "cannot make %s/" KEY_NAME ": %s", d->path, strerror(-failed));
    }
    return check_mode(d, e) == 0 ? read_key(d, ret, e) : -1;
}

int store_file_seal_key(const char *dir, struct secret *ret, struct err *e)
{
    struct state_dir d;
    if (state_dir_open(&d, dir, e) != 0)
        return -1;
    int failed = find_key(&d, ret, e);
    state_dir_close(&d);
    return failed;
}

int store_file_seal_key_read(const char *dir, struct secret *ret, struct err *e)
{
    struct state_dir d;
    if (access(dir, F_OK) != 0)
        return err_set(e, "cannot read %s/" KEY_NAME ": %s", dir, strerror(errno));
    if (state_dir_open(&d, dir, e) != 0)
        return -1;
    int failed = faccessat(d.fd, KEY_NAME, F_OK, AT_SYMLINK_NOFOLLOW) != 0
                     ? err_set(e, "cannot read %s/" KEY_NAME ": %s", d.path, strerror(errno))
                     : find_key(&d, ret, e);
    state_dir_close(&d);
    return failed;
}

int store_file_seal_key_again(const struct state_dir *dir, struct slice key, struct err *e)
{
    int failed = state_dir_create(dir, KEY_NAME, key);
    return failed && failed != -EEXIST ? err_set(e, "cannot write %s/" KEY_NAME ": %s", dir->path, strerror(-failed))
                                       : 0;
}
