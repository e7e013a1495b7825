/* Unit tests of proxy/rule: which rule wins, and that a path that can be read in two ways wins nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/rule_index.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static char *const v2[] = { (char *)"/v2/*", NULL };
static char *const v2_exact[] = { (char *)"/v2/x", (char *)"/status", NULL };
static char *const v2_longer[] = { (char *)"/v2/x*", NULL };
static char *const all[] = { (char *)"/*", NULL };
static char *const star[] = { (char *)"*", NULL };
static char *const get_post[] = { (char *)"GET", (char *)"POST", NULL };
static char *const get[] = { (char *)"GET", NULL };

#define RULE(text, port_number, path_list, method_list)                                                                \
    { .host = (char *)(uintptr_t)(text),                                                                               \
      .port = (port_number),                                                                                           \
      .paths = (char **)(uintptr_t)(path_list),                                                                        \
      .methods = (char **)(uintptr_t)(method_list) }

static struct authority to(const char *text)
{
    struct authority a;
    if (authority_parse(slice_str(text), SCHEME_HTTPS, 443, &a) != 0)
        fail_msg("%s is no authority", text);
    return a;
}

/* -1: none, -2: refused, else the winner's place. */
static int winner(const struct rule *rules, size_t count, const char *host, const char *method, const char *path)
{
    struct authority a = to(host);
    const struct rule *r = NULL;
    struct rule_index *index = rule_index_new(rules, count);
    assert_non_null(index);
    enum rule_match match = rule_index_find(index, &a, slice_str(method), slice_str(path), &r);
    const struct rule *first = NULL;
    for (size_t i = count; i-- > 0;)
        first = rule_knows(&rules[i], &a) ? &rules[i] : first;
    assert_ptr_equal(rule_index_first(index, &a), first);
    assert_int_equal(match != RULE_NONE, first != NULL);
    rule_index_free(index);
    if (match != RULE_FOUND)
        assert_null(r);
    return match == RULE_NONE ? -1 : match == RULE_REFUSED ? -2 : (int)(r - rules);
}

static void hosts_match_exactly_or_by_one_label(void **state)
{
    (void)state;
    static const struct rule rules[] = { RULE("*.x.test", 443, NULL, NULL), RULE("api.x.test", 443, NULL, NULL),
                                         RULE("10.0.0.1", 443, NULL, NULL), RULE("::1", 8443, NULL, NULL),
                                         RULE("api.x.test", 8443, NULL, NULL) };
    static const struct {
        const char *host;
        int winner;
    } rows[] = {
        { "api.x.test", 1 },         { "API.X.Test.", 1 },    { "other.x.test", 0 },     { "x.test", -1 },
        { "a.b.x.test", -1 },        { "evilx.test", -1 },    { "api.x.test.evil", -1 }, { "10.0.0.1", 2 },
        { "10.0.0.2", -1 },          { "[::1]:8443", 3 },     { "[::1]", -1 },           { "api.x.test:8443", 4 },
        { "other.x.test:8443", -1 }, { "api.x.test:80", -1 },
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        if (winner(rules, COUNT(rules), rows[i].host, "GET", "/") != rows[i].winner)
            fail_msg("%s: another rule won", rows[i].host);
}

static void an_address_has_no_labels_for_a_star(void **state)
{
    (void)state;
    static const struct rule rules[] = { RULE("*.0.0.1", 443, NULL, NULL) };
    assert_int_equal(winner(rules, 1, "10.0.0.1", "GET", "/"), -1);
}

static void the_longest_literal_path_wins_then_the_order(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        RULE("a.test", 443, all, NULL),      RULE("a.test", 443, v2, NULL), RULE("a.test", 443, v2_longer, NULL),
        RULE("a.test", 443, v2_exact, NULL), RULE("a.test", 443, v2, NULL), RULE("a.test", 443, NULL, NULL),
        RULE("*.test", 443, v2_exact, NULL),
    };
    static const struct {
        const char *path;
        int winner;
    } rows[] = {
        { "/", 0 },      { "/v2", 0 },     { "/v2/", 1 },     { "/v2/y", 1 }, { "/v2/x", 3 }, { "/v2/x?a=/v2/", 3 },
        { "/v2/xy", 2 }, { "/status", 3 }, { "/statusx", 0 }, { "/V2/x", 0 }, { "*", 5 },     { "/v2?/x", 0 },
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        if (winner(rules, COUNT(rules), "a.test", "GET", rows[i].path) != rows[i].winner)
            fail_msg("%s: rule %d won", rows[i].path, winner(rules, COUNT(rules), "a.test", "GET", rows[i].path));
}

static void an_exact_host_beats_a_star_with_a_longer_path_in_either_order(void **state)
{
    (void)state;
    static const struct rule rules[] = { RULE("*.a.test", 443, v2_exact, NULL), RULE("x.a.test", 443, all, NULL) };
    static const struct rule turned[] = { RULE("x.a.test", 443, all, NULL), RULE("*.a.test", 443, v2_exact, NULL) };
    assert_int_equal(winner(rules, 2, "x.a.test", "GET", "/v2/x"), 1);
    assert_int_equal(winner(turned, 2, "x.a.test", "GET", "/v2/x"), 0);
}

static void a_known_host_with_another_method_or_path_is_refused_and_never_skipped(void **state)
{
    (void)state;
    static const struct rule rules[] = { RULE("a.test", 443, v2, get_post), RULE("a.test", 443, all, get) };
    static const struct {
        const char *method, *path;
        int winner;
    } rows[] = {
        { "GET", "/v2/x", 0 },  { "POST", "/v2/x", 0 }, { "POST", "/", -2 }, { "DELETE", "/v2/x", -2 },
        { "get", "/v2/x", -2 }, { "GET", "/", 1 },      { "GET", "*", -2 },  { "GET", "", -2 },
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_int_equal(winner(rules, 2, "a.test", rows[i].method, rows[i].path), rows[i].winner);
}

static void a_path_that_servers_may_read_otherwise_matches_only_patterns_for_all_paths(void **state)
{
    (void)state;
    static const struct rule narrow[] = { RULE("a.test", 443, v2, NULL) };
    static const struct rule wide[] = { RULE("a.test", 443, v2, NULL), RULE("a.test", 443, star, NULL) };
    static const char *const ambiguous[] = {
        "/v2/../admin",     "/v2/..",         "/v2/.",           "/v2/./x",
        "/v2/%2e%2e/admin", "/v2/.%2E/admin", "/v2/..%2fadmin",  "/v2/x%2F..%2F..%2Fadmin",
        "/v2/..\\admin",    "/v2\\..\\admin", "/v2/%5c../admin", "/v2/..%5Cadmin",
        "/v2/..;x=1/admin", "/v2/..;/admin",  "/v2/%2e",         "/v2/%2e%2e",
    };
    static const char *const clear[] = { "/v2/x",
                                         "/v2/...",
                                         "/v2/.../x",
                                         "/v2/.well-known",
                                         "/v2/a..b/",
                                         "/v2/..a",
                                         "/v2/a..",
                                         "/v2/group%2Fproject",
                                         "/v2/%2",
                                         "/v2/%",
                                         "/v2/%2e%2ehidden",
                                         "/v2/x?q=/../",
                                         "/v2/;..",
                                         "/v2/x;y=1/z",
                                         "/v2//x" };
    for (size_t i = 0; i < COUNT(ambiguous); i++) {
        if (winner(narrow, 1, "a.test", "GET", ambiguous[i]) != -2)
            fail_msg("%s was let through", ambiguous[i]);
        assert_int_equal(winner(wide, 2, "a.test", "GET", ambiguous[i]), 1);
    }
    for (size_t i = 0; i < COUNT(clear); i++)
        if (winner(narrow, 1, "a.test", "GET", clear[i]) != 0)
            fail_msg("%s was refused", clear[i]);
}

static void no_rules_know_nothing(void **state)
{
    (void)state;
    assert_int_equal(winner(NULL, 0, "a.test", "GET", "/"), -1);
}

static void the_reason_names_the_first_difference(void **state)
{
    (void)state;
    static const struct rule rule = RULE("a.test", 443, v2, get);
    static const struct {
        const char *host, *method, *path, *differs;
    } rows[] = {
        { "b.test", "GET", "/v2/", "host" },   { "a.test:80", "GET", "/v2/", "port" },
        { "a.test", "PUT", "/v2/", "method" }, { "a.test", "GET", "/v3?/v2/", "path" },
        { "a.test", "GET", "/v2/?x", NULL },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct authority a = to(rows[i].host);
        const char *differs = rule_mismatch(&rule, &a, slice_str(rows[i].method), slice_str(rows[i].path));
        if (rows[i].differs)
            assert_string_equal(differs, rows[i].differs);
        else
            assert_null(differs);
    }
}

static void a_rule_gives_back_all_it_owns_and_an_empty_one_too(void **state)
{
    (void)state;
    struct rule r = { .name = strdup("n"),
                      .host = strdup("h"),
                      .inject = calloc(1, sizeof *r.inject),
                      .inject_count = 1,
                      .append = calloc(1, sizeof *r.append),
                      .append_count = 1,
                      .strip = calloc(2, sizeof *r.strip) };
    r.inject[0].name = strdup("authorization");
    r.append[0].value = strdup("v");
    r.strip[0] = strdup("x");
    rule_done(&r);
    assert_null(r.name);
    assert_int_equal(r.inject_count, 0);
    rule_done(&r);
}

/* Work is counted by the rules that a look-up hands out: it must not grow with the rules of other hosts. */
static void a_look_up_sees_the_rules_of_its_host_only(void **state)
{
    enum { MANY = 10000 };
    static struct rule rules[MANY];
    static char hosts[MANY][24];
    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        snprintf(hosts[i], sizeof hosts[i], i % 100 == 99 ? "*.h%zu.test" : "h%zu.test", i / 2);
        rules[i] = (struct rule)RULE(hosts[i], 443, NULL, NULL);
    }
    struct rule_index *index = rule_index_new(rules, MANY);
    assert_non_null(index);
    for (size_t i = 0; i < MANY; i++) {
        struct authority a = to(hosts[i][0] == '*' ? hosts[i] + 2 : hosts[i]);
        assert_in_range(rule_index_exact(index, &a).count, 1, 2);
        assert_int_equal(rule_index_wildcard(index, &a).count, 0);
        assert_true(rule_index_same(index, &rules[i]).count <= 2);
    }
    struct authority below = to("x.h49.test");
    assert_ptr_equal(rule_index_first(index, &below), &rules[99]);
    rule_index_free(index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_match_exactly_or_by_one_label),
        cmocka_unit_test(an_address_has_no_labels_for_a_star),
        cmocka_unit_test(the_longest_literal_path_wins_then_the_order),
        cmocka_unit_test(an_exact_host_beats_a_star_with_a_longer_path_in_either_order),
        cmocka_unit_test(a_known_host_with_another_method_or_path_is_refused_and_never_skipped),
        cmocka_unit_test(a_path_that_servers_may_read_otherwise_matches_only_patterns_for_all_paths),
        cmocka_unit_test(no_rules_know_nothing),
        cmocka_unit_test(a_look_up_sees_the_rules_of_its_host_only),
        cmocka_unit_test(the_reason_names_the_first_difference),
        cmocka_unit_test(a_rule_gives_back_all_it_owns_and_an_empty_one_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
