/* What sidekey login and the keeper say to each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "refresh/login/login_message.h"

static void a_message_arrives_as_it_was_sent(void **state)
{
    struct login_message h = { .credential = (char *)"crm",
                               .token_url = (char *)"https://a.test/t?x=\"y\"",
                               .client_id = (char *)"",
                               .store = (char *)"/var/lib/s",
                               .act = LOGIN_FORGET,
                               .revocation_url = (char *)"https://a.test/r",
                               .status = 200,
                               .wall_ms = 1700000000123 };
    struct login_message got = { .credential = NULL };
    struct buf out;
    struct err e;
    (void)state;
    buf_init_secret(&h.body, 64);
    buf_init_secret(&out, 4096);
    assert_int_equal(buf_add(&h.body, SLICE("{\"a\":\"\xff\0b\"}")), 0);
    assert_int_equal(login_message_write(&h, &out), 0);
    assert_int_equal(login_message_read(buf_slice(&out), &got, &e), 0);
    assert_string_equal(got.credential, "crm");
    assert_string_equal(got.token_url, h.token_url);
    assert_string_equal(got.client_id, "");
    assert_string_equal(got.store, "/var/lib/s");
    assert_int_equal(got.act, LOGIN_FORGET);
    assert_string_equal(got.revocation_url, "https://a.test/r");
    assert_int_equal(got.status, 200);
    assert_true(got.wall_ms == h.wall_ms);
    assert_true(slice_eq(buf_slice(&got.body), buf_slice(&h.body)));
    login_message_done(&got);
    buf_done(&h.body);
    buf_done(&out);
}

static void what_is_no_message_is_refused(void **state)
{
#define ALL "\"credential\":\"c\",\"token_url\":\"u\",\"client_id\":\"i\",\"store\":\"s\",\"revocation_url\":\"\""
    static const char *const rows[] = {
        "",
        "{",
        "[]",
        "null",
        "{}",
        "{" ALL "}",
        "{" ALL ",\"body\":1}",
        "{" ALL ",\"body\":\"%\"}",
        "{" ALL ",\"body\":\"\",\"wall_ms\":-1}",
        "{\"credential\":\"c\",\"store\":\"s\",\"body\":\"\"}",
        "{" ALL ",\"body\":\"\",\"credential\":\"d\"}",
        "{\"credential\":1," ALL ",\"body\":\"\"}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct login_message got = { .credential = NULL };
        struct err e = { "" };
        if (login_message_read(slice_str(rows[i]), &got, &e) == 0)
            fail_msg("taken: %s", rows[i]);
        assert_string_equal(e.text, "the message cannot be read");
        login_message_done(&got);
    }
}

static void a_text_that_is_too_long_or_has_a_nul_is_refused(void **state)
{
    static char text[8192], name[4200];
    struct login_message got = { .credential = NULL };
    struct err e;
    (void)state;
    memset(name, 'x', sizeof name - 1);
    snprintf(text, sizeof text,
             "{\"credential\":\"%s\",\"token_url\":\"u\",\"client_id\":\"i\",\"store\":\"s\",\"body\":\"\"}", name);
    assert_int_equal(login_message_read(slice_str(text), &got, &e), -1);
    assert_int_equal(
        login_message_read(SLICE("{\"credential\":\"a\\u0000b\",\"token_url\":\"u\",\"client_id\":\"i\",\"store\":"
                                 "\"s\",\"body\":\"\"}"),
                           &got, &e),
        -1);
}

static void an_answer_is_a_generation_or_a_reason_that_a_terminal_can_show(void **state)
{
    struct buf out;
    struct err e = { "" };
    struct err note = { "" };
    uint64_t generation = 0;
    (void)state;
    buf_init(&out, 4096);
    assert_int_equal(login_message_write_answer(7, "a\nnote", NULL, &out), 0);
    assert_int_equal(login_message_read_answer(buf_slice(&out), &generation, &note, &e), 0);
    assert_true(generation == 7);
    assert_string_equal(note.text, "a?note");
    buf_clear(&out);
    assert_int_equal(login_message_write_answer(0, NULL, "no \"lease\"\x1b[2J", &out), 0);
    assert_int_equal(login_message_read_answer(buf_slice(&out), &generation, &note, &e), -1);
    assert_string_equal(e.text, "no \"lease\"?[2J");
    assert_int_equal(login_message_read_answer(SLICE("{}"), &generation, &note, &e), -1);
    assert_int_equal(login_message_read_answer(SLICE("x"), &generation, &note, &e), -1);
    assert_int_equal(login_message_read_answer(SLICE("{\"generation\":-1}"), &generation, &note, &e), -1);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_arrives_as_it_was_sent),
        cmocka_unit_test(what_is_no_message_is_refused),
        cmocka_unit_test(a_text_that_is_too_long_or_has_a_nul_is_refused),
        cmocka_unit_test(an_answer_is_a_generation_or_a_reason_that_a_terminal_can_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
