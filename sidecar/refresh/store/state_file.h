/* refresh/store/state_file.h: the stored state of one credential as a file: <cred>.state.   Keeper only.
 * A line "sidekey-state 1 GENERATION", then the sealed JSON; AAD = "CRED GENERATION", so neither can be exchanged.
 * A file that is there and cannot be read is an error, never "nothing stored". */
#ifndef SIDEKEY_REFRESH_STORE_STATE_FILE_H
#define SIDEKEY_REFRESH_STORE_STATE_FILE_H

#include "crypto/seal.h"
#include "refresh/store/state.h"
#include "refresh/store/state_dir.h"

#define STATE_FILE_SUFFIX ".state"
#define STATE_FILE_MAX_BYTES (128 + STATE_MAX_BYTES) /* the first line and the seal included */

/* Replaces *ret (which is initialised); generation 0: nothing stored.  0; -1 with e naming the file and the way out. */
MUST_CHECK int state_file_read(const struct state_dir *dir, const struct seal_ring *ring, const char *cred,
                               struct state *ret, struct err *e);
/* Only the generation, unopened (0: nothing stored): enough to compare.  0; -1 with e. */
MUST_CHECK int state_file_generation(const struct state_dir *dir, const char *cred, uint64_t *ret, struct err *e);
/* Stores state (borrowed) as this generation.  0; -1 with e: what was stored is as it was. */
MUST_CHECK int state_file_write(const struct state_dir *dir, const struct seal_ring *ring, const char *cred,
                                uint64_t generation, const struct state *state, struct err *e);

#endif
