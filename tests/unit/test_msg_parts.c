/* msg_parts.c: texts larger than a packet, over a real socket pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "net/ipc/msg_parts.h"

static struct ipc *from, *to;
static struct buf got;
static size_t packets, others_at;
static enum msg_parts last;
static uint64_t last_tag;
static char *large; /* MSG_PARTS_TEXT_MAX + 1 bytes, no two parts alike */
static int rooms;

static void on_packet(void *arg, struct slice packet, int fd)
{
    struct msg m;
    (void)arg;
    assert_int_equal(fd, -1);
    assert_int_equal(msg_decode(packet, &m), 0);
    packets++;
    if (m.type != MSG_ANSWER) {
        others_at = packets;
        return;
    }
    last = msg_parts_take(&got, &m);
    last_tag = m.tag;
}

static void on_gone(void *arg)
{
    (void)arg;
    fail_msg("the connection ended");
}

static void on_space(void *arg)
{
    (void)arg;
    rooms++;
}

static int up(void **state)
{
    int ends[2];
    (void)state;
    large = malloc(MSG_PARTS_TEXT_MAX + 1);
    for (size_t i = 0; large && i <= MSG_PARTS_TEXT_MAX; i++)
        large[i] = (char)(i * 2654435761u >> 16);
    packets = others_at = 0;
    rooms = 0;
    buf_init(&got, MSG_PARTS_TEXT_MAX);
    if (!large || ipc_pair(ends) != 0)
        return -1;
    from = ipc_new(ends[0], on_packet, on_gone, NULL);
    to = ipc_new(ends[1], on_packet, on_gone, NULL);
    return from && to ? 0 : -1;
}

static int down(void **state)
{
    (void)state;
    ipc_free(from);
    ipc_free(to);
    buf_done(&got);
    free(large);
    return 0;
}

static void turns(int n)
{
    while (n-- > 0)
        ev_run(loop_get(), EVRUN_NOWAIT);
}

static int send_text(size_t len, uint64_t tag)
{
    return msg_parts_send(
        from, &(struct msg){
                  .type = MSG_ANSWER, .ask = MSG_ASK_METRICS, .tag = tag, .ok = true, .text = slice_of(large, len) });
}

static int send_other(void)
{
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(msg_encode(&(struct msg){ .type = MSG_CONFIG }, &b), 0);
    int failed = ipc_send(from, buf_slice(&b), -1);
    buf_done(&b);
    return failed;
}

static void a_text_of_any_size_up_to_the_cap_arrives_whole_and_keeps_its_place(void **state)
{
    static const size_t sizes[] = {
        0, 1, IPC_PACKET_MAX - 1024, IPC_PACKET_MAX - 1023, IPC_PACKET_MAX, 1000001, MSG_PARTS_TEXT_MAX
    };
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        packets = 0;
        last = MSG_PARTS_BROKEN;
        assert_int_equal(send_text(sizes[i], i + 1), 0);
        assert_int_equal(send_other(), 0);
        turns(100);
        assert_int_equal(last, MSG_PARTS_WHOLE);
        assert_int_equal(last_tag, i + 1);
        assert_true(slice_eq(buf_slice(&got), slice_of(large, sizes[i])));
        assert_int_equal(others_at, packets);
        assert_int_equal(ipc_queued(from), 0);
    }
}

static void one_byte_more_than_the_cap_is_refused_and_nothing_goes_out(void **state)
{
    (void)state;
    assert_int_equal(send_text(MSG_PARTS_TEXT_MAX + 1, 1), -EMSGSIZE);
    turns(3);
    assert_int_equal(packets, 0);
}

static void a_peer_that_does_not_read_is_never_talked_to_death(void **state)
{
    int sent = 0;
    (void)state;
    while (send_text(MSG_PARTS_TEXT_MAX / 2, 1) == 0)
        sent++;
    assert_in_range(sent, 1, 4);
    assert_int_equal(send_text(MSG_PARTS_TEXT_MAX / 2, 1), -EBUSY);
    assert_in_range(ipc_queued(from), 1, MSG_PARTS_TEXT_MAX);
    assert_int_equal(send_other(), 0); /* others have room */
    turns(200);
    assert_int_equal(last, MSG_PARTS_WHOLE);
    assert_int_equal(others_at, packets);
    assert_int_equal(send_text(MSG_PARTS_TEXT_MAX / 2, 1), 0);
}

static void room_is_told_once_the_queue_has_gone_out(void **state)
{
    (void)state;
    ipc_on_space(from, on_space);
    assert_int_equal(send_text(100, 1), 0);
    turns(5);
    assert_int_equal(rooms, 0); /* there was nothing queued */
    assert_int_equal(send_text(MSG_PARTS_TEXT_MAX, 1), 0);
    assert_int_equal(rooms, 0);
    turns(200);
    assert_int_equal(rooms, 1);
    assert_int_equal(ipc_queued(from), 0);
}

static void a_lost_part_spoils_its_text_and_not_the_next_one(void **state)
{
    const struct msg first = { .text = SLICE("abc"), .more = true },
                     second = { .text = SLICE("def"), .offset = 3, .more = true },
                     third = { .text = SLICE("g"), .offset = 6 }, only = { .text = SLICE("xyz") };
    (void)state;
    assert_int_equal(msg_parts_take(&got, &first), MSG_PARTS_MORE);
    assert_int_equal(msg_parts_take(&got, &third), MSG_PARTS_BROKEN);
    assert_int_equal(got.len, 0);
    assert_int_equal(msg_parts_take(&got, &second), MSG_PARTS_BROKEN);
    assert_int_equal(msg_parts_take(&got, &first), MSG_PARTS_MORE);
    assert_int_equal(msg_parts_take(&got, &first), MSG_PARTS_MORE); /* its sender began anew */
    assert_int_equal(msg_parts_take(&got, &second), MSG_PARTS_MORE);
    assert_int_equal(msg_parts_take(&got, &second), MSG_PARTS_BROKEN); /* twice */
    assert_int_equal(msg_parts_take(&got, &only), MSG_PARTS_WHOLE);
    assert_true(slice_eq(buf_slice(&got), SLICE("xyz")));
}

static void a_receiver_takes_no_more_than_its_cap(void **state)
{
    (void)state;
    buf_done(&got);
    buf_init(&got, 5);
    assert_int_equal(msg_parts_take(&got, &(struct msg){ .text = SLICE("abc"), .more = true }), MSG_PARTS_MORE);
    assert_int_equal(msg_parts_take(&got, &(struct msg){ .text = SLICE("def"), .offset = 3 }), MSG_PARTS_BROKEN);
    assert_int_equal(got.len, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_text_of_any_size_up_to_the_cap_arrives_whole_and_keeps_its_place),
        T(one_byte_more_than_the_cap_is_refused_and_nothing_goes_out),
        T(a_peer_that_does_not_read_is_never_talked_to_death),
        T(room_is_told_once_the_queue_has_gone_out),
        T(a_lost_part_spoils_its_text_and_not_the_next_one),
        T(a_receiver_takes_no_more_than_its_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
