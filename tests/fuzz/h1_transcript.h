/* What an h1 parser says about some bytes, as one line of text: the same text is demanded however the bytes are cut.
 *   GET /a 1.1 length=3 close expect upgrade {Host: x} "abc" end
 *   bad 400 bare_lf          cut (h1_eof() found the message incomplete)          eof-end (it ended with the
 * connection) */
#ifndef TESTS_FUZZ_H1_TRANSCRIPT_H
#define TESTS_FUZZ_H1_TRANSCRIPT_H

#include <stdio.h>
#include <stdlib.h>

#include "http/h1.h"

struct transcript {
    struct buf text;
    bool in_data;  /* runs of body bytes are written as one */
    bool over;     /* BAD */
    bool upgraded; /* the rest is another protocol's */
};

static inline void say(struct transcript *t, struct slice text)
{
    if (buf_add(&t->text, text) != 0)
        abort();
}

static inline void say_str(struct transcript *t, const char *text)
{
    say(t, slice_str(text));
}

static inline void say_word(struct transcript *t, const char *word)
{
    if (t->in_data)
        say_str(t, "\"");
    t->in_data = false;
    if (t->text.len)
        say_str(t, " ");
    say_str(t, word);
}

static inline void say_fields(struct transcript *t, const struct message *m)
{
    for (size_t i = 0; i < m->field_count; i++) {
        say_word(t, "{");
        say(t, message_name_at(m, i));
        say_str(t, ": ");
        say(t, message_value_at(m, i));
        say_str(t, "}");
    }
}

static inline void say_head(struct transcript *t, const struct message *m)
{
    static const char *const framings[] = { "none", "length", "chunked", "eof" };
    char number[64];
    if (m->status) {
        snprintf(number, sizeof number, "%d", m->status);
        say_word(t, number);
        say_str(t, " ");
        say(t, message_slice(m, m->reason));
    } else {
        say_word(t, "");
        say(t, message_method(m));
        say_str(t, " ");
        say(t, message_target(m));
    }
    say_word(t, m->minor ? "1.1 " : "1.0 ");
    say_str(t, framings[m->framing]);
    if (m->framing == FRAMING_LENGTH) {
        snprintf(number, sizeof number, "=%llu", (unsigned long long)m->length);
        say_str(t, number);
    }
    if (!m->keep_alive)
        say_word(t, "close");
    if (m->expect_100)
        say_word(t, "expect");
    if (m->upgrade)
        say_word(t, "upgrade");
    say_fields(t, m);
}

/* Takes all events of one piece of input.  The piece is copied to its own memory, so that reading past it or keeping it
 * is found. */
static inline void transcript_feed(struct transcript *t, struct h1 *p, struct slice piece)
{
    char *exact = malloc(piece.len);
    if (piece.len)
        memcpy(exact, piece.ptr, piece.len);
    struct slice in = { exact, piece.len }, data;
    for (bool more = true; more && !t->over && !t->upgraded;) {
        switch (h1_next(p, &in, &data)) {
        case H1_MORE: more = false; break;
        case H1_HEAD: say_head(t, h1_head(p)); break;
        case H1_DATA:
            if (data.len == 0 || data.ptr < exact || data.ptr + data.len > exact + piece.len)
                abort();
            if (!t->in_data)
                say_word(t, "\"");
            t->in_data = true;
            say(t, data);
            break;
        case H1_END:
            say_fields(t, h1_trailers(p));
            say_word(t, "end");
            break;
        case H1_UPGRADED:
            say_word(t, "upgraded:");
            t->upgraded = true;
            break;
        case H1_BAD: {
            char number[24];
            snprintf(number, sizeof number, "bad %d ", h1_status(p));
            say_word(t, number);
            say_str(t, h1_reason(p));
            t->over = true;
            break;
        }
        }
    }
    if (t->upgraded)
        say(t, in);
    else if (!t->over && in.len != 0)
        abort();
    free(exact);
}

static inline void transcript_eof(struct transcript *t, struct h1 *p)
{
    if (t->over || t->upgraded)
        return;
    switch (h1_eof(p)) {
    case H1_END: say_word(t, "eof-end"); break;
    case H1_MORE: break;
    default: say_word(t, "cut"); break;
    }
}

/* Cuts bytes into pieces of step bytes (0: one piece); answers: method that each response answers, or "". */
static inline struct buf transcript_of(enum h1_role role, const char *answers, struct slice bytes, size_t step)
{
    struct transcript t = { .in_data = false };
    struct h1 *p = h1_new(role);
    if (!p)
        abort();
    buf_init(&t.text, SIZE_MAX / 2);
    if (*answers)
        h1_expect(p, slice_str(answers));
    if (step == 0)
        step = bytes.len ? bytes.len : 1;
    while (bytes.len && !t.over) {
        size_t n = step < bytes.len ? step : bytes.len;
        transcript_feed(&t, p, slice_of(bytes.ptr, n));
        bytes = slice_skip(bytes, n);
    }
    transcript_eof(&t, p);
    h1_free(p);
    return t.text;
}

#endif
