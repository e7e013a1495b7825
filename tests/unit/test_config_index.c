/* Unit tests of app/config/config_index: what a rule is compared with is found, not searched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "app/config/config_index.h"

#define TEXT(text) ((char *)(uintptr_t)(text))
#define LIST(...) ((char **)(uintptr_t)(char *const[]){ __VA_ARGS__, NULL })

static struct config_index *x;

static int up(void **state)
{
    (void)state;
    return (x = config_index_new()) ? 0 : -1;
}

static int down(void **state)
{
    (void)state;
    config_index_free(x);
    return 0;
}

static void a_rule_that_never_applies_is_found(void **state)
{
    static const struct when a = { .header = TEXT("X-Key"), .equals = TEXT("one") },
                             a_lower = { .header = TEXT("x-key"), .equals = TEXT("one") },
                             other_text = { .header = TEXT("x-key"), .equals = TEXT("two") },
                             query = { .query = TEXT("x-key"), .equals = TEXT("one") },
                             password = { .basic_password = TEXT("one") }, any = { .any = TEXT("one") };
    const struct {
        struct rule before, r;
        bool never;
    } cases[] = {
        { { .paths = NULL }, { .paths = NULL }, true },
        { { .paths = LIST(TEXT("/a/*")) }, { .paths = LIST(TEXT("/a/*")) }, true },
        { { .paths = LIST(TEXT("/a/*")) }, { .paths = LIST(TEXT("/b/*")) }, false },
        { { .paths = LIST(TEXT("/a/*")) }, { .paths = LIST(TEXT("/a/*"), TEXT("/b")) }, false },
        { { .paths = NULL }, { .paths = LIST(TEXT("/a/*")) }, false },
        { { .methods = NULL }, { .methods = LIST(TEXT("GET")) }, true },
        { { .methods = LIST(TEXT("GET")) }, { .methods = LIST(TEXT("GET")) }, true },
        { { .methods = LIST(TEXT("GET")) }, { .methods = NULL }, false },
        { { .methods = LIST(TEXT("GET")) }, { .methods = LIST(TEXT("POST")) }, false },
        { { .when = a }, { .when = a }, true },
        { { .when = a }, { .when = a_lower }, true },
        { { .when = a }, { .when = other_text }, false },
        { { .when = a }, { .when = query }, false },
        { { .when = a }, { .when = password }, false },
        { { .when = a }, { .paths = NULL }, false },
        { { .paths = NULL }, { .when = a }, false },
        { { .when = any }, { .when = any }, true },
        { { .when = any }, { .when = a }, false },
        { { .answer = RULE_ANSWERS_TOKEN, .answered = any }, { .answer = RULE_ANSWERS_TOKEN, .answered = any }, true },
        { { .answer = RULE_ANSWERS_TOKEN, .answered = any }, { .answer = RULE_ANSWERS_TOKEN, .answered = a }, false },
        { { .answer = RULE_ANSWERS_TOKEN, .answered = any }, { .paths = NULL }, false },
        { { .paths = NULL }, { .answer = RULE_ANSWERS_TOKEN, .answered = any }, false },
        { { .port = 8443 }, { .port = 443 }, false },
        { { .host = TEXT("*.test") }, { .host = TEXT("b.test") }, false },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rule pair[2] = { cases[i].before, cases[i].r };
        const struct rule *found[2];
        struct config_index *own = config_index_new();
        for (size_t n = 0; n < 2; n++) {
            pair[n].host = pair[n].host ? pair[n].host : TEXT("a.test");
            pair[n].port = pair[n].port ? pair[n].port : 443;
            assert_int_equal(config_index_add_requests(own, &pair[n], &found[n]), 0);
        }
        assert_null(found[0]);
        assert_ptr_equal(found[1], cases[i].never ? &pair[0] : NULL);
        config_index_free(own);
    }
}

static void of_several_the_first_is_named(void **state)
{
    char *get[] = { TEXT("GET"), NULL };
    struct rule rules[] = { { .methods = get }, { .methods = NULL }, { .methods = get }, { .methods = NULL } };
    static const int expected[] = { -1, -1, 0, 1 };
    const struct rule *found;
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        rules[i].host = TEXT("a.test");
        assert_int_equal(config_index_add_requests(x, &rules[i], &found), 0);
        assert_ptr_equal(found, expected[i] < 0 ? NULL : &rules[expected[i]]);
    }
}

static void a_name_that_is_just_the_host_gives_way_to_a_name(void **state)
{
    const struct rule rules[] = { { .name = TEXT("a.test"), .host = TEXT("a.test") },
                                  { .name = TEXT("a.test"), .host = TEXT("a.test") },
                                  { .name = TEXT("a.test"), .host = TEXT("b.test") },
                                  { .name = TEXT("a.test"), .host = TEXT("c.test") } };
    static const size_t expected[] = { 0, 0, 2, 2 };
    (void)state;
    assert_null(config_index_rule(x, "a.test"));
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(config_index_add_rule(x, &rules[i]), 0);
        assert_ptr_equal(config_index_rule(x, "a.test"), &rules[expected[i]]);
    }
    assert_null(config_index_rule(x, "b.test"));
}

static void credentials_are_found_in_a_list_that_grows(void **state)
{
    struct credential_spec list[2] = { { .name = TEXT("one") }, { .name = TEXT("two") } };
    (void)state;
    assert_int_equal(config_index_credential(x, list, 0, "one"), 0);
    assert_int_equal(config_index_credential(x, list, 1, "one"), 1);
    assert_int_equal(config_index_credential(x, list, 1, "two"), 0);
    assert_int_equal(config_index_credential(x, list, 2, "two"), 1);
}

static void the_first_rule_of_a_host_and_port_is_remembered(void **state)
{
    const struct rule rules[] = { { .host = TEXT("a.test"), .port = 443 },
                                  { .host = TEXT("a.test"), .port = 8443 },
                                  { .host = TEXT("a.test"), .port = 443 } };
    const struct rule *first;
    (void)state;
    assert_int_equal(config_index_add_host(x, &rules[0], &first), 0);
    assert_ptr_equal(first, &rules[0]);
    assert_int_equal(config_index_add_host(x, &rules[1], &first), 0);
    assert_ptr_equal(first, &rules[1]);
    assert_int_equal(config_index_add_host(x, &rules[2], &first), 0);
    assert_ptr_equal(first, &rules[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_that_never_applies_is_found),
        cmocka_unit_test_setup_teardown(of_several_the_first_is_named, up, down),
        cmocka_unit_test_setup_teardown(a_name_that_is_just_the_host_gives_way_to_a_name, up, down),
        cmocka_unit_test_setup_teardown(credentials_are_found_in_a_list_that_grows, up, down),
        cmocka_unit_test_setup_teardown(the_first_rule_of_a_host_and_port_is_remembered, up, down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
