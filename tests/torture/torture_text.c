/* What comes in as text: the configuration, HTTP/1 heads and bodies, metrics. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "app/config/config.h"
#include "base/metrics.h"
#include "http/h1.h"
#include "http/rules.h"
#include "tests/torture/torture.h"

static const char file[] =
    "listen: {proxy: '[::1]:0', admin: off}\nca: {publish: /p, constrain: true}\nunmatched: deny\n"
    "store: {file: /s, seal_key: {command: [pass, show]}, seal_key_previous: {env: OLD}, lease: 20s, on_lock_error: "
    "wait}\n"
    "credentials:\n  crm:\n    grant: refresh_token\n    token_url: https://login.test/token\n    client_id: me\n    "
    "client_secret: {env: SECRET}\n"
    "    refresh_token: {file: /run/r}\n    scope: a b\n    params: {resource: r}\n    required: true\n  key: {grant: "
    "static, token: {file: /t}}\n"
    "rules:\n  - name: one\n    match: {host: '*.API.test', port: 8443, paths: [/v2/*, /x], methods: [GET]}\n    "
    "credential: crm\n"
    "    inject: [{in: query, name: key}, {in: userinfo}, {name: X-Token, format: 't={instance_url}/{access_token}'}]\n"
    "    strip: [X-Api-Key]\n    strip_query: [key]\n    append: {Anthropic-Beta: oauth}\n    set_if_absent: {X-A: "
    "''}\n"
    "    only_if: {header: Authorization, equals: Bearer sk-no}\n    allow_http: true\n"
    "    on_unauthorized: {statuses: [401, 403], max_body: 2MiB, replay: false, also: [{status: 200, header: {name: "
    "X-E, equals: y}}]}\n"
    "  - {match: {host: '::1'}, credential: key}\n"
    "clients: {app: {password: {file: /pw}, rules: [one]}}\n"
    "network: {allow_private: [10.0.0.0/8], resolve: {'a.test:443': '127.0.0.1:8443'}, parent_proxy: {url: "
    "'http://proxy.test:3128'}, no_proxy: [.inner.test]}\n";

static void the_configuration_is_read_whole_or_refused(void)
{
    struct err e = { "" };
    struct config *c = config_parse(slice_str(file), "f", NULL, &e);
    if (!c && !torture_struck())
        fprintf(stderr, "%s\n", e.text);
    CHECK(c || torture_struck());
    CHECK(c || *e.text);
    if (c) {
        CHECK(c->rule_count == 2 && c->credential_count == 2 && c->rules[0].inject_count == 3);
        struct keeper_options keeper = config_keeper(c);
        struct worker_options worker = config_worker(c);
        CHECK(keeper.spec_count == 2 && worker.rule_count == 2);
    }
    config_free(c);
}

static void what_is_wrong_in_a_configuration_is_told(void)
{
    struct err e = { "" };
    struct config *c = config_parse(
        SLICE("rules: [{match: {host: a.test}, credentail: crm}]\ncredentials: {a: {grant: static}}\n"), "f", NULL, &e);
    CHECK(!c && *e.text);
}

static void the_schema_is_printed(void)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    int failed = config_schema(&out);
    CHECK(failed == 0 ? out.len > 1000 : torture_struck());
    buf_done(&out);
}

static const char request[] = "POST /a/b?c=d HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\nX-One: "
                              "1\r\nConnection: x-one\r\nX-Two: two\r\n\r\n"
                              "5\r\nhello\r\n0\r\nX-Trailer: t\r\n\r\nGET / HTTP/1.1\r\nHost: api.test\r\n\r\n";

/* false: the parser said that it had no memory. */
static bool forward_one(struct h1 *p, struct slice *in, struct buf *out)
{
    struct slice data;
    struct authority to;
    CHECK(authority_parse(SLICE("api.test"), SCHEME_HTTPS, 443, &to) == 0);
    for (;;) {
        enum h1_event event = h1_next(p, in, &data);
        if (event == H1_BAD) {
            CHECK(torture_struck() && h1_status(p) == 503);
            return false;
        }
        if (event == H1_HEAD) {
            struct message copy;
            message_init(&copy);
            int failed = message_copy(&copy, h1_head(p));
            CHECK(failed == 0 || (failed == -ENOMEM && torture_struck()));
            if (failed == 0) {
                struct rules_verdict v = rules_forward_request(&copy, &to, true, NULL);
                CHECK(v.status == 0 || torture_struck());
                failed = v.status ? 0 : h1_write_request(out, &copy);
                CHECK(failed == 0 || (failed == -ENOMEM && torture_struck()));
            }
            message_done(&copy);
        } else if (event == H1_DATA) {
            CHECK(slice_eq(data, SLICE("hello")));
            CHECK(h1_write_chunk(out, data) == 0 || torture_struck());
        } else if (event == H1_END) {
            CHECK(h1_write_last_chunk(out, h1_trailers(p)) == 0 || torture_struck());
            return true;
        }
    }
}

static void a_request_is_read_and_written_again(void)
{
    struct h1 *p = h1_new(H1_REQUESTS);
    struct slice in = slice_str(request);
    struct buf out;
    buf_init(&out, 1 << 16);
    CHECK(p || torture_struck());
    if (p && forward_one(p, &in, &out) && forward_one(p, &in, &out))
        CHECK(in.len == 0);
    buf_done(&out);
    h1_free(p);
}

static void metrics_lose_at_most_what_there_was_no_memory_for(void)
{
    struct metrics_area area;
    if (metrics_area_open(&area) != 0)
        return;
    struct metrics *m = metrics_new_in(&area), *sum = metrics_new();
    struct buf out;
    buf_init(&out, 1 << 16);
    CHECK((m && sum) || torture_struck());
    if (m && sum) {
        for (int i = 0; i < 40; i++)
            *metrics_at(m, "sidekey_requests_total{rule=\"r%d\"}", i) += 1;
        int failed = metrics_write(m, true, &out);
        CHECK(failed == 0 || torture_struck());
        metrics_fold(sum, &area, METRICS_ALL);
    }
    buf_done(&out);
    metrics_free(m);
    metrics_free(sum);
    metrics_area_close(&area);
}

int main(int argc, char **argv)
{
    static const struct torture list[] = {
        { "the_configuration_is_read_whole_or_refused", the_configuration_is_read_whole_or_refused },
        { "what_is_wrong_in_a_configuration_is_told", what_is_wrong_in_a_configuration_is_told },
        { "the_schema_is_printed", the_schema_is_printed },
        { "a_request_is_read_and_written_again", a_request_is_read_and_written_again },
        { "metrics_lose_at_most_what_there_was_no_memory_for", metrics_lose_at_most_what_there_was_no_memory_for },
    };
    return torture_main(argc, argv, list, sizeof list / sizeof *list);
}
