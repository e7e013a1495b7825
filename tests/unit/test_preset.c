/* Unit tests of app/config/preset: what a preset fills in is a configuration like any other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/config/config.h"
#include "app/config/preset.h"

struct said {
    char text[4096];
};

static void hear(void *arg, bool warning, const char *text)
{
    struct said *s = arg;
    size_t len = strlen(s->text);
    (void)warning;
    snprintf(s->text + len, sizeof s->text - len, "%s\n", text);
}

static struct config *parse(const char *text, struct said *said)
{
    struct config_options o = { .files = SCHEMA_FILES_NONE, .report = hear, .report_arg = said };
    struct err e;
    said->text[0] = '\0';
    return config_parse(slice_str(text), "f", &o, &e);
}

static struct config *good(const char *text)
{
    struct said said;
    struct config *c = parse(text, &said);
    if (!c)
        fail_msg("%s\n%s", text, said.text);
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

struct filled {
    char text[4096];
};

static int add_value(void *arg, const struct preset_value *v)
{
    struct filled *f = arg;
    const char *key = v->key;
    size_t len = strlen(f->text);
    const char *value = "value.example.com";
    assert_true(strlen(v->about) > 3);
    if (v->unless && strcmp(key, "installation") != 0)
        return 0;
    if (strcmp(key, "key") == 0 || strcmp(key, "client_secret") == 0 || strcmp(key, "refresh_token") == 0
        || strcmp(key, "certificate") == 0)
        value = "{file: /run/secrets/x}";
    else if (strcmp(key, "command") == 0)
        value = "[/bin/x, y]";
    else if (strcmp(key, "installation") == 0)
        value = "12345";
    else if (strcmp(key, "token_url") == 0)
        value = "https://login.example.com/app/installations/42/access_tokens";
    else if (strcmp(key, "provider") == 0)
        value = "https://login.example.com";
    snprintf(f->text + len, sizeof f->text - len, "    %s: %s\n", key, value);
    return 0;
}

static void try_preset(void *arg, const char *name, const char *about, const char *text)
{
    struct filled f;
    size_t *count = arg;
    snprintf(f.text, sizeof f.text, "credentials:\n  one:\n    preset: %s\n", name);
    assert_int_equal(preset_each_value(name, add_value, &f), 0);
    struct config *c = good(f.text);
    assert_string_equal(c->credentials[0].preset, name);
    assert_true(strlen(about) > 10);
    assert_non_null(strstr(text, "documentation: https://"));
    assert_int_equal(c->rule_count > 0, strstr(text, "\nrules:") != NULL);
    for (size_t i = 0; i < c->rule_count; i++)
        assert_string_equal(c->rules[i].credential, "one");
    size_t plain = c->rule_count;
    config_free(c);
    snprintf(f.text + strlen(f.text), sizeof f.text - strlen(f.text), "    placeholder: auto\n");
    c = good(f.text); /* and with the rules that answer */
    assert_int_equal(c->rule_count > plain, strstr(text, "answer: token") != NULL);
    config_free(c);
    ++*count;
}

static void every_preset_with_its_values_is_a_configuration(void **state)
{
    size_t count = 0;
    (void)state;
    preset_each(try_preset, &count);
    assert_true(count >= 30);
}

static void what_the_file_says_wins_key_by_key(void **state)
{
    (void)state;
    struct config *c = good("credentials:\n"
                            "  g:\n"
                            "    preset: google-service-account\n"
                            "    key: {file: /k.json}\n"
                            "    scope: https://www.googleapis.com/auth/drive\n"
                            "    assertion: {subject: someone@example.com}\n"
                            "rules:\n"
                            "  - {match: {host: drive.googleapis.com}, credential: g}\n");
    assert_string_equal(c->credentials[0].scope, "https://www.googleapis.com/auth/drive");
    assert_string_equal(c->credentials[0].token_url, "https://oauth2.googleapis.com/token");
    assert_string_equal(c->credentials[0].assertion.subject, "someone@example.com");
    assert_string_equal(c->credentials[0].assertion.key.name, "/k.json");
    assert_int_equal(c->rule_count, 1); /* the file has a rule of its own for it */
    assert_string_equal(c->rules[0].host, "drive.googleapis.com");
    config_free(c);
}

static void values_stand_in_the_texts_of_a_preset(void **state)
{
    (void)state;
    struct config *c = good("credentials:\n"
                            "  k: {preset: keycloak, domain: sso.example.com, realm: staff, client_id: me,\n"
                            "      client_secret: {env: SECRET}}\n"
                            "  s: {preset: salesforce, domain: x.my.salesforce.com, client_id: me,\n"
                            "      client_secret: {file: /s}, refresh_token: {file: /r}}\n");
    assert_string_equal(c->credentials[0].token_url,
                        "https://sso.example.com/realms/staff/protocol/openid-connect/token");
    assert_string_equal(c->credentials[1].token_url, "https://x.my.salesforce.com/services/oauth2/token");
    assert_int_equal(c->rule_count, 1);
    assert_string_equal(c->rules[0].host, "x.my.salesforce.com");
    config_free(c);
}

static void what_is_wrong_is_named_at_its_place(void **state)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        { "credentials: {x: {preset: slak}}\n", "f:1:27: there is no preset \"slak\": did you mean \"slack\"?" },
        { "credentials: {x: {preset: zzzzzzzz}}\n", "sidekey presets lists them" },
        { "credentials: {x: {preset: entra, client_id: me}}\n", "tenant is missing: preset entra needs it" },
        { "credentials: {x: {preset: gemini, key: {file: /k}, tenant: t}}\n", "tenant is a value for a preset" },
        { "credentials: {x: {grant: static, token: {file: /k}, key: {file: /k}}}\n", "key is a value for a preset" },
        { "credentials: {x: {preset: salesforce, domain: {file: /d}, client_id: me, client_secret: {file: /s}, "
          "refresh_token: {file: /r}}}\n",
          "f:1:47: domain: a text is needed here (My Domain" },
        { "credentials: {x: {preset: google}}\n",
          "did you mean one of gce-metadata, google-service-account, google-user" },
        { "credentials: {x: {preset: JIRA}}\n", "did you mean \"atlassian\"?" },
        { "credentials: {x: {preset: githb}}\n", "did you mean one of generic-github-app, github-app, github-git" },
        { "credentials: {x: {preset: openai, kye: {file: /k}}}\n",
          "f:1:35: key is missing: preset openai needs it (the API key): did you mean key by \"kye\"?" },
        { "credentials: {x: {preset: entra, tenant: a b, client_id: me, client_secret: {file: /s}}}\n",
          "tenant: write its id or its domain" },
        { "credentials: {x: {preset: keycloak, domain: https://sso.example.com, realm: r, client_id: me, "
          "client_secret: {file: /s}}}\n",
          "domain: write only the host" },
        { "credentials: {x: {preset: okta, domain: example, client_id: me, key: {file: /s}, scope: x}}\n",
          "domain: write the whole name of the host" },
        { "credentials: {x: {preset: gemini, key: sk-literal}}\n", "credentials.x.token" },
        { "credentials: {x: {preset: [gemini]}}\n", "credentials.x.preset" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        bad(rows[i].text, rows[i].why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_preset_with_its_values_is_a_configuration),
        cmocka_unit_test(what_the_file_says_wins_key_by_key),
        cmocka_unit_test(values_stand_in_the_texts_of_a_preset),
        cmocka_unit_test(what_is_wrong_is_named_at_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
