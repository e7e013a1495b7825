/* links: tests/fakes/fake_clock.c */
/* Unit tests of net/resolve and net/dns, against a name server of our own on the same loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/dial/dns.h"
#include "net/dial/resolve.h"
#include "tests/fakes/fake_clock.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { TYPE_A = 1, TYPE_AAAA = 28, MUTE = -1 };

/* --- the name server --- */

static const struct zone {
    const char *name;
    int a, aaaa; /* addresses to answer with, or MUTE */
    int rcode;
    unsigned ttl;
} zones[] = {
    { "both.test", 2, 2, 0, 60 },     { "v4.test", 1, 0, 0, 60 },         { "v6.test", 0, 1, 0, 60 },
    { "empty.test", 0, 0, 0, 60 },    { "nx.test", 0, 0, 3, 60 },         { "servfail.test", 0, 0, 2, 60 },
    { "refused.test", 0, 0, 5, 60 },  { "mute.test", MUTE, MUTE, 0, 60 }, { "mute6.test", 2, MUTE, 0, 60 },
    { "mute4.test", MUTE, 1, 0, 60 }, { "many.test", 14, 12, 0, 60 },     { "short.test", 1, 1, 0, 1 },
    { "long.test", 1, 1, 0, 86400 },  { "mute6nx.test", 0, MUTE, 3, 60 },
};

static struct server {
    int fd;
    ev_io io;
    char where[32];
    int asked[COUNT(zones)]; /* A questions a zone */

} server;

/* Turns the question's labels into dotted text; the bytes behind it. */
static const unsigned char *name_of(const unsigned char *at, const unsigned char *end, char text[256])
{
    size_t len = 0;
    while (at < end && *at && at + *at < end && len + *at + 1 < 256) {
        memcpy(text + len, at + 1, *at);
        len += *at;
        text[len++] = '.';
        at += *at + 1;
    }
    text[len ? len - 1 : 0] = '\0';
    return at + 1;
}

static size_t put_record(unsigned char *at, int type, unsigned ttl, int turn)
{
    unsigned char head[] = { 0xc0,
                             12,
                             0,
                             (unsigned char)type,
                             0,
                             1,
                             (unsigned char)(ttl >> 24),
                             (unsigned char)(ttl >> 16),
                             (unsigned char)(ttl >> 8),
                             (unsigned char)ttl,
                             0,
                             type == TYPE_A ? 4 : 16 };
    memcpy(at, head, sizeof head);
    memset(at + sizeof head, 0, 16);
    at[sizeof head] = type == TYPE_A ? 192 : 0x20;
    at[sizeof head + (type == TYPE_A ? 3 : 15)] = (unsigned char)turn;
    return sizeof head + (type == TYPE_A ? 4 : 16);
}

static void on_question(struct ev_loop *loop, ev_io *w, int revents)
{
    (void)loop, (void)revents;
    unsigned char packet[2048];
    char name[256];
    struct sockaddr_in peer;
    socklen_t peer_len = sizeof peer;
    ssize_t got = recvfrom(w->fd, packet, 512, 0, (struct sockaddr *)&peer, &peer_len);
    assert_true(got > 16);
    const unsigned char *at = name_of(packet + 12, packet + got, name);
    int type = at[1];
    const struct zone *zone = NULL;
    for (size_t i = 0; i < COUNT(zones); i++)
        if (strcmp(zones[i].name, name) == 0) {
            zone = &zones[i];
            server.asked[i] += type == TYPE_A;
        }
    int count = !zone ? 0 : type == TYPE_A ? zone->a : zone->aaaa;
    if (count == MUTE)
        return;
    size_t len = (size_t)(at + 4 - packet);
    packet[2] = 0x81; /* an answer, recursion desired … */
    packet[3] = (unsigned char)(0x80 | (zone ? zone->rcode : 3));
    memset(packet + 6, 0, 6);
    packet[7] = (unsigned char)count;
    for (int i = 0; i < count; i++)
        len += put_record(packet + len, type, zone->ttl, i + 1);
    sendto(w->fd, packet, len, 0, (struct sockaddr *)&peer, peer_len);
}

static int asked(const char *name)
{
    for (size_t i = 0; i < COUNT(zones); i++)
        if (strcmp(zones[i].name, name) == 0)
            return server.asked[i];
    return -1;
}

/* --- the asker --- */

struct told {
    int calls;
    size_t count;
    struct address addresses[RESOLVE_ADDRESSES_MAX];
    char error[128];
    struct resolve *cancel; /* cancelled inside the callback */
};

static void on_told(void *arg, const struct address *addresses, size_t count, const char *error)
{
    struct told *t = arg;
    t->calls++;
    t->count = count;
    assert_true(count <= RESOLVE_ADDRESSES_MAX);
    memcpy(t->addresses, addresses, count * sizeof *addresses);
    snprintf(t->error, sizeof t->error, "%s", error ? error : "");
    resolve_cancel(t->cancel);
}

static struct resolver *r;

static struct resolve *ask(const char *host, struct told *t)
{
    *t = (struct told){ 0 };
    struct resolve *q = resolve_start(r, host, on_told, t);
    assert_non_null(q);
    assert_int_equal(t->calls, 0); /* never inside the call */
    return q;
}

#define TICK_MS 5

/* The fake clock goes on while the loop waits. */
static void on_tick(struct ev_loop *loop, ev_timer *w, int revents)
{
    (void)loop, (void)w, (void)revents;
    fake_mono_ms += TICK_MS;
}

static void wait_for(const struct told *t)
{
    ev_timer tick;
    int64_t until_ms = fake_mono_ms + 3000;
    ev_now_update(loop_get());
    ev_timer_init(&tick, on_tick, TICK_MS / 1000., TICK_MS / 1000.);
    ev_timer_start(loop_get(), &tick);
    for (ev_run(loop_get(), EVRUN_NOWAIT); t->calls == 0;) { /* what is due already must not wait for a poll */
        ev_run(loop_get(), EVRUN_ONCE);
        if (fake_mono_ms >= until_ms)
            fail_msg("no answer within 3 s");
    }
    ev_timer_stop(loop_get(), &tick);
    assert_int_equal(t->calls, 1);
}

/* Everything that is ready runs; nothing is waited for. */
static void turns(int n)
{
    while (n--)
        ev_run(loop_get(), EVRUN_NOWAIT);
}

/* The last byte of each address, "6" or "4" before it: "6.1 4.1 6.2". */
static const char *shape(const struct told *t)
{
    static char text[256];
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < t->count; i++) {
        bool v6 = t->addresses[i].sa.ss_family == AF_INET6;
        const unsigned char *bytes =
            v6 ? ((const struct sockaddr_in6 *)(const void *)&t->addresses[i].sa)->sin6_addr.s6_addr
               : (const unsigned char *)&((const struct sockaddr_in *)(const void *)&t->addresses[i].sa)->sin_addr;
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%d.%d", i ? " " : "", v6 ? 6 : 4, bytes[v6 ? 15 : 3]);
    }
    return text;
}

static int set_up(void **state)
{
    (void)state;
    struct err e = { "" };
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    setenv("LOCALDOMAIN", "", 1); /* this machine's search list is none of the test's business */
    setenv("RES_OPTIONS", "ndots:1", 1);
    server = (struct server){ .fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) };
    assert_int_equal(bind(server.fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(server.fd, (struct sockaddr *)&at, &len), 0);
    snprintf(server.where, sizeof server.where, "127.0.0.1:%u", ntohs(at.sin_port));
    ev_io_init(&server.io, on_question, server.fd, EV_READ);
    ev_io_start(loop_get(), &server.io);
    r = resolver_new(&e);
    assert_non_null(r);
    assert_int_equal(resolver_tune(r, server.where, 0), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    resolver_free(r);
    ev_io_stop(loop_get(), &server.io);
    close(server.fd);
    turns(3);
    return 0;
}

static void names_become_addresses_with_the_families_in_turns(void **state)
{
    (void)state;
    static const struct {
        const char *host, *shape, *error;
    } rows[] = {
        { "both.test", "6.1 4.1 6.2 4.2", "" },
        { "v4.test", "4.1", "" },
        { "v6.test", "6.1", "" },
        { "many.test", "6.1 4.1 6.2 4.2 6.3 4.3 6.4 4.4 6.5 4.5 6.6 4.6 6.7 4.7 6.8 4.8", "" },
        { "nx.test", "", "the name does not exist" },
        { "unknown.test", "", "the name does not exist" },
        { "empty.test", "", "the name has no address" },
        { "localhost", "4.1 6.1", "" },
        { "app.localhost", "4.1 6.1", "" },
        { "192.0.2.9", "4.9", "" },
        { "2001:db8::7", "6.7", "" },
        { "", "", "not a host name" },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct told t;
        (void)ask(rows[i].host, &t);
        wait_for(&t);
        if (strcmp(shape(&t), rows[i].shape) != 0 || strcmp(t.error, rows[i].error) != 0)
            fail_msg("%s: \"%s\" %s", rows[i].host, shape(&t), t.error);
        for (size_t k = 0; k < t.count; k++)
            assert_int_equal(((const struct sockaddr_in *)(const void *)&t.addresses[k].sa)->sin_port, 0);
    }
}

static void localhost_and_literals_are_not_asked_for(void **state)
{
    (void)state;
    static const char *const hosts[] = { "localhost", "x.localhost", "127.0.0.1", "::1" };
    ev_io_stop(loop_get(), &server.io);
    for (size_t i = 0; i < COUNT(hosts); i++) {
        struct told t;
        (void)ask(hosts[i], &t);
        turns(1);
        assert_int_equal(t.calls, 1);
        assert_true(t.count > 0);
    }
    char byte;
    assert_int_equal(recv(server.fd, &byte, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static void a_name_that_only_ends_like_localhost_is_asked_for(void **state)
{
    (void)state;
    struct told t;
    (void)ask("notlocalhost", &t);
    wait_for(&t);
    assert_int_equal(t.count, 0);
}

static void a_name_that_is_too_long_is_refused(void **state)
{
    (void)state;
    char host[300];
    struct told t;
    memset(host, 'a', sizeof host - 1);
    host[sizeof host - 1] = '\0';
    (void)ask(host, &t);
    wait_for(&t);
    assert_string_equal(t.error, "not a host name");
}

/* Old c-ares tries every server and then says no more than "refused". */
static void failing_servers_are_told_apart_from_missing_names(void **state)
{
    (void)state;
    static const char *const hosts[] = { "servfail.test", "refused.test" };
    for (size_t i = 0; i < COUNT(hosts); i++) {
        struct told t;
        (void)ask(hosts[i], &t);
        wait_for(&t);
        assert_int_equal(t.count, 0);
        if (strncmp(t.error, "the name server ", 16) != 0 && strcmp(t.error, "no name server gave a response") != 0)
            fail_msg("%s: %s", hosts[i], t.error);
    }
}

static void a_server_that_drops_aaaa_questions_costs_a_moment_only(void **state)
{
    (void)state;
    struct told t;
    double before = ev_time();
    (void)ask("mute6.test", &t);
    wait_for(&t);
    assert_string_equal(shape(&t), "4.1 4.2");
    assert_true(ev_time() - before < 0.9); /* c-ares itself would ask again after 1 s */
    (void)ask("mute6nx.test", &t);
    wait_for(&t);
    assert_string_equal(t.error, "the name does not exist");
}

static void silence_ends_at_the_limit(void **state)
{
    (void)state;
    static const char *const hosts[] = { "mute.test", "mute4.test" };
    assert_int_equal(resolver_tune(r, NULL, 60), 0);
    struct told t;
    (void)ask(hosts[0], &t);
    wait_for(&t);
    assert_int_equal(t.count, 0);
    assert_string_equal(t.error, "the name servers do not respond");
    (void)ask(hosts[1], &t); /* IPv4 is silent, IPv6 has answered: it must do */
    wait_for(&t);
    assert_string_equal(shape(&t), "6.1");
}

static void one_name_is_asked_for_once_however_many_wait(void **state)
{
    (void)state;
    struct told t[50];
    for (size_t i = 0; i < COUNT(t); i++)
        (void)ask("both.test", &t[i]);
    for (size_t i = 0; i < COUNT(t); i++) {
        wait_for(&t[i]);
        assert_int_equal(t[i].count, 4);
    }
    assert_int_equal(asked("both.test"), 1);
}

static void answers_are_kept_for_a_clamped_time(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        int64_t kept_ms;
    } rows[] = { { "both.test", 60000 },
                 { "short.test", 5000 },
                 { "long.test", 300000 },
                 { "nx.test", 2000 },
                 { "servfail.test", 2000 } };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct told t;
        int64_t born_ms = fake_mono_ms;
        (void)ask(rows[i].host, &t);
        wait_for(&t);
        int questions = asked(rows[i].host);
        fake_mono_ms = born_ms + rows[i].kept_ms - 1;
        (void)ask(rows[i].host, &t);
        wait_for(&t);
        assert_int_equal(asked(rows[i].host), questions);
        fake_mono_ms = born_ms + rows[i].kept_ms;
        (void)ask(rows[i].host, &t);
        wait_for(&t);
        if (asked(rows[i].host) <= questions)
            fail_msg("%s was kept too long", rows[i].host);
    }
}

static void more_names_than_are_kept_push_out_the_oldest(void **state)
{
    (void)state;
    struct told t;
    char host[32];
    (void)ask("both.test", &t);
    wait_for(&t);
    (void)ask("v4.test", &t);
    wait_for(&t);
    for (int i = 0; i < 4095; i++) {
        snprintf(host, sizeof host, "n%d.unknown.test", i);
        (void)ask(host, &t);
        wait_for(&t);
    }
    (void)ask("v4.test", &t);
    wait_for(&t);
    assert_int_equal(asked("v4.test"), 1);
    (void)ask("both.test", &t);
    wait_for(&t);
    assert_int_equal(asked("both.test"), 2);
}

static void a_cancelled_question_is_not_answered(void **state)
{
    (void)state;
    struct told one, two, three;
    resolve_cancel(NULL);
    resolve_cancel(ask("localhost", &one)); /* answered, not told yet */
    resolve_cancel(ask("both.test", &two)); /* still asked */
    (void)ask("both.test", &three);         /* joins what two began */
    wait_for(&three);
    assert_int_equal(asked("both.test"), 1);
    resolve_cancel(ask("both.test", &two)); /* from the cache */
    turns(3);
    assert_int_equal(one.calls + two.calls, 0);
}

static void a_callback_may_cancel_another_question(void **state)
{
    (void)state;
    struct told one, two;
    (void)ask("both.test", &one);
    one.cancel = ask("both.test", &two);
    wait_for(&one);
    turns(5);
    assert_int_equal(two.calls, 0);
}

static struct told again;

static void ask_again(void *arg, const struct address *addresses, size_t count, const char *error)
{
    (void)addresses, (void)count, (void)error;
    ++*(int *)arg;
    (void)ask("v4.test", &again);
}

static void a_callback_may_ask_again(void **state)
{
    (void)state;
    int calls = 0;
    again = (struct told){ 0 };
    assert_non_null(resolve_start(r, "nx.test", ask_again, &calls));
    wait_for(&again);
    assert_int_equal(calls, 1);
    assert_int_equal(again.count, 1);
}

static void a_resolver_that_ends_leaves_questions_that_can_be_cancelled(void **state)
{
    (void)state;
    struct told one, two;
    struct resolve *waiting = ask("mute.test", &one), *asked_now = ask("both.test", &two);
    turns(2);
    resolver_free(r);
    r = NULL;
    resolve_cancel(waiting);
    if (two.calls == 0)
        resolve_cancel(asked_now);
    turns(3);
    assert_int_equal(one.calls, 0);
    resolver_free(NULL);
}

/* The first name in /etc/hosts that is not a localhost, if there is one. */
static void the_hosts_file_comes_before_any_question(void **state)
{
    (void)state;
    char line[512], ip[64] = "", name[256] = "";
    struct told t;
    FILE *f = fopen("/etc/hosts", "re");
    while (f && fgets(line, sizeof line, f))
        if (line[0] != '#' && sscanf(line, "%63s %255s", ip, name) == 2 && !strstr(name, "local")
            && !strstr(name, "ip6"))
            break;
        else
            name[0] = '\0';
    if (f)
        fclose(f);
    if (!name[0])
        skip();
    ev_io_stop(loop_get(), &server.io);
    (void)ask(name, &t);
    turns(2);
    assert_int_equal(t.calls, 1);
    assert_true(t.count > 0);
    char byte;
    assert_int_equal(recv(server.fd, &byte, 1, 0), -1);
}

static void no_name_server_at_all_is_an_error_with_words(void **state)
{
    (void)state;
    struct told t;
    ev_io_stop(loop_get(), &server.io);
    close(server.fd); /* the kernel refuses from now on */
    (void)ask("both.test", &t);
    wait_for(&t);
    assert_int_equal(t.count, 0);
    assert_true(strlen(t.error) > 8);
    server.fd = -1;
}

static void servers_must_be_addresses(void **state)
{
    (void)state;
    assert_int_equal(resolver_tune(r, "not an address", 0), -EINVAL);
    assert_int_equal(resolver_tune(r, "127.0.0.1:5353,[::1]:53", 0), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_become_addresses_with_the_families_in_turns),
        TEST(localhost_and_literals_are_not_asked_for),
        TEST(a_name_that_only_ends_like_localhost_is_asked_for),
        TEST(a_name_that_is_too_long_is_refused),
        TEST(failing_servers_are_told_apart_from_missing_names),
        TEST(a_server_that_drops_aaaa_questions_costs_a_moment_only),
        TEST(silence_ends_at_the_limit),
        TEST(one_name_is_asked_for_once_however_many_wait),
        TEST(answers_are_kept_for_a_clamped_time),
        TEST(more_names_than_are_kept_push_out_the_oldest),
        TEST(a_cancelled_question_is_not_answered),
        TEST(a_callback_may_cancel_another_question),
        TEST(a_callback_may_ask_again),
        TEST(a_resolver_that_ends_leaves_questions_that_can_be_cancelled),
        TEST(the_hosts_file_comes_before_any_question),
        TEST(no_name_server_at_all_is_an_error_with_words),
        TEST(servers_must_be_addresses),
    };
    return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}
