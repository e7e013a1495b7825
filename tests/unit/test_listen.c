#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "net/listen.h"

static struct listener *listener;
static int fds[64];
static int accepted;
static bool frees, stops;
static struct sockaddr_storage last_peer;

static void on_connection(void *arg, int fd, const struct sockaddr *peer)
{
    assert_string_equal(arg, "me");
    assert_true(accepted < 64);
    memcpy(&last_peer, peer, peer->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    fds[accepted++] = fd;
    if (stops)
        listener_set(listener, false);
    if (frees) {
        listener_free(listener);
        listener = NULL;
    }
}

static struct address loopback(int family)
{
    struct address a = { .len = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6) };
    a.sa.ss_family = (sa_family_t)family;
    if (family == AF_INET)
        ((struct sockaddr_in *)&a.sa)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        ((struct sockaddr_in6 *)&a.sa)->sin6_addr = in6addr_loopback;
    return a;
}

static int open_at(struct address *at, bool shared)
{
    struct err e = { "" };
    int fd = listen_open(at, shared, &e);
    if (fd < 0)
        fail_msg("%s", e.text);
    return fd;
}

static int knock(const struct address *at)
{
    int fd = socket(at->sa.ss_family, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&at->sa, at->len), 0);
    return fd;
}

static void turns(int n)
{
    while (n-- > 0)
        ev_run(loop_get(), EVRUN_NOWAIT);
}

static int begin(void **state)
{
    (void)state;
    accepted = 0;
    frees = stops = false;
    listener = NULL;
    return 0;
}

static int end(void **state)
{
    (void)state;
    listener_free(listener);
    while (accepted > 0)
        close(fds[--accepted]);
    return 0;
}

static void port_zero_is_replaced_by_the_one_that_was_given(void **state)
{
    (void)state;
    const int families[] = { AF_INET, AF_INET6 };
    for (size_t i = 0; i < 2; i++) {
        struct address at = loopback(families[i]);
        struct err e;
        int fd = listen_open(&at, false, &e);
        if (fd < 0 && families[i] == AF_INET6)
            continue; /* a machine without IPv6 */
        assert_true(fd >= 0);
        assert_int_not_equal(((struct sockaddr_in *)&at.sa)->sin_port, 0);
        int flags = 0;
        socklen_t len = sizeof flags;
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &flags, &len), 0);
        assert_int_equal(flags, 0);
        close(knock(&at));
        close(fd);
    }
}

static void every_address_of_ipv6_takes_ipv4_too(void **state)
{
    struct address any, four = loopback(AF_INET);
    (void)state;
    assert_int_equal(address_parse(SLICE("[::]"), 0, &any), 0);
    int fd = open_at(&any, false); /* a machine without IPv6 opens 0.0.0.0 */
    ((struct sockaddr_in *)&four.sa)->sin_port = ((struct sockaddr_in *)&any.sa)->sin_port;
    close(knock(&four));
    close(fd);
}

static void an_address_in_use_is_named_with_a_way_to_find_its_owner(void **state)
{
    (void)state;
    struct address at = loopback(AF_INET);
    int fd = open_at(&at, false);
    struct err e = { "" };
    char text[64];
    assert_int_equal(listen_open(&at, false, &e), -1);
    assert_non_null(strstr(e.text, "address already in use"));
    assert_non_null(strstr(e.text, address_text((struct sockaddr *)&at.sa, text, sizeof text)));
    assert_non_null(strstr(e.text, "ss -ltnp"));
    close(fd);
}

static void shared_listeners_may_have_one_port(void **state)
{
    (void)state;
    struct address at = loopback(AF_INET);
    int one = open_at(&at, true), two = open_at(&at, true);
    close(one);
    close(two);
}

static void a_connection_is_handed_over_ready_for_use(void **state)
{
    (void)state;
    struct address at = loopback(AF_INET);
    int fd = open_at(&at, false);
    listener = listener_new(fd, on_connection, "me");
    int peer = knock(&at);
    turns(1);
    assert_int_equal(accepted, 1);
    int nodelay = 0;
    socklen_t len = sizeof nodelay;
    assert_int_equal(getsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &nodelay, &len), 0);
    assert_int_not_equal(nodelay, 0);
    assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
    struct sockaddr_in own;
    len = sizeof own;
    assert_int_equal(getsockname(peer, (struct sockaddr *)&own, &len), 0);
    assert_int_equal(((struct sockaddr_in *)&last_peer)->sin_port, own.sin_port);
    close(peer);
    close(fd);
}

static void one_wake_up_accepts_sixteen(void **state)
{
    (void)state;
    struct address at = loopback(AF_INET);
    int fd = open_at(&at, false), peers[20];
    listener = listener_new(fd, on_connection, "me");
    for (int i = 0; i < 20; i++)
        peers[i] = knock(&at);
    turns(1);
    assert_int_equal(accepted, 16);
    turns(1);
    assert_int_equal(accepted, 20);
    for (int i = 0; i < 20; i++)
        close(peers[i]);
    close(fd);
}

static void a_stopped_listener_leaves_connections_in_the_backlog(void **state)
{
    (void)state;
    struct address at = loopback(AF_INET);
    int fd = open_at(&at, false);
    listener = listener_new(fd, on_connection, "me");
    stops = true;
    int one = knock(&at), two = knock(&at);
    turns(3);
    assert_int_equal(accepted, 1); /* stopped inside the callback */
    stops = false;
    listener_set(listener, true);
    turns(1);
    assert_int_equal(accepted, 2);
    close(one);
    close(two);
    close(fd);
}

static void a_listener_may_be_freed_inside_its_callback(void **state)
{
    (void)state;
    struct address at = loopback(AF_INET);
    int fd = open_at(&at, false);
    listener = listener_new(fd, on_connection, "me");
    frees = true;
    int one = knock(&at), two = knock(&at);
    turns(3);
    assert_int_equal(accepted, 1);
    assert_null(listener);
    close(one);
    close(two);
    close(fd);
}

static ev_tstamp run_once(void)
{
    ev_tstamp before = ev_time();
    ev_run(loop_get(), EVRUN_ONCE);
    return ev_time() - before;
}

static size_t lines_in(const char *path)
{
    char text[4096];
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, text, sizeof text);
    size_t lines = 0;
    for (ssize_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    close(fd);
    return lines;
}

static void without_descriptors_it_pauses_says_so_once_and_goes_on_later(void **state)
{
    (void)state;
    struct address at = loopback(AF_INET);
    char log_path[] = "/tmp/sidekey-test-XXXXXX";
    int log_fd = mkstemp(log_path);
    log_setup("test", LOG_INFO, LOG_JSON, log_fd);
    int fd = open_at(&at, false);
    listener = listener_new(fd, on_connection, "me");
    int peer = knock(&at);
    struct rlimit limit, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){ 0, limit.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    turns(50); /* the descriptor is readable all the time: without the pause each turn would try, and say so */
    assert_true(run_once() > 0.05);
    turns(5);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(accepted, 0);
    assert_int_equal(lines_in(log_path), 1);
    while (accepted == 0)
        run_once();
    assert_int_equal(accepted, 1);
    log_setup("test", LOG_INFO, LOG_JSON, 2);
    close(log_fd);
    unlink(log_path);
    close(peer);
    close(fd);
}

static void a_pause_survives_stop_go_and_free(void **state)
{
    (void)state;
    struct address at = loopback(AF_INET);
    int fd = open_at(&at, false);
    listener = listener_new(fd, on_connection, "me");
    int peer = knock(&at);
    struct rlimit limit, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){ 0, limit.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    log_setup("test", LOG_ERROR, LOG_JSON, 2);
    turns(2);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    listener_set(listener, false);
    listener_set(listener, true);
    turns(2);
    assert_int_equal(accepted, 0); /* still pausing */
    listener_free(listener);
    listener = NULL;
    ev_run(loop_get(), EVRUN_NOWAIT);
    log_setup("test", LOG_INFO, LOG_JSON, 2);
    close(peer);
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(port_zero_is_replaced_by_the_one_that_was_given),
        TEST(every_address_of_ipv6_takes_ipv4_too),
        TEST(an_address_in_use_is_named_with_a_way_to_find_its_owner),
        TEST(shared_listeners_may_have_one_port),
        TEST(a_connection_is_handed_over_ready_for_use),
        TEST(one_wake_up_accepts_sixteen),
        TEST(a_stopped_listener_leaves_connections_in_the_backlog),
        TEST(a_listener_may_be_freed_inside_its_callback),
        TEST(without_descriptors_it_pauses_says_so_once_and_goes_on_later),
        TEST(a_pause_survives_stop_go_and_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
