/* tests/fakes/flight_world.h: a flight under a store, a token endpoint, a journal and a clock that do what the test
 * says. Everything asserts. */
#ifndef SIDEKEY_TESTS_FLIGHT_WORLD_H
#define SIDEKEY_TESTS_FLIGHT_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "refresh/flight/flight.h"
#include "tests/fakes/fake_timer.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_command.h"
#include "tests/fakes/fake_fetch.h"
#include "tests/fakes/fake_journal.h"
#include "tests/fakes/fake_store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LEASE_MS 60000
#define REQUEST_MS 30000
#define FLIGHT_LOOK_AGAIN_MS 5000
#define GOOD "{\"access_token\":\"at-new\",\"refresh_token\":\"rt-new\",\"expires_in\":3600}"

static struct world {
    struct fake_store store;
    struct flight_env env;
    struct credential_spec spec;
    struct state known;
    struct flight *flight;
    int published, ended;
    uint64_t published_gen;
    char published_token[64], published_dead[9];
    struct flight_result result;
    char text[256];
    int leases[STORE_ERROR + 1], events[FLIGHT_EVENTS];
} w;

static inline void on_state(void *arg, const struct state *s)
{
    struct slice token = secret_peek(&s->access_token);
    (void)arg;
    w.published++;
    w.published_gen = s->generation;
    snprintf(w.published_token, sizeof w.published_token, "%.*s", (int)token.len, token.ptr ? token.ptr : "");
    snprintf(w.published_dead, sizeof w.published_dead, "%s", s->dead_fp);
}

static inline void on_lease(void *arg, enum store_result r)
{
    (void)arg;
    w.leases[r]++;
}

static inline void on_event(void *arg, enum flight_event event)
{
    (void)arg;
    w.events[event]++;
}

static inline void on_end(void *arg, const struct flight_result *r)
{
    (void)arg;
    w.ended++;
    w.result = *r;
    snprintf(w.text, sizeof w.text, "%s", r->text ? r->text : "");
    flight_free(w.flight); /* allowed here, and what the keeper does */
    w.flight = NULL;
}

static inline int setup(void **state)
{
    struct err e;
    (void)state;
    memset(&w, 0, sizeof w);
    memset(&fake_fetch, 0, sizeof fake_fetch);
    fake_journal_reset();
    fake_command_reset();
    fake_store_init(&w.store);
    fake_mono_ms = 1000000;
    fake_wall_ms = 1700000000000;
    w.spec = (struct credential_spec){ .name = "crm",
                                       .grant = GRANT_REFRESH_TOKEN,
                                       .token_url = "https://login.test/token",
                                       .client_id = "id",
                                       .client_auth = CLIENT_AUTH_NONE,
                                       .forced_floor_ms = 30000 };
    w.env = (struct flight_env){ .store = &w.store.store, .lease_ms = LEASE_MS, .request_timeout_ms = REQUEST_MS };
    w.env.clocks = token_clocks_new();
    w.env.ring = seal_ring_new(SLICE("0123456789abcdef0123456789abcdef"), SLICE(""), &e);
    state_init(&w.known);
    fake_store_put(&w.store, 5, "at-old", "rt-old", fake_wall_ms - 1000);
    assert_int_equal(state_copy(&w.known, &w.store.stored), 0);
    return w.env.ring ? 0 : -1;
}

static inline int teardown(void **state)
{
    (void)state;
    flight_free(w.flight);
    int left = fake_timer_count();
    state_done(&w.known);
    fake_store_done(&w.store);
    fake_journal_reset();
    token_clocks_free(w.env.clocks);
    seal_ring_free((struct seal_ring *)(uintptr_t)w.env.ring);
    return left; /* an alarm that outlives its flight is a bug */
}

static inline void start(enum msg_reason reason, uint64_t rejected, bool background, bool replay)
{
    const struct flight_hooks hooks = { on_state, on_lease, on_event, on_end, NULL };
    w.flight = flight_start(&w.env, &w.spec, &w.known, &(struct schedule_need){ reason, rejected, background }, replay,
                            &hooks);
    assert_non_null(w.flight);
    assert_string_equal(flight_state_name(w.flight), "new"); /* nothing happens inside the call */
    assert_int_equal(w.store.pending, FAKE_NONE);
}

/* Lets everything happen that is due now: alarms, and answers of the store as its state demands. */
static inline void settle(void)
{
    bool moved = true;
    while (moved) {
        moved = fake_timer_next(0);
        if (w.store.pending != FAKE_NONE) {
            fake_store_answer(&w.store);
            moved = true;
        }
    }
}

static inline void in(const char *state)
{
    assert_non_null(w.flight);
    assert_string_equal(flight_state_name(w.flight), state);
}

static inline void ended(enum flight_end end)
{
    assert_null(w.flight);
    assert_int_equal(w.ended, 1);
    if (w.result.end != end)
        print_error("ended %d: %s\n", w.result.end, w.text);
    assert_int_equal(w.result.end, end);
    assert_false(fake_fetch.pending);
    assert_int_equal(w.store.pending, FAKE_NONE);
}

static inline void failed(enum msg_class failure)
{
    ended(FLIGHT_FAILED);
    if (w.result.failure != failure)
        print_error("failed with %s: %s\n", msg_class_name(w.result.failure), w.text);
    assert_int_equal(w.result.failure, failure);
}

static inline void to_fetch(void)
{
    start(MSG_MISSING, 0, false, false);
    settle();
    in("fetch");
    assert_int_equal(fake_fetch.starts, 1);
}

/* After a flight that ended: the store has what it has. */
static inline void to_fetch_again(void)
{
    int starts = fake_fetch.starts;
    start(MSG_MISSING, 0, false, false);
    settle();
    in("fetch");
    assert_int_equal(fake_fetch.starts, starts + 1);
}

static inline void begin_fails(void)
{
    start(MSG_MISSING, 0, false, false);
    fake_timer_next(0);
    fake_store_say(&w.store, &(struct store_answer){ .result = STORE_ERROR, .error = "no" });
}

static inline void refused_twice(int status, const char *body)
{
    fake_fetch_say(status, body);
    settle();
    in("pause");
    assert_int_equal(w.store.commits, 0);
    int64_t began_ms = fake_mono_ms;
    fake_timer_next(FLIGHT_LOOK_AGAIN_MS);
    assert_int_equal(fake_mono_ms - began_ms, FLIGHT_LOOK_AGAIN_MS);
    settle();
    in("fetch");
    assert_non_null(strstr(fake_fetch.body, "refresh_token=rt-old"));
    fake_fetch_say(status, body);
    settle();
}

static inline void lose_lease_and_be_refused(void)
{
    to_fetch();
    fake_timer_run(20000);
    fake_store_say(&w.store, &(struct store_answer){ .result = STORE_LOST });
    fake_fetch_say(400, "{\"error\":\"invalid_grant\"}");
    settle();
    in("recover_wait");
}

static inline void again(bool look)
{
    assert_null(w.flight);
    assert_int_equal(state_copy(&w.known, &w.store.stored), 0);
    w.ended = w.store.begins = w.store.commits = 0;
    start(MSG_MISSING, 0, false, false);
    if (look)
        flight_look(w.flight);
    settle();
}

static inline void lost(uint64_t parent_gen, const char *token)
{
    fake_journal.kind = JOURNAL_LOST;
    fake_journal.parent_gen = parent_gen;
    if (token)
        seal_fingerprint(w.env.ring, slice_str(token), fake_journal.refresh_fp);
}

static inline bool holds(const struct secret *secret, const char *text)
{
    return slice_eq(secret_peek(secret), slice_str(text));
}

#endif
