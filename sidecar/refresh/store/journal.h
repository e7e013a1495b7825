/* refresh/store/journal.h: the records that must survive a crash of the keeper between a token request and its commit
 * (rules 2.1a, 2.1c and 2.13b).   Keeper only.
 *
 * In dir/journal/, 0600, per credential <cred>.intent ("about to spend refresh token fp on top of generation g"),
 * <cred>.answer (the sealed new state) and <cred>.response (the bytes of a 2xx response, sealed before it is parsed;
 * one that could not be understood stays, for a later setting or release). They are separate files so that an answer
 * that waits for its store survives the next intent.  Each is a line of facts and a sealed part that vouches for it.
 * Every call blocks until the bytes are on disk (write, fsync, rename, fsync of the directory): the keeper is not on
 * the hot path. Several keepers share the directory: files are replaced whole, and journal_clear() forgets only what
 * this journal wrote or read itself. Owner journal_open()'s caller, through journal_close(). */
#ifndef SIDEKEY_REFRESH_STORE_JOURNAL_H
#define SIDEKEY_REFRESH_STORE_JOURNAL_H

#include "crypto/seal.h"
#include "refresh/store/state.h"
#include "refresh/store/state_dir.h"

struct journal;

enum journal_kind {
    JOURNAL_NONE,
    JOURNAL_INTENT,
    JOURNAL_ANSWER,
    JOURNAL_RESPONSE,
    JOURNAL_LOST, /* an answer or a response was damaged: its refresh token is spent, and its successor is gone */
};

struct journal_entry {
    enum journal_kind kind;
    uint64_t parent_gen;
    char refresh_fp[9]; /* "" when no refresh token was spent */
    int64_t at_ms;      /* clock_mono_ms() when it was written; another boot's says nothing */
    int64_t pid;        /* of the keeper that wrote it: several keepers may share the directory */
    struct state state; /* ANSWER */
};

/* ring is borrowed for the journal's life.  Makes dir and dir/journal when missing.  NULL with e naming the path. */
MUST_CHECK struct journal *journal_open(const char *dir, const struct seal_ring *ring, struct err *e);
/* Accepts NULL; the files stay. */
void journal_close(struct journal *j);
/* Called before anything else of this credential: entries of another binding (binding.h) are not its own, and stay for
 * the day when that one is configured again.  0; -errno. */
MUST_CHECK int journal_bind(struct journal *j, const char *cred, const char *binding);
/* The directory, for messages and for what is wrong with it. */
const struct state_dir *journal_dir(const struct journal *j);
/* Before the first byte of the token request.  0; -errno (then the request must not be sent when a refresh token would
 * be spent). */
MUST_CHECK int journal_intent(struct journal *j, const char *cred, uint64_t parent_gen, const char *refresh_fp,
                              int64_t at_ms);
/* After a good answer, before the store; takes the place of this journal's intent.  refresh_fp is state's.
 * 0; -errno (go on, from memory: it must be reported). */
MUST_CHECK int journal_answer(struct journal *j, const char *cred, uint64_t parent_gen, const struct state *state,
                              int64_t at_ms);
/* The commit is done, or nothing was sent: forgets the newest entry that this journal wrote or read (an intent before
 * the answer that it stands on). 0 (also when there is none); -errno. */
MUST_CHECK int journal_clear(struct journal *j, const char *cred);
/* What is pending for this credential, of whichever keeper: the answer if there is one, then (after journal_clear) the
 * intent. ret's state is initialised by this call and the caller's to free (journal_entry_done). 0 (kind NONE:
 * nothing); -EBADMSG, -ENOKEY (kept beside as *.bad, reported by e; of an answer the next read says LOST, with the
 * facts that could be read, refresh_fp "" when they could not), -EPROTO (sealed well, but not a state that this
 * version can read: left in its place), -errno; all with e. */
MUST_CHECK int journal_read(struct journal *j, const char *cred, struct journal_entry *ret, struct err *e);
void journal_entry_done(struct journal_entry *entry);
/* What was LOST has been dealt with.  0 (also when there is none); -errno. */
MUST_CHECK int journal_lost_forget(struct journal *j, const char *cred);

/* A 2xx response as it came.  A zeroed struct is empty. */
struct journal_response {
    uint64_t parent_gen;
    char refresh_fp[9];    /* of the refresh token that was spent for it */
    bool seeded;           /* that was the configured one */
    bool cut;              /* the end of the body is missing */
    int status;            /* of HTTP; 0: there is no response */
    int64_t asked_wall_ms; /* when the request was made, by the server's clock as far as known */
    struct buf body;       /* secret */
};
/* Replaces an older one of this credential; the intent stays beside it.  0; -errno (go on, from memory: it must be
 * reported). */
MUST_CHECK int journal_response(struct journal *j, const char *cred, const struct journal_response *r, int64_t at_ms);
/* Fills *ret (which was empty).  0 (status 0: there is none); -errno with e, as journal_read(). */
MUST_CHECK int journal_response_read(struct journal *j, const char *cred, struct journal_response *ret, struct err *e);
/* Forgets the one that this journal wrote or read last.  0 (also when there is none); -errno. */
MUST_CHECK int journal_response_forget(struct journal *j, const char *cred);
void journal_response_done(struct journal_response *r);

#endif
