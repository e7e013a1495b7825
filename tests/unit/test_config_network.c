/* What the configuration says of connections: listeners, clients, sockets, parent proxies, protocols, Redis. */
#include "tests/fakes/config_text.h"

static const char *text_of(const struct address *a)
{
    static char text[64];
    return address_text((const struct sockaddr *)&a->sa, text, sizeof text);
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
        cmocka_unit_test(an_address_may_be_written_as_other_servers_read_it),
        cmocka_unit_test(a_parent_proxy_and_who_is_left_out_are_read),
        cmocka_unit_test(what_is_wrong_with_a_parent_proxy_is_said),
        cmocka_unit_test(redis_needs_a_url_a_seal_key_and_no_password_in_sight),
        cmocka_unit_test(clients_have_a_way_in_and_rules_that_exist),
        cmocka_unit_test(a_socket_has_a_path_a_mode_and_a_group),
        cmocka_unit_test(what_is_wrong_with_a_socket_is_said),
        cmocka_unit_test(users_are_looked_up_once_where_they_will_be_used),
        cmocka_unit_test(the_ports_of_connect_are_any_or_a_list),
        cmocka_unit_test(via_is_added_unless_it_is_turned_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
