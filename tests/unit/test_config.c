/* Unit tests of the configuration: what a file becomes, what its author gets wrong, and what is said about it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/config/config.h"
#include "app/config/config_table.h"
#include "base/memory_limit.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define CRM                                                                                                            \
    "credentials:\n  crm:\n    grant: refresh_token\n    token_url: https://login.test/token\n"                        \
    "    client_id: me\n    client_secret: {env: SECRET}\n    refresh_token: {file: /run/r}\n"
#define RULE "rules:\n  - match: {host: api.test}\n    credential: crm\n"
#define RULE_IS(more) CRM RULE "    " more "\n"
#define SPEC_IS(text) "credentials: {a: " text "}\n"

struct said {
    char text[8192];
    unsigned errors, warnings;
};

static void hear(void *arg, bool warning, const char *text)
{
    struct said *s = arg;
    size_t len = strlen(s->text);
    snprintf(s->text + len, sizeof s->text - len, "%s%s\n", warning ? "warning: " : "", text);
    *(warning ? &s->warnings : &s->errors) += 1;
}

static struct config *good(const char *text)
{
    struct err e = { "" };
    struct config *c = config_parse(slice_str(text), "f", NULL, &e);
    if (!c)
        fail_msg("%s\ngave %s", text, e.text);
    return c;
}

/* The whole text of what is wrong; place: "f:3:4: " or "" for any. */
static void bad(const char *text, const char *place, const char *why)
{
    struct said said = { "", 0, 0 };
    struct config_options o = { .report = hear, .report_arg = &said };
    struct err e = { "" };
    struct config *c = config_parse(slice_str(text), "f", &o, &e);
    if (c || !said.errors || !strstr(said.text, why) || !strstr(said.text, place))
        fail_msg("%s\ngave %s", text, said.text);
    if (!strstr(said.text, e.text) || !*e.text)
        fail_msg("the first error is not the one returned: %s / %s", e.text, said.text);
}

static const char *text_of(const struct address *a)
{
    static char text[64];
    return address_text((const struct sockaddr *)&a->sa, text, sizeof text);
}

/* Names are labels of metrics, file names and words of the log: none needs an escape there (Prometheus text format: \,
 * " and newline do). */
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

static void rules_of_one_host_agree_on_http2(void **state)
{
    (void)state;
    struct config *c =
        good("{\"rules\": [{\"match\": {\"host\": \"a.test\", \"paths\": [\"/x\"]}, \"http2\": \"mirror\", "
             "\"name\": \"x\"}, {\"match\": {\"host\": \"a.test\"}, \"http2\": \"mirror\"}, "
             "{\"match\": {\"host\": \"b.test\"}}]}");
    assert_int_equal(c->rules[1].http2, HTTP2_MIRROR);
    assert_int_equal(c->rules[2].http2, HTTP2_OFF);
    assert_int_equal(c->rules[2].grpc_unauthorized[0], 16);
    assert_int_equal(c->limits.h2_buffer_bytes, 16 << 20);
    config_free(c);
    bad("{\"rules\": [{\"match\": {\"host\": \"a.test\", \"paths\": [\"/x\"]}, \"http2\": \"mirror\", \"name\": "
        "\"x\"}, "
        "{\"match\": {\"host\": \"a.test\"}}]}",
        "", "http2 differs from that of rule x, which has the same host");
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

static void redis_needs_a_url_a_seal_key_and_no_password_in_sight(void **state)
{
    (void)state;
#define REDIS(text) "store: {seal_key: {env: K}, redis: {" text "}}\n"
    struct config *c = good(REDIS("url: 'rediss://me@h:7/2', username: you, ca_file: /etc/passwd, password: {env: P}, "
                                  "sentinel: {master: m, nodes: [a, 'b:1']}"));
    assert_string_equal(c->redis.url, "rediss://me@h:7/2");
    assert_string_equal(c->redis.username, "you");
    assert_string_equal(c->redis.sentinel_nodes[1], "b:1");
    assert_int_equal(c->redis.password.kind, SECRET_REF_ENV);
    assert_ptr_equal(config_keeper(c).redis, &c->redis);
    config_free(c);
    static const char *const rows[][2] = {
        { "store: {redis: {url: 'redis://h'}}\n", "seal_key is missing" },
        { REDIS("username: u"), "url is missing" },
        { REDIS("url: 'redis://u:p@h'"), "store.redis.password" },
        { REDIS("url: h"), "is not a Redis URL" },
        { REDIS("url: 'redis://h', ca_file: /etc/passwd"), "rediss://" },
        { REDIS("url: 'rediss://h', cert_file: /etc/passwd"), "key_file is missing" },
        { REDIS("url: 'redis://h', sentinel: {master: m}"), "is missing" },
        { REDIS("url: 'redis://h', sentinel: {master: m, nodes: []}"), "nodes" },
        { REDIS("url: 'redis://h', sentinel: {master: m, nodes: ['a b']}"), "is not a sentinel" },
        { REDIS("url: 'unix:///r', sentinel: {master: m, nodes: [a]}"), "is a unix socket" },
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        bad(rows[i][0], "f:1:", rows[i][1]);
#undef REDIS
}

static void a_parent_proxy_and_who_is_left_out_are_read(void **state)
{
    (void)state;
    static const char *const no_proxy[] = {
        "*", "a.test", ".b.test", "10.0.0.0/8", "10.1.2.3", "::1", "fd00::/8", "::2"
    };
    struct config *c =
        good("network: {parent_proxy: {url: 'http://Proxy.test:3128/', username: me, password: {env: P}}, "
             "no_proxy: ['*', A.test., .B.test, 10.0.0.0/8, 10.1.2.3, '::1', 'fd00::/8', '[::2]']}\n");
    assert_string_equal(c->parent.username, "me");
    assert_int_equal(c->parent.password.kind, SECRET_REF_ENV);
    for (size_t i = 0; i < COUNT(no_proxy); i++)
        assert_string_equal(c->parent.no_proxy[i], no_proxy[i]);
    assert_null(c->parent.no_proxy[COUNT(no_proxy)]);
    assert_ptr_equal(config_worker(c).network.parent, &c->parent);
    assert_ptr_equal(config_keeper(c).network.parent, &c->parent);
    config_free(c);
    c = good("network: {no_proxy: [a.test]}\n");
    assert_null(config_worker(c).network.parent);
    config_free(c);
}

static void what_is_wrong_with_a_parent_proxy_is_said(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        { "parent_proxy: http://p:1", "needs keys and values" },
        { "parent_proxy: {}", "url is missing" },
        { "parent_proxy: {url: 'p:1'}", "write http://host:port or socks5h://host:port" },
        { "parent_proxy: {url: 'http://p'}", "with the port" },
        { "parent_proxy: {url: 'http://p:1/x'}", "without a path" },
        { "parent_proxy: {url: 'http://p:0'}", "with the port" },
        { "parent_proxy: {url: 'http://u:pw@p:1'}", "write it under username and password" },
        { "parent_proxy: {url: 'https://p:1'}", "did you mean http://" },
        { "parent_proxy: {url: 'socks5://p:1'}", "did you mean socks5h://" },
        { "parent_proxy: {url: 'SOCKS4://p:1'}", "did you mean socks5h://" },
        { "parent_proxy: {url: 'http://p:1', username: 'a:b'}", "must not contain a colon" },
        { "parent_proxy: {url: 'http://p:1', password: {env: P}}", "password needs username" },
        { "parent_proxy: {url: 'http://p:1', username: u, password: inline}", "must not be written in this file" },
        { "parent_proxy: {url: 'http://p:1', usename: u}", "did you mean \"username\"" },
        { "no_proxy: a.test", "needs a list" },
        { "no_proxy: ['*.a.test']", "write .suffix" },
        { "no_proxy: ['a.test:443']", "without a port" },
        { "no_proxy: ['[::1]:443']", "not a host" },
        { "no_proxy: ['10.0.0.0/33']", "not a host" },
        { "no_proxy: ['.10.0.0.1']", "not a host" },
        { "no_proxy: ['a b']", "not a host" },
        { "no_proxy: ['.']", "not a host" },
    };
    char text[200];
    for (size_t i = 0; i < COUNT(rows); i++) {
        snprintf(text, sizeof text, "network: {%s}\n", rows[i][0]);
        bad(text, "f:1:", rows[i][1]);
    }
}

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

#define CLIENT_IS(text) CRM RULE "clients: {ci: " text "}\n"

static void clients_have_a_way_in_and_rules_that_exist(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } rows[] = {
        { CLIENT_IS("{rules: [api.test]}"),
          "clients.ci: this client cannot connect: give it a password, or uids, or both" },
        { CLIENT_IS("{password: {env: P}}"), "clients.ci.rules: is missing" },
        { CLIENT_IS("{password: literal, rules: []}"), "must not be written in this file" },
        { CLIENT_IS("{password: {env: P}, rules: [api.tets]}"), "did you mean \"api.test\"?" },
        { CLIENT_IS("{password: {env: P}, rules: [zzz]}"), "rules are named by name, else by host" },
        { CRM RULE "clients: {'a:b': {password: {env: P}, rules: []}}\n", "a client's name has" },
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        bad(rows[i].text, "f:", rows[i].why);
    struct config *c = good(
        CRM RULE "clients: {ci: {password: {env: P}, rules: [api.test]}, none: {password: {file: /p}, rules: []}}\n");
    struct worker_options w = config_worker(c);
    assert_int_equal(w.client_count, 2);
    assert_string_equal(w.clients[0].name, "ci");
    assert_string_equal(w.clients[0].rules[0], "api.test");
    assert_int_equal(w.clients[1].password.kind, SECRET_REF_FILE);
    config_free(c);
}

static void a_socket_has_a_path_a_mode_and_a_group(void **state)
{
    (void)state;
    struct config *c = good("");
    assert_null(config_socket(c).path);
    config_free(c);
    c = good("listen: {socket: /run/s.sock}\n");
    struct listen_place at = config_socket(c);
    assert_string_equal(at.path, "/run/s.sock");
    assert_int_equal(at.mode, 0600);
    assert_false(at.has_group);
    assert_string_equal(text_of(&c->listen_proxy), "127.0.0.1:8118");
    config_free(c);
    c = good("listen: {proxy: off, socket: /s, socket_mode: 0660, socket_group: 1234}\n");
    at = config_socket(c);
    assert_int_equal(at.mode, 0660);
    assert_true(at.has_group);
    assert_int_equal(at.group, 1234);
    assert_int_equal(c->listen_proxy.len, 0);
    config_free(c);
    c = good("listen: {socket: /s, socket_mode: '770', socket_group: root}\n");
    assert_int_equal(config_socket(c).mode, 0770);
    assert_int_equal(config_socket(c).group, 0);
    config_free(c);
    setenv("SIDEKEY_LISTEN_SOCKET", "/from/outside", 1);
    c = good("");
    unsetenv("SIDEKEY_LISTEN_SOCKET");
    assert_string_equal(config_socket(c).path, "/from/outside");
    config_free(c);
}

#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define LOCAL_IS(uids) CRM RULE "listen: {socket: /s}\nclients: {ci: {uids: " uids ", rules: []}}\n"

static void what_is_wrong_with_a_socket_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } rows[] = {
        { "listen: {socket: run/s}\n", "f:1:18: listen.socket: the path of a socket must begin with /" },
        { "listen: {socket: /" HUNDRED "1234567}\n", "107 bytes" },
        { "listen: {admin_socket: run/s}\n", "listen.admin_socket: the path of a socket must begin with /" },
        { "listen: {admin_socket: /" HUNDRED "1234567}\n", "107 bytes" },
        { "listen: {socket: /s, socket_mode: 66}\n", "three octal digits" },
        { "listen: {socket: /s, socket_mode: '0680'}\n", "three octal digits" },
        { "listen: {socket: /s, socket_mode: u+rw}\n", "three octal digits" },
        { "listen: {socket: /s, socket_group: no-such-group}\n", "this machine has no group \"no-such-group\"" },
        { "listen: {socket: /s, socket_group: 4294967295}\n", "is not a group" },
        { "listen: {socket_group: root}\n", "socket_group needs socket" },
        { "listen: {proxy: off}\n", "the proxy has no address" },
        { CRM RULE "clients: {ci: {uids: [1], rules: []}}\n",
          "clients.ci.uids: sidekey can identify users only on a unix socket" },
        { LOCAL_IS("1000"), "needs a list of users" },
        { LOCAL_IS("[]"), "needs a list of users" },
        { LOCAL_IS("[-1]"), "this machine has no user \"-1\"" },
        { LOCAL_IS("[4294967295]"), "is not a user" },
        { LOCAL_IS("[12ab]"), "is not a user" },
        { LOCAL_IS("[no-such-user]"), "clients.ci.uids: this machine has no user \"no-such-user\": write its number" },
        { CRM RULE "listen: {socket: /s}\nclients: {a: {uids: [0, 7], rules: []}, b: {uids: [8, root], rules: []}}\n",
          "uid 0 belongs to the client \"a\" already" },
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        bad(rows[i].text, "f:", rows[i].why);
    config_free(good("listen: {socket: /" HUNDRED "123456}\n"));
}

static void users_are_looked_up_once_where_they_will_be_used(void **state)
{
    (void)state;
    struct config_options o = { .files = SCHEMA_FILES_NONE };
    struct err e = { "" };
    struct config *c = good(LOCAL_IS("[1000, root, '33']"));
    struct worker_options w = config_worker(c);
    assert_int_equal(w.clients[0].uid_count, 3);
    assert_int_equal(w.clients[0].uids[0], 1000);
    assert_int_equal(w.clients[0].uids[1], 0);
    assert_int_equal(w.clients[0].uids[2], 33);
    assert_int_equal(w.clients[0].password.kind, SECRET_REF_NONE);
    config_free(c);
    c = config_parse(SLICE(LOCAL_IS("[no-such-user, 5]")), "f", &o, &e);
    assert_non_null(c); /* "why" and "env" may run on another machine */
    assert_int_equal(c->clients[0].uid_count, 1);
    config_free(c);
}

static void the_ports_of_connect_are_any_or_a_list(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } rows[] = {
        { "connect_ports: 443\n", "needs a list of ports" }, { "connect_ports: all\n", "or any" },
        { "connect_ports: ['443']\n", "without quotes" },    { "connect_ports: [0]\n", "1 to 65535" },
        { "connect_ports: [65536]\n", "1 to 65535" },        { "connect_ports: [[1]]\n", "not a list" },
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        bad(rows[i].text, "f:1:", rows[i].why);
    struct config *c = good("connect_ports: any\n");
    assert_null(config_worker(c).connect_ports);
    config_free(c);
    c = good("connect_ports: [443, 8443]\n");
    assert_int_equal(config_worker(c).connect_ports[1], 8443);
    assert_int_equal(config_worker(c).connect_ports[2], 0);
    config_free(c);
    c = good("connect_ports: []\n");
    assert_int_equal(config_worker(c).connect_ports[0], 0);
    config_free(c);
}

static void via_is_added_unless_it_is_turned_off(void **state)
{
    (void)state;
    struct config *c = good("{}\n");
    assert_true(config_worker(c).via);
    config_free(c);
    c = good("via: false\n");
    assert_false(config_worker(c).via);
    config_free(c);
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

static void the_client_auth_follows_the_secret(void **state)
{
    (void)state;
    struct config *c =
        good(CRM "  open: {grant: refresh_token, token_url: 'http://127.0.0.1:9/', refresh_token: {env: X}}\n");
    assert_int_equal(c->credentials[0].client_auth, CLIENT_AUTH_BASIC);
    assert_int_equal(c->credentials[1].client_auth, CLIENT_AUTH_NONE);
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

static void an_address_may_be_written_as_other_servers_read_it(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        { "':9118'", "[::]:9118" },     { "'*:9118'", "[::]:9118" },        { "localhost:9118", "127.0.0.1:9118" },
        { "'[::]:9118'", "[::]:9118" }, { "0.0.0.0:9118", "0.0.0.0:9118" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char file[80], text[64];
        snprintf(file, sizeof file, "listen: {admin: %s}\n", rows[i].text);
        struct config *c = good(file);
        assert_string_equal(address_text((struct sockaddr *)&c->listen_admin.sa, text, sizeof text), rows[i].want);
        config_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_of_one_host_agree_on_http2),
        cmocka_unit_test(an_empty_file_means_the_defaults),
        cmocka_unit_test(a_name_that_a_label_would_have_to_escape_is_refused),
        cmocka_unit_test(a_whole_file_becomes_structs),
        cmocka_unit_test(an_address_may_be_written_as_other_servers_read_it),
        cmocka_unit_test(json_is_taken_as_it_is),
        cmocka_unit_test(a_word_that_yaml_takes_for_a_boolean_stays_a_word),
        cmocka_unit_test(a_key_with_nothing_behind_it_is_as_if_it_were_not_there),
        cmocka_unit_test(mistakes_are_named_with_their_place_and_the_way_out),
        cmocka_unit_test(a_parent_proxy_and_who_is_left_out_are_read),
        cmocka_unit_test(what_is_wrong_with_a_parent_proxy_is_said),
        cmocka_unit_test(a_token_request_may_have_its_own_user_agent_and_no_field_that_frames_it),
        cmocka_unit_test(check_refuses_a_secret_that_could_never_be_sent),
        cmocka_unit_test(redis_needs_a_url_a_seal_key_and_no_password_in_sight),
        cmocka_unit_test(credentials_that_cannot_work_are_refused),
        cmocka_unit_test(each_grant_takes_its_own_keys_and_no_others),
        cmocka_unit_test(what_a_grant_does_not_say_follows),
        cmocka_unit_test(rules_that_cannot_work_are_refused),
        cmocka_unit_test(clients_have_a_way_in_and_rules_that_exist),
        cmocka_unit_test(a_socket_has_a_path_a_mode_and_a_group),
        cmocka_unit_test(what_is_wrong_with_a_socket_is_said),
        cmocka_unit_test(users_are_looked_up_once_where_they_will_be_used),
        cmocka_unit_test(the_ports_of_connect_are_any_or_a_list),
        cmocka_unit_test(via_is_added_unless_it_is_turned_off),
        cmocka_unit_test(everything_that_is_wrong_is_told_at_once),
        cmocka_unit_test(a_literal_secret_is_refused_and_never_repeated),
        cmocka_unit_test(check_looks_for_every_file_and_serve_only_for_certificates),
        cmocka_unit_test(flag_wins_over_variable_over_file_over_default),
        cmocka_unit_test(a_flag_that_sets_nothing_is_an_error),
        cmocka_unit_test(what_is_probably_not_meant_is_a_warning),
        cmocka_unit_test(a_good_file_gives_no_warning),
        cmocka_unit_test(the_two_processes_get_what_they_need),
        cmocka_unit_test(the_client_auth_follows_the_secret),
        cmocka_unit_test(a_file_is_found_by_its_exit_status),
        cmocka_unit_test(the_documents_name_every_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
