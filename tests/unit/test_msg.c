/* msg.c: the packets between our processes: what goes in comes out, and nothing else is believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "net/ipc/msg.h"

static struct buf packet;

static int up(void **state)
{
    (void)state;
    buf_init_secret(&packet, 64 * 1024);
    return 0;
}

static int down(void **state)
{
    (void)state;
    buf_done(&packet);
    return 0;
}

static const struct msg samples[] = {
    { .type = MSG_HELLO, .name = { "worker", 6 }, .tag = 3 },
    { .type = MSG_CONFIG },
    { .type = MSG_TOKEN,
      .name = { "crm", 3 },
      .generation = UINT64_MAX,
      .state = MSG_USABLE,
      .token = { "secret", 6 },
      .expires_ms = MSG_NEVER,
      .refresh_at_ms = -1,
      .extras = { { { "a", 1 }, { "b", 1 } }, { { "c", 1 }, { "", 0 } } },
      .extra_count = 2 },
    { .type = MSG_WANT, .name = { "crm", 3 }, .reason = MSG_REJECTED, .generation = 7, .deadline_ms = 12345678901 },
    { .type = MSG_FAIL,
      .name = { "crm", 3 },
      .failure = MSG_DEAD,
      .retry_after_ms = 1000,
      .text = { "why", 3 },
      .generation = 7 },
    { .type = MSG_MINT, .name = { "a.test", 6 }, .der = { "\0\1\2", 3 } },
    { .type = MSG_LEAF, .name = { "a.test", 6 }, .der = { "\3\4", 2 }, .until_s = 1700000000 },
    { .type = MSG_ANSWER, .ask = MSG_ASK_METRICS, .text = { "x 1\n", 4 }, .tag = 1, .offset = 64512, .more = true },
    { .type = MSG_ASK, .ask = MSG_ASK_STATUS, .tag = 9 },
    { .type = MSG_ANSWER, .ask = MSG_ASK_READY, .tag = 9, .ok = true, .text = { "ok", 2 } },
    { .type = MSG_WIRE },
    { .type = MSG_READY, .name = { "keeper", 6 } },
    { .type = MSG_DRAIN },
};
#define SAMPLES (sizeof samples / sizeof *samples)

static void encode(const struct msg *m)
{
    buf_clear(&packet);
    assert_int_equal(msg_encode(m, &packet), 0);
}

static void same(const struct msg *a, const struct msg *b)
{
    assert_true(a->type == b->type && slice_eq(a->name, b->name) && slice_eq(a->token, b->token)
                && slice_eq(a->text, b->text) && slice_eq(a->der, b->der));
    assert_true(a->generation == b->generation && a->state == b->state && a->expires_ms == b->expires_ms
                && a->refresh_at_ms == b->refresh_at_ms);
    assert_true(a->reason == b->reason && a->deadline_ms == b->deadline_ms && a->failure == b->failure
                && a->retry_after_ms == b->retry_after_ms);
    assert_true(a->until_s == b->until_s && a->ask == b->ask && a->tag == b->tag && a->ok == b->ok
                && a->offset == b->offset && a->more == b->more && a->extra_count == b->extra_count);
    for (size_t i = 0; i < a->extra_count; i++)
        assert_true(slice_eq(a->extras[i].key, b->extras[i].key) && slice_eq(a->extras[i].value, b->extras[i].value));
}

static void every_message_comes_out_as_it_went_in(void **state)
{
    struct msg got;
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        encode(&samples[i]);
        assert_int_equal(msg_decode(buf_slice(&packet), &got), 0);
        same(&samples[i], &got);
    }
}

/* Fields stand one behind the other, so a cut between two of them is a message of its own; any other is none. */
static void a_packet_that_is_cut_inside_a_field_is_refused(void **state)
{
    struct msg got;
    struct buf again;
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        encode(&samples[i]);
        for (size_t len = 0; len <= packet.len; len++) {
            char *copy = malloc(len ? len : 1); /* of that size, so that a sanitizer sees the first byte too far */
            assert_non_null(copy);
            memcpy(copy, buf_slice(&packet).ptr, len);
            buf_init(&again, 64 * 1024);
            if (msg_decode(slice_of(copy, len), &got) == 0) {
                assert_int_equal(msg_encode(&got, &again), 0);
                assert_true(slice_starts(buf_slice(&again), slice_of(copy, len)));
            }
            free(copy);
            buf_done(&again);
        }
        assert_int_equal(buf_add(&packet, SLICE("x")), 0);
        assert_int_not_equal(msg_decode(buf_slice(&packet), &got), 0);
    }
}

static void no_single_byte_makes_it_read_beyond_the_packet(void **state)
{
    struct msg got;
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        encode(&samples[i]);
        struct slice bytes = buf_slice(&packet);
        for (size_t at = 0; at < bytes.len; at++)
            for (int value = 0; value < 256; value++) {
                char *copy = malloc(bytes.len);
                assert_non_null(copy);
                memcpy(copy, bytes.ptr, bytes.len);
                copy[at] = (char)value;
                if (msg_decode(slice_of(copy, bytes.len), &got) == 0) {
                    assert_in_range(got.name.len, 0, bytes.len);
                    assert_true(got.extra_count <= MSG_EXTRAS_MAX && got.type >= MSG_HELLO
                                && got.failure <= MSG_UNKNOWN_CREDENTIAL);
                }
                free(copy);
            }
    }
}

static void limits_hold_on_the_way_out(void **state)
{
    static char large[MSG_TOKEN_MAX + 2];
    (void)state;
    memset(large, 'x', sizeof large);
    assert_int_equal(
        msg_encode(&(struct msg){ .type = MSG_TOKEN, .name = SLICE("crm"), .token = slice_of(large, MSG_TOKEN_MAX) },
                   &packet),
        0);
    size_t before = packet.len;
    assert_int_not_equal(
        msg_encode(
            &(struct msg){ .type = MSG_TOKEN, .name = SLICE("crm"), .token = slice_of(large, MSG_TOKEN_MAX + 1) },
            &packet),
        0);
    assert_int_not_equal(msg_encode(&(struct msg){ .type = MSG_WANT, .name = slice_of(large, 300) }, &packet), 0);
    assert_int_not_equal(
        msg_encode(&(struct msg){ .type = MSG_TOKEN, .name = SLICE("crm"), .extra_count = MSG_EXTRAS_MAX + 1 },
                   &packet),
        0);
    assert_int_equal(packet.len, before);
}

static void classes_and_states_have_names(void **state)
{
    (void)state;
    for (int c = MSG_TRANSIENT; c <= MSG_UNKNOWN_CREDENTIAL; c++)
        for (int d = MSG_TRANSIENT; d < c; d++)
            assert_string_not_equal(msg_class_name((enum msg_class)c), msg_class_name((enum msg_class)d));
    assert_string_not_equal(msg_state_name(MSG_USABLE), msg_state_name(MSG_REAUTH));
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(every_message_comes_out_as_it_went_in),
        T(a_packet_that_is_cut_inside_a_field_is_refused),
        T(no_single_byte_makes_it_read_beyond_the_packet),
        T(limits_hold_on_the_way_out),
        T(classes_and_states_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
