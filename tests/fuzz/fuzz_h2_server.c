/* links: tests/fakes/h2_peers.c */
/* Whatever a client says: streams are answered, let go inside events, held back, and nothing stays behind. */
#include "tests/fuzz/fuzz_h2.h"

static struct peer server;

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct h2_budget budget;
    struct buf preface;
    if (size == 0)
        return 0;
    h2_budget_init(&budget, 64 * 1024);
    peer_up(&server, H2_SERVER, &budget);
    server.on_open = fuzz_answer;
    server.lazy = bytes[0] & 1;
    server.free_at = "\0hde"[bytes[0] >> 1 & 3];
    buf_init(&preface, 1024);
    frame_preface(&preface);
    peer_feed(&server, buf_slice(&preface), NULL);
    buf_done(&preface);
    fuzz_feed(&server, slice_of(bytes + 1, size - 1), 1 + (bytes[0] >> 3) * 37u);
    return 0;
}
