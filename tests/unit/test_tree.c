/* Unit tests of app/tree: YAML and JSON texts as a tree with places, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/config/tree.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct tree *parse(const char *text)
{
    struct err e = { "" };
    struct tree *t = tree_parse(slice_str(text), &e);
    if (!t)
        fail_msg("%s: %s", text, e.text);
    return t;
}

static const json_t *member(const struct tree *t, const char *key)
{
    return json_object_get(tree_root(t), key);
}

static void every_scalar_is_text_whatever_it_looks_like(void **state)
{
    (void)state;
    static const struct {
        const char *text, *value;
        bool plain, null;
    } rows[] = {
        { "a: no", "no", true, false },
        { "a: 'no'", "no", false, false },
        { "a: 017", "017", true, false },
        { "a: 1.5", "1.5", true, false },
        { "a: true", "true", true, false },
        { "a: 12:30:45", "12:30:45", true, false },
        { "a: ", "", true, true },
        { "a: ~", "~", true, true },
        { "a: null", "null", true, true },
        { "a: 'null'", "null", false, false },
        { "a: ''", "", false, false },
        { "{\"a\": \"x\\u00e9\\n\"}", "x\303\251\n", false, false },
        { "{\"a\": 3}", "3", true, false },
        { "a: |\n  x\n  y\n", "x\ny\n", false, false },
        { "\xef\xbb\xbf"
          "a: 1",
          "1", true, false },
        { "%YAML 1.1\n---\na: 1\n...\n", "1", true, false },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct tree *t = parse(rows[i].text);
        const json_t *a = member(t, "a");
        assert_string_equal(json_string_value(a), rows[i].value);
        assert_int_equal(tree_mark(t, a).plain, rows[i].plain);
        assert_int_equal(tree_is_null(t, a), rows[i].null);
        tree_free(t);
    }
}

static void a_value_knows_where_it_and_its_key_stood(void **state)
{
    (void)state;
    struct tree *t = parse("# first\nlisten:\n  proxy:   x\nrules:\n  - one\n  - {two: 2}\n");
    struct tree_mark proxy = tree_mark(t, json_object_get(member(t, "listen"), "proxy"));
    assert_int_equal(proxy.line, 3);
    assert_int_equal(proxy.column, 12);
    assert_int_equal(proxy.key_line, 3);
    assert_int_equal(proxy.key_column, 3);
    const json_t *rules = member(t, "rules");
    assert_int_equal(tree_mark(t, rules).key_line, 4);
    assert_int_equal(tree_mark(t, json_array_get(rules, 0)).line, 5);
    assert_int_equal(tree_mark(t, json_array_get(rules, 0)).key_line, 0);
    assert_int_equal(tree_mark(t, json_object_get(json_array_get(rules, 1), "two")).column, 11);
    assert_int_equal(tree_mark(t, NULL).line, 0);
    tree_free(t);
}

static void many_values_keep_their_places_while_the_table_grows(void **state)
{
    (void)state;
    char text[16 * 1024] = "";
    for (unsigned i = 0; i < 1000; i++)
        sprintf(text + strlen(text), "k%u: v%u\n", i, i);
    struct tree *t = parse(text);
    for (unsigned i = 0; i < 1000; i++) {
        char key[8];
        sprintf(key, "k%u", i);
        assert_int_equal(tree_mark(t, member(t, key)).line, i + 1);
    }
    tree_free(t);
}

static void nothing_but_comments_is_an_empty_object(void **state)
{
    (void)state;
    static const char *const rows[] = { "", "\n\n", "# only this\n", "---\n", "~\n", "{}\n" };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct tree *t = parse(rows[i]);
        assert_true(json_is_object(tree_root(t)));
        assert_int_equal(json_object_size(tree_root(t)), 0);
        tree_free(t);
    }
}

static void what_is_refused_says_where_and_why(void **state)
{
    (void)state;
    static const struct {
        const char *text, *place, *why;
    } rows[] = {
        { "a: 1\nb: 2\na: 3\n", "3:1: ", "\"a\" is given twice (first in line 1)" },
        { "{\"a\": 1, \"a\": 2}", "1:10: ", "given twice" },
        { "a: &x 1\n", "1:4: ", "anchors" },
        { "a: &x [1]\n", "1:4: ", "anchors" },
        { "a: &x {b: 1}\n", "1:4: ", "anchors" },
        { "a: *x\n", "1:4: ", "aliases" },
        { "a: !!str 1\n", "1:4: ", "tags" },
        { "a: !x {b: 1}\n", "1:4: ", "tags" },
        { "a: !x [1]\n", "1:4: ", "tags" },
        { "[a]: 1\n", "1:1: ", "plain word" },
        { "? {a: 1}\n: 2\n", "1:3: ", "plain word" },
        { "&k a: 1\n", "1:1: ", "plain word" },
        { "a: \"x\\0y\"\n", "1:4: ", "NUL" },
        { "\"a\\0b\": 1\n", "1:1: ", "NUL" },
        { "a: 1\n---\nb: 2\n", "2:1: ", "second document" },
        { "a: [1, 2\nb: }\n", "2:", "" },
        { "a:\n\t- 1\n", "2:1: ", "" },
        { "a: \xff\n", "", "byte 4" },
        { "[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", "1:17: ", "too deep" },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err e = { "" };
        assert_null(tree_parse(slice_str(rows[i].text), &e));
        if (strncmp(e.text, rows[i].place, strlen(rows[i].place)) != 0 || !strstr(e.text, rows[i].why))
            fail_msg("%s gave %s", rows[i].text, e.text);
    }
}

static void sixteen_levels_are_allowed(void **state)
{
    (void)state;
    tree_free(parse("[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]")); /* 15 lists and what is in them */
}

static void a_text_over_one_mebibyte_is_refused_unread(void **state)
{
    (void)state;
    struct err e = { "" };
    char *text = malloc(TREE_MAX_BYTES + 1);
    memset(text, '#', TREE_MAX_BYTES + 1);
    assert_null(tree_parse(slice_of(text, TREE_MAX_BYTES + 1), &e));
    assert_non_null(strstr(e.text, "larger than 1 MiB"));
    struct tree *t = tree_parse(slice_of(text, TREE_MAX_BYTES), &e);
    assert_non_null(t);
    tree_free(t);
    free(text);
}

static void freeing_nothing_is_allowed(void **state)
{
    (void)state;
    tree_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scalar_is_text_whatever_it_looks_like),
        cmocka_unit_test(a_value_knows_where_it_and_its_key_stood),
        cmocka_unit_test(many_values_keep_their_places_while_the_table_grows),
        cmocka_unit_test(nothing_but_comments_is_an_empty_object),
        cmocka_unit_test(what_is_refused_says_where_and_why),
        cmocka_unit_test(sixteen_levels_are_allowed),
        cmocka_unit_test(a_text_over_one_mebibyte_is_refused_unread),
        cmocka_unit_test(freeing_nothing_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
