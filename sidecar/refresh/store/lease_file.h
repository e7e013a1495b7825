/* refresh/store/lease_file.h: the lease on one credential among the keepers of one machine.   Keeper only.   Rules
 * 1.3, 1.5, 1.6 and 7.8.
 *
 * <cred>.lock is one inode for ever (never replaced), with one line in it and two kinds of byte locks on it
 * (F_OFD_SETLK: they belong to the open descriptor, so the kernel drops them however its process dies, and two stores
 * of one process exclude each other too): byte 0        the section: the line is read and written only by whoever holds
 * it, so of many waiters exactly one sees "free" and takes it; the line      owner, end (CLOCK_BOOTTIME ms, the same
 * number in every process) and boot id: a stopped holder loses the lease when the end has come, and an end of another
 * boot says nothing; byte f(owner) held by the holder's descriptor as long as it has the lease: without it the holder
 * is dead, and the lease is free at once. A lease holds only while all three agree, and every decision about it is made
 * inside the section: so at most one owner at a time can take, extend or drop it.  Whoever holds the section only reads
 * and writes a line (or commits: one fsync), and nobody waits for it inside a call. */
#ifndef SIDEKEY_REFRESH_STORE_LEASE_FILE_H
#define SIDEKEY_REFRESH_STORE_LEASE_FILE_H

#include "refresh/store/state_dir.h"
#include "refresh/store/store.h"

#define LEASE_FILE_OWNER_TEXT (2 * STORE_OWNER_BYTES + 1)

struct lease_file {
    int64_t left_ms; /* 0: free */
    char owner[LEASE_FILE_OWNER_TEXT];
};

/* Opens and enters the section.  The descriptor; -EAGAIN: somebody else is inside, try again soon; -errno. */
MUST_CHECK int lease_file_enter(const struct state_dir *dir, const char *cred);
/* Who has the lease.  0; -errno. */
MUST_CHECK int lease_file_look(int section, struct lease_file *ret);
bool lease_file_is(const struct lease_file *lease, const struct store_owner *owner);
/* Takes a free lease: from now on it lives with the descriptor, which must stay open (leave it by lease_file_leave,
 * drop it by close).  0; -errno. */
MUST_CHECK int lease_file_take(int section, const struct store_owner *owner, int64_t ttl_ms);
/* Sets a new end; the caller has looked: it is its own.  0; -errno. */
MUST_CHECK int lease_file_extend(int section, const struct store_owner *owner, int64_t ttl_ms);
/* Frees; the caller has looked: it is its own.  0; -errno. */
MUST_CHECK int lease_file_drop(int section);
/* The boot id that ends of leases carry; "unknown" without /proc. */
const char *lease_file_boot(void);
/* Leaves the section and keeps the descriptor.  (close() leaves the section too.) */
void lease_file_leave(int section);

#endif
