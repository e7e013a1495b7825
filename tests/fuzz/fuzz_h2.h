/* What both h2 fuzzers do: an end of the codec whose peer is the input.  Its first byte chooses the cuts and what the
 * owner of a stream does, the rest is what the peer says behind its preface. */
#ifndef TESTS_FUZZ_FUZZ_H2_H
#define TESTS_FUZZ_FUZZ_H2_H

#include <stdlib.h>
#include <string.h>

#include "tests/fakes/h2_peers.h"

static inline void demand(bool holds)
{
    if (!holds)
        abort();
}

static inline void fuzz_answer(struct peer_stream *ps, struct message *head)
{
    struct message m;
    demand(head->http2 && !slice_eq(message_get(head, SLICE("connection"), NULL), SLICE("close")));
    message_init(&m);
    demand(message_start_response(&m, 200, SLICE("")) == 0 && message_add(&m, SLICE("X"), SLICE("y")) == 0);
    m.framing = FRAMING_CHUNKED;
    demand(h2_stream_head(ps->s, &m, false) == 0);
    demand(h2_stream_data(ps->s, SLICE("hello")) == 0);
    if (ps->peer->count % 2)
        demand(h2_stream_end(ps->s, &m) == 0);
    message_done(&m);
}

/* Feeds everything; whatever came, nothing is held at the end. */
static inline void fuzz_feed(struct peer *p, struct slice in, size_t step)
{
    while (in.len && !p->failed && !h2_over(p->h)) {
        size_t take = step < in.len ? step : in.len;
        peer_feed(p, slice_of(in.ptr, take), NULL);
        h2_run(p->h);
        demand(p->budget->used <= p->budget->max + 5 * 1024 * 1024);
        for (size_t i = 0; i < p->count; i++)
            if (p->streams[i].s && i % 3 == 0)
                h2_stream_want(p->streams[i].s, true);
        in = slice_skip(in, take);
    }
    h2_lost(p->h);
    peer_down(p);
    demand(p->budget->used == 0 && list_empty(&p->budget->owing));
}

#endif
