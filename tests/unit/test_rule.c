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
#include "proxy/rule_path.h"

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
    struct message m;
    message_init(&m);
    assert_int_equal(message_start_request(&m, slice_str(method), slice_str(path)), 0);
    enum rule_match match = rule_index_find(index, &a, &m, &r);
    message_done(&m);
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
        "/v2/../admin",
        "/v2/..",
        "/v2/.",
        "/v2/./x",
        "/v2/%2e%2e/admin",
        "/v2/.%2E/admin",
        "/v2/..%2fadmin",
        "/v2/x%2F..%2F..%2Fadmin",
        "/v2/..\\admin",
        "/v2\\..\\admin",
        "/v2/%5c../admin",
        "/v2/..%5Cadmin",
        "/v2/..;x=1/admin",
        "/v2/..;/admin",
        "/v2/%2e",
        "/v2/%2e%2e",
        /* decoded twice, three times, in pieces */
        "/v2/%252e%252e/admin",
        "/v2/..%252fadmin",
        "/v2/..%255cadmin",
        "/v2/%25252e%25252e%25252fadmin",
        "/v2/%25%32%65%25%32%65/admin",
        "/v2/%2%65%2e/admin",
        /* segments that end before their slash */
        "/v2/..%3b/admin",
        "/v2/..%3bx/admin",
        "/v2/..%00/admin",
        "/v2/..%09/admin",
        "/v2/..%20/admin",
        "/v2/..%23/admin",
        "/v2/..%3f/admin",
        "/v2/..%0a/admin",
        "/v2/..%7f/admin",
        "/v2/..%00.png/admin",
        "/v2/%20../admin",
        "/v2/.%09./admin",
        "/v2/.%0d%0a./admin",
        "/v2/..%20;a=b/admin",
        "/v2/..%2500/admin",
        "/v2/..%253b/admin",
        /* overlong UTF-8, and characters that best-fit tables make dots and slashes of; escaped and as they are */
        "/v2/%c0%ae%c0%ae/admin",
        "/v2/%c0%ae./admin",
        "/v2/..%c0%afadmin",
        "/v2/..%c1%9cadmin",
        "/v2/%e0%80%ae%e0%80%ae/admin",
        "/v2/..%e0%80%afadmin",
        "/v2/%f0%80%80%ae./admin",
        "/v2/..%25c0%25afadmin",
        "/v2/%ef%bc%8e%ef%bc%8e/admin",
        "/v2/..%ef%bc%8fadmin",
        "/v2/..\xef\xbc\x8f"
        "admin",
        "/v2/\xc0\xae\xc0\xae/admin",
        /* decoders that do not look at the later bytes */
        "/v2/%c0%2e%c0%2e/admin",
        "/v2/..%c0%2fadmin",
        "/v2/..%c1%1cadmin",
        "/v2/%e0%40%ae%e0%40%ae/admin",
        "/v2/%fc%80%80%80%80%ae./admin",
        /* two dots in one character, and slashes with a letter before them */
        "/v2/%e2%80%a5/admin",
        "/v2/\xe2\x80\xa5/admin",
        "/v2/%ef%b8%b0/admin",
        "/v2/%e2%80%a4%e2%80%a4/admin",
        "/v2/%ef%b9%92%ef%b9%92/admin",
        "/v2/%e3%80%82%e3%80%82/admin",
        "/v2/%e2%85%9f../admin",
        "/v2/..%e2%88%95admin",
        "/v2/..%c2%a5admin",
        "/v2/..%e2%82%a9admin",
        "/v2/%e2%80%a5%ef%bc%8fadmin",
        "/v2/%25e2%2580%25a5/admin",
        /* blanks that some trim, what some drop, streams of NTFS, and escapes of other languages */
        "/v2/..%c2%a0/admin",
        "/v2/%c2%a0../admin",
        "/v2/..%a0/admin",
        "/v2/..\xa0/admin",
        "/v2/.%e2%80%8b./admin",
        "/v2/..%e3%80%80/admin",
        "/v2/..%ef%bb%bf/admin",
        "/v2/.%c2%ad./admin",
        "/v2/..::$DATA/admin",
        "/v2/..:/admin",
        "/v2/..%3a%3a$DATA/admin",
        "/v2/..\\u0000/admin",
        "/v2/..%5cu0000/admin",
        "/v2/%2e%c0%ae%2f%c2%a5admin",
        "/v2/..\xff/admin",
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
                                         "/v2//x",
                                         "/v2/My%20Files/a%2Bb",
                                         "/v2/100%25/x",
                                         "/v2/caf\xc3\xa9",
                                         "/v2/caf%e9",
                                         "/v2/%E2%82%AC",
                                         "/v2/a|b{c}\"d",
                                         "/v2/%u002e%u002e",
                                         "/v2/\xe7\xac\xac"
                                         "1.2",
                                         "/v2/%e6%97%a5.%e6%9c%ac",
                                         "/v2/%e2%80%a6",
                                         "/v2/a:b/c::d",
                                         "/v2/a%c2%a0b",
                                         "/v2/https://x/" };
    for (size_t i = 0; i < COUNT(ambiguous); i++) {
        if (winner(narrow, 1, "a.test", "GET", ambiguous[i]) != -2)
            fail_msg("%s was let through", ambiguous[i]);
        assert_int_equal(winner(wide, 2, "a.test", "GET", ambiguous[i]), 1);
    }
    for (size_t i = 0; i < COUNT(clear); i++)
        if (winner(narrow, 1, "a.test", "GET", clear[i]) != 0)
            fail_msg("%s was refused", clear[i]);
}

/* All of v2 has one credential, a part of it another one; neither may go where servers may see the other's part. */
static void a_path_whose_plain_form_has_another_rule_matches_only_patterns_for_all_paths(void **state)
{
    (void)state;
    static char *const part[] = { (char *)"/v2/private/*", (char *)"/v2/me", NULL };
    static const struct rule narrow[] = { RULE("a.test", 443, v2, NULL), RULE("a.test", 443, part, NULL) };
    static const struct rule wide[] = { RULE("a.test", 443, v2, NULL), RULE("a.test", 443, part, NULL),
                                        RULE("a.test", 443, star, NULL) };
    static const char *const others[] = { "/v2/%70rivate/x",   "/v2/p%2572ivate/x", "/v2/private%2fx", "/v2//private/x",
                                          "/v2/private;a=b/x", "/v2/private\\x",    "/v2/m%65",        "/v2/me;a",
                                          "/v2/me%00",         "/%762/x",           "//v2/x",          "/v2%2fx" };
    static const struct {
        const char *path;
        int winner;
    } same[] = {
        { "/v2/private/x", 1 }, { "/v2/private/a%2fb", 1 }, { "/v2/private/%78", 1 },
        { "/v2/%78", 0 },       { "/v2/mee%20", 0 },
    };
    for (size_t i = 0; i < COUNT(others); i++) {
        if (winner(narrow, 2, "a.test", "GET", others[i]) != -2)
            fail_msg("%s was let through", others[i]);
        assert_int_equal(winner(wide, 3, "a.test", "GET", others[i]), 2);
    }
    for (size_t i = 0; i < COUNT(same); i++)
        if (winner(narrow, 2, "a.test", "GET", same[i].path) != same[i].winner)
            fail_msg("%s: another rule won", same[i].path);
}

static void a_pattern_may_have_escapes_of_its_own(void **state)
{
    (void)state;
    static char *const encoded[] = { (char *)"/projects/group%2Fa/*", (char *)"/x%20y", NULL };
    static const struct rule rules[] = { RULE("a.test", 443, encoded, NULL) };
    assert_int_equal(winner(rules, 1, "a.test", "GET", "/projects/group%2Fa/issues"), 0);
    assert_int_equal(winner(rules, 1, "a.test", "GET", "/projects/group%2fa/issues"), -2);
    assert_int_equal(winner(rules, 1, "a.test", "GET", "/projects/group/a/issues"), -2);
    assert_int_equal(winner(rules, 1, "a.test", "GET", "/projects/group%2Fa/../issues"), -2);
    assert_int_equal(winner(rules, 1, "a.test", "GET", "/x%20y"), 0);
}

/* One pass, however deep the escapes of escapes are. */
static void a_path_of_many_escapes_costs_one_pass(void **state)
{
    (void)state;
    static const struct rule rules[] = { RULE("a.test", 443, v2, NULL) };
    static char deep[8000] = "/v2/%";
    for (size_t i = 5; i + 2 < sizeof deep - 8; i += 2)
        memcpy(deep + i, "25", 2);
    strcat(deep, "2e%2e/x");
    assert_int_equal(winner(rules, 1, "a.test", "GET", deep), -2);
    static char wide[MESSAGE_LINE_MAX_BYTES + 1000] = "/v2/%20";
    memset(wide + 7, 'a', sizeof wide - 8);
    assert_int_equal(winner(rules, 1, "a.test", "GET", wide), -2);
}

static void the_escapes_of_a_path_are_whole(void **state)
{
    (void)state;
    static const char *const good[] = { "/", "/a%20b", "/%aF", "/a?%", "/?%zz", "*", "/|{\"" };
    static const char *const bad[] = { "/%", "/%2", "/%zz", "/a%2g/b", "/%u002e", "/%%20", "/%\xff\xff" };
    for (size_t i = 0; i < COUNT(good); i++)
        if (!rule_path_escapes_valid(slice_str(good[i])))
            fail_msg("%s is refused", good[i]);
    for (size_t i = 0; i < COUNT(bad); i++)
        if (rule_path_escapes_valid(slice_str(bad[i])))
            fail_msg("%s is let through", bad[i]);
}

static void a_method_that_is_asked_for_beside_is_judged_too(void **state)
{
    (void)state;
    static const struct rule limited = RULE("a.test", 443, NULL, get_post), any = RULE("a.test", 443, NULL, NULL);
    static const struct {
        const char *target, *name, *value;
        bool allowed;
    } rows[] = {
        { "/", "X-A", "DELETE", true },
        { "/", "X-HTTP-Method-Override", "DELETE", false },
        { "/", "x-http-method-override", "GET", true },
        { "/", "x-http-method-override", "get", true },
        { "/", "X_HTTP_Method_Override", "PUT", false },
        { "/", "X-HTTP-Method", "PATCH", false },
        { "/", "X-Method-Override", "MERGE", false },
        { "/", "X-Original-Method", "DELETE", false },
        { "/", "X-Forwarded-Method", "DELETE", false },
        { "/", "X-HTTP-Method-Override", "", false },
        { "/", "X-HTTP-Method-Override", "GET, DELETE", false },
        { "/?_method=DELETE", "X-A", "", false },
        { "/?a=b&_method=delete", "X-A", "", false },
        { "/?%5fmethod=PU%54", "X-A", "", false },
        { "/?_method=GE%54", "X-A", "", true },
        { "/?method=DELETE&a_method=PUT", "X-A", "", true },
        { "/_method=DELETE", "X-A", "", true },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct message m;
        message_init(&m);
        assert_int_equal(message_start_request(&m, SLICE("POST"), slice_str(rows[i].target)), 0);
        assert_int_equal(message_add(&m, slice_str(rows[i].name), slice_str(rows[i].value)), 0);
        if (rule_overrides_allowed(&limited, &m) != rows[i].allowed)
            fail_msg("%s %s: %s", rows[i].target, rows[i].name, rows[i].value);
        assert_true(rule_overrides_allowed(&any, &m));
        message_done(&m);
    }
}

static void a_path_that_is_asked_for_beside_is_judged_too(void **state)
{
    (void)state;
    static const struct rule limited = RULE("a.test", 443, v2, NULL), any = RULE("a.test", 443, all, NULL);
    static const struct {
        const char *name, *value;
        bool allowed;
    } rows[] = {
        { "X-A", "/admin", true },
        { "X-Original-URL", "/admin", false },
        { "x_original_url", "/admin", false },
        { "X-Rewrite-URL", "/admin?a=/v2/", false },
        { "X-Rewrite-URL", "/v2/../admin", false },
        { "X-Rewrite-URL", "", false },
        { "X-Rewrite-URL", "http://a.test/v2/a", false },
        { "X-Original-URL", "/v2/a?b", true },
        { "X-Original-URI", "/admin", false },
        { "X-Forwarded-Uri", "/admin", false },
        { "X-Forwarded-Uri", "/v2/a", true },
        { "X-Forwarded-Url", "https://a.test/admin", false },
        { "X-Forwarded-Path", "/admin", false },
        { "X-Forwarded-Prefix", "/admin", false },
        { "X-Forwarded-Prefix", "/v2/..", false },
        { "X-Envoy-Original-Path", "/admin", false },
        { "X-Replaced-Path", "/admin", false },
        { "X-Waws-Unencoded-Url", "/v2/%2e%2e/admin", false },
        { "X-Forwarded-For", "/admin", true },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct message m;
        message_init(&m);
        assert_int_equal(message_start_request(&m, SLICE("GET"), SLICE("/v2/a")), 0);
        assert_int_equal(message_add(&m, slice_str(rows[i].name), slice_str(rows[i].value)), 0);
        if (rule_overrides_allowed(&limited, &m) != rows[i].allowed)
            fail_msg("%s: %s", rows[i].name, rows[i].value);
        assert_true(rule_overrides_allowed(&any, &m));
        message_done(&m);
    }
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
        struct message m;
        message_init(&m);
        assert_int_equal(message_start_request(&m, slice_str(rows[i].method), slice_str(rows[i].path)), 0);
        const char *differs = rule_mismatch(&rule, &a, &m);
        message_done(&m);
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
    }
    struct authority below = to("x.h49.test");
    assert_ptr_equal(rule_index_first(index, &below), &rules[99]);
    rule_index_free(index);
}

static void http2_belongs_to_the_host(void **state)
{
    static char one[] = "one.pem", two[] = "two.pem";
    struct rule rules[] = { RULE("a.test", 443, v2, NULL), RULE("a.test", 443, NULL, NULL),
                            RULE("b.test", 443, NULL, NULL) };
    struct authority a = to("a.test"), c = to("c.test");
    (void)state;
    assert_false(rule_host_http2(rules, 3, &a));
    rules[0].http2 = HTTP2_MIRROR;
    assert_false(rule_host_http2(rules, 3, &a));
    rules[1].http2 = HTTP2_MIRROR;
    assert_true(rule_host_http2(rules, 3, &a));
    rules[0].ca_file = one;
    assert_false(rule_host_http2(rules, 3, &a));
    rules[1].ca_file = two;
    assert_false(rule_host_http2(rules, 3, &a));
    rules[1].ca_file = one;
    assert_true(rule_host_http2(rules, 3, &a));
    assert_false(rule_host_http2(rules, 3, &c));
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
        cmocka_unit_test(a_path_whose_plain_form_has_another_rule_matches_only_patterns_for_all_paths),
        cmocka_unit_test(a_pattern_may_have_escapes_of_its_own),
        cmocka_unit_test(a_path_of_many_escapes_costs_one_pass),
        cmocka_unit_test(the_escapes_of_a_path_are_whole),
        cmocka_unit_test(a_method_that_is_asked_for_beside_is_judged_too),
        cmocka_unit_test(a_path_that_is_asked_for_beside_is_judged_too),
        cmocka_unit_test(no_rules_know_nothing),
        cmocka_unit_test(a_look_up_sees_the_rules_of_its_host_only),
        cmocka_unit_test(the_reason_names_the_first_difference),
        cmocka_unit_test(http2_belongs_to_the_host),
        cmocka_unit_test(a_rule_gives_back_all_it_owns_and_an_empty_one_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
