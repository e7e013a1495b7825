/* links: tests/fakes/proxy_world.c tests/fakes/fake_timer.c tests/fakes/fake_dial.c tests/fakes/fake_clock.c */
#include "tests/fakes/proxy_world.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct authority a0;
static struct pool_target target;

struct taker {
    struct pool_wait wait;
    struct upstream *u;
    int calls, status;
    char label[64];
};

static int up(void **state)
{
    world_up(state);
    target = (struct pool_target){ .a0 = &a0 };
    return authority_parse(SLICE(WORLD_HOST), SCHEME_HTTP, 80, &a0);
}

static void on_upstream(void *arg, struct upstream *u, const struct leg_fault *fault)
{
    struct taker *t = arg;
    t->calls++;
    t->u = u;
    if (fault) {
        t->status = fault->status;
        snprintf(t->label, sizeof t->label, "%s", fault->label);
    }
}

static void take(struct taker *t)
{
    *t = (struct taker){ .calls = 0 };
    t->u = pool_take(world.pool, &target, &t->wait, on_upstream, t);
    world_turn();
}

/* One exchange, as an exchange would do it; the connection may be kept afterwards. */
static void serve(struct taker *t, int peer, const char *answer)
{
    struct message m;
    message_init(&m);
    assert_int_equal(message_start_request(&m, SLICE("GET"), SLICE("/")), 0);
    leg_expect(upstream_leg(t->u), SLICE("GET"));
    assert_int_equal(leg_head(upstream_leg(t->u), &m, false), 0);
    assert_int_equal(leg_end(upstream_leg(t->u), NULL), 0);
    message_done(&m);
    upstream_give_back_unread(t->u); /* reads the answer away and keeps the connection */
    t->u = NULL;
    say(peer, answer);
    hear(peer, NULL);
}

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static void a_connection_is_dialled_once_and_used_again(void **state)
{
    struct taker t;
    (void)state;
    take(&t);
    int peer = world_upstream();
    assert_true(t.calls == 1 && t.u && !upstream_reused(t.u) && pool_open(world.pool) == 1);
    serve(&t, peer, OK);
    assert_true(pool_has(world.pool, &target));
    take(&t);
    assert_true(t.u && t.calls == 0 && upstream_reused(t.u) && fake_dial_pending() == 0);
    upstream_drop(t.u, CLOSE_UNFINISHED);
    assert_int_equal(pool_open(world.pool), 0);
}

static void an_idle_connection_goes_when_its_time_is_over_or_it_can_be_read_from(void **state)
{
    struct taker t;
    (void)state;
    take(&t);
    serve(&t, world_upstream(), OK);
    fake_timer_run(3999);
    assert_int_equal(pool_open(world.pool), 1);
    fake_timer_run(1);
    assert_int_equal(pool_open(world.pool), 0);
    static const char *const last_words[] = { "x", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", NULL };
    for (size_t i = 0; i < 3; i++) {
        take(&t);
        int peer = world_upstream();
        serve(&t, peer, OK);
        if (last_words[i])
            say(peer, last_words[i]);
        else
            shutdown(peer, SHUT_RDWR);
        world_turn();
        assert_int_equal(pool_open(world.pool), 0);
    }
}

/* A close may be on the way, and nothing that can be looked at here shows it. */
static void what_cannot_be_sent_twice_gets_a_fresh_connection_or_one_in_use_a_moment_ago(void **state)
{
    static const struct {
        const char *keep_alive;
        int64_t age_ms;
        bool taken;
    } table[] = {
        { "", 0, true },
        { "", 249, true },
        { "", 250, false },
        { "Keep-Alive: timeout=60\r\n", 249, true },
        { "Keep-Alive: timeout=60\r\n", 250, false },
        { "Keep-Alive: timeout=1\r\n", 249, true },
        { "Keep-Alive: timeout=1\r\n", 250, false },
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct taker t, other;
        char answer[128];
        snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\n%sContent-Length: 2\r\n\r\nhi", table[i].keep_alive);
        target.once = false;
        take(&t);
        serve(&t, world_upstream(), answer);
        fake_mono_ms += table[i].age_ms;
        target.once = true;
        take(&t);
        assert_true((t.u != NULL) == table[i].taken && (fake_dial_pending() == 0) == table[i].taken);
        target.once = false;
        take(&other); /* what may be repeated takes the old one */
        assert_true((other.u != NULL) == !table[i].taken);
        while (fake_dial_pending())
            world_upstream();
        assert_true(t.u && other.u && (table[i].taken || !upstream_reused(t.u)));
        upstream_drop(t.u, CLOSE_UNFINISHED);
        upstream_drop(other.u, CLOSE_UNFINISHED);
    }
}

/* One that CONNECT has dialled grows old as well. */
static void a_connection_without_a_request_grows_old_too(void **state)
{
    struct taker t;
    int pair[2];
    (void)state;
    target.once = true;
    for (int64_t age_ms = 249; age_ms <= 250; age_ms++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
        pool_adopt(world.pool, &target, pair[0]);
        fake_mono_ms += age_ms;
        take(&t);
        assert_true((t.u != NULL) == (age_ms < 250));
        if (t.u)
            upstream_drop(t.u, CLOSE_UNFINISHED);
        else
            pool_wait_cancel(&t.wait);
        close(pair[1]);
        world_turn();
    }
}

/* The request and the server's goodbye come in one turn of the loop, and the request is looked at first. */
static void what_cannot_be_sent_twice_never_meets_a_connection_that_has_ended(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct taker t;
        target.once = false;
        take(&t);
        int peer = world_upstream();
        serve(&t, peer, OK);
        if (i == 1)
            assert_int_equal(shutdown(peer, SHUT_RDWR), 0);
        if (i == 2)
            assert_int_equal(write(peer, "x", 1), 1);
        target.once = true;
        t = (struct taker){ .calls = 0 };
        t.u = pool_take(world.pool, &target, &t.wait, on_upstream, &t);
        assert_true((t.u != NULL) == (i == 0));
        if (t.u)
            upstream_drop(t.u, CLOSE_UNFINISHED);
        else
            pool_wait_cancel(&t.wait);
        world_turn();
    }
}

/* At the limit an old one makes room for it. */
static void the_limit_for_one_upstream_is_never_exceeded(void **state)
{
    struct taker a, b;
    int pair[2];
    (void)state;
    world_options.limits.per_upstream = 1;
    take(&a);
    serve(&a, world_upstream(), OK);
    fake_mono_ms += 250;
    target.once = true;
    take(&b);
    assert_true(pool_open(world.pool) == 1 && fake_dial_pending() == 1);
    assert_null(pool_reserve(world.pool, &target));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    pool_adopt(world.pool, &target, pair[0]);
    assert_true(pool_open(world.pool) == 1 && world_closed(pair[1]));
    close(pair[1]);
    world_upstream();
    assert_true(b.u && !upstream_reused(b.u));
    upstream_drop(b.u, CLOSE_UNFINISHED);
    struct pool_place *reserved = pool_reserve(world.pool, &target);
    assert_non_null(reserved);
    take(&a);
    assert_int_equal(fake_dial_pending(), 0);
    pool_release(reserved);
    world_turn();
    assert_int_equal(fake_dial_pending(), 1);
    pool_wait_cancel(&a.wait);
    assert_int_equal(fake_dial_pending(), 0);
}

static void an_attempt_that_nobody_waits_for_ends(void **state)
{
    struct taker a, b;
    (void)state;
    take(&a);
    take(&b);
    assert_int_equal(fake_dial_pending(), 2);
    pool_wait_cancel(&b.wait);
    assert_int_equal(fake_dial_pending(), 1);
    world_upstream();
    assert_true(a.u && b.calls == 0);
    upstream_drop(a.u, CLOSE_UNFINISHED);
    assert_int_equal(pool_open(world.pool), 0);
}

static void a_server_that_says_how_long_it_waits_is_left_before_that(void **state)
{
    static const struct {
        const char *said;
        int64_t kept_ms;
    } table[] = {
        { "timeout=5", 4000 },
        { "timeout=2, max=100", 1600 },
        { "max=7,Timeout = 1", 800 },
        { "timeout=3600", 4000 },
        { "timeout=4294967296", 4000 },
        { "timeout=x", 4000 },
        { "timeout=3\r\nKeep-Alive: timeout=2", 1600 },
        { "timeout=0", 0 },
    };
    char answer[256];
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct taker t;
        take(&t);
        snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nKeep-Alive: %s\r\nContent-Length: 2\r\n\r\nhi",
                 table[i].said);
        serve(&t, world_upstream(), answer);
        if (table[i].kept_ms) {
            fake_timer_run(table[i].kept_ms - 1);
            assert_int_equal(pool_open(world.pool), 1);
            fake_timer_run(1);
        }
        assert_int_equal(pool_open(world.pool), 0);
    }
}

static void an_answer_that_is_not_wanted_is_read_away_only_so_far(void **state)
{
    struct taker t;
    static char much[70000];
    (void)state;
    memset(much, 'x', sizeof much - 1);
    take(&t);
    int peer = world_upstream();
    serve(&t, peer, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 1000000\r\n\r\n");
    assert_int_equal(pool_open(world.pool), 1);
    say(peer, much);
    assert_int_equal(pool_open(world.pool), 0);
    take(&t); /* and not for ever */
    serve(&t, world_upstream(), "HTTP/1.1 401 Unauthorized\r\nContent-Length: 10\r\n\r\n");
    fake_timer_run(4000);
    assert_int_equal(pool_open(world.pool), 0);
}

static void an_answer_that_closes_is_not_kept(void **state)
{
    struct taker t;
    (void)state;
    take(&t);
    serve(&t, world_upstream(), "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
    assert_int_equal(pool_open(world.pool), 0);
}

static void each_one_who_waits_gets_an_attempt_and_its_failure(void **state)
{
    struct taker a, b;
    (void)state;
    take(&a);
    take(&b);
    assert_int_equal(fake_dial_pending(), 2);
    fake_dial_fail(DIAL_REFUSED, "refused");
    world_turn();
    assert_true(a.calls == 1 && !a.u && a.status == 502 && b.calls == 0);
    assert_string_equal(a.label, "connection_refused");
    world_upstream();
    assert_true(b.u && pool_open(world.pool) == 1);
    upstream_drop(b.u, CLOSE_UNFINISHED);
}

static void beyond_the_limit_one_waits_for_what_is_given_back(void **state)
{
    struct taker a, b;
    (void)state;
    world_options.limits.per_upstream = 1;
    take(&a);
    int peer = world_upstream();
    take(&b);
    assert_true(fake_dial_pending() == 0 && b.calls == 0);
    serve(&a, peer, OK);
    assert_true(b.u && b.calls == 1);
    take(&a);
    upstream_drop(b.u, CLOSE_UNFINISHED); /* a broken one makes room too */
    world_turn();
    assert_int_equal(fake_dial_pending(), 1);
    world_upstream();
    assert_non_null(a.u);
    upstream_drop(a.u, CLOSE_UNFINISHED);
}

static void a_wait_has_an_end_and_can_be_left(void **state)
{
    struct taker a, b;
    struct pool_wait zero = { .fn = NULL };
    (void)state;
    pool_wait_cancel(&zero);
    world_options.limits.per_upstream = 0;
    take(&a);
    take(&b);
    pool_wait_cancel(&b.wait);
    pool_wait_cancel(&b.wait);
    fake_timer_run(20000);
    assert_true(a.calls == 1 && a.status == 504 && b.calls == 0);
    assert_string_equal(a.label, "connection_limit_reached");
}

static void a_connection_that_was_dialled_for_connect_waits_for_the_first_request(void **state)
{
    struct taker t;
    int pair[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_false(pool_has(world.pool, &target));
    pool_adopt(world.pool, &target, pair[0]);
    assert_true(pool_has(world.pool, &target));
    take(&t);
    assert_true(t.u && !upstream_reused(t.u) && fake_dial_pending() == 0);
    upstream_drop(t.u, CLOSE_UNFINISHED);
    close(pair[1]);
}

static void in_all_there_are_so_many_and_the_longest_unused_makes_space(void **state)
{
    struct taker t;
    struct authority others[4];
    unsigned before = world_options.limits.connections;
    (void)state;
    world_options.limits.connections = 3;
    for (int i = 0; i < 4; i++) {
        char host[32];
        snprintf(host, sizeof host, WORLD_HOST ":%d", 81 + i);
        assert_int_equal(authority_parse(slice_str(host), SCHEME_HTTP, 80, &others[i]), 0);
        target.a0 = &others[i];
        take(&t);
        if (i == 3) /* the first has gone for it */
            assert_int_equal(pool_open(world.pool), 3);
        serve(&t, world_upstream(), OK);
    }
    for (int i = 0; i < 4; i++) {
        target.a0 = &others[i];
        assert_true(pool_has(world.pool, &target) == (i > 0));
    }
    struct taker busy[4]; /* what is in use is never taken away: clients are limited elsewhere */
    for (int i = 0; i < 4; i++) {
        target.a0 = &others[i];
        take(&busy[i]);
        if (!busy[i].u)
            world_upstream();
    }
    assert_int_equal(pool_open(world.pool), 4);
    for (int i = 0; i < 4; i++)
        upstream_drop(busy[i].u, CLOSE_UNFINISHED);
    world_options.limits.connections = before;
}

static void another_identity_never_gets_the_connection(void **state)
{
    struct taker t;
    struct authority other;
    (void)state;
    take(&t);
    serve(&t, world_upstream(), OK);
    assert_int_equal(authority_parse(SLICE(WORLD_HOST ":81"), SCHEME_HTTP, 80, &other), 0);
    assert_false(pool_has(world.pool, &(struct pool_target){ .a0 = &other }));
    other = a0;
    other.scheme = SCHEME_HTTPS;
    assert_false(pool_has(world.pool, &(struct pool_target){ .a0 = &other }));
    assert_true(pool_has(world.pool, &target));
}

static void names_that_were_made_up_do_not_pile_up(void **state)
{
    size_t before = mallinfo2().uordblks; /* 0 under a sanitizer */
    (void)state;
    for (int i = 0; i < 5000; i++) {
        struct authority made_up;
        char host[32];
        snprintf(host, sizeof host, "h%d.test", i);
        assert_int_equal(authority_parse(slice_str(host), SCHEME_HTTP, 80, &made_up), 0);
        assert_false(pool_has(world.pool, &(struct pool_target){ .a0 = &made_up }));
    }
    assert_in_range(mallinfo2().uordblks - before, 0, 5000 * 256);
}

static void a_pool_that_ends_takes_along_what_is_still_being_dialled(void **state)
{
    struct taker a, b;
    (void)state;
    take(&a);
    take(&b);
    int peer = world_upstream();
    serve(&a, peer, OK); /* the second request gets that one, and its own attempt goes on */
    assert_non_null(b.u);
    upstream_drop(b.u, CLOSE_UNFINISHED);
    assert_int_equal(fake_dial_pending(), 1);
    pool_free(world.pool);
    assert_int_equal(fake_dial_pending(), 0);
    world.pool = NULL;
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, world_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_connection_is_dialled_once_and_used_again),
        T(an_idle_connection_goes_when_its_time_is_over_or_it_can_be_read_from),
        T(a_server_that_says_how_long_it_waits_is_left_before_that),
        T(what_cannot_be_sent_twice_never_meets_a_connection_that_has_ended),
        T(what_cannot_be_sent_twice_gets_a_fresh_connection_or_one_in_use_a_moment_ago),
        T(a_connection_without_a_request_grows_old_too),
        T(the_limit_for_one_upstream_is_never_exceeded),
        T(an_attempt_that_nobody_waits_for_ends),
        T(an_answer_that_is_not_wanted_is_read_away_only_so_far),
        T(an_answer_that_closes_is_not_kept),
        T(each_one_who_waits_gets_an_attempt_and_its_failure),
        T(beyond_the_limit_one_waits_for_what_is_given_back),
        T(a_wait_has_an_end_and_can_be_left),
        T(a_connection_that_was_dialled_for_connect_waits_for_the_first_request),
        T(in_all_there_are_so_many_and_the_longest_unused_makes_space),
        T(another_identity_never_gets_the_connection),
        T(names_that_were_made_up_do_not_pile_up),
        T(a_pool_that_ends_takes_along_what_is_still_being_dialled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
