/* The writing side of a leg: the framing around what the exchange gives it. */
#include <errno.h>

#include "proxy/h1_leg_private.h"

int h1_leg_write_head(struct leg *base, const struct message *m, bool head_only)
{
    struct h1_leg *l = CONTAINER_OF(base, struct h1_leg, base);
    struct buf *out = stream_out(l->stream);
    uint64_t before = stream_mark(l->stream);
    int failed = l->reads == H1_REQUESTS ? h1_write_response(out, m, head_only) : h1_write_request(out, m);
    bool interim = l->reads == H1_REQUESTS && m->status < 200 && m->status != 101;
    if (!interim) {
        l->writing = true;
        l->written_at = before;
        l->closed_before = l->close_after;
        l->out = head_only ? FRAMING_NONE : m->framing;
        l->out_left = m->framing == FRAMING_LENGTH ? m->length : 0;
        l->close_after = l->close_after || !m->keep_alive;
    }
    stream_kick(l->stream);
    return failed;
}

int h1_leg_write_data(struct leg *base, struct slice data)
{
    struct h1_leg *l = CONTAINER_OF(base, struct h1_leg, base);
    switch (l->out) {
    case FRAMING_NONE: return data.len ? -EPROTO : 0;
    case FRAMING_EOF: return stream_write(l->stream, data);
    case FRAMING_LENGTH:
        if (data.len > l->out_left)
            return -EPROTO;
        l->out_left -= data.len;
        return stream_write(l->stream, data);
    case FRAMING_CHUNKED: break;
    }
    int failed = h1_write_chunk(stream_out(l->stream), data);
    stream_kick(l->stream);
    return failed;
}

int h1_leg_write_end(struct leg *base, const struct message *trailers)
{
    struct h1_leg *l = CONTAINER_OF(base, struct h1_leg, base);
    int failed = 0;
    if (l->out == FRAMING_LENGTH && l->out_left)
        return -EPROTO;
    if (l->out == FRAMING_CHUNKED) {
        failed = h1_write_last_chunk(stream_out(l->stream), trailers);
        stream_kick(l->stream);
    }
    l->writing = false;
    return failed;
}

size_t h1_leg_write_space(struct leg *base)
{
    return stream_space(CONTAINER_OF(base, struct h1_leg, base)->stream);
}

bool h1_leg_retract(struct leg *base)
{
    struct h1_leg *l = CONTAINER_OF(base, struct h1_leg, base);
    if (l->dead || !l->writing || !stream_take_back(l->stream, l->written_at))
        return false;
    l->writing = false;
    l->close_after = l->closed_before;
    return true;
}
