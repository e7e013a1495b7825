#include "refresh/flight/secret_load.h"

static void on_output(void *arg, const struct fetch_answer *a)
{
    struct secret_load_one *one = arg;
    struct secret_load *g = one->all;
    struct err e;
    int failed = 0;
    one->command = NULL;
    g->running--;
    if (a->status)
        failed = secret_ref_take(one->ref, a->body, &one->secret, &e);
    else
        failed = err_set(&e, "cannot read the secret from command %s", a->error);
    if (failed)
        secret_load_stop(g);
    if (g->running == 0) /* the owner may go with this call */
        g->fn(g->arg, failed ? e.text : NULL);
}

static int start_one(struct secret_load_one *one, struct err *e)
{
    if (one->ref->kind == SECRET_REF_NONE)
        return 0;
    if (one->ref->kind != SECRET_REF_COMMAND)
        return secret_ref_read(one->ref, &one->secret, e);
    one->command = command_start(one->ref->argv, SECRET_REF_COMMAND_MS, on_output, one, e);
    one->all->running += one->command != NULL;
    return one->command ? 0 : err_wrap(e, "cannot read the secret: ");
}

enum secret_load_result secret_load_start(struct secret_load *g, const struct secret_ref *const *refs, size_t count,
                                          secret_load_fn *fn, void *arg, struct err *e)
{
    secret_load_stop(g);
    g->fn = fn;
    g->arg = arg;
    g->count = count;
    for (size_t i = 0; i < count; i++) {
        g->ones[i] = (struct secret_load_one){ .all = g, .ref = refs[i] };
        if (start_one(&g->ones[i], e) != 0) {
            secret_load_stop(g);
            return SECRET_LOAD_FAILED;
        }
    }
    return g->running ? SECRET_LOAD_RUNNING : SECRET_LOAD_THERE;
}

struct slice secret_load_secret(const struct secret_load *g, size_t i)
{
    return i < g->count ? secret_peek(&g->ones[i].secret) : SLICE("");
}

void secret_load_stop(struct secret_load *g)
{
    for (size_t i = 0; i < g->count; i++) {
        command_cancel(g->ones[i].command);
        g->ones[i].command = NULL;
        secret_done(&g->ones[i].secret);
    }
    g->count = g->running = 0;
}
