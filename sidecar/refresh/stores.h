/* refresh/stores.h: what a process needs to read and write states: the seal keys, the state directory, the journal, and
 * the store, bound to each credential's authority and client (rule 2.7b).   Keeper, and sidekey login.
 * Owner  whoever embeds it, .dir.fd -1 at birth, through stores_close(). */
#ifndef SIDEKEY_REFRESH_STORES_H
#define SIDEKEY_REFRESH_STORES_H

#include "refresh/credential_spec.h"
#include "refresh/store/journal.h"
#include "refresh/store/store.h"

#include <sys/types.h>

struct stores {
    struct seal_ring *ring;
    struct secret dir_key; /* the seal key, when it lives in the state directory; else empty */
    struct state_dir dir;
    struct journal *journal;
    struct store *store;
    const char **names; /* the credentials that the Redis engine watches; NULL-terminated */
};

/* For the credentials of options, which is borrowed.  Exit status: 0; 71, 74, 77, 78 with e.  Call stores_close() in
 * any case. */
MUST_CHECK int stores_open(struct stores *s, const struct keeper_options *options, struct err *e);
void stores_close(struct stores *s);
/* Exit status for a directory that cannot be used; open_to: bits that it must not have. */
int stores_directory_status(const char *dir, mode_t open_to);

#endif
