/* The model of a head: text in one buffer, fields as places in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>

#include "http/message.h"

static struct message filled(void)
{
    struct message m;
    message_init(&m);
    assert_int_equal(message_start_request(&m, SLICE("GET"), SLICE("/a")), 0);
    assert_int_equal(message_add(&m, SLICE("Host"), SLICE("a")), 0);
    assert_int_equal(message_add(&m, SLICE("Set-Cookie"), SLICE("x")), 0);
    assert_int_equal(message_add(&m, SLICE("Accept"), SLICE("gzip, Br ,\tdeflate")), 0);
    assert_int_equal(message_add(&m, SLICE("set-cookie"), SLICE("y")), 0);
    return m;
}

#define assert_slice(got, wanted) assert_true(slice_eq((got), slice_str(wanted)))

static void fields_keep_their_order_their_case_and_their_duplicates(void **state)
{
    (void)state;
    struct message m = filled();
    assert_int_equal(m.field_count, 4);
    assert_slice(message_method(&m), "GET");
    assert_slice(message_target(&m), "/a");
    assert_slice(message_name_at(&m, 1), "Set-Cookie");
    assert_slice(message_name_at(&m, 3), "set-cookie");
    assert_slice(message_value_at(&m, 3), "y");
    message_done(&m);
}

static void a_field_is_found_in_any_case(void **state)
{
    (void)state;
    struct message m = filled();
    size_t count;
    assert_slice(message_get(&m, SLICE("SET-COOKIE"), &count), "x");
    assert_int_equal(count, 2);
    assert_slice(message_get(&m, SLICE("host"), NULL), "a");
    assert_int_equal(message_get(&m, SLICE("hos"), &count).len, 0);
    assert_int_equal(count, 0);
    message_done(&m);
}

static void set_replaces_every_copy_by_one(void **state)
{
    (void)state;
    struct message m = filled();
    assert_int_equal(message_set(&m, SLICE("set-Cookie"), SLICE("z")), 0);
    assert_int_equal(m.field_count, 3);
    assert_slice(message_name_at(&m, 2), "set-Cookie");
    assert_slice(message_value_at(&m, 2), "z");
    assert_slice(message_value_at(&m, 1), "gzip, Br ,\tdeflate");
    message_done(&m);
}

static void remove_tells_how_many_there_were(void **state)
{
    (void)state;
    struct message m = filled();
    assert_int_equal(message_remove(&m, SLICE("SET-cookie")), 2);
    assert_int_equal(message_remove(&m, SLICE("SET-cookie")), 0);
    message_remove_at(&m, 0);
    assert_int_equal(m.field_count, 1);
    assert_slice(message_name_at(&m, 0), "Accept");
    message_remove_at(&m, 0);
    assert_int_equal(m.field_count, 0);
    message_done(&m);
}

static void a_token_is_a_whole_member_of_a_list(void **state)
{
    (void)state;
    static const struct {
        const char *token;
        bool has;
    } rows[] = {
        { "gzip", true }, { "br", true },        { "DEFLATE", true },
        { "zip", false }, { "gzip, br", false }, { "defl", false },
    };
    struct message m = filled();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(message_has_token(&m, SLICE("accept"), slice_str(rows[i].token)), rows[i].has);
    assert_false(message_has_token(&m, SLICE("te"), SLICE("gzip")));
    assert_int_equal(message_add(&m, SLICE("ACCEPT"), SLICE("zstd")), 0);
    assert_true(message_has_token(&m, SLICE("accept"), SLICE("zstd"))); /* in the second field of that name */
    message_done(&m);
}

static void the_101st_field_is_refused(void **state)
{
    (void)state;
    struct message m;
    message_init(&m);
    for (size_t i = 0; i < MESSAGE_FIELDS_MAX; i++)
        assert_int_equal(message_add(&m, SLICE("a"), SLICE("b")), 0);
    assert_int_equal(message_add(&m, SLICE("a"), SLICE("b")), -ENOBUFS);
    assert_int_equal(m.field_count, MESSAGE_FIELDS_MAX);
    message_done(&m);
}

static void text_beyond_64_kib_is_refused(void **state)
{
    (void)state;
    static char big[MESSAGE_HEAD_MAX_BYTES];
    struct message_part part;
    struct message m;
    memset(big, 'x', sizeof big);
    message_init(&m);
    assert_int_equal(message_put(&m, slice_of(big, sizeof big - 1), &part), 0);
    assert_int_equal(message_add(&m, SLICE("a"), SLICE("b")), -ENOBUFS);
    assert_int_equal(m.field_count, 0);
    assert_int_equal(message_put(&m, SLICE("yz"), &part), -ENOBUFS);
    assert_int_equal(part.len, sizeof big - 1);
    message_done(&m);
}

static void clear_forgets_all_and_keeps_the_memory(void **state)
{
    (void)state;
    struct message m = filled();
    const void *text = m.text.data, *fields = m.fields;
    m.status = 200;
    m.framing = FRAMING_CHUNKED;
    m.upgrade = true;
    message_clear(&m);
    assert_int_equal(m.field_count + m.text.len + m.method.len + m.target.len, 0);
    assert_int_equal(m.status, 0);
    assert_int_equal(m.framing, FRAMING_NONE);
    assert_false(m.upgrade);
    assert_int_equal(message_add(&m, SLICE("a"), SLICE("b")), 0);
    assert_ptr_equal(m.text.data, text);
    assert_ptr_equal(m.fields, fields);
    message_done(&m);
}

static void a_copy_lives_on_its_own(void **state)
{
    (void)state;
    struct message m = filled(), copy;
    message_init(&copy);
    assert_int_equal(message_add(&copy, SLICE("old"), SLICE("gone")), 0);
    m.framing = FRAMING_LENGTH;
    m.length = 7;
    assert_int_equal(message_copy(&copy, &m), 0);
    message_done(&m);
    assert_int_equal(copy.field_count, 4);
    assert_int_equal(copy.length, 7);
    assert_slice(message_method(&copy), "GET");
    assert_slice(message_value_at(&copy, 3), "y");
    assert_int_equal(message_add(&copy, SLICE("new"), SLICE("z")), 0);
    assert_slice(message_value_at(&copy, 4), "z");
    message_done(&copy);
}

static void a_copy_of_an_empty_message_is_empty(void **state)
{
    (void)state;
    struct message m, copy = filled();
    message_init(&m);
    assert_int_equal(message_copy(&copy, &m), 0);
    assert_int_equal(copy.field_count, 0);
    assert_int_equal(message_method(&copy).len, 0);
    message_done(&copy);
    message_done(&m);
}

static void a_message_may_be_given_its_own_text(void **state)
{
    (void)state;
    struct message m = filled();
    /* The text moves several times on the way to 64 KiB; each time from the old place. */
    for (size_t i = 0; i < 90; i++) {
        static const char pad[600];
        struct message_part part;
        assert_int_equal(message_put(&m, slice_of(pad, sizeof pad), &part), 0);
        assert_int_equal(message_add(&m, message_name_at(&m, 0), message_value_at(&m, 2)), 0);
        assert_slice(message_name_at(&m, m.field_count - 1), "Host");
        assert_slice(message_value_at(&m, m.field_count - 1), "gzip, Br ,\tdeflate");
    }
    message_done(&m);
}

static void a_response_has_a_status_and_a_reason(void **state)
{
    (void)state;
    struct message m;
    message_init(&m);
    assert_int_equal(message_start_response(&m, 503, SLICE("No Token")), 0);
    assert_int_equal(m.status, 503);
    assert_slice(message_slice(&m, m.reason), "No Token");
    assert_true(m.keep_alive);
    assert_int_equal(m.minor, 1);
    message_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_keep_their_order_their_case_and_their_duplicates),
        cmocka_unit_test(a_field_is_found_in_any_case),
        cmocka_unit_test(set_replaces_every_copy_by_one),
        cmocka_unit_test(remove_tells_how_many_there_were),
        cmocka_unit_test(a_token_is_a_whole_member_of_a_list),
        cmocka_unit_test(the_101st_field_is_refused),
        cmocka_unit_test(text_beyond_64_kib_is_refused),
        cmocka_unit_test(clear_forgets_all_and_keeps_the_memory),
        cmocka_unit_test(a_copy_lives_on_its_own),
        cmocka_unit_test(a_copy_of_an_empty_message_is_empty),
        cmocka_unit_test(a_message_may_be_given_its_own_text),
        cmocka_unit_test(a_response_has_a_status_and_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
