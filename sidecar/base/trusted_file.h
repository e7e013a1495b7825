/* base/trusted_file.h: opens a file that sidekey depends on (the configuration, a secret) only when no user other than
 * root and our own can write it.   Any process; reads the file system, at most some milliseconds.
 *
 * Each part of the path, links too, is owned by root or by us, and others cannot write to it.  "Others" are all users
 * and groups with other members. A group counts as ours when it is root's, when it is our user's private group (Debian
 * creates one for each user), or when it has no name here and we are a member (Kubernetes' fsGroup).  A directory that
 * others can write to is accepted when they cannot replace files of other users: with the sticky bit (/tmp), and as the
 * root of a mounted volume that root owns (the directory of a ConfigMap or emptyDir is 0777). The files in it must
 * still belong to us or root.  The owner of a file that is itself a mount point is not checked: whoever may mount chose
 * it. Only a regular file is opened: a FIFO or a device is refused at once. */
#ifndef SIDEKEY_BASE_TRUSTED_FILE_H
#define SIDEKEY_BASE_TRUSTED_FILE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/* Whether an owner is trusted: root and our own user are. In a user namespace without root, the kernel shows root's
 * files with the overflow uid: those are trusted too. */
bool trusted_file_owner(uid_t uid);
/* 0: path may be opened.  -EPERM: others can write it; e names the part of the path and says what to do.  -EINVAL: no
 * regular file; -EFBIG: longer than most_bytes; else the -errno of the file system.  e is set with each. */
MUST_CHECK int trusted_file_check(const char *path, long long most_bytes, struct err *e);
/* The same, and opens the file that was checked.  A descriptor (close-on-exec), or as trusted_file_check(). */
MUST_CHECK int trusted_file_open(const char *path, long long most_bytes, struct err *e);

/* The same for a directory, but for the owner and mode of the directory itself: the caller checks those.  0;
 * -EPERM, -ENOTDIR, -errno. */
MUST_CHECK int trusted_file_check_dir(const char *path, struct err *e);

#endif
