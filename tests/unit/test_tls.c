/* links: tests/fakes/tls_world.c */
#include "tests/fakes/tls_world.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/tls_private.h"

#define HOST "api.example.test"

static struct end server, client;

static void part(void)
{
    end_done(&server);
    end_done(&client);
}

static bool both_secured(void)
{
    return server.events[STREAM_SECURED] && client.events[STREAM_SECURED];
}

static void a_handshake_completes_and_bytes_go_both_ways(void **state)
{
    (void)state;
    struct tls_leaf *leaf = world_leaf((struct cert_spec){ .cn = HOST, .san = "DNS:" HOST });
    ends_meet(&server, &client);
    ends_secure(&server, &client, leaf, HOST, HOST, false);
    tls_leaf_free(leaf);
    end_write(&client, "ping");
    end_write(&server, "pong");
    RUN_UNTIL(both_secured() && server.in_len && client.in_len);
    assert_string_equal(end_text(&server), "ping");
    assert_string_equal(end_text(&client), "pong");
    part();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handshake_completes_and_bytes_go_both_ways),
    };
    return cmocka_run_group_tests(tests, world_up, world_down);
}
