/* Unit tests of net/dial with real sockets on loopback: accepted, refused, silent, forbidden, overridden, cancelled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net/dial/dial.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* --- the other side --- */

static int bound(int family, int type, uint16_t *io_port)
{
    struct address a;
    socklen_t len = sizeof a.sa;
    assert_int_equal(address_parse(family == AF_INET ? SLICE("127.0.0.1") : SLICE("[::1]"), *io_port, &a), 0);
    int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a.sa, a.len) != 0
        || getsockname(fd, (struct sockaddr *)&a.sa, &len) != 0) {
        close(fd);
        return -1;
    }
    *io_port = ntohs(((struct sockaddr_in *)(void *)&a.sa)->sin_port); /* at the same place in both families */
    return fd;
}

static int listener(int family, uint16_t *io_port)
{
    int fd = bound(family, SOCK_STREAM, io_port);
    assert_true(fd >= 0 && listen(fd, 16) == 0);
    return fd;
}

/* Both families on one port; only_v6: IPv4 refuses. */
static void pair(int ret_fds[2], uint16_t *ret_port)
{
    for (int tries = 0; tries < 20; tries++) {
        *ret_port = 0;
        ret_fds[0] = bound(AF_INET, SOCK_STREAM, ret_port);
        ret_fds[1] = bound(AF_INET6, SOCK_STREAM, ret_port);
        if (ret_fds[0] >= 0 && ret_fds[1] >= 0)
            return;
        close(ret_fds[0]);
        close(ret_fds[1]);
    }
    fail_msg("no port that is free in both families");
}

/* A port that was free a moment ago. */
static uint16_t closed_port(void)
{
    uint16_t port = 0;
    close(bound(AF_INET, SOCK_STREAM, &port));
    return port;
}

/* Fills the queue of a listener until it answers no more; the connections that hold it full. */
static bool fill(int listening, uint16_t port, int held[8])
{
    struct address a;
    bool silent = false;
    assert_int_equal(listen(listening, 0), 0);
    assert_int_equal(address_parse(SLICE("127.0.0.1"), port, &a), 0);
    for (int i = 0; i < 8; i++) {
        held[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(held[i], (struct sockaddr *)&a.sa, a.len);
        struct pollfd p = { .fd = held[i], .events = POLLOUT };
        silent = poll(&p, 1, 50) == 0;
    }
    return silent;
}

static void let_go(int held[8])
{
    for (int i = 0; i < 8; i++)
        close(held[i]);
}

/* --- the dialling side --- */

struct told {
    int calls, fd;
    enum dial_error error;
    char text[512];
};

static void on_told(void *arg, int fd, enum dial_error error, const char *text)
{
    struct told *t = arg;
    t->calls++;
    t->fd = fd;
    t->error = error;
    snprintf(t->text, sizeof t->text, "%s", text);
}

static struct dialer *dialer_of(struct dial_options options, const char *allow)
{
    static struct address list[4];
    struct err e = { "" };
    size_t n = 0;
    for (struct slice rest = slice_str(allow); rest.len; n++)
        assert_int_equal(address_parse_network(slice_cut(rest, ' ', &rest), &list[n]), 0);
    options.policy = (struct address_policy){ list, n };
    struct dialer *d = dialer_new(&options, &e);
    if (!d)
        fail_msg("%s", e.text);
    ev_now_update(loop_get());
    return d;
}

static struct authority to(const char *host, uint16_t port)
{
    struct authority a = { .scheme = SCHEME_HTTPS, .kind = HOST_NAME, .port = port };
    snprintf(a.host, sizeof a.host, "%s", host);
    if (strchr(host, ':'))
        a.kind = HOST_IPV6;
    return a;
}

static struct dial *start(struct dialer *d, const char *host, uint16_t port, struct told *t)
{
    struct authority a = to(host, port);
    *t = (struct told){ .fd = -1 };
    struct dial *dial = dial_start(d, &a, on_told, t);
    assert_non_null(dial);
    assert_int_equal(t->calls, 0); /* never inside the call */
    return dial;
}

static void on_too_late(struct ev_loop *loop, ev_timer *w, int revents)
{
    (void)loop, (void)w, (void)revents;
    fail_msg("no end within 60 s");
}

static void wait_for(const struct told *t)
{
    ev_timer guard;
    ev_now_update(loop_get());
    ev_timer_init(&guard, on_too_late, 60., 0.);
    ev_timer_start(loop_get(), &guard);
    for (ev_run(loop_get(), EVRUN_NOWAIT); t->calls == 0;)
        ev_run(loop_get(), EVRUN_ONCE);
    ev_timer_stop(loop_get(), &guard);
    assert_int_equal(t->calls, 1);
}

static void turns(int n)
{
    while (n--)
        ev_run(loop_get(), EVRUN_NOWAIT);
}

static void dial_and_wait(struct dialer *d, const char *host, uint16_t port, struct told *t)
{
    (void)start(d, host, port, t);
    wait_for(t);
}

static void assert_failed(const struct told *t, enum dial_error error, const char *text)
{
    if (t->error != error || strcmp(t->text, text) != 0)
        fail_msg("%s: \"%s\" instead of \"%s\"", dial_error_label(t->error), t->text, text);
    assert_int_equal(t->fd, -1);
}

static uint16_t peer_port(int fd)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    assert_int_equal(getpeername(fd, (struct sockaddr *)&sa, &len), 0);
    return ntohs(((struct sockaddr_in *)(void *)&sa)->sin_port);
}

static int open_descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static void a_connection_comes_with_its_options_set(void **state)
{
    (void)state;
    uint16_t port = 0;
    int other = listener(AF_INET, &port);
    struct dialer *d = dialer_of((struct dial_options){ 0 }, "127.0.0.0/8");
    struct told t;
    dial_and_wait(d, "127.0.0.1", port, &t);
    assert_int_equal(t.error, DIAL_OK);
    assert_string_equal(t.text, "");
    assert_true(t.fd >= 0);
    assert_int_equal(peer_port(t.fd), port);
    assert_true(fcntl(t.fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(t.fd, F_GETFD) & FD_CLOEXEC);
    assert_int_not_equal(option(t.fd, IPPROTO_TCP, TCP_NODELAY), 0);
    assert_int_not_equal(option(t.fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    close(t.fd);
    close(other);
    dialer_free(d);
}

static void a_refused_connection_says_who_refused(void **state)
{
    (void)state;
    uint16_t port = closed_port();
    struct dialer *d = dialer_of((struct dial_options){ 0 }, "127.0.0.0/8");
    struct told t;
    char text[128];
    dial_and_wait(d, "127.0.0.1", port, &t);
    snprintf(text, sizeof text, "127.0.0.1:%u: connection refused (127.0.0.1:%u)", port, port);
    assert_failed(&t, DIAL_REFUSED, text);
    dialer_free(d);
}

static void forbidden_addresses_are_not_dialled(void **state)
{
    (void)state;
    static const struct {
        const char *host, *text;
    } rows[] = {
        { "127.0.0.1", "127.0.0.1:443: loopback address that network.allow_private does not list (127.0.0.1:443)" },
        { "::1", "[::1]:443: loopback address that network.allow_private does not list ([::1]:443)" },
        { "10.9.9.9", "10.9.9.9:443: private address that network.allow_private does not list (10.9.9.9:443)" },
        { "169.254.169.254", "169.254.169.254:443: cloud metadata addresses are always refused (169.254.169.254:443)" },
        { "169.254.1.1", "169.254.1.1:443: link-local addresses are always refused (169.254.1.1:443)" },
        { "::ffff:169.254.169.254",
          "[::ffff:169.254.169.254]:443: cloud metadata addresses are always refused ([::ffff:169.254.169.254]:443)" },
        { "0.0.0.0", "0.0.0.0:443: unusable addresses are always refused (0.0.0.0:443)" },
    };
    struct dialer *d = dialer_of((struct dial_options){ 0 }, "192.168.0.0/16");
    int before = open_descriptors();
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct told t;
        dial_and_wait(d, rows[i].host, 443, &t);
        assert_failed(&t, DIAL_FORBIDDEN, rows[i].text);
    }
    assert_int_equal(open_descriptors(), before);
    dialer_free(d);
}

static void each_address_of_a_name_is_judged(void **state)
{
    (void)state;
    int fds[2];
    uint16_t port;
    struct told t;
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    pair(fds, &port);
    assert_int_equal(listen(fds[0], 4) | listen(fds[1], 4), 0);
    struct dialer *d = dialer_of((struct dial_options){ 0 }, "::1"); /* 127.0.0.1 would come first, and accept */
    dial_and_wait(d, "localhost", port, &t);
    assert_int_equal(t.error, DIAL_OK);
    assert_int_equal(getpeername(t.fd, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(sa.ss_family, AF_INET6);
    close(t.fd);
    dialer_free(d);
    d = dialer_of((struct dial_options){ 0 }, "");
    dial_and_wait(d, "localhost", port, &t);
    assert_int_equal(t.error, DIAL_FORBIDDEN);
    dialer_free(d);
    close(fds[0]);
    close(fds[1]);
}

static void an_override_goes_where_the_operator_says_whatever_the_class(void **state)
{
    (void)state;
    uint16_t ports[3] = { 0, 0, 0 };
    int others[3];
    for (size_t i = 0; i < 3; i++)
        others[i] = listener(AF_INET, &ports[i]);
    char exact[] = "api.example.com", any[] = "any.example.com";
    struct dial_override list[4] = {
        { any, 0, { .len = 0 } }, { any, 8443, { .len = 0 } }, { exact, 443, { .len = 0 } }, { any, 0, { .len = 0 } }
    };
    assert_int_equal(address_parse(SLICE("127.0.0.1"), 0, &list[0].to), 0); /* the port asked for */
    assert_int_equal(address_parse(SLICE("127.0.0.1"), ports[1], &list[1].to), 0);
    assert_int_equal(address_parse(SLICE("127.0.0.1"), ports[2], &list[2].to), 0);
    assert_int_equal(address_parse(SLICE("127.0.0.1"), 1, &list[3].to), 0);
    const struct {
        const char *host;
        uint16_t port, want;
    } rows[] = { { any, ports[0], ports[0] }, { any, 8443, ports[1] }, { exact, 443, ports[2] } };
    struct dialer *d = dialer_of((struct dial_options){ .overrides = list, .override_count = 4 }, "");
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct told t;
        dial_and_wait(d, rows[i].host, rows[i].port, &t);
        assert_int_equal(t.error, DIAL_OK);
        assert_int_equal(peer_port(t.fd), rows[i].want);
        close(t.fd);
    }
    for (size_t i = 0; i < 3; i++)
        close(others[i]);
    dialer_free(d);
}

static void an_overridden_name_is_named_when_it_fails(void **state)
{
    (void)state;
    char host[] = "api.example.com", text[128];
    uint16_t port = closed_port();
    struct dial_override o = { host, 443, { .len = 0 } };
    struct told t;
    assert_int_equal(address_parse(SLICE("127.0.0.1"), port, &o.to), 0);
    struct dialer *d = dialer_of((struct dial_options){ .overrides = &o, .override_count = 1 }, "");
    dial_and_wait(d, "api.example.com", 443, &t);
    snprintf(text, sizeof text, "api.example.com:443: connection refused (127.0.0.1:%u)", port);
    assert_failed(&t, DIAL_REFUSED, text);
    dialer_free(d);
}

static void an_override_of_another_port_does_not_apply(void **state)
{
    (void)state;
    char host[] = "127.0.0.1";
    uint16_t port = 0;
    int other = listener(AF_INET, &port);
    struct dial_override o = { host, 443, { .len = 0 } };
    struct told t;
    assert_int_equal(address_parse(SLICE("127.0.0.1"), port, &o.to), 0);
    struct dialer *d = dialer_of((struct dial_options){ .overrides = &o, .override_count = 1 }, "");
    dial_and_wait(d, "127.0.0.1", 444, &t);
    assert_int_equal(t.error, DIAL_FORBIDDEN);
    dialer_free(d);
    close(other);
}

static void a_refusing_family_gives_way_to_the_other_at_once(void **state)
{
    (void)state;
    int fds[2];
    uint16_t port;
    struct told t;
    pair(fds, &port);
    assert_int_equal(listen(fds[1], 4), 0); /* IPv4 is bound and does not listen */
    struct dialer *d = dialer_of((struct dial_options){ 0 }, "127.0.0.1 ::1");
    double before = ev_time();
    dial_and_wait(d, "localhost", port, &t);
    assert_int_equal(t.error, DIAL_OK);
    assert_true(ev_time() - before < 0.2);
    close(t.fd);
    close(fds[1]);
    dial_and_wait(d, "localhost", port, &t); /* now both refuse */
    assert_int_equal(t.error, DIAL_REFUSED);
    close(fds[0]);
    dialer_free(d);
}

static void a_silent_family_costs_a_quarter_of_a_second(void **state)
{
    (void)state;
    int fds[2], held[8];
    uint16_t port;
    struct told t;
    pair(fds, &port);
    assert_int_equal(listen(fds[1], 4), 0);
    bool silent = fill(fds[0], port, held);
    if (silent) {
        int before = open_descriptors();
        struct dialer *d = dialer_of((struct dial_options){ 0 }, "127.0.0.1 ::1");
        double start_s = ev_time();
        dial_and_wait(d, "localhost", port, &t);
        double took_s = ev_time() - start_s;
        assert_int_equal(t.error, DIAL_OK);
        assert_true(took_s > 0.2 && took_s < 0.9); /* the kernel itself would ask again after 1 s */
        close(t.fd);
        dialer_free(d);
        assert_int_equal(open_descriptors(), before); /* the loser is closed */
    }
    let_go(held);
    close(fds[0]);
    close(fds[1]);
    if (!silent)
        skip();
}

static void a_silent_host_ends_at_the_deadline(void **state)
{
    (void)state;
    uint16_t port = 0;
    int held[8], other = listener(AF_INET, &port);
    bool silent = fill(other, port, held);
    if (silent) {
        struct dialer *d = dialer_of((struct dial_options){ .timeout_ms = 60 }, "127.0.0.1");
        struct told t;
        char text[128];
        dial_and_wait(d, "127.0.0.1", port, &t);
        snprintf(text, sizeof text, "127.0.0.1:%u: no connection within 0.06 s (127.0.0.1:%u)", port, port);
        assert_failed(&t, DIAL_TIMEOUT, text);
        dialer_free(d);
    }
    let_go(held);
    close(other);
    if (!silent)
        skip();
}

static void names_that_cannot_be_resolved_are_dns_errors(void **state)
{
    (void)state;
    uint16_t port = 0;
    int mute = bound(AF_INET, SOCK_DGRAM, &port);
    char where[32];
    struct told t;
    snprintf(where, sizeof where, "127.0.0.1:%u", port);
    struct dialer *d = dialer_of((struct dial_options){ .name_servers = where, .timeout_ms = 60 }, "");
    dial_and_wait(d, "api.example.com", 443, &t);
    assert_failed(&t, DIAL_DNS, "api.example.com:443: no response from the name servers within 0.06 s");
    dialer_free(d);
    close(mute); /* now the kernel refuses; versions of c-ares call that by different names */
    d = dialer_of((struct dial_options){ .name_servers = where }, "");
    dial_and_wait(d, "api.example.com", 443, &t);
    assert_int_equal(t.error, DIAL_DNS);
    assert_memory_equal(t.text, "api.example.com:443: ", 21);
    assert_true(strlen(t.text) > 30);
    dialer_free(d);
}

static void a_dial_can_be_cancelled_in_every_state(void **state)
{
    (void)state;
    uint16_t port = 0, dns_port = 0;
    int other = listener(AF_INET, &port), mute = bound(AF_INET, SOCK_DGRAM, &dns_port), before = open_descriptors();
    char where[32];
    struct told t[5];
    snprintf(where, sizeof where, "127.0.0.1:%u", dns_port);
    struct dialer *d = dialer_of((struct dial_options){ .name_servers = where }, "127.0.0.1");
    dial_cancel(NULL);
    dial_cancel(start(d, "127.0.0.1", port, &t[0])); /* the resolver has not told yet */
    struct dial *asking = start(d, "api.example.com", 443, &t[1]);
    turns(3);
    dial_cancel(asking); /* the name server is silent */
    struct dial *refused = start(d, "10.0.0.1", 443, &t[2]);
    dial_cancel(refused);
    char host[] = "o.example.com";
    struct dial_override o = { host, 0, { .len = 0 } };
    assert_int_equal(address_parse(SLICE("127.0.0.1"), port, &o.to), 0);
    struct dialer *overriding = dialer_of((struct dial_options){ .overrides = &o, .override_count = 1 }, "");
    dial_cancel(start(overriding, "o.example.com", 443, &t[3])); /* connecting */
    turns(5);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(t[i].calls, 0);
    dialer_free(overriding);
    dialer_free(d);
    turns(3);
    assert_int_equal(open_descriptors(), before);
    close(other);
    close(mute);
}

static struct dial *twins[2];
static int twin_calls;

static void cancel_the_other(void *arg, int fd, enum dial_error error, const char *text)
{
    (void)text;
    size_t me = *(size_t *)arg;
    twin_calls++;
    assert_int_equal(error, DIAL_OK);
    close(fd);
    twins[me] = NULL;
    dial_cancel(twins[1 - me]);
    twins[1 - me] = NULL;
}

/* Two are connected in the same turn: the callback of one cancels the other, which holds a descriptor by then. */
static void a_connected_dial_that_is_cancelled_before_it_is_told_leaks_nothing(void **state)
{
    (void)state;
    uint16_t port = 0;
    int other = listener(AF_INET, &port), before;
    char host[] = "o.example.com";
    struct dial_override o = { host, 0, { .len = 0 } };
    size_t numbers[] = { 0, 1 };
    assert_int_equal(address_parse(SLICE("127.0.0.1"), port, &o.to), 0);
    struct dialer *d = dialer_of((struct dial_options){ .overrides = &o, .override_count = 1 }, "");
    before = open_descriptors();
    struct authority a = to(host, 443);
    for (size_t i = 0; i < 2; i++)
        assert_non_null(twins[i] = dial_start(d, &a, cancel_the_other, &numbers[i]));
    for (int i = 0; i < 100 && twins[0]; i++)
        ev_run(loop_get(), EVRUN_ONCE);
    turns(5);
    assert_int_equal(twin_calls, 1);
    assert_int_equal(open_descriptors(), before);
    dialer_free(d);
    close(other);
}

static void running_out_of_descriptors_is_told(void **state)
{
    (void)state;
    struct rlimit limit, low;
    char host[] = "o.example.com";
    struct dial_override o = { host, 0, { .len = 0 } };
    struct told t;
    assert_int_equal(address_parse(SLICE("127.0.0.1"), 9, &o.to), 0);
    struct dialer *d = dialer_of((struct dial_options){ .overrides = &o, .override_count = 1 }, "");
    turns(1);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = limit;
    low.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    (void)start(d, host, 443, &t);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    wait_for(&t);
    assert_failed(&t, DIAL_FAILED, "o.example.com:443: too many open files (127.0.0.1:9)");
    dialer_free(d);
}

static void wrong_name_servers_are_refused_at_the_start(void **state)
{
    (void)state;
    struct err e = { "" };
    assert_null(dialer_new(&(struct dial_options){ .name_servers = "nowhere" }, &e));
    assert_non_null(strstr(e.text, "\"nowhere\""));
    dialer_free(NULL);
}

static void every_error_has_its_rfc_9209_label(void **state)
{
    (void)state;
    static const char *const labels[] = {
        "",
        "dns_error",
        "destination_ip_prohibited",
        "connection_refused",
        "connection_timeout",
        "destination_ip_unroutable",
    };
    for (int i = DIAL_OK; i <= DIAL_FAILED; i++)
        assert_string_equal(dial_error_label((enum dial_error)i), labels[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_comes_with_its_options_set),
        cmocka_unit_test(a_refused_connection_says_who_refused),
        cmocka_unit_test(forbidden_addresses_are_not_dialled),
        cmocka_unit_test(each_address_of_a_name_is_judged),
        cmocka_unit_test(an_override_goes_where_the_operator_says_whatever_the_class),
        cmocka_unit_test(an_overridden_name_is_named_when_it_fails),
        cmocka_unit_test(an_override_of_another_port_does_not_apply),
        cmocka_unit_test(a_refusing_family_gives_way_to_the_other_at_once),
        cmocka_unit_test(a_silent_family_costs_a_quarter_of_a_second),
        cmocka_unit_test(a_silent_host_ends_at_the_deadline),
        cmocka_unit_test(names_that_cannot_be_resolved_are_dns_errors),
        cmocka_unit_test(a_dial_can_be_cancelled_in_every_state),
        cmocka_unit_test(a_connected_dial_that_is_cancelled_before_it_is_told_leaks_nothing),
        cmocka_unit_test(running_out_of_descriptors_is_told),
        cmocka_unit_test(wrong_name_servers_are_refused_at_the_start),
        cmocka_unit_test(every_error_has_its_rfc_9209_label),
    };
    return cmocka_run_group_tests_name("dial", tests, NULL, NULL);
}
