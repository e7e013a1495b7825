/* The lease protocol of the refresh core (sidecar/refresh/flight/flight.h, store.h, journal.h) as a model for spin(1).
 *
 * KEEPERS keepers share one store (generation, compare-and-swap, one lease that can run out at any moment) and one authorization server with rotation and
 * reuse detection.  On one machine they share one journal directory as well, and a lease ends with its process.  With -DMACHINES each keeper is a machine
 * with a journal of its own: a lease ends by its time alone, and the store has an intent beside it (store_mark in store.h) for those who cannot see the
 * journal.  A keeper may crash between any two steps (CRASHES times) and comes back to its journal, or it never comes back (DEATHS times); an answer may be
 * lost on the way (LOSSES), a lease may run out under a keeper that is stopped (LAPSES), and so may the intent in the store (RUNOUTS).
 *
 * Refresh tokens are numbers: the server takes the one that is `good`; every redemption makes the next number.  What is stored for generation g is token[g].
 *
 *   P1  no token is redeemed twice unless the answer to its own first       assert in the server
 *       redemption was lost, or the intent on it ran out
 *   P2  a token whose answer was written down is in store or journal        assert `durable` after every step that takes one away
 *   P8  a verdict never overwrites a newer generation                       assert in bury
 *   P9  only the owner renews or releases                                   assert in renew and release
 *
 * Mutations, each of which must be found: -DBROKEN_REREAD (the state is read before the lease), -DBROKEN_CAS (commit and verdict overwrite),
 * -DBROKEN_RELEASE (releases whatever lease there is), -DBROKEN_INTENT (nothing is journalled before the request), -DBROKEN_ANSWER (nothing is
 * journalled after it), -DBROKEN_FENCE (the request goes out although the lease may have run out), -DBROKEN_CONFIRM (what is
 * stored is not read again between the look at the journal and the request), -DBROKEN_JOURNAL (the intent is looked for after the answer),
 * -DBROKEN_REPLAY (nobody looks for an answer in the journal).
 * With -DMACHINES: -DBROKEN_MARK (no intent in the store), -DBROKEN_UNMARK (a release takes away whatever intent there is), -DBROKEN_EARLY (it is taken
 * away when the answer is in the journal, not when it is stored), -DBROKEN_TAKEOVER (a machine that has an open intent of its own takes the place of anybody's),
 * -DBROKEN_STEP (the look at the store and the write of the intent are two steps).
 * -DLENIENT: the server refuses what was spent before, and lets the grant live. */

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
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef RUNOUTS
#define RUNOUTS 0
#endif
#ifndef GOAL
#define GOAL 2          /* generations to make: enough for a child and a grandchild */
#endif

#define NOBODY 255
#define NONE 255
#ifdef MACHINES
#define JOURNALS KEEPERS
#define OWN me
#else
#define JOURNALS 1
#define OWN 0
#endif
/* Owners: a process of a keeper.  Its next life is another one. */
#define WHO (me + KEEPERS * life[me])
#define LIVES(who) (life[(who) % KEEPERS] == (who) / KEEPERS)

/* ---- the world ---- */
byte gen = 0;              /* what the store holds */
byte stored = 0;           /* … and its refresh token */
bool dead = false;         /* … with a verdict on it */
byte owner = NOBODY;       /* of the lease */
byte good = 0;             /* the refresh token that the server takes */
bool revoked = false;
byte lost = 0;             /* bit t: the answer to the redemption of t (or who waited for it) was lost, or the intent on t ran out */
byte crashes = 0, deaths = 0, lapses = 0, losses = 0, runouts = 0;
byte life[KEEPERS];        /* processes that this keeper has had */
#ifdef MACHINES
byte mark_by = NOBODY, mark_gen = NONE, mark_token = NONE; /* the intent in the store */
#endif

/* The journals: one intent and one answer, as files of one directory. */
byte intent_gen[JOURNALS], intent_by[JOURNALS];
byte answer_gen[JOURNALS], answer_token[JOURNALS];
byte written = 0;          /* the newest token whose answer was written down */

#ifndef MACHINES
#define JOURNALLED(t) (answer_token[0] == t)
#elif KEEPERS == 2
#define JOURNALLED(t) (answer_token[0] == t || answer_token[1] == t)
#else
#define JOURNALLED(t) (answer_token[0] == t || answer_token[1] == t || answer_token[2] == t)
#endif
inline durable() {
    assert(revoked || written != good || stored == written || JOURNALLED(written))
}
inline lose(t) {
    lost = lost | (1 << t)
}
/* Nothing was sent: the intent goes, unless an earlier one for the same token is still open. */
inline drop_intent() {
    intent_gen[OWN] = (intent_by[OWN] == WHO && !unsure -> NONE : intent_gen[OWN])
}

/* Leases run out at any moment: a keeper that is stopped for longer, or (machines) that is dead.  An intent in the store outlives its owner's lease. */
proctype time() {
    do
    :: atomic { owner != NOBODY && LIVES(owner) && lapses < LAPSES -> owner = NOBODY; lapses++ }
#ifdef MACHINES
    :: atomic { owner != NOBODY && !LIVES(owner) -> owner = NOBODY }
    :: atomic { mark_by != NOBODY && owner != mark_by && runouts < RUNOUTS -> lose(mark_token); mark_by = NOBODY; mark_gen = NONE; mark_token = NONE; runouts++ }
#endif
    :: gen >= GOAL || dead -> break
    od
}

#ifdef MACHINES
/* Somebody else's intent for this generation; not one of ours that a dead process of this machine has left. */
#ifdef BROKEN_TAKEOVER
#define HELD_ELSEWHERE (mark_gen == parent && mark_by != NOBODY && mark_by != WHO && past == NOBODY)
#else
#define HELD_ELSEWHERE (mark_gen == parent && mark_by != NOBODY && mark_by != WHO && mark_by != past)
#endif
#define OTHERS_MAY_STORE (mark_by != NOBODY && mark_by != WHO && LIVES(mark_by))
/* Commit and release forget their owner's intent, whosever the lease is. */
inline unmark() {
    if
#ifdef BROKEN_UNMARK
    :: mark_by != NOBODY -> mark_by = NOBODY; mark_gen = NONE; mark_token = NONE
#else
    :: mark_by == WHO -> mark_by = NOBODY; mark_gen = NONE; mark_token = NONE
#endif
    :: else
    fi
}
#else
#define OTHERS_MAY_STORE (intent_by[OWN] != NOBODY && intent_by[OWN] != WHO && LIVES(intent_by[OWN]))
inline unmark() {
    skip
}
#endif

proctype keeper(byte me) {
    byte parent, token, got, outcome;  /* outcome: 0 refused, 1 a token, 2 no answer */
    byte past = NOBODY;                /* whose intent our journal has for this token */
    bool resent, under_way, unsure;    /* unsure: an earlier request for this token may have been heard */

start:
    do
    :: gen >= GOAL || dead -> goto end
    :: else ->
#ifdef BROKEN_REREAD
        parent = gen; token = stored;
        if
        :: atomic { owner == NOBODY -> owner = WHO }
        :: gen >= GOAL || dead -> goto end
        fi;
#else
        if                                               /* begin: lease and re-read are one step of the store */
        :: atomic { owner == NOBODY -> owner = WHO; parent = gen; token = stored }
        :: gen >= GOAL || dead -> goto end
        fi;
#endif
        if
        :: dead -> goto release
        :: else
        fi;
        /* check: what does the journal know?  First the intent, then the answer: whoever puts the one in the place of the other is seen. */
#ifndef BROKEN_JOURNAL
        atomic {
            under_way = intent_gen[OWN] == parent && intent_by[OWN] != NOBODY && intent_by[OWN] != WHO && LIVES(intent_by[OWN]);
            past = (intent_gen[OWN] == parent && !under_way -> intent_by[OWN] : NOBODY);
            unsure = past != NOBODY
        };
#endif
#ifndef BROKEN_REPLAY
        if
        :: atomic { answer_gen[OWN] != NONE && answer_gen[OWN] >= parent -> got = answer_token[OWN]; parent = answer_gen[OWN] }
           goto commit
        :: atomic { answer_gen[OWN] != NONE && answer_gen[OWN] < parent -> answer_gen[OWN] = NONE; answer_token[OWN] = NONE; durable() }
           goto release
        :: else
        fi;
#endif
        if
#ifdef BROKEN_JOURNAL
        :: intent_gen[OWN] == parent && intent_by[OWN] != WHO && intent_by[OWN] != NOBODY && LIVES(intent_by[OWN]) -> goto release
#endif
        :: under_way -> goto release                     /* not now */
        :: else
        fi;
ask:
#ifndef BROKEN_INTENT
        atomic {                                         /* the lease's time is looked at right before the write */
            if
#ifndef BROKEN_FENCE
            :: owner != WHO -> goto release
            :: else
#else
            :: true
#endif
            fi;
            intent_gen[OWN] = parent; intent_by[OWN] = WHO
        };
#endif
        if
        :: atomic { crashes < CRASHES -> crashes++; goto crash }
        :: skip
        fi;
#ifndef BROKEN_CONFIRM
#if !defined(MACHINES) || defined(BROKEN_MARK)
        if                                               /* confirm: read once more, since the journal was looked at after the first time */
        :: atomic { gen != parent -> drop_intent() } goto release
        :: else
        fi;
#else
        if                                               /* … and in the same step say it to those who do not see our journal, unless somebody else has */
        :: atomic { gen != parent || HELD_ELSEWHERE -> drop_intent() } goto release
#ifdef BROKEN_STEP
        :: gen == parent && !HELD_ELSEWHERE -> atomic { mark_by = WHO; mark_gen = parent; mark_token = token }
#else
        :: atomic { gen == parent && !HELD_ELSEWHERE -> mark_by = WHO; mark_gen = parent; mark_token = token }
#endif
        fi;
        if
        :: atomic { crashes < CRASHES -> crashes++; goto crash }
        :: skip
        fi;
#endif
#endif
        /* The request's deadline is before the lease's end, and nothing is sent after it.  Then the server acts; then the answer comes, or not. */
        atomic {
            if
#ifndef BROKEN_FENCE
            :: owner != WHO -> drop_intent(); goto release
            :: else
#else
            :: true
#endif
            fi;
            if
            :: !revoked && token == good -> good++; got = good; outcome = 1
            :: !revoked && token != good ->
                assert(lost & (1 << token));             /* P1 */
#ifndef LENIENT
                revoked = true;
#endif
                outcome = 0
            :: revoked -> outcome = 0
            fi
        };
        if
        :: atomic { losses < LOSSES -> losses++; if :: outcome == 1 -> lose(token) :: else fi; outcome = 2 }
        :: atomic { crashes < CRASHES -> crashes++; if :: outcome == 1 -> lose(token) :: else fi; goto crash }
        :: skip
        fi;
        if                                               /* renew: a lease that is gone is not taken back */
        :: owner == WHO -> atomic { if :: owner == WHO -> assert(owner == WHO) :: else fi }
        :: else
        fi;
        if
        :: outcome == 1 -> goto keep
        :: outcome == 0 -> goto recover
        :: outcome == 2 && !resent -> resent = true; unsure = true;
            if
            :: gen != parent -> goto release             /* recover: somebody has stored a child */
            :: else -> goto ask
            fi
        :: outcome == 2 && resent -> goto release        /* the intent stays */
        fi;
keep:
#ifndef BROKEN_ANSWER
        atomic {
            answer_gen[OWN] = parent; answer_token[OWN] = got; written = got;
            intent_gen[OWN] = (intent_by[OWN] == WHO -> NONE : intent_gen[OWN])
#ifdef BROKEN_EARLY
            ; unmark()
#endif
        };
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
            unmark();
            if
            :: owner == WHO -> owner = NOBODY
            :: else
            fi
        };
        if
        :: atomic { crashes < CRASHES -> crashes++; goto crash }
        :: skip
        fi;
        atomic {
            if
            :: answer_token[OWN] == got -> answer_gen[OWN] = NONE; answer_token[OWN] = NONE
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
        :: owner == WHO || !OTHERS_MAY_STORE -> skip
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
            unmark();
#ifdef BROKEN_RELEASE
            assert(owner == WHO || owner == NOBODY);      /* P9 */
            owner = NOBODY
#else
            if
            :: owner == WHO -> owner = NOBODY
            :: else
            fi
#endif
        };
again:
        atomic { got = 0; token = 0; parent = 0; outcome = 0; past = NOBODY; resent = false; under_way = false; unsure = false }
    od;
crash:
    atomic {                                             /* memory is gone, and on one machine the lease with it (its process held it) */
        got = 0; token = 0; parent = 0; outcome = 0; past = NOBODY; resent = false; under_way = false; unsure = false;
#ifndef MACHINES
        if
        :: owner == WHO -> owner = NOBODY
        :: else
        fi;
#endif
        life[me]++
    };
    if
    :: goto start
    :: atomic { deaths < DEATHS -> deaths++ }            /* this machine never comes back */
    fi;
end:
    skip
}

init {
    atomic {
        byte i;
        for (i : 0 .. JOURNALS - 1) { intent_gen[i] = NONE; intent_by[i] = NOBODY; answer_gen[i] = NONE; answer_token[i] = NONE }
        for (i : 0 .. KEEPERS - 1) { run keeper(i) }
        run time()
    }
}
