/* Unit tests of app/env_table: every runtime hears of proxy and CA, and what was set before is not lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "app/cmd/env_table.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

struct list {
    char text[16 * 1024];
};

#define LOCAL "localhost,127.0.0.1,::1,169.254.169.254,fd00:ec2::254,metadata.google.internal"

static int collect(void *arg, const char *name, const char *value)
{
    struct list *l = arg;
    size_t len = strlen(l->text);
    snprintf(l->text + len, sizeof l->text - len, "%s=%s\n", name, value);
    return 0;
}

static const char *no_variable(const char *name)
{
    (void)name;
    return NULL;
}

static struct env_inputs inputs(void)
{
    return (struct env_inputs){
        .host = "127.0.0.1", .port = "8118", .bundle = "/run/sk/bundle.pem", .ca = "/run/sk/ca.pem", .old = no_variable
    };
}

static void expect(const struct env_inputs *in, const char *const *lines, size_t count)
{
    struct list l = { "\n" };
    assert_int_equal(env_table_each(in, collect, &l), 0);
    for (size_t i = 0; i < count; i++) {
        char line[512];
        snprintf(line, sizeof line, "\n%s\n", lines[i]);
        if (!strstr(l.text, line))
            fail_msg("%s is not in%s", lines[i], l.text);
    }
}

static void both_cases_of_the_proxy_variables_are_set(void **state)
{
    (void)state;
    struct env_inputs in = inputs();
    static const char *const lines[] = {
        "http_proxy=http://127.0.0.1:8118",
        "HTTP_PROXY=http://127.0.0.1:8118",
        "https_proxy=http://127.0.0.1:8118",
        "HTTPS_PROXY=http://127.0.0.1:8118",
        "grpc_proxy=http://127.0.0.1:8118",
        "npm_config_https_proxy=http://127.0.0.1:8118",
        "CLOUDSDK_PROXY_TYPE=http",
        "CLOUDSDK_PROXY_ADDRESS=127.0.0.1",
        "CLOUDSDK_PROXY_PORT=8118",
        "NODE_USE_ENV_PROXY=1",
        "GIT_HTTP_PROXY_AUTHMETHOD=basic",
        "no_proxy=" LOCAL,
        "NO_PROXY=" LOCAL,
    };
    expect(&in, lines, COUNT(lines));
}

static void replacing_variables_get_the_bundle_and_adding_ones_our_ca_alone(void **state)
{
    (void)state;
    static const char *const adding[] = { "NODE_EXTRA_CA_CERTS", "DENO_CERT" };
    static const char *const replacing[] = { "SSL_CERT_FILE",
                                             "CURL_CA_BUNDLE",
                                             "GIT_SSL_CAINFO",
                                             "REQUESTS_CA_BUNDLE",
                                             "PIP_CERT",
                                             "AWS_CA_BUNDLE",
                                             "HTTPLIB2_CA_CERTS",
                                             "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
                                             "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
                                             "npm_config_cafile",
                                             "YARN_HTTPS_CA_FILE_PATH",
                                             "CARGO_HTTP_CAINFO",
                                             "PERL_LWP_SSL_CA_FILE",
                                             "HTTPS_CA_FILE",
                                             "NIX_SSL_CERT_FILE",
                                             "HEX_CACERTS_PATH" };
    struct env_inputs in = inputs();
    for (size_t i = 0; i < COUNT(adding) + COUNT(replacing); i++) {
        char line[128];
        bool adds = i < COUNT(adding);
        snprintf(line, sizeof line, "%s=/run/sk/%s", adds ? adding[i] : replacing[i - COUNT(adding)],
                 adds ? "ca.pem" : "bundle.pem");
        expect(&in, (const char *const[]){ line }, 1);
    }
}

static void a_password_and_an_ipv6_host_make_a_right_url(void **state)
{
    (void)state;
    struct env_inputs in = inputs();
    in.host = "::1";
    in.password = "aB3-_x";
    static const char *const lines[] = { "https_proxy=http://sidekey:aB3-_x@[::1]:8118", "CLOUDSDK_PROXY_ADDRESS=::1",
                                         "CLOUDSDK_PROXY_USERNAME=sidekey", "CLOUDSDK_PROXY_PASSWORD=aB3-_x" };
    expect(&in, lines, COUNT(lines));
}

static const char *old_variable(const char *name)
{
    return strcmp(name, "NO_PROXY") == 0             ? "corp.test,10.0.0.1"
           : strcmp(name, "npm_config_noproxy") == 0 ? "npm.test"
           : strcmp(name, "JAVA_TOOL_OPTIONS") == 0  ? "-Xmx64m"
           : strcmp(name, "SSL_CERT_FILE") == 0      ? "/old.pem"
                                                     : NULL;
}

static void old_exceptions_stay_in_every_dialect(void **state)
{
    (void)state;
    struct env_inputs in = inputs();
    in.old = old_variable;
    static const char *const lines[] = { "NO_PROXY=" LOCAL ",corp.test,10.0.0.1",
                                         "no_proxy=" LOCAL ",corp.test,10.0.0.1",
                                         "no_grpc_proxy=" LOCAL ",corp.test,10.0.0.1",
                                         "npm_config_noproxy=" LOCAL ",npm.test", "SSL_CERT_FILE=/run/sk/bundle.pem" };
    expect(&in, lines, COUNT(lines));
}

static void an_old_exception_that_covers_the_host_of_a_rule_is_removed(void **state)
{
    static const char *const hosts[] = { "api.a.test", "*.b.test", "192.0.2.7", "2001:db8::1", NULL };
    static const struct {
        const char *entry, *host; /* NULL: it covers none */
    } rows[] = {
        { "api.a.test", "api.a.test" },
        { "API.A.TEST", "api.a.test" },
        { "a.test", "api.a.test" },
        { ".a.test", "api.a.test" },
        { "*.a.test", "api.a.test" },
        { "test", "api.a.test" },
        { "*", "api.a.test" },
        { "api.a.test:443", "api.a.test" },
        { "x.b.test", "*.b.test" },
        { "b.test", "*.b.test" },
        { ".x.y.b.test", "*.b.test" },
        { "192.0.2.7", "192.0.2.7" },
        { "192.0.2.0/24", "192.0.2.7" },
        { "2001:db8::1", "2001:db8::1" },
        { "pi.a.test", NULL },
        { "xapi.a.test", NULL },
        { "c.test", NULL },
        { "", NULL },
        { ".", NULL },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *got = env_table_covers(slice_str(rows[i].entry), hosts);
        if (!got != !rows[i].host || (got && strcmp(got, rows[i].host) != 0))
            fail_msg("%s: %s", rows[i].entry, got ? got : "none");
    }
    struct env_inputs in = inputs();
    in.old = old_variable;
    in.rule_hosts = (const char *const[]){ "api.corp.test", "127.0.0.1", NULL };
    static const char *const lines[] = {
        "NO_PROXY=localhost,::1,169.254.169.254,fd00:ec2::254,metadata.google.internal,10.0.0.1"
    };
    expect(&in, lines, COUNT(lines));
}

static const char *our_own(const char *name)
{
    return strcasecmp(name, "no_proxy") == 0 ? LOCAL ",corp.test" : "";
}

static void a_second_pass_over_our_own_output_changes_nothing(void **state)
{
    (void)state;
    struct env_inputs in = inputs();
    in.old = our_own;
    static const char *const lines[] = { "NO_PROXY=" LOCAL ",corp.test", "no_grpc_proxy=" LOCAL ",corp.test" };
    expect(&in, lines, COUNT(lines));
}

static void java_is_told_only_on_request_and_keeps_its_options(void **state)
{
    (void)state;
    struct env_inputs in = inputs();
    struct list l = { "" };
    assert_int_equal(env_table_each(&in, collect, &l), 0);
    assert_null(strstr(l.text, "JAVA"));
    assert_null(strstr(l.text, "PASSWORD")); /* the proxy is open */
    in.java = true;
    in.java_trust = "/run/sk/bundle.jks";
    in.old = old_variable;
    assert_int_equal(env_table_each(&in, collect, &l), 0);
    const char *java = strstr(l.text, "JAVA_TOOL_OPTIONS=");
    assert_non_null(java);
    assert_non_null(strstr(java, "JAVA_TOOL_OPTIONS=-Xmx64m -D"));
    assert_non_null(strstr(java, "-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=8118 "));
    assert_non_null(strstr(java, " -Djavax.net.ssl.trustStore=/run/sk/bundle.jks\n"));
}

static int stop_at_once(void *arg, const char *name, const char *value)
{
    (void)name;
    (void)value;
    ++*(int *)arg;
    return -42;
}

static void a_callback_can_stop_the_walk(void **state)
{
    (void)state;
    struct env_inputs in = inputs();
    int calls = 0;
    assert_int_equal(env_table_each(&in, stop_at_once, &calls), -42);
    assert_int_equal(calls, 1);
}

static void no_variable_stands_twice_and_none_is_ours_to_keep_secret(void **state)
{
    (void)state;
    const struct env_row *rows = env_table_rows();
    size_t count = 0;
    for (; rows[count].name; count++) {
        assert_true(strncmp(rows[count].name, "SIDEKEY_", 8) != 0);
        for (size_t j = 0; j < count; j++)
            assert_string_not_equal(rows[count].name, rows[j].name);
        assert_int_equal(rows[count].kind == ENV_CONSTANT, rows[count].value != NULL);
    }
    assert_true(count > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_cases_of_the_proxy_variables_are_set),
        cmocka_unit_test(replacing_variables_get_the_bundle_and_adding_ones_our_ca_alone),
        cmocka_unit_test(a_password_and_an_ipv6_host_make_a_right_url),
        cmocka_unit_test(old_exceptions_stay_in_every_dialect),
        cmocka_unit_test(an_old_exception_that_covers_the_host_of_a_rule_is_removed),
        cmocka_unit_test(a_second_pass_over_our_own_output_changes_nothing),
        cmocka_unit_test(java_is_told_only_on_request_and_keeps_its_options),
        cmocka_unit_test(a_callback_can_stop_the_walk),
        cmocka_unit_test(no_variable_stands_twice_and_none_is_ours_to_keep_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
