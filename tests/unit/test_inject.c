/* inject.c: what a rule does to a request's head. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "http/rules.h"
#include "proxy/inject.h"

static struct message m;
static struct rule rule;
static struct inject_item items[10];
static struct token token;
static char crm[] = "crm", authorization[] = "authorization", bearer[] = "Bearer {access_token}",
            key[] = "access_token", plain[] = "{access_token}";

static struct inject_item header(char *name, char *format)
{
    return (struct inject_item){ INJECT_HEADER, name, format };
}

static int up(void **state)
{
    (void)state;
    message_init(&m);
    items[0] = header(authorization, bearer);
    rule = (struct rule){ .name = crm, .credential = crm, .inject = items, .inject_count = 1 };
    token = (struct token){ .generation = 1 };
    return message_start_request(&m, SLICE("GET"), SLICE("/path")) || secret_set(&token.secret, SLICE("tok"));
}

static int down(void **state)
{
    (void)state;
    message_done(&m);
    secret_done(&token.secret);
    return 0;
}

static void add(const char *name, const char *value)
{
    assert_int_equal(message_add(&m, slice_str(name), slice_str(value)), 0);
}

static const char *text(struct slice s)
{
    static char copy[1 << 17];
    memcpy(copy, s.ptr ? s.ptr : "", s.len);
    copy[s.len] = '\0';
    return copy;
}

static const char *field(const char *name)
{
    size_t count;
    struct slice value = message_get(&m, slice_str(name), &count);
    assert_in_range(count, 0, 1);
    return count ? text(value) : NULL;
}

static enum inject_result inject(void)
{
    return inject_request(&rule, &token, &m, false);
}

static void use(const char *access_token)
{
    assert_int_equal(secret_set(&token.secret, slice_str(access_token)), 0);
}

/* CGI and WSGI make HTTP_X_API_KEY of both. */
static void a_field_with_underscores_is_the_same_managed_field(void **state)
{
    (void)state;
    static char name[] = "x-api-key", strip_name[] = "x-user-id", *strip[] = { strip_name, NULL };
    struct name_value absent = { (char[]){ "x-api-version" }, (char[]){ "1" } };
    items[0] = header(name, plain);
    rule.strip = strip;
    rule.set_if_absent = &absent;
    rule.set_if_absent_count = 1;
    add("X_Api_Key", "mine");
    add("x-api_key", "mine");
    add("x_API-KEY", "mine");
    add("X_User_Id", "root");
    add("X_Api_Version", "2");
    add("x_api_keys", "stays");
    assert_int_equal(inject_request(&rule, &token, &m, false), INJECT_DONE);
    assert_string_equal(field("x-api-key"), "tok");
    assert_null(field("X_Api_Key"));
    assert_null(field("x-api_key"));
    assert_null(field("x_API-KEY"));
    assert_null(field("x_user_id"));
    assert_null(field("x-api-version"));
    assert_string_equal(field("x_api_version"), "2");
    assert_string_equal(field("x_api_keys"), "stays");
}

static void every_copy_of_a_managed_field_is_replaced(void **state)
{
    (void)state;
    add("Authorization", "a");
    add("AUTHORIZATION", "b");
    assert_int_equal(inject(), INJECT_DONE);
    assert_string_equal(field("authorization"), "Bearer tok");
}

static void a_second_token_takes_the_place_of_the_first(void **state)
{
    struct name_value append[] = { { (char[]){ "beta" }, (char[]){ "oauth" } } };
    struct name_value set[] = { { (char[]){ "x-v" }, (char[]){ "1" } } };
    (void)state;
    rule.append = append;
    rule.set_if_absent = set;
    rule.append_count = rule.set_if_absent_count = 1;
    items[1] = (struct inject_item){ INJECT_QUERY, key, plain };
    rule.inject_count = 2;
    add("Beta", "a");
    assert_int_equal(inject(), INJECT_DONE);
    use("second");
    assert_int_equal(inject_request(&rule, &token, &m, true), INJECT_DONE);
    assert_string_equal(field("authorization"), "Bearer second");
    assert_string_equal(field("beta"), "a,oauth");
    assert_string_equal(field("x-v"), "1");
    assert_string_equal(text(message_target(&m)), "/path?access_token=second");
}

static void formats_are_filled_in(void **state)
{
    static const struct {
        const char *format, *value;
    } table[] = {
        { "Bearer {access_token}", "Bearer tok" },
        { "{access_token}", "tok" },
        { "{access_token}{access_token}", "toktok" },
        { "{host}/{access_token}", "h.test/tok" },
        { "a {open", "a {open" },
        { "a } b", "a } b" },
        { "no value", "no value" },
        { "{access_token} {", "tok {" },
    };
    (void)state;
    token.extras[0] = (struct token_extra){ (char[]){ "host" }, (char[]){ "h.test" } };
    token.extra_count = 1;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char format[64];
        snprintf(format, sizeof format, "%s", table[i].format);
        items[0].format = format;
        assert_int_equal(inject(), INJECT_DONE);
        assert_string_equal(field("authorization"), table[i].value);
    }
}

static void a_value_that_is_missing_or_cannot_be_sent_fails(void **state)
{
    static const char *const formats[] = { "{instance_url}", "{}", "Bearer {access_token}{x}" }, *const tokens[] = {
        "a\r\nX: y", "a\nb", "a\x01"
    };
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char format[64];
        snprintf(format, sizeof format, "%s", formats[i]);
        items[0].format = format;
        assert_int_equal(inject(), INJECT_NO_VALUE);
        assert_null(field("authorization"));
    }
    items[0].format = bearer;
    for (size_t i = 0; i < 3; i++) {
        use(tokens[i]);
        assert_int_equal(inject(), INJECT_NO_VALUE);
        assert_null(field("authorization"));
    }
}

static void a_token_that_the_head_cannot_hold_fails(void **state)
{
    static char large[MSG_TOKEN_MAX + 1], filler[50000];
    (void)state;
    memset(large, 'a', MSG_TOKEN_MAX);
    memset(filler, 'b', sizeof filler - 1);
    use(large);
    assert_int_equal(inject(), INJECT_DONE);
    message_clear(&m);
    add("X-Filler", filler); /* a head is 64 KiB at most */
    assert_int_equal(inject(), INJECT_TOO_LARGE);
}

static void the_query_member_is_set_however_the_client_wrote_it(void **state)
{
    static const struct {
        const char *target, *result;
    } table[] = {
        { "/p", "/p?access_token=tok" },
        { "/p?", "/p?access_token=tok" },
        { "/p?a=1", "/p?a=1&access_token=tok" },
        { "/p?access_token=x", "/p?access_token=tok" },
        { "/p?access_token=x&a=%20&access_token=y&b", "/p?a=%20&b&access_token=tok" },
        { "/p?access_token", "/p?access_token=tok" },
        { "/p?acces%73_token=x", "/p?access_token=tok" },
        { "/p?%61%63%63%65%73%73%5F%74%6f%6b%65%6e=x&a", "/p?a&access_token=tok" },
        { "/p?access_token2=x", "/p?access_token2=x&access_token=tok" },
        { "/p?access%zztoken=x", "/p?access%zztoken=x&access_token=tok" },
        { "/p?access_toke%6", "/p?access_toke%6&access_token=tok" },
        { "/p?a=b?access_token=c", "/p?a=b?access_token=c&access_token=tok" },
    };
    (void)state;
    items[0] = (struct inject_item){ INJECT_QUERY, key, plain };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        message_clear(&m);
        assert_int_equal(message_start_request(&m, SLICE("GET"), slice_str(table[i].target)), 0);
        assert_int_equal(inject(), INJECT_DONE);
        assert_string_equal(text(message_target(&m)), table[i].result);
    }
}

static void a_query_value_and_its_name_are_encoded(void **state)
{
    static char odd[] = "a&b=c";
    (void)state;
    items[0] = (struct inject_item){ INJECT_QUERY, odd, plain };
    use("a+b/c=&d e");
    assert_int_equal(inject(), INJECT_DONE);
    assert_string_equal(text(message_target(&m)), "/path?a%26b%3Dc=a%2Bb%2Fc%3D%26d+e");
    assert_int_equal(inject(), INJECT_DONE);
    assert_string_equal(text(message_target(&m)), "/path?a%26b%3Dc=a%2Bb%2Fc%3D%26d+e");
}

static void userinfo_becomes_basic(void **state)
{
    static char format[] = "x:{access_token}";
    (void)state;
    items[0] = (struct inject_item){ INJECT_USERINFO, NULL, format };
    add("Authorization", "mine");
    assert_int_equal(inject(), INJECT_DONE);
    assert_string_equal(field("authorization"), "Basic eDp0b2s="); /* RFC 4648: "x:tok" */
}

static void only_the_exact_placeholder_counts(void **state)
{
    static char name[] = "authorization", value[] = "Bearer holder";
    static const struct {
        const char *first, *second;
        enum inject_result result;
    } table[] = {
        { "Bearer holder", NULL, INJECT_DONE },
        { "Bearer mine", NULL, INJECT_SKIPPED },
        { NULL, NULL, INJECT_SKIPPED },
        { "bearer holder", NULL, INJECT_SKIPPED },
        { "Bearer holder", "Bearer holder", INJECT_SKIPPED },
        { "Bearer holder2", NULL, INJECT_SKIPPED },
    };
    (void)state;
    rule.only_if_header = name;
    rule.only_if_equals = value;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        message_clear(&m);
        if (table[i].first)
            add("Authorization", table[i].first);
        if (table[i].second)
            add("Authorization", table[i].second);
        assert_int_equal(inject_wanted(&rule, &m), table[i].result == INJECT_DONE);
        assert_int_equal(inject(), table[i].result);
    }
    message_clear(&m); /* the placeholder is gone after the first send, and the second is one all the same */
    assert_int_equal(inject_request(&rule, &token, &m, true), INJECT_DONE);
}

static void members_are_appended_to_what_is_there(void **state)
{
    struct name_value append[] = { { (char[]){ "beta" }, (char[]){ "oauth" } } };
    static const struct {
        const char *first, *second, *result;
    } table[] = {
        { NULL, NULL, "oauth" },    { "a", NULL, "a,oauth" },         { "a, b", NULL, "a, b,oauth" },
        { "oauth", NULL, "oauth" }, { "a, oauth", NULL, "a, oauth" }, { "a", "b", "a,b,oauth" },
        { "", NULL, "oauth" },      { "a", "", "a,oauth" },
    };
    (void)state;
    rule.append = append;
    rule.append_count = 1;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        message_clear(&m);
        if (table[i].first)
            add("Beta", table[i].first);
        if (table[i].second)
            add("BETA", table[i].second);
        assert_int_equal(inject(), INJECT_DONE);
        assert_string_equal(field("beta"), table[i].result);
    }
}

static void what_is_to_be_stripped_is_gone_and_what_is_absent_is_set(void **state)
{
    char *fields[] = { (char[]){ "x-api-key" }, NULL }, *keys[] = { (char[]){ "key" }, NULL };
    struct name_value set[] = { { (char[]){ "x-version" }, (char[]){ "1" } } };
    (void)state;
    rule.strip = fields;
    rule.strip_query = keys;
    rule.set_if_absent = set;
    rule.set_if_absent_count = 1;
    message_clear(&m);
    assert_int_equal(message_start_request(&m, SLICE("GET"), SLICE("/p?key=1&a=2&k%65y=3")), 0);
    add("X-API-Key", "1");
    add("x-api-key", "2");
    add("X-Version", "7");
    assert_int_equal(inject(), INJECT_DONE);
    assert_null(field("x-api-key"));
    assert_string_equal(field("x-version"), "7");
    assert_string_equal(text(message_target(&m)), "/p?a=2");
    message_remove(&m, SLICE("x-version"));
    assert_int_equal(inject(), INJECT_DONE);
    assert_string_equal(field("x-version"), "1");
}

static void connection_cannot_take_our_field_away(void **state)
{
    static char name[] = "x-api-key";
    struct authority a0;
    (void)state;
    items[0] = header(name, plain);
    add("Host", "a.test");
    add("Connection", "x-api-key, authorization");
    add("X-Api-Key", "mine");
    assert_int_equal(authority_parse(SLICE("a.test"), SCHEME_HTTPS, 443, &a0), 0);
    assert_int_equal(rules_forward_request(&m, &a0, false, NULL).status, 0);
    assert_int_equal(inject(), INJECT_DONE);
    assert_string_equal(field("x-api-key"), "tok");
    assert_null(field("connection"));
}

static void a_rule_without_a_credential_needs_no_token(void **state)
{
    char *fields[] = { (char[]){ "x-secret" }, NULL };
    (void)state;
    rule.credential = NULL;
    rule.strip = fields;
    add("X-Secret", "s");
    assert_false(inject_active(&rule));
    assert_int_equal(inject_request(&rule, NULL, &m, false), INJECT_DONE);
    assert_true(!field("x-secret") && !field("authorization"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_field_with_underscores_is_the_same_managed_field),
        T(every_copy_of_a_managed_field_is_replaced),
        T(a_second_token_takes_the_place_of_the_first),
        T(formats_are_filled_in),
        T(a_value_that_is_missing_or_cannot_be_sent_fails),
        T(a_token_that_the_head_cannot_hold_fails),
        T(the_query_member_is_set_however_the_client_wrote_it),
        T(a_query_value_and_its_name_are_encoded),
        T(userinfo_becomes_basic),
        T(only_the_exact_placeholder_counts),
        T(members_are_appended_to_what_is_there),
        T(what_is_to_be_stripped_is_gone_and_what_is_absent_is_set),
        T(connection_cannot_take_our_field_away),
        T(a_rule_without_a_credential_needs_no_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
