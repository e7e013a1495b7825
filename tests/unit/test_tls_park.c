/* links: tests/fakes/tls_world.c */
#include "tests/fakes/tls_world.h"

#include <malloc.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/stream_private.h"
#include "net/tls/tls_private.h"

#define HOST WORLD_HOST
#define PAIRS 70

static struct end server, client;

static int part(void **state)
{
    (void)state;
    end_done(&server);
    end_done(&client);
    SSL_CTX_set_max_proto_version(world_server->ctx, 0);
    return 0;
}

static void say(struct end *from, struct end *to, const char *text)
{
    memset(to->in, 0, sizeof to->in);
    to->in_len = 0;
    end_write(from, text);
    RUN_UNTIL(to->in_len >= strlen(text));
    assert_string_equal(end_text(to), text);
}

static void a_parked_connection_wakes_whole(void **state)
{
    (void)state;
    const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    for (size_t v = 0; v < 2; v++) {
        part(NULL);
        SSL_CTX_set_max_proto_version(world_server->ctx, versions[v]);
        ends_meet_secured(&server, &client);
        for (int i = 0; i < 50; i++) {
            char text[64];
            stream_park(server.s);
            stream_park(client.s);
            stream_park(client.s); /* twice is once */
            snprintf(text, sizeof text, "request %d", i);
            say(i % 2 ? &server : &client, i % 2 ? &client : &server, text);
            if (i % 3)
                say(i % 2 ? &client : &server, i % 2 ? &server : &client, "and back");
        }
    }
}

static void many_are_parked_and_none_takes_the_others_place(void **state)
{
    (void)state;
    static struct end servers[PAIRS], clients[PAIRS];
    char text[64];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < PAIRS; i++)
            ends_meet_secured(&servers[i], &clients[i]);
        for (int i = 0; i < PAIRS; i++) {
            stream_park(servers[i].s);
            stream_park(clients[i].s);
        }
        for (int i = PAIRS; i-- > 0;) {
            snprintf(text, sizeof text, "I am %d", i);
            say(&clients[i], &servers[i], text);
            if (i % 2)
                end_done(&servers[i]); /* some end awake, some parked */
        }
        for (int i = 0; i < PAIRS; i++) {
            end_done(&servers[i]);
            end_done(&clients[i]);
        }
    }
}

static void what_waits_inside_is_not_lost(void **state)
{
    (void)state;
    ends_meet_secured(&server, &client);
    server.hands_off = true;
    end_write(&client, "not read yet");
    RUN_UNTIL(server.events[STREAM_READABLE]);
    stream_park(server.s);
    server.hands_off = false;
    RUN_UNTIL(server.in_len);
    assert_string_equal(end_text(&server), "not read yet");
}

static void a_handshake_that_is_parked_goes_on(void **state)
{
    (void)state;
    ends_meet(&server, &client);
    ends_secure(&server, &client, world_host_leaf, HOST, HOST, false);
    int step = 0;
    for (; step < 1000 && !(server.events[STREAM_SECURED] && client.events[STREAM_SECURED]); step++) {
        stream_park(server.s);
        stream_park(client.s);
        turns(1);
    }
    assert_in_range(step, 1, 999);
    say(&client, &server, "hello");
}

static void a_parked_connection_ends_as_any_other(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        part(NULL);
        ends_meet_secured(&server, &client);
        stream_park(server.s);
        stream_park(client.s);
        if (way == 0)
            stream_finish(client.s);
        else if (way == 1)
            end_done(&client);
        else {
            stream_abort(client.s);
            client.s = NULL;
        }
        RUN_UNTIL(server.eof || server.events[STREAM_FAILED]);
        assert_int_equal(server.eof, way < 2); /* close_notify, or the reset */
    }
}

static void keys_may_change_between_two_rests(void **state)
{
    (void)state;
    int fd;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    end_meet_fd(&server, &fd);
    assert_int_equal(stream_accept_tls(server.s, world_server, world_host_leaf, HOST, true, slice_of(NULL, 0)), 0);
    SSL *peer = raw_peer(fd, false, ctx);
    assert_true(raw_handshake(peer));
    turns(3);
    for (int i = 0; i < 5; i++) {
        char answer[8] = "";
        stream_park(server.s);
        assert_int_equal(SSL_key_update(peer, SSL_KEY_UPDATE_REQUESTED), 1);
        server.in_len = 0;
        assert_int_equal(SSL_write(peer, "ping", 4), 4);
        RUN_UNTIL(server.in_len == 4);
        end_write(&server, "pong");
        turns(3);
        assert_int_equal(SSL_read(peer, answer, sizeof answer), 4);
        assert_string_equal(answer, "pong");
    }
    SSL_free(peer);
    SSL_CTX_free(ctx);
    close(fd);
}

static void a_parked_connection_keeps_its_session_for_the_next(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        part(NULL);
        ends_meet_secured(&server, &client);
        assert_true(i == 0 || SSL_session_reused(client.s->tls->ssl));
        stream_park(client.s);
        say(&server, &client, "awake");
    }
}

/* --- what peers send, of every size --- */

#define LARGEST 8192

/* An upstream whose certificate and tickets have about so many bytes. */
static SSL_CTX *peer_of_size(size_t size)
{
    char san[LARGEST + 256] = "DNS:" HOST;
    for (size_t n = strlen(san); n + 64 < size; n = strlen(san))
        snprintf(san + n, sizeof san - n, ",DNS:a-name-that-makes-it-longer-%08zu.example.test", n);
    struct cert c = cert_make((struct cert_spec){ .cn = HOST, .san = san, .by = &world_ca });
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(ctx, c.x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, c.key), 1);
    cert_done(&c);
    return ctx;
}

static int fill_ticket(SSL *ssl, void *arg)
{
    static const unsigned char filler[LARGEST];
    return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), filler, *(size_t *)arg);
}

static void one_connection(SSL_CTX *ctx)
{
    int fd;
    end_meet_fd(&client, &fd);
    assert_int_equal(stream_connect_tls(client.s, world_client, HOST, false, "sizes"), 0);
    SSL *peer = raw_peer(fd, true, ctx);
    assert_true(raw_handshake(peer));
    RUN_UNTIL(client.events[STREAM_SECURED]);
    turns(3);
    stream_park(client.s);
    assert_int_equal(SSL_write(peer, "hello", 5), 5);
    RUN_UNTIL(client.in_len == 5);
    SSL_free(peer);
    close(fd);
    end_done(&client);
}

/* Twice the same connections: what the first ones leave behind (caches) is all that there ever is. */
static void certificates_and_tickets_of_every_size_leave_nothing_behind(void **state)
{
    (void)state;
    for (size_t size = 256; size < LARGEST; size += 53) {
        size_t held[2];
        SSL_CTX *ctx = peer_of_size(size);
        SSL_CTX_set_session_ticket_cb(ctx, fill_ticket, NULL, &size);
        for (int round = 0; round < 2; round++) {
            for (int i = 0; i < 4; i++)
                one_connection(ctx);
            held[round] = mallinfo2().uordblks; /* 0 under AddressSanitizer, which finds leaks by itself */
        }
        SSL_CTX_free(ctx);
        if (held[1] > held[0] + 1024)
            fail_msg("certificate and ticket of %zu bytes: %zu bytes more after four connections", size,
                     held[1] - held[0]);
    }
}

#define TEST(name) cmocka_unit_test_teardown(name, part)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_parked_connection_wakes_whole),
        TEST(many_are_parked_and_none_takes_the_others_place),
        TEST(what_waits_inside_is_not_lost),
        TEST(a_handshake_that_is_parked_goes_on),
        TEST(a_parked_connection_ends_as_any_other),
        TEST(keys_may_change_between_two_rests),
        TEST(a_parked_connection_keeps_its_session_for_the_next),
        TEST(certificates_and_tickets_of_every_size_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, world_host_up, world_host_down);
}
