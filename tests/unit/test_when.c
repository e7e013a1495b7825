/* Unit tests of proxy/when and proxy/rule_index: the placeholder chooses the rule, exactly, and goes nowhere else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/inject.h"
#include "proxy/rule_index.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define TEXT(text) ((char *)(uintptr_t)(text))

enum {
    TEAM_A,
    TEAM_B,
    TEAM_B_ADMIN,
    BY_KEY,
    BY_QUERY,
    BY_PASSWORD,
    PLAIN_V1,
    STAR_A,
    OTHER_HOST,
    AUTO,
    AUTO_ADMIN,
    AUTO_OTHER
};

static char *const admin_paths[] = { TEXT("/admin/*"), NULL };
static char *const v1_paths[] = { TEXT("/v1/much/longer/*"), NULL };

#define AUTHORIZATION(text) { .header = TEXT("authorization"), .equals = TEXT(text) }
#define TO(text) .host = TEXT(text), .port = 443

#define MADE "ghp_Zm9vYmFyMDEyMzQ1Njc4"

static const struct rule rules[] = {
    [TEAM_A] = { TO("a.test"), .when = AUTHORIZATION("Bearer sk-team-a") },
    [TEAM_B] = { TO("a.test"), .when = AUTHORIZATION("Bearer sk-team-b") },
    [TEAM_B_ADMIN] = { TO("a.test"), .when = AUTHORIZATION("Bearer sk-team-b"),
                       .paths = (char **)(uintptr_t)admin_paths },
    [BY_KEY] = { TO("a.test"), .when = { .header = TEXT("x-api-key"), .equals = TEXT("sk-team-k") } },
    [BY_QUERY] = { TO("a.test"), .when = { .query = TEXT("key"), .equals = TEXT("sk team&q") } },
    [BY_PASSWORD] = { TO("a.test"), .when = { .basic_password = TEXT("ghp_placeholder") } },
    [PLAIN_V1] = { TO("a.test"), .paths = (char **)(uintptr_t)v1_paths },
    [STAR_A] = { TO("*.test"), .when = AUTHORIZATION("Bearer sk-team-star") },
    [OTHER_HOST] = { TO("b.other"), .when = AUTHORIZATION("Bearer sk-team-other") },
    [AUTO] = { TO("a.test"), .when = { .any = TEXT(MADE) } },
    [AUTO_ADMIN] = { TO("a.test"), .when = { .any = TEXT(MADE) }, .paths = (char **)(uintptr_t)admin_paths },
    [AUTO_OTHER] = { TO("b.other"), .when = { .any = TEXT("sk-made-Othermadeofother0123") } },
};

static void build(struct message *m, const char *target, const char *const *fields)
{
    message_init(m);
    assert_int_equal(message_start_request(m, SLICE("GET"), slice_str(target)), 0);
    for (; *fields; fields += 2)
        assert_int_equal(message_add(m, slice_str(fields[0]), slice_str(fields[1])), 0);
}

static const struct {
    const char *what, *target, *fields[6];
    int winner; /* -1: refused, -2: a placeholder is missing */
    bool stray;
} requests[] = {
    { "team a", "/", { "Authorization", "Bearer sk-team-a" }, TEAM_A, false },
    { "team b", "/", { "Authorization", "Bearer sk-team-b" }, TEAM_B, false },
    { "the scheme in any case", "/", { "authorization", "bEARER sk-team-b" }, TEAM_B, false },
    { "a longer path among the rules of one placeholder",
      "/admin/x",
      { "Authorization", "Bearer sk-team-b" },
      TEAM_B_ADMIN,
      false },
    { "a placeholder before a longer path",
      "/v1/much/longer/x",
      { "Authorization", "Bearer sk-team-a" },
      TEAM_A,
      false },
    { "no placeholder where a rule wants none", "/v1/much/longer/x", { NULL }, PLAIN_V1, false },
    { "a real token where a rule wants none",
      "/v1/much/longer/x",
      { "Authorization", "Bearer other" },
      PLAIN_V1,
      false },
    { "another field", "/", { "X-API-Key", " sk-team-k " }, BY_KEY, false },
    { "a query key", "/?a=1&key=sk+team%26q&b", { NULL }, BY_QUERY, false },
    { "a query key whose name is escaped", "/?k%65y=sk+team%26q", { NULL }, BY_QUERY, false },
    { "the Basic password of any user",
      "/",
      { "Authorization", "Basic eDpnaHBfcGxhY2Vob2xkZXI=" },
      BY_PASSWORD,
      false },
    { "Basic in lower case", "/", { "Authorization", "basic OmdocF9wbGFjZWhvbGRlcg==" }, BY_PASSWORD, false },
    { "nothing", "/", { NULL }, -2, false },
    { "an explicit credential", "/", { "Authorization", "Bearer sk-real" }, -2, false },
    { "a prefix", "/", { "Authorization", "Bearer sk-team-" }, -2, false },
    { "another case", "/", { "Authorization", "Bearer sk-Team-a" }, -2, false },
    { "a placeholder as the user", "/", { "Authorization", "Basic Z2hwX3BsYWNlaG9sZGVyOng=" }, -2, false },
    { "broken base64", "/", { "Authorization", "Basic %%%" }, -2, false },
    { "twice the same", "/", { "Authorization", "Bearer sk-team-a", "Authorization", "Bearer sk-team-a" }, -2, true },
    { "twice, and the second is a placeholder",
      "/",
      { "Authorization", "x", "Authorization", "Bearer sk-team-a" },
      -2,
      true },
    { "two placeholders in two places",
      "/",
      { "Authorization", "Bearer sk-team-a", "X-Api-Key", "sk-team-k" },
      TEAM_A,
      true },
    { "one of another host", "/", { "Authorization", "Bearer sk-team-other" }, -2, true },
    { "one of another host where a rule wants none",
      "/v1/much/longer/x",
      { "Authorization", "Bearer sk-team-other" },
      PLAIN_V1,
      true },
    { "made here, as Bearer", "/", { "Authorization", "Bearer " MADE }, AUTO, false },
    { "made here, by another scheme", "/", { "Authorization", "token " MADE }, AUTO, false },
    { "made here, without a scheme", "/", { "Authorization", MADE }, AUTO, false },
    { "made here, in another field", "/", { "X-Api-Key", MADE }, AUTO, false },
    { "made here, in two fields", "/", { "X-Api-Key", MADE, "Authorization", "Bearer " MADE }, AUTO, false },
    { "made here, and a longer path", "/admin/x", { "Authorization", "Bearer " MADE }, AUTO_ADMIN, false },
    { "made here, in the query", "/x?a=1&key=" MADE "&b=2", { NULL }, AUTO, false },
    { "made here, escaped in the query", "/x?key=ghp%5FZm9vYmFyMDEyMzQ1Njc%34", { NULL }, AUTO, false },
    { "made here, the Basic password",
      "/",
      { "Authorization", "Basic eDpnaHBfWm05dlltRnlNREV5TXpRMU5qYzQ=" },
      AUTO,
      false },
    { "made here, the Basic user",
      "/",
      { "Authorization", "Basic Z2hwX1ptOXZZbUZ5TURFeU16UTFOamM0Og==" },
      AUTO,
      false },
    { "made here, within a cookie", "/", { "Cookie", "a=1; t=" MADE }, -2, true },
    { "made here, right, and within a cookie too",
      "/",
      { "Authorization", "Bearer " MADE, "Cookie", "t=" MADE },
      AUTO,
      true },
    { "made here, in the path", "/bot" MADE "/send", { NULL }, -2, true },
    { "made here, with something behind it", "/", { "Authorization", "Bearer " MADE ".x" }, -2, true },
    { "made here, in the name of a query key", "/?" MADE "=1", { NULL }, -2, true },
    { "one character less", "/", { "Authorization", "Bearer ghp_Zm9vYmFyMDEyMzQ1Njc" }, -2, false },
    { "another case of it", "/", { "Authorization", "Bearer ghp_zm9vYmFyMDEyMzQ1Njc4" }, -2, false },
    { "made here, of another host", "/", { "X-Api-Key", "sk-made-Othermadeofother0123" }, -2, true },
    { "made here, of another host in Basic",
      "/",
      { "Authorization", "Basic eDpzay1tYWRlLU90aGVybWFkZW9mb3RoZXIwMTIz" },
      -2,
      true },
    { "made here, of another host in the query", "/?key=sk-made-Othermadeofother0123", { NULL }, -2, true },
    { "made here, of another host where a rule wants none",
      "/v1/much/longer/x",
      { "X-Any", "sk-made-Othermadeofother0123" },
      PLAIN_V1,
      true },
    { "made here, two of them",
      "/",
      { "Authorization", "Bearer " MADE, "X-Api-Key", "sk-made-Othermadeofother0123" },
      AUTO,
      true },
    { "one of a wildcard that covers the host", "/", { "Authorization", "Bearer sk-team-star" }, STAR_A, false },
};

static void the_placeholder_chooses_the_rule(void **state)
{
    struct rule_index *index = rule_index_new(rules, COUNT(rules));
    struct authority a;
    (void)state;
    assert_non_null(index);
    assert_int_equal(authority_parse(SLICE("a.test"), SCHEME_HTTPS, 443, &a), 0);
    for (size_t i = 0; i < COUNT(requests); i++) {
        struct message m;
        const struct rule *r = NULL;
        build(&m, requests[i].target, requests[i].fields);
        enum rule_match match = rule_index_find(index, &a, &m, &r);
        int winner = match == RULE_FOUND ? (int)(r - rules) : match == RULE_PLACEHOLDER ? -2 : -1;
        if (winner != requests[i].winner)
            fail_msg("%s: winner %d", requests[i].what, winner);
        if (rule_index_stray_placeholder(index, match == RULE_FOUND ? r : NULL, &m) != requests[i].stray)
            fail_msg("%s: stray", requests[i].what);
        message_done(&m);
    }
    rule_index_free(index);
}

static void a_placeholder_that_chose_its_rule_is_taken_off(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(requests); i++) {
        struct message m;
        if (requests[i].winner < 0 || requests[i].stray)
            continue;
        struct rule r = rules[requests[i].winner];
        build(&m, requests[i].target, requests[i].fields);
        assert_int_equal(inject_request(&r, NULL, &m, false), INJECT_DONE);
        if (when_is_set(&r.when) && when_holds(&r.when, &m))
            fail_msg("%s: it is still there", requests[i].what);
        message_done(&m);
    }
}

static void many_values_at_the_place_of_a_placeholder_are_refused_unread(void **state)
{
    struct rule_index *index = rule_index_new(rules, COUNT(rules));
    struct message m;
    char target[8192] = "/?";
    (void)state;
    for (int i = 0; i < 1000; i++)
        strcat(target, "key=1&");
    build(&m, target, (const char *const[]){ NULL });
    assert_true(rule_index_stray_placeholder(index, NULL, &m));
    message_done(&m);
    rule_index_free(index);
}

static void a_thousand_placeholders_of_one_host_are_told_apart(void **state)
{
    static struct rule many[1000];
    static char texts[1000][32];
    struct authority a;
    (void)state;
    assert_int_equal(authority_parse(SLICE("a.test"), SCHEME_HTTPS, 443, &a), 0);
    for (size_t i = 0; i < COUNT(many); i++) {
        snprintf(texts[i], sizeof texts[i], "Bearer sk-%zu", i);
        many[i] = (struct rule){ TO("a.test"), .when = AUTHORIZATION(texts[i]) };
    }
    struct rule_index *index = rule_index_new(many, COUNT(many));
    assert_non_null(index);
    for (size_t i = 0; i < COUNT(many); i++) {
        struct message m;
        const struct rule *r = NULL;
        build(&m, "/", (const char *const[]){ "Authorization", texts[i], NULL });
        assert_int_equal(rule_index_find(index, &a, &m, &r), RULE_FOUND);
        assert_ptr_equal(r, &many[i]);
        message_done(&m);
    }
    rule_index_free(index);
}

static void more_places_than_a_table_has_are_an_error(void **state)
{
    static struct rule many[WHEN_PLACES_MAX + 1];
    static char names[WHEN_PLACES_MAX + 1][16];
    (void)state;
    for (size_t i = 0; i < COUNT(many); i++) {
        snprintf(names[i], sizeof names[i], "x-%zu", i);
        many[i] = (struct rule){ TO("a.test"), .when = { .header = names[i], .equals = TEXT("placeholder") } };
    }
    assert_null(rule_index_new(many, COUNT(many)));
    struct rule_index *index = rule_index_new(many, COUNT(many) - 1);
    assert_non_null(index);
    rule_index_free(index);
}

static void a_preflight_carries_nothing_of_the_credential(void **state)
{
    struct inject_item items[] = { { INJECT_HEADER, TEXT("authorization"), TEXT("Bearer {access_token}") },
                                   { INJECT_QUERY, TEXT("key"), TEXT("{access_token}") } };
    struct rule r = { TO("a.test"), .credential = TEXT("crm"), .inject = items, .inject_count = 2 };
    struct message m;
    (void)state;
    message_init(&m);
    assert_int_equal(message_start_request(&m, SLICE("OPTIONS"), SLICE("/x?key=sk&b=1")), 0);
    assert_false(inject_is_preflight(&m));
    assert_int_equal(message_add(&m, SLICE("Access-Control-Request-Method"), SLICE("PUT")), 0);
    assert_int_equal(message_add(&m, SLICE("Authorization"), SLICE("Bearer sk")), 0);
    assert_true(inject_is_preflight(&m));
    assert_int_equal(inject_strip(&r, &m), 0);
    assert_false(message_has_alike(&m, SLICE("authorization")));
    assert_true(slice_eq(message_target(&m), SLICE("/x?b=1")));
    message_done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_placeholder_chooses_the_rule),
        cmocka_unit_test(a_placeholder_that_chose_its_rule_is_taken_off),
        cmocka_unit_test(many_values_at_the_place_of_a_placeholder_are_refused_unread),
        cmocka_unit_test(a_thousand_placeholders_of_one_host_are_told_apart),
        cmocka_unit_test(more_places_than_a_table_has_are_an_error),
        cmocka_unit_test(a_preflight_carries_nothing_of_the_credential),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
