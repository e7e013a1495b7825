/* refresh/schedule.h: when to refresh a credential, and whether it is needed.   Pure: no I/O, no loop, no log, no
 * token. Units  *_ms monotonic milliseconds unless a name says wall.   Source  rules 1.11, 2.10b, 2.11a and 2.11b;
 * docs/refresh-rules.md §3, §4. */
#ifndef SIDEKEY_REFRESH_SCHEDULE_H
#define SIDEKEY_REFRESH_SCHEDULE_H

#include "net/ipc/msg.h"

#define SCHEDULE_EAGER_MS 30000  /* least time between two tries that nobody waits for */
#define SCHEDULE_PACE_MS 1000    /* least time from one request to the next, whatever the server says */
#define SCHEDULE_DEAD_MS 3600000 /* a dead refresh token is tried again so often: a wrong verdict heals */
#define SCHEDULE_JITTER_MAX 100  /* per mille of the advisory window */
#define SCHEDULE_CLOCKS_MS 60000 /* wall clocks of two replicas may differ by so much */

/* The stored facts about a token's life, as wall clock. */
struct schedule_life {
    int64_t obtained_wall_ms, expires_wall_ms; /* expires 0: unknown */
    int64_t refresh_in_ms;                     /* the server's hint, from obtained; 0: none */
    int64_t refresh_expires_wall_ms;           /* end of the refresh token; 0: unknown */
};

/* The same as deadlines of this process. */
struct schedule_times {
    int64_t expires_ms;   /* hard end; MSG_NEVER: unknown, rely on 401 */
    int64_t mandatory_ms; /* from here on a new one is worth waiting for */
    int64_t advisory_ms;  /* from here on ask for a new one while serving this one */
    int64_t lifetime_ms;  /* when it was new; MSG_NEVER: unknown */
    int64_t shortest_ms;  /* … or that of its refresh token, if that is shorter */
};

/* The least time between two forced tries, or two eager ones: limit_ms, but for short-lived tokens a quarter of their
 * life, and none at all when the token is in its advisory window: then a refresh is due anyway. */
int64_t schedule_pace(const struct schedule_times *t, int64_t limit_ms, int64_t now_ms);

/* Why somebody wants a refresh. */
struct schedule_need {
    enum msg_reason reason;
    uint64_t rejected; /* REJECTED, FORCED: the generation that is not wanted any more */
    bool background;   /* nobody waits */
};

/* What has happened to tries so far.  A zeroed struct: nothing. */
struct schedule_tries {
    unsigned failures; /* in a row */
    bool failed;       /* the last try */
    enum msg_class failure;
    int64_t last_ms;   /* end of the last try; 0: none */
    int64_t paced_ms;  /* a try before this waits until then: SCHEDULE_PACE_MS after the last request that was sent */
    int64_t urgent_ms; /* not before this when somebody waits */
    int64_t quiet_ms;  /* not before this when nobody waits */
    int64_t forced_ms; /* last forced refresh that counted */
    bool forced;
};

enum schedule_verdict {
    SCHEDULE_SATISFIED, /* what is there will do */
    SCHEDULE_GO,        /* refresh now */
    SCHEDULE_LATER,     /* not before tries.urgent_ms or quiet_ms */
    SCHEDULE_RECENT,    /* a forced refresh ran less than the floor ago */
    SCHEDULE_STUCK,     /* dead: only a person can help, but for one look an hour */
};

/* Two callers, one refresh: makes *to cover both needs. */
void schedule_need_merge(struct schedule_need *to, const struct schedule_need *more);
/* REJECTED or FORCED: not about time, about one generation. */
bool schedule_need_forced(const struct schedule_need *need);
/* The windows of rules 4.1 and 4.3.  jitter: 0…SCHEDULE_JITTER_MAX per mille, fixed per replica.
 * now_wall_ms is already corrected by what is known of the clock's error.  By a clock that is behind a token looks as
 * if it were made in the future: it lives no longer from now than a new one would. */
struct schedule_times schedule_times(const struct schedule_life *life, unsigned jitter, int64_t now_ms,
                                     int64_t now_wall_ms);
/* It has an end and was made in the future: one of two clocks is wrong, and nobody can say how old the token is. */
bool schedule_age_unknown(const struct schedule_life *life, int64_t now_wall_ms);
/* It has ended now, whatever is stored. */
void schedule_times_end(struct schedule_times *t, int64_t now_ms);
/* A refresh has brought the same token with no later end: the next try is at half the remaining time. */
void schedule_times_same(struct schedule_times *t, int64_t now_ms);
/* The predicate: does a token of this generation leave the need open?  has_token: there is one. */
bool schedule_needs(const struct schedule_times *t, bool has_token, uint64_t generation,
                    const struct schedule_need *need, int64_t now_ms);
/* May a try start now?  The predicate has said that it is needed. */
enum schedule_verdict schedule_may(const struct schedule_tries *tries, const struct schedule_need *need,
                                   int64_t forced_floor_ms, int64_t now_ms);
/* A try ended well. forced: it was a forced one, and a request was sent. */
void schedule_succeeded(struct schedule_tries *tries, bool forced, int64_t now_ms);
/* A try failed.  retry_after_ms: from the server, 0: none.  random: a fresh random number.
 * forced as above.  DEAD: stuck for retry_after_ms, else for SCHEDULE_DEAD_MS, or until schedule_unstick(). */
void schedule_failed(struct schedule_tries *tries, enum msg_class failure, int64_t retry_after_ms, bool forced,
                     uint64_t random, int64_t now_ms);
/* A request was sent at asked_ms.  schedule_unstick() does not change that. */
void schedule_requested(struct schedule_tries *tries, int64_t asked_ms);
/* After success with a short-lived token: the next eager try need not wait for longer than pace_ms. */
void schedule_hurry(struct schedule_tries *tries, int64_t pace_ms, int64_t now_ms);
/* Nothing was tried: somebody else is at it.  Nobody who does not wait asks again for a moment. */
void schedule_skipped(struct schedule_tries *tries, int64_t now_ms);
/* Secret or stored state changed: everything may be tried again at once. */
void schedule_unstick(struct schedule_tries *tries);
/* Moves both "not before" to until_ms at least: the token host throttles. */
void schedule_hold(struct schedule_tries *tries, int64_t until_ms);
/* As hold, and it counts as the last outcome: THROTTLE, told to somebody else.  No failure of ours: no backoff grows.
 */
void schedule_throttled(struct schedule_tries *tries, int64_t until_ms);
/* When the background pass has to look again: >= now_ms, or MSG_NEVER. */
int64_t schedule_next_ms(const struct schedule_tries *tries, const struct schedule_times *t, bool has_token,
                         int64_t now_ms);

#endif
