/* What is stored: read before anybody is asked, committed under a lease afterwards. */
#include "refresh/login/login_private.h"

#include "base/clock.h"
#include "base/rand.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define LEASE_MS 60000
#define BUSY_MS 200 /* another holder is asked again after this */
#define ERROR_MS 1000
#define ERRORS_MAX_MS 120000 /* a store in trouble is waited for so long: what is to be stored cannot be had again */

/* One operation's answer, waited for. */
struct asked {
    struct login *login;
    enum store_result result;
    uint64_t generation;
    bool done, failed;
    char error[200];
};

static void on_answer(void *arg, const struct store_answer *answer)
{
    struct asked *a = arg;
    a->done = true;
    a->result = answer->result;
    a->generation = answer->generation;
    snprintf(a->error, sizeof a->error, "%s", answer->error ? answer->error : "unknown error");
    a->failed = answer->state && state_copy(&a->login->state, answer->state) != 0;
}

static enum store_result wait_for(struct asked *a, struct store_op *op)
{
    if (!op) {
        snprintf(a->error, sizeof a->error, "out of memory");
        return STORE_ERROR;
    }
    login_wait(&a->done);
    return a->failed ? STORE_ERROR : a->result;
}

int login_load(struct login *l, struct err *e)
{
    struct asked a = { .login = l };
    if (wait_for(&a, store_load(l->stores.store, l->spec->name, on_answer, &a)) == STORE_OK)
        return 0;
    err_set(e, "cannot read what is stored: %s", a.error);
    return EX_UNAVAILABLE;
}

int login_become_owner(const char *state_dir, struct err *e)
{
    struct stat st;
    if (geteuid() != 0 || stat(state_dir, &st) != 0 || st.st_uid == 0)
        return 0;
    if (setgroups(0, NULL) == 0 && setresgid(st.st_gid, st.st_gid, st.st_gid) == 0
        && setresuid(st.st_uid, st.st_uid, st.st_uid) == 0)
        return 0;
    err_set(e, "cannot become the owner of %s: %s", state_dir, strerror(errno));
    return EX_NOPERM;
}

/* ---- commit ---- */

struct committing {
    struct login *login;
    struct store_owner owner;
    int64_t lease_ms, busy_until_ms, error_until_ms;
    login_make_fn *make;
    void *arg;
    char error[200];
};

/* STORE_OK: the lease is ours, and l->state is what is stored. */
static enum store_result take_lease(struct committing *c)
{
    struct login *l = c->login;
    struct asked a = { .login = l };
    enum store_result result = wait_for(
        &a, store_begin(l->stores.store, l->spec->name, &c->owner, c->lease_ms, l->state.generation, on_answer, &a));
    snprintf(c->error, sizeof c->error, "%s", a.error);
    return result == STORE_WON ? STORE_OK : result;
}

static enum store_result commit_once(struct committing *c, uint64_t *ret_generation)
{
    struct login *l = c->login;
    struct asked a = { .login = l };
    struct state next;
    uint64_t parent = l->state.generation;
    state_init(&next);
    int failed = c->make(l, &l->state, c->arg, &next);
    struct store_op *op =
        failed ? NULL : store_commit(l->stores.store, l->spec->name, &c->owner, parent, &next, on_answer, &a);
    enum store_result result = wait_for(&a, op);
    snprintf(c->error, sizeof c->error, "%s", a.error);
    *ret_generation = a.generation;
    state_done(&next);
    return result;
}

/* Whether to try once more, after a pause. */
static bool may_wait(struct committing *c, enum store_result result)
{
    int64_t now_ms = clock_mono_ms();
    if (result == STORE_BUSY && now_ms < c->busy_until_ms) {
        login_sleep(BUSY_MS);
        return true;
    }
    if (result == STORE_ERROR && now_ms < c->error_until_ms) {
        c->login->options->progress.note(c->login->options->progress.arg, c->error);
        login_sleep(ERROR_MS);
        return true;
    }
    return result == STORE_FRESH || result == STORE_STALE || result == STORE_LOST; /* on what is stored now */
}

int login_commit(struct login *l, login_make_fn *make, void *arg, uint64_t *ret_generation, struct err *e)
{
    const struct keeper_options *o = l->options->keeper;
    int64_t lease_ms = o->lease_ms > 0 ? o->lease_ms : LEASE_MS, now_ms = clock_mono_ms();
    struct committing c = { .login = l,
                            .lease_ms = lease_ms,
                            .busy_until_ms = now_ms + 5 * lease_ms,
                            .error_until_ms = now_ms + ERRORS_MAX_MS,
                            .make = make,
                            .arg = arg };
    enum store_result result;
    rand_bytes(c.owner.bytes, sizeof c.owner.bytes);
    do {
        result = take_lease(&c);
        if (result == STORE_OK)
            result = commit_once(&c, ret_generation);
    } while (result != STORE_OK && may_wait(&c, result));
    if (result == STORE_OK)
        return 0;
    if (result == STORE_BUSY)
        err_set(e, "another process is refreshing this credential and has not finished: try again later");
    else
        err_set(e, "cannot store it: %s", c.error);
    return EX_UNAVAILABLE;
}
