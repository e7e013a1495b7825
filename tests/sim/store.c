/* The store that all keepers share: generations, compare-and-swap, and one lease that runs out.   Each operation takes
 * effect at one moment and is answered at another; between the two (or before both) things go wrong. On one machine an
 * operation is the keeper's own doing, and its lease dies with it; elsewhere it happens even while the keeper is
 * stopped. */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

#define GENERATIONS 4096

enum call { BEGIN, RENEW, COMMIT, RELEASE, LOAD, MARK, THROTTLE };
static const char *const names[] = { "begin", "renew", "commit", "release", "load", "mark", "throttle" };

struct store_op {
    struct store_op *next;
    enum call call;
    int keeper;
    int64_t pid;
    struct store_owner owner;
    int64_t ttl_ms;
    uint64_t generation;
    struct mark {
        struct store_owner owner;
        uint64_t generation;
        char fp[9], tag[48], instead[48];
        int64_t end_ms;
    } mark;
    struct state state; /* COMMIT: the new one; then what the answer shows */
    struct store_answer answer;
    int64_t acted_ms; /* when it took effect */
    bool acted, cancelled;
    uint64_t event;
    store_fn *fn;
    void *arg;
};

struct lease {
    bool taken;
    struct store_owner owner;
    int keeper;
    int64_t pid, end_ms;
};

static struct {
    struct state stored;
    struct state older; /* what was stored before it */
    struct lease lease;
    struct lease shadow;              /* the judge's own book, kept from answers alone */
    struct mark mark;                 /* end_ms 0: none */
    int64_t throttle_end_ms;          /* of a pause that the server asked for */
    int64_t told_end_ms[SIM_KEEPERS]; /* … as each keeper has been told */
    struct store_op *ops;
    int64_t outage_end_ms;
    bool lapsed[GENERATIONS];
} cell;

static struct sim_store {
    struct store store;
    int keeper;
    struct state kept; /* the newest state that it has seen: on its disk */
} views[SIM_KEEPERS];

static bool same_owner(const struct store_owner *a, const struct store_owner *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static bool process_lives(const struct lease *l)
{
    const struct sim_keeper *k = &sim_keepers[l->keeper];
    return k->up && !k->dying && k->pid == l->pid;
}

static bool valid(const struct lease *l)
{
    return l->taken && sim_now_ms < l->end_ms && (!sim_plan.one_machine || process_lives(l));
}

static bool ours(const struct store_op *op)
{
    return valid(&cell.lease) && same_owner(&cell.lease.owner, &op->owner);
}

/* ---- P9: the judge's own book of the lease ---- */

static void judge_lease(const struct store_op *op, enum store_result result)
{
    struct lease *s = &cell.shadow;
    bool its = valid(s) && same_owner(&s->owner, &op->owner);
    if (op->call == BEGIN && result == STORE_WON) {
        if (valid(s) && !its)
            sim_break("P9: keeper %d won a lease that keeper %d holds", op->keeper, s->keeper);
        *s = (struct lease){ true, op->owner, op->keeper, op->pid, sim_now_ms + op->ttl_ms };
    } else if (op->call == RENEW && result == STORE_OK) {
        if (!its)
            sim_break("P9: keeper %d renewed a lease that is not its own", op->keeper);
        s->end_ms = sim_now_ms + op->ttl_ms;
    } else if (op->call == RELEASE || op->call == COMMIT) {
        if (valid(s) && !its && !valid(&cell.lease))
            sim_break("P9: keeper %d released the lease of keeper %d", op->keeper, s->keeper);
        if (its && !valid(&cell.lease))
            s->taken = false;
    }
}

/* ---- P8: a verdict only on the token that is stored and that the server does not take any more ---- */

static void judge_verdict(const struct store_op *op)
{
    if (!op->state.dead_fp[0] || strcmp(op->state.dead_fp, cell.stored.dead_fp) == 0)
        return;
    sim_counts[SIM_MARKED_DEAD]++;
    int stored = sim_token_number(&cell.stored.refresh_token);
    if (stored >= 0 && sim_server_takes(stored))
        sim_break("P8: keeper %d marked dead generation %d although rt-%d is good", op->keeper,
                  (int)cell.stored.generation, stored);
    if (op->generation != cell.stored.generation)
        sim_break("P8: keeper %d marked dead generation %d by a verdict on %d", op->keeper, (int)cell.stored.generation,
                  (int)op->generation);
}

/* ---- what each operation does, at one moment ---- */

static void look_at_throttle(struct store_op *op)
{
    op->answer.throttled_ms = cell.throttle_end_ms > sim_now_ms ? cell.throttle_end_ms - sim_now_ms : 0;
}

static enum store_result begin(struct store_op *op)
{
    bool lapsed = cell.lease.taken && !valid(&cell.lease) && sim_now_ms >= cell.lease.end_ms;
    if (state_copy(&op->state, &cell.stored) != 0)
        abort();
    if (cell.stored.generation > op->generation)
        return STORE_FRESH;
    if (valid(&cell.lease) && !ours(op)) {
        op->answer.ttl_ms = cell.lease.end_ms - sim_now_ms;
        return STORE_BUSY;
    }
    sim_counts[SIM_LAPSED] += lapsed;
    cell.lease = (struct lease){ true, op->owner, op->keeper, op->pid, sim_now_ms + op->ttl_ms };
    look_at_throttle(op);
    return STORE_WON;
}

static enum store_result renew(struct store_op *op)
{
    if (!ours(op))
        return STORE_LOST;
    cell.lease.end_ms = sim_now_ms + op->ttl_ms;
    return STORE_OK;
}

static void forget_mark(const struct store_op *op)
{
    if (same_owner(&cell.mark.owner, &op->owner))
        cell.mark.end_ms = 0;
}

static enum store_result release(struct store_op *op)
{
    forget_mark(op);
    if (!ours(op))
        return STORE_LOST;
    cell.lease.taken = false;
    return STORE_OK;
}

static enum store_result commit(struct store_op *op)
{
    if (cell.stored.generation != op->generation) {
        (void)release(op);
        sim_counts[SIM_STALE]++;
        if (state_copy(&op->state, &cell.stored) != 0)
            abort();
        return STORE_STALE;
    }
    judge_verdict(op);
    if (state_copy(&cell.older, &cell.stored) != 0)
        abort();
    if (state_copy(&cell.stored, &op->state) != 0)
        abort();
    op->answer.generation = cell.stored.generation = op->state.generation = op->generation + 1;
    (void)release(op);
    sim_keepers_changed();
    return STORE_OK;
}

static enum store_result load(struct store_op *op)
{
    look_at_throttle(op);
    if (state_copy(&op->state, &cell.stored) != 0)
        abort();
    return STORE_OK;
}

static enum store_result mark(struct store_op *op)
{
    const struct mark *m = &cell.mark;
    bool foreign = m->end_ms && m->generation == cell.stored.generation && strcmp(m->fp, op->mark.fp) == 0
                   && !same_owner(&m->owner, &op->owner) && strcmp(m->tag, op->mark.instead) != 0;
    if (cell.stored.generation == op->generation) {
        if (foreign && sim_now_ms < m->end_ms)
            return STORE_BUSY;
        if (foreign && op->generation < GENERATIONS)
            cell.lapsed[op->generation] = true;
        cell.mark = op->mark;
        cell.mark.owner = op->owner;
        cell.mark.generation = op->generation;
        cell.mark.end_ms += sim_now_ms;
    }
    return load(op);
}

static enum store_result throttle(struct store_op *op)
{
    if (cell.throttle_end_ms < sim_now_ms + op->ttl_ms)
        cell.throttle_end_ms = sim_now_ms + op->ttl_ms;
    return STORE_OK;
}

/* ---- an operation's life ---- */

static void op_free(struct store_op *op)
{
    struct store_op **at = &cell.ops;
    while (*at != op)
        at = &(*at)->next;
    *at = op->next;
    sim_forget(op->event);
    state_done(&op->state);
    free(op);
}

static void keep(const struct store_op *op)
{
    struct state *kept = &views[op->keeper].kept;
    if (op->answer.result != STORE_ERROR && op->state.generation > kept->generation
        && state_copy(kept, &op->state) != 0)
        abort();
}

static void answer(void *arg)
{
    struct store_op *op = arg;
    keep(op);
    struct store_answer a = op->answer;
    struct state shown = op->state;
    store_fn *fn = op->fn;
    void *to = op->arg;
    op->state = (struct state){ .generation = 0 };
    a.state = &shown;
    if (a.throttled_ms > 0)
        cell.told_end_ms[op->keeper] = op->acted_ms + a.throttled_ms;
    op_free(op);
    fn(to, &a);
    state_done(&shown);
}

/* As the store on Redis does (rule 5.8a). */
static void heal(const struct store_op *op)
{
    const struct state *kept = &views[op->keeper].kept;
    if (kept->generation <= cell.stored.generation || sim_plan.one_machine)
        return;
    sim_trace("store: keeper %d writes generation %d back", op->keeper, (int)kept->generation);
    sim_counts[SIM_HEALED]++;
    if (state_copy(&cell.stored, kept) != 0)
        abort();
}

static bool outage(void)
{
    return sim_now_ms < cell.outage_end_ms;
}

static void take_effect(void *arg)
{
    static enum store_result (*const run[])(
        struct store_op *) = { begin, renew, commit, release, load, mark, throttle };
    struct store_op *op = arg;
    bool fails = outage() || sim_fault(sim_plan.store_error);
    bool happens = !fails || (!outage() && !sim_plan.one_machine && sim_chance(500));
    int64_t late_ms = !sim_plan.one_machine && sim_fault(sim_plan.store_slow) ? sim_between(100, 15000)
                      : sim_plan.one_machine                                  ? 0
                                                                              : sim_between(0, 20);
    op->event = 0;
    op->acted = true;
    sim_counts[SIM_STORE_ERRORS] += fails;
    if (happens) {
        uint64_t parent = op->generation;
        heal(op);
        op->answer.result = run[op->call](op);
        judge_lease(op, op->answer.result);
        sim_trace("store: %s of keeper %d (generation %d): %d, stored %d", names[op->call], op->keeper, (int)parent,
                  (int)op->answer.result, (int)cell.stored.generation);
        if (op->call == COMMIT)
            sim_judge_durable();
    }
    if (op->cancelled) {
        op_free(op);
        return;
    }
    if (fails) {
        sim_trace("store: %s of keeper %d fails%s", names[op->call], op->keeper,
                  happens ? " after it took effect" : "");
        op->answer = (struct store_answer){ .result = STORE_ERROR, .error = "simulated" };
    }
    op->acted_ms = sim_now_ms;
    op->event = sim_after(late_ms, op->keeper, answer, op);
}

static struct store_op *ask(struct store *s, enum call call, const struct store_owner *owner, store_fn *fn, void *arg)
{
    struct store_op *op = calloc(1, sizeof *op);
    int keeper = ((struct sim_store *)s)->keeper;
    if (!op)
        abort();
    *op = (struct store_op){
        .next = cell.ops, .call = call, .keeper = keeper, .pid = sim_keepers[keeper].pid, .fn = fn, .arg = arg
    };
    cell.ops = op;
    state_init(&op->state);
    if (owner)
        op->owner = *owner;
    return op;
}

/* Under way: on one machine within the process, else on the net. */
static struct store_op *send_op(struct store_op *op)
{
    int64_t delay_ms = sim_fault(sim_plan.store_slow) ? sim_between(100, 12000) : sim_between(0, 20);
    bool write = op->call == COMMIT || op->call == RELEASE || op->call == MARK || op->call == THROTTLE;
    if (write ? sim_effect() : !sim_keepers[op->keeper].dying)
        op->event = sim_after(delay_ms, sim_plan.one_machine ? op->keeper : SIM_WORLD, take_effect, op);
    return op;
}

static struct store_op *op_begin(struct store *s, const char *cred, const struct store_owner *o, int64_t ttl_ms,
                                 uint64_t known, store_fn *fn, void *arg)
{
    struct store_op *op = ask(s, BEGIN, o, fn, arg);
    (void)cred;
    op->ttl_ms = ttl_ms;
    op->generation = known;
    return send_op(op);
}

static struct store_op *op_renew(struct store *s, const char *cred, const struct store_owner *o, int64_t ttl_ms,
                                 store_fn *fn, void *arg)
{
    struct store_op *op = ask(s, RENEW, o, fn, arg);
    (void)cred;
    op->ttl_ms = ttl_ms;
    return send_op(op);
}

static struct store_op *op_commit(struct store *s, const char *cred, const struct store_owner *o, uint64_t parent,
                                  const struct state *state, store_fn *fn, void *arg)
{
    struct store_op *op = ask(s, COMMIT, o, fn, arg);
    (void)cred;
    op->generation = parent;
    if (state_copy(&op->state, state) != 0)
        abort();
    return send_op(op);
}

static struct store_op *op_release(struct store *s, const char *cred, const struct store_owner *o, store_fn *fn,
                                   void *arg)
{
    (void)cred;
    return send_op(ask(s, RELEASE, o, fn, arg));
}

static struct store_op *op_load(struct store *s, const char *cred, store_fn *fn, void *arg)
{
    (void)cred;
    return send_op(ask(s, LOAD, NULL, fn, arg));
}

/* On one machine the journal has the intents. */
static struct store_op *op_mark(struct store *s, const char *cred, const struct store_owner *o, uint64_t parent,
                                const struct store_intent *intent, store_fn *fn, void *arg)
{
    (void)cred;
    struct store_op *op = ask(s, sim_plan.one_machine ? LOAD : MARK, o, fn, arg);
    op->generation = parent;
    op->mark.end_ms = intent->hold_ms;
    snprintf(op->mark.fp, sizeof op->mark.fp, "%s", intent->refresh_fp);
    snprintf(op->mark.tag, sizeof op->mark.tag, "%s", intent->tag);
    snprintf(op->mark.instead, sizeof op->mark.instead, "%s", intent->instead ? intent->instead : "");
    return send_op(op);
}

static struct store_op *op_throttle(struct store *s, const char *cred, int64_t pause_ms, store_fn *fn, void *arg)
{
    (void)cred;
    struct store_op *op = ask(s, THROTTLE, NULL, fn, arg);
    op->ttl_ms = pause_ms;
    return send_op(op);
}

static void op_watch(struct store *s, store_change_fn *fn, void *arg)
{
    (void)s, (void)fn, (void)arg;
}

/* What is on the net already may take effect all the same. */
static void op_cancel(struct store_op *op)
{
    if (!op->event || op->acted || sim_plan.one_machine)
        op_free(op);
    else {
        op->cancelled = true;
        op->fn = NULL;
    }
}

static bool op_up(const struct store *s)
{
    (void)s;
    return !outage();
}

static void op_free_store(struct store *s)
{
    (void)s;
}

static const struct store_engine engine = { "sim",   op_begin, op_renew,     op_commit, op_release,
                                            op_load, op_mark,  op_throttle,  op_watch,  op_cancel,
                                            op_up,   NULL,     op_free_store };

/* ---- for the others ---- */

void sim_store_reset(void)
{
    while (cell.ops)
        op_free(cell.ops);
    state_done(&cell.stored);
    state_done(&cell.older);
    for (int i = 0; i < SIM_KEEPERS; i++)
        state_done(&views[i].kept);
    memset(&cell, 0, sizeof cell);
    state_init(&cell.stored);
    state_init(&cell.older);
    for (int i = 0; i < SIM_KEEPERS; i++) {
        views[i] = (struct sim_store){ .store = { &engine }, .keeper = i };
        state_init(&views[i].kept);
    }
}

struct store *sim_store_of(int keeper)
{
    cell.told_end_ms[keeper] = 0; /* a new life */
    return &views[keeper].store;
}

void sim_store_outage(int64_t ms)
{
    sim_trace("store down for %d ms", (int)ms);
    cell.outage_end_ms = sim_now_ms + ms;
}

const struct state *sim_stored(void)
{
    return &cell.stored;
}

void sim_store_roll_back(void)
{
    for (int i = 0; i < sim_plan.keepers; i++)
        if (views[i].kept.generation != cell.stored.generation)
            return;
    if (sim_plan.one_machine || cell.stored.generation < 2)
        return;
    sim_trace("store: generation %d is written back over %d", (int)cell.older.generation, (int)cell.stored.generation);
    sim_counts[SIM_ROLLED_BACK]++;
    if (state_copy(&cell.stored, &cell.older) != 0)
        abort();
}

bool sim_kept(int refresh)
{
    bool found = false;
    for (int i = 0; i < sim_plan.keepers; i++)
        found = found || sim_token_number(&views[i].kept.refresh_token) == refresh
                || sim_token_number(&views[i].kept.alt_refresh) == refresh;
    return found;
}

bool sim_holds_lease(int keeper)
{
    return valid(&cell.lease) && cell.lease.keeper == keeper && cell.lease.pid == sim_keepers[keeper].pid;
}

bool sim_told_to_wait(int keeper)
{
    return sim_now_ms < cell.told_end_ms[keeper];
}

bool sim_lapsed(uint64_t generation)
{
    return generation < GENERATIONS && cell.lapsed[generation];
}
