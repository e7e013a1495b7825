/* Unit tests of refresh/store/binding: which line of a stored document is ours, and that none of the others is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "refresh/store/binding.h"

#define A "a.test:443 me"
#define B "b.test:443 me"

static struct state doc;
static json_t *others;

static int setup(void **s)
{
    (void)s;
    state_init(&doc);
    others = NULL;
    return 0;
}

static int teardown(void **s)
{
    (void)s;
    state_done(&doc);
    json_decref(others);
    return 0;
}

static void read_doc(const char *text)
{
    struct err e;
    if (state_read(&doc, slice_str(text), &e) != 0)
        fail_msg("%s", e.text);
}

static bool holds(const char *token)
{
    return slice_eq(secret_peek(&doc.refresh_token), slice_str(token));
}

/* As a commit of this binding would do it, by the store's next number. */
static void commit(const char *binding, uint64_t generation, const char *token)
{
    assert_int_equal(secret_set(&doc.refresh_token, slice_str(token)), 0);
    doc.generation = generation;
    assert_int_equal(binding_join(&doc, binding, others), 0);
}

static void an_authority_is_host_and_port_and_its_dot_is_none(void **s)
{
    static const struct {
        const char *authority, *client, *text;
    } rows[] = {
        { "login.test:443", "me", "login.test:443 me" },
        { "login.test.:443", "me", "login.test:443 me" },
        { "login.test:443", NULL, "login.test:443 " },
        { "login.test:443", "a:b", "login.test:443 a:b" },
        { "[::1]:8443", "me", "[::1]:8443 me" },
        { "", "me", NULL },
        { NULL, "me", NULL },
    };
    (void)s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *text = binding_text(rows[i].authority, rows[i].client);
        if (rows[i].text)
            assert_string_equal(text, rows[i].text);
        else
            assert_null(text);
        free(text);
    }
}

static void what_has_no_binding_is_adopted_with_members_that_nobody_knows(void **s)
{
    (void)s;
    read_doc("{\"generation\":7,\"refresh_token\":\"rt\",\"new_member\":[1],\"scope\":\"x\"}");
    assert_int_equal(binding_split(&doc, A, &others), 0);
    assert_true(holds("rt") && doc.generation == 7 && !others);
    commit(A, 8, "rt-8");
    assert_string_equal(binding_of(&doc), A);
    assert_non_null(json_object_get(doc.extra, "new_member"));
}

static void each_binding_has_a_line_and_its_own_generation(void **s)
{
    (void)s;
    read_doc("{\"generation\":7,\"refresh_token\":\"rt-a\",\"kept\":1}");
    assert_int_equal(binding_split(&doc, A, &others), 0);
    commit(A, 8, "rt-a8");
    assert_int_equal(binding_split(&doc, B, &others), 0);
    assert_true(secret_empty(&doc.refresh_token) && doc.generation == 0 && !doc.extra && others);
    commit(B, 9, "rt-b9");
    assert_int_equal(binding_split(&doc, B, &others), 0);
    commit(B, 10, "rt-b10");
    assert_int_equal(binding_split(&doc, A, &others), 0);
    assert_true(holds("rt-a8"));
    assert_int_equal(doc.generation, 8);
    assert_non_null(json_object_get(doc.extra, "kept"));
    commit(A, 11, "rt-a11");
    assert_int_equal(binding_split(&doc, B, &others), 0);
    assert_true(holds("rt-b10"));
    assert_int_equal(doc.generation, 10);
}

static void of_too_many_others_the_oldest_is_forgotten_and_never_ours(void **s)
{
    char name[32];
    (void)s;
    for (unsigned i = 1; i <= 3 * BINDING_LINES_MAX; i++) {
        snprintf(name, sizeof name, "h%u:443 me", i);
        assert_int_equal(binding_split(&doc, name, &others), 0);
        assert_int_equal(doc.generation, 0);
        commit(name, i, name);
        assert_true(json_object_size(others) <= BINDING_LINES_MAX);
    }
    snprintf(name, sizeof name, "h%u:443 me", 3 * BINDING_LINES_MAX - BINDING_LINES_MAX + 1);
    assert_int_equal(binding_split(&doc, name, &others), 0);
    assert_true(holds(name));
}

static void a_line_that_cannot_be_read_is_an_error_and_not_nothing(void **s)
{
    (void)s;
    read_doc("{\"generation\":7,\"refresh_token\":\"rt-a\",\"sidekey_binding\":\"" A "\",\"sidekey_lines\":{\"" B
             "\":{\"generation\":\"x\"}}}");
    assert_int_not_equal(binding_split(&doc, B, &others), 0);
    assert_true(holds("rt-a") && doc.generation == 7);
    assert_int_equal(binding_split(&doc, A, &others), 0);
    assert_non_null(json_object_get(others, B)); /* it stays for who can */
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_authority_is_host_and_port_and_its_dot_is_none),
        T(what_has_no_binding_is_adopted_with_members_that_nobody_knows),
        T(each_binding_has_a_line_and_its_own_generation),
        T(of_too_many_others_the_oldest_is_forgotten_and_never_ours),
        T(a_line_that_cannot_be_read_is_an_error_and_not_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
