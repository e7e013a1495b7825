/* Credentials in the configuration: which grant takes which keys, what follows from them, and secrets. */
#include "tests/fakes/config_text.h"

#define BEARER "grant: jwt_bearer, token_url: 'https://a.test/', "
#define CLIENT "grant: client_credentials, client_id: x, token_url: 'https://a.test/', "

static void each_grant_takes_its_own_keys_and_no_others(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } rows[] = {
        { SPEC_IS("{grant: jwt_bearer}"), "token_url is missing" },
        { SPEC_IS("{" BEARER "client_id: x}"), "assertion is missing" },
        { SPEC_IS("{" BEARER "assertion: {}}"), "key is missing" },
        { SPEC_IS("{" BEARER "assertion: {key: {env: K}, token: {env: T}}}"), "key and token exclude each other" },
        { SPEC_IS("{" BEARER "assertion: {token: {env: T}, kid: k}}"), "kid cannot be used with token" },
        { SPEC_IS("{" BEARER "client_id: x, client_auth: private_key_jwt, assertion: {token: {env: T}}}"),
          "to sign the client's assertion" },
        { SPEC_IS("{" BEARER "assertion: {key: {env: K}, claims: {exp: x}}}"), "has a key of its own" },
        { SPEC_IS("{" BEARER "assertion: {key: {env: K}, lifetime: 2h}}"), "out of range" },
        { SPEC_IS("{" BEARER "assertion: {key: {env: K}, lifetime: 60s}}"), "out of range" },
        { SPEC_IS("{" BEARER "assertion: {key: {env: K}, alg: HS256}}"), "\"HS256\" is unknown" },
        { SPEC_IS("{" BEARER "assertion: {key: literal-key}}"), "a secret must not be written in this file" },
        { SPEC_IS("{" BEARER "assertion: {key: {env: K}}, subject_token: {env: T}}"),
          "subject_token cannot be used with grant: jwt_bearer" },
        { SPEC_IS("{" BEARER "assertion: {key: {env: K}}, params: {assertion: x}}"), "has a key of its own" },
        { SPEC_IS("{" BEARER "assertion: {key: {env: K}}, headers: {Authorization: x}}"),
          "sidekey writes this field itself" },
        { SPEC_IS("{" BEARER "assertion: {key: {env: K}}, headers: {host: x}}"), "must not change this field" },
        { SPEC_IS("{" CLIENT "client_auth: private_key_jwt}"), "assertion is missing" },
        { SPEC_IS("{" CLIENT "client_auth: basic_raw}"), "client_secret" },
        { SPEC_IS(
              "{grant: client_credentials, token_url: 'https://a.test/', client_id: 'a:b', client_secret: {env: S}, "
              "client_auth: basic_raw}"),
          "must not contain a colon with client_auth: basic_raw" },
        { SPEC_IS("{" CLIENT "client_auth: private_key_jwt, client_secret: {env: S}, assertion: {key: {env: K}}}"),
          "client_secret cannot be used with client_auth: private_key_jwt" },
        { SPEC_IS("{" CLIENT "client_secret: {env: S}, assertion: {key: {env: K}}}"), "assertion cannot be used" },
        { SPEC_IS("{grant: token_exchange, token_url: 'https://a.test/'}"), "subject_token is missing" },
        { SPEC_IS("{grant: token_exchange, token_url: 'https://a.test/', subject_token: {env: T}, impersonate: {scope: "
                  "x}}"),
          "url: is missing" },
        { SPEC_IS("{grant: token_exchange, token_url: 'https://a.test/', subject_token: {env: T}, impersonate: {url: "
                  "'http://a.test/'}}"),
          "unencrypted" },
        { SPEC_IS("{grant: github_app, client_id: x, installation: 1}"), "assertion is missing" },
        { SPEC_IS("{grant: github_app, client_id: x, assertion: {key: {env: K}}}"), "installation is missing" },
        { SPEC_IS("{grant: github_app, installation: 1, assertion: {key: {env: K}}}"), "client_id is missing" },
        { SPEC_IS("{grant: github_app, client_id: x, installation: ../1, assertion: {key: {env: K}}}"),
          "write its digits" },
        { SPEC_IS("{grant: github_app, client_id: x, installation: 1, assertion: {key: {env: K}, subject: y}}"),
          "subject cannot be used" },
        { SPEC_IS("{grant: github_app, client_id: x, installation: 1, token_url: 'https://a.test/', assertion: {key: "
                  "{env: K}}}"),
          "installation cannot be used" },
        { SPEC_IS("{grant: metadata, token_url: 'http://10.0.0.1/'}"), "is not a metadata server" },
        { SPEC_IS("{grant: metadata, scope: x}"), "scope cannot be used with grant: metadata" },
        { SPEC_IS("{grant: command}"), "command is missing" },
        { SPEC_IS("{grant: command, command: []}"), "is empty" },
        { SPEC_IS("{grant: command, command: [x], client_id: y}"), "client_id cannot be used with grant: command" },
        { SPEC_IS("{grant: refresh_token, refresh_token: {env: T}, client_auth: none, token_url: "
                  "'http://169.254.169.254/'}"),
          "unencrypted" },
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        bad(rows[i].text, "f:1:", rows[i].why);
}

static void what_a_grant_does_not_say_follows(void **state)
{
    (void)state;
    static const struct {
        const char *text, *token_url;
        enum client_auth client_auth;
    } rows[] = {
        { SPEC_IS("{grant: metadata}"),
          "http://169.254.169.254/computeMetadata/v1/instance/service-accounts/default/token", CLIENT_AUTH_NONE },
        { SPEC_IS("{grant: metadata, token_url: 'http://metadata.google.internal/x'}"),
          "http://metadata.google.internal/x", CLIENT_AUTH_NONE },
        { SPEC_IS("{grant: github_app, client_id: x, installation: 42, assertion: {key: {env: K}}}"),
          "https://api.github.com/app/installations/42/access_tokens", CLIENT_AUTH_NONE },
        { SPEC_IS("{" CLIENT "assertion: {key: {env: K}}}"), "https://a.test/", CLIENT_AUTH_PRIVATE_KEY_JWT },
        { SPEC_IS("{" CLIENT "assertion: {token: {env: K}}}"), "https://a.test/", CLIENT_AUTH_PRIVATE_KEY_JWT },
        { SPEC_IS("{" CLIENT "client_secret: {env: S}}"), "https://a.test/", CLIENT_AUTH_BASIC },
        { SPEC_IS("{" CLIENT "client_secret: {env: S}, client_auth: basic_raw}"), "https://a.test/",
          CLIENT_AUTH_BASIC_RAW },
        { SPEC_IS("{" BEARER "assertion: {key: {env: K}}}"), "https://a.test/", CLIENT_AUTH_NONE },
        { SPEC_IS("{" BEARER
                  "client_id: x, client_auth: private_key_jwt, assertion: {key: {env: K}, token: {env: T}}}"),
          "https://a.test/", CLIENT_AUTH_PRIVATE_KEY_JWT },
        { SPEC_IS("{grant: token_exchange, token_url: 'https://a.test/', subject_token: {file: /t}}"),
          "https://a.test/", CLIENT_AUTH_NONE },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct config *c = good(rows[i].text);
        assert_string_equal(c->credentials[0].token_url, rows[i].token_url);
        assert_int_equal(c->credentials[0].client_auth, rows[i].client_auth);
        config_free(c);
    }
    struct config *c = good(SPEC_IS("{grant: command, command: [a, 'b c']}"));
    assert_string_equal(c->credentials[0].command[1], "b c");
    config_free(c);
}

static void credentials_that_cannot_work_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } rows[] = {
        { SPEC_IS("{}"), "credentials.a: grant is missing" },
        { SPEC_IS("{grant: static}"), "token is missing" },
        { SPEC_IS("{grant: static, token: {env: X}, token_url: 'https://a.test/'}"),
          "token_url cannot be used with grant: static" },
        { SPEC_IS("{grant: refresh_token, client_id: x, refresh_token: {env: X}}"), "token_url is missing" },
        { SPEC_IS("{grant: refresh_token, client_id: x, token_url: 'https://a.test/'}"), "refresh_token is missing" },
        { SPEC_IS("{grant: refresh_token, client_id: x, token_url: 'https://a.test/', login: {scope: a}}"),
          "needs issuer, authorization_url or device_authorization_url" },
        { SPEC_IS("{grant: refresh_token, token_url: 'https://a.test/', login: {issuer: 'https://a.test'}}"),
          "client_id is missing: login needs it" },
        { SPEC_IS("{grant: client_credentials, login: {issuer: 'https://a.test'}}"), "login cannot be used" },
        { SPEC_IS("{grant: refresh_token, login: {issuer: 'http://a.test'}}"), "would send secrets unencrypted" },
        { SPEC_IS("{grant: refresh_token, login: {redirect_url: 'https://a.test/cb'}}"), "http on this machine" },
        { SPEC_IS("{grant: refresh_token, login: {redirect_url: 'http://127.0.0.1/cb?x=y'}}"), "without a query" },
        { SPEC_IS("{grant: refresh_token, login: {params: {state: x}}}"), "sidekey writes this parameter itself" },
        { SPEC_IS("{grant: refresh_token, token: {env: X}}"), "token cannot be used with grant: refresh_token" },
        { SPEC_IS("{grant: client_credentials, client_id: x, token_url: 'https://a.test/'}"),
          "client_secret is missing" },
        { SPEC_IS("{grant: client_credentials, client_secret: {env: X}, token_url: 'https://a.test/'}"),
          "client_id is missing" },
        { SPEC_IS("{grant: client_credentials, refresh_token: {env: X}}"), "refresh_token cannot be used" },
        { SPEC_IS("{grant: refresh_token, client_id: x, client_auth: body, refresh_token: {env: X}, token_url: "
                  "'https://a.test/'}"),
          "needs a client_secret" },
        { SPEC_IS("{grant: client_credentials, client_id: x, client_auth: none, client_secret: {env: X}, token_url: "
                  "'https://a.test/'}"),
          "client_secret cannot be used with client_auth: none" },
        { SPEC_IS("{grant: refresh_token, token_url: 'http://a.test/'}"), "would send secrets unencrypted" },
        { SPEC_IS("{grant: refresh_token, token_url: 'https://u:p@a.test/'}"), "without user, password" },
        { SPEC_IS("{grant: refresh_token, tls: {cert_file: /etc/passwd}}"), "key_file is missing" },
        { SPEC_IS("{grant: refresh_token, params: {client_secret: x}}"), "has a key of its own" },
        { SPEC_IS("{grant: refresh_token, params: {a: \"x\\r\\ny\"}}"), "control bytes" },
        { SPEC_IS("{grant: refresh_token, client_id: \"x\\ny\"}"), "control bytes" },
        { "credentials: {CRM: {grant: static, token: {env: X}}}\n", "a-z, 0-9, dot, underscore and hyphen" },
        { "credentials: {'': {grant: static, token: {env: X}}}\n", "a-z, 0-9" },
        { SPEC_IS("{grant: static, token: {fil: x}}"), "did you mean \"file\"?" },
        { SPEC_IS("{grant: static, token: {}}"), "exactly one of file, env and command" },
        { SPEC_IS("{grant: static, token: {file: a, env: b}}"), "exactly one of file, env and command" },
        { SPEC_IS("{grant: static, token: {command: []}}"), "is empty" },
        { SPEC_IS("{grant: static, token: {command: ls}}"), "needs a list" },
        { SPEC_IS("{grant: static, token: {file: ''}}"), "is empty" },
        { SPEC_IS("{grant: static, token: {file: }}"), "a value is missing" },
        { SPEC_IS("{grant: static, token: [x]}"), "write {file: PATH} or {env: NAME}" },
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        bad(rows[i].text, "f:1:", rows[i].why);
}

static void a_literal_secret_is_refused_and_never_repeated(void **state)
{
    (void)state;
    static const char text[] = SPEC_IS("{grant: static, token: hunter2-literal}") "store: {seal_key: hunter2-seal}\n";
    struct said said = { "", 0, 0 };
    struct config_options o = { .report = hear, .report_arg = &said };
    struct err e = { "" };
    assert_null(config_parse(slice_str(text), "f", &o, &e));
    assert_int_equal(said.errors, 2);
    assert_null(strstr(said.text, "hunter2"));
    assert_null(strstr(e.text, "hunter2"));
    o.allow_inline_secrets = true;
    struct config *c = config_parse(slice_str(text), "f", &o, &e);
    assert_non_null(c);
    assert_int_equal(c->credentials[0].token.kind, SECRET_REF_INLINE);
    assert_string_equal(c->seal_key.name, "hunter2-seal");
    config_free(c);
}

static void a_token_request_may_have_its_own_user_agent_and_no_field_that_frames_it(void **state)
{
    static const char *const never[] = {
        "Authorization", "Host",    "Content-Length",      "Transfer-Encoding", "Connection", "Keep-Alive", "TE",
        "Upgrade",       "Trailer", "Proxy-Authorization", "Content-Type",      "Accept",     "Expect"
    };
    char text[256];
    (void)state;
    struct config *c = good(SPEC_IS("{" CLIENT "client_secret: {env: S}, headers: {User-Agent: 'app (me)'}}"));
    assert_string_equal(c->credentials[0].headers[0].name, "user-agent");
    assert_string_equal(c->credentials[0].headers[0].value, "app (me)");
    config_free(c);
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        snprintf(text, sizeof text, SPEC_IS("{" CLIENT "client_secret: {env: S}, headers: {%s: x}}"), never[i]);
        bad(text, "", never[i]);
    }
}

static void check_refuses_a_secret_that_could_never_be_sent(void **state)
{
    static const struct {
        const char *value, *wrong; /* NULL: nothing */
    } rows[] = {
        { "\xef\xbb\xbf"
          "cs 1+/=\r\n\n",
          NULL },
        { "hunter2\nhunter3", "credentials.c.client_secret: the secret from env TEST_CONFIG_SECRET is not valid: "
                              "byte 8 is a line break" },
        { "\n", "credentials.c.client_secret: the secret from env TEST_CONFIG_SECRET is empty" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct said said = { "", 0, 0 };
        struct config_options o = { .report = hear, .report_arg = &said, .files = SCHEMA_FILES_ALL };
        struct err e;
        setenv("TEST_CONFIG_SECRET", rows[i].value, 1);
        struct config *c =
            config_parse(SLICE("credentials: {c: {grant: client_credentials, client_id: i, client_secret: "
                               "{env: TEST_CONFIG_SECRET}, token_url: https://h/t}}\n"),
                         "f", &o, &e);
        assert_int_equal(said.errors, rows[i].wrong ? 1 : 0);
        assert_int_equal(!c, rows[i].wrong != NULL);
        if (rows[i].wrong)
            assert_non_null(strstr(said.text, rows[i].wrong));
        assert_null(strstr(said.text, "hunter"));
        config_free(c);
    }
    unsetenv("TEST_CONFIG_SECRET");
}

static void the_client_auth_follows_the_secret(void **state)
{
    (void)state;
    struct config *c =
        good(CRM "  open: {grant: refresh_token, token_url: 'http://127.0.0.1:9/', refresh_token: {env: X}}\n");
    assert_int_equal(c->credentials[0].client_auth, CLIENT_AUTH_BASIC);
    assert_int_equal(c->credentials[1].client_auth, CLIENT_AUTH_NONE);
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_request_may_have_its_own_user_agent_and_no_field_that_frames_it),
        cmocka_unit_test(check_refuses_a_secret_that_could_never_be_sent),
        cmocka_unit_test(credentials_that_cannot_work_are_refused),
        cmocka_unit_test(each_grant_takes_its_own_keys_and_no_others),
        cmocka_unit_test(what_a_grant_does_not_say_follows),
        cmocka_unit_test(a_literal_secret_is_refused_and_never_repeated),
        cmocka_unit_test(the_client_auth_follows_the_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
