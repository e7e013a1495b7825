#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/ipc/ipc.h"

struct side {
    struct ipc *ipc;
    size_t packets, bytes;
    int gone;
    int last_fd;
    char last[64];
    bool in_order; /* every packet's first byte was one more than the one before */
    unsigned char expect;
    bool frees; /* itself, at the first packet or at gone */
    bool inside;
    struct slice answer; /* sent back for each packet, when not empty */
};

static struct side a, b;
static char big[IPC_PACKET_MAX + 1];

static void on_packet(void *arg, struct slice packet, int fd)
{
    struct side *s = arg;
    assert_false(s->inside);
    s->packets++;
    s->bytes += packet.len;
    s->in_order = s->in_order && (unsigned char)packet.ptr[0] == s->expect++;
    memcpy(s->last, packet.ptr, packet.len < sizeof s->last ? packet.len : sizeof s->last);
    s->last_fd = fd;
    if (s->answer.len)
        assert_int_equal(ipc_send(s->ipc, s->answer, -1), 0);
    if (s->frees) {
        ipc_free(s->ipc);
        s->ipc = NULL;
    }
}

static void on_gone(void *arg)
{
    struct side *s = arg;
    assert_false(s->inside);
    s->gone++;
    if (s->frees) {
        ipc_free(s->ipc);
        s->ipc = NULL;
    }
}

static void side_init(struct side *s, int fd)
{
    *s = (struct side){ .ipc = ipc_new(fd, on_packet, on_gone, s), .last_fd = -1, .in_order = true };
    assert_non_null(s->ipc);
}

static int meet(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(ipc_pair(fds), 0);
    side_init(&a, fds[0]);
    side_init(&b, fds[1]);
    return 0;
}

static int part(void **state)
{
    (void)state;
    ipc_free(a.ipc);
    ipc_free(b.ipc);
    return 0;
}

static void turns(int n)
{
    while (n-- > 0)
        ev_run(loop_get(), EVRUN_NOWAIT);
}

static int send_from(struct side *s, struct slice packet, int fd)
{
    s->inside = b.inside = true;
    int failed = ipc_send(s->ipc, packet, fd);
    s->inside = b.inside = false;
    return failed;
}

/* Fills the way from a until packets are queued; returns how many were sent. */
static size_t overfill(size_t extra)
{
    size_t sent = 0;
    for (size_t i = 0; i < 20 + extra; i++, sent++) {
        big[0] = (char)sent;
        assert_int_equal(send_from(&a, slice_of(big, IPC_PACKET_MAX), -1), 0);
    }
    return sent;
}

static void packets_arrive_whole_and_in_order(void **state)
{
    (void)state;
    assert_int_equal(send_from(&a, SLICE("\0one"), -1), 0);
    assert_int_equal(send_from(&a, SLICE("\1two"), -1), 0);
    turns(1);
    assert_int_equal(b.packets, 2);
    assert_true(b.in_order);
    assert_memory_equal(b.last, "\1two", 4);
    assert_int_equal(b.last_fd, -1);
}

static void the_largest_packet_passes_and_a_larger_one_is_refused(void **state)
{
    (void)state;
    assert_int_equal(send_from(&a, slice_of(big, IPC_PACKET_MAX), -1), 0);
    assert_int_equal(send_from(&a, slice_of(big, IPC_PACKET_MAX + 1), -1), -EMSGSIZE);
    assert_int_equal(send_from(&a, slice_of(big, 0), -1), -EMSGSIZE);
    turns(2);
    assert_int_equal(b.packets, 1);
    assert_int_equal(b.bytes, IPC_PACKET_MAX);
    assert_int_equal(b.gone, 0);
}

static void what_the_socket_does_not_take_is_queued_and_arrives_in_order(void **state)
{
    (void)state;
    size_t sent = overfill(40);
    turns(200);
    assert_int_equal(b.packets, sent);
    assert_true(b.in_order);
    assert_int_equal(a.gone, 0);
}

static void a_descriptor_travels_and_is_closed_on_exec(void **state)
{
    (void)state;
    int pipe_fds[2];
    char byte = 0;
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(send_from(&a, SLICE("fd"), pipe_fds[1]), 0);
    close(pipe_fds[1]);
    turns(1);
    assert_true(b.last_fd >= 0);
    assert_true(fcntl(b.last_fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(write(b.last_fd, "x", 1), 1);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
    assert_int_equal(byte, 'x');
    close(b.last_fd);
    close(pipe_fds[0]);
}

static void a_queued_descriptor_outlives_the_callers_copy(void **state)
{
    (void)state;
    int pipe_fds[2];
    char byte;
    assert_int_equal(pipe(pipe_fds), 0);
    overfill(0);
    assert_int_equal(send_from(&a, SLICE("fd"), pipe_fds[1]), 0);
    close(pipe_fds[1]);
    turns(100);
    assert_memory_equal(b.last, "fd", 2);
    assert_int_equal(write(b.last_fd, "y", 1), 1);
    close(b.last_fd);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 0); /* no copy was left behind */
    close(pipe_fds[0]);
}

static void a_peer_that_went_is_told_once_after_its_last_packet(void **state)
{
    (void)state;
    assert_int_equal(send_from(&b, SLICE("bye"), -1), 0);
    assert_int_equal(send_from(&a, SLICE("unread by b"), -1), 0); /* makes the kernel report a reset first */
    ipc_free(b.ipc);
    b.ipc = NULL;
    assert_int_equal(send_from(&a, SLICE("too late"), -1), -EPIPE);
    turns(3);
    assert_int_equal(a.packets, 1);
    assert_memory_equal(a.last, "bye", 3);
    assert_int_equal(a.gone, 1);
    assert_int_equal(send_from(&a, SLICE("still too late"), -1), -EPIPE);
    turns(3);
    assert_int_equal(a.gone, 1);
}

static void a_peer_that_never_reads_counts_as_gone_at_the_cap(void **state)
{
    (void)state;
    int failed = 0;
    size_t sent = 0;
    while (failed == 0 && sent < 1000) {
        failed = send_from(&a, slice_of(big, IPC_PACKET_MAX), -1);
        sent++;
    }
    assert_int_equal(failed, -EPIPE);
    assert_in_range(sent, 8 * 16, 8 * 16 + 16); /* 8 MiB, and what the kernel holds */
    assert_int_equal(a.gone, 0);                /* not from inside the call */
    b.frees = true;
    turns(1);
    assert_int_equal(a.gone, 1);
}

/* A keeper that stands still for a minute while thousands ask: asking again must not cost the connection. */
static void what_may_be_left_out_never_fills_the_queue(void **state)
{
    (void)state;
    int failed = 0;
    size_t sent = 0;
    while (failed == 0 && sent < 1000) {
        big[0] = (char)sent;
        failed = ipc_offer(a.ipc, slice_of(big, IPC_PACKET_MAX));
        sent += failed == 0;
    }
    assert_int_equal(failed, -EBUSY);
    assert_in_range(sent, 16, 32); /* 1 MiB, and what the kernel holds */
    for (int i = 0; i < 100000; i++)
        assert_int_equal(ipc_offer(a.ipc, SLICE("want")), -EBUSY);
    big[0] = (char)sent;
    assert_int_equal(send_from(&a, slice_of(big, IPC_PACKET_MAX), -1), 0); /* what may not be left out still goes */
    turns(100);
    assert_int_equal(b.packets, sent + 1);
    assert_true(b.in_order);
    assert_int_equal(a.gone, 0);
    assert_int_equal(ipc_offer(a.ipc, SLICE("want")), 0);
}

static void an_end_may_be_freed_inside_its_packet(void **state)
{
    (void)state;
    b.frees = true;
    assert_int_equal(send_from(&a, SLICE("one"), -1), 0);
    assert_int_equal(send_from(&a, SLICE("two"), -1), 0);
    turns(3);
    assert_int_equal(b.packets, 1);
    assert_null(b.ipc);
    assert_int_equal(a.gone, 1);
}

static void an_end_may_be_freed_inside_gone(void **state)
{
    (void)state;
    a.frees = true;
    ipc_free(b.ipc);
    b.ipc = NULL;
    turns(2);
    assert_int_equal(a.gone, 1);
    assert_null(a.ipc);
}

static void an_end_freed_with_packets_queued_and_gone_pending_is_quiet(void **state)
{
    (void)state;
    overfill(0);
    ipc_free(b.ipc);
    b.ipc = NULL;
    ipc_free(a.ipc);
    a.ipc = NULL;
    turns(2);
    assert_int_equal(a.gone + b.gone, 0);
}

static void one_wake_up_takes_a_bounded_number_of_packets(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++)
        assert_int_equal(send_from(&a, SLICE("x"), -1), 0);
    turns(1);
    assert_int_equal(b.packets, 64);
    turns(1);
    assert_int_equal(b.packets, 100);
}

static void a_packet_may_be_answered_inside_its_callback(void **state)
{
    (void)state;
    b.answer = SLICE("pong");
    assert_int_equal(send_from(&a, SLICE("ping"), -1), 0);
    turns(2);
    assert_memory_equal(a.last, "pong", 4);
}

/* A stranger at the other end: what a broken or hostile process might send. */
static int stranger(void)
{
    ipc_free(a.ipc);
    ipc_free(b.ipc);
    a.ipc = NULL;
    int fds[2];
    assert_int_equal(ipc_pair(fds), 0);
    side_init(&b, fds[1]);
    return fds[0];
}

static void an_oversized_packet_from_outside_ends_the_connection(void **state)
{
    (void)state;
    int fd = stranger();
    assert_int_equal(send(fd, big, IPC_PACKET_MAX + 1, 0), IPC_PACKET_MAX + 1);
    turns(2);
    assert_int_equal(b.packets, 0);
    assert_int_equal(b.gone, 1);
    close(fd);
}

static void two_descriptors_in_one_packet_end_the_connection_and_do_not_leak(void **state)
{
    (void)state;
    int fd = stranger(), pipe_fds[2];
    char control[CMSG_SPACE(2 * sizeof(int))] = { 0 }, byte;
    assert_int_equal(pipe(pipe_fds), 0);
    int both[2] = { pipe_fds[1], pipe_fds[1] };
    struct iovec iov = { big, 1 };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof both);
    memcpy(CMSG_DATA(c), both, sizeof both);
    assert_int_equal(sendmsg(fd, &m, 0), 1);
    close(pipe_fds[1]);
    turns(2);
    assert_int_equal(b.packets, 0);
    assert_int_equal(b.gone, 1);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 0); /* every copy is closed */
    close(pipe_fds[0]);
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, meet, part)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(packets_arrive_whole_and_in_order),
        TEST(the_largest_packet_passes_and_a_larger_one_is_refused),
        TEST(what_the_socket_does_not_take_is_queued_and_arrives_in_order),
        TEST(a_descriptor_travels_and_is_closed_on_exec),
        TEST(a_queued_descriptor_outlives_the_callers_copy),
        TEST(a_peer_that_went_is_told_once_after_its_last_packet),
        TEST(a_peer_that_never_reads_counts_as_gone_at_the_cap),
        TEST(what_may_be_left_out_never_fills_the_queue),
        TEST(an_end_may_be_freed_inside_its_packet),
        TEST(an_end_may_be_freed_inside_gone),
        TEST(an_end_freed_with_packets_queued_and_gone_pending_is_quiet),
        TEST(one_wake_up_takes_a_bounded_number_of_packets),
        TEST(a_packet_may_be_answered_inside_its_callback),
        TEST(an_oversized_packet_from_outside_ends_the_connection),
        TEST(two_descriptors_in_one_packet_end_the_connection_and_do_not_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
