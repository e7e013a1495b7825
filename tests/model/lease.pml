/* The lease protocol of the refresh core (sidecar/refresh/flight.h, store.h, journal.h) as a model for spin(1).
 *
 * KEEPERS keepers share one store (generation, compare-and-swap, one lease that can run out at any moment), one journal directory and one authorization
 * server with rotation and reuse detection.  A keeper may crash between any two steps; its journal stays.  An answer may be lost on the way (LOSSES
 * times in a run), leases may run out (LAPSES times), keepers may crash (CRASHES times).
 *
 * Refresh tokens are numbers: the server takes the one that is `good`; every redemption makes the next number.  What is stored for generation g is token[g].
 *
 *   P1  no token is redeemed twice unless an answer was lost            assert in the server
 *   P2  a token whose answer was written down is in store or journal    assert `durable` after every step that takes one away
 *   P8  a verdict never overwrites a newer generation                   assert in bury
 *   P9  only the owner renews or releases                               assert in renew and release
 *
 * Mutations, each of which must be found: -DBROKEN_REREAD (the state is read before the lease), -DBROKEN_CAS (commit and verdict overwrite),
 * -DBROKEN_RELEASE (releases whatever lease there is), -DBROKEN_INTENT (nothing is journalled before the request), -DBROKEN_ANSWER (nothing is
 * journalled after it), -DBROKEN_FENCE (the request goes out although the lease may have run out), -DBROKEN_CONFIRM (what is
 * stored is not read again between the look at the journal and the request), -DBROKEN_JOURNAL (the intent is looked for after the answer). */

#ifndef KEEPERS
#define KEEPERS 2
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef LAPSES
#define LAPSES 1
#endif
#ifndef LOSSES
#define LOSSES 1
#endif
#ifndef GOAL
#define GOAL 2          /* generations to make: enough for a child and a grandchild */
#endif

#define NOBODY 255
#define NONE 255
#define LAST 5

/* ---- the world ---- */
byte gen = 0;              /* what the store holds */
byte stored = 0;           /* … and its refresh token */
bool dead = false;         /* … with a verdict on it */
byte owner = NOBODY;       /* of the lease */
byte good = 0;             /* the refresh token that the server takes */
bool revoked = false;
bool lost = false;         /* an answer (or who waited for it) was lost */
byte crashes = 0, lapses = 0, losses = 0;

/* The journal: one intent and one answer, as files of one directory. */
byte intent_gen = NONE, intent_by = NOBODY;
byte answer_gen = NONE, answer_token = NONE;
byte written = 0;          /* the newest token whose answer was written down */
bool alive[KEEPERS];       /* is the process that wrote an intent still there? */

inline durable() {
    assert(revoked || written != good || stored == written || answer_token == written)
}

/* At most one lease runs out, at any moment: a keeper that is stopped for longer than it. */
proctype time() {
    do
    :: atomic { owner != NOBODY && lapses < LAPSES -> owner = NOBODY; lapses++ }
    :: gen >= GOAL || dead -> break
    od
}

proctype keeper(byte me) {
    byte parent, token, got, outcome;  /* outcome: 0 refused, 1 a token, 2 no answer */
    bool resent, under_way;

start:
    alive[me] = true;
    resent = false;
    do
    :: gen >= GOAL || dead -> goto end
    :: else ->
#ifdef BROKEN_REREAD
        parent = gen; token = stored;
        if
        :: atomic { owner == NOBODY -> owner = me }
        :: gen >= GOAL || dead -> goto end
        fi;
#else
        if                                               /* begin: lease and re-read are one step of the store */
        :: atomic { owner == NOBODY -> owner = me; parent = gen; token = stored }
        :: gen >= GOAL || dead -> goto end
        fi;
#endif
        if
        :: dead -> goto release
        :: else
        fi;
        /* check: what does the journal know?  First the intent, then the answer: whoever puts the one in the place of the other is seen. */
#ifndef BROKEN_JOURNAL
        under_way = intent_gen == parent && intent_by != me && intent_by != NOBODY && alive[intent_by % KEEPERS];
#endif
        if
        :: atomic { answer_gen != NONE && answer_gen >= parent -> got = answer_token; parent = answer_gen }
           goto commit
        :: atomic { answer_gen != NONE && answer_gen < parent -> answer_gen = NONE; answer_token = NONE; durable() }
           goto release
        :: else
        fi;
        if
#ifdef BROKEN_JOURNAL
        :: intent_gen == parent && intent_by != me && intent_by != NOBODY && alive[intent_by % KEEPERS] -> goto release
#endif
        :: under_way -> goto release                     /* not now */
        :: else
        fi;
ask:
#ifndef BROKEN_INTENT
        atomic {                                         /* the lease's time is looked at right before the write */
            if
#ifndef BROKEN_FENCE
            :: owner != me -> goto release
            :: else
#else
            :: true
#endif
            fi;
            intent_gen = parent; intent_by = me
        };
#endif
        if
        :: atomic { crashes < CRASHES -> crashes++; goto crash }
        :: skip
        fi;
#ifndef BROKEN_CONFIRM
        if                                               /* confirm: read once more, since the journal was looked at after the first time */
        :: atomic { gen != parent -> intent_gen = (intent_by == me && !resent -> NONE : intent_gen) } goto release
        :: else
        fi;
#endif
        /* The request's deadline is before the lease's end, and nothing is sent after it.  Then the server acts; then the answer comes, or not. */
        atomic {
            if
#ifndef BROKEN_FENCE
            :: owner != me -> intent_gen = (intent_by == me && !resent -> NONE : intent_gen); goto release
            :: else
#else
            :: true
#endif
            fi;
            if
            :: !revoked && token == good -> good++; got = good; outcome = 1
            :: !revoked && token != good ->
                assert(lost);                            /* P1 */
                revoked = true; outcome = 0
            :: revoked -> outcome = 0
            fi
        };
        if
        :: atomic { losses < LOSSES -> losses++; lost = lost || outcome == 1; outcome = 2 }
        :: atomic { crashes < CRASHES -> crashes++; lost = lost || outcome == 1; goto crash }
        :: skip
        fi;
        if                                               /* renew: a lease that is gone is not taken back */
        :: owner == me -> atomic { if :: owner == me -> assert(owner == me) :: else fi }
        :: else
        fi;
        if
        :: outcome == 1 -> goto keep
        :: outcome == 0 -> goto recover
        :: outcome == 2 && !resent -> resent = true;
            if
            :: gen != parent -> goto release             /* recover: somebody has stored a child */
            :: else -> goto ask
            fi
        :: outcome == 2 && resent -> goto release        /* the intent stays */
        fi;
keep:
#ifndef BROKEN_ANSWER
        atomic { answer_gen = parent; answer_token = got; intent_gen = (intent_by == me -> NONE : intent_gen); written = got };
#else
        written = got;
#endif
        if
        :: atomic { crashes < CRASHES -> crashes++; goto crash }
        :: skip
        fi;
commit:
        atomic {
#ifdef BROKEN_CAS
            if
            :: true -> gen = parent + 1; stored = got; dead = false
#else
            if
            :: gen == parent -> gen = parent + 1; stored = got; dead = false
            :: gen != parent && dead && stored != got -> gen++; stored = got; dead = false  /* overrules a verdict on its own parent */
            :: else                                      /* lost the race, or it was ours all along */
#endif
            fi;
            if
            :: owner == me -> owner = NOBODY
            :: else
            fi
        };
        if
        :: atomic { crashes < CRASHES -> crashes++; goto crash }
        :: skip
        fi;
        atomic {
            if
            :: answer_token == got -> answer_gen = NONE; answer_token = NONE
            :: else
            fi;
            durable()                                    /* P2 */
        };
        goto again;
recover:
        if
        :: gen != parent -> goto release                 /* race recovered */
        :: else
        fi;
        if                                               /* while another owner may store, a refusal is no verdict */
        :: owner == me || intent_by == NOBODY || intent_by == me || !alive[intent_by % KEEPERS] -> skip
        :: gen != parent -> goto release
        fi;
        if                                               /* P8 */
#ifdef BROKEN_CAS
        :: atomic { true -> assert(gen == parent && !(stored == good && !revoked)); dead = true; gen = parent + 1 }
#else
        :: atomic { gen == parent -> assert(!(stored == good && !revoked)); dead = true; gen = parent + 1 }
        :: gen != parent
#endif
        fi;
release:
        atomic {
#ifdef BROKEN_RELEASE
            assert(owner == me || owner == NOBODY);      /* P9 */
            owner = NOBODY
#else
            if
            :: owner == me -> owner = NOBODY
            :: else
            fi
#endif
        };
again:
        skip
    od;
crash:
    atomic {                                             /* memory is gone, and with it the lease (its process held it) */
        alive[me] = false;
        got = 0; token = 0; parent = 0; outcome = 0;
        if
        :: owner == me -> owner = NOBODY
        :: else
        fi
    };
    goto start;
end:
    skip
}

init {
    atomic {
        byte i;
        for (i : 0 .. KEEPERS - 1) { run keeper(i) }
        run time()
    }
}
