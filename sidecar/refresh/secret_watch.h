/* refresh/secret_watch.h: reports that the file of a secret may have changed.   Keeper only.
 * inotify on the directory, so that a rename over the file and Kubernetes' ..data symlink swap are seen; and a slow
 * poll for file systems without events. Owner  secret_watch_new()'s caller, through secret_watch_free(). */
#ifndef SIDEKEY_REFRESH_SECRET_WATCH_H
#define SIDEKEY_REFRESH_SECRET_WATCH_H

#include "base/slice.h"

struct secret_watch;
/* path is copied.  fn runs from the loop, some 100 ms after the last of a burst of events, when the file is another one
 * or has been written, touched or given other rights; the content may be the same as before. NULL: out of memory. */
MUST_CHECK struct secret_watch *secret_watch_new(const char *path, void (*fn)(void *arg), void *arg);
/* Accepts NULL. */
void secret_watch_free(struct secret_watch *w);

#endif
