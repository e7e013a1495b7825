/* tests/fakes/fake_store.h: a store that answers when the test says so: scripted, or as its state demands.   One
 * credential. */
#ifndef SIDEKEY_TESTS_FAKE_STORE_H
#define SIDEKEY_TESTS_FAKE_STORE_H

#include "refresh/store/store.h"

enum fake_call { FAKE_NONE, FAKE_BEGIN, FAKE_RENEW, FAKE_COMMIT, FAKE_RELEASE, FAKE_LOAD, FAKE_THROTTLE };

struct fake_store {
    struct store store;
    struct state stored;    /* what is "on disk" */
    enum fake_call pending; /* the one operation under way */
    uint64_t known_gen, parent_gen;
    struct store_owner owner; /* of the last begin */
    struct state committed;   /* argument of the last commit */
    bool held;                /* somebody else has the lease */
    bool leased;              /* we have it */
    bool down, refuse_null;   /* operations fail · cannot even be taken */
    int begins, renews, commits, releases, loads, cancels;
    int marks; /* with fake_store_marks(): what was written there last */
    uint64_t marked_gen;
    char marked_fp[9], marked_tag[48], marked_instead[48];
    int64_t marked_hold_ms, busy_ttl_ms;
    int throttles;
    int64_t throttled_ms; /* by the last throttle, or the test: what begin, load and mark say is left */
    store_fn *fn;
    void *arg;
};

void fake_store_init(struct fake_store *s);
void fake_store_done(struct fake_store *s);
/* From now on it keeps intents, as a store of several machines does; a mark is answered as a load. */
void fake_store_marks(struct fake_store *s);
/* Answers the operation that is pending as the fields above say. */
void fake_store_answer(struct fake_store *s);
/* Answers it like this instead. */
void fake_store_say(struct fake_store *s, const struct store_answer *answer);
/* Puts a state there behind everybody's back. */
void fake_store_put(struct fake_store *s, uint64_t generation, const char *access, const char *refresh,
                    int64_t expires_wall_ms);

#endif
