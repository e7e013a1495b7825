/* refresh/store/state_watch.h: tells whose stored generation changed in a state directory, by whomever.   Keeper only.
 * inotify, and a poll twice a second (network file systems, a full queue, no inotify at all): both lead to the same
 * look at every file, which reads a file's first line only when its stat changed. Owner  state_watch_new()'s caller,
 * through state_watch_free(). */
#ifndef SIDEKEY_REFRESH_STORE_STATE_WATCH_H
#define SIDEKEY_REFRESH_STORE_STATE_WATCH_H

#include "refresh/store/state_dir.h"
#include "refresh/store/store.h"

#define STATE_WATCH_POLL_MS 500

struct state_watch;
/* dir is borrowed.  What is there now is known: only later changes are told (a file that is removed or damaged is one).
 * fn runs from the loop, one name a call, and may free the watch.  NULL: out of memory. */
MUST_CHECK struct state_watch *state_watch_new(const struct state_dir *dir, store_change_fn *fn, void *arg);
/* Accepts NULL. */
void state_watch_free(struct state_watch *w);

#endif
