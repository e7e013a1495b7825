/* refresh/store/state_watch.h: reports credentials whose stored generation changed in a state directory.   Keeper only.
 * inotify, and a poll twice a second (network file systems, a full queue, no inotify at all): both lead to the same
 * look at every file, which reads a file's first line only when its stat changed. Owner  state_watch_new()'s caller,
 * through state_watch_free(). */
#ifndef SIDEKEY_REFRESH_STORE_STATE_WATCH_H
#define SIDEKEY_REFRESH_STORE_STATE_WATCH_H

#include "refresh/store/state_dir.h"
#include "refresh/store/store.h"

#define STATE_WATCH_POLL_MS 500

struct state_watch;
/* dir is borrowed.  Reports only later changes, not the present files (a file that is removed or damaged is a change).
 * fn runs from the loop, one name a call, and may free the watch.  NULL: out of memory. */
MUST_CHECK struct state_watch *state_watch_new(const struct state_dir *dir, store_change_fn *fn, void *arg);
/* Accepts NULL. */
void state_watch_free(struct state_watch *w);

#endif
