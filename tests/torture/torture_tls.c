/* links: tests/fakes/tls_world.c */
/* A TLS connection between two of our own streams: it carries bytes, or an end of it says that it failed. */
#include "tests/fakes/tls_world.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/torture/torture.h"

struct side {
    struct stream *s;
    bool secured, failed;
    char in[64];
    size_t len;
};

static struct tls_leaf *leaf;

static void on_event(void *owner, enum stream_event event)
{
    struct side *e = owner;
    size_t n = 0;
    if (event == STREAM_SECURED)
        e->secured = true;
    if (event == STREAM_FAILED) {
        e->failed = true;
        CHECK(torture_struck() && *stream_error(e->s) && *stream_error_label(e->s));
    }
    if (event != STREAM_READABLE)
        return;
    switch (stream_read(e->s, e->in + e->len, sizeof e->in - e->len, &n)) {
    case STREAM_OK: e->len += n; break;
    case STREAM_AGAIN: break;
    case STREAM_EOF:
    case STREAM_ERROR: e->failed = true; stream_want_read(e->s, false);
    }
}

static bool side_init(struct side *e, int fd)
{
    *e = (struct side){ .s = stream_new(fd, on_event, e) };
    if (e->s)
        stream_want_read(e->s, true);
    else
        close(fd);
    return e->s != NULL;
}

static void talk(struct side *server, struct side *client)
{
    int failed = stream_accept_tls(server->s, world_server, leaf, "a.test", false, slice_of(NULL, 0));
    failed |= stream_connect_tls(client->s, world_client, "a.test", false, "k");
    CHECK(!failed || torture_struck());
    if (failed)
        return;
    CHECK(stream_write(client->s, SLICE("hello")) == 0 || torture_struck());
    for (int i = 0; i < 2000 && !server->failed && !client->failed && server->len < 5; i++)
        ev_run(loop_get(), EVRUN_NOWAIT);
    CHECK((server->secured && server->len == 5 && memcmp(server->in, "hello", 5) == 0)
          || (torture_struck() && (server->failed || client->failed || server->len == 0)));
}

static void connect_once(void)
{
    struct side server = { .s = NULL }, client = { .s = NULL };
    int fds[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    bool both = side_init(&server, fds[0]);
    both = side_init(&client, fds[1]) && both;
    CHECK(both || torture_struck());
    if (both)
        talk(&server, &client);
    stream_free(client.s);
    stream_free(server.s);
    for (int i = 0; i < 5; i++)
        ev_run(loop_get(), EVRUN_NOWAIT);
}

/* The first connection leaves a session behind, the second may resume it. */
static void connections_are_secured_or_fail(void)
{
    torture_pause();
    struct tls_client *shared = world_client;
    world_client = world_client_for(world_ca_file);
    torture_go_on();
    connect_once();
    connect_once();
    tls_client_free(world_client);
    world_client = shared;
}

int main(int argc, char **argv)
{
    static const struct torture list[] = { { "connections_are_secured_or_fail", connections_are_secured_or_fail } };
    torture_prepare();
    CHECK(world_up(NULL) == 0);
    leaf = world_leaf((struct cert_spec){ .cn = "a.test", .san = "DNS:a.test" });
    int status = torture_main(argc, argv, list, 1);
    tls_leaf_free(leaf);
    world_down(NULL);
    return status;
}
