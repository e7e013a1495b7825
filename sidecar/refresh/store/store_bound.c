#include "refresh/store/store_bound.h"

#include "base/hash.h"
#include "base/list.h"
#include "refresh/store/binding.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define AGAIN_MAX 8 /* another binding has committed in between so often in a row */

enum kind { BEGIN, RENEW, COMMIT, RELEASE, LOAD, MARK, THROTTLE };

struct line { /* what is known of one credential with a binding */
    char *binding;
    uint64_t stored, own; /* generations: of the whole document as it was read last, and of our line in it */
    json_t *others;       /* the other lines of that document; NULL: none */
};

struct store_bound {
    struct store base;
    struct store_engine engine;
    struct store *inner;
    struct hash *lines; /* credential to struct line */
    struct list ops;
};

struct store_op {
    struct list node;
    struct store_bound *store;
    struct store_op *inner; /* NULL: not asked */
    struct line *line;      /* NULL: no binding */
    enum kind kind;
    char *cred;
    struct store_owner owner;
    uint64_t generation; /* BEGIN: known; COMMIT, MARK: parent; our line's */
    uint64_t asked;      /* the same as it was asked for: the document's */
    int64_t ms;          /* BEGIN, RENEW: of the lease; THROTTLE: of the pause */
    struct state state;  /* COMMIT: a copy */
    struct store_intent_copy intent;
    unsigned again;
    store_fn *fn;
    void *arg;
};

static void op_free(struct store_op *op)
{
    list_remove(&op->node);
    state_done(&op->state);
    free(op->cred);
    free(op);
}

/* ---- generations: our line's to the document's ---- */

static uint64_t document_generation(const struct store_op *op)
{
    const struct line *line = op->line;
    if (!line)
        return op->generation;
    if (op->kind == BEGIN) /* nothing is newer than what we know as long as only others commit */
        return op->generation >= line->own && op->generation < line->stored ? line->stored : op->generation;
    return op->generation == line->own ? line->stored : op->generation;
}

/* ---- asking the engine ---- */

static void on_answer(void *arg, const struct store_answer *answer);

static struct store_op *commit(struct store_op *op)
{
    struct state doc;
    struct store *s = op->store->inner;
    if (!op->line)
        return store_commit(s, op->cred, &op->owner, op->asked, &op->state, on_answer, op);
    state_init(&doc);
    struct store_op *inner = NULL;
    if (state_copy(&doc, &op->state) == 0 && binding_join(&doc, op->line->binding, op->line->others) == 0)
        inner = store_commit(s, op->cred, &op->owner, op->asked, &doc, on_answer, op);
    state_done(&doc);
    return inner;
}

/* NULL: out of memory. */
static struct store_op *ask(struct store_op *op)
{
    struct store *s = op->store->inner;
    const struct store_intent intent = { op->intent.fp, op->intent.tag,
                                         op->intent.instead[0] ? op->intent.instead : NULL, op->intent.hold_ms };
    op->asked = document_generation(op);
    switch (op->kind) {
    case BEGIN: return store_begin(s, op->cred, &op->owner, op->ms, op->asked, on_answer, op);
    case RENEW: return store_renew(s, op->cred, &op->owner, op->ms, on_answer, op);
    case COMMIT: return commit(op);
    case RELEASE: return store_release(s, op->cred, &op->owner, on_answer, op);
    case LOAD: return store_load(s, op->cred, on_answer, op);
    case MARK: return store_mark(s, op->cred, &op->owner, op->asked, &intent, on_answer, op);
    case THROTTLE: return store_throttle(s, op->cred, op->ms, on_answer, op);
    }
    return NULL;
}

/* ---- answers ---- */

/* What the document holds for us, into *view.  0; -errno. */
static int look(struct line *line, const struct state *doc, struct state *view)
{
    int failed = state_copy(view, doc);
    uint64_t stored = doc->generation;
    if (failed == 0)
        failed = binding_split(view, line->binding, &line->others);
    if (failed == 0) {
        line->stored = stored;
        line->own = view->generation;
    }
    return failed;
}

/* Only another binding has written since: what was asked for still stands, on another document. */
static bool only_others_wrote(const struct store_op *op, enum store_result result)
{
    const struct line *line = op->line;
    switch (op->kind) {
    case BEGIN: return result == STORE_FRESH && line->own <= op->generation && line->stored > op->asked;
    case COMMIT: return result == STORE_STALE && line->own == op->generation && line->stored != op->asked;
    case MARK: return result == STORE_OK && line->own == op->generation && line->stored != op->asked;
    default: return false;
    }
}

static void tell(struct store_op *op, const struct store_answer *answer)
{
    store_fn *fn = op->fn;
    void *arg = op->arg;
    op_free(op);
    fn(arg, answer);
}

static void on_answer(void *arg, const struct store_answer *answer)
{
    struct store_op *op = arg;
    struct store_answer out = *answer;
    struct state view;
    op->inner = NULL;
    state_init(&view);
    if (op->line && op->kind == COMMIT && answer->result == STORE_OK)
        op->line->stored = op->line->own = answer->generation;
    int failed = op->line && answer->state ? look(op->line, answer->state, &view) : 0;
    if (op->line && answer->state)
        out.state = &view;
    if (failed)
        out =
            (struct store_answer){ .result = STORE_ERROR,
                                   .error = failed == -ENOMEM ? "out of memory"
                                                              : "the stored state of this token_url and client_id "
                                                                "cannot be read: a newer sidekey may have written it" };
    bool again = !failed && op->line && answer->state && only_others_wrote(op, answer->result);
    if (again && op->again++ < AGAIN_MAX && (op->inner = ask(op))) {
        state_done(&view);
        return;
    }
    tell(op, &out);
    state_done(&view);
}

/* ---- the engine ---- */

static struct store_op *new_op(struct store *s, enum kind kind, const char *cred, const struct store_owner *owner,
                               store_fn *fn, void *arg)
{
    struct store_bound *b = CONTAINER_OF(s, struct store_bound, base);
    struct store_op *op = calloc(1, sizeof *op);
    if (!op)
        return NULL;
    list_init(&op->node);
    state_init(&op->state);
    if (!(op->cred = strdup(cred))) {
        op_free(op);
        return NULL;
    }
    op->store = b;
    op->line = hash_get(b->lines, slice_str(cred));
    op->kind = kind;
    op->fn = fn;
    op->arg = arg;
    if (owner)
        op->owner = *owner;
    list_push(&b->ops, &op->node);
    return op;
}

static struct store_op *start(struct store_op *op)
{
    if (op && !(op->inner = ask(op))) {
        op_free(op);
        return NULL;
    }
    return op;
}

static struct store_op *bound_begin(struct store *s, const char *cred, const struct store_owner *owner, int64_t ttl_ms,
                                    uint64_t known_gen, store_fn *fn, void *arg)
{
    struct store_op *op = new_op(s, BEGIN, cred, owner, fn, arg);
    if (op) {
        op->ms = ttl_ms;
        op->generation = known_gen;
    }
    return start(op);
}

static struct store_op *bound_renew(struct store *s, const char *cred, const struct store_owner *owner, int64_t ttl_ms,
                                    store_fn *fn, void *arg)
{
    struct store_op *op = new_op(s, RENEW, cred, owner, fn, arg);
    if (op)
        op->ms = ttl_ms;
    return start(op);
}

static struct store_op *bound_commit(struct store *s, const char *cred, const struct store_owner *owner,
                                     uint64_t parent_gen, const struct state *state, store_fn *fn, void *arg)
{
    struct store_op *op = new_op(s, COMMIT, cred, owner, fn, arg);
    if (op && state_copy(&op->state, state) != 0) {
        op_free(op);
        return NULL;
    }
    if (op)
        op->generation = parent_gen;
    return start(op);
}

static struct store_op *bound_release(struct store *s, const char *cred, const struct store_owner *owner, store_fn *fn,
                                      void *arg)
{
    return start(new_op(s, RELEASE, cred, owner, fn, arg));
}

static struct store_op *bound_load(struct store *s, const char *cred, store_fn *fn, void *arg)
{
    return start(new_op(s, LOAD, cred, NULL, fn, arg));
}

static struct store_op *bound_mark(struct store *s, const char *cred, const struct store_owner *owner,
                                   uint64_t parent_gen, const struct store_intent *intent, store_fn *fn, void *arg)
{
    struct store_op *op = new_op(s, MARK, cred, owner, fn, arg);
    if (op) {
        op->generation = parent_gen;
        store_intent_copy(&op->intent, intent);
    }
    return start(op);
}

static struct store_op *bound_throttle(struct store *s, const char *cred, int64_t pause_ms, store_fn *fn, void *arg)
{
    struct store_op *op = new_op(s, THROTTLE, cred, NULL, fn, arg);
    if (op)
        op->ms = pause_ms;
    return start(op);
}

static void bound_watch(struct store *s, store_change_fn *fn, void *arg)
{
    struct store *inner = CONTAINER_OF(s, struct store_bound, base)->inner;
    inner->engine->watch(inner, fn, arg);
}

static void bound_cancel(struct store_op *op)
{
    store_cancel(op->store->inner, op->inner);
    op_free(op);
}

static bool bound_up(const struct store *s)
{
    const struct store *inner = ((const struct store_bound *)s)->inner;
    return inner->engine->up(inner);
}

static int bound_again(struct store *s, struct err *e)
{
    struct store *inner = CONTAINER_OF(s, struct store_bound, base)->inner;
    return inner->engine->again(inner, e);
}

static void free_line(void *arg, struct slice cred, void *value)
{
    struct line *line = value;
    (void)arg, (void)cred;
    json_decref(line->others);
    free(line->binding);
    free(line);
}

static void bound_done(struct store_bound *b)
{
    while (!list_empty(&b->ops))
        op_free(LIST_ENTRY(b->ops.next, struct store_op, node));
    if (b->lines)
        hash_each(b->lines, free_line, NULL);
    hash_free(b->lines);
    free(b);
}

static void bound_free(struct store *s)
{
    struct store_bound *b = CONTAINER_OF(s, struct store_bound, base);
    store_free(b->inner);
    bound_done(b);
}

static int add_line(struct store_bound *b, const struct store_bound_row *row)
{
    struct line *line = calloc(1, sizeof *line);
    if (line && (line->binding = strdup(row->binding)) && hash_put(b->lines, slice_str(row->credential), line) == 0)
        return 0;
    if (line)
        free(line->binding);
    free(line);
    return -1;
}

struct store *store_bound_new(struct store *inner, const struct store_bound_row *rows, size_t count)
{
    struct store_bound *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    list_init(&b->ops);
    bool failed = !(b->lines = hash_new());
    for (size_t i = 0; i < count && !failed; i++)
        failed = rows[i].binding && add_line(b, &rows[i]) != 0;
    if (failed) {
        bound_done(b);
        return NULL;
    }
    b->inner = inner;
    b->engine = (struct store_engine){
        .name = inner->engine->name,
        .begin = bound_begin,
        .renew = bound_renew,
        .commit = bound_commit,
        .release = bound_release,
        .load = bound_load,
        .mark = inner->engine->mark ? bound_mark : NULL,
        .throttle = bound_throttle,
        .watch = bound_watch,
        .cancel = bound_cancel,
        .up = bound_up,
        .again = inner->engine->again ? bound_again : NULL,
        .free = bound_free,
    };
    b->base.engine = &b->engine;
    return &b->base;
}
