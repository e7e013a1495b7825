/* links: tests/fakes/tls_world.c */
#include "tests/fakes/tls_world.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "net/stream_private.h"
#include "net/tls/tls_private.h"

#define HOST "api.example.test"
#define PAIRS 70 /* more than one chunk of boxes */

static struct end server, client;
static struct tls_leaf *leaf;

static int up(void **state)
{
    world_up(state);
    leaf = world_leaf((struct cert_spec){ .cn = HOST, .san = "DNS:" HOST });
    return 0;
}

static int down(void **state)
{
    tls_leaf_free(leaf);
    return world_down(state);
}

static int part(void **state)
{
    (void)state;
    end_done(&server);
    end_done(&client);
    SSL_CTX_set_max_proto_version(world_server->ctx, 0);
    return 0;
}

static void secure(struct end *s, struct end *c)
{
    ends_meet(s, c);
    ends_secure(s, c, leaf, HOST, HOST, false);
    RUN_UNTIL(s->events[STREAM_SECURED] && c->events[STREAM_SECURED]);
    turns(3); /* tickets */
}

static size_t stored(const struct end *e)
{
    return tls_cold_bytes(e->s->tls->box);
}

/* Whether the page of the SSL object takes memory. */
static bool resident(const struct end *e)
{
    unsigned char vec = 0;
    uintptr_t page = (uintptr_t)e->s->tls->ssl & ~(uintptr_t)(sysconf(_SC_PAGESIZE) - 1);
    assert_int_equal(mincore((void *)page, 1, &vec), 0);
    return vec & 1;
}

static void say(struct end *from, struct end *to, const char *text)
{
    memset(to->in, 0, sizeof to->in);
    to->in_len = 0;
    end_write(from, text);
    RUN_UNTIL(to->in_len >= strlen(text));
    assert_string_equal(end_text(to), text);
}

static void a_parked_connection_takes_no_page_and_wakes_whole(void **state)
{
    (void)state;
    const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    for (size_t v = 0; v < 2; v++) {
        part(NULL);
        SSL_CTX_set_max_proto_version(world_server->ctx, versions[v]);
        secure(&server, &client);
        for (int i = 0; i < 50; i++) {
            char text[64];
            stream_park(server.s);
            stream_park(client.s);
            stream_park(client.s); /* twice is once */
            assert_in_range(stored(&server), 500, 5000);
            assert_in_range(stored(&client), 500, 5000);
            assert_false(resident(&server) || resident(&client));
            snprintf(text, sizeof text, "request %d", i);
            say(i % 2 ? &server : &client, i % 2 ? &client : &server, text);
            assert_int_equal(stored(&server) + stored(&client), 0);
            assert_true(resident(&server) && resident(&client));
            if (i % 3)
                say(i % 2 ? &client : &server, i % 2 ? &server : &client, "and back");
        }
    }
}

static void many_are_put_away_and_none_takes_the_others_place(void **state)
{
    (void)state;
    static struct end servers[PAIRS], clients[PAIRS];
    char text[64];
    for (int round = 0; round < 2; round++) { /* the second time in boxes that were given back */
        for (int i = 0; i < PAIRS; i++)
            secure(&servers[i], &clients[i]);
        for (int i = 0; i < PAIRS; i++) {
            stream_park(servers[i].s);
            stream_park(clients[i].s);
            assert_true(stored(&servers[i]) > 0 && stored(&clients[i]) > 0);
        }
        for (int i = PAIRS; i-- > 0;) {
            snprintf(text, sizeof text, "I am %d", i);
            say(&clients[i], &servers[i], text);
            if (i % 2)
                end_done(&servers[i]); /* some end warm, some cold */
        }
        for (int i = 0; i < PAIRS; i++) {
            end_done(&servers[i]);
            end_done(&clients[i]);
        }
    }
}

static void what_waits_inside_keeps_it_warm(void **state)
{
    (void)state;
    secure(&server, &client);
    server.hands_off = true;
    end_write(&client, "not read yet");
    RUN_UNTIL(server.events[STREAM_READABLE]);
    stream_park(server.s);
    assert_int_equal(stored(&server), 0);
    server.hands_off = false;
    RUN_UNTIL(server.in_len);
    assert_string_equal(end_text(&server), "not read yet");
    stream_park(server.s);
    assert_true(stored(&server) > 0);
}

static void a_handshake_is_not_put_away(void **state)
{
    (void)state;
    ends_meet(&server, &client);
    ends_secure(&server, &client, leaf, HOST, HOST, false);
    int step = 0;
    for (; step < 1000 && !(server.events[STREAM_SECURED] && client.events[STREAM_SECURED]); step++) {
        stream_park(server.s);
        stream_park(client.s);
        assert_true(server.events[STREAM_SECURED] || stored(&server) == 0);
        assert_true(client.events[STREAM_SECURED] || stored(&client) == 0);
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
        secure(&server, &client);
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
    assert_int_equal(stream_accept_tls(server.s, world_server, leaf, HOST, true, slice_of(NULL, 0)), 0);
    SSL *peer = raw_peer(fd, false, ctx);
    assert_true(raw_handshake(peer));
    turns(3);
    for (int i = 0; i < 5; i++) {
        char answer[8] = "";
        stream_park(server.s);
        assert_true(stored(&server) > 0);
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

/* An allocation of OpenSSL's that has the size of a boxed one, but is none of the connection's. */
static void *stranger_in(struct tls_box *box, const void *near)
{
    void *found = NULL;
    tls_cold_enter(box);
    for (size_t size = 2048; !found && size < 16384; size++) {
        unsigned char *p = OPENSSL_malloc(size);
        /* the heap is far away */
        if (p > (const unsigned char *)near - (64 << 20) && p < (const unsigned char *)near + (64 << 20))
            found = p;
        else
            OPENSSL_free(p);
    }
    tls_cold_leave();
    return found;
}

static void what_the_connection_does_not_own_is_never_put_away(void **state)
{
    (void)state;
    secure(&server, &client);
    SSL *ssl = server.s->tls->ssl;
    unsigned char *stranger = stranger_in(server.s->tls->box, ssl);
    if (stranger) { /* else all places are taken (OpenSSL 3.0) */
        memset(stranger, 'x', 2048);
        stream_park(server.s);
        assert_int_equal(stored(&server), 0);
        stranger = OPENSSL_realloc(stranger, 100);
        assert_memory_equal(stranger, "xxxxxxxx", 8);
        OPENSSL_free(stranger);
    }
    struct tls_box *other = tls_cold_new();
    assert_non_null(stranger = stranger_in(other, ssl));
    memset(stranger, 'y', 2048);
    tls_cold_put_away(other, ssl);
    assert_int_equal(tls_cold_bytes(other), 0);
    tls_cold_free(other); /* too early: its place may not be used again */
    assert_ptr_not_equal(tls_cold_new(), other);
    assert_memory_equal(stranger, "yyyyyyyy", 8);
    OPENSSL_free(stranger);
    stream_park(server.s);
    assert_true(stored(&server) > 0);
    say(&client, &server, "still whole");
}

static void sessions_that_come_late_find_their_cache(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        part(NULL);
        secure(&server, &client);
        assert_true(i == 0 || SSL_session_reused(client.s->tls->ssl));
        stream_park(client.s);
        say(&server, &client, "awake");
    }
}

#define TEST(name) cmocka_unit_test_teardown(name, part)
int main(void)
{
    if (sysconf(_SC_PAGESIZE) != 4096)
        return 0; /* nothing is ever put away here */
    tls_cold_init();
    const struct CMUnitTest tests[] = {
        TEST(a_parked_connection_takes_no_page_and_wakes_whole),
        TEST(many_are_put_away_and_none_takes_the_others_place),
        TEST(what_waits_inside_keeps_it_warm),
        TEST(a_handshake_is_not_put_away),
        TEST(a_parked_connection_ends_as_any_other),
        TEST(keys_may_change_between_two_rests),
        TEST(what_the_connection_does_not_own_is_never_put_away),
        TEST(sessions_that_come_late_find_their_cache),
    };
    return cmocka_run_group_tests(tests, up, down);
}
