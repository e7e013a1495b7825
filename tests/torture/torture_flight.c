/* links: tests/fakes/fake_clock.c tests/fakes/fake_timer.c tests/fakes/fake_store.c tests/fakes/fake_fetch.c
 * tests/fakes/fake_command.c */
/* A flight from its start to its commit, with a real journal: whatever fails, it ends, the lease is free, and an answer
 * that came is published and kept. */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "refresh/flight/flight.h"
#include "tests/fakes/fake_timer.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_command.h"
#include "tests/fakes/fake_fetch.h"
#include "tests/fakes/fake_store.h"
#include "tests/torture/torture.h"

#define GOOD                                                                                                           \
    "{\"access_token\":\"at-new\",\"refresh_token\":\"rt-new\",\"expires_in\":3600,\"instance_url\":\"https://"        \
    "x.test\"}"

static char top[64];
static struct fake_store store;
static struct flight_env env;
static struct flight *flight;
static bool ended, explained, seeing; /* a newer state was published */
static struct flight_result result;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    (void)st, (void)flag, (void)walk;
    return remove(path);
}

static void on_state(void *arg, const struct state *s)
{
    (void)arg;
    seeing = seeing || (s->generation == 6 && slice_eq(secret_peek(&s->access_token), SLICE("at-new")));
}

static void on_lease(void *arg, enum store_result r)
{
    (void)arg, (void)r;
}

static void on_event(void *arg, enum flight_event event)
{
    (void)arg, (void)event;
}

static void on_end(void *arg, const struct flight_result *r)
{
    (void)arg;
    ended = true;
    result = *r;
    explained = r->text && *r->text;
    flight_free(flight);
    flight = NULL;
}

static void open_world(void)
{
    struct err e;
    torture_pause();
    snprintf(top, sizeof top, "/tmp/sidekey-torture-XXXXXX");
    memset(&fake_fetch, 0, sizeof fake_fetch);
    fake_command_reset();
    fake_store_init(&store);
    fake_mono_ms = 1000000;
    ended = explained = seeing = false;
    fake_store_put(&store, 5, "at-old", "rt-old", fake_wall_ms - 1000);
    env = (struct flight_env){ .store = &store.store, .lease_ms = 60000, .request_timeout_ms = 30000 };
    CHECK(mkdtemp(top) && (env.ring = seal_ring_new(SLICE("0123456789abcdef0123456789abcdef"), SLICE(""), &e)));
    CHECK((env.journal = journal_open(top, env.ring, &e)));
    torture_go_on();
}

static void close_world(void)
{
    torture_pause();
    CHECK(fake_timer_count() == 0 && !fake_fetch.pending && store.pending == FAKE_NONE);
    fake_store_done(&store);
    journal_close(env.journal);
    seal_ring_free((struct seal_ring *)(uintptr_t)env.ring);
    CHECK(nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
    torture_go_on();
}

/* Everything happens that is due within a minute; the server always has a token, the program its secret. */
static void fly(void)
{
    for (int i = 0; flight && i < 10000; i++) {
        if (store.pending != FAKE_NONE)
            fake_store_answer(&store);
        else if (fake_fetch.pending)
            fake_fetch_say(200, GOOD);
        else if (fake_command_runs("print-secret"))
            fake_command_end("print-secret", "cs");
        else if (!fake_timer_next(60000))
            break;
        if (i == 500)
            torture_pause(); /* memory comes back: a commit that waits goes on for as long as it must */
    }
    CHECK(!flight && ended);
}

/* What the journal has for whoever comes next. */
static bool journal_has_answer(void)
{
    struct journal_entry entry;
    struct err e;
    CHECK(journal_read(env.journal, "crm", &entry, &e) == 0);
    bool answer = entry.kind == JOURNAL_ANSWER && slice_eq(secret_peek(&entry.state.refresh_token), SLICE("rt-new"));
    journal_entry_done(&entry);
    return answer;
}

static void refresh(struct credential_spec *spec, bool rotates)
{
    const struct flight_hooks hooks = {
        .on_state = on_state, .on_lease = on_lease, .on_event = on_event, .on_end = on_end
    };
    struct state known;
    open_world();
    state_init(&known);
    flight = flight_start(&env, spec, &known, &(struct schedule_need){ MSG_MISSING, 0, false }, false, &hooks);
    CHECK(flight || torture_struck());
    if (flight)
        fly();
    torture_pause();
    if (ended && result.end == FLIGHT_REFRESHED)
        CHECK(seeing && store.stored.generation == 6
              && slice_eq(secret_peek(&store.stored.access_token), SLICE("at-new")));
    else
        CHECK(torture_struck() && (!ended || (result.end == FLIGHT_FAILED && explained)));
    if (seeing && rotates) /* what was served is stored, or the journal has it */
        CHECK(store.stored.generation == 6 || journal_has_answer());
    CHECK(!store.leased);
    torture_go_on();
    state_done(&known);
    close_world();
}

static void a_refresh_ends_and_loses_nothing(void)
{
    struct credential_spec spec = { .name = (char[]){ "crm" },
                                    .grant = GRANT_REFRESH_TOKEN,
                                    .token_url = (char[]){ "https://login.test/token" },
                                    .client_id = (char[]){ "id" },
                                    .client_auth = CLIENT_AUTH_NONE,
                                    .forced_floor_ms = 30000 };
    refresh(&spec, true);
}

static void a_refresh_with_a_secret_of_a_program_ends(void)
{
    char *argv[] = { (char[]){ "print-secret" }, NULL };
    struct credential_spec spec = { .name = (char[]){ "crm" },
                                    .grant = GRANT_CLIENT_CREDENTIALS,
                                    .token_url = (char[]){ "https://login.test/token" },
                                    .client_id = (char[]){ "id" },
                                    .client_auth = CLIENT_AUTH_BASIC,
                                    .client_secret = { SECRET_REF_COMMAND, NULL, argv } };
    refresh(&spec, false);
}

int main(int argc, char **argv)
{
    static const struct torture list[] = {
        { "a_refresh_ends_and_loses_nothing", a_refresh_ends_and_loses_nothing },
        { "a_refresh_with_a_secret_of_a_program_ends", a_refresh_with_a_secret_of_a_program_ends },
    };
    return torture_main(argc, argv, list, sizeof list / sizeof *list);
}
