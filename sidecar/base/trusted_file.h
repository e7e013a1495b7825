/* base/trusted_file.h: opens a file that decides what we do (the configuration, a secret) only when nobody but root and
 * our own user can have written it.   Any process; reads the file system, at most some milliseconds.
 *
 * Each part of the path, links too, is owned by root or by us, and others cannot write to it.  "Others" are the
 * world and groups with other people in them; a group counts as ours when it is root's, when it is our user's own
 * (Debian gives each user one), or when it has no name here and we are in it (Kubernetes' fsGroup).  A directory that
 * others can write to passes where they cannot replace what is not theirs: with the sticky bit (/tmp), and as the root
 * of a mounted volume that root owns (a ConfigMap's or an emptyDir's directory is 0777); what lies in it must
 * be ours or root's all the same.  A file that is itself a mount point is whose the mounter chose.
 * Only a regular file is opened: a FIFO or a device is refused at once and never waited for. */
#ifndef SIDEKEY_BASE_TRUSTED_FILE_H
#define SIDEKEY_BASE_TRUSTED_FILE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/* The one judgement of owners: what root or our own user has is trusted.  In a user namespace without a root, root's
 * files show as nobody's: those too. */
bool trusted_file_owner(uid_t uid);
/* 0: path may be opened.  -EPERM: others could have written it; e names the part and says the way out.  -EINVAL: no
 * regular file; -EFBIG: longer than most_bytes; else the -errno of the file system.  e is set with each. */
MUST_CHECK int trusted_file_check(const char *path, long long most_bytes, struct err *e);
/* The same, and opens what was judged.  A descriptor (close-on-exec), or as trusted_file_check(). */
MUST_CHECK int trusted_file_open(const char *path, long long most_bytes, struct err *e);

/* The same for a directory, but for the owner and mode of the directory itself: those are the caller's to judge.  0;
 * -EPERM, -ENOTDIR, -errno. */
MUST_CHECK int trusted_file_check_dir(const char *path, struct err *e);

#endif
