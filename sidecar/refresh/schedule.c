#include "refresh/schedule.h"

#define SECOND 1000
#define MINUTE (60 * SECOND)
#define SKIPPED_MS (5 * SECOND)

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Length of the advisory window: from here to the end of the life. */
static int64_t advisory_window(int64_t lifetime_ms, unsigned jitter)
{
    int64_t window = min64(max64(lifetime_ms / 5, MINUTE), 15 * MINUTE);
    window = min64(window, lifetime_ms / 2);
    /* "Minus" jitter makes the window shorter, so each replica asks at another moment and the first one serves all. */
    return window - window * (jitter > SCHEDULE_JITTER_MAX ? SCHEDULE_JITTER_MAX : jitter) / 1000;
}

struct schedule_times schedule_times(const struct schedule_life *life, unsigned jitter, int64_t now_ms,
                                     int64_t now_wall_ms)
{
    int64_t base_ms = now_ms - now_wall_ms; /* wall + base = monotonic */
    struct schedule_times t = { MSG_NEVER, MSG_NEVER, MSG_NEVER, MSG_NEVER, MSG_NEVER };
    if (life->expires_wall_ms) {
        int64_t lifetime_ms = life->obtained_wall_ms ? life->expires_wall_ms - life->obtained_wall_ms
                                                     : life->expires_wall_ms - now_wall_ms;
        t.lifetime_ms = t.shortest_ms = lifetime_ms = max64(lifetime_ms, 0);
        /* no token is younger than new */
        t.expires_ms = min64(life->expires_wall_ms, now_wall_ms + lifetime_ms) + base_ms;
        t.mandatory_ms = t.expires_ms - min64(30 * SECOND, lifetime_ms / 10);
        t.advisory_ms = t.expires_ms - advisory_window(lifetime_ms, jitter);
    }
    if (life->refresh_in_ms > 0 && life->obtained_wall_ms)
        t.advisory_ms = min64(t.mandatory_ms, life->obtained_wall_ms + life->refresh_in_ms + base_ms);
    /* A refresh token that ends first is used before its own end.  (One that had ended when it came is a mistake.) */
    if (life->refresh_expires_wall_ms > life->obtained_wall_ms && life->obtained_wall_ms) {
        int64_t lifetime_ms = life->refresh_expires_wall_ms - life->obtained_wall_ms;
        int64_t end_ms = min64(life->refresh_expires_wall_ms, now_wall_ms + lifetime_ms) + base_ms;
        t.advisory_ms = min64(t.advisory_ms, end_ms - advisory_window(lifetime_ms, jitter));
        t.shortest_ms = min64(t.shortest_ms, lifetime_ms);
    }
    return t;
}

bool schedule_age_unknown(const struct schedule_life *life, int64_t now_wall_ms)
{
    return life->expires_wall_ms && life->obtained_wall_ms > now_wall_ms + SCHEDULE_CLOCKS_MS;
}

void schedule_times_end(struct schedule_times *t, int64_t now_ms)
{
    t->expires_ms = min64(t->expires_ms, now_ms);
    t->mandatory_ms = min64(t->mandatory_ms, now_ms);
    t->advisory_ms = min64(t->advisory_ms, now_ms);
}

void schedule_times_same(struct schedule_times *t, int64_t now_ms)
{
    if (t->expires_ms != MSG_NEVER)
        t->advisory_ms = max64(t->advisory_ms, now_ms + max64(t->expires_ms - now_ms, 0) / 2);
}

int64_t schedule_pace(const struct schedule_times *t, int64_t limit_ms, int64_t now_ms)
{
    if (t->advisory_ms != MSG_NEVER && now_ms >= t->advisory_ms)
        return 0;
    return t->lifetime_ms == MSG_NEVER ? limit_ms : min64(limit_ms, t->lifetime_ms / 4);
}

void schedule_requested(struct schedule_tries *tries, int64_t asked_ms)
{
    tries->paced_ms = asked_ms + SCHEDULE_PACE_MS;
}

void schedule_hurry(struct schedule_tries *tries, int64_t pace_ms, int64_t now_ms)
{
    tries->quiet_ms = min64(tries->quiet_ms, now_ms + pace_ms);
}

bool schedule_need_forced(const struct schedule_need *need)
{
    return need->reason == MSG_REJECTED || need->reason == MSG_FORCED;
}

void schedule_need_merge(struct schedule_need *to, const struct schedule_need *more)
{
    bool forced = schedule_need_forced(more), was_forced = schedule_need_forced(to);
    to->background = to->background && more->background;
    if (forced)
        to->rejected = was_forced && to->rejected > more->rejected ? to->rejected : more->rejected;
    if (forced || (!was_forced && more->reason == MSG_MISSING))
        to->reason = more->reason;
}

bool schedule_needs(const struct schedule_times *t, bool has_token, uint64_t generation,
                    const struct schedule_need *need, int64_t now_ms)
{
    if (!has_token || now_ms >= t->expires_ms)
        return true;
    switch (need->reason) {
    case MSG_REJECTED:
    case MSG_FORCED: return generation <= need->rejected;
    case MSG_MISSING: return now_ms >= t->mandatory_ms;
    case MSG_EXPIRING: return now_ms >= t->advisory_ms;
    }
    return false;
}

enum schedule_verdict schedule_may(const struct schedule_tries *tries, const struct schedule_need *need,
                                   int64_t forced_floor_ms, int64_t now_ms)
{
    bool forced = schedule_need_forced(need);
    bool eager = need->background || need->reason == MSG_EXPIRING;
    if (tries->failed && tries->failure == MSG_DEAD && now_ms < tries->quiet_ms)
        return SCHEDULE_STUCK;
    if (forced && tries->forced && now_ms - tries->forced_ms < forced_floor_ms)
        return SCHEDULE_RECENT;
    int64_t at_ms = eager ? tries->quiet_ms : tries->urgent_ms;
    return now_ms < at_ms ? SCHEDULE_LATER : SCHEDULE_GO;
}

static void note_end(struct schedule_tries *tries, bool forced, int64_t now_ms)
{
    tries->last_ms = now_ms;
    if (forced) {
        tries->forced = true;
        tries->forced_ms = now_ms;
    }
}

void schedule_succeeded(struct schedule_tries *tries, bool forced, int64_t now_ms)
{
    note_end(tries, forced, now_ms);
    tries->failures = 0;
    tries->failed = false;
    tries->urgent_ms = 0;
    tries->quiet_ms = now_ms + SCHEDULE_EAGER_MS;
}

/* Full jitter: uniform in (0, base · 2ⁿ capped], AWS architecture blog "Exponential backoff and jitter". */
static int64_t backoff(int64_t base_ms, int64_t cap_ms, unsigned failures, uint64_t random)
{
    int64_t ceiling = base_ms;
    for (unsigned i = 1; i < failures && ceiling < cap_ms; i++)
        ceiling *= 2;
    ceiling = min64(ceiling, cap_ms);
    return 1 + (int64_t)(random % (uint64_t)ceiling);
}

/* One row per class: how long nobody may try, when somebody waits and when nobody does. */
static const struct {
    int64_t urgent_base_ms, urgent_cap_ms, quiet_base_ms, quiet_cap_ms, quiet_least_ms;
} pauses[] = {
    [MSG_TRANSIENT] = { 200, 5 * SECOND, 5 * SECOND, 5 * MINUTE, 0 },
    [MSG_AMBIGUOUS] = { 200, 5 * SECOND, 5 * SECOND, 5 * MINUTE, 0 },
    [MSG_THROTTLE] = { 5 * SECOND, MINUTE, 5 * SECOND, 5 * MINUTE, SECOND },
    [MSG_CLOCK] = { 5 * SECOND, MINUTE, 10 * MINUTE, 10 * MINUTE, 5 * MINUTE },
    [MSG_CONFIG_ERROR] = { 10 * SECOND, MINUTE, 10 * MINUTE, 10 * MINUTE, 5 * MINUTE }, /* slow probe 5…15 min */
    [MSG_DEAD] = { MINUTE, MINUTE, 10 * MINUTE, 10 * MINUTE, SCHEDULE_DEAD_MS },
    [MSG_STORE] = { 200, 5 * SECOND, 5 * SECOND, MINUTE, 0 },
    [MSG_RECENT] = { 200, 5 * SECOND, 5 * SECOND, MINUTE, 0 },
    [MSG_UNKNOWN_CREDENTIAL] = { MINUTE, MINUTE, MINUTE, MINUTE, 0 },
};

void schedule_failed(struct schedule_tries *tries, enum msg_class failure, int64_t retry_after_ms, bool forced,
                     uint64_t random, int64_t now_ms)
{
    note_end(tries, forced, now_ms);
    if (!tries->failed || tries->failure != failure)
        tries->failures = 0;
    tries->failures += tries->failures < 64;
    tries->failed = true;
    tries->failure = failure;
    tries->urgent_ms =
        now_ms + backoff(pauses[failure].urgent_base_ms, pauses[failure].urgent_cap_ms, tries->failures, random);
    tries->quiet_ms =
        now_ms + pauses[failure].quiet_least_ms
        + backoff(pauses[failure].quiet_base_ms, pauses[failure].quiet_cap_ms, tries->failures, random >> 16);
    if (failure == MSG_DEAD) {
        tries->quiet_ms = retry_after_ms > 0 ? now_ms + retry_after_ms : tries->quiet_ms;
        tries->urgent_ms = tries->quiet_ms;
        return;
    }
    if (failure == MSG_THROTTLE && retry_after_ms > 0 && tries->failures == 1)
        tries->urgent_ms = 0; /* the server has said when; to one that goes on saying so we come less often */
    if (retry_after_ms > 0)
        schedule_hold(tries, now_ms + retry_after_ms);
}

void schedule_skipped(struct schedule_tries *tries, int64_t now_ms)
{
    tries->quiet_ms = max64(tries->quiet_ms, now_ms + SKIPPED_MS);
}

void schedule_unstick(struct schedule_tries *tries)
{
    tries->failures = 0;
    tries->failed = false;
    tries->urgent_ms = tries->quiet_ms = 0;
}

void schedule_hold(struct schedule_tries *tries, int64_t until_ms)
{
    tries->urgent_ms = max64(tries->urgent_ms, until_ms);
    tries->quiet_ms = max64(tries->quiet_ms, until_ms);
}

void schedule_throttled(struct schedule_tries *tries, int64_t until_ms)
{
    if (!tries->failed || tries->failure != MSG_THROTTLE)
        tries->failures = 0;
    tries->failed = true;
    tries->failure = MSG_THROTTLE;
    schedule_hold(tries, until_ms);
}

int64_t schedule_next_ms(const struct schedule_tries *tries, const struct schedule_times *t, bool has_token,
                         int64_t now_ms)
{
    int64_t due_ms = has_token && !(tries->failed && tries->failure == MSG_DEAD) ? t->advisory_ms : now_ms;
    if (due_ms == MSG_NEVER)
        return MSG_NEVER;
    return max64(max64(now_ms, tries->paced_ms), max64(due_ms, tries->quiet_ms));
}
