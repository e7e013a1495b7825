/* What RFC 9113 forbids and nghttp2 lets pass, or gives another code: seen by the heads of frames. */
#include <string.h>

#include "http/h2_private.h"

#define PREFACE_BYTES 24
#define HEAD_BYTES 9
#define FRAME_MAX 16384 /* SETTINGS_MAX_FRAME_SIZE of ours */

static bool wrong(struct h2_strict *t, const char *error, uint32_t code)
{
    t->error = error;
    t->code = code;
    return false;
}

void h2_strict_init(struct h2 *h)
{
    h->strict.skip = h->options.role == H2_SERVER ? PREFACE_BYTES : 0;
}

/* --- streams (RFC 9113 §5.1, §5.1.1) --- */

static bool has_ended(const struct h2_strict *t, int32_t id)
{
    for (size_t i = 0; i < H2_ENDED_MAX; i++)
        if (t->ended[i] == id)
            return true;
    return false;
}

static bool was_skipped(const struct h2_strict *t, int32_t id)
{
    for (size_t i = 0; i < H2_SKIPPED_MAX; i++)
        if (id >= t->skipped[i].first && id <= t->skipped[i].last)
            return true;
    return false;
}

static void note_new(struct h2_strict *t, int32_t id)
{
    if (id > t->last + 2) {
        unsigned at = t->skips++ % H2_SKIPPED_MAX;
        t->skipped[at].first = t->last + 1;
        t->skipped[at].last = id - 2;
    }
    t->last = id;
}

/* Streams that we have reset may still get what was on its way; those that the client has ended may not. */
static bool judge_stream(struct h2_strict *t, int32_t id, unsigned type, unsigned flags)
{
    bool carries = type == NGHTTP2_HEADERS || type == NGHTTP2_DATA;
    if (carries && has_ended(t, id))
        return wrong(t, "a frame for a stream that the client had ended", H2_STREAM_CLOSED);
    if (carries && was_skipped(t, id))
        return wrong(t, "a frame for a stream with a lower number than an earlier one", H2_PROTOCOL_ERROR);
    if (type == NGHTTP2_HEADERS && id > t->last)
        note_new(t, id);
    if (type == NGHTTP2_RST_STREAM || (carries && (flags & NGHTTP2_FLAG_END_STREAM)))
        t->ended[t->ends++ % H2_ENDED_MAX] = id;
    return true;
}

/* --- a frame --- */

static uint32_t number_at(const uint8_t *at)
{
    return ((uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]) & 0x7fffffff;
}

static size_t length_of(const struct h2_strict *t)
{
    return (size_t)t->head[0] << 16 | (size_t)t->head[1] << 8 | t->head[2];
}

/* RFC 9113 §4.2: bytes that the flags demand. */
static size_t least_length(unsigned type, unsigned flags)
{
    size_t padding = flags & NGHTTP2_FLAG_PADDED ? 1 : 0;
    switch (type) {
    case NGHTTP2_DATA: return padding;
    case NGHTTP2_HEADERS: return padding + (flags & NGHTTP2_FLAG_PRIORITY ? 5 : 0);
    default: return 0;
    }
}

/* What is looked at of a frame: some say in their payload whom they mean. */
static size_t needed(const struct h2_strict *t)
{
    bool says = t->head[3] == NGHTTP2_PRIORITY || t->head[3] == NGHTTP2_PRIORITY_UPDATE;
    return t->have < HEAD_BYTES || !says || length_of(t) < 4 ? HEAD_BYTES : sizeof t->head;
}

/* RFC 7540 §5.3.1, which RFC 9113 leaves out and its test suites keep; RFC 9218 §7.1. */
static bool judge_priority(struct h2_strict *t, int32_t id, unsigned type)
{
    int32_t whom = t->have > HEAD_BYTES ? (int32_t)number_at(t->head + HEAD_BYTES) : -1;
    if (type == NGHTTP2_PRIORITY && id == 0)
        return wrong(t, "PRIORITY for stream 0", H2_PROTOCOL_ERROR);
    if (type == NGHTTP2_PRIORITY && id == whom)
        return wrong(t, "a stream that depends on itself", H2_PROTOCOL_ERROR);
    if (type == NGHTTP2_PRIORITY_UPDATE && whom == 0)
        return wrong(t, "PRIORITY_UPDATE for stream 0", H2_PROTOCOL_ERROR);
    return true;
}

static bool judge_continuation(struct h2_strict *t, unsigned type, unsigned flags)
{
    t->continuations = type == NGHTTP2_CONTINUATION ? t->continuations + 1 : 0;
    if (type == NGHTTP2_HEADERS || type == NGHTTP2_CONTINUATION)
        t->in_head = !(flags & NGHTTP2_FLAG_END_HEADERS);
    return t->continuations <= H2_CONTINUATIONS_MAX
           || wrong(t, "a head of more than 8 CONTINUATION frames", H2_ENHANCE_YOUR_CALM);
}

static bool judge(struct h2 *h)
{
    struct h2_strict *t = &h->strict;
    unsigned type = t->head[3], flags = t->head[4];
    int32_t id = (int32_t)number_at(t->head + 5);
    bool inside = t->in_head;     /* the library ends what is no CONTINUATION there (RFC 9113 §6.10) */
    if (length_of(t) > FRAME_MAX) /* the library looks at all but CONTINUATION */
        return wrong(t, "a frame of more than 16 KiB", H2_FRAME_SIZE_ERROR);
    if (length_of(t) < least_length(type, flags))
        return wrong(t, "a frame that is too short for its flags", H2_FRAME_SIZE_ERROR);
    if (!judge_continuation(t, type, flags))
        return false;
    if (h->options.role == H2_CLIENT || inside)
        return true;
    return judge_priority(t, id, type) && (id % 2 == 0 || judge_stream(t, id, type, flags));
}

/* --- windows (RFC 9113 §6.9.2) --- */

void h2_strict_settings_come(struct h2 *h)
{
    h->strict.window = nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
    for (struct list *n = h->streams.next; n != &h->streams; n = n->next) {
        struct h2_stream *s = LIST_ENTRY(n, struct h2_stream, node);
        s->credit = nghttp2_session_get_stream_remote_window_size(h->session, s->id);
    }
}

bool h2_strict_settings_came(const struct h2 *h)
{
    uint32_t window = nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
    int64_t more = (int64_t)window - h->strict.window;
    for (struct list *n = h->streams.next; more > 0 && n != &h->streams; n = n->next) {
        struct h2_stream *s = LIST_ENTRY(n, struct h2_stream, node);
        bool same = s->credit == nghttp2_session_get_stream_remote_window_size(h->session, s->id);
        if (same && s->credit + more > INT32_MAX) /* the library resets the stream */
            return false;
    }
    return true;
}

/* --- all of it --- */

size_t h2_strict_scan(struct h2 *h, struct slice bytes)
{
    struct h2_strict *t = &h->strict;
    size_t at = 0, begin = 0; /* begin: of the frame, if it begins here */
    while (at < bytes.len) {
        if (t->skip) {
            size_t take = t->skip < bytes.len - at ? t->skip : bytes.len - at;
            t->skip -= take;
            at += take;
            begin = at;
            continue;
        }
        t->head[t->have++] = (uint8_t)bytes.ptr[at++];
        if (t->have < needed(t))
            continue;
        if (!judge(h))
            return begin;
        t->skip = length_of(t) - (t->have - HEAD_BYTES);
        t->have = 0;
        begin = at;
    }
    return at;
}
