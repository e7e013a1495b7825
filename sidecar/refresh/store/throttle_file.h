/* refresh/store/throttle_file.h: the time until which the token host wants no request for one credential, for all
 * keepers of one machine.   Keeper only. <cred>.throttle: one line with the end (CLOCK_BOOTTIME ms, the same number in
 * every process, and no jump of the wall clock moves it) and the boot id: an end of another boot says nothing.
 * Rules 3.4a and 3.4b. */
#ifndef SIDEKEY_REFRESH_STORE_THROTTLE_FILE_H
#define SIDEKEY_REFRESH_STORE_THROTTLE_FILE_H

#include "refresh/store/state_dir.h"

/* What is left of it, in ms, at most STORE_THROTTLE_MAX_MS; 0: nothing.  A note that cannot be read is ignored: at
 * worst the host asks for the pause again. */
int64_t throttle_file_left_ms(const struct state_dir *dir, const char *cred);
/* Notes a pause of pause_ms from now; a longer one that is noted stays.  The caller is inside the section
 * (lease_file.h).  0; -errno. */
MUST_CHECK int throttle_file_set(const struct state_dir *dir, const char *cred, int64_t pause_ms);

#endif
