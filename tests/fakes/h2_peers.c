#include "tests/fakes/h2_peers.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void note(struct peer_stream *ps, const char *format, ...)
{
    size_t len = strlen(ps->heard);
    va_list args;
    va_start(args, format);
    vsnprintf(ps->heard + len, sizeof ps->heard - len, format, args);
    va_end(args);
}

static void maybe_free(struct peer_stream *ps, char event)
{
    if (ps->free_at != event || !ps->s)
        return;
    h2_stream_free(ps->s, H2_CANCEL);
    ps->s = NULL;
}

static void on_head(void *owner, struct message *m)
{
    struct peer_stream *ps = owner;
    ps->head = m;
    note(ps, "head %d; ", m->status);
    maybe_free(ps, 'h');
}

static void on_data(void *owner, struct slice data)
{
    struct peer_stream *ps = owner;
    ps->bytes += data.len;
    maybe_free(ps, 'd');
}

static void on_end(void *owner, struct message *trailers)
{
    struct peer_stream *ps = owner;
    note(ps, "data %zu; end", ps->bytes);
    for (size_t i = 0; trailers && i < trailers->field_count; i++) {
        struct slice name = message_name_at(trailers, i), value = message_value_at(trailers, i);
        note(ps, " %.*s=%.*s", (int)name.len, name.ptr, (int)value.len, value.ptr);
    }
    note(ps, "; ");
    maybe_free(ps, 'e');
}

static void on_space(void *owner)
{
    note(owner, "space; ");
}

static void on_gone(void *owner, const struct h2_gone *why)
{
    struct peer_stream *ps = owner;
    note(ps, "gone %x%s%s; ", (unsigned)why->code, why->connection ? " connection" : "",
         why->unprocessed ? " unprocessed" : "");
    h2_stream_free(ps->s, H2_CANCEL);
    ps->s = NULL;
}

static const struct h2_stream_events stream_events = { on_head, on_data, on_end, on_space, on_gone };

static struct peer_stream *next(struct peer *p)
{
    assert(p->count < PEER_STREAMS);
    struct peer_stream *ps = &p->streams[p->count++];
    *ps = (struct peer_stream){ .peer = p, .wants = !p->lazy, .free_at = p->free_at };
    return ps;
}

static void on_opened(void *owner, struct h2_stream *s, struct message *head, int status, const char *reason)
{
    struct peer *p = owner;
    if (p->count == PEER_STREAMS)
        p->count = 0; /* floods are not looked into */
    struct peer_stream *ps = next(p);
    struct slice method = message_method(head), target = message_target(head);
    snprintf(p->opened, sizeof p->opened, reason ? "%d %s" : "%d", status, reason);
    ps->s = s;
    ps->head = head;
    note(ps, "head %.*s %.*s; ", (int)method.len, method.ptr, (int)target.len, target.ptr);
    h2_stream_own(s, &stream_events, ps);
    h2_stream_want(s, ps->wants);
    if (p->on_open)
        p->on_open(ps, head);
    maybe_free(ps, 'h');
}

static void on_ready(void *owner)
{
    (void)owner;
}

static void on_settled(void *owner)
{
    ((struct peer *)owner)->settled = true;
}

static void on_leaving(void *owner)
{
    ((struct peer *)owner)->leaving = true;
}

static const struct h2_events events = { on_opened, on_ready, on_settled, on_leaving };

void peer_up(struct peer *p, enum h2_role role, struct h2_budget *budget)
{
    *p = (struct peer){ .budget = budget };
    p->h = h2_new(&(struct h2_options){ role, budget, 200, 16 * 1024 }, &events, p);
    assert(p->h);
}

void peer_down(struct peer *p)
{
    h2_free(p->h);
}

struct peer_stream *peer_stream_new(struct peer *p)
{
    struct peer_stream *ps = next(p);
    ps->s = h2_stream_new(p->h, &stream_events, ps);
    assert(ps->s);
    h2_stream_want(ps->s, ps->wants);
    return ps;
}

static size_t carry(struct peer *from, struct peer *to)
{
    struct buf bytes;
    buf_init(&bytes, 128 * 1024);
    int failed = h2_pull(from->h, &bytes, 64 * 1024);
    assert(!failed);
    size_t len = bytes.len;
    if (len)
        to->failed = h2_feed(to->h, buf_slice(&bytes), 1000);
    h2_run(from->h);
    buf_done(&bytes);
    return len;
}

void peers_talk(struct peer *a, struct peer *b)
{
    for (;;) {
        h2_run(a->h);
        h2_run(b->h);
        size_t there = carry(a, b), back = carry(b, a);
        if (!there && !back)
            return;
    }
}

void peer_feed(struct peer *p, struct slice bytes, struct buf *out)
{
    struct buf thrown;
    buf_init(&thrown, 1 << 20);
    p->failed = h2_feed(p->h, bytes, 1000);
    if (out)
        buf_clear(out);
    int failed = h2_pull(p->h, out ? out : &thrown, 512 * 1024);
    assert(!failed);
    buf_done(&thrown);
}

/* --- frames --- */

static void put(struct buf *to, const void *bytes, size_t len)
{
    int failed = buf_add(to, slice_of(bytes, len));
    assert(!failed);
}

void frame_add(struct buf *to, unsigned type, unsigned flags, uint32_t stream, struct slice payload)
{
    const unsigned char head[9] = { (unsigned char)(payload.len >> 16),
                                    (unsigned char)(payload.len >> 8),
                                    (unsigned char)payload.len,
                                    (unsigned char)type,
                                    (unsigned char)flags,
                                    (unsigned char)(stream >> 24),
                                    (unsigned char)(stream >> 16),
                                    (unsigned char)(stream >> 8),
                                    (unsigned char)stream };
    put(to, head, sizeof head);
    put(to, payload.ptr, payload.len);
}

/* RFC 7541 §5.1, a prefix of 7 bits. */
static void put_length(struct buf *to, size_t len)
{
    unsigned char byte = (unsigned char)(len < 127 ? len : 127);
    put(to, &byte, 1);
    if (len < 127)
        return;
    for (len -= 127; len >= 128; len >>= 7) {
        byte = (unsigned char)(len % 128 + 128);
        put(to, &byte, 1);
    }
    byte = (unsigned char)len;
    put(to, &byte, 1);
}

void frame_field(struct buf *to, struct slice name, struct slice value)
{
    put(to, "", 1);
    put_length(to, name.len);
    put(to, name.ptr, name.len);
    put_length(to, value.len);
    put(to, value.ptr, value.len);
}

void frame_preface(struct buf *to)
{
    static const char magic[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    put(to, magic, sizeof magic - 1);
    frame_add(to, 4, 0, 0, SLICE(""));
}

static unsigned number(const unsigned char *p)
{
    return (unsigned)p[0] << 24 | (unsigned)p[1] << 16 | (unsigned)p[2] << 8 | p[3];
}

const char *frames_say(struct slice bytes, char *text, size_t size)
{
    const unsigned char *p = (const unsigned char *)bytes.ptr;
    size_t used = 0;
    text[0] = '\0';
    while (bytes.len >= 9) {
        size_t len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        const char *end = (p[4] & 1) && p[3] <= 1 ? "+es" : "";
        char word[48] = "";
        if (p[3] == 0)
            snprintf(word, sizeof word, "data:%zu%s", len, end);
        else if (p[3] == 1)
            snprintf(word, sizeof word, "headers%s", end);
        else if (p[3] == 3)
            snprintf(word, sizeof word, "rst:%x", number(p + 9));
        else if (p[3] == 7)
            snprintf(word, sizeof word, "goaway:%x", number(p + 13));
        if (word[0] && used < size)
            used += (size_t)snprintf(text + used, size - used, used ? " %s" : "%s", word);
        bytes = slice_skip(bytes, 9 + len);
        p = (const unsigned char *)bytes.ptr;
    }
    return text;
}
