/* links: tests/fakes/proxy_world.c tests/fakes/fake_timer.c tests/fakes/fake_dial.c tests/fakes/fake_clock.c */
#include "tests/fakes/proxy_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define GET(fields) "GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n" fields "\r\n"
#define CI "Proxy-Authorization: Basic Y2k6Y2ktcGFzc3dvcmQ=\r\n"          /* ci:ci-password */
#define GUEST "Proxy-Authorization: basic Z3Vlc3Q6Z3Vlc3Q6cGFzcw==\r\n"   /* guest:guest:pass */
#define CROSSED "Proxy-Authorization: Basic Z3Vlc3Q6Y2ktcGFzc3dvcmQ=\r\n" /* guest:ci-password */
#define RUN "Proxy-Authorization: Basic eDpydW4tcGFzc3dvcmQ=\r\n"         /* x:run-password */

static char ci[] = "ci", guest[] = "guest", crm[] = "crm", ci_variable[] = "TEST_ACCESS_CI",
            guest_variable[] = "TEST_ACCESS_GUEST";
static char *all_rules[] = { crm, NULL }, *no_rules[] = { NULL };
static struct client_spec specs[] = {
    { .name = ci, .password = { .kind = SECRET_REF_ENV, .name = ci_variable }, .rules = all_rules },
    { .name = guest, .password = { .kind = SECRET_REF_ENV, .name = guest_variable }, .rules = no_rules },
};

static void renew(void)
{
    struct err e;
    clients_close(&world); /* they hold what they were admitted as */
    access_free(world.access);
    world.access = access_new(&world_options, &e);
    assert_non_null(world.access);
}

static int up_with_clients(void **state)
{
    int failed = world_up(state);
    setenv(ci_variable, "ci-password", 1);
    setenv(guest_variable, "guest:pass", 1);
    world_options.clients = specs;
    world_options.client_count = 2;
    renew();
    return failed;
}

static void who_cannot_say_who_it_is_is_asked_and_may_try_again(void **state)
{
    static const char *const requests[] = {
        GET(""),
        GET(CROSSED),
        GET(RUN),
        GET("Proxy-Authorization: Bearer x\r\n"),
        GET("Proxy-Authorization: Basic ***\r\n"),
        GET("Proxy-Authorization: Basic Y2k=\r\n") /* ci */,
        GET("Proxy-Authorization: Basic Y2k6\r\n") /* ci: */,
    };
    (void)state;
    bool eof;
    int c = world_client();
    say(c, "CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: 127.0.0.1:443\r\n\r\n");
    assert_true(has(hear(c, &eof), "407 Proxy Authentication Required") && eof);
    c = world_client();
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        say(c, requests[i]);
        const char *answer = hear(c, &eof);
        assert_true(has(answer, "407 Proxy Authentication Required")
                    && has(answer, "Proxy-Authenticate: Basic realm=\"sidekey\"") && !eof);
    }
    assert_int_equal(fake_dial_pending(), 0);
    world_token(1, "token-1", 60000);
    say(c, GET(CI));
    assert_true(has(hear(world_upstream(), NULL), "Bearer token-1\r\n"));
}

static void a_client_uses_its_rules_and_its_password_stays_here(void **state)
{
    (void)state;
    int c = world_client();
    world_token(1, "token-1", 60000);
    say(c, GET(CI));
    int up = world_upstream();
    const char *request = hear(up, NULL);
    assert_true(has(request, "Bearer token-1\r\n") && !has(request, "Basic"));
    say(up, "HTTP/1.1 204 No Content\r\n\r\n");
    assert_true(has(hear(c, NULL), "204"));
    assert_true(world_count("sidekey_requests_total{rule=\"crm\",code_class=\"2xx\",injected=\"yes\"}") == 1);
}

static void a_rule_of_others_does_not_exist_for_a_client(void **state)
{
    (void)state;
    int c = world_client();
    world_token(1, "token-1", 60000);
    say(c, GET(GUEST));
    assert_false(has(hear(world_upstream(), NULL), "token-1"));
    world_options.unmatched = UNMATCHED_DENY;
    c = world_client();
    say(c, GET(GUEST));
    assert_true(has(hear(c, NULL), "host_not_allowed"));
    say(c, "CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n" GUEST "\r\n");
    assert_true(has(hear(c, NULL), "host_not_allowed"));
}

static void each_request_of_a_connection_speaks_for_itself(void **state)
{
    (void)state;
    world_options.unmatched = UNMATCHED_DENY;
    int c = world_client();
    world_token(1, "token-1", 60000);
    say(c, GET(GUEST));
    assert_true(has(hear(c, NULL), "host_not_allowed"));
    say(c, GET(CI));
    int up = world_upstream();
    say(up, "HTTP/1.1 204 No Content\r\n\r\n");
    assert_true(has(hear(c, NULL), "204"));
    say(c, GET(""));
    assert_true(has(hear(c, NULL), "407"));
}

static void the_password_of_run_still_has_all_rules(void **state)
{
    (void)state;
    world_options.proxy_password = "run-password";
    int c = world_client();
    world_token(1, "token-1", 60000);
    say(c, GET(RUN));
    assert_true(has(hear(world_upstream(), NULL), "Bearer token-1\r\n"));
    world_options.client_count = 0;
    renew();
    c = world_client();
    say(c, GET(CI));
    assert_true(has(hear(c, NULL), "407"));
    say(c, GET("")); /* the kernel does not say whose socket this is */
    assert_true(has(hear(c, NULL), "407"));
}

/* guest is this process's user. */
static uid_t own_uid, other_uid;

static void know_uids(void)
{
    own_uid = geteuid();
    other_uid = own_uid + 1;
    specs[0].uids = &other_uid;
    specs[1].uids = &own_uid;
    specs[0].uid_count = specs[1].uid_count = 1;
    renew();
}

static int down_without_uids(void **state)
{
    specs[0].uid_count = specs[1].uid_count = 0;
    specs[1].password.kind = SECRET_REF_ENV;
    return world_down(state);
}

static void on_the_socket_the_kernel_says_who_it_is(void **state)
{
    (void)state;
    know_uids();
    world_options.unmatched = UNMATCHED_DENY;
    world_token(1, "token-1", 60000);
    int c = world_local_client();
    say(c, GET(""));
    assert_true(has(hear(c, NULL), "host_not_allowed")); /* guest's rules, which are none */
    specs[0].uids = &own_uid;
    specs[1].uids = &other_uid;
    renew();
    c = world_local_client();
    say(c, GET(""));
    assert_true(has(hear(world_upstream(), NULL), "Bearer token-1\r\n"));
}

static void a_password_says_more_than_a_uid_and_a_wrong_one_says_no(void **state)
{
    (void)state;
    know_uids();
    world_token(1, "token-1", 60000);
    int c = world_local_client();
    say(c, GET(CROSSED));
    assert_true(has(hear(c, NULL), "407 Proxy Authentication Required"));
    say(c, GET(CI));
    assert_true(has(hear(world_upstream(), NULL), "Bearer token-1\r\n"));
}

static void a_stranger_on_the_socket_is_refused_and_told_the_way_out(void **state)
{
    (void)state;
    bool eof;
    char uid[32];
    know_uids();
    specs[1].uid_count = 0;
    snprintf(uid, sizeof uid, "uid %u", (unsigned)own_uid);
    int c = world_local_client();
    say(c, "CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n");
    const char *answer = hear(c, &eof);
    assert_true(has(answer, "403 Forbidden") && has(answer, "peer_not_allowed") && has(answer, "clients.NAME.uids")
                && has(answer, uid) && eof);
    assert_int_equal(fake_dial_pending(), 0);
    assert_true(world_count("sidekey_refused_total{reason=\"peer_not_allowed\"}") == 1);
    c = world_local_client();
    say(c, GET(CI));
    world_token(1, "token-1", 60000);
    assert_true(has(hear(world_upstream(), NULL), "Bearer token-1\r\n"));
}

static void no_uid_is_taken_from_elsewhere(void **state)
{
    (void)state;
    know_uids();
    int c = world_client();
    say(c, GET(""));
    assert_true(has(hear(c, NULL), "407 Proxy Authentication Required"));
}

static void a_client_without_a_password_has_none_that_fits(void **state)
{
    static const char *const requests[] = {
        GET(GUEST),
        GET("Proxy-Authorization: Basic Z3Vlc3Q6\r\n") /* guest: */,
        GET("Proxy-Authorization: Basic Z3Vlc3Q=\r\n") /* guest */,
    };
    (void)state;
    specs[1].password.kind = SECRET_REF_NONE;
    know_uids();
    int c = world_local_client(), tcp = world_client();
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        say(c, requests[i]);
        assert_true(has(hear(c, NULL), "407"));
        say(tcp, requests[i]);
        assert_true(has(hear(tcp, NULL), "407"));
    }
}

static void without_clients_the_socket_is_as_open_as_the_port(void **state)
{
    (void)state;
    world_options.client_count = 0;
    renew();
    world_token(1, "token-1", 60000);
    int c = world_local_client();
    say(c, GET(""));
    assert_true(has(hear(world_upstream(), NULL), "Bearer token-1\r\n"));
}

static void connect_goes_to_the_ports_that_are_listed_and_to_those_of_rules(void **state)
{
    static const uint16_t ports[] = { 443, 8443, 0 }, none[] = { 0 };
    static const struct {
        const uint16_t *ports;
        const char *target;
        bool refused;
    } rows[] = {
        { NULL, "127.0.0.1:25", false }, { ports, "127.0.0.1:25", true }, { ports, "127.0.0.1:8443", false },
        { none, "127.0.0.1:443", true }, { none, "127.0.0.1:80", false }, { ports, "127.0.0.1:84", true },
    };
    (void)state;
    world_options.client_count = 0;
    renew();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char request[128];
        world_options.connect_ports = rows[i].ports;
        int c = world_client();
        snprintf(request, sizeof request, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", rows[i].target, rows[i].target);
        say(c, request);
        if (!rows[i].refused)
            world_upstream();
        const char *answer = hear(c, NULL);
        if (has(answer, "port_not_allowed") != rows[i].refused || has(answer, rows[i].refused ? "403" : "200") == false)
            fail_msg("row %zu: %s", i, answer);
    }
}

static void a_password_that_is_not_there_is_told_by_its_name(void **state)
{
    struct err e;
    (void)state;
    unsetenv(guest_variable);
    assert_null(access_new(&world_options, &e));
    assert_true(has(e.text, "clients.guest.password: ") && has(e.text, guest_variable));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, up_with_clients, down_without_uids)
    const struct CMUnitTest tests[] = {
        T(who_cannot_say_who_it_is_is_asked_and_may_try_again),
        T(a_client_uses_its_rules_and_its_password_stays_here),
        T(a_rule_of_others_does_not_exist_for_a_client),
        T(each_request_of_a_connection_speaks_for_itself),
        T(the_password_of_run_still_has_all_rules),
        T(on_the_socket_the_kernel_says_who_it_is),
        T(a_password_says_more_than_a_uid_and_a_wrong_one_says_no),
        T(a_stranger_on_the_socket_is_refused_and_told_the_way_out),
        T(no_uid_is_taken_from_elsewhere),
        T(a_client_without_a_password_has_none_that_fits),
        T(without_clients_the_socket_is_as_open_as_the_port),
        T(connect_goes_to_the_ports_that_are_listed_and_to_those_of_rules),
        T(a_password_that_is_not_there_is_told_by_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
