/* Unit tests of the configuration: what a file becomes, what its author gets wrong, and what is said about it. */
#include "tests/fakes/config_text.h"

static const char *text_of(const struct address *a)
{
    static char text[64];
    return address_text((const struct sockaddr *)&a->sa, text, sizeof text);
}

static void a_name_that_a_label_would_have_to_escape_is_refused(void **state)
{
    static const char *const names[] = {
        "a\\\"b",  "a\\\\b",
        "a\\nb",   "a\\rb",
        "a\\tb",   "a\\u007fb",
        "\\u00e4", "a b",
        "a{b",     "a,b",
        "a=b",     "a/b",
        "",        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    };
    static const struct {
        const char *file, *why;
    } places[] = {
        { "{\"rules\": [{\"match\": {\"host\": \"a.test\"}, \"name\": \"%s\"}]}", "a rule's name has 1 to 64 of " },
        { "{\"credentials\": {\"%s\": {\"grant\": \"static\", \"token\": {\"file\": \"/t\"}}}}",
          "a credential's name has 1 to 64 of " },
        { "{\"clients\": {\"%s\": {\"password\": {\"file\": \"/t\"}, \"rules\": []}}}",
          "a client's name has 1 to 64 of " },
        /* the default name of a rule */
        { "{\"rules\": [{\"match\": {\"host\": \"%s.test\"}}]}", "rules[0].match.host: " },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(places); i++)
        for (size_t n = 0; n < COUNT(names); n++) {
            char file[512];
            snprintf(file, sizeof file, places[i].file, names[n]);
            bad(file, "", *names[n] ? places[i].why : ""); /* an empty value is refused before it is looked at */
        }
}

static void an_empty_file_means_the_defaults(void **state)
{
    (void)state;
    struct config *c = good("");
    assert_string_equal(text_of(&c->listen_proxy), "127.0.0.1:8118");
    assert_string_equal(text_of(&c->listen_admin), "127.0.0.1:9118");
    assert_true(c->ca_constrain);
    assert_int_equal(c->unmatched, UNMATCHED_TUNNEL);
    assert_int_equal(c->on_lock_error, ON_LOCK_ERROR_PROCEED);
    assert_int_equal(c->lease_ms, 60000);
    assert_int_equal(c->workers, 1);
    assert_int_equal(c->log_level, LOG_INFO);
    assert_int_equal(c->limits.drain_ms, 25000);
    assert_int_equal(c->limits.connect_head_ms, 10000);
    assert_int_equal(c->limits.tls_ms, 10000);
    assert_int_equal(c->limits.head_ms, 30000);
    assert_int_equal(c->limits.dial_ms, 10000);
    assert_int_equal(c->limits.first_byte_ms, 600000);
    assert_int_equal(c->limits.idle_ms, 600000);
    assert_int_equal(c->limits.tunnel_idle_ms, 600000);
    assert_int_equal(c->limits.token_wait_ms, 10000);
    assert_int_equal(c->limits.upstream_idle_ms, 4000);
    if (!memory_limit()) { /* else they follow it: test_memory_limit.c */
        assert_int_equal(c->limits.replay_total_bytes, 64 << 20);
        assert_int_equal(c->limits.connections, 10000);
    }
    assert_int_equal(c->limits.per_upstream, 256);
    assert_non_null(c->store_file);
    assert_non_null(c->ca_publish);
    assert_null(c->permit_hosts[0]);
    config_free(c);
}

static void a_whole_file_becomes_structs(void **state)
{
    (void)state;
    struct config *c =
        good("listen: {proxy: '[::1]:0', admin: off}\nca: {publish: /p, constrain: false}\nunmatched: deny\n"
             "store: {file: /s, seal_key: {command: [pass, show]}, seal_key_previous: {env: OLD}, lease: 20s, "
             "on_lock_error: wait}\n" CRM "    scope: a b\n    audience: https://aud\n    params: {resource: r}\n    "
             "client_auth: body\n    body: json\n    required: true\n"
             "    default_lifetime: 1h\n    forced_refresh_floor: 5s\n  key: {grant: static, token: {file: /t}}\n"
             "rules:\n"
             "  - name: one\n    match: {host: '*.API.test.', port: 8443, paths: [/v2/*, /x], methods: [GET]}\n    "
             "credential: crm\n"
             "    inject: [{in: query, name: key}, {in: userinfo}, {name: X-Token, format: "
             "'t={instance_url}/{access_token}'}]\n"
             "    strip: [X-Api-Key]\n    strip_query: [key]\n    append: {Anthropic-Beta: oauth}\n    set_if_absent: "
             "{X-A: ''}\n"
             "    only_if: {header: Authorization, equals: Bearer sk-no}\n    allow_http: true\n"
             "    on_unauthorized: {statuses: [401, 403], max_body: 2MiB, replay: false, also: [{status: 200, header: "
             "{name: X-E, equals: y}},\n"
             "      {status: 400, json: {pointer: /e, equals: '190'}, max_body: 1KiB}]}\n"
             "  - {match: {host: '::1'}, credential: key}\n"
             "  - {match: {host: plain.test}, allow_http: true, on_unauthorized: {statuses: []}}\n"
             "network: {allow_private: [10.0.0.0/8, '::1'], resolve: {'a.test:443': '127.0.0.1:8443', B.test: "
             "10.0.0.1}, parent_proxy: null}\n"
             "limits: {replay_body: 3MiB, drain: 250ms}\nworkers: 4\nlog: {level: debug}\n");
    assert_int_equal(c->listen_admin.len, 0);
    assert_string_equal(text_of(&c->listen_proxy), "[::1]:0");
    assert_int_equal(c->seal_key.kind, SECRET_REF_COMMAND);
    assert_string_equal(c->seal_key.argv[1], "show");
    assert_int_equal(c->on_lock_error, ON_LOCK_ERROR_WAIT);
    assert_int_equal(c->credential_count, 2);
    const struct credential_spec *crm = &c->credentials[0];
    assert_string_equal(crm->name, "crm");
    assert_int_equal(crm->client_auth, CLIENT_AUTH_BODY);
    assert_int_equal(crm->body, GRANT_BODY_JSON);
    assert_string_equal(crm->params[0].value, "r");
    assert_int_equal(crm->default_lifetime_ms, 3600000);
    assert_int_equal(crm->forced_floor_ms, 5000);
    assert_true(crm->required);
    assert_int_equal(crm->refresh_token.kind, SECRET_REF_FILE);
    assert_string_equal(crm->refresh_token.name, "/run/r");
    const struct rule *one = &c->rules[0], *two = &c->rules[1], *three = &c->rules[2];
    assert_string_equal(one->host, "*.api.test");
    assert_int_equal(one->port, 8443);
    assert_string_equal(one->paths[1], "/x");
    assert_int_equal(one->inject_count, 3);
    assert_string_equal(one->inject[0].format, "{access_token}");
    assert_string_equal(one->inject[1].format, "x-access-token:{access_token}");
    assert_null(one->inject[1].name);
    assert_string_equal(one->inject[2].name, "x-token");
    assert_string_equal(one->strip[0], "x-api-key");
    assert_string_equal(one->append[0].name, "anthropic-beta");
    assert_string_equal(one->set_if_absent[0].value, "");
    assert_string_equal(one->only_if_header, "authorization");
    assert_int_equal(one->unauthorized[1], 403);
    assert_int_equal(one->unauthorized[2], 0);
    assert_int_equal(one->replay_max_bytes, 2 << 20);
    assert_int_equal(one->also_count, 2);
    assert_string_equal(one->also[0].header, "x-e");
    assert_null(one->also[0].pointer);
    assert_int_equal(one->also[0].max_body, 64 << 10);
    assert_string_equal(one->also[1].equals, "190");
    assert_int_equal(one->also[1].max_body, 1 << 10);
    assert_false(one->replay);
    assert_true(two->replay);
    assert_string_equal(two->host, "::1");
    assert_string_equal(two->name, "::1");
    assert_int_equal(two->port, 443);
    assert_int_equal(two->replay_max_bytes, 3 << 20);
    assert_string_equal(two->inject[0].name, "authorization");
    assert_string_equal(two->inject[0].format, "Bearer {access_token}");
    assert_int_equal(two->unauthorized[0], 401);
    assert_int_equal(three->port, 80);
    assert_int_equal(three->inject_count, 0);
    assert_int_equal(three->unauthorized[0], 0);
    assert_int_equal(c->allow_private_count, 2);
    assert_int_equal(c->override_count, 2);
    assert_int_equal(c->overrides[0].port, 443);
    assert_string_equal(c->overrides[1].host, "b.test");
    assert_int_equal(c->overrides[1].port, 0);
    assert_string_equal(text_of(&c->overrides[1].to), "10.0.0.1:0");
    assert_string_equal(c->permit_hosts[2], "plain.test");
    assert_null(c->permit_hosts[3]);
    config_free(c);
}

static void json_is_taken_as_it_is(void **state)
{
    (void)state;
    struct config *c = good("{\n\t\"workers\": 2, \"ca\": {\"constrain\": false},\n\t\"rules\": [{\"match\": "
                            "{\"host\": \"a.test\", \"port\": 99}}]\n}\n");
    assert_int_equal(c->workers, 2);
    assert_int_equal(c->rules[0].port, 99);
    config_free(c);
}

static void a_word_that_yaml_takes_for_a_boolean_stays_a_word(void **state)
{
    (void)state;
    struct config *c = good("credentials: {no: {grant: static, token: {env: on}, required: false}}\nrules: [{name: "
                            "yes, match: {host: no.test}, credential: no}]\n");
    assert_string_equal(c->credentials[0].name, "no");
    assert_string_equal(c->credentials[0].token.name, "on");
    assert_string_equal(c->rules[0].name, "yes");
    config_free(c);
}

static void a_key_with_nothing_behind_it_is_as_if_it_were_not_there(void **state)
{
    (void)state;
    struct config *c =
        good("rules:\nlisten:\n  proxy:\nlimits: ~\nstore: {redis: null}\nnetwork: {parent_proxy: null}\n");
    assert_int_equal(c->rule_count, 0);
    assert_string_equal(text_of(&c->listen_proxy), "127.0.0.1:8118");
    config_free(c);
}

static void mistakes_are_named_with_their_place_and_the_way_out(void **state)
{
    (void)state;
    static const struct {
        const char *text, *place, *why;
    } rows[] = {
        { "unmatchd: deny\n", "f:1:1: ", "unknown key \"unmatchd\": did you mean \"unmatched\"?" },
        { "listen:\n  prxy: 1\n", "f:2:3: listen: ", "did you mean \"proxy\"?" },
        { "zebra: 1\n", "f:1:1: ", "unknown key \"zebra\"\n" },
        { "rules: [{host: a.test}]\n", "f:1:10: ", "it belongs under \"match\"" },
        { "unmatched: tunel\n", "f:1:12: unmatched: ", "did you mean \"tunnel\"?" },
        { "unmatched: allow\n", "f:1:12: ", "write tunnel, deny or report" },
        { "unmatched: [deny]\n", "f:1:12: ", "not a list" },
        { "workers: '3'\n", "f:1:10: workers: ", "write 3 without quotes" },
        { "workers: 0\n", "f:1:10: ", "write 1 to 64" },
        { "workers: 65\n", "f:1:10: ", "write 1 to 64" },
        { "workers: three\n", "f:1:10: ", "digits only" },
        { "workers: 99999999999999999999\n", "f:1:10: ", "out of range" },
        { "ca: {constrain: no}\n", "f:1:17: ", "write true or false, without quotes" },
        { "ca: {constrain: 'true'}\n", "f:1:17: ", "without quotes" },
        { "limits: {drain: 30}\n", "f:1:17: limits.drain: ", "like 250ms, 30s, 5m or 1h" },
        { "limits: {drain: 2h}\n", "f:1:17: ", "write 1ms to 1h" },
        { "limits: {replay_body: 1MB}\n", "f:1:23: ", "like 512B, 64KiB or 1MiB" },
        { "limits: {replay_body: 2GiB}\n", "f:1:23: ", "write 0B to 1GiB" },
        { "limits: {replay_body: 1MiB, replay_total: 1KiB}\n", "f:1:9: ", "replay_total is smaller than replay_body" },
        { "ca: {cert_file: \"${CA}\"}\n", "f:1:17: ", "variables are not replaced here" },
        { "rules:\n  - match: {host: *.a.test}\n", "f:2:20: ", "needs quotes: \"*.example.com\"" },
        { "rules:\n  - *.a.test\n", "f:2:6: ", "needs quotes" },
        { "rules:\n\t- match: {host: a.test}\n", "f:2:1: ", "a tab: YAML is indented with spaces only" },
        { "listen:\n  proxy: off\n\tadmin: off\n", "f:3:1: ", "a tab" },
        { RULE_IS("inject: [{in: header, name: a, format: '{token}'}]"), "f:", "the token is {access_token}" },
        { RULE_IS("inject: [{in: header, name: a, format: '{client_secret}'}]"), "f:", "are not sent" },
        { "listen: {proxy: proxy.test:1}\n", "f:1:17: ", "like 127.0.0.1:8118 or [::1]:8118, or off\n" },
        { "listen: {admin: proxy.test:1}\n", "f:1:17: ", "or off" },
        { "listen: {admin: ':'}\n", "f:1:17: ", "is not an address" },
        { "listen: {admin: '::9118'}\n", "f:1:17: ", "is not an address" },
        { "listen: {proxy: 127.0.0.1}\n", "f:1:17: ", "has no port" },
        { "listen: {proxy: off}\n", "f:1:9: ", "the proxy has no address" },
        { "listen: {proxy: 127.0.0.1:70000}\n", "f:1:17: ", "is not an address" },
        { "rules: {a: 1}\n", "f:1:8: rules: ", "needs a list" },
        { "rules: [x]\n", "f:1:9: rules[0]: ", "needs keys and values" },
        { "credentials: [x]\n", "f:1:14: ", "needs keys and values" },
        { "- a\n", "f:1:1: ", "needs keys and values" },
        { "a: [1, 2\nb: }\n", "f:2:", "" },
        { "unmatched: deny\nunmatched: deny\n", "f:2:1: ", "given twice" },
        { "ca: {cert_file: /etc/passwd}\n", "f:1:5: ", "belong together: key_file is missing" },
        { "store: {seal_key_previous: {env: X}}\n", "f:1:8: ", "seal_key, which is missing" },
        { "ca: {publish: ''}\n", "f:1:15: ", "is empty" },
        { "network: {allow_private: 10.0.0.0/8}\n", "f:1:26: ", "needs a list of networks" },
        { "network: {allow_private: [example.com]}\n", "f:1:27: ", "is not a network" },
        { "network: {resolve: [a]}\n", "f:1:20: ", "needs pairs" },
        { "network: {resolve: {a.test: b.test}}\n", "f:1:29: ", "is not an address" },
        { "network: {resolve: {'u@a.test': 127.0.0.1}}\n", "f:1:21: ", "is not a host" },
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        bad(rows[i].text, rows[i].place, rows[i].why);
}

static void rules_that_cannot_work_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } rows[] = {
        { CRM "rules: [{credential: crm}]\n", "rules[0].match: is missing" },
        { "rules: [{match: {port: 1}}]\n", "rules[0].match.host: is missing" },
        { CRM "rules: [{match: {host: a.test}, credential: cmr}]\n",
          "there is no credential \"cmr\": did you mean \"crm\"?" },
        { "rules: [{match: {host: a.test}, credential: x}]\n", "add it under credentials" },
        { "rules: [{match: {host: a.test}, inject: [{}]}]\n", "inject has nothing to inject" },
        { "rules: [{match: {host: a.test}, only_if: {header: a, equals: b}}]\n", "only_if has nothing to inject" },
        { "rules: [{match: {host: 'a.test:443'}}]\n", "write the port under port" },
        { "rules: [{match: {host: '[::1]:443'}}]\n", "write the port under port" },
        { "rules: [{match: {host: 'https://a.test'}}]\n", "leave out the scheme" },
        { "rules: [{match: {host: '*'}}]\n", "a rule needs the name of a host" },
        { "rules: [{match: {host: 'a.*.test'}}]\n", "not a host name" },
        { "rules: [{match: {host: '*.10.0.0.1'}}]\n", "before a name" },
        { "rules: [{match: {host: '127.1'}}]\n", "not a host name" },
        { "rules: [{match: {host: 'u@a.test'}}]\n", "not a host name" },
        { "rules: [{match: {host: b\xc3\xbc"
          "cher.test}}]\n",
          "IDNs as xn--" },
        { "rules: [{match: {host: a.test, port: 0}}]\n", "write 1 to 65535" },
        { "rules: [{match: {host: a.test, port: '443'}}]\n", "write 443 without quotes" },
        { "rules: [{match: {host: a.test, paths: [v2]}}]\n", "must begin with /" },
        { "rules: [{match: {host: a.test, paths: ['/a*b']}}]\n", "only at the end" },
        { "rules: [{match: {host: a.test, paths: ['/a?b']}}]\n", "a query or a fragment" },
        { "rules: [{match: {host: a.test, paths: ['/a/../b']}}]\n", "must not contain dot segments" },
        { "rules: [{match: {host: a.test, paths: ['']}}]\n", "is empty" },
        { "rules: [{match: {host: a.test, methods: [get]}}]\n", "upper case" },
        { "rules: [{match: {host: a.test, methods: ['G T']}}]\n", "not an HTTP method" },
        { "rules: [{match: {host: a.test}, name: 'a b'}]\n", "a rule's name" },
        { "rules: [{match: {host: a.test}, name: x}, {match: {host: b.test}, name: x}]\n",
          "another rule has this name" },
        { "rules: [{match: {}}, {match: {host: a.test}, name: x}]\n", "rules[0].match.host: is missing" },
        { "rules: [{match: {host: a.test}, name: 'a b'}, {match: {host: a.test}, name: x}]\n", "a rule's name" },
        { RULE_IS("inject: [{name: Host}]"), "must not change" },
        { RULE_IS("inject: [{name: 'a b'}]"), "not a header field name" },
        { RULE_IS("inject: [{in: query}]"), "name is missing" },
        { RULE_IS("inject: [{in: query, name: 'a=b'}]"), "a query key must not contain" },
        { RULE_IS("inject: [{in: userinfo, name: x}]"), "name cannot be used" },
        { RULE_IS("inject: [{in: userinfo, format: '{access_token}'}]"), "user:password" },
        { RULE_IS("inject: [{format: Bearer sk-literal}]"), "contains no {access_token}" },
        { RULE_IS("inject: [{format: '{access_token'}]"), "write a name and }" },
        { RULE_IS("inject: [{format: 'a}{access_token}'}]"), "a } has no matching {" },
        { RULE_IS("inject: [{format: \"{access_token}\\r\\nx: y\"}]"), "control bytes" },
        { RULE_IS("inject: [{}, {in: userinfo}]"), "set the same place" },
        { RULE_IS("inject: [{in: query, name: k}, {in: query, name: k}]"), "set the same place" },
        { RULE_IS("append: {Authorization: x}"), "inject already sets" },
        { RULE_IS("set_if_absent: {authorization: x}"), "inject already sets" },
        { RULE_IS("append: {Connection: x}"), "must not change" },
        { RULE_IS("append: {a: \"x\\ny\"}"), "control bytes" },
        { RULE_IS("append: {a: [x]}"), "a single value" },
        { RULE_IS("append: [x]"), "needs keys and values" },
        { RULE_IS("strip: [Transfer-Encoding]"), "must not change" },
        { RULE_IS("strip: x"), "needs a list" },
        { RULE_IS("strip: [[x]]"), "not a list or an object" },
        { RULE_IS("strip_query: ['a&b']"), "a query key must not contain" },
        { RULE_IS("only_if: {header: x}"), "only_if.equals: is missing" },
        { RULE_IS("when: {equals: sk-placeholder}"), "needs one of header, query and basic_password" },
        { RULE_IS("when: {header: a, query: b, equals: sk-placeholder}"), "needs one of header" },
        { RULE_IS("when: {header: a}"), "equals is missing" },
        { RULE_IS("when: {basic_password: sk-placeholder, equals: sk-placeholder}"), "equals needs header or query" },
        { RULE_IS("when: {header: a, equals: abc}"), "4 to 1024 bytes" },
        { RULE_IS("when: {header: a, equals: \"abc\\ndef\"}"), "control bytes" },
        { RULE_IS("when: {header: a, equals: abcd}\n    only_if: {header: a, equals: abcd}"), "exclude each other" },
        { RULE_IS("others: pass"), "others needs when, which is missing" },
        { RULE_IS("others: ask"), "others" },
        { CRM "rules: [{match: {host: a.test}, credential: crm, name: x, when: {header: a, equals: abcd}}, "
              "{match: {host: a.test}, credential: crm, name: y, when: {header: A, equals: abcd}}]\n",
          "rules[0] already has this placeholder" },
        { RULE_IS("on_unauthorized: {statuses: [200]}"), "400 to 599" },
        { RULE_IS("on_unauthorized: {statuses: ['401']}"), "without quotes" },
        { RULE_IS("on_unauthorized: {statuses: [401, 402, 403, 404, 405, 406, 407, 408]}"), "at most 7" },
        { RULE_IS("on_unauthorized: {statuses: 401}"), "needs a list" },
        { RULE_IS("on_unauthorized: {also: [{status: 200}]}"), "needs header or json" },
        { RULE_IS(
              "on_unauthorized: {also: [{status: 200, header: {name: a, equals: b}, json: {pointer: /a, equals: b}}]}"),
          "needs header or json" },
        { RULE_IS("on_unauthorized: {also: [{header: {name: a, equals: b}}]}"), "also[0].status: is missing" },
        { RULE_IS("on_unauthorized: {also: [{status: 101, header: {name: a, equals: b}}]}"), "200 to 599" },
        { RULE_IS("on_unauthorized: {also: [{status: 200, json: {pointer: error, equals: b}}]}"), "must begin with /" },
        { RULE_IS("on_unauthorized: {also: [{status: 200, json: {pointer: /e}}]}"), "json.equals: is missing" },
        { RULE_IS("on_unauthorized: {also: [{status: 200, max_body: 65KiB, json: {pointer: /e, equals: x}}]}"),
          "64KiB" },
        { RULE_IS("tls: {key_file: /etc/passwd}"), "cert_file is missing" },
        { RULE_IS("tls: {ca_file: /nonexistent/ca.pem}"), "/nonexistent/ca.pem: No such file" },
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        bad(rows[i].text, "f:", rows[i].why);
}

static void everything_that_is_wrong_is_told_at_once(void **state)
{
    (void)state;
    struct said said = { "", 0, 0 };
    struct config_options o = { .report = hear, .report_arg = &said };
    struct err e;
    assert_null(
        config_parse(SLICE("workers: 0\nlog: {level: loud}\nlimits: {idle: x, head: y}\nzebra: 1\n"), "f", &o, &e));
    assert_int_equal(said.errors, 5);
}

static void check_looks_for_every_file_and_serve_only_for_certificates(void **state)
{
    (void)state;
    char folder[] = "/tmp/test-config-XXXXXX", text[1024], open[64];
    assert_non_null(mkdtemp(folder));
    snprintf(open, sizeof open, "%s/open", folder);
    FILE *f = fopen(open, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(chmod(open, 0644), 0);
    snprintf(text, sizeof text,
             "credentials:\n  a: {grant: static, token: {file: %s/missing}}\n  b: {grant: static, token: {file: %s}}\n "
             " c: {grant: static, token: {file: %s}}\n"
             "  d: {grant: static, token: {env: TEST_CONFIG_UNSET}}\n",
             folder, folder, open);
    struct said said = { "", 0, 0 };
    struct config_options o = { .report = hear, .report_arg = &said };
    struct err e;
    struct config *c = config_parse(slice_str(text), "f", &o, &e);
    assert_non_null(c);
    config_free(c);
    said = (struct said){ "", 0, 0 };
    o.files = SCHEMA_FILES_ALL;
    assert_null(config_parse(slice_str(text), "f", &o, &e));
    assert_non_null(strstr(said.text, "f:2:36: credentials.a.token: "));
    assert_non_null(strstr(said.text, "missing: No such file or directory"));
    assert_non_null(strstr(said.text, "is a directory"));
    assert_non_null(strstr(said.text, "warning: f:4:36: credentials.c.token: "));
    assert_non_null(strstr(said.text, "(mode 0644): chmod o-rw it"));
    assert_non_null(strstr(said.text, "TEST_CONFIG_UNSET is not set here"));
    assert_int_equal(said.errors, 2);
    o.files = SCHEMA_FILES_NONE;
    c = config_parse(SLICE(RULE_IS("tls: {ca_file: /nonexistent/ca.pem}")), "f", &o, &e);
    assert_non_null(c);
    assert_string_equal(c->extra_roots[0], "/nonexistent/ca.pem");
    config_free(c);
    unlink(open);
    rmdir(folder);
}

static void flag_wins_over_variable_over_file_over_default(void **state)
{
    (void)state;
    static const char text[] = "workers: 2\nlog: {level: warn}\n";
    static const char *const set[] = { "workers=4", "limits.idle=7s", NULL };
    struct config_options o = { .set = set };
    struct err e;
    struct config *c = good(text);
    assert_int_equal(c->workers, 2);
    config_free(c);
    setenv("SIDEKEY_WORKERS", "3", 1);
    setenv("SIDEKEY_LISTEN_ADMIN", "off", 1);
    setenv("SIDEKEY_LIMITS_REPLAY_BODY", "5KiB", 1);
    setenv("SIDEKEY_SOMETHING_ELSE", "x", 1);
    c = good(text);
    assert_int_equal(c->workers, 3);
    assert_int_equal(c->log_level, LOG_WARN);
    assert_int_equal(c->listen_admin.len, 0);
    assert_int_equal(c->replay_body_bytes, 5120);
    config_free(c);
    c = config_parse(slice_str(text), "f", &o, &e);
    assert_non_null(c);
    assert_int_equal(c->workers, 4);
    assert_int_equal(c->limits.idle_ms, 7000);
    config_free(c);
    setenv("SIDEKEY_WORKERS", "many", 1);
    bad(text, "", "SIDEKEY_WORKERS: workers: \"many\" is not a number");
    unsetenv("SIDEKEY_WORKERS");
    unsetenv("SIDEKEY_LISTEN_ADMIN");
    unsetenv("SIDEKEY_LIMITS_REPLAY_BODY");
    unsetenv("SIDEKEY_SOMETHING_ELSE");
}

static void a_flag_that_sets_nothing_is_an_error(void **state)
{
    (void)state;
    static const char *const rows[] = { "lisen.proxy=1", "rules=x", "store.seal_key=x", "workers",
                                        "credentials.a.scope=x" };
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *const set[] = { rows[i], NULL };
        struct config_options o = { .set = set };
        struct err e = { "" };
        assert_null(config_parse(SLICE(""), "f", &o, &e));
        assert_non_null(strstr(e.text, "--set: "));
        assert_non_null(strstr(e.text, rows[i]));
    }
}

static void what_is_probably_not_meant_is_a_warning(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } rows[] = {
        { "", "no rules" },
        { "listen: {socket: /s, socket_mode: '0666'}\n",
          "f:1:35: listen.socket_mode: every user of this machine can use the credentials" },
        { CRM RULE "listen: {socket: /s}\nclients: {a: {uids: [65534], rules: []}}\n",
          "clients.a.uids: 65534 is the overflow uid" },
        { CRM, "f:3:5: credentials.crm: no rule uses it" },
        { "listen: {proxy: 0.0.0.0:8118}\n", "f:1:17: listen.proxy: 0.0.0.0:8118 is open to other machines" },
        { "rules: [{match: {host: '*.test'}}]\n", "whole top-level domain" },
        { RULE_IS("allow_http: true"), "unencrypted" },
        { "rules: [{match: {host: a.test}}, {match: {host: a.test, methods: [GET]}}]\n", "rules[1] never applies" },
        { "rules: [{match: {host: a.test, paths: [/a]}}, {match: {host: a.test, paths: [/a]}}]\n",
          "rules[1] never applies" },
    };
    setenv("SIDEKEY_LISTEN_PROXI", "127.0.0.1:1", 1);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct said said = { "", 0, 0 };
        struct config_options o = { .report = hear, .report_arg = &said };
        struct err e;
        struct config *c = config_parse(slice_str(rows[i].text), "f", &o, &e);
        assert_non_null(c);
        config_free(c);
        if (!strstr(said.text, rows[i].why))
            fail_msg("%s\ngave %s", rows[i].text, said.text);
    }
    unsetenv("SIDEKEY_LISTEN_PROXI");
}

static void a_good_file_gives_no_warning(void **state)
{
    (void)state;
    struct said said = { "", 0, 0 };
    struct config_options o = { .report = hear, .report_arg = &said };
    struct err e;
    struct config *c = config_parse(
        SLICE(CRM
              "rules:\n  - {match: {host: api.test, methods: [GET]}, credential: crm}\n  - {match: {host: api.test}}\n"
              "  - {match: {host: api.test, paths: [/a]}}\n"),
        "f", &o, &e);
    assert_non_null(c);
    config_free(c);
    assert_string_equal(said.text, "");
}

static void the_two_processes_get_what_they_need(void **state)
{
    (void)state;
    struct config *c = good(CRM RULE "  - {match: {host: b.test}}\nstore: {file: /s, lease: 20s}\nca: {constrain: "
                                     "false}\nnetwork: {allow_private: [10.0.0.0/8]}\n");
    struct keeper_options k = config_keeper(c);
    struct worker_options w = config_worker(c);
    assert_ptr_equal(k.specs, c->credentials);
    assert_string_equal(k.state_dir, "/s");
    assert_string_equal(k.permit_hosts[1], "b.test");
    assert_false(k.ca_constrain);
    assert_true(k.ca_keep);
    assert_true(k.request_timeout_ms < k.lease_ms);
    assert_int_equal(k.network.policy.allow_count, 1);
    assert_int_equal(w.rule_count, 2);
    assert_true(w.via);
    assert_null(w.proxy_password);
    config_free(c);
    c = good(CRM RULE);
    k = config_keeper(c);
    assert_string_equal(k.permit_hosts[0], "api.test");
    assert_int_equal(k.request_timeout_ms, 30000);
    config_free(c);
}

static void a_file_is_found_by_its_exit_status(void **state)
{
    (void)state;
    struct err e;
    int status = 0;
    char path[] = "/tmp/test-config-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "workers: x\n", 11), 11);
    close(fd);
    struct config_options o = { .path = "/nonexistent/sidekey.yaml" };
    assert_null(config_load(&o, &status, &e));
    assert_int_equal(status, 66);
    assert_string_equal(e.text, "/nonexistent/sidekey.yaml: No such file or directory");
    o.path = "/";
    assert_null(config_load(&o, &status, &e));
    assert_int_equal(status, 74);
    o.path = path;
    assert_null(config_load(&o, &status, &e));
    assert_int_equal(status, 78);
    setenv("SIDEKEY_CONFIG", path, 1);
    assert_null(config_load(NULL, &status, &e));
    assert_non_null(strstr(e.text, path));
    unsetenv("SIDEKEY_CONFIG");
    unlink(path);
}

/* Each key of the table, in schema order: "limits.idle". */
static void each_key(const struct table *t, void (*fn)(const struct field *f, const char *text), const char *text)
{
    for (const struct field *f = t->fields; f->key; f++) {
        fn(f, text);
        if (f->table)
            each_key(f->table, fn, text);
    }
}

static void must_stand(const struct field *f, const char *text)
{
    if (f->type != FIELD_LATER && !strstr(text, f->key))
        fail_msg("\"%s\" is not in it", f->key);
    assert_non_null(f->about);
}

static void compare_file(const char *path, const struct buf *expected)
{
    static char text[256 * 1024];
    FILE *f = fopen(path, "r");
    if (!f)
        fail_msg("%s is not here: run the tests from the top of the tree", path);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    each_key(&config_table, must_stand, text);
    if (expected && !slice_eq(slice_str(text), buf_slice(expected)))
        fail_msg("%s is not what \"sidekey check --schema\" prints: make it anew", path);
}

static void the_documents_name_every_key(void **state)
{
    (void)state;
    struct buf schema;
    buf_init(&schema, 256 * 1024);
    assert_int_equal(config_schema(&schema), 0);
    json_t *parsed = json_loadb(buf_slice(&schema).ptr, schema.len, 0, NULL);
    assert_non_null(parsed);
    assert_non_null(json_object_get(json_object_get(parsed, "properties"), "rules"));
    json_decref(parsed);
    compare_file("docs/config.schema.json", &schema);
    compare_file("docs/configuration.md", NULL);
    compare_file("docs/sidekey.yaml.5", NULL);
    buf_done(&schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_means_the_defaults),
        cmocka_unit_test(a_name_that_a_label_would_have_to_escape_is_refused),
        cmocka_unit_test(a_whole_file_becomes_structs),
        cmocka_unit_test(json_is_taken_as_it_is),
        cmocka_unit_test(a_word_that_yaml_takes_for_a_boolean_stays_a_word),
        cmocka_unit_test(a_key_with_nothing_behind_it_is_as_if_it_were_not_there),
        cmocka_unit_test(mistakes_are_named_with_their_place_and_the_way_out),
        cmocka_unit_test(rules_that_cannot_work_are_refused),
        cmocka_unit_test(everything_that_is_wrong_is_told_at_once),
        cmocka_unit_test(check_looks_for_every_file_and_serve_only_for_certificates),
        cmocka_unit_test(flag_wins_over_variable_over_file_over_default),
        cmocka_unit_test(a_flag_that_sets_nothing_is_an_error),
        cmocka_unit_test(what_is_probably_not_meant_is_a_warning),
        cmocka_unit_test(a_good_file_gives_no_warning),
        cmocka_unit_test(the_two_processes_get_what_they_need),
        cmocka_unit_test(a_file_is_found_by_its_exit_status),
        cmocka_unit_test(the_documents_name_every_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
