/* links: tests/fakes/h2_peers.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fakes/h2_peers.h"

static struct h2_budget budget, own; /* own: the client's */
static struct peer client, server;

static int up(void **state)
{
    (void)state;
    h2_budget_init(&budget, 16 << 20);
    h2_budget_init(&own, 16 << 20);
    peer_up(&client, H2_CLIENT, &own);
    peer_up(&server, H2_SERVER, &budget);
    peers_talk(&client, &server);
    assert_true(client.settled && server.settled);
    return 0;
}

static int down(void **state)
{
    (void)state;
    peer_down(&client);
    peer_down(&server);
    assert_int_equal(budget.used + own.used, 0);
    return 0;
}

static void make_request(struct message *m, const char *method, enum framing framing, uint64_t length)
{
    message_init(m);
    assert_int_equal(message_start_request(m, slice_str(method), SLICE("/a?b=c")), 0);
    assert_int_equal(message_add(m, SLICE("Host"), SLICE("api.example.com")), 0);
    m->framing = framing;
    m->length = length;
}

static struct peer_stream *ask(const char *method, enum framing framing, uint64_t length)
{
    struct message m;
    struct peer_stream *ps = peer_stream_new(&client);
    make_request(&m, method, framing, length);
    assert_int_equal(h2_stream_head(ps->s, &m, false), 0);
    message_done(&m);
    return ps;
}

static struct peer_stream *served(size_t i)
{
    assert_true(i < server.count);
    return &server.streams[i];
}

static void answer(struct peer_stream *ps, int status, enum framing framing, uint64_t length)
{
    struct message m;
    message_init(&m);
    assert_int_equal(message_start_response(&m, status, SLICE("")), 0);
    assert_int_equal(message_add(&m, SLICE("Server"), SLICE("x")), 0);
    m.framing = framing;
    m.length = length;
    assert_int_equal(h2_stream_head(ps->s, &m, false), 0);
    message_done(&m);
}

static void give(struct peer_stream *ps, size_t bytes)
{
    static const char zeros[64 * 1024];
    assert_int_equal(h2_stream_data(ps->s, slice_of(zeros, bytes)), 0);
}

static void a_request_and_its_answer_cross_unchanged(void **state)
{
    struct message trailers;
    (void)state;
    struct peer_stream *up_stream = ask("POST", FRAMING_LENGTH, 5);
    give(up_stream, 5);
    assert_int_equal(h2_stream_end(up_stream->s, NULL), 0);
    peers_talk(&client, &server);
    assert_string_equal(served(0)->heard, "head POST /a?b=c; data 5; end; ");
    assert_string_equal(server.opened, "0");
    answer(served(0), 103, FRAMING_NONE, 0);
    peers_talk(&client, &server);
    answer(served(0), 200, FRAMING_CHUNKED, 0);
    give(served(0), 7);
    message_init(&trailers);
    assert_int_equal(message_add(&trailers, SLICE("Grpc-Status"), SLICE("0")), 0);
    assert_int_equal(h2_stream_end(served(0)->s, &trailers), 0);
    message_done(&trailers);
    peers_talk(&client, &server);
    assert_string_equal(up_stream->heard, "head 103; head 200; data 7; end grpc-status=0; ");
}

static void the_model_of_a_head_is_that_of_http_1_1(void **state)
{
    struct message m;
    size_t count;
    (void)state;
    struct peer_stream *ps = peer_stream_new(&client);
    make_request(&m, "GET", FRAMING_NONE, 0);
    assert_int_equal(message_add(&m, SLICE("Cookie"), SLICE("a=1")), 0);
    assert_int_equal(message_add(&m, SLICE("cookie"), SLICE("b=2")), 0);
    assert_int_equal(message_add(&m, SLICE("X-Key"), SLICE("k")), 0);
    m.fields[m.field_count - 1].sensitive = true;
    assert_int_equal(message_add(&m, SLICE("Connection"), SLICE("close")), 0);
    assert_int_equal(message_add(&m, SLICE("TE"), SLICE("trailers")), 0);
    assert_int_equal(h2_stream_head(ps->s, &m, false), 0);
    message_done(&m);
    peers_talk(&client, &server);
    struct message *got = served(0)->head;
    assert_true(slice_eq(message_get(got, SLICE("host"), &count), SLICE("api.example.com")));
    assert_true(slice_eq(message_get(got, SLICE("cookie"), &count), SLICE("a=1; b=2")));
    assert_int_equal(count, 1);
    assert_true(got->fields[got->field_count - 1].sensitive);
    (void)message_get(got, SLICE("connection"), &count);
    assert_int_equal(count, 0);
    assert_true(got->http2 && got->minor == 1 && got->framing == FRAMING_NONE);
    for (size_t i = 0; i < got->field_count; i++)
        assert_int_equal(got->fields[i].sensitive, slice_eq(message_name_at(got, i), SLICE("x-key"))
                                                       || slice_eq(message_name_at(got, i), SLICE("cookie")));
}

static void an_answer_without_a_body_ends_with_its_head(void **state)
{
    static const struct {
        const char *method;
        int status;
        enum framing framing, seen;
        uint64_t length;
        bool bodiless;
    } rows[] = {
        { "GET", 200, FRAMING_NONE, FRAMING_NONE, 0, false },
        { "GET", 200, FRAMING_LENGTH, FRAMING_LENGTH, 0, false },
        { "GET", 204, FRAMING_NONE, FRAMING_NONE, 0, false },
        { "GET", 304, FRAMING_LENGTH, FRAMING_LENGTH, 9, true },
        { "HEAD", 200, FRAMING_LENGTH, FRAMING_LENGTH, 9, true },
        { "HEAD", 200, FRAMING_CHUNKED, FRAMING_NONE, 0, true },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct message m;
        char want[64];
        struct peer_stream *ps = ask(rows[i].method, FRAMING_NONE, 0);
        peers_talk(&client, &server);
        message_init(&m);
        assert_int_equal(message_start_response(&m, rows[i].status, SLICE("")), 0);
        m.framing = rows[i].framing;
        m.length = rows[i].length;
        assert_int_equal(h2_stream_head(served(i)->s, &m, rows[i].bodiless), 0);
        assert_int_equal(h2_stream_end(served(i)->s, NULL), 0);
        message_done(&m);
        peers_talk(&client, &server);
        snprintf(want, sizeof want, "head %d; data 0; end; ", rows[i].status);
        assert_string_equal(ps->heard, want);
        assert_int_equal(ps->head->framing, rows[i].seen);
        assert_int_equal(ps->head->length, rows[i].length);
    }
}

static void a_length_is_kept_to(void **state)
{
    (void)state;
    struct peer_stream *ps = ask("POST", FRAMING_LENGTH, 5);
    assert_int_equal(h2_stream_data(ps->s, SLICE("123456")), -EPROTO);
    assert_int_equal(h2_stream_data(ps->s, SLICE("123")), 0);
    assert_int_equal(h2_stream_end(ps->s, NULL), -EPROTO);
}

/* --- credit --- */

static void send_all(struct peer_stream *ps, size_t bytes)
{
    while (bytes) {
        size_t space = h2_stream_space(ps->s), part = space < bytes ? space : bytes;
        if (part)
            give(ps, part);
        bytes -= part;
        size_t before = ps->s ? h2_stream_space(ps->s) : 0;
        peers_talk(&client, &server);
        if (!part && h2_stream_space(ps->s) == before)
            break; /* stalled */
    }
}

static void who_does_not_want_data_gives_no_credit(void **state)
{
    (void)state;
    server.lazy = true;
    struct peer_stream *ps = ask("POST", FRAMING_CHUNKED, 0);
    send_all(ps, 200000);
    assert_int_equal(served(0)->bytes, 0);
    assert_true(h2_stream_stalled(ps->s) && h2_stream_stalled(served(0)->s));
    assert_int_equal(budget.used, 65535);
    assert_int_equal(own.used, H2_SPACE - h2_stream_space(ps->s));
    h2_stream_want(served(0)->s, true);
    peers_talk(&client, &server);
    assert_true(served(0)->bytes >= 65535);
    assert_int_equal(h2_stream_space(ps->s), H2_SPACE);
    assert_non_null(strstr(ps->heard, "space; "));
    assert_int_equal(budget.used, 0);
}

static void one_stream_that_stalls_holds_up_no_other(void **state)
{
    enum { STALLED = 200 };
    (void)state;
    server.lazy = true;
    for (size_t i = 0; i < STALLED; i++)
        send_all(ask("POST", FRAMING_CHUNKED, 0), 100000);
    server.lazy = false;
    struct peer_stream *ps = ask("POST", FRAMING_CHUNKED, 0);
    peers_talk(&client, &server);
    send_all(ps, 5000000);
    assert_int_equal(served(STALLED)->bytes, 5000000);
    for (size_t i = 0; i < STALLED; i++)
        assert_int_equal(served(i)->bytes, 0);
}

static void over_the_budget_nobody_gets_credit_until_it_falls(void **state)
{
    (void)state;
    budget.max = 32 * 1024;
    server.lazy = true;
    for (size_t i = 0; i < 200; i++)
        send_all(ask("POST", FRAMING_CHUNKED, 0), 100000);
    /* the window of the connection, and not 200 windows of streams */
    assert_in_range(budget.used, budget.max, budget.max + 4 * 1024 * 1024);
    for (size_t i = 0; i < server.count; i++)
        h2_stream_want(served(i)->s, true);
    peers_talk(&client, &server);
    assert_int_equal(budget.used, 0);
    assert_true(list_empty(&budget.owing));
}

static void what_is_over_and_not_taken_is_reset_in_the_end(void **state)
{
    (void)state;
    client.lazy = true;
    struct peer_stream *ps = ask("GET", FRAMING_NONE, 0);
    peers_talk(&client, &server);
    answer(served(0), 200, FRAMING_CHUNKED, 0);
    for (int i = 0; i < 4; i++) { /* the client's window, and more */
        give(served(0), 20000);
        peers_talk(&client, &server);
    }
    assert_int_equal(h2_stream_end(served(0)->s, NULL), 0);
    h2_stream_free(served(0)->s, H2_CANCEL);
    h2_sweep(server.h, 1000, 500);
    h2_sweep(server.h, 1400, 500);
    peers_talk(&client, &server);
    assert_int_equal(h2_open(server.h), 1);
    assert_int_equal(budget.used, 4 * 20000 - 65535);
    h2_sweep(server.h, 1500, 500);
    peers_talk(&client, &server);
    assert_int_equal(h2_open(server.h), 0);
    assert_int_equal(budget.used, 0);
    h2_stream_want(ps->s, true);
    peers_talk(&client, &server);
    assert_string_equal(ps->heard, "head 200; gone 8; ");
    assert_int_equal(ps->bytes, 65535);
}

/* --- ends --- */

static void a_reset_arrives_with_its_code(void **state)
{
    (void)state;
    struct peer_stream *ps = ask("POST", FRAMING_CHUNKED, 0);
    peers_talk(&client, &server);
    h2_stream_free(ps->s, H2_CANCEL);
    peers_talk(&client, &server);
    assert_string_equal(served(0)->heard, "head POST /a?b=c; gone 8; ");
    ps = ask("GET", FRAMING_NONE, 0);
    peers_talk(&client, &server);
    h2_stream_free(served(1)->s, H2_REFUSED_STREAM);
    peers_talk(&client, &server);
    assert_string_equal(ps->heard, "gone 7 unprocessed; ");
    assert_int_equal(h2_open(client.h) + h2_open(server.h), 0);
}

static void an_early_answer_ends_the_upload_without_an_error(void **state)
{
    (void)state;
    struct peer_stream *ps = ask("POST", FRAMING_CHUNKED, 0);
    give(ps, 100);
    peers_talk(&client, &server);
    answer(served(0), 200, FRAMING_LENGTH, 3);
    give(served(0), 3);
    assert_int_equal(h2_stream_end(served(0)->s, NULL), 0);
    h2_stream_free(served(0)->s, H2_INTERNAL_ERROR);
    peers_talk(&client, &server);
    assert_string_equal(ps->heard, "head 200; data 3; end; ");
    assert_int_equal(h2_open(client.h) + h2_open(server.h), 0);
}

static void half_an_answer_ends_by_a_reset(void **state)
{
    (void)state;
    struct peer_stream *ps = ask("GET", FRAMING_NONE, 0);
    peers_talk(&client, &server);
    answer(served(0), 200, FRAMING_CHUNKED, 0);
    give(served(0), 3);
    peers_talk(&client, &server);
    h2_stream_free(served(0)->s, H2_INTERNAL_ERROR);
    peers_talk(&client, &server);
    assert_string_equal(ps->heard, "head 200; gone 2; ");
}

static void what_was_given_goes_out_before_the_reset(void **state)
{
    (void)state;
    static const uint32_t codes[] = { H2_NO_ERROR, H2_CANCEL };
    for (size_t i = 0; i < 2; i++) {
        struct peer_stream *ps = ask("GET", FRAMING_NONE, 0);
        peers_talk(&client, &server);
        answer(served(i), 200, FRAMING_CHUNKED, 0);
        give(served(i), 40000);
        h2_stream_free(served(i)->s, codes[i]); /* nothing of it has gone out yet */
        peers_talk(&client, &server);
        assert_string_equal(ps->heard, codes[i] ? "head 200; gone 8; " : "head 200; gone 0; ");
        assert_int_equal(ps->bytes, 40000);
        assert_int_equal(h2_open(client.h) + h2_open(server.h), 0);
    }
}

static void a_connection_that_is_lost_ends_each_stream(void **state)
{
    (void)state;
    struct peer_stream *sent = ask("GET", FRAMING_NONE, 0);
    peers_talk(&client, &server);
    struct peer_stream *queued = ask("GET", FRAMING_NONE, 0);
    h2_lost(client.h);
    h2_run(client.h);
    assert_string_equal(sent->heard, "gone 8 connection; ");
    assert_string_equal(queued->heard, "gone 8 connection unprocessed; ");
}

static void after_goaway_no_stream_is_opened(void **state)
{
    (void)state;
    struct peer_stream *ps = ask("GET", FRAMING_NONE, 0);
    peers_talk(&client, &server);
    assert_int_equal(h2_limit(client.h), 256);
    h2_go_away(server.h, H2_NO_ERROR);
    peers_talk(&client, &server);
    assert_true(client.leaving);
    assert_int_equal(h2_limit(client.h), 0);
    answer(served(0), 200, FRAMING_NONE, 0);
    peers_talk(&client, &server);
    assert_string_equal(ps->heard, "head 200; data 0; end; ");
    assert_true(h2_over(server.h));
}

static void a_stream_may_be_let_go_inside_each_of_its_events(void **state)
{
    (void)state;
    for (const char *at = "hde"; *at; at++) {
        server.free_at = client.free_at = *at;
        struct peer_stream *ps = ask("POST", FRAMING_CHUNKED, 0);
        give(ps, 10);
        assert_int_equal(h2_stream_end(ps->s, NULL), 0);
        peers_talk(&client, &server);
        client.free_at = server.free_at = 0;
        ps = ask("GET", FRAMING_NONE, 0);
        ps->free_at = *at;
        peers_talk(&client, &server);
        struct peer_stream *other = served(server.count - 1);
        answer(other, 200, FRAMING_CHUNKED, 0);
        give(other, 10);
        assert_int_equal(h2_stream_end(other->s, NULL), 0);
        peers_talk(&client, &server);
        assert_null(ps->s);
    }
    assert_int_equal(h2_open(client.h), 0);
}

static void more_streams_than_the_peer_allows_wait_their_turn(void **state)
{
    (void)state;
    for (size_t i = 0; i < 300; i++)
        (void)ask("GET", FRAMING_NONE, 0);
    peers_talk(&client, &server);
    assert_int_equal(server.count, 256);
    for (size_t i = 0; i < server.count; i++) {
        answer(served(i), 200, FRAMING_NONE, 0);
        peers_talk(&client, &server);
    }
    assert_int_equal(server.count, 300);
}

/* --- requests by hand --- */

static const char *say_request(const char *const fields[][2], bool ends, char *text, size_t size)
{
    struct buf bytes, block, out;
    buf_init(&bytes, 1 << 20);
    buf_init(&block, 1 << 20);
    buf_init(&out, 1 << 20);
    peer_down(&server);
    peer_up(&server, H2_SERVER, &budget);
    frame_preface(&bytes);
    for (size_t i = 0; fields[i][0]; i++)
        frame_field(&block, slice_str(fields[i][0]), slice_str(fields[i][1]));
    frame_add(&bytes, 1, ends ? 5 : 4, 1, buf_slice(&block));
    peer_feed(&server, buf_slice(&bytes), &out);
    frames_say(buf_slice(&out), text, size);
    buf_done(&bytes);
    buf_done(&block);
    buf_done(&out);
    return text;
}

#define GET { ":method", "GET" }, { ":scheme", "https" }, { ":authority", "h" }, { ":path", "/" }
#define POST { ":method", "POST" }, { ":scheme", "https" }, { ":authority", "h" }, { ":path", "/" }

static void each_request_gets_the_answer_of_rfc_9113(void **state)
{
    static const struct {
        const char *fields[10][2];
        const char *opened; /* NULL: it does not come through */
        const char *says;
        bool open; /* no END_STREAM */
    } rows[] = {
        { { GET }, "0", "", false },
        { { POST, { "content-length", "5" } }, "0", "", true },
        { { GET, { "host", "h" } }, "0", "", false },
        { { GET, { "host", "H" } }, "0", "", false },
        { { GET, { "host", "other" } }, "400 host_differs", "", false },
        { { { ":method", "GET" }, { ":scheme", "https" }, { ":path", "/" }, { "host", "h" } }, "0", "", false },
        { { { ":method", "GET" }, { ":scheme", "http" }, { ":authority", "h" }, { ":path", "/" } },
          "421 scheme_differs",
          "",
          false },
        { { { ":method", "GET" }, { ":scheme", "HTTPS" }, { ":authority", "h" }, { ":path", "/" } }, "0", "", false },
        { { { ":method", "OPTIONS" }, { ":scheme", "https" }, { ":authority", "h" }, { ":path", "*" } },
          "0",
          "",
          false },
        { { { ":method", "CONNECT" }, { ":authority", "h:443" } }, "0", "", false },
        { { GET, { "te", "trailers" } }, "0", "", false },
        /* RFC 9113 §8.3, §8.3.1: pseudo-fields */
        { { { ":scheme", "https" }, { ":authority", "h" }, { ":path", "/" } }, NULL, "rst:1", false },
        { { { ":method", "GET" }, { ":authority", "h" }, { ":path", "/" } }, NULL, "rst:1", false },
        { { { ":method", "GET" }, { ":scheme", "https" }, { ":authority", "h" } }, NULL, "rst:1", false },
        { { { ":method", "GET" }, { ":scheme", "https" }, { ":path", "/" } }, NULL, "rst:1", false },
        { { GET, { ":method", "GET" } }, NULL, "rst:1", false },
        { { GET, { ":scheme", "https" } }, NULL, "rst:1", false },
        { { GET, { ":path", "/" } }, NULL, "rst:1", false },
        { { GET, { ":authority", "h" } }, NULL, "rst:1", false },
        { { GET, { "a", "b" }, { ":authority", "h" } }, NULL, "rst:1", false },
        { { GET, { ":status", "200" } }, NULL, "rst:1", false },
        { { GET, { ":other", "x" } }, NULL, "rst:1", false },
        { { GET, { ":protocol", "websocket" } }, NULL, "rst:1", false },
        { { { ":method", "GET" }, { ":scheme", "https" }, { ":authority", "h" }, { ":path", "" } },
          NULL,
          "rst:1",
          false },
        { { { ":method", "GET" }, { ":scheme", "https" }, { ":authority", "h" }, { ":path", "x" } },
          NULL,
          "rst:1",
          false },
        { { { ":method", "GET" }, { ":scheme", "https" }, { ":authority", "h" }, { ":path", "*" } },
          NULL,
          "rst:1",
          false },
        { { { ":method", "GET" }, { ":scheme", "https" }, { ":authority", "h" }, { ":path", "/ x" } },
          NULL,
          "rst:1",
          false },
        { { { ":method", "GET" }, { ":scheme", "https" }, { ":authority", "h" }, { ":path", "/#f" } },
          "400 target_malformed",
          "",
          false },
        { { { ":method", "G T" }, { ":scheme", "https" }, { ":authority", "h" }, { ":path", "/" } },
          NULL,
          "rst:1",
          false },
        { { { ":method", "" }, { ":scheme", "https" }, { ":authority", "h" }, { ":path", "/" } },
          NULL,
          "rst:1",
          false },
        { { { ":method", "CONNECT" }, { ":authority", "h:443" }, { ":path", "/" } }, NULL, "rst:1", false },
        { { { ":method", "CONNECT" }, { ":scheme", "https" }, { ":authority", "h:443" } }, NULL, "rst:1", false },
        /* RFC 9113 §8.2: fields */
        { { GET, { "Upper", "x" } }, NULL, "rst:1", false },
        { { GET, { "", "x" } }, NULL, "rst:1", false },
        { { GET, { "a b", "x" } }, NULL, "rst:1", false },
        { { GET, { "a:", "x" } }, NULL, "rst:1", false },
        { { GET, { "a", "x\r\ny: z" } }, NULL, "rst:1", false },
        { { GET, { "a", "x\ny" } }, NULL, "rst:1", false },
        { { GET, { "a", " x" } }, NULL, "rst:1", false },
        { { GET, { "a", "x\t" } }, NULL, "rst:1", false },
        { { GET, { "a", "\x7f" } }, NULL, "rst:1", false },
        /* RFC 9113 §8.2.2: what belongs to a connection */
        { { GET, { "connection", "close" } }, NULL, "rst:1", false },
        { { GET, { "keep-alive", "x" } }, NULL, "rst:1", false },
        { { GET, { "proxy-connection", "x" } }, NULL, "rst:1", false },
        { { GET, { "transfer-encoding", "chunked" } }, NULL, "rst:1", false },
        { { GET, { "upgrade", "h2c" } }, NULL, "rst:1", false },
        { { GET, { "te", "gzip" } }, NULL, "rst:1", false },
        { { GET, { "te", "trailers, gzip" } }, NULL, "rst:1", false },
        /* RFC 9113 §8.1.1: content-length */
        { { POST, { "content-length", "5" } }, NULL, "rst:1", false },
        { { POST, { "content-length", "5" }, { "content-length", "5" } }, NULL, "rst:1", true },
        { { POST, { "content-length", "-1" } }, NULL, "rst:1", true },
        { { POST, { "content-length", "5, 5" } }, NULL, "rst:1", true },
        { { POST, { "content-length", "99999999999999999999" } }, NULL, "rst:1", true },
        { { GET, { "host", "h" }, { "host", "h" } }, NULL, "rst:1", false },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[256];
        (void)say_request(rows[i].fields, !rows[i].open, text, sizeof text);
        const char *opened = server.opened[0] ? server.opened : NULL;
        if (strcmp(text, rows[i].says) != 0 || !opened != !rows[i].opened
            || (opened && strcmp(opened, rows[i].opened) != 0))
            fail_msg("row %zu: frames \"%s\", opened %s", i, text, opened ? opened : "nothing");
    }
}

static void a_head_has_caps(void **state)
{
    struct buf bytes, block, out;
    static char big[40000];
    char text[64];
    (void)state;
    memset(big, 'x', sizeof big - 1);
    const char *const long_path[][2] = {
        { ":method", "GET" }, { ":scheme", "https" }, { ":authority", "h" }, { ":path", big }, { NULL, NULL }
    };
    big[0] = '/';
    buf_init(&bytes, 1 << 20);
    buf_init(&block, 1 << 20);
    buf_init(&out, 1 << 20);
    big[17000] = '\0';
    assert_string_equal(say_request(long_path, true, text, sizeof text), "goaway:6"); /* a frame over 16 KiB */
    big[16384 - 80] = '\0';                                                           /* in one frame */
    assert_string_equal(say_request(long_path, true, text, sizeof text), "");
    const char *const many[][2] = { GET, { NULL, NULL } };
    for (size_t i = 0; many[i][0]; i++)
        frame_field(&block, slice_str(many[i][0]), slice_str(many[i][1]));
    for (size_t i = 0; i < 201; i++)
        frame_field(&block, SLICE("a"), SLICE("b"));
    frame_add(&bytes, 1, 5, 1, buf_slice(&block));
    peer_down(&server);
    peer_up(&server, H2_SERVER, &budget);
    frame_preface(&out);
    peer_feed(&server, buf_slice(&out), NULL);
    peer_feed(&server, buf_slice(&bytes), &out);
    assert_string_equal(server.opened, "431 too_many_fields");
    buf_done(&bytes);
    buf_done(&block);
    buf_done(&out);
}

/* --- floods --- */

struct flood {
    const char *name;
    unsigned type, flags;
    uint32_t stream; /* 1: an open request; 3: a new one for each */
    const char *payload;
    size_t len;
    unsigned count;
    const char *says; /* the last frame */
};

static void begin_request(struct buf *bytes, uint32_t stream, bool ends)
{
    static const char *const fields[][2] = { POST };
    struct buf block;
    buf_init(&block, 1024);
    for (size_t i = 0; i < 4; i++)
        frame_field(&block, slice_str(fields[i][0]), slice_str(fields[i][1]));
    frame_add(bytes, 1, ends ? 5 : 4, stream, buf_slice(&block));
    buf_done(&block);
}

static void run_flood(const struct flood *f)
{
    struct buf bytes, out;
    static char text[1 << 16];
    buf_init(&bytes, 1 << 22);
    buf_init(&out, 1 << 22);
    peer_down(&server);
    peer_up(&server, H2_SERVER, &budget);
    frame_preface(&bytes);
    if (f->stream == 1)
        begin_request(&bytes, 1, false);
    peer_feed(&server, buf_slice(&bytes), &out);
    for (unsigned i = 0; i < f->count && !server.failed && !h2_over(server.h); i++) {
        buf_clear(&bytes);
        uint32_t stream = f->stream == 3 ? 2 * i + 3 : f->stream;
        if (f->stream == 3)
            begin_request(&bytes, stream, false);
        frame_add(&bytes, f->type, f->flags, stream, slice_of(f->payload, f->len));
        peer_feed(&server, buf_slice(&bytes), &out);
    }
    frames_say(buf_slice(&out), text, sizeof text);
    const char *last = strrchr(text, ' ') ? strrchr(text, ' ') + 1 : text;
    if (strcmp(last, f->says) != 0)
        fail_msg("%s: ends with \"%s\"", f->name, last);
    buf_done(&bytes);
    buf_done(&out);
}

static void a_flood_of_frames_ends_the_connection(void **state)
{
    static const struct flood rows[] = {
        { "rapid reset", 3, 0, 3, "\0\0\0\x08", 4, 1100, "goaway:b" },
        { "streams that make us reset them", 1, 5, 3, "\x82", 1, 1100, "goaway:b" },
        { "PING", 6, 0, 0, "12345678", 8, 2100, "goaway:b" },
        { "SETTINGS", 4, 0, 0, "", 0, 2100, "goaway:b" },
        { "SETTINGS that change a size", 4, 0, 0, "\0\x01\0\0\x10\0", 6, 2100, "goaway:b" },
        { "empty DATA", 0, 0, 1, "", 0, 2100, "goaway:b" },
        { "PRIORITY", 2, 0, 1, "\0\0\0\0\x10", 5, 2100, "goaway:b" },
        { "PRIORITY_UPDATE", 16, 0, 0, "\0\0\0\1u=1", 7, 2100, "goaway:b" },
        { "WINDOW_UPDATE", 8, 0, 1, "\0\0\0\1", 4, 2100, "goaway:b" },
        { "frames of no known type cost nothing", 200, 0, 0, "x", 1, 2100, "" },
        { "200 PINGs are no flood", 6, 0, 0, "12345678", 8, 200, "" },
        { "500 resets are no flood", 3, 0, 3, "\0\0\0\x08", 4, 500, "" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        run_flood(&rows[i]);
}

static void a_frame_that_breaks_the_protocol_ends_the_connection_or_the_stream(void **state)
{
    static const struct flood rows[] = {
        { "DATA on stream 0", 0, 0, 0, "x", 1, 1, "goaway:1" },
        { "HEADERS on stream 0", 1, 5, 0, "\x82", 1, 1, "goaway:1" },
        { "HEADERS on an even stream", 1, 5, 2, "\x82", 1, 1, "goaway:1" },
        { "RST_STREAM on stream 0", 3, 0, 0, "\0\0\0\x08", 4, 1, "goaway:1" },
        { "RST_STREAM of an idle stream", 3, 0, 9, "\0\0\0\x08", 4, 1, "goaway:1" },
        { "RST_STREAM of 3 bytes", 3, 0, 1, "\0\0\0", 3, 1, "goaway:6" },
        { "PING of 7 bytes", 6, 0, 0, "1234567", 7, 1, "goaway:6" },
        { "PING on a stream", 6, 0, 1, "12345678", 8, 1, "goaway:1" },
        { "SETTINGS on a stream", 4, 0, 1, "", 0, 1, "goaway:1" },
        { "SETTINGS of 5 bytes", 4, 0, 0, "\0\1\0\0\0", 5, 1, "goaway:6" },
        { "SETTINGS ACK with a payload", 4, 1, 0, "\0\1\0\0\0\0", 6, 1, "goaway:6" },
        { "ENABLE_PUSH 2", 4, 0, 0, "\0\2\0\0\0\2", 6, 1, "goaway:1" },
        { "INITIAL_WINDOW_SIZE over 2^31-1", 4, 0, 0, "\0\4\x80\0\0\0", 6, 1, "goaway:3" },
        { "MAX_FRAME_SIZE below 16384", 4, 0, 0, "\0\5\0\0\0\1", 6, 1, "goaway:1" },
        { "GOAWAY on a stream", 7, 0, 1, "\0\0\0\0\0\0\0\0", 8, 1, "goaway:1" },
        { "WINDOW_UPDATE of 0 on the connection", 8, 0, 0, "\0\0\0\0", 4, 1, "goaway:1" },
        { "WINDOW_UPDATE of 0 on a stream", 8, 0, 1, "\0\0\0\0", 4, 1, "goaway:1" },
        { "WINDOW_UPDATE over 2^31-1", 8, 0, 0, "\x7f\xff\xff\xff", 4, 2, "goaway:3" },
        { "WINDOW_UPDATE over 2^31-1 on a stream", 8, 0, 1, "\x7f\xff\xff\xff", 4, 1, "rst:3" },
        { "WINDOW_UPDATE of an idle stream", 8, 0, 9, "\0\0\0\1", 4, 1, "goaway:1" },
        { "PUSH_PROMISE from a client", 5, 4, 1, "\0\0\0\2\x82", 5, 1, "goaway:1" },
        { "CONTINUATION without HEADERS", 9, 4, 1, "\x82", 1, 1, "goaway:1" },
        { "DATA with more padding than frame", 0, 8, 1, "\5x", 2, 1, "goaway:1" },
        { "DATA of an idle stream", 0, 0, 9, "x", 1, 1, "goaway:1" },
        { "PRIORITY of 4 bytes", 2, 0, 1, "\0\0\0\0", 4, 1, "goaway:6" },
        { "an index beyond the tables", 1, 5, 5, "\xff\x7f", 2, 1, "goaway:9" },
        { "index 0", 1, 5, 5, "\x80", 1, 1, "goaway:9" },
        { "a table size over the limit", 1, 5, 5, "\x3f\xe2\x7f", 3, 1, "goaway:9" },
        { "a string that does not end", 1, 5, 5, "\0\x7f\x10", 3, 1, "goaway:9" },
        { "Huffman with EOS", 1, 5, 5, "\0\x84\xff\xff\xff\xff\1x", 8, 1, "goaway:9" },
        { "trailers with a pseudo-field", 1, 5, 1, "\x82", 1, 1, "rst:1" },
        { "trailers that do not end the stream", 1, 4, 1, "\0\1a\1b", 5, 1, "rst:1" },
        { "a frame of no known type", 200, 0, 0, "x", 1, 1, "" },
        { "a setting of no known name", 4, 0, 0, "\x7f\0\0\0\0\1", 6, 1, "" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        run_flood(&rows[i]);
}

static void a_preface_that_is_none_is_refused(void **state)
{
    static const char *const rows[] = { "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" };
    struct buf out;
    char text[64];
    (void)state;
    buf_init(&out, 1 << 16);
    for (size_t i = 0; i < 2; i++) {
        peer_down(&server);
        peer_up(&server, H2_SERVER, &budget);
        peer_feed(&server, slice_str(rows[i]), &out);
        assert_int_equal(server.failed, -EPROTO);
        assert_string_equal(frames_say(buf_slice(&out), text, sizeof text), "goaway:1");
    }
    buf_done(&out);
}

/* One field of 4000 bytes in the table, then one byte for each time that it is meant (RFC 7541 §6.1). */
static void a_head_that_unpacks_to_much_more_ends_the_connection(void **state)
{
    struct buf bytes, block, out;
    static char big[4000];
    char text[64];
    (void)state;
    buf_init(&bytes, 1 << 20);
    buf_init(&block, 1 << 20);
    buf_init(&out, 1 << 20);
    memset(big, 'x', sizeof big);
    static const char *const fields[][2] = { GET };
    for (size_t i = 0; i < 4; i++)
        frame_field(&block, slice_str(fields[i][0]), slice_str(fields[i][1]));
    size_t at = block.len;
    frame_field(&block, SLICE("a"), slice_of(big, sizeof big));
    block.data[block.start + at] = 0x40; /* with indexing */
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(buf_add(&block, slice_of("\xbe", 1)), 0);
    frame_preface(&bytes);
    frame_add(&bytes, 1, 5, 1, buf_slice(&block));
    peer_down(&server);
    peer_up(&server, H2_SERVER, &budget);
    peer_feed(&server, buf_slice(&bytes), &out);
    assert_string_equal(frames_say(buf_slice(&out), text, sizeof text), "goaway:b");
    assert_string_equal(server.opened, "");
    buf_done(&bytes);
    buf_done(&block);
    buf_done(&out);
}

static void endless_continuations_end_the_connection(void **state)
{
    struct buf bytes, out;
    char text[64];
    (void)state;
    buf_init(&bytes, 1 << 20);
    buf_init(&out, 1 << 20);
    frame_preface(&bytes);
    frame_add(&bytes, 1, 1, 1, slice_of("\x82", 1));
    for (size_t i = 0; i < 3000; i++)
        frame_add(&bytes, 9, 0, 1, slice_of("\0\1a\1b", 5));
    peer_down(&server);
    peer_up(&server, H2_SERVER, &budget);
    peer_feed(&server, buf_slice(&bytes), &out);
    assert_int_equal(server.failed, -EPROTO);
    assert_non_null(strstr(frames_say(buf_slice(&out), text, sizeof text), "goaway:"));
    assert_string_equal(server.opened, "");
    buf_done(&bytes);
    buf_done(&out);
}

#define PAIR(test) cmocka_unit_test_setup_teardown(test, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PAIR(a_request_and_its_answer_cross_unchanged),
        PAIR(the_model_of_a_head_is_that_of_http_1_1),
        PAIR(an_answer_without_a_body_ends_with_its_head),
        PAIR(a_length_is_kept_to),
        PAIR(who_does_not_want_data_gives_no_credit),
        PAIR(one_stream_that_stalls_holds_up_no_other),
        PAIR(over_the_budget_nobody_gets_credit_until_it_falls),
        PAIR(what_is_over_and_not_taken_is_reset_in_the_end),
        PAIR(a_reset_arrives_with_its_code),
        PAIR(an_early_answer_ends_the_upload_without_an_error),
        PAIR(half_an_answer_ends_by_a_reset),
        PAIR(what_was_given_goes_out_before_the_reset),
        PAIR(a_connection_that_is_lost_ends_each_stream),
        PAIR(after_goaway_no_stream_is_opened),
        PAIR(a_stream_may_be_let_go_inside_each_of_its_events),
        PAIR(more_streams_than_the_peer_allows_wait_their_turn),
        PAIR(each_request_gets_the_answer_of_rfc_9113),
        PAIR(a_head_has_caps),
        PAIR(a_flood_of_frames_ends_the_connection),
        PAIR(a_frame_that_breaks_the_protocol_ends_the_connection_or_the_stream),
        PAIR(a_preface_that_is_none_is_refused),
        PAIR(a_head_that_unpacks_to_much_more_ends_the_connection),
        PAIR(endless_continuations_end_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
