/* links: tests/fakes/proxy_world.c tests/fakes/fake_timer.c tests/fakes/fake_dial.c tests/fakes/fake_clock.c */
#include "tests/fakes/proxy_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Every connection that ends moves sidekey_closes_total once, under a word that docs/metrics.md names. */

#define HEAD(method, fields) method " http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1\r\n" fields "\r\n"
#define GET HEAD("GET", "")
#define CONNECT(target) "CONNECT " target " HTTP/1.1\r\nHost: " target "\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static void stay(int c)
{
    (void)c;
}

static void leave(int c)
{
    shutdown(c, SHUT_RDWR);
    world_turn();
}

static void leave_in_the_middle(int c)
{
    world_upstream();
    leave(c);
}

static void wait_a_minute(int c)
{
    (void)c;
    fake_timer_run(60000);
    world_turn();
}

static void wait_an_hour(int c)
{
    (void)c;
    world_upstream();
    fake_timer_run(3600000);
    world_turn();
}

static void hurry(int c)
{
    (void)c;
    clients_hurry(&world);
    world_turn();
}

static void end_the_process(int c)
{
    (void)c;
    clients_close(&world);
    world_turn();
}

static void answer(const char *text)
{
    int up = world_upstream();
    say(up, text);
}

static void answer_and_keep(int c)
{
    (void)c;
    answer(OK);
}

static void answer_and_close(int c)
{
    (void)c;
    answer("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
}

static void answer_and_idle(int c)
{
    answer_and_keep(c);
    fake_timer_run(4000);
    world_turn();
}

static void answer_nonsense(int c)
{
    (void)c;
    answer("what?\r\n\r\n");
}

static void answer_by_half(int c)
{
    int up = world_upstream();
    say(up, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhi");
    hear(c, NULL);
    leave(up);
}

static void upstream_leaves(int c)
{
    (void)c;
    leave(world_upstream());
}

static void dial_fails(int c)
{
    (void)c;
    fake_dial_fail(DIAL_REFUSED, "connection refused");
    world_turn();
}

static void dial_too_long(int c)
{
    (void)c;
    fake_dial_fail(DIAL_TIMEOUT, "too long");
    world_turn();
}

static void tunnel_and_leave(int c)
{
    int up = world_upstream();
    hear(c, NULL);
    leave(c);
    leave(up);
}

static void tunnel_and_say_nothing(int c)
{
    world_upstream();
    hear(c, NULL);
    wait_a_minute(c);
}

static const struct {
    const char *request;
    void (*then)(int client);
    const char *client, *upstream; /* "": none of them has ended */
} rows[] = {
    { "", stay, "", "" },
    { "", leave, "peer_closed", "" },
    { "", wait_a_minute, "idle", "" },
    { "", hurry, "draining", "" },
    { "", end_the_process, "shutting_down", "" },
    { "nonsense\r\n\r\n", stay, "refused", "" },
    { GET, answer_and_keep, "", "" },
    { GET, answer_and_close, "", "answered" },
    { GET, answer_and_idle, "", "idle" },
    { GET, answer_nonsense, "", "protocol" },
    { GET, answer_by_half, "aborted", "peer_closed" },
    { GET, upstream_leaves, "", "peer_closed" },
    { GET, dial_fails, "", "unreachable" },
    { GET, dial_too_long, "", "timeout" },
    { GET, wait_an_hour, "", "timeout" },
    { GET, leave_in_the_middle, "peer_closed", "client_left" },
    { HEAD("GET", "Connection: close\r\n"), answer_and_keep, "answered", "" },
    { HEAD("POST", "Content-Length: 5\r\n") "ab", answer_and_keep, "answered", "early_answer" },
    { HEAD("POST", "Content-Length: 5\r\n") "ab", wait_an_hour, "answered", "unfinished" },
    { CONNECT("127.0.0.1:443"), tunnel_and_leave, "tunnel_ended", "" },
    { CONNECT("127.0.0.1:443"), dial_fails, "refused", "" },
    { CONNECT("127.0.0.1:80"), tunnel_and_say_nothing, "timeout", "" },
};

/* All reasons of a leg together, and the last one that is not zero. */
static double closes(const char *leg, char reason[64])
{
    char series[64];
    struct buf text;
    double sum = 0;
    snprintf(series, sizeof series, "sidekey_closes_total{leg=\"%s\",reason=\"", leg);
    buf_init(&text, 1 << 20);
    assert_int_equal(metrics_write(meter_metrics(world.meter), false, &text) | buf_add(&text, slice_of("", 1)), 0);
    reason[0] = '\0';
    for (const char *at = buf_slice(&text).ptr; (at = strstr(at, series)); at++) {
        double value = strtod(strchr(at, ' '), NULL);
        sum += value;
        if (value > 0)
            sscanf(at + strlen(series), "%63[^\"]", reason);
    }
    buf_done(&text);
    return sum;
}

static bool ends_as_said(size_t i)
{
    char client[64], upstream[64];
    void *state = NULL;
    assert_int_equal(world_up(&state), 0);
    world_token(1, "token-1", 36000000);
    int c = world_client();
    say(c, rows[i].request);
    rows[i].then(c);
    double clients = closes("client", client), upstreams = closes("upstream", upstream);
    bool good = strcmp(client, rows[i].client) == 0 && strcmp(upstream, rows[i].upstream) == 0
                && clients == (*rows[i].client != '\0') && upstreams == (*rows[i].upstream != '\0');
    if (!good)
        print_error("row %zu, %.40s: client %s (%g) and upstream %s (%g), not %s and %s\n", i, rows[i].request, client,
                    clients, upstream, upstreams, rows[i].client, rows[i].upstream);
    assert_int_equal(world_down(&state), 0);
    return good;
}

static void every_close_is_counted_once_under_its_reason(void **state)
{
    (void)state;
    size_t wrong = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        wrong += !ends_as_said(i);
    assert_int_equal(wrong, 0);
}

static void a_fault_has_its_reason(void **state)
{
    static const struct {
        int status;
        const char *label;
        enum close_reason reason;
    } table[] = {
        { 504, "http_response_timeout", CLOSE_TIMEOUT },     { 502, "http_protocol_error", CLOSE_PROTOCOL },
        { 502, "http_upgrade_failed", CLOSE_PROTOCOL },      { 502, "http_response_incomplete", CLOSE_PEER_CLOSED },
        { 502, "connection_terminated", CLOSE_PEER_CLOSED }, { 502, "tls_protocol_error", CLOSE_TLS_FAILED },
        { 502, "proxy_internal_error", CLOSE_UNFINISHED },   { 502, "internal_error", CLOSE_OUT_OF_MEMORY },
        { 502, "a label of tomorrow", CLOSE_PEER_CLOSED },
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        assert_int_equal(
            close_reason_of_fault(&(struct leg_fault){ .status = table[i].status, .label = table[i].label }),
            table[i].reason);
}

static void every_reason_has_a_word_that_the_documents_explain(void **state)
{
    static char text[64 * 1024];
    char row[80];
    (void)state;
    FILE *f = fopen("docs/metrics.md", "r");
    if (!f)
        fail_msg("docs/metrics.md is not here: run the tests from the top of the tree");
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    const char *section = strstr(text, "### Reasons of `sidekey_closes_total`");
    assert_non_null(section);
    for (enum close_reason r = 0; r < CLOSE_REASONS; r++) {
        const char *leg = close_reason_of_client(r) ? "client" : "upstream";
        if (close_reason_of_client(r) && close_reason_of_upstream(r))
            leg = "client, upstream";
        snprintf(row, sizeof row, "\n| `%s` | %s |", close_reason_word(r), leg);
        if (!has(section, row))
            fail_msg("docs/metrics.md has no row%s", row);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_close_is_counted_once_under_its_reason),
        cmocka_unit_test(a_fault_has_its_reason),
        cmocka_unit_test(every_reason_has_a_word_that_the_documents_explain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
