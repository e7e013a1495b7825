/* Unit tests of app/config/placeholders: shaped as the provider's tokens, the same after each start, different for each
 * credential. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/config/placeholders.h"
#include "base/own_env.h"
#include "base/rand.h"

#define KEY_A "5b1d7f0c2e4a68931d5c7e9fa0b2c4d6e8f90123456789abcdef00112233445a"
#define KEY_B "6b1d7f0c2e4a68931d5c7e9fa0b2c4d6e8f90123456789abcdef00112233445a"

struct said {
    char text[4096];
};

static void hear(void *arg, bool warning, const char *text)
{
    struct said *s = arg;
    size_t len = strlen(s->text);
    if (!warning)
        snprintf(s->text + len, sizeof s->text - len, "%s\n", text);
}

static struct config *parse(const char *text, struct said *said)
{
    struct config_options o = {
        .files = SCHEMA_FILES_NONE, .allow_inline_secrets = true, .report = hear, .report_arg = said
    };
    struct err e;
    said->text[0] = '\0';
    return config_parse(slice_str(text), "f", &o, &e);
}

static struct config *filled(const char *key, const char *rest)
{
    char text[4096];
    struct said said;
    struct err e = { "" };
    snprintf(text, sizeof text, "store: {seal_key: %s}\n%s", key, rest);
    struct config *c = parse(text, &said);
    if (!c)
        fail_msg("%s\n%s", text, said.text);
    if (placeholders_fill(c, false, false, &e) != 0)
        fail_msg("%s", e.text);
    return c;
}

static void bad(const char *text, const char *why)
{
    struct said said;
    struct config *c = parse(text, &said);
    config_free(c);
    if (c || !strstr(said.text, why))
        fail_msg("%s\ngave %s", text, c ? "a configuration" : said.text);
}

#define TWO                                                                                                            \
    "credentials:\n"                                                                                                   \
    "  a: {preset: openai, key: x, placeholder: auto}\n"                                                               \
    "  b: {preset: anthropic, key: x, placeholder: auto}\n"

static void they_are_the_same_after_each_start_and_differ_by_credential_and_key(void **state)
{
    (void)state;
    struct config *one = filled(KEY_A, TWO), *again = filled(KEY_A, TWO), *other = filled(KEY_B, TWO);
    const char *a = placeholders_of(one, "a"), *b = placeholders_of(one, "b");
    assert_string_equal(a, placeholders_of(again, "a"));
    assert_string_equal(b, placeholders_of(again, "b"));
    assert_string_not_equal(a, placeholders_of(other, "a"));
    assert_int_equal(strncmp(a, "sk-proj-", 8), 0);
    assert_int_equal(strlen(a), 8 + 74 + 8 + 74);
    assert_int_equal(strncmp(b, "sk-ant-api03-", 13), 0);
    assert_string_equal(b + strlen(b) - 2, "AA");
    assert_string_not_equal(a + 20, b + 20);
    assert_string_equal(one->rules[0].when.any, a);
    assert_string_equal(one->rules[1].when.any, b);
    assert_null(placeholders_of(one, "c"));
    config_free(one);
    config_free(again);
    config_free(other);
}

#define RULES                                                                                                          \
    "credentials:\n"                                                                                                   \
    "  a: {grant: static, token: x, placeholder: auto}\n"                                                              \
    "  b: {grant: static, token: x, placeholder: auto, placeholder_format: 'xoxb-{digits:12}-{24}'}\n"                 \
    "  c: {grant: static, token: x}\n"                                                                                 \
    "rules:\n"                                                                                                         \
    "  - {name: r0, match: {host: a.test}, credential: a}\n"                                                           \
    "  - {name: r1, match: {host: a.test}, credential: a, placeholder: auto}\n"                                        \
    "  - {name: r2, match: {host: b.test}, credential: a, when: {header: x-a, equals: mine}}\n"                        \
    "  - {name: r3, match: {host: b.test}, credential: b, only_if: {header: x-a, equals: mine}}\n"                     \
    "  - {name: r4, match: {host: c.test}, credential: c, placeholder: auto}\n"                                        \
    "  - {name: r5, match: {host: c.test, paths: [/x]}, credential: c}\n"                                              \
    "  - {name: r6, match: {host: d.test}, credential: b, others: pass}\n"

static void a_rule_asks_for_its_own_or_its_credentials_or_for_what_it_says(void **state)
{
    (void)state;
    struct config *c = filled(KEY_A, RULES);
    assert_string_equal(c->rules[0].when.any, placeholders_of(c, "a"));
    assert_string_equal(c->rules[1].when.any, placeholders_of(c, "r1"));
    assert_string_not_equal(c->rules[0].when.any, c->rules[1].when.any);
    assert_int_equal(strncmp(c->rules[0].when.any, "sidekey-", 8), 0);
    assert_null(c->rules[2].when.any);
    assert_null(c->rules[3].when.any);
    assert_string_equal(c->rules[4].when.any, placeholders_of(c, "r4"));
    assert_false(when_is_set(&c->rules[5].when));
    assert_string_equal(c->rules[6].when.any, placeholders_of(c, "b"));
    assert_int_equal(strspn(c->rules[6].when.any + 5, "0123456789"), 12);
    config_free(c);
}

static const char *const formats[][2] = {
    { "ghp_{36}", NULL },
    { "{hex:32}", NULL },
    { "xoxb-{digits:12}-{24}", NULL },
    { "sk-ant-api03-{93}AA", NULL },
    { "AIzaSy{33}", NULL },
    { "ghp_{15}", "more random" },
    { "{40}-x", "more random" },
    { "{digits:20}", "more random" },
    { "ghp_{", "not a format" },
    { "ghp_{x}", "not a format" },
    { "ghp_{0}", "not a format" },
    { "ghp_{hex:}", "not a format" },
    { "ghp_{99999999999999999999}", "not a format" },
    { "ghp {36}", "only letters" },
    { "!{36}", "exclamation" },
    { "{400}{400}", "at most 512" },
};

static void a_format_gives_what_it_says_or_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        char *text = strdup(formats[i][0]);
        const char *wrong = placeholders_check_format(&text);
        if (!wrong != !formats[i][1] || (wrong && !strstr(wrong, formats[i][1])))
            fail_msg("%s: %s", formats[i][0], wrong ? wrong : "accepted");
        free(text);
    }
    unsigned char random[PLACEHOLDERS_RANDOM_BYTES];
    struct buf out;
    rand_bytes(random, sizeof random);
    buf_init(&out, 600);
    assert_int_equal(placeholders_shape("a-{hex:8}.{digits:3}_{500}", random, &out), 0);
    assert_int_equal(out.len, 2 + 8 + 1 + 3 + 1 + 500);
    assert_int_equal(strspn(buf_slice(&out).ptr + 2, "0123456789abcdef"), 8);
    buf_done(&out);
}

struct pairs {
    char text[1024];
};

static struct pairs clashes;

static int add_pair(void *arg, const char *variable, const char *value)
{
    struct pairs *p = arg;
    size_t len = strlen(p->text);
    snprintf(p->text + len, sizeof p->text - len, "%s=%.4s ", variable, value);
    return 0;
}

static void add_clash(const char *variable, const char *one, const char *other)
{
    size_t len = strlen(clashes.text);
    snprintf(clashes.text + len, sizeof clashes.text - len, "%s:%s,%s ", variable, one, other);
}

static void variables_come_from_the_preset_and_none_is_two_credentials(void **state)
{
    struct pairs p = { "" };
    (void)state;
    clashes.text[0] = '\0';
    struct config *c = filled(KEY_A, "credentials:\n"
                                     "  a: {preset: openai, key: x, placeholder: auto}\n"
                                     "  b: {preset: openai, key: x, placeholder: auto}\n"
                                     "  c: {preset: github-user, client_id: x, client_secret: x, refresh_token: x,\n"
                                     "      placeholder: auto, placeholder_variables: [GH_TOKEN]}\n"
                                     "  d: {preset: anthropic, key: x}\n");
    assert_int_equal(placeholders_each(c, add_pair, add_clash, &p), 0);
    assert_string_equal(p.text, "GH_TOKEN=ghu_ ");
    assert_string_equal(clashes.text, "OPENAI_API_KEY:a,b ");
    config_free(c);
}

static void what_contradicts_itself_is_refused(void **state)
{
    (void)state;
    bad("credentials: {a: {grant: static, token: x}}\n"
        "rules: [{match: {host: a.test}, credential: a, placeholder: auto, when: {header: x-a, equals: mine}}]\n",
        "keep one of them");
    bad("credentials: {a: {grant: static, token: x}}\n"
        "rules: [{match: {host: a.test}, placeholder: auto}]\n",
        "needs a credential");
    bad("credentials: {a: {grant: static, token: x, placeholder: auto, placeholder_variables: [A-B]}}\n",
        "not the name of an environment variable");
    bad("credentials: {a: {grant: static, token: x, placeholder: auto}}\n"
        "rules: [{match: {host: a.test}, credential: a}, {match: {host: a.test}, credential: a}]\n",
        "already has this placeholder");
}

static void without_a_key_it_is_said_and_nothing_is_made(void **state)
{
    struct said said;
    struct err e = { "" };
    char dir[] = "/tmp/placeholders.XXXXXX", text[512];
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(text, sizeof text, "store: {file: %s/state}\n%s", dir, TWO);
    struct config *c = parse(text, &said);
    assert_non_null(c);
    assert_int_equal(placeholders_fill(c, false, false, &e), -1);
    assert_non_null(strstr(e.text, "seal.key"));
    assert_null(placeholders_of(c, "a"));
    snprintf(text, sizeof text, "%s/state", dir);
    assert_int_not_equal(access(text, F_OK), 0);
    assert_int_equal(placeholders_fill(c, true, false, &e), 0);
    char *first = strdup(placeholders_of(c, "a"));
    assert_int_equal(placeholders_fill(c, false, false, &e), 0);
    assert_string_equal(first, placeholders_of(c, "a"));
    free(first);
    config_free(c);
    snprintf(text, sizeof text, "rm -rf %s", dir);
    assert_int_equal(system(text), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_are_the_same_after_each_start_and_differ_by_credential_and_key),
        cmocka_unit_test(a_rule_asks_for_its_own_or_its_credentials_or_for_what_it_says),
        cmocka_unit_test(a_format_gives_what_it_says_or_is_refused),
        cmocka_unit_test(variables_come_from_the_preset_and_none_is_two_credentials),
        cmocka_unit_test(what_contradicts_itself_is_refused),
        cmocka_unit_test(without_a_key_it_is_said_and_nothing_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
