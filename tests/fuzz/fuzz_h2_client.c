/* links: tests/fakes/h2_peers.c */
/* Whatever an upstream says to four requests: heads, data and ends come in order, or the stream is gone. */
#include "tests/fuzz/fuzz_h2.h"

static struct peer client;

static void ask(struct peer_stream *ps, const char *method, enum framing framing)
{
    struct message m;
    message_init(&m);
    demand(message_start_request(&m, slice_str(method), SLICE("/")) == 0);
    demand(message_add(&m, SLICE("host"), SLICE("h")) == 0);
    m.framing = framing;
    demand(h2_stream_head(ps->s, &m, false) == 0);
    message_done(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct h2_budget budget;
    struct buf preface;
    if (size == 0)
        return 0;
    h2_budget_init(&budget, 64 * 1024);
    peer_up(&client, H2_CLIENT, &budget);
    client.lazy = bytes[0] & 1;
    client.free_at = "\0hde"[bytes[0] >> 1 & 3];
    buf_init(&preface, 1024);
    frame_add(&preface, 4, 0, 0, SLICE(""));
    peer_feed(&client, buf_slice(&preface), NULL);
    buf_done(&preface);
    demand(client.settled);
    ask(peer_stream_new(&client), "GET", FRAMING_NONE);
    ask(peer_stream_new(&client), "HEAD", FRAMING_NONE);
    ask(peer_stream_new(&client), "POST", FRAMING_CHUNKED);
    ask(peer_stream_new(&client), "GET", FRAMING_NONE);
    fuzz_feed(&client, slice_of(bytes + 1, size - 1), 1 + (bytes[0] >> 3) * 37u);
    for (size_t i = 0; i < client.count; i++)
        demand(!strstr(client.streams[i].heard, "end; head") && !strstr(client.streams[i].heard, "end; gone"));
    return 0;
}
