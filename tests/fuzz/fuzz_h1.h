/* The properties that both h1 fuzzers demand: the first byte of the input chooses the cuts, the rest is the stream. */
#ifndef TESTS_FUZZ_FUZZ_H1_H
#define TESTS_FUZZ_FUZZ_H1_H

#include "http/rules.h"
#include "tests/fuzz/h1_transcript.h"

static inline void demand(bool holds)
{
    if (!holds)
        abort();
}

/* However the bytes are cut, the parser says the same. */
static inline void fuzz_cuts(enum h1_role role, const char *answers, struct slice bytes, size_t step)
{
    struct buf whole = transcript_of(role, answers, bytes, 0);
    struct buf cut = transcript_of(role, answers, bytes, 1 + step % 17);
    struct buf single = transcript_of(role, answers, bytes, 1);
    demand(slice_eq(buf_slice(&whole), buf_slice(&cut)));
    demand(slice_eq(buf_slice(&whole), buf_slice(&single)));
    buf_done(&whole);
    buf_done(&cut);
    buf_done(&single);
}

static inline bool fuzz_same_head(struct message *a, struct message *b)
{
    static const char *const anew[] = { "connection", "content-length", "transfer-encoding" };
    for (size_t i = 0; i < 3; i++) {
        message_remove(a, slice_str(anew[i]));
        message_remove(b, slice_str(anew[i]));
    }
    bool same = slice_eq(message_method(a), message_method(b)) && slice_eq(message_target(a), message_target(b))
                && a->status == b->status && slice_eq(message_slice(a, a->reason), message_slice(b, b->reason))
                && a->framing == b->framing && a->length == b->length && a->field_count == b->field_count;
    for (size_t i = 0; same && i < a->field_count; i++)
        same = slice_eq(message_name_at(a, i), message_name_at(b, i))
               && slice_eq(message_value_at(a, i), message_value_at(b, i));
    return same;
}

/* What we write for m reads as m, to the last byte and as one message. */
static inline void fuzz_written(enum h1_role role, const char *answers, struct message *m, bool head_only)
{
    struct h1 *p = h1_new(role);
    struct buf out;
    struct slice in, data;
    demand(p != NULL);
    buf_init(&out, 1 << 20);
    if (role == H1_REQUESTS && m->framing == FRAMING_NONE && !slice_eq(message_method(m), SLICE("CONNECT"))) {
        m->framing = FRAMING_LENGTH; /* some methods say so, others need not */
        m->length = 0;
    }
    demand((role == H1_REQUESTS ? h1_write_request(&out, m) : h1_write_response(&out, m, head_only)) == 0);
    if (*answers)
        h1_expect(p, slice_str(answers));
    in = buf_slice(&out);
    enum h1_event event = h1_next(p, &in, &data);
    if (event == H1_BAD
        && (strcmp(h1_reason(p), "head_too_large") == 0 || strcmp(h1_reason(p), "too_many_fields") == 0
            || strcmp(h1_reason(p), "status_line_too_long") == 0 || strcmp(h1_reason(p), "request_line_too_long") == 0))
        goto done; /* ": ", our own fields and SP may make it longer */
    demand(event == H1_HEAD && in.len == 0);
    demand(m->keep_alive == h1_head(p)->keep_alive || m->status == 101);
    demand(fuzz_same_head(m, h1_head(p)));
done:
    buf_done(&out);
    h1_free(p);
}

#endif
