#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/peer_uid.h"

static int listener, client = -1, accepted = -1;

static bool bound; /* the client's socket is tied to the interface */

/* One connection; the client's socket may be of IPv6 and dial a mapped address, as the preload library makes it do. */
static void connect_as(bool mapped, uid_t uid)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in6 at6 = { .sin6_family = AF_INET6 };
    socklen_t len = sizeof at;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 4), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    assert_int_equal(inet_pton(AF_INET6, "::ffff:127.0.0.1", &at6.sin6_addr), 1);
    at6.sin6_port = at.sin_port;
    client = socket(mapped ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client < 0)
        skip(); /* no IPv6 here */
    if (uid)
        assert_int_equal(fchown(client, uid, (gid_t)-1), 0);
    if (bound)
        assert_int_equal(setsockopt(client, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2), 0);
    assert_int_equal(mapped ? connect(client, (struct sockaddr *)&at6, sizeof at6)
                            : connect(client, (struct sockaddr *)&at, sizeof at),
                     0);
    accepted = accept(listener, NULL, NULL);
    assert_true(accepted >= 0);
}

static int down(void **state)
{
    (void)state;
    bound = false;
    close(listener);
    close(client);
    close(accepted);
    return 0;
}

static void the_user_who_made_the_socket_is_known(void **state)
{
    uid_t uid = 12345;
    (void)state;
    connect_as(false, 0);
    assert_int_equal(peer_uid(accepted, &uid), 0);
    assert_int_equal(uid, geteuid());
}

static void also_of_an_ipv6_socket_that_dials_a_mapped_address(void **state)
{
    uid_t uid = 12345;
    (void)state;
    connect_as(true, 0);
    assert_int_equal(peer_uid(accepted, &uid), 0);
    assert_int_equal(uid, geteuid());
}

/* curl --interface lo */
static void also_of_a_socket_that_is_bound_to_the_interface(void **state)
{
    uid_t uid = 12345;
    (void)state;
    for (int mapped = 0; mapped < 2; mapped++) {
        bound = true;
        connect_as(mapped, 0);
        assert_int_equal(peer_uid(accepted, &uid), 0);
        assert_int_equal(uid, geteuid());
        assert_true(peer_uid_holds(accepted));
        if (!mapped)
            down(NULL);
    }
}

static void another_user_is_another_user(void **state)
{
    uid_t uid = 0;
    (void)state;
    if (geteuid() != 0)
        skip(); /* nobody else gives a socket away */
    connect_as(false, 65534);
    assert_int_equal(peer_uid(accepted, &uid), 0);
    assert_int_equal(uid, 65534);
}

/* What is left of it in the kernel says uid 0. */
static void a_socket_that_nobody_holds_any_more_is_nobodys(void **state)
{
    uid_t uid = 12345;
    (void)state;
    connect_as(false, 0);
    close(client);
    client = -1;
    assert_true(peer_uid(accepted, &uid) < 0);
    assert_int_equal(uid, 12345);
}

static void what_is_no_tcp_connection_is_an_error(void **state)
{
    uid_t uid;
    int pair[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(peer_uid(pair[0], &uid), -EAFNOSUPPORT);
    assert_int_equal(peer_uid(-1, &uid), -EBADF);
    close(pair[0]);
    close(pair[1]);
}

static void who_has_ended_its_side_and_who_is_gone_are_told_apart(void **state)
{
    int pair[2];
    (void)state;
    connect_as(false, 0);
    assert_int_equal(shutdown(client, SHUT_WR), 0);
    assert_true(peer_uid_holds(accepted));
    close(client);
    client = -1;
    assert_false(peer_uid_holds(accepted));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
    assert_true(peer_uid_holds(pair[0]));
    close(pair[1]);
    assert_false(peer_uid_holds(pair[0]));
    close(pair[0]);
}

#define T(name) cmocka_unit_test_teardown(name, down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_user_who_made_the_socket_is_known),
        T(also_of_an_ipv6_socket_that_dials_a_mapped_address),
        T(also_of_a_socket_that_is_bound_to_the_interface),
        T(another_user_is_another_user),
        T(a_socket_that_nobody_holds_any_more_is_nobodys),
        T(who_has_ended_its_side_and_who_is_gone_are_told_apart),
        cmocka_unit_test(what_is_no_tcp_connection_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
