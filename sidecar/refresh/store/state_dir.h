/* refresh/store/state_dir.h: a directory that only this user may change, and files in it that are replaced whole or not
 * at all.   Keeper only. Every call blocks until the bytes are on disk.  Names are plain file names; files are 0600.
 * Owner  whoever embeds it, through state_dir_close(). */
#ifndef SIDEKEY_REFRESH_STORE_STATE_DIR_H
#define SIDEKEY_REFRESH_STORE_STATE_DIR_H

#include "base/buf.h"
#include "base/err.h"

#include <limits.h>

#define STATE_DIR_NAME_MAX 64  /* of a credential: [a-z0-9._-]{1,64} */
#define STATE_DIR_FILE_SIZE 96 /* of a credential's file name, NUL included */

struct state_dir {
    int fd;
    char *path; /* for messages */
    int *fault; /* of the last file that was to be written: errno, 0: it is there */
};

/* Opens, or makes with 0700 (its parent must be there, but for what is below $HOME).  Refuses what another user owns,
 * what group or others may look into, and what somebody else could have put there: e says what to do.  A volume (a
 * mount that is root's, or open to others) gets a directory of ours, sidekey-UID, and d->path says so.  Removes what a
 * writer of ours that died left half-written.  0; -1 with e. */
MUST_CHECK int state_dir_open(struct state_dir *d, const char *path, struct err *e);
void state_dir_close(struct state_dir *d);
/* Does the directory still stand at its path?  0: yes; 1: it was removed, or replaced, and a new one was made (0700)
 * that d means from now on; -1 with e. */
MUST_CHECK int state_dir_again(const struct state_dir *d, struct err *e);
/* 0, or the errno of the last file that could not be written and still cannot be. */
int state_dir_fault(const struct state_dir *d);
/* Is it a credential's name, and so safe to be part of a file name? */
bool state_dir_is_name(const char *cred);
/* Opens a regular file of ours (no symbolic link, never waits).  flags: as open(2).  The descriptor; -errno (-ELOOP,
 * -EINVAL: not a regular file). */
MUST_CHECK int state_dir_file(const struct state_dir *d, const char *name, int flags);
/* Appends the whole file.  0; -ENOENT, -EFBIG (more than out has room for), -ENOMEM, -errno. */
MUST_CHECK int state_dir_read(const struct state_dir *d, const char *name, struct buf *out);
/* Writes beside, fsync, rename, fsync of the directory.  0; -errno: the old file is as it was (or, after a failing last
 * fsync, the new one). */
MUST_CHECK int state_dir_replace(const struct state_dir *d, const char *name, struct slice bytes);
/* As state_dir_replace, but -EEXIST when there is one. */
MUST_CHECK int state_dir_create(const struct state_dir *d, const char *name, struct slice bytes);
/* Can a new file of some pages be written just now? */
bool state_dir_writable(const struct state_dir *d);
/* Removes and fsyncs the directory.  0 (also when there was none); -errno. */
MUST_CHECK int state_dir_remove(const struct state_dir *d, const char *name);
/* Puts a file aside under another name of the directory.  0; -errno, also in errno. */
MUST_CHECK int state_dir_rename(const struct state_dir *d, const char *from, const char *to);

#endif
