/* links: tests/fakes/fake_timer.c tests/fakes/fake_clock.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/tunnel.h"
#include "tests/fakes/fake_timer.h"

static struct tunnel *tunnel;
static int a, b, dones; /* a, b: the far ends */
static char got[1 << 17];

static void on_done(void *owner)
{
    assert_ptr_equal(owner, &dones);
    dones++;
    tunnel = NULL;
}

static void on_nothing(void *owner, enum stream_event event)
{
    (void)owner;
    (void)event;
}

static void turn(void)
{
    for (int i = 0; i < 20; i++)
        ev_run(loop_get(), EVRUN_NOWAIT);
}

static struct stream *end(int *far)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    *far = pair[1];
    struct stream *s = stream_new(pair[0], on_nothing, NULL);
    assert_non_null(s);
    return s;
}

static void open_for(int64_t idle_ms, const char *first_a, const char *first_b)
{
    struct stream *sa = end(&a), *sb = end(&b);
    tunnel = tunnel_new(sa, sb, slice_str(first_a), slice_str(first_b), idle_ms, on_done, &dones);
    assert_non_null(tunnel);
    turn();
}

static void open_with(const char *first_a, const char *first_b)
{
    open_for(1000, first_a, first_b);
}

static int up(void **state)
{
    (void)state;
    dones = 0;
    open_with("", "");
    return 0;
}

static int down(void **state)
{
    (void)state;
    tunnel_free(tunnel);
    tunnel = NULL;
    turn();
    close(a);
    close(b);
    return fake_timer_count();
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    turn();
}

static const char *hear(int fd, bool *eof)
{
    ssize_t n = recv(fd, got, sizeof got - 1, 0);
    got[n > 0 ? n : 0] = '\0';
    if (n > 0) /* the end may stand behind it */
        n = recv(fd, got + n, 1, MSG_PEEK);
    *eof = n == 0;
    return got;
}

static void bytes_go_both_ways_and_those_read_before_go_first(void **state)
{
    bool eof;
    (void)state;
    down(NULL);
    open_with("early a ", "early b ");
    say(a, "from a");
    say(b, "from b");
    assert_string_equal(hear(b, &eof), "early a from a");
    assert_string_equal(hear(a, &eof), "early b from b");
    assert_false(eof);
}

static void one_side_may_end_and_still_listen(void **state)
{
    bool eof;
    (void)state;
    say(a, "all");
    shutdown(a, SHUT_WR);
    turn();
    assert_string_equal(hear(b, &eof), "all");
    assert_true(eof && dones == 0);
    say(b, "answer");
    assert_string_equal(hear(a, &eof), "answer");
    shutdown(b, SHUT_WR);
    turn();
    hear(a, &eof);
    assert_true(eof && dones == 1);
}

static void a_broken_side_breaks_the_other(void **state)
{
    bool eof;
    (void)state;
    say(b, "unread");
    close(a); /* with bytes unread: a reset */
    turn();
    hear(b, &eof);
    assert_int_equal(dones, 1);
    a = dup(b);
}

static void without_a_byte_it_ends_after_its_time(void **state)
{
    (void)state;
    fake_timer_run(900);
    say(a, "x");
    fake_timer_run(900);
    turn();
    assert_int_equal(dones, 0);
    fake_timer_run(100);
    assert_int_equal(dones, 0); /* never from inside */
    turn();
    assert_int_equal(dones, 1);
}

static int up_for_long(void **state)
{
    (void)state;
    dones = 0;
    open_for(10000, "", "");
    return 0;
}

static void parked_it_keeps_no_buffer_and_goes_on_with_the_next_byte(void **state)
{
    static char burst[12000];
    bool eof;
    (void)state;
    memset(burst, 'x', sizeof burst - 1);
    say(a, burst);
    assert_string_equal(hear(b, &eof), burst);
    size_t before = mallinfo2().uordblks;
    fake_timer_run(2000);
    /* 0 under AddressSanitizer: judged in the plain build */
    assert_true(before == 0 || mallinfo2().uordblks + sizeof burst <= before);
    say(b, "back");
    assert_string_equal(hear(a, &eof), "back");
    fake_timer_run(9900);
    turn();
    assert_int_equal(dones, 0);
    fake_timer_run(100);
    turn();
    assert_int_equal(dones, 1); /* after its whole time without a byte */
}

static void ended_by_its_owner_it_tells_nobody(void **state)
{
    bool eof;
    (void)state;
    tunnel_free(tunnel);
    tunnel_free(NULL);
    tunnel = NULL;
    turn();
    assert_int_equal(dones, 0);
    hear(a, &eof);
    assert_true(eof);
}

static void a_slow_reader_stops_the_writer_and_loses_nothing(void **state)
{
    enum { ALL = 8 << 20 };
    static char piece[65536];
    size_t in = 0, out = 0;
    (void)state;
    for (int idle = 0; idle < 3;) {
        ssize_t put = send(a, piece, sizeof piece, MSG_NOSIGNAL);
        idle = put > 0 ? 0 : idle + 1;
        in += put > 0 ? (size_t)put : 0;
        turn();
    }
    assert_in_range(in, 1, 1 << 20);
    for (int idle = 0; idle < 5;) {
        ssize_t n = recv(b, got, sizeof got, 0);
        idle = n > 0 ? 0 : idle + 1;
        out += n > 0 ? (size_t)n : 0;
        ssize_t put = in < ALL ? send(a, piece, sizeof piece, MSG_NOSIGNAL) : 0;
        in += put > 0 ? (size_t)put : 0;
        turn();
    }
    assert_true(in >= ALL);
    assert_int_equal(in, out);
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(bytes_go_both_ways_and_those_read_before_go_first),
        T(one_side_may_end_and_still_listen),
        T(a_broken_side_breaks_the_other),
        T(without_a_byte_it_ends_after_its_time),
        cmocka_unit_test_setup_teardown(parked_it_keeps_no_buffer_and_goes_on_with_the_next_byte, up_for_long, down),
        T(ended_by_its_owner_it_tells_nobody),
        T(a_slow_reader_stops_the_writer_and_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
