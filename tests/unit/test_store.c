/* links: tests/fakes/redis_server.c */
/* What every store engine must do (refresh/store/store.h): one row of engines[] each.  Owners are in this process, and
 * in processes of their own that are killed and stopped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rand.h"
#include "net/loop.h"
#include "refresh/store/store_bound.h"
#include "refresh/store/store_file.h"
#include "refresh/redis/store_redis.h"
#include "tests/fakes/redis_server.h"
#include "tests/fakes/loop_turn.h"

#define WAIT_MS 20000 /* nothing here takes so long */
#define LONG_MS 60000
#define SHORT_MS 300
#define PROCESSES 8
#define ROUNDS 50

struct engine {
    const char *name;
    int (*setup)(void);          /* an empty store; -1: cannot be tested here */
    struct store *(*open)(void); /* in any process, any number */
    void (*teardown)(void);
};

/* ---- the file engine ---- */

static char top[64]; /* a directory for the test */
static struct seal_ring *ring;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    (void)st, (void)flag, (void)walk;
    return remove(path);
}

static int make_top(void)
{
    snprintf(top, sizeof top, "/tmp/test_store.XXXXXX");
    return mkdtemp(top) ? 0 : -1;
}

static void remove_top(void)
{
    nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int file_setup(void)
{
    ring = seal_ring_new(SLICE("0123456789abcdef0123456789abcdef"), SLICE(""), NULL);
    return ring && make_top() == 0 ? 0 : -1;
}

static struct store *file_open(void)
{
    char dir[96];
    struct err e = { "" };
    snprintf(dir, sizeof dir, "%s/state", top);
    struct store *s = store_file_new(dir, ring, &e);
    if (!s)
        fprintf(stderr, "%s\n", e.text);
    return s;
}

/* What a credential with a binding sees of the file engine. */
static struct store *bound_open(void)
{
    static const struct store_bound_row rows[] = {
        { "cred", "login.test:443 me" },
        { "other", "login.test:443 me" },
        { "marker", NULL },
        { "one", "a:1 x" },
        { "two", "b:2 y" },
    };
    struct store *inner = file_open();
    struct store *s = inner ? store_bound_new(inner, rows, sizeof rows / sizeof *rows) : NULL;
    if (!s)
        store_free(inner);
    return s;
}

static void file_teardown(void)
{
    seal_ring_free(ring);
    remove_top();
}

/* ---- the redis engine: one server for all tests, emptied for each ---- */

static struct redis_server server;

static int redis_setup(void)
{
    char answer[16];
    ring = seal_ring_new(SLICE("0123456789abcdef0123456789abcdef"), SLICE(""), NULL);
    return ring && redis_server_ask(&server, "FLUSHALL", answer, sizeof answer) == 0 ? 0 : -1;
}

static const char *redis_dir; /* NULL: the newest states are kept in memory alone */

static struct store *redis_open(void)
{
    static const char *const names[] = { "cred", "other", "marker", "one", "two", NULL };
    static struct dial_options network;
    static struct redis_spec redis;
    struct store_redis_options options = { &redis, ring, &network, names, redis_dir };
    struct err e = { "" };
    redis.url = server.url;
    struct store *s = store_redis_new(&options, &e);
    if (!s)
        fprintf(stderr, "%s\n", e.text);
    return s;
}

static void redis_teardown(void)
{
    seal_ring_free(ring);
}

static int kept_setup(void)
{
    return make_top() == 0 ? redis_setup() : -1;
}

/* With the newest states in a directory that all who ask share. */
static struct store *kept_open(void)
{
    redis_dir = top;
    struct store *s = redis_open();
    redis_dir = NULL;
    return s;
}

static void kept_teardown(void)
{
    redis_teardown();
    remove_top();
}

static const struct engine engines[] = {
    { "file", file_setup, file_open, file_teardown },
    { "bound", file_setup, bound_open, file_teardown },
    { "redis", redis_setup, redis_open, redis_teardown },
    { "redis with a directory", kept_setup, kept_open, kept_teardown },
};
#define ENGINE_COUNT (sizeof engines / sizeof *engines)

/* ---- asking and waiting ---- */

struct got {
    unsigned count;
    enum store_result result;
    uint64_t generation, stored; /* commit; of the state */
    int64_t ttl_ms, throttled_ms;
    char refresh_token[64], extra[64], error[256];
};

static void on_answer(void *arg, const struct store_answer *answer)
{
    struct got *got = arg;
    got->count++;
    got->result = answer->result;
    got->generation = answer->generation;
    got->ttl_ms = answer->ttl_ms;
    got->throttled_ms = answer->throttled_ms;
    snprintf(got->error, sizeof got->error, "%s", answer->error ? answer->error : "");
    bool has_state = answer->result == STORE_FRESH || answer->result == STORE_WON || answer->result == STORE_STALE
                     || (answer->result == STORE_OK && answer->state);
    if (!has_state)
        return;
    struct slice token = secret_peek(&answer->state->refresh_token);
    snprintf(got->refresh_token, sizeof got->refresh_token, "%.*s", (int)token.len, token.ptr ? token.ptr : "");
    const char *extra = json_string_value(json_object_get(answer->state->extra, "note"));
    snprintf(got->extra, sizeof got->extra, "%s", extra ? extra : "");
    got->stored = answer->state->generation;
}

static struct got *wait_for(struct got *got)
{
    int64_t end_ms = clock_mono_ms() + WAIT_MS;
    while (got->count == 0 && clock_mono_ms() < end_ms)
        loop_turn();
    return got;
}

static struct store_owner new_owner(void)
{
    struct store_owner owner;
    rand_bytes(owner.bytes, sizeof owner.bytes);
    return owner;
}

static struct got begin(struct store *s, const char *cred, const struct store_owner *owner, int64_t ttl_ms,
                        uint64_t known)
{
    struct got got = { 0 };
    store_begin(s, cred, owner, ttl_ms, known, on_answer, &got);
    return *wait_for(&got);
}

static struct got renew(struct store *s, const char *cred, const struct store_owner *owner, int64_t ttl_ms)
{
    struct got got = { 0 };
    store_renew(s, cred, owner, ttl_ms, on_answer, &got);
    return *wait_for(&got);
}

/* Stores a state whose refresh token is "rt-<parent + 1>". */
static struct store_op *ask_commit(struct store *s, const char *cred, const struct store_owner *owner, uint64_t parent,
                                   store_fn *fn, void *arg)
{
    struct state state;
    char token[32];
    snprintf(token, sizeof token, "rt-%d", (int)parent + 1);
    state_init(&state);
    if (secret_set(&state.refresh_token, slice_str(token)) != 0)
        abort();
    state.extra = json_pack("{s:s}", "note", "kept");
    struct store_op *op = store_commit(s, cred, owner, parent, &state, fn, arg);
    state_done(&state); /* what was passed has been copied */
    return op;
}

static struct got commit(struct store *s, const char *cred, const struct store_owner *owner, uint64_t parent)
{
    struct got got = { 0 };
    ask_commit(s, cred, owner, parent, on_answer, &got);
    return *wait_for(&got);
}

static struct got release(struct store *s, const char *cred, const struct store_owner *owner)
{
    struct got got = { 0 };
    store_release(s, cred, owner, on_answer, &got);
    return *wait_for(&got);
}

static struct got load(struct store *s, const char *cred)
{
    struct got got = { 0 };
    store_load(s, cred, on_answer, &got);
    return *wait_for(&got);
}

static void assert_result(struct got got, enum store_result want)
{
    static const char *const names[] = { "FRESH", "WON", "BUSY", "OK", "STALE", "LOST", "ERROR" };
    if (got.count != 1 || got.result != want)
        fail_msg("%u answers, %s instead of %s %s", got.count, names[got.result], names[want], got.error);
}

/* Asks again until it is won, within WAIT_MS. */
static struct got win(struct store *s, const char *cred, const struct store_owner *owner, int64_t ttl_ms,
                      uint64_t known)
{
    int64_t end_ms = clock_mono_ms() + WAIT_MS;
    struct got got;
    do
        got = begin(s, cred, owner, ttl_ms, known);
    while (got.result == STORE_BUSY && clock_mono_ms() < end_ms);
    return got;
}

/* ---- owners that are processes of their own ---- */

enum order { DO_BEGIN, DO_RENEW, DO_COMMIT, DO_RELEASE };

struct command {
    enum order order;
    int64_t ttl_ms;
    uint64_t generation;
};

struct child {
    pid_t pid;
    int fd; /* commands to it, struct got from it */
};

static struct got obey(struct store *s, const struct store_owner *owner, const struct command *c)
{
    switch (c->order) {
    case DO_BEGIN: return begin(s, "cred", owner, c->ttl_ms, c->generation);
    case DO_RENEW: return renew(s, "cred", owner, c->ttl_ms);
    case DO_COMMIT: return commit(s, "cred", owner, c->generation);
    case DO_RELEASE: return release(s, "cred", owner);
    }
    abort();
}

static void child_main(const struct engine *engine, int fd)
{
    loop_forked();
    struct store *s = engine->open();
    struct store_owner owner = new_owner();
    struct command c;
    while (s && read(fd, &c, sizeof c) == (ssize_t)sizeof c) {
        struct got got = obey(s, &owner, &c);
        if (write(fd, &got, sizeof got) != (ssize_t)sizeof got)
            break;
    }
    store_free(s);
    _exit(0);
}

static struct child start_child(const struct engine *engine)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(pair[0]);
        child_main(engine, pair[1]);
    }
    close(pair[1]);
    return (struct child){ pid, pair[0] };
}

static void order(const struct child *child, enum order what, int64_t ttl_ms, uint64_t generation)
{
    struct command c = { what, ttl_ms, generation };
    assert_int_equal(write(child->fd, &c, sizeof c), (ssize_t)sizeof c);
}

static struct got hear(const struct child *child)
{
    struct got got = { 0 };
    struct pollfd ready = { .fd = child->fd, .events = POLLIN };
    assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
    assert_int_equal(read(child->fd, &got, sizeof got), (ssize_t)sizeof got);
    return got;
}

static struct got tell(const struct child *child, enum order what, int64_t ttl_ms, uint64_t generation)
{
    order(child, what, ttl_ms, generation);
    return hear(child);
}

static void end_child(struct child *child)
{
    shutdown(child->fd, SHUT_RDWR); /* its sisters may have inherited the descriptor */
    close(child->fd);
    assert_int_equal(waitpid(child->pid, NULL, 0), child->pid);
}

static void kill_child(struct child *child)
{
    kill(child->pid, SIGKILL);
    end_child(child);
}

/* ---- the rules ---- */

struct world {
    const struct engine *engine;
    struct store *a, *b; /* two keepers over one store */
    struct store_owner alice, bob;
};
static struct world w;

static int setup(void **state)
{
    w.engine = *state;
    if (w.engine->setup() != 0)
        return -1;
    w.a = w.engine->open();
    w.b = w.engine->open();
    w.alice = new_owner();
    w.bob = new_owner();
    return w.a && w.b ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    store_free(w.a);
    store_free(w.b);
    w.engine->teardown();
    return 0;
}

/* Generations up to this one are stored, by nobody in particular. */
static void store_up_to(uint64_t generation)
{
    struct store_owner owner = new_owner();
    for (uint64_t parent = 0; parent < generation; parent++)
        assert_result(commit(w.a, "cred", &owner, parent), STORE_OK);
}

static void at_first_nothing_is_stored(void **state)
{
    (void)state;
    struct got got = load(w.a, "cred");
    assert_result(got, STORE_OK);
    assert_int_equal(got.stored, 0);
    got = begin(w.a, "cred", &w.alice, LONG_MS, 0);
    assert_result(got, STORE_WON);
    assert_int_equal(got.stored, 0);
}

static void an_answer_never_comes_inside_the_call_and_comes_once(void **state)
{
    (void)state;
    struct got got[5] = { 0 };
    assert_non_null(store_begin(w.a, "one", &w.alice, LONG_MS, 0, on_answer, &got[0]));
    assert_non_null(store_renew(w.a, "two", &w.alice, LONG_MS, on_answer, &got[1]));
    assert_non_null(ask_commit(w.a, "three", &w.alice, 0, on_answer, &got[2]));
    assert_non_null(store_release(w.a, "four", &w.alice, on_answer, &got[3]));
    assert_non_null(store_load(w.a, "five", on_answer, &got[4]));
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(got[i].count, 0);
    for (size_t i = 0; i < 5; i++)
        wait_for(&got[i]);
    for (int i = 0; i < 5; i++)
        loop_turn();
    assert_result(got[0], STORE_WON);
    assert_result(got[1], STORE_LOST);
    assert_result(got[2], STORE_OK);
    assert_result(got[3], STORE_LOST);
    assert_result(got[4], STORE_OK);
}

static void what_is_committed_is_read_by_everybody(void **state)
{
    (void)state;
    assert_result(begin(w.a, "cred", &w.alice, LONG_MS, 0), STORE_WON);
    struct got got = commit(w.a, "cred", &w.alice, 0);
    assert_result(got, STORE_OK);
    assert_int_equal(got.generation, 1);
    got = load(w.b, "cred");
    assert_result(got, STORE_OK);
    assert_int_equal(got.stored, 1);
    assert_string_equal(got.refresh_token, "rt-1");
    assert_string_equal(got.extra, "kept");
}

static void every_commit_makes_the_next_generation(void **state)
{
    (void)state;
    for (uint64_t parent = 0; parent < 5; parent++) {
        struct got got = begin(w.a, "cred", &w.alice, LONG_MS, parent);
        assert_result(got, STORE_WON);
        assert_int_equal(got.stored, parent);
        got = commit(w.a, "cred", &w.alice, parent);
        assert_result(got, STORE_OK);
        assert_int_equal(got.generation, parent + 1);
    }
}

static void something_newer_is_handed_over_without_a_lease(void **state)
{
    (void)state;
    store_up_to(2);
    struct got got = begin(w.b, "cred", &w.bob, LONG_MS, 1);
    assert_result(got, STORE_FRESH);
    assert_int_equal(got.stored, 2);
    assert_string_equal(got.refresh_token, "rt-2");
    assert_result(begin(w.a, "cred", &w.alice, LONG_MS, 2), STORE_WON);
}

static void something_newer_is_handed_over_while_another_holds_the_lease(void **state)
{
    (void)state;
    store_up_to(2);
    assert_result(begin(w.a, "cred", &w.alice, LONG_MS, 2), STORE_WON);
    assert_result(begin(w.b, "cred", &w.bob, LONG_MS, 1), STORE_FRESH);
    assert_result(renew(w.a, "cred", &w.alice, LONG_MS), STORE_OK);
}

static void a_held_lease_is_busy_and_says_for_how_long(void **state)
{
    (void)state;
    assert_result(begin(w.a, "cred", &w.alice, LONG_MS, 0), STORE_WON);
    struct got got = begin(w.b, "cred", &w.bob, LONG_MS, 0);
    assert_result(got, STORE_BUSY);
    assert_true(got.ttl_ms > LONG_MS - WAIT_MS && got.ttl_ms <= LONG_MS);
}

static void two_owners_of_one_store_exclude_each_other_too(void **state)
{
    (void)state;
    assert_result(begin(w.a, "cred", &w.alice, LONG_MS, 0), STORE_WON);
    assert_result(begin(w.a, "cred", &w.bob, LONG_MS, 0), STORE_BUSY);
    assert_result(release(w.a, "cred", &w.bob), STORE_LOST);
    assert_result(begin(w.b, "cred", &w.bob, LONG_MS, 0), STORE_BUSY);
}

static void a_released_lease_is_free(void **state)
{
    (void)state;
    assert_result(begin(w.a, "cred", &w.alice, LONG_MS, 0), STORE_WON);
    assert_result(release(w.a, "cred", &w.alice), STORE_OK);
    assert_result(release(w.a, "cred", &w.alice), STORE_LOST);
    assert_result(begin(w.b, "cred", &w.bob, LONG_MS, 0), STORE_WON);
}

static void only_the_owner_renews_and_releases(void **state)
{
    (void)state;
    assert_result(begin(w.a, "cred", &w.alice, LONG_MS, 0), STORE_WON);
    assert_result(renew(w.b, "cred", &w.bob, LONG_MS), STORE_LOST);
    assert_result(release(w.b, "cred", &w.bob), STORE_LOST);
    assert_result(renew(w.a, "cred", &w.alice, LONG_MS), STORE_OK);
    assert_result(begin(w.b, "cred", &w.bob, LONG_MS, 0), STORE_BUSY);
    assert_result(release(w.a, "cred", &w.alice), STORE_OK);
}

static void a_commit_frees_the_lease(void **state)
{
    (void)state;
    assert_result(begin(w.a, "cred", &w.alice, LONG_MS, 0), STORE_WON);
    assert_result(commit(w.a, "cred", &w.alice, 0), STORE_OK);
    assert_result(release(w.a, "cred", &w.alice), STORE_LOST);
    assert_result(begin(w.b, "cred", &w.bob, LONG_MS, 1), STORE_WON);
}

static void a_commit_on_a_parent_that_is_gone_is_stale_and_frees_the_lease(void **state)
{
    (void)state;
    store_up_to(3);
    assert_result(begin(w.b, "cred", &w.bob, LONG_MS, 3), STORE_WON);
    struct got got = commit(w.b, "cred", &w.bob, 2);
    assert_result(got, STORE_STALE);
    assert_int_equal(got.stored, 3);
    assert_string_equal(got.refresh_token, "rt-3");
    assert_result(begin(w.a, "cred", &w.alice, LONG_MS, 3), STORE_WON);
    assert_int_equal(load(w.a, "cred").stored, 3);
}

static void a_parent_that_is_not_there_yet_is_stale_too(void **state)
{
    (void)state;
    store_up_to(1);
    struct got got = commit(w.a, "cred", &w.alice, 5);
    assert_result(got, STORE_STALE);
    assert_int_equal(got.stored, 1);
}

static void a_lapsed_lease_is_anybodys_and_lost_to_its_owner(void **state)
{
    (void)state;
    assert_result(begin(w.a, "cred", &w.alice, SHORT_MS, 0), STORE_WON);
    assert_result(win(w.b, "cred", &w.bob, LONG_MS, 0), STORE_WON);
    assert_result(renew(w.a, "cred", &w.alice, LONG_MS), STORE_LOST);
    assert_result(release(w.a, "cred", &w.alice), STORE_LOST);
    assert_result(renew(w.b, "cred", &w.bob, LONG_MS), STORE_OK);
}

static void a_lapsed_lease_cannot_be_renewed_even_when_nobody_took_it(void **state)
{
    (void)state;
    assert_result(begin(w.a, "cred", &w.alice, 1, 0), STORE_WON);
    int64_t lapsed_ms = clock_mono_ms() + 20;
    while (clock_mono_ms() < lapsed_ms)
        loop_turn();
    assert_result(renew(w.a, "cred", &w.alice, LONG_MS), STORE_LOST);
    assert_result(begin(w.b, "cred", &w.bob, LONG_MS, 0), STORE_WON);
}

static void a_renewed_lease_outlives_its_first_end(void **state)
{
    (void)state;
    struct got got;
    int64_t began_ms;
    do { /* again where this machine stood still for a whole lease */
        began_ms = clock_mono_ms();
        assert_result(win(w.a, "cred", &w.alice, SHORT_MS, 0), STORE_WON);
        got = renew(w.a, "cred", &w.alice, LONG_MS);
    } while (got.result == STORE_LOST && clock_mono_ms() - began_ms >= SHORT_MS);
    assert_result(got, STORE_OK);
    int64_t past_ms = clock_mono_ms() + SHORT_MS + 50;
    while (clock_mono_ms() < past_ms)
        assert_result(begin(w.b, "cred", &w.bob, LONG_MS, 0), STORE_BUSY);
    assert_result(release(w.a, "cred", &w.alice), STORE_OK);
}

static void a_late_commit_counts_while_its_parent_is_current_and_leaves_the_new_lease_alone(void **state)
{
    (void)state;
    assert_result(begin(w.a, "cred", &w.alice, SHORT_MS, 0), STORE_WON);
    assert_result(win(w.b, "cred", &w.bob, LONG_MS, 0), STORE_WON);
    assert_result(commit(w.a, "cred", &w.alice, 0), STORE_OK);
    assert_result(begin(w.a, "cred", &w.alice, LONG_MS, 1), STORE_BUSY);
    assert_result(renew(w.b, "cred", &w.bob, LONG_MS), STORE_OK);
    struct got got = commit(w.b, "cred", &w.bob, 0);
    assert_result(got, STORE_STALE);
    assert_int_equal(got.stored, 1);
}

static void credentials_know_nothing_of_each_other(void **state)
{
    (void)state;
    assert_result(begin(w.a, "cred", &w.alice, LONG_MS, 0), STORE_WON);
    assert_result(begin(w.b, "cred.lock", &w.bob, LONG_MS, 0), STORE_WON);
    assert_result(begin(w.b, "cred.state", &w.bob, LONG_MS, 0), STORE_WON);
    assert_result(begin(w.b, "cre", &w.bob, LONG_MS, 0), STORE_WON);
    assert_result(begin(w.b, "..", &w.bob, LONG_MS, 0), STORE_WON);
    assert_result(commit(w.b, "cred.state", &w.bob, 0), STORE_OK);
    assert_int_equal(load(w.a, "cred").stored, 0);
}

/* ---- intents: only where machines do not share a journal; elsewhere a mark is a load ---- */

static enum store_result theirs(void)
{
    return w.a->engine->mark ? STORE_BUSY : STORE_OK;
}

static struct got mark(struct store *s, const struct store_owner *owner, uint64_t parent, const char *fp,
                       const char *tag, const char *instead, int64_t hold_ms)
{
    struct got got = { 0 };
    store_mark(s, "cred", owner, parent, &(struct store_intent){ fp, tag, instead, hold_ms }, on_answer, &got);
    return *wait_for(&got);
}

static void an_intent_comes_with_what_is_stored(void **state)
{
    (void)state;
    store_up_to(2);
    struct got got = mark(w.a, &w.alice, 2, "0a0b0c0d", "1.1", NULL, LONG_MS);
    assert_result(got, STORE_OK);
    assert_int_equal(got.stored, 2);
    assert_string_equal(got.refresh_token, "rt-2");
    got = mark(w.b, &w.bob, 1, "0a0b0c0d", "2.1", NULL, LONG_MS); /* its parent is gone: told so, and nothing written */
    assert_result(got, STORE_OK);
    assert_int_equal(got.stored, 2);
    assert_result(mark(w.b, &w.bob, 2, "0a0b0c0d", "2.1", NULL, LONG_MS), theirs());
}

static void an_intent_of_another_for_the_same_token_is_waited_for(void **state)
{
    (void)state;
    struct store_owner carol = new_owner();
    store_up_to(1);
    assert_result(mark(w.a, &w.alice, 1, "0a0b0c0d", "1.1", NULL, LONG_MS), STORE_OK);
    assert_result(mark(w.a, &w.alice, 1, "0a0b0c0d", "1.2", NULL, LONG_MS), STORE_OK); /* it sends again */
    assert_result(mark(w.b, &w.bob, 1, "0a0b0c0d", "2.1", "1.1", LONG_MS), theirs());
    /* whose keeper is dead, as its own journal says */
    assert_result(mark(w.b, &w.bob, 1, "0a0b0c0d", "2.2", "1.2", LONG_MS), STORE_OK);
    assert_result(mark(w.a, &carol, 1, "0a0b0c0d", "3.1", NULL, LONG_MS), theirs());
    assert_result(mark(w.a, &carol, 1, "ffffffff", "3.2", NULL, LONG_MS), STORE_OK); /* another token */
    assert_result(commit(w.b, "cred", &w.bob, 1), STORE_OK);
    assert_result(mark(w.a, &w.alice, 2, "ffffffff", "1.3", NULL, LONG_MS), STORE_OK); /* another generation */
}

static void an_intent_ends_with_its_owners_release_or_commit_whosever_the_lease_is(void **state)
{
    (void)state;
    store_up_to(1);
    assert_result(begin(w.b, "cred", &w.bob, LONG_MS, 1), STORE_WON);
    assert_result(mark(w.a, &w.alice, 1, "0a0b0c0d", "1.1", NULL, LONG_MS), STORE_OK);
    assert_result(mark(w.b, &w.bob, 1, "0a0b0c0d", "2.1", NULL, LONG_MS), theirs());
    assert_result(release(w.a, "cred", &w.alice), STORE_LOST);
    assert_result(mark(w.b, &w.bob, 1, "0a0b0c0d", "2.1", NULL, LONG_MS), STORE_OK);
    assert_result(commit(w.b, "cred", &w.bob, 0), STORE_STALE);
    assert_result(mark(w.a, &w.alice, 1, "0a0b0c0d", "1.2", NULL, LONG_MS), STORE_OK);
}

static void an_intent_ends_with_its_hold(void **state)
{
    (void)state;
    struct got got = { 0 };
    int64_t begin_ms = clock_mono_ms();
    assert_result(mark(w.a, &w.alice, 0, "0a0b0c0d", "1.1", NULL, SHORT_MS), STORE_OK);
    do
        got = mark(w.b, &w.bob, 0, "0a0b0c0d", "2.1", NULL, SHORT_MS);
    while (got.result == STORE_BUSY && clock_mono_ms() - begin_ms < WAIT_MS);
    assert_result(got, STORE_OK);
    assert_true(!w.a->engine->mark || clock_mono_ms() - begin_ms >= SHORT_MS - 20);
}

/* ---- a pause that the token host asked for ---- */

static struct got throttle(struct store *s, const char *cred, int64_t pause_ms)
{
    struct got got = { 0 };
    store_throttle(s, cred, pause_ms, on_answer, &got);
    return *wait_for(&got);
}

static void a_pause_is_told_to_whoever_could_ask(void **state)
{
    (void)state;
    store_up_to(1);
    assert_int_equal(load(w.b, "cred").throttled_ms, 0);
    assert_result(throttle(w.a, "cred", LONG_MS), STORE_OK);
    struct got got = begin(w.b, "cred", &w.bob, LONG_MS, 1);
    assert_result(got, STORE_WON);
    assert_in_range(got.throttled_ms, LONG_MS - WAIT_MS, LONG_MS);
    got = mark(w.b, &w.bob, 1, "0a0b0c0d", "1.1", NULL, LONG_MS);
    assert_result(got, STORE_OK);
    assert_in_range(got.throttled_ms, LONG_MS - WAIT_MS, LONG_MS);
    assert_in_range(load(w.b, "cred").throttled_ms, LONG_MS - WAIT_MS, LONG_MS);
    assert_int_equal(load(w.b, "other").throttled_ms, 0);
}

static void a_pause_keeps_nobody_from_what_is_newer_nor_from_the_lease(void **state)
{
    (void)state;
    store_up_to(2);
    assert_result(throttle(w.a, "cred", LONG_MS), STORE_OK);
    struct got got = begin(w.b, "cred", &w.bob, LONG_MS, 1);
    assert_result(got, STORE_FRESH);
    assert_int_equal(got.stored, 2);
    assert_result(begin(w.b, "cred", &w.bob, LONG_MS, 2), STORE_WON);
    assert_result(commit(w.b, "cred", &w.bob, 2), STORE_OK);
}

static void a_pause_outlives_commits_releases_and_the_store_of_who_told_it(void **state)
{
    (void)state;
    store_up_to(1);
    assert_result(begin(w.a, "cred", &w.alice, LONG_MS, 1), STORE_WON);
    assert_result(throttle(w.a, "cred", LONG_MS), STORE_OK);
    assert_result(release(w.a, "cred", &w.alice), STORE_OK);
    store_free(w.a);
    w.a = NULL;
    assert_result(commit(w.b, "cred", &w.bob, 1), STORE_OK);
    struct got got = begin(w.b, "cred", &w.bob, LONG_MS, 2);
    assert_result(got, STORE_WON);
    assert_in_range(got.throttled_ms, LONG_MS - WAIT_MS, LONG_MS);
}

static void of_two_pauses_the_longer_one_stands(void **state)
{
    (void)state;
    assert_result(throttle(w.a, "cred", LONG_MS), STORE_OK);
    assert_result(throttle(w.b, "cred", 1), STORE_OK);
    assert_in_range(load(w.a, "cred").throttled_ms, LONG_MS - WAIT_MS, LONG_MS);
    assert_result(throttle(w.b, "cred", 2 * LONG_MS), STORE_OK);
    assert_in_range(load(w.a, "cred").throttled_ms, 2 * LONG_MS - WAIT_MS, 2 * LONG_MS);
}

static void a_pause_ends_with_its_time(void **state)
{
    (void)state;
    int64_t begin_ms = clock_mono_ms();
    assert_result(throttle(w.a, "cred", SHORT_MS), STORE_OK);
    while (load(w.b, "cred").throttled_ms > 0 && clock_mono_ms() - begin_ms < WAIT_MS)
        loop_turn();
    assert_in_range(clock_mono_ms() - begin_ms, SHORT_MS - 20, WAIT_MS - 1);
    assert_int_equal(begin(w.b, "cred", &w.bob, LONG_MS, 0).throttled_ms, 0);
}

static void no_pause_is_longer_than_five_minutes(void **state)
{
    (void)state;
    assert_result(throttle(w.a, "cred", INT64_MAX), STORE_OK);
    assert_in_range(load(w.b, "cred").throttled_ms, STORE_THROTTLE_MAX_MS - WAIT_MS, STORE_THROTTLE_MAX_MS);
}

static void a_large_state_is_stored_whole(void **state)
{
    (void)state;
    size_t len = 1024 * 1024;
    char *token = malloc(len);
    assert_non_null(token);
    memset(token, 't', len);
    struct state big;
    struct got got = { 0 };
    state_init(&big);
    assert_int_equal(secret_set(&big.access_token, slice_of(token, len)), 0);
    assert_int_equal(secret_set(&big.refresh_token, SLICE("small")), 0);
    store_commit(w.a, "cred", &w.alice, 0, &big, on_answer, &got);
    assert_result(*wait_for(&got), STORE_OK);
    state_done(&big);
    free(token);
    got = load(w.b, "cred");
    assert_result(got, STORE_OK);
    assert_string_equal(got.refresh_token, "small");
}

/* ---- callbacks ---- */

static void a_cancelled_operation_does_not_call_back(void **state)
{
    (void)state;
    struct got got[5] = { 0 };
    store_cancel(w.a, store_begin(w.a, "cred", &w.alice, 1, 0, on_answer, &got[0]));
    store_cancel(w.a, store_renew(w.a, "cred", &w.alice, 1, on_answer, &got[1]));
    store_cancel(w.a, ask_commit(w.a, "other", &w.alice, 0, on_answer, &got[2]));
    store_cancel(w.a, store_release(w.a, "cred", &w.alice, on_answer, &got[3]));
    store_cancel(w.a, store_load(w.a, "cred", on_answer, &got[4]));
    store_cancel(w.a, NULL);
    assert_result(win(w.b, "cred", &w.bob, LONG_MS, 0), STORE_WON);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(got[i].count, 0);
}

static void what_is_pending_when_the_store_is_freed_does_not_call_back(void **state)
{
    (void)state;
    struct got got[3] = { 0 };
    store_begin(w.a, "cred", &w.alice, LONG_MS, 0, on_answer, &got[0]);
    ask_commit(w.a, "other", &w.alice, 0, on_answer, &got[1]);
    store_load(w.a, "third", on_answer, &got[2]);
    store_free(w.a);
    w.a = NULL;
    assert_result(load(w.b, "cred"), STORE_OK);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(got[i].count, 0);
}

static void free_a(void *arg, const struct store_answer *answer)
{
    assert_int_equal(answer->result, STORE_OK);
    store_free(w.a);
    w.a = NULL;
    assert_int_equal(answer->state->generation, 2); /* valid during the call, whatever happens to the store */
    on_answer(arg, answer);
}

static void a_callback_may_free_the_store(void **state)
{
    (void)state;
    struct got got = { 0 }, other = { 0 };
    store_up_to(2);
    store_load(w.a, "cred", free_a, &got);
    store_load(w.a, "cred", on_answer, &other);
    assert_result(*wait_for(&got), STORE_OK);
    loop_turn();
    assert_int_equal(other.count, 0);
}

static void ask_again(void *arg, const struct store_answer *answer)
{
    assert_int_equal(answer->result, STORE_WON);
    ask_commit(w.a, "cred", &w.alice, answer->state->generation, on_answer, arg);
}

static void a_callback_may_ask_again(void **state)
{
    (void)state;
    struct got got = { 0 };
    store_begin(w.a, "cred", &w.alice, LONG_MS, 0, ask_again, &got);
    assert_result(*wait_for(&got), STORE_OK);
    assert_int_equal(got.generation, 1);
}

/* ---- watching ---- */

struct seen {
    unsigned count;
    char name[32];
};

static void on_change(void *arg, const char *credential)
{
    struct seen *seen = arg;
    seen->count++;
    snprintf(seen->name, sizeof seen->name, "%s", credential);
}

static void wait_change(struct seen *seen)
{
    int64_t end_ms = clock_mono_ms() + WAIT_MS;
    while (seen->count == 0 && clock_mono_ms() < end_ms)
        loop_turn();
    assert_true(seen->count > 0);
}

static void a_change_is_told_whoever_made_it(void **state)
{
    (void)state;
    struct seen a = { 0 }, b = { 0 };
    w.a->engine->watch(w.a, on_change, &a);
    w.b->engine->watch(w.b, on_change, &b);
    assert_result(commit(w.b, "other", &w.bob, 0), STORE_OK);
    wait_change(&a);
    wait_change(&b);
    assert_string_equal(a.name, "other");
    assert_string_equal(b.name, "other");
}

static void leases_are_not_told_and_what_was_there_before_is_not(void **state)
{
    (void)state;
    struct seen seen = { 0 };
    store_up_to(1);
    w.a->engine->watch(w.a, on_change, &seen);
    assert_result(begin(w.b, "cred", &w.bob, LONG_MS, 1), STORE_WON);
    assert_result(renew(w.b, "cred", &w.bob, LONG_MS), STORE_OK);
    assert_result(release(w.b, "cred", &w.bob), STORE_OK);
    assert_result(commit(w.b, "marker", &w.bob, 0), STORE_OK);
    wait_change(&seen);
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.name, "marker");
}

static void free_a_from_watch(void *arg, const char *credential)
{
    on_change(arg, credential);
    store_free(w.a);
    w.a = NULL;
}

static void the_watch_callback_may_free_the_store(void **state)
{
    (void)state;
    struct seen seen = { 0 };
    w.a->engine->watch(w.a, free_a_from_watch, &seen);
    assert_result(commit(w.b, "one", &w.bob, 0), STORE_OK);
    assert_result(commit(w.b, "two", &w.bob, 0), STORE_OK);
    wait_change(&seen);
    loop_turn();
    assert_int_equal(seen.count, 1);
}

/* ---- other processes ---- */

static void a_lease_excludes_other_processes(void **state)
{
    (void)state;
    struct child child = start_child(w.engine);
    assert_result(tell(&child, DO_BEGIN, LONG_MS, 0), STORE_WON);
    assert_result(begin(w.a, "cred", &w.alice, LONG_MS, 0), STORE_BUSY);
    assert_result(renew(w.a, "cred", &w.alice, LONG_MS), STORE_LOST);
    assert_result(tell(&child, DO_RELEASE, 0, 0), STORE_OK);
    assert_result(begin(w.a, "cred", &w.alice, LONG_MS, 0), STORE_WON);
    assert_result(tell(&child, DO_BEGIN, LONG_MS, 0), STORE_BUSY);
    end_child(&child);
}

static void the_lease_of_a_killed_holder_ends_at_the_latest_with_its_time(void **state)
{
    (void)state;
    struct child child = start_child(w.engine);
    assert_result(tell(&child, DO_BEGIN, SHORT_MS, 0), STORE_WON);
    kill_child(&child);
    int64_t killed_ms = clock_mono_ms();
    assert_result(win(w.a, "cred", &w.alice, LONG_MS, 0), STORE_WON);
    assert_true(clock_mono_ms() - killed_ms < WAIT_MS);
    assert_result(commit(w.a, "cred", &w.alice, 0), STORE_OK);
}

static void a_holder_that_was_stopped_for_longer_than_its_lease_has_lost_it(void **state)
{
    (void)state;
    struct child child = start_child(w.engine);
    int status;
    assert_result(tell(&child, DO_BEGIN, SHORT_MS, 0), STORE_WON);
    kill(child.pid, SIGSTOP);
    assert_int_equal(waitpid(child.pid, &status, WUNTRACED), child.pid);
    assert_true(WIFSTOPPED(status));
    assert_result(win(w.a, "cred", &w.alice, LONG_MS, 0), STORE_WON);
    kill(child.pid, SIGCONT);
    assert_result(tell(&child, DO_RENEW, LONG_MS, 0), STORE_LOST);
    assert_result(tell(&child, DO_RELEASE, 0, 0), STORE_LOST);
    assert_result(tell(&child, DO_BEGIN, LONG_MS, 0), STORE_BUSY);
    assert_result(tell(&child, DO_COMMIT, 0, 0), STORE_OK); /* it had an answer: nobody else's was first */
    struct got got = commit(w.a, "cred", &w.alice, 0);
    assert_result(got, STORE_STALE);
    assert_int_equal(got.stored, 1);
    end_child(&child);
}

static void of_many_that_wait_for_a_dead_holders_lease_one_wins(void **state)
{
    (void)state;
    struct child children[PROCESSES], holder = start_child(w.engine);
    for (int round = 0; round < 5; round++) {
        if (round > 0)
            holder = start_child(w.engine);
        assert_result(tell(&holder, DO_BEGIN, 1, 0), STORE_WON);
        for (size_t i = 0; i < PROCESSES; i++)
            children[i] = start_child(w.engine);
        kill_child(&holder);
        int64_t lapsed_ms = clock_mono_ms() + 20;
        while (clock_mono_ms() < lapsed_ms)
            loop_turn();
        for (size_t i = 0; i < PROCESSES; i++)
            order(&children[i], DO_BEGIN, LONG_MS, 0);
        unsigned won = 0, busy = 0;
        for (size_t i = 0; i < PROCESSES; i++) {
            struct got got = hear(&children[i]);
            won += got.result == STORE_WON;
            busy += got.result == STORE_BUSY;
            if (got.result == STORE_WON)
                holder = children[i];
        }
        assert_int_equal(won, 1);
        assert_int_equal(busy, PROCESSES - 1);
        assert_result(tell(&holder, DO_RELEASE, 0, 0), STORE_OK);
        for (size_t i = 0; i < PROCESSES; i++)
            end_child(&children[i]);
    }
}

/* ---- eight keepers that refresh as fast as they can ---- */

/* "Sends the token request": spends the generation, visibly to all. */
static bool spend(int log, uint64_t generation)
{
    return write(log, &generation, sizeof generation) == (ssize_t)sizeof generation;
}

static int refresh_rounds(const struct engine *engine, int log)
{
    loop_forked();
    struct store *s = engine->open();
    uint64_t known = 0;
    int64_t end_ms = clock_mono_ms() + 10 * WAIT_MS;
    for (int done = 0; s && done < ROUNDS && clock_mono_ms() < end_ms;) {
        struct store_owner owner = new_owner();
        struct got got = begin(s, "cred", &owner, LONG_MS, known);
        known = got.result == STORE_BUSY ? known : got.stored;
        if (got.result == STORE_BUSY)
            loop_turn();
        if (got.result != STORE_WON && got.result != STORE_FRESH && got.result != STORE_BUSY)
            return fprintf(stderr, "begin: %s\n", got.error), 1;
        if (got.result != STORE_WON)
            continue;
        if (!spend(log, known))
            return fprintf(stderr, "spend: %s\n", strerror(errno)), 1;
        got = commit(s, "cred", &owner, known);
        if (got.result != STORE_OK || got.generation != known + 1)
            return fprintf(stderr, "commit: %d %s\n", (int)got.result, got.error), 1;
        known++;
        if (++done == ROUNDS) {
            store_free(s);
            return 0;
        }
    }
    return fprintf(stderr, "out of time\n"), 1;
}

static int compare(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

static void eight_processes_make_consecutive_generations_and_spend_each_parent_once(void **state)
{
    (void)state;
    static uint64_t spent[PROCESSES * ROUNDS + 1];
    pid_t pids[PROCESSES];
    FILE *log = tmpfile();
    assert_non_null(log);
    assert_int_equal(fcntl(fileno(log), F_SETFL, O_APPEND), 0);
    for (size_t i = 0; i < PROCESSES; i++)
        if ((pids[i] = fork()) == 0)
            _exit(refresh_rounds(w.engine, fileno(log)));
    for (size_t i = 0; i < PROCESSES; i++) {
        int status = -1;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(pread(fileno(log), spent, sizeof spent, 0), PROCESSES * ROUNDS * sizeof *spent);
    fclose(log);
    qsort(spent, PROCESSES * ROUNDS, sizeof *spent, compare);
    for (uint64_t i = 0; i < PROCESSES * ROUNDS; i++)
        assert_int_equal(spent[i], i);
    assert_int_equal(load(w.a, "cred").stored, PROCESSES * ROUNDS);
}

/* ---- every rule × every engine ---- */

#define RULE(name) { #name, name, setup, teardown, NULL }
static const struct CMUnitTest rules[] = {
    RULE(at_first_nothing_is_stored),
    RULE(an_answer_never_comes_inside_the_call_and_comes_once),
    RULE(what_is_committed_is_read_by_everybody),
    RULE(every_commit_makes_the_next_generation),
    RULE(something_newer_is_handed_over_without_a_lease),
    RULE(something_newer_is_handed_over_while_another_holds_the_lease),
    RULE(a_held_lease_is_busy_and_says_for_how_long),
    RULE(two_owners_of_one_store_exclude_each_other_too),
    RULE(a_released_lease_is_free),
    RULE(only_the_owner_renews_and_releases),
    RULE(a_commit_frees_the_lease),
    RULE(a_commit_on_a_parent_that_is_gone_is_stale_and_frees_the_lease),
    RULE(a_parent_that_is_not_there_yet_is_stale_too),
    RULE(a_lapsed_lease_is_anybodys_and_lost_to_its_owner),
    RULE(a_lapsed_lease_cannot_be_renewed_even_when_nobody_took_it),
    RULE(a_renewed_lease_outlives_its_first_end),
    RULE(a_late_commit_counts_while_its_parent_is_current_and_leaves_the_new_lease_alone),
    RULE(credentials_know_nothing_of_each_other),
    RULE(an_intent_comes_with_what_is_stored),
    RULE(an_intent_of_another_for_the_same_token_is_waited_for),
    RULE(an_intent_ends_with_its_owners_release_or_commit_whosever_the_lease_is),
    RULE(an_intent_ends_with_its_hold),
    RULE(a_pause_is_told_to_whoever_could_ask),
    RULE(a_pause_keeps_nobody_from_what_is_newer_nor_from_the_lease),
    RULE(a_pause_outlives_commits_releases_and_the_store_of_who_told_it),
    RULE(of_two_pauses_the_longer_one_stands),
    RULE(a_pause_ends_with_its_time),
    RULE(no_pause_is_longer_than_five_minutes),
    RULE(a_large_state_is_stored_whole),
    RULE(a_cancelled_operation_does_not_call_back),
    RULE(what_is_pending_when_the_store_is_freed_does_not_call_back),
    RULE(a_callback_may_free_the_store),
    RULE(a_callback_may_ask_again),
    RULE(a_change_is_told_whoever_made_it),
    RULE(leases_are_not_told_and_what_was_there_before_is_not),
    RULE(the_watch_callback_may_free_the_store),
    RULE(a_lease_excludes_other_processes),
    RULE(the_lease_of_a_killed_holder_ends_at_the_latest_with_its_time),
    RULE(a_holder_that_was_stopped_for_longer_than_its_lease_has_lost_it),
    RULE(of_many_that_wait_for_a_dead_holders_lease_one_wins),
    RULE(eight_processes_make_consecutive_generations_and_spend_each_parent_once),
};
#define RULE_COUNT (sizeof rules / sizeof *rules)

int main(void)
{
    static struct CMUnitTest tests[RULE_COUNT];
    int failed = 0;
    (void)loop_get();
    signal(SIGCHLD, SIG_DFL); /* the children are waited for here, not by the loop */
    size_t count = ENGINE_COUNT;
    if (redis_server_there()) {
        failed += redis_server_start(&server, NULL) != 0;
    } else {
        printf("[  SKIPPED ] %d test(s): no redis-server is installed (Debian: apt-get install redis-server)\n",
               (int)RULE_COUNT);
        count--; /* redis is the last */
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < RULE_COUNT; k++) {
            tests[k] = rules[k];
            tests[k].initial_state = (void *)&engines[i];
        }
        failed += cmocka_run_group_tests_name(engines[i].name, tests, NULL, NULL);
    }
    redis_server_free(&server);
    return failed;
}
