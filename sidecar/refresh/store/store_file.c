#include "refresh/store/store_file.h"

#include "base/clock.h"
#include "base/rand.h"
#include "net/loop.h"
#include "net/timer.h"
#include "refresh/store/lease_file.h"
#include "refresh/store/state_copies.h"
#include "refresh/store/state_file.h"
#include "refresh/store/state_watch.h"
#include "refresh/store/throttle_file.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define SECTION_WAIT_MS 5000 /* others are inside for one fsync each; longer: one of them was stopped in there */
#define SECTION_AGAIN_MS 10  /* at most this until the next try to get in */

enum kind { BEGIN, RENEW, COMMIT, RELEASE, LOAD, THROTTLE };

struct store_file {
    struct store base;
    struct state_dir dir;
    const struct seal_ring *ring;
    struct list ops;    /* asked and not answered */
    struct list leases; /* struct held */
    struct state_watch *watch;
    store_change_fn *change; /* who watches */
    void *change_arg;
    struct state_copies *copies;
    bool up;        /* the last operation met no error */
    bool unwritten; /* the last commit or note met one, though what only reads may get its answer */
};

/* A lease of ours: it lives as long as its descriptor is open. */
struct held {
    struct list node;
    char cred[STATE_DIR_NAME_MAX + 1];
    struct store_owner owner;
    int fd;
};

struct store_op {
    struct list node;
    struct store_file *store;
    enum kind kind;
    char cred[STATE_DIR_NAME_MAX + 1]; /* "": what was given is no name */
    struct store_owner owner;
    int64_t ttl_ms;      /* BEGIN, RENEW: of the lease; THROTTLE: of the pause */
    uint64_t generation; /* BEGIN: known; COMMIT: parent */
    struct state state;  /* COMMIT: a copy */
    struct later later;
    struct timer again;
    int64_t deadline_ms;
    store_fn *fn;
    void *arg;
};

/* What an operation came to; the answer points into it. */
struct outcome {
    struct store_answer answer;
    struct state state;
    struct err err;
};

/* ---- leases of ours ---- */

static void held_free(struct held *held)
{
    list_remove(&held->node);
    close(held->fd);
    free(held);
}

/* owner NULL: whosever. */
static void forget_held(struct store_file *f, const char *cred, const struct store_owner *owner)
{
    for (struct list *node = f->leases.next, *next; node != &f->leases; node = next) {
        struct held *held = LIST_ENTRY(node, struct held, node);
        next = node->next;
        if (strcmp(held->cred, cred) == 0 && (!owner || memcmp(&held->owner, owner, sizeof *owner) == 0))
            held_free(held);
    }
}

/* ---- the operations: section is the open lock file, entered ---- */

static void fail(struct outcome *out, const struct store_op *op, const char *what, int failed)
{
    out->answer.result = STORE_ERROR;
    err_set(&out->err, "cannot %s %s/%s.lock: %s", what, op->store->dir.path, op->cred, strerror(-failed));
}

/* Into out->state.  False: out says why. */
static bool read_stored(const struct store_op *op, struct outcome *out)
{
    out->answer.result = STORE_ERROR;
    out->answer.state = &out->state;
    if (state_file_read(&op->store->dir, op->store->ring, op->cred, &out->state, &out->err) != 0)
        return false;
    state_copies_take(op->store->copies, &op->store->dir, op->cred, out->state.generation);
    return true;
}

static int take_lease(struct store_op *op, int *section)
{
    struct held *held = calloc(1, sizeof *held);
    if (!held)
        return -ENOMEM;
    forget_held(op->store, op->cred, NULL); /* lapsed, or this owner's from an earlier begin */
    int failed = lease_file_take(*section, &op->owner, op->ttl_ms);
    if (failed) {
        free(held);
        return failed;
    }
    lease_file_leave(*section);
    memcpy(held->cred, op->cred, sizeof held->cred);
    held->owner = op->owner;
    held->fd = *section;
    list_push(&op->store->leases, &held->node);
    *section = -1;
    return 0;
}

static void run_begin(struct store_op *op, int *section, struct outcome *out)
{
    struct lease_file lease;
    int failed;
    if (!read_stored(op, out))
        return;
    if (out->state.generation > op->generation) {
        out->answer.result = STORE_FRESH;
    } else if ((failed = lease_file_look(*section, &lease)) != 0) {
        fail(out, op, "read the lease", failed);
    } else if (lease.left_ms > 0 && !lease_file_is(&lease, &op->owner)) {
        out->answer.result = STORE_BUSY;
        out->answer.ttl_ms = lease.left_ms;
    } else if ((failed = take_lease(op, section)) != 0) {
        fail(out, op, "take the lease", failed);
    } else {
        out->answer.result = STORE_WON;
        out->answer.throttled_ms = throttle_file_left_ms(&op->store->dir, op->cred);
    }
}

static void run_renew(struct store_op *op, int *section, struct outcome *out)
{
    struct lease_file lease;
    int failed = lease_file_look(*section, &lease);
    bool ours = failed == 0 && lease_file_is(&lease, &op->owner);
    if (ours)
        failed = lease_file_extend(*section, &op->owner, op->ttl_ms);
    if (failed) {
        fail(out, op, "renew the lease", failed);
        return;
    }
    out->answer.result = ours ? STORE_OK : STORE_LOST;
    if (!ours)
        forget_held(op->store, op->cred, &op->owner);
}

static void run_release(struct store_op *op, int *section, struct outcome *out)
{
    struct lease_file lease;
    int failed = lease_file_look(*section, &lease);
    bool ours = failed == 0 && lease_file_is(&lease, &op->owner);
    if (ours)
        failed = lease_file_drop(*section);
    forget_held(op->store, op->cred, &op->owner); /* frees it even when the line could not be written */
    if (failed)
        fail(out, op, "release the lease", failed);
    else
        out->answer.result = ours ? STORE_OK : STORE_LOST;
}

static void run_commit(struct store_op *op, int *section, struct outcome *out)
{
    struct store_file *f = op->store;
    struct outcome released = { 0 };
    uint64_t stored;
    out->answer.result = STORE_ERROR;
    if (state_file_generation(&f->dir, op->cred, &stored, &out->err) != 0)
        return;
    if (stored == op->generation) {
        if (state_file_write(&f->dir, f->ring, op->cred, stored + 1, &op->state, &out->err) != 0)
            return; /* the lease stays: the caller will try again */
        state_copies_take(f->copies, &f->dir, op->cred, stored + 1);
        out->answer.generation = stored + 1;
        out->answer.result = STORE_OK;
    } else if (read_stored(op, out)) {
        out->answer.result = STORE_STALE;
    }
    run_release(op, section, &released); /* what comes of it changes nothing: a lease ends by itself */
}

static void run_load(struct store_op *op, int *section, struct outcome *out)
{
    (void)section;
    if (!read_stored(op, out))
        return;
    out->answer.result = STORE_OK;
    out->answer.throttled_ms = throttle_file_left_ms(&op->store->dir, op->cred);
}

static void run_throttle(struct store_op *op, int *section, struct outcome *out)
{
    (void)section;
    int failed = throttle_file_set(&op->store->dir, op->cred, op->ttl_ms);
    out->answer.result = failed ? STORE_ERROR : STORE_OK;
    if (failed)
        err_set(&out->err, "cannot write %s/%s.throttle: %s", op->store->dir.path, op->cred, strerror(-failed));
}

static const struct {
    bool section; /* must be inside */
    void (*run)(struct store_op *, int *section, struct outcome *);
} kinds[] = {
    [BEGIN] = { true, run_begin },     [RENEW] = { true, run_renew }, [COMMIT] = { true, run_commit },
    [RELEASE] = { true, run_release }, [LOAD] = { false, run_load },  [THROTTLE] = { true, run_throttle },
};

/* ---- an operation's life: asked → (waits for the section) → answered ---- */

static void op_free(struct store_op *op)
{
    list_remove(&op->node);
    loop_later_cancel(&op->later);
    timer_stop(&op->again);
    state_done(&op->state);
    free(op);
}

/* Nothing of the store is touched after the callback: it may free it. */
static void answer(struct store_op *op, struct outcome *out)
{
    store_fn *fn = op->fn;
    void *arg = op->arg;
    op->store->up = out->answer.result != STORE_ERROR;
    if (op->kind == COMMIT || op->kind == THROTTLE)
        op->store->unwritten = !op->store->up;
    if (out->answer.result == STORE_ERROR)
        out->answer = (struct store_answer){ .result = STORE_ERROR, .error = out->err.text };
    op_free(op);
    fn(arg, &out->answer);
    state_done(&out->state);
}

static void wait_for_section(struct store_op *op)
{
    timer_set(&op->again, 1 + (int64_t)rand_below(SECTION_AGAIN_MS));
}

static void attempt(struct store_op *op)
{
    struct outcome out = { 0 };
    int section = -1;
    if (op->cred[0] == '\0') {
        out.answer.result = STORE_ERROR;
        err_set(&out.err, "not the name of a credential ([a-z0-9._-]{1,%d})", STATE_DIR_NAME_MAX);
        answer(op, &out);
        return;
    }
    if (kinds[op->kind].section)
        section = lease_file_enter(&op->store->dir, op->cred);
    if (section == -EAGAIN && clock_mono_ms() < op->deadline_ms) {
        wait_for_section(op);
        return;
    }
    if (section == -EAGAIN) {
        out.answer.result = STORE_ERROR;
        err_set(&out.err,
                "%s/%s.lock has been in use for %d ms: is another sidekey stopped (SIGSTOP, a debugger, a frozen "
                "container)?",
                op->store->dir.path, op->cred, SECTION_WAIT_MS);
    } else if (section < 0 && kinds[op->kind].section) {
        fail(&out, op, "open", section);
    } else {
        kinds[op->kind].run(op, &section, &out);
    }
    if (section >= 0)
        close(section);
    answer(op, &out);
}

static void on_later(struct later *later)
{
    attempt(LIST_ENTRY(later, struct store_op, later));
}

static void on_again(void *arg)
{
    attempt(arg);
}

static struct store_op *ask(struct store *s, enum kind kind, const char *cred, const struct store_owner *owner,
                            store_fn *fn, void *arg)
{
    struct store_file *f = CONTAINER_OF(s, struct store_file, base);
    struct store_op *op = calloc(1, sizeof *op);
    if (!op)
        return NULL;
    op->store = f;
    op->kind = kind;
    op->fn = fn;
    op->arg = arg;
    op->deadline_ms = clock_mono_ms() + SECTION_WAIT_MS;
    if (owner)
        op->owner = *owner;
    if (state_dir_is_name(cred))
        memcpy(op->cred, cred, strlen(cred));
    state_init(&op->state);
    list_push(&f->ops, &op->node);
    timer_init(&op->again, on_again, op);
    loop_later_init(&op->later, on_later);
    loop_later_ask(&op->later);
    return op;
}

/* ---- the engine ---- */

static struct store_op *file_begin(struct store *s, const char *cred, const struct store_owner *owner, int64_t ttl_ms,
                                   uint64_t known_gen, store_fn *fn, void *arg)
{
    struct store_op *op = ask(s, BEGIN, cred, owner, fn, arg);
    if (op) {
        op->ttl_ms = ttl_ms;
        op->generation = known_gen;
    }
    return op;
}

static struct store_op *file_renew(struct store *s, const char *cred, const struct store_owner *owner, int64_t ttl_ms,
                                   store_fn *fn, void *arg)
{
    struct store_op *op = ask(s, RENEW, cred, owner, fn, arg);
    if (op)
        op->ttl_ms = ttl_ms;
    return op;
}

static struct store_op *file_commit(struct store *s, const char *cred, const struct store_owner *owner,
                                    uint64_t parent_gen, const struct state *state, store_fn *fn, void *arg)
{
    struct store_op *op = ask(s, COMMIT, cred, owner, fn, arg);
    if (!op)
        return NULL;
    op->generation = parent_gen;
    if (state_copy(&op->state, state) != 0) {
        op_free(op);
        return NULL;
    }
    return op;
}

static struct store_op *file_release(struct store *s, const char *cred, const struct store_owner *owner, store_fn *fn,
                                     void *arg)
{
    return ask(s, RELEASE, cred, owner, fn, arg);
}

static struct store_op *file_load(struct store *s, const char *cred, store_fn *fn, void *arg)
{
    return ask(s, LOAD, cred, NULL, fn, arg);
}

static struct store_op *file_throttle(struct store *s, const char *cred, int64_t pause_ms, store_fn *fn, void *arg)
{
    struct store_op *op = ask(s, THROTTLE, cred, NULL, fn, arg);
    if (op)
        op->ttl_ms = pause_ms;
    return op;
}

static void file_watch(struct store *s, store_change_fn *fn, void *arg)
{
    struct store_file *f = CONTAINER_OF(s, struct store_file, base);
    state_watch_free(f->watch);
    f->change = fn;
    f->change_arg = arg;
    f->watch = fn ? state_watch_new(&f->dir, fn, arg) : NULL;
}

static int file_again(struct store *s, struct err *e)
{
    struct store_file *f = CONTAINER_OF(s, struct store_file, base);
    int again = state_dir_again(&f->dir, e);
    if (again <= 0)
        return again;
    int failed = state_copies_write(f->copies, &f->dir, e);
    file_watch(s, f->change, f->change_arg); /* the kernel's watch was of the old directory */
    return failed ? -1 : 1;
}

static bool file_up(const struct store *s)
{
    const struct store_file *f = (const struct store_file *)s;
    return f->up && (!f->unwritten || state_dir_writable(&f->dir));
}

static void file_free(struct store *s)
{
    struct store_file *f = CONTAINER_OF(s, struct store_file, base);
    while (!list_empty(&f->ops))
        op_free(LIST_ENTRY(f->ops.next, struct store_op, node));
    while (!list_empty(&f->leases))
        held_free(LIST_ENTRY(f->leases.next, struct held, node));
    state_watch_free(f->watch);
    state_copies_free(f->copies);
    state_dir_close(&f->dir);
    free(f);
}

static const struct store_engine engine = {
    .name = "file",
    .begin = file_begin,
    .renew = file_renew,
    .commit = file_commit,
    .release = file_release,
    .load = file_load,
    .throttle = file_throttle,
    .watch = file_watch,
    .cancel = op_free,
    .up = file_up,
    .again = file_again,
    .free = file_free,
};

struct store *store_file_new(const char *dir, const struct seal_ring *ring, struct err *e)
{
    struct store_file *f = calloc(1, sizeof *f);
    if (!f) {
        err_set(e, "%s: out of memory", dir);
        return NULL;
    }
    f->base.engine = &engine;
    f->ring = ring;
    f->up = true;
    list_init(&f->ops);
    list_init(&f->leases);
    if (!(f->copies = state_copies_new()))
        err_set(e, "%s: out of memory", dir);
    if (!f->copies || state_dir_open(&f->dir, dir, e) != 0) {
        state_copies_free(f->copies);
        free(f);
        return NULL;
    }
    return &f->base;
}

int store_file_check(const struct store *s, const struct seal_ring *ring, const char *cred, struct err *e)
{
    struct state state;
    state_init(&state);
    int failed = state_file_read(&((const struct store_file *)s)->dir, ring, cred, &state, e);
    state_done(&state);
    return failed;
}
